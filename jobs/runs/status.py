"""The status of runs, from the results folder and the backends of their submissions."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import process
from jobs.backends import registry
from jobs.backends.base import TaskKey
from jobs.results.attempts import RunRecord, RunRef
from jobs.results.decision_records import Annotations
from jobs.results.records import Submission, SubmittedConfiguration, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import RunState, State, TaskState, belongs, given_up, run_state
from jobs.runs import logs
from sweepwise.core.errors import JobsError, near
from sweepwise.core.value_format import listed

_MOST_NAMED = 8  # sweeps that a message names


@dataclass(frozen=True)
class RunStatus:
    """A run with its state. submission, task: the newest that includes it; None for one trained in the foreground.

    said: the state of the task in its backend; None if the backend was not queried. annotations: None for none.
    """

    record: RunRecord
    state: RunState
    submission: Submission | None = None
    task: int | None = None
    said: TaskState | None = None
    annotations: Annotations | None = None

    @property
    def is_excluded(self) -> bool:
        """Whether a user left it out of the analysis."""
        return self.annotations is not None and self.annotations.exclusion is not None

    @property
    def node(self) -> str:
        """The node where it runs, or ran last."""
        if self.said is not None and self.said.node:
            return self.said.node
        return self.record.attempt.host if self.record.attempt else ""

    @property
    def job(self) -> str | None:
        """The Slurm job id of its task."""
        return self.submission.job_of(self.task) if self.submission is not None and self.task is not None else None

    @property
    def steps_per_s(self) -> float | None:
        """Its speed while it trains, else None."""
        status = self.record.status
        return status.steps_per_s if status is not None and self.state.state == "running" else None

    @property
    def seconds_left(self) -> float | None:
        """Remaining training time at its current speed."""
        speed = self.steps_per_s
        return (self.record.steps - self.record.step) / speed if speed and self.record.steps > 1 else None


@dataclass(frozen=True)
class SweepStatus:
    """A submitted sweep; rows: (configuration, its runs in the order of the seeds)."""

    view: SubmittedSweep
    rows: tuple[tuple[SubmittedConfiguration, tuple[RunStatus, ...]], ...]

    @property
    def runs(self) -> list[RunStatus]:
        return [run for _, runs in self.rows for run in runs]


def load_statuses(
    store: ResultsFolder, runs: Mapping[RunRef, int], now: float | None = None, max_age_s: float = 0.0
) -> dict[RunRef, RunStatus]:
    """The status of each of `runs` (run -> agent steps requested); every backend is queried at most once.

    max_age_s: seconds; cached answers of Slurm that are no older are used.
    """
    newest: dict[RunRef, tuple[Submission, int]] = {}
    submissions = {s.id: s for s in store.submissions.all() if s.evaluation == store.evaluation}
    for submission in submissions.values():
        for index, task in enumerate(submission.tasks):
            for seed in task.seeds if submission.holds(index) else ():
                newest[RunRef(task.config_id, seed)] = (submission, index)
    records = _by_this_clock(store, {run: store.attempts.load(run, steps) for run, steps in runs.items()})
    to_query = {newest[run][0].id for run, r in records.items() if not r.done and run in newest}
    open_attempts = (r.attempt for r in records.values() if r.attempt and not (r.outcome or r.done))
    to_query |= {attempt.submission for attempt in open_attempts if attempt.submission}
    when = time.time() if now is None else now
    to_query |= _unsettled(store, [submissions[name] for name in {s.id for s, _ in newest.values()} - to_query], when)
    tasks = _task_states(store, [submissions[name] for name in to_query & set(submissions)], when, max_age_s)
    statuses, annotated = {}, store.annotated_runs()
    for run, record in records.items():
        noted = annotated.get(run)
        if run not in newest:
            state = given_up(record, None, run_state(record, None, when))
            statuses[run] = RunStatus(record, state, annotations=noted)
            continue
        holder, task_index = newest[run]
        task_state = tasks.get((holder.id, task_index))
        if task_state is not None and task_state.word in ("ended", "gone") and _lacks_cause(record, task_state):
            task_state = logs.explain(store, holder, task_index, task_state)
        state = given_up(record, holder.id, run_state(record, task_state, when, _starting_task(record, tasks)))
        statuses[run] = RunStatus(record, state, holder, task_index, task_state, noted)
    return statuses


def _unsettled(store: ResultsFolder, submissions: Iterable[Submission], now: float) -> set[str]:
    """See `Backend.unsettled`."""
    by_backend = _by_backend(submissions).items()
    return {name for backend, own in by_backend if registry.is_known(backend)
            for name in registry.get(backend).unsettled(store, own, now)}  # fmt: skip


def _by_backend(submissions: Iterable[Submission]) -> dict[str, list[Submission]]:
    by_backend: dict[str, list[Submission]] = {}
    for submission in submissions:
        by_backend.setdefault(submission.backend, []).append(submission)
    return by_backend


def _by_this_clock(store: ResultsFolder, records: dict[RunRef, RunRecord]) -> dict[RunRef, RunRecord]:
    """`records` with the times of runs on other hosts by this host's clock; unchanged where nothing can be written."""
    this_host = process.host()
    elsewhere = {run: r for run, r in records.items() if r.attempt and not r.outcome and r.attempt.host != this_host}
    try:
        ahead = time.time() - process.file_system_time(store.root) if elsewhere else 0.0
    except OSError:
        return records
    return records | {run: store.attempts.by_this_clock(record, ahead) for run, record in elsewhere.items()}


def _starting_task(record: RunRecord, tasks: Mapping[tuple[str, int], TaskState]) -> TaskState | None:
    """The state of the task that started the newest attempt; None if there is none."""
    attempt = record.attempt
    if attempt is None or attempt.submission is None or attempt.task is None:
        return None
    return tasks.get((attempt.submission, attempt.task))


def _lacks_cause(record: RunRecord, task: TaskState) -> bool:
    """Whether the run's files do not show how its task ended, so that its log must be searched."""
    if record.done:
        return False
    return record.outcome is None if belongs(record.attempt, task) else bool(task.reason or task.cause)


def _task_states(
    store: ResultsFolder, submissions: Iterable[Submission], now: float, max_age_s: float
) -> dict[TaskKey, TaskState]:
    """The states of the tasks of `submissions` in their backends."""
    states: dict[TaskKey, TaskState] = {}
    for name, members in _by_backend(submissions).items():
        if registry.is_known(name):
            states |= registry.get(name).task_states(store, members, now, max_age_s)
        else:
            states |= _unknown(name, members)
    return states


def _unknown(backend: str, submissions: Iterable[Submission]) -> dict[TaskKey, TaskState]:
    reason = f"backend {backend!r} is not installed here"
    return {
        (submission.id, task): TaskState(submission.id, "unknown", reason)
        for submission in submissions
        for task in range(len(submission.tasks))
    }


def only_sweep(store: ResultsFolder, name: str, what: str) -> SweepStatus:
    """The sweep `name`. what: is done with each sweep by itself, for the message. Raises `JobsError` for several."""
    statuses = sweeps(store, [name])
    if len(statuses) > 1:
        names = [status.view.name for status in statuses]
        of_one = all(status.view.tasks_of == name for status in statuses)
        several = f"has {len(names)} tasks" if of_one else "is several sweeps"
        raise JobsError(f"{name} {several}, each {what} separately: {listed(names, _MOST_NAMED)}")
    return statuses[0]


def sweeps(store: ResultsFolder, names: Sequence[str] = (), max_age_s: float = 0.0) -> list[SweepStatus]:
    """The sweeps of the results folder: those in `names` or all, in the order of the plan. A name also selects the
    sweeps `name.OPTION`; several names keep their order.

    max_age_s: see `load_statuses`.
    """
    views = [view for view in map(store.read_sweep, selected(store, names)) if view is not None]
    if len(names) < 2:
        views.sort(key=lambda view: view.position or math.inf)
    steps: dict[RunRef, int] = {}
    for view in views:
        for config in view.configs:
            stored = store.read_config(config.config_id)
            if stored is not None:
                steps.update({RunRef(config.config_id, seed): stored.steps for seed in config.seeds})
    states = load_statuses(store, steps, max_age_s=max_age_s)
    return [
        SweepStatus(
            view,
            tuple(
                (c, tuple(states[run] for seed in c.seeds if (run := RunRef(c.config_id, seed)) in states))
                for c in view.configs
            ),
        )
        for view in views
    ]


def selected(store: ResultsFolder, names: Sequence[str]) -> list[str]:
    """The names of the submitted sweeps that `names` select, all for none. Raises `JobsError` for an unknown name."""
    submitted = store.sweep_names()
    if not names:
        return submitted
    chosen: list[str] = []
    for name in names:
        matches = [t for t in submitted if t == name] or [t for t in submitted if t.startswith(f"{name}.")]
        if not matches:
            what = near(name, submitted) if submitted else "nothing was"
            raise JobsError(f"sweep {name!r} was not submitted to {store.root}; {what}")
        chosen += matches
    return list(dict.fromkeys(chosen))


def counts(runs: Iterable[RunStatus]) -> Counter[State]:
    return Counter(run.state.state for run in runs)


def to_json(
    sweep_statuses: Sequence[SweepStatus], problems: Iterable[str], finals: Sequence[Mapping[str, float]]
) -> dict[str, Any]:  # fmt: skip
    """The output of `status --json`: plain values with stable keys. finals: by sweep, see
    `jobs.runs.final_scores`."""
    return {
        "sweeps": [
            {
                "name": sweep.view.name,
                "counts": dict(counts(sweep.runs)),
                "configurations": [
                    {
                        "config_id": config.config_id,
                        "label": config.label,
                        "is_baseline": config.is_baseline,
                        "final": own.get(config.config_id),
                        "runs": [_run_json(run) for run in runs],
                    }
                    for config, runs in sweep.rows
                ],
            }
            for sweep, own in zip(sweep_statuses, finals, strict=True)
        ],
        "problems": list(problems),
    }


def _run_json(run: RunStatus) -> dict[str, Any]:
    record, status = run.record, run.record.status
    noted = run.annotations or Annotations()
    return {
        "seed": record.ref.seed,
        "state": run.state.state,
        "cause": run.state.cause or None,
        "reason": run.state.reason,
        "as_of": run.state.as_of,
        "step": record.step,
        "steps": record.steps,
        "steps_per_s": status.steps_per_s if status else None,
        "seconds_left": run.seconds_left,
        "last_return": status.last_return if status else None,
        "attempts": record.attempts,
        "node": run.node or None,
        "host": record.attempt.host if record.attempt else None,
        "submission": run.submission.id if run.submission else None,
        "task": run.task,
        "job": run.job,
        "excluded": noted.exclusion.reason if noted.exclusion else None,
        "tags": noted.tags,
        "notes": [note.text for note in noted.notes],
    }


def waiting(runs: Iterable[RunStatus]) -> list[tuple[State, str, int]]:
    """(state, reason, number) of the runs that do not start by themselves, or wait for more than their turn."""
    states: Counter[tuple[State, str]] = Counter(
        (run.state.state, run.state.reason)
        for run in runs
        if run.state.state == "stuck" or (run.state.state == "pending" and run.state.cause == "limit")
    )
    return [(state, reason, count) for (state, reason), count in states.most_common()]


def failures(runs: Iterable[RunStatus]) -> list[tuple[str, list[RunStatus]]]:
    """Failed runs grouped by reason, the most frequent reason first."""
    groups: dict[str, list[RunStatus]] = {}
    for run in runs:
        if run.state.state == "failed":
            groups.setdefault(run.state.reason.partition("; see ")[0], []).append(run)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
