"""Commands that keep running: `--wait` for the runs of a submission, `status --watch`, `logs -f`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from jobs.backends import registry
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE, State, ending
from jobs.runs import canary, logs
from jobs.runs.status import RunStatus, load_statuses, sweeps
from jobs.submit.submit import PlannedRun
from jobs.terminal.tables import counts_text, duration, format_last, state_text, status_tables
from sweepwise.core.value_format import shown

_WATCH_S = 5.0
_LOG_S = 1.0
_ASK_SLURM_S = 20.0  # the files of the runs are read more often than Slurm is queried
_WINDOW_S = 60.0  # the time left is estimated by the speed of this long; evaluations, which make no steps, are in it
_SHORTEST_S = 15.0  # the shortest time that a speed is measured over
_SETTLED = 0.1, 120.0  # fraction of the steps or seconds, after which the speed counts: first, runs act randomly


def wait(store: ResultsFolder, choices: Sequence[PlannedRun], backend: str, console: Console) -> Counter[State]:
    """Show the runs of `choices` until none is active or all active ones are held. Returns counts of their states."""
    steps = {choice.run: choice.steps for choice in choices}
    labels = {choice.run: f"{choice.label} seed {choice.run.seed}" for choice in choices}
    with _progress(console) as progress:
        agent = store.check_config(choices[0].run.config_id).agent if choices else ""
        words, unit = store.agents.result_words(agent), "episodes" if store.evaluation else "steps"
        view = _ProgressView(progress, labels, sum(steps.values()), words, unit)
        while True:
            statuses = load_statuses(store, steps, max_age_s=_ASK_SLURM_S)
            view.update(statuses)
            runs = list(statuses.values())
            view.print_notes([*canary.update_holds(store, runs), *_waited_for(runs)])
            now = time.time()
            if canary.blocked(store, runs) or not any(r.state.state in ACTIVE or ending(r.record, now) for r in runs):
                return Counter(run.state.state for run in statuses.values())
            time.sleep(registry.get(backend).poll_s)


def _waited_for(runs: Iterable[RunStatus]) -> list[str]:
    """What the waiting runs wait for according to their backend, each reason once."""
    tasks = (run.said for run in runs if run.said is not None and run.said.word in ("pending", "stuck"))
    reasons = dict.fromkeys((task.word, task.reason) for task in tasks if task.reason)
    return [f"waiting, {word}: {shown(reason)}" for word, reason in reasons]


def watch_status(store: ResultsFolder, names: Sequence[str], by_run: bool, console: Console) -> None:
    """Show the tables of `sweeps status`, updated until no run is active."""
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            sweep_statuses = sweeps(store, names, max_age_s=_ASK_SLURM_S)
            notes = map(Text, canary.update_holds(store, [run for sweep in sweep_statuses for run in sweep.runs]))
            live.update(Group(*status_tables(store, sweep_statuses, by_run, time.time()), *notes), refresh=True)
            if not any(run.state.state in ACTIVE for sweep in sweep_statuses for run in sweep.runs):
                return
            time.sleep(_WATCH_S)


def follow_log(store: ResultsFolder, run: RunRef, position: logs.Position, write: Callable[[str], None]) -> None:
    """Write what is added to the log of `run` after `position` (byte offsets), until the run is no longer active."""
    steps = store.run_length(run.config_id)
    while True:
        (status,) = load_statuses(store, {run: steps}, max_age_s=_ASK_SLURM_S).values()
        if status.submission is not None and status.task is not None:
            for text in logs.added(logs.of_run(store, run, status.submission, status.task), position):
                write(text)
        if status.state.state not in ACTIVE:
            return
        time.sleep(_LOG_S)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}"),
        console=console,
    )


class TimeLeft:
    """Estimates the seconds until the remaining steps are made, at the recent speed of all runs together."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def update(self, now: float, completed: int, remaining: int) -> float | None:
        """The estimate at time `now`; None while the speed is not known."""
        if self._first is None or completed <= self._first[1]:
            self._first = now, completed  # no run makes steps yet
            return None
        fraction, seconds = _SETTLED
        if completed < fraction * (completed + remaining) and now - self._first[0] < seconds:
            return None
        if self._samples and self._samples[0][1] == completed:
            self._samples.clear()  # the first updates may take long without a step
        self._samples.append((now, completed))
        while self._samples[0][0] < now - _WINDOW_S:
            self._samples.popleft()
        start, before = self._samples[0]
        if now - start < _SHORTEST_S or completed <= before or not remaining:
            return None
        return remaining * (now - start) / (completed - before)


class _ProgressView:
    """A progress bar for all runs, one for each run that trains, and a line for each that ended. result_words: see
    `Agents.result_words`. unit: of the length of a run."""

    def __init__(
        self, progress: Progress, labels: Mapping[RunRef, str], total: int, result_words: str, unit: str = "steps"
    ) -> None:
        self._progress, self._labels, self._result_words, self._unit = progress, labels, result_words, unit
        self._total = progress.add_task("all runs", total=total, detail="")
        self._bars: dict[RunRef, TaskID] = {}
        self._ended: set[RunRef] = set()
        self._notes: set[str] = set()
        self._tenths, self._steps = 0, total
        self._time_left = TimeLeft()

    def print_notes(self, notes: Sequence[str]) -> None:
        """Print the notes that were not printed before."""
        for note in notes:
            if note not in self._notes:
                self._notes.add(note)
                self._progress.console.print(note, markup=False, soft_wrap=True)

    def update(self, statuses: Mapping[RunRef, RunStatus]) -> None:
        completed = sum(round(run.record.share * run.record.steps) for run in statuses.values())
        detail = str(counts_text(Counter(run.state.state for run in statuses.values())))
        active = (run.record for run in statuses.values() if run.state.state in ACTIVE)
        remaining = sum(max(0, record.steps - record.step) for record in active)
        left = self._time_left.update(time.time(), completed, remaining)
        if left is not None:
            detail += f", about {duration(left)} left"
        self._progress.update(self._total, completed=completed, detail=detail)
        self._print_tenths(completed, detail)
        for ref, run in statuses.items():
            if run.state.state in ("running", "stalled"):
                self._show(ref, run)
            else:
                self._drop(ref)
            if run.state.state not in ACTIVE and ref not in self._ended:
                self._ended.add(ref)
                self._print_end(ref, run)

    def _print_tenths(self, completed: int, detail: str) -> None:
        """If the output is not a terminal, print a line for every tenth of the steps."""
        tenths = 10 * completed // max(1, self._steps)
        if tenths > self._tenths and not self._progress.console.is_terminal:
            self._tenths = tenths
            self._progress.console.print(f"{completed:,} of {self._steps:,} {self._unit}, {detail}", soft_wrap=True)

    def _show(self, ref: RunRef, run: RunStatus) -> None:
        if ref not in self._bars:
            self._bars[ref] = self._progress.add_task(_escape(self._labels[ref]), total=run.record.steps, detail="")
        self._progress.update(self._bars[ref], completed=run.record.step, detail=self._format(run))

    def _drop(self, ref: RunRef) -> None:
        if ref in self._bars:
            self._progress.remove_task(self._bars.pop(ref))

    def _print_end(self, ref: RunRef, run: RunStatus) -> None:
        text = state_text(run.state.state)
        text.append(
            f"  {self._labels[ref]}  {self._format(run)}  {run.state.reason}".rstrip(),
            style="default",
        )
        self._progress.console.print(text, soft_wrap=True)

    def _format(self, run: RunStatus) -> str:
        """As in `12.5 steps/s, return 431`."""
        status = run.record.status
        if status is None:
            return ""
        parts = [f"{run.steps_per_s:.1f} {self._unit}/s"] if run.steps_per_s else []  # 0 before it is measured
        if status.last_return is not None:
            parts.append(f"{self._result_words} {format_last(status.last_return, self._result_words)}")
        return ", ".join(parts)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
