"""`sweeps status`, `logs` and `usage`: the state, logs and resource usage of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.cli.group import Globals, say
from jobs.cli.options import (
    complete_run,
    complete_sweep,
    report_problems,
)
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from jobs.results.attempts import RunRef
    from jobs.results.results_folder import ResultsFolder
    from jobs.runs import logs


@click.command("status")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@click.option("--runs", is_flag=True, help="Show one row per run.")
@click.option("--watch", "stay", is_flag=True, help="Refresh until no run is active.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_obj
def status_command(state: Globals, sweeps: tuple[str, ...], runs: bool, stay: bool, as_json: bool) -> None:
    """Show the state and progress of SWEEPS. Default: all submitted sweeps."""
    from jobs.runs import canary, evaluations, recover, status
    from jobs.runs.final_scores import final_scores

    store = state.store()
    for note in recover.recover_if_free(store):
        say(note, err=True)
    if as_json:
        import json

        statuses = status.sweeps(store, sweeps)
        canary.update_holds(store, [run for sweep in statuses for run in sweep.runs])
        finals = [final_scores(store, sweep) for sweep in statuses]
        told = status.to_json(statuses, store.problems.values(), finals)
        told["evaluations"] = evaluations.to_json(evaluations.evaluations(store, [s.view.name for s in statuses]))
        say(json.dumps(told, indent=1))
        return
    import time

    from jobs.terminal import tables

    console = tables.console()
    if stay:
        from jobs.submit import watch

        watch.watch_status(store, sweeps, runs, console)
    else:
        statuses = status.sweeps(store, sweeps)
        for part in tables.status_tables(store, statuses, runs, time.time()):
            console.print(part)
        for note in canary.update_holds(store, [run for sweep in statuses for run in sweep.runs]):
            console.print(note, markup=False, soft_wrap=True)
    report_problems(store)
    if not store.sweep_names():
        say(f"nothing was submitted to {store.root}")


@click.command("logs")
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the run has ended.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="Number of lines from the end."
)
@click.option("--evaluation", is_flag=True, help="Show the logs of the jobs that evaluate RUN, newest last.")
@click.pass_obj
def logs_command(state: Globals, run: str, follow: bool, lines: int, evaluation: bool) -> None:
    """Show the log of the task that trains or last trained RUN (ID/seed-N), with the output of its program.

    Seeds that one process trains together share a log.
    """
    from jobs.runs import evaluations, select

    store = state.store()
    ref = select.run_named(store, run)
    folders = evaluations.of_run(store, ref)
    if evaluation and not folders:
        raise JobsError(f"{run} was not evaluated by a job; `sweeps evaluate SWEEP` submits that")
    position: logs.Position = {}
    shown = folders if evaluation else [store]
    for folder in shown:
        _show_end_of_log(folder, ref, lines, position, required=not follow and folder is shown[-1])
    if folders and not evaluation:
        say(f"{run} was evaluated by jobs too: `sweeps logs {run} --evaluation`", err=True)
    if follow:
        from jobs.submit import watch

        watch.follow_log(shown[-1], ref, position, _say_log)


def _show_end_of_log(store: ResultsFolder, ref: RunRef, lines: int, position: logs.Position, *, required: bool) -> None:
    """The last lines of the log of the newest task; `position` is set to its end. Raises `JobsError` without a task,
    and without any log where one is required."""
    from jobs.runs import logs, status

    (run_status,) = status.load_statuses(store, {ref: store.run_length(ref.config_id)}).values()
    if run_status.submission is None or run_status.task is None:
        raise JobsError(f"run {ref} has no log: no submission holds it")
    for path in logs.of_run(store, ref, run_status.submission, run_status.task):
        text = logs.last_lines(path, lines, position)
        say(f"==> {path} <==", err=True)
        _say_log(text)
    if not position and required:
        raise JobsError(f"run {ref} has no log yet: {run_status.state.state} {run_status.state.reason}".rstrip())


def _say_log(text: str) -> None:
    """A progress bar that is drawn over itself stands on lines of its own."""
    say(text.replace("\r\n", "\n").replace("\r", "\n"), nl=False)


@click.command("usage")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@click.pass_obj
def usage_command(state: Globals, sweeps: tuple[str, ...]) -> None:
    """Show the CPUs, memory and time that ended tasks used, what they requested, and what would be enough."""
    from jobs.runs import status, usage
    from jobs.terminal import tables

    store = state.store()
    reports = usage.reports(run for sweep in status.sweeps(store, sweeps) for run in sweep.runs)
    report_problems(store)
    if not reports:
        raise JobsError("no task has ended whose use is known; see `sweeps status`")
    tables.console().print(tables.usage_table(reports))
