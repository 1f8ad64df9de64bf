"""`sweeps status`, `logs` and `usage`: the state, logs and resource usage of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.group import Globals, refuse_json, say, shows
from jobs.cli.options import (
    complete_run,
    complete_sweep,
    report_problems,
)
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jobs.results.attempts import RunRef
    from jobs.results.results_folder import ResultsFolder
    from jobs.runs import logs
    from jobs.runs.status import SweepStatus
    from jobs.terminal.output import CommandOutput


@click.command("status")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@click.option("--runs", is_flag=True, help="Show one row per run.")
@click.option("--watch", "stay", is_flag=True, help="Refresh until no run is active.")
@shows
@click.pass_obj
def status_command(state: Globals, sweeps: tuple[str, ...], runs: bool, stay: bool) -> CommandOutput:
    """Show the state and progress of SWEEPS. Default: all submitted sweeps."""
    from jobs.runs import canary, recover, status
    from jobs.terminal.output import CommandOutput

    if stay:
        refuse_json("--watch", "shows tables until no run is active")
    store = state.store()
    for note in recover.recover_if_free(store):
        say(note, err=True)
    if stay:
        return CommandOutput(dict, lambda: _watched(store, sweeps, runs))
    statuses = status.sweeps(store, sweeps)
    notes = canary.update_holds(store, [run for sweep in statuses for run in sweep.runs])
    return CommandOutput(lambda: _status_document(store, statuses), lambda: _status_text(store, statuses, runs, notes))


def _status_document(store: ResultsFolder, statuses: Sequence[SweepStatus]) -> Mapping[str, Any]:
    from jobs.runs import evaluations, status
    from jobs.runs.final_scores import final_scores

    finals = [final_scores(store, sweep) for sweep in statuses]
    submitted = evaluations.evaluations(store, [sweep.view.name for sweep in statuses])
    document = status.to_json(statuses, store.problems.values(), finals)
    return {**document, "evaluations": evaluations.to_json(submitted)}


def _status_text(
    store: ResultsFolder, statuses: Sequence[SweepStatus], by_run: bool, notes: Iterable[str]
) -> Iterator[RenderableType]:
    import time

    from rich.text import Text

    from jobs.terminal import tables

    yield from tables.status_tables(store, statuses, by_run, time.time())
    yield from (Text(note, no_wrap=True) for note in notes)
    yield from _end_of_status(store)


def _watched(store: ResultsFolder, sweeps: Sequence[str], by_run: bool) -> Iterator[RenderableType]:
    from jobs.submit import watch
    from jobs.terminal import tables

    watch.watch_status(store, sweeps, by_run, tables.console())
    yield from _end_of_status(store)


def _end_of_status(store: ResultsFolder) -> Iterator[str]:
    report_problems(store)
    if not store.sweep_names():
        yield f"nothing was submitted to {store.root}"


@click.command("logs")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the run has ended.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Number of lines from the end."
)
@click.option("--evaluation", is_flag=True, help="Show the logs of the jobs that evaluate RUN, newest last.")
@shows
@click.pass_obj
def logs_command(state: Globals, run: str, follow: bool, lines: int, evaluation: bool) -> CommandOutput:
    """Show the log of the task that trains or last trained RUN (ID/seed-N), with the output of its program.

    Seeds that one process trains together share a log.
    """
    from jobs.runs import evaluations, select
    from jobs.terminal.output import CommandOutput

    if follow:
        refuse_json("--follow", "prints the log as it grows")
    store = state.store()
    ref = select.run_named(store, run)
    folders = evaluations.of_run(store, ref)
    if evaluation and not folders:
        raise JobsError(f"{run} was not evaluated by a job; `sweeps evaluate SWEEP` submits evaluations")
    shown = folders if evaluation else [store]
    position: logs.Position = {}
    ends = [
        end for folder in shown
        for end in _ends_of_logs(folder, ref, lines, position, required=not follow and folder is shown[-1])
    ]  # fmt: skip
    if folders and not evaluation:
        say(f"{run} was evaluated by jobs too: `sweeps logs {run} --evaluation`", err=True)

    def text() -> Iterable[RenderableType]:
        for path, end in ends:
            say(f"==> {path} <==", err=True)
            _say_log(end)
        if follow:
            from jobs.submit import watch

            watch.follow_log(shown[-1], ref, position, _say_log)
        return ()

    return CommandOutput(lambda: {"run": str(ref), "logs": [{"path": path, "text": end} for path, end in ends]}, text)


def _ends_of_logs(
    store: ResultsFolder, ref: RunRef, lines: int, position: logs.Position, *, required: bool
) -> list[tuple[Path, str]]:
    """The logs of the newest task with their last lines; `position` is set to their ends. Raises `JobsError` without a
    task, and without any log where one is required."""
    from jobs.runs import logs, status

    (run_status,) = status.load_statuses(store, {ref: store.run_length(ref.config_id)}).values()
    if run_status.submission is None or run_status.task is None:
        raise JobsError(f"run {ref} has no log: no submission contains this run")
    paths = logs.of_run(store, ref, run_status.submission, run_status.task)
    ends = [(path, logs.last_lines(path, lines, position)) for path in paths]
    if not position and required:
        raise JobsError(f"run {ref} has no log yet: {run_status.state.state} {run_status.state.reason}".rstrip())
    return ends


def _say_log(text: str) -> None:
    """A progress bar that is drawn over itself stands on lines of its own."""
    say(text.replace("\r\n", "\n").replace("\r", "\n"), nl=False)


@click.command("usage")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@shows
@click.pass_obj
def usage_command(state: Globals, sweeps: tuple[str, ...]) -> CommandOutput:
    """Show the CPUs, memory and time that ended tasks used, what they requested, and what would be enough."""
    from jobs.runs import status, usage
    from jobs.terminal import documents, tables
    from jobs.terminal.output import CommandOutput

    store = state.store()
    reports = usage.reports(run for sweep in status.sweeps(store, sweeps) for run in sweep.runs)
    report_problems(store)
    if not reports:
        raise JobsError("no ended task has recorded its use of resources; see `sweeps status`")
    return CommandOutput(lambda: documents.usage(reports), lambda: [tables.usage_table(reports)])
