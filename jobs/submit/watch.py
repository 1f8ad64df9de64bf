"""Commands that stay: `--wait` for the runs of a submission, `status --watch`, `logs -f`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from jobs.backends import registry
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE, State, ending
from jobs.runs import canary, logs
from jobs.runs.status import RunStatus, load_statuses, sweeps
from jobs.submit.submit import PlannedRun
from jobs.terminal.tables import counts_text, state_text, status_tables

_WATCH_S = 5.0
_LOG_S = 1.0
_ASK_SLURM_S = 20.0  # what the runs write is looked at more often than Slurm is asked


def wait(store: ResultsFolder, choices: Sequence[PlannedRun], backend: str, console: Console) -> Counter[State]:
    """Show the runs of `choices` until none is active any more, or what is left is held; how they ended."""
    steps = {choice.run: choice.steps for choice in choices}
    labels = {choice.run: f"{choice.label} seed {choice.run.seed}" for choice in choices}
    with _progress(console) as progress:
        view = _ProgressView(progress, labels, sum(steps.values()))
        while True:
            found = load_statuses(store, steps, max_age_s=_ASK_SLURM_S)
            view.update(found)
            runs = list(found.values())
            view.tell(canary.update_holds(store, runs))
            now = time.time()
            if canary.blocked(store, runs) or not any(r.state.state in ACTIVE or ending(r.record, now) for r in runs):
                return Counter(run.state.state for run in found.values())
            time.sleep(registry.get(backend).poll_s)


def watch_status(store: ResultsFolder, names: Sequence[str], by_run: bool, console: Console) -> None:
    """Show the tables of `sweeps status` again and again, until no run is active."""
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            found = sweeps(store, names, max_age_s=_ASK_SLURM_S)
            notes = map(Text, canary.update_holds(store, [run for sweep in found for run in sweep.runs]))
            live.update(Group(*status_tables(found, by_run, time.time()), *notes), refresh=True)
            if not any(run.state.state in ACTIVE for sweep in found for run in sweep.runs):
                return
            time.sleep(_WATCH_S)


def follow_log(store: ResultsFolder, run: RunRef, position: logs.Position, write: Callable[[str], None]) -> None:
    """Write what is added to the log of `run` behind `position`, until the run is not active any more."""
    steps = store.check_config(run.config_id).steps
    while True:
        (found,) = load_statuses(store, {run: steps}, max_age_s=_ASK_SLURM_S).values()
        if found.submission is not None and found.task is not None:
            for text in logs.added(logs.paths(store, found.submission, found.task), position):
                write(text)
        if found.state.state not in ACTIVE:
            return
        time.sleep(_LOG_S)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        console=console,
    )


class _ProgressView:
    """A bar for all runs and one for each that trains; a line for each that ended."""

    def __init__(self, progress: Progress, labels: Mapping[RunRef, str], total: int) -> None:
        self._progress, self._labels = progress, labels
        self._total = progress.add_task("all runs", total=total, told="")
        self._bars: dict[RunRef, TaskID] = {}
        self._ended: set[RunRef] = set()
        self._notes: set[str] = set()
        self._tenths, self._steps = 0, total

    def tell(self, notes: Sequence[str]) -> None:
        """Those that were not told before."""
        for note in notes:
            if note not in self._notes:
                self._notes.add(note)
                self._progress.console.print(note, markup=False, soft_wrap=True)

    def update(self, found: Mapping[RunRef, RunStatus]) -> None:
        completed = sum(min(run.record.step, run.record.steps) for run in found.values())
        told = str(counts_text(Counter(run.state.state for run in found.values())))
        self._progress.update(self._total, completed=completed, told=told)
        self._tell_a_file(completed, told)
        for ref, run in found.items():
            if run.state.state in ("running", "stalled"):
                self._show(ref, run)
            else:
                self._drop(ref)
            if run.state.state not in ACTIVE and ref not in self._ended:
                self._ended.add(ref)
                self._say(ref, run)

    def _tell_a_file(self, completed: int, told: str) -> None:
        """Where the output is not a terminal, a line for every tenth of the steps."""
        tenths = 10 * completed // max(1, self._steps)
        if tenths > self._tenths and not self._progress.console.is_terminal:
            self._tenths = tenths
            self._progress.console.print(f"{completed:,} of {self._steps:,} steps, {told}", soft_wrap=True)

    def _show(self, ref: RunRef, run: RunStatus) -> None:
        if ref not in self._bars:
            self._bars[ref] = self._progress.add_task(_escape(self._labels[ref]), total=run.record.steps, told="")
        self._progress.update(self._bars[ref], completed=run.record.step, told=_told(run))

    def _drop(self, ref: RunRef) -> None:
        if ref in self._bars:
            self._progress.remove_task(self._bars.pop(ref))

    def _say(self, ref: RunRef, run: RunStatus) -> None:
        text = state_text(run.state.state)
        text.append(f"  {self._labels[ref]}  {_told(run)}  {run.state.reason}".rstrip(), style="default")
        self._progress.console.print(text, soft_wrap=True)


def _told(run: RunStatus) -> str:
    status = run.record.status
    if status is None:
        return ""
    trains = run.state.state == "running" and status.steps_per_s is not None
    speed = f"{status.steps_per_s:.1f} steps/s" if trains else ""
    last = f"return {status.last_return:.0f}" if status.last_return is not None else ""
    return ", ".join(part for part in (speed, last) if part)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
