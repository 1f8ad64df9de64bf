"""`sweeps aggregate` and `evaluate`: what the runs are worth."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.group import Globals
from jobs.cli.options import (
    device_of,
    foreground_options,
    report_problems,
)
from jobs.errors import JobsError


@click.command("evaluate")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--at", type=click.IntRange(min=1), metavar="STEP", help="Step of the snapshot; the newest otherwise.")
@click.option(
    "--episodes", type=click.IntRange(min=1), metavar="N", help="Episodes per planner; 50 otherwise, 1 with --video."
)
@click.option(
    "--planner",
    "planners",
    multiple=True,
    type=click.Choice(["eval", "train", "policy"]),
    help="eval: one dynamics head; train: all heads, as in training; policy: no planning. "
    "All otherwise, eval with --video.",
)
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Film the episodes of one run under one planner: .gif, .webp, or .mp4 where ffmpeg is.",
)
@foreground_options
@click.option("--json", "as_json", is_flag=True, help="Every return as JSON.")
@click.pass_obj
def evaluate_command(
    state: Globals, runs: tuple[str, ...], at: int | None, episodes: int | None, planners: tuple[str, ...],
    video: Path | None, device: str, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Play episodes with the weights that RUN kept: ID/seed-N, or ID for all its seeds."""
    from jobs import evaluate, pick, process

    store = state.store()
    chosen = pick.runs_named(store, runs)
    found = evaluate.evaluate(
        store, chosen, at=at, planners=planners or (("eval",) if video else ("eval", "train", "policy")),
        episodes=episodes or (1 if video else 50), device=device_of(device), threads=threads or process.cores(),
        film_to=video,
    )  # fmt: skip
    if as_json:
        import json

        click.echo(json.dumps(list(found), indent=1))
        return
    from jobs import show

    console = show.console()
    with console.status("playing episodes"):
        table = show.evaluations(found)
    console.print(table)
    if video:
        click.echo(f"wrote {video.absolute()}")


@click.command("aggregate")
@click.argument("sweeps", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The report: one offline HTML file.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["csv", "parquet", "json"]),
    help="Write the numbers too, a file per level beside the report: report-runs.csv and so on; may be repeated.",
)
@click.pass_obj
def aggregate_command(state: Globals, sweeps: tuple[str, ...], out: Path, formats: tuple[str, ...]) -> None:
    """Judge the submitted sweeps, or SWEEPS, and write the report.

    Imported curves stand beside the sweep of their task; where SWEEPS are imports only, NAME or NAME.TASK, these are
    judged by themselves.
    """
    from jobs import imports

    store = state.store()
    if not out.absolute().parent.is_dir():
        raise JobsError(f"--out {out}: there is no folder {out.absolute().parent}")
    sources, told = imports.sources(store, sweeps)
    report_problems(store)
    for line in told:
        click.echo(f"warning: {line}", err=True)
    from aggregate import frames
    from aggregate.summary import summarise
    from plots.report import write_report

    summary = summarise(sources)
    for line in summary.loaded.warnings:
        click.echo(f"warning: {line}", err=True)
    write_report(summary, out)
    click.echo(f"wrote {out.absolute()}")
    for path in frames.write(frames.frames(summary), out, formats) if formats else ():
        click.echo(f"wrote {path.absolute()}")
