"""`sweeps aggregate`, `view`, `compare`, `plots` and `evaluate`: analyse the results of runs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from jobs.cli.group import Globals, say, shows
from jobs.cli.options import (
    SEVERAL,
    complete_sweep,
    complete_sweep_or_run,
    device_of,
    foreground_options,
    hand_over_options,
    names_option,
    report_problems,
    split_commas,
    split_options,
    target_options,
    warn,
    watch_options,
    with_options,
)
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.analysis.summary import SweepSummary
    from jobs.results.results_folder import ResultsFolder
    from jobs.terminal.output import CommandOutput


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
    "--last-snapshots",
    "snapshots",
    type=click.IntRange(min=1),
    metavar="K",
    help="Divide the episodes of a sweep among the last K snapshots of each run. Default: 1.",
)
@names_option(
    "--planner",
    "planners",
    ["eval", "train", "policy"],
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
@with_options(target_options, hand_over_options)
@shows
@click.pass_context
def evaluate_command(
    context: click.Context, runs: tuple[str, ...], at: int | None, episodes: int | None, snapshots: int | None,
    planners: tuple[str, ...], video: Path | None, device: str, threads: int | None, **backend_values: Any,
) -> CommandOutput:  # fmt: skip
    """Evaluate the snapshots of RUN (ID/seed-N, or ID for all seeds) here, or all finished runs of SWEEP as jobs.

    A sweep is evaluated on the backend it was submitted to, with its options; repeating the command submits what is
    missing. The options --profile to --wait are for sweeps, --video to --threads are for runs.
    """
    from jobs.runs import select

    state: Globals = context.obj
    if len(runs) == 1 and not select.names_run(runs[0]):
        _refuse(context, ("video", "device", "threads"), "only for runs (ID/seed-N); a sweep is evaluated as jobs")
        return _evaluate_sweep(state, runs[0], at, episodes, snapshots or 1, planners, backend_values)
    _refuse(context, ("snapshots", *backend_values), "only for a sweep; runs are evaluated in this process")
    return _evaluate_runs(state, runs, at, episodes or (1 if video else 50), planners, video, device, threads)


def _refuse(context: click.Context, names: Sequence[str], reason: str) -> None:
    """Raises `JobsError` for an option of `names` that was typed."""
    for parameter in context.command.params:
        if parameter.name in names and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise JobsError(f"{parameter.opts[0]}: {reason}")


def _evaluate_runs(
    state: Globals, runs: tuple[str, ...], at: int | None, episodes: int, planners: tuple[str, ...],
    video: Path | None, device: str, threads: int | None,
) -> CommandOutput:  # fmt: skip
    from jobs import process
    from jobs.runs import select
    from jobs.terminal import tables
    from jobs.terminal.output import CommandOutput
    from jobs.worker import evaluate

    store = state.store()
    chosen = select.runs_named(store, runs)
    evaluations = evaluate.evaluate(
        store, chosen, at=at, planners=planners or (("eval",) if video else ("eval", "train", "policy")),
        episodes=episodes, device=device_of(device), threads=threads or process.cores(), film_to=video,
    )  # fmt: skip
    with tables.console().status("playing episodes"):
        records = list(evaluations)
    film = video.absolute() if video else None
    return CommandOutput(
        lambda: {"evaluations": records, "video": film},
        lambda: [tables.evaluations(records), *([f"wrote {film}"] if film else [])],
    )


def _evaluate_sweep(
    state: Globals, name: str, at: int | None, episodes: int | None, snapshots: int, planners: tuple[str, ...],
    backend_values: dict[str, Any],
) -> CommandOutput:  # fmt: skip
    """Submit what is missing of an evaluation of a sweep."""
    from jobs.decide import add_seeds
    from jobs.results.evaluations import EvaluationSpec
    from jobs.submit import evaluate_sweep, launch
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    if len(planners) > 1:
        raise JobsError(f"--planner: a sweep is evaluated with one planner at a time, not {', '.join(planners)}")
    store = state.store()
    episodes = evaluate_sweep.divided(episodes, snapshots)
    spec = EvaluationSpec(planners[0] if planners else "eval", episodes, at, snapshots)
    evaluation = evaluate_sweep.plan_evaluation(store, name, spec)
    submit_options, changes = split_options(backend_values)
    was_complete = evaluation.is_complete()
    launched = launch.launch(
        evaluation.folder, name, evaluation.choices, add_seeds.options(store, name, changes), submit_options,
        changed=evaluation.notes,
    )  # fmt: skip
    if not was_complete and evaluation.is_complete() and (gain := evaluation.gain()):
        say(gain)
    report_problems(store)
    unit = launch.unit_of(evaluation.folder)
    return CommandOutput(lambda: documents.launches(name, unit, [launched]), code=launched.code)


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
@names_option(
    "--format",
    "formats",
    ["csv", "parquet", "json"],
    help="Also write the numbers, one file per table next to the report, such as report-runs.csv.",
)
@references_option
@watch_options
@shows
@click.pass_obj
def aggregate_command(
    state: Globals, sweeps: tuple[str, ...], out: Path, formats: tuple[str, ...], references: Path | None, watch: bool,
    every: float,
) -> CommandOutput:  # fmt: skip
    """Write the report of SWEEPS and print the verdict. Default: all submitted sweeps.

    Imported curves appear in the section of their task. Imports alone (NAME or NAME.TASK) get a report of their own.
    With several tasks the report starts with a section across tasks.
    """
    from jobs.reports import report
    from jobs.terminal import tables, verdict_documents
    from jobs.terminal.output import CommandOutput

    store = state.store()
    report.check_out(out)
    if watch:
        judged = report.keep_reporting(store, sweeps, out, formats, every, say, warn, references=references)
        report_problems(store)
    else:
        sources = report.sources(store, sweeps, warn)
        report_problems(store)
        judged = report.report(sources, out, formats, say, warn, references)
    return CommandOutput(
        lambda: verdict_documents.judged(judged), lambda: tables.judged_lines(judged, tables.console().width)
    )


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
        live.until_interrupted() as wait,
        contextlib.closing(live.Renderer()) as renderer,
        live_server.serving(page, port or 0) as server,
    ):
        say(f"the report: {server.url}")
        say("on your own machine, run this first, then open the same address there:")
        say(f"  ssh -N -L {server.port}:{live_server.ADDRESS}:{server.port} {process.host()}")
        say("Ctrl-C ends it")
        live.follow(page, request, renderer, warn, wait)


@click.command("compare")
@click.argument("a", shell_complete=complete_sweep_or_run)
@click.argument("b", required=False, shell_complete=complete_sweep_or_run)
@click.option(
    "--whole", is_flag=True, help="Compare all configurations of two sweeps, paired by configuration and seed."
)
@click.option(
    "--other-results",
    "against",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Take A from this results folder and B (default: the same name) from --results. For sweeps and runs.",
)
@click.option("--code-diff", "code", is_flag=True, help="For two runs: also show the lines of code that differ.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also write a report of both."
)
@shows
@click.pass_obj
def compare_command(
    state: Globals, a: str, b: str | None, whole: bool, against: Path | None, code: bool, out: Path | None
) -> CommandOutput:
    """Compare two configurations, sweeps or runs.

    A configuration is a config ID, SWEEP:LETTER as in the report, or a sweep, which stands for its best configuration.
    With --whole or --other-results, all configurations of sweeps are compared. For two runs (ID/seed-N), show what
    differs in configuration, code, versions and machine.
    """
    from jobs.runs import select

    if b is None and against is None:
        raise JobsError(f"only {a} is given; name two to compare, or give --other-results FOLDER")
    runs = select.is_run(a)
    if code and not runs:
        raise JobsError(f"--code-diff compares two runs (ID/seed-N), and {a} is not a run; leave the option out")
    if out is not None and (runs or whole or against):
        raise JobsError("--out writes the report of two configurations; leave it out for sweeps and runs")
    if runs:
        return _compare_runs(state, a, b or a, against, code)
    if whole or against:
        return _compare_sweeps(state, a, b or a, against)
    assert b is not None
    return _compare_configurations(state, a, b, out)


def _store_of(state: Globals, against: Path | None) -> ResultsFolder:
    """The results folder of A. Raises `JobsError` for one without sweeps."""
    from jobs.reports.inputs import nothing_submitted
    from jobs.results.results_folder import ResultsFolder

    store = ResultsFolder(against) if against is not None else state.store()
    if not store.sweep_names():
        raise nothing_submitted(store)
    return store


def _compare_runs(state: Globals, a: str, b: str, against: Path | None, code: bool) -> CommandOutput:
    from jobs.reports import compare_runs
    from jobs.runs import select
    from jobs.terminal import comparison
    from jobs.terminal.output import CommandOutput

    stores = (_store_of(state, against), state.store())
    sides = (
        compare_runs.side(store, select.run_named(store, text)) for store, text in zip(stores, (a, b), strict=True)
    )
    runs = compare_runs.TwoRuns(*sides)
    return CommandOutput(lambda: comparison.two_runs_document(runs, code), lambda: comparison.two_runs(runs, code))


def _compare_sweeps(state: Globals, a: str, b: str, against: Path | None) -> CommandOutput:
    from aggregate.analysis.summary import summarise
    from aggregate.comparison.two_sweeps import compare_sweeps
    from jobs.reports.inputs import sweep_sources
    from jobs.runs.status import only_sweep
    from jobs.terminal import comparison, tables
    from jobs.terminal.output import CommandOutput

    stores = (_store_of(state, against), state.store())
    if a == b and stores[0].root == stores[1].root:
        raise JobsError(f"{a} is compared with itself; name two sweeps, or another folder with --other-results")
    summaries: list[SweepSummary] = []
    for store, name in zip(stores, (a, b), strict=True):
        only_sweep(store, name, "compared")
        summaries += summarise(sweep_sources(store, [name])).sweeps
        report_problems(store)
    two_sweeps = compare_sweeps(*summaries)
    places = [f"{name} in {store.root}" for store, name in zip(stores, (a, b), strict=True)]
    return CommandOutput(
        lambda: comparison.whole_sweeps_document(two_sweeps, places),
        lambda: comparison.whole_sweeps(two_sweeps, places, tables.console().width),
    )


def _compare_configurations(state: Globals, a: str, b: str, out: Path | None) -> CommandOutput:
    from jobs.reports import compare, report
    from jobs.terminal import tables, verdict_documents
    from jobs.terminal.output import CommandOutput

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
    if out is not None:
        write_report(summarise([compare.source(side_a, side_b, *config_ids)]), out)
    result, both = compare_two.compare(summary, *config_ids), (side_a, side_b)
    written = out.absolute() if out is not None else None
    return CommandOutput(
        lambda: verdict_documents.comparison(summary, result, both, written),
        lambda: [
            *tables.comparison(summary, result, both, tables.console().width),
            *([f"wrote {written}"] if written else []),
        ],
    )


@click.command("plots")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("figures"),
    show_default=True,
    help="Output folder; created if missing.",
)
@names_option(
    "--format", "formats", ["svg", "pdf", "png"], default=["svg"], show_default=True, help="Format of the files."
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
    callback=split_commas,
    help=f"Figure, such as final, effects, flags, policy, profile, heat-map, or a metric such as pi_loss. {SEVERAL}",
)
@click.option("--configs", multiple=True, metavar="LETTER|ID", callback=split_commas,
              help=f"Configurations of one sweep to draw: letters as in the report, or IDs. {SEVERAL}")  # fmt: skip
@click.option("--average", type=click.Choice(["mean", "median", "iqm"]), default="mean", show_default=True,
              help="Average of curves over seeds. The band is the 95 % interval for mean, else the quartiles "
                   "of the seeds.")  # fmt: skip
@click.option("--environment-steps", is_flag=True, help="Count environment steps on the axis, not agent steps.")
@references_option
@click.pass_obj
def plots_command(
    state: Globals, sweeps: tuple[str, ...], out: Path, formats: tuple[str, ...], columns: str, only: tuple[str, ...],
    references: Path | None, configs: tuple[str, ...], average: str, environment_steps: bool,
) -> None:  # fmt: skip
    """Write the figures of SWEEPS as single files for a paper. Default: all submitted sweeps."""
    from jobs.reports import report

    store = state.store()
    sources = report.sources(store, sweeps, warn)
    report_problems(store)
    if configs and len(sources) > 1:
        raise JobsError(
            f"--configs {configs[0]}: there are {len(sources)} sweeps; name the sweep of the configurations"
        )
    from plots.paper.sweep_figures import Choices

    choices = Choices(int(columns), configs, average, environment_steps)
    for path in report.figures(sources, out, formats, choices, only, references):
        say(f"wrote {path.absolute()}")
