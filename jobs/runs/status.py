"""What has become of the runs: disk, local schedulers and Slurm, merged."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.backends import registry
from jobs.backends.base import TaskKey
from jobs.results.attempts import RunRecord, RunRef
from jobs.results.records import Submission, SubmittedConfiguration, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import RunState, State, TaskState, belongs, given_up, run_state
from jobs.runs import logs
from sweepwise.core.errors import JobsError, near


@dataclass(frozen=True)
class RunStatus:
    """A run with its state. submission, task: the newest that holds it, None for one trained in the foreground.

    said: what the task's backend says, None where it was not asked.
    """

    record: RunRecord
    state: RunState
    submission: Submission | None = None
    task: int | None = None
    said: TaskState | None = None

    @property
    def node(self) -> str:
        """Where it runs, or ran last."""
        if self.said is not None and self.said.node:
            return self.said.node
        return self.record.attempt.host if self.record.attempt else ""

    @property
    def job(self) -> str | None:
        """Slurm's id of its task."""
        return self.submission.job_of(self.task) if self.submission is not None and self.task is not None else None

    @property
    def steps_per_s(self) -> float | None:
        """Its speed, while it trains."""
        status = self.record.status
        return status.steps_per_s if status is not None and self.state.state == "running" else None

    @property
    def seconds_left(self) -> float | None:
        """Of training at its present speed."""
        speed = self.steps_per_s
        return (self.record.steps - self.record.step) / speed if speed else None


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
    """The state of each of `runs` (run -> agent steps asked for); Slurm is asked once at most.

    max_age_s: an answer of Slurm that is no older than this will do.
    """
    newest: dict[RunRef, tuple[Submission, int]] = {}
    submissions = {submission.id: submission for submission in store.submissions.all()}
    for submission in submissions.values():
        for index, task in enumerate(submission.tasks):
            for seed in task.seeds if submission.holds(index) else ():
                newest[RunRef(task.config_id, seed)] = (submission, index)
    records = {run: store.attempts.load(run, steps) for run, steps in runs.items()}
    asked = {newest[run][0].id for run, r in records.items() if not r.done and run in newest}
    open_attempts = (r.attempt for r in records.values() if r.attempt and not (r.outcome or r.done))
    asked |= {attempt.submission for attempt in open_attempts if attempt.submission}
    when = time.time() if now is None else now
    tasks = _task_states(store, [submissions[name] for name in asked & set(submissions)], when, max_age_s)
    found = {}
    for run, record in records.items():
        if run not in newest:
            found[run] = RunStatus(record, given_up(record, None, run_state(record, None, when)))
            continue
        holder, place = newest[run]
        said = tasks.get((holder.id, place))
        if said is not None and said.word in ("ended", "gone") and _without_words(record, said):
            said = logs.explain(store, holder, place, said)
        state = given_up(record, holder.id, run_state(record, said, when, _begun_by(record, tasks)))
        found[run] = RunStatus(record, state, holder, place, said)
    return found


def _begun_by(record: RunRecord, tasks: Mapping[tuple[str, int], TaskState]) -> TaskState | None:
    """The task that began the newest attempt."""
    attempt = record.attempt
    if attempt is None or attempt.submission is None or attempt.task is None:
        return None
    return tasks.get((attempt.submission, attempt.task))


def _without_words(record: RunRecord, said: TaskState) -> bool:
    """Whether the run itself says nothing of how its task ended."""
    if record.done:
        return False
    return record.outcome is None if belongs(record.attempt, said) else bool(said.reason or said.cause)


def _task_states(
    store: ResultsFolder, submissions: Iterable[Submission], now: float, max_age_s: float
) -> dict[TaskKey, TaskState]:
    """What the backends of `submissions` say of their tasks."""
    by_backend: dict[str, list[Submission]] = {}
    for submission in submissions:
        by_backend.setdefault(submission.backend, []).append(submission)
    states: dict[TaskKey, TaskState] = {}
    for name, own in by_backend.items():
        if registry.is_known(name):
            states |= registry.get(name).task_states(store, own, now, max_age_s)
        else:
            states |= _unknown(name, own)
    return states


def _unknown(backend: str, submissions: Iterable[Submission]) -> dict[TaskKey, TaskState]:
    reason = f"backend {backend!r} is not installed here"
    return {
        (submission.id, task): TaskState(submission.id, "unknown", reason)
        for submission in submissions
        for task in range(len(submission.tasks))
    }


def sweeps(store: ResultsFolder, names: Sequence[str] = (), max_age_s: float = 0.0) -> list[SweepStatus]:
    """The sweeps of the results folder, those under `names` or all; a sweep's name stands for its options too.

    max_age_s: see `survey`.
    """
    views = [view for view in map(store.read_sweep, selected(store, names)) if view is not None]
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
    """Names of submitted sweeps. Raises `JobsError` for one that was never submitted here."""
    there = store.sweep_names()
    if not names:
        return there
    chosen: list[str] = []
    for name in names:
        matches = [t for t in there if t == name] or [t for t in there if t.startswith(f"{name}.")]
        if not matches:
            what = near(name, there) if there else "nothing was"
            raise JobsError(f"sweep {name!r} was not submitted to {store.root}; {what}")
        chosen += matches
    return list(dict.fromkeys(chosen))


def counts(runs: Iterable[RunStatus]) -> Counter[State]:
    return Counter(run.state.state for run in runs)


def to_json(found: Sequence[SweepStatus], problems: Iterable[str]) -> dict[str, Any]:
    """For `status --json`: plain values, stable keys."""
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
                        "runs": [_run_json(run) for run in runs],
                    }
                    for config, runs in sweep.rows
                ],
            }
            for sweep in found
        ],
        "problems": list(problems),
    }


def _run_json(run: RunStatus) -> dict[str, Any]:
    record, status = run.record, run.record.status
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
    }


def failures(runs: Iterable[RunStatus]) -> list[tuple[str, list[RunStatus]]]:
    """Failed runs by what they failed with, the most frequent first."""
    groups: dict[str, list[RunStatus]] = {}
    for run in runs:
        if run.state.state == "failed":
            groups.setdefault(run.state.reason.partition("; see ")[0], []).append(run)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
