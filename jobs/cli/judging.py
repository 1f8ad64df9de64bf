"""`sweeps aggregate`, `view`, `compare`, `plots` and `evaluate`: analyse the results of runs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from jobs.cli.group import Globals, say
from jobs.cli.options import (
    complete_sweep,
    complete_sweep_or_run,
    device_of,
    foreground_options,
    hand_over_options,
    report_problems,
    split_options,
    target_options,
    warn,
    watch_options,
    with_options,
)
from sweepwise.core.errors import JobsError


@click.command("evaluate")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...|SWEEP", shell_complete=complete_sweep_or_run)
@click.option("--at", type=click.IntRange(min=1), metavar="STEP", help="Step of the snapshot. Default: the newest.")
@click.option(
    "--episodes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Episodes per planner. Default: 50; 100 for a sweep; 1 with --video.",
)
@click.option(
    "--snapshots",
    type=click.IntRange(min=1),
    metavar="K",
    help="Divide the episodes of a sweep among the last K snapshots of each run. Default: 1.",
)
@click.option(
    "--planner",
    "planners",
    multiple=True,
    type=click.Choice(["eval", "train", "policy"]),
    help="eval: MPC with one dynamics head. train: MPC with all heads, as in training. policy: policy without MPC. "
    "Default: all; eval for a sweep and with --video.",
)
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Film the episodes of one run with one planner: .gif, .webp, .mp4 (needs ffmpeg), or .png (a sheet of 24 "
    "pictures).",
)
@foreground_options
@click.option("--json", "as_json", is_flag=True, help="Print every return as JSON.")
@with_options(target_options, hand_over_options)
@click.pass_context
def evaluate_command(
    context: click.Context, runs: tuple[str, ...], at: int | None, episodes: int | None, snapshots: int | None,
    planners: tuple[str, ...], video: Path | None, device: str, threads: int | None, as_json: bool,
    **backend_values: Any,
) -> None:  # fmt: skip
    """Evaluate the snapshots of RUN (ID/seed-N, or ID for all seeds) here, or all finished runs of SWEEP as jobs.

    A sweep is evaluated on the backend it was submitted to, with its options; repeating the command submits what is
    missing. --profile to --wait apply to sweeps, --video to --json to runs.
    """
    from jobs.runs import select

    state: Globals = context.obj
    if len(runs) == 1 and not select.names_run(runs[0]):
        _refuse(context, ("video", "device", "threads", "as_json"), "a sweep is evaluated as jobs; name runs for this")
        _evaluate_sweep(state, runs[0], at, episodes, snapshots or 1, planners, backend_values)
        return
    _refuse(context, ("snapshots", *backend_values), "runs are evaluated in this process; name a sweep for this")
    _evaluate_runs(state, runs, at, episodes or (1 if video else 50), planners, video, device, threads, as_json)


def _refuse(context: click.Context, names: Sequence[str], reason: str) -> None:
    """Raises `JobsError` for an option of `names` that was typed."""
    for parameter in context.command.params:
        if parameter.name in names and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise JobsError(f"{parameter.opts[0]}: {reason}")


def _evaluate_runs(
    state: Globals, runs: tuple[str, ...], at: int | None, episodes: int, planners: tuple[str, ...],
    video: Path | None, device: str, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    from jobs import process
    from jobs.runs import select
    from jobs.worker import evaluate

    store = state.store()
    chosen = select.runs_named(store, runs)
    evaluations = evaluate.evaluate(
        store, chosen, at=at, planners=planners or (("eval",) if video else ("eval", "train", "policy")),
        episodes=episodes, device=device_of(device), threads=threads or process.cores(), film_to=video,
    )  # fmt: skip
    if as_json:
        import json

        say(json.dumps(list(evaluations), indent=1))
        return
    from jobs.terminal import tables

    console = tables.console()
    with console.status("playing episodes"):
        table = tables.evaluations(evaluations)
    console.print(table)
    if video:
        say(f"wrote {video.absolute()}")


def _evaluate_sweep(
    state: Globals, name: str, at: int | None, episodes: int | None, snapshots: int, planners: tuple[str, ...],
    backend_values: dict[str, Any],
) -> None:  # fmt: skip
    """Submit what is missing of an evaluation of a sweep; raises click's `Exit` with the exit code."""
    from jobs.decide import add_seeds
    from jobs.results.evaluations import EvaluationSpec
    from jobs.submit import evaluate_sweep, launch

    if len(planners) > 1:
        raise JobsError(f"--planner: a sweep is evaluated with one planner at a time, not {', '.join(planners)}")
    store = state.store()
    episodes = evaluate_sweep.divided(episodes, snapshots)
    spec = EvaluationSpec(planners[0] if planners else "eval", episodes, at, snapshots)
    evaluation = evaluate_sweep.plan_evaluation(store, name, spec)
    submit_options, changes = split_options(backend_values)
    was_complete = evaluation.is_complete()
    code = launch.launch(
        evaluation.folder, name, evaluation.choices, add_seeds.options(store, name, changes), submit_options,
        changed=evaluation.notes,
    )  # fmt: skip
    if not was_complete and evaluation.is_complete() and (gain := evaluation.gain()):
        say(gain)
    report_problems(store)
    raise click.exceptions.Exit(code)


references_option = click.option(
    "--references",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="YAML file with the returns that are normalised to 0 and 1, a line per task: walker-walk: [25, 960].",
)


@click.command("aggregate")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="Report file (HTML).",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["csv", "parquet", "json"]),
    help="Also write the numbers, one file per table next to the report, such as report-runs.csv. Repeatable.",
)
@references_option
@watch_options
@click.pass_obj
def aggregate_command(
    state: Globals, sweeps: tuple[str, ...], out: Path, formats: tuple[str, ...], references: Path | None, watch: bool,
    every: float,
) -> None:  # fmt: skip
    """Write the report of SWEEPS and print the verdict. Default: all submitted sweeps.

    Imported curves appear in the section of their task. Imports alone (NAME or NAME.TASK) get a report of their own.
    With several tasks the report starts with a section across tasks.
    """
    from jobs.reports import report
    from jobs.terminal import tables

    store = state.store()
    report.check_out(out)
    if watch:
        judged = report.keep_reporting(store, sweeps, out, formats, every, say, warn, references=references)
        report_problems(store)
    else:
        sources = report.sources(store, sweeps, warn)
        report_problems(store)
        judged = report.report(sources, out, formats, say, warn, references)
    console = tables.console()
    for line in tables.judged_lines(judged, console.width):
        console.print(line)


@click.command("view")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@click.option(
    "--port", type=click.IntRange(1024, 65535), metavar="N", help="Port on this machine. Default: a free one."
)
@references_option
@click.pass_obj
def view_command(state: Globals, sweeps: tuple[str, ...], port: int | None, references: Path | None) -> None:
    """Show the report of SWEEPS in a browser and update it while runs train. Default: all submitted sweeps.

    Prints the address of the page, which only programs on this machine can open, and the command of a tunnel from your
    own machine. The page updates itself when results change. Ctrl-C ends it. Nothing is computed while no page is open.
    """
    from jobs import process
    from jobs.reports import imported_curves, live, live_server, report

    store = state.store()
    imported_curves.check_names(store, sweeps)
    report.read_references(references)
    request = live.ReportRequest(store.root.absolute(), sweeps, references and references.absolute())
    page = live.LivePage()
    with (
        _until_interrupted(),
        contextlib.closing(live.Renderer()) as renderer,
        live_server.serving(page, port or 0) as server,
    ):
        say(f"the report: {server.url}")
        say("on your own machine, run this first, then open the same address there:")
        say(f"  ssh -N -L {server.port}:{live_server.ADDRESS}:{server.port} {process.host()}")
        say("Ctrl-C ends it")
        live.follow(page, request, renderer, warn)


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ends the block by Ctrl-C or SIGTERM without an error. Once it ends, another signal does not interrupt that."""

    def end(number: int, frame: object) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    handled = {signal.SIGINT: signal.getsignal(signal.SIGINT), signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
    for each in handled:
        signal.signal(each, end)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for each, handler in handled.items():
            signal.signal(each, handler)


@click.command("compare")
@click.argument("a", shell_complete=complete_sweep)
@click.argument("b", shell_complete=complete_sweep)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also write a report of both."
)
@click.pass_obj
def compare_command(state: Globals, a: str, b: str, out: Path | None) -> None:
    """Compare two configurations: config ID, SWEEP:LETTER as in the report, or a sweep.

    For a sweep, its best configuration is compared.
    """
    from jobs.reports import compare, report
    from jobs.terminal import tables

    store = state.store()
    if out is not None:
        report.check_out(out)
    side_a, side_b = compare.sides(store, (a, b))
    report_problems(store)
    from aggregate.analysis.summary import summarise
    from aggregate.verdict import compare_two
    from plots.report import write_report

    (summary,) = summarise([compare.source(side_a, side_b)]).sweeps
    config_ids = [compare_two.leader(summary, tuple(c.config_id for c in side.configs)) for side in (side_a, side_b)]
    if config_ids[0] == config_ids[1]:
        raise JobsError(
            f"the same configuration, {config_ids[0]}, is the best of {a} and of {b}; name two configurations"
        )
    console = tables.console()
    for part in tables.comparison(summary, compare_two.compare(summary, *config_ids), (side_a, side_b), console.width):
        console.print(part)
    if out is not None:
        write_report(summarise([compare.source(side_a, side_b, *config_ids)]), out)
        say(f"wrote {out.absolute()}")


@click.command("plots")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("figures"),
    show_default=True,
    help="Output folder; created if missing.",
)
@click.option(
    "--format", "formats", default="svg", show_default=True, metavar="svg,pdf,png", help="One or several formats."
)
@click.option(
    "--columns",
    type=click.Choice(["1", "2"]),
    default="1",
    show_default=True,
    help="Columns of the paper: 1 is 3.25 inches wide, 2 are 6.75.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="Figure, such as final, effects, flags, policy, profile, heat-map, or a metric such as pi_loss. Repeatable.",
)
@references_option
@click.pass_obj
def plots_command(
    state: Globals, sweeps: tuple[str, ...], out: Path, formats: str, columns: str, only: tuple[str, ...],
    references: Path | None,
) -> None:  # fmt: skip
    """Write the figures of SWEEPS as single files for a paper. Default: all submitted sweeps."""
    from jobs.reports import report

    endings = [ending.strip() for ending in formats.split(",")]
    unknown = [ending for ending in endings if ending not in ("svg", "pdf", "png")]
    if unknown:
        raise JobsError(f"--format {unknown[0]!r}: give svg, pdf or png, or several as in svg,pdf")
    store = state.store()
    sources = report.sources(store, sweeps, warn)
    report_problems(store)
    for path in report.figures(sources, out, endings, int(columns), only, references):
        say(f"wrote {path.absolute()}")
