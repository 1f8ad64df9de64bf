"""What has become of the runs: disk, local schedulers and Slurm, merged."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import local, slurm
from jobs.errors import JobsError, near
from jobs.records import Submission, View, ViewConfig
from jobs.state import RunState, State, TaskState, run_state
from jobs.store import RunRecord, RunRef, Store


@dataclass(frozen=True)
class RunStatus:
    """A run with its state. submission, task: the newest that holds it, None for one trained in the foreground."""

    record: RunRecord
    state: RunState
    submission: Submission | None
    task: int | None


@dataclass(frozen=True)
class SweepStatus:
    """A submitted sweep; rows: (configuration, its runs in the order of the seeds)."""

    view: View
    rows: tuple[tuple[ViewConfig, tuple[RunStatus, ...]], ...]

    @property
    def runs(self) -> list[RunStatus]:
        return [run for _, runs in self.rows for run in runs]


def survey(store: Store, runs: Mapping[RunRef, int], now: float | None = None) -> dict[RunRef, RunStatus]:
    """The state of each of `runs` (run -> agent steps asked for); Slurm is asked once at most."""
    newest: dict[RunRef, tuple[Submission, int]] = {}
    for submission in store.submissions():
        for index, task in enumerate(submission.tasks):
            for seed in task.seeds if submission.holds(index) else ():
                newest[RunRef(task.config_id, seed)] = (submission, index)
    records = {run: store.load_run(run, steps) for run, steps in runs.items()}
    open_ones = {newest[run][0].id: newest[run][0] for run, r in records.items() if not r.done and run in newest}
    tasks = _task_states(store, open_ones.values())
    when = time.time() if now is None else now
    found = {}
    for run, record in records.items():
        holder = newest.get(run)
        word = tasks.get((holder[0].id, holder[1])) if holder else None
        state = run_state(record, word, when)
        found[run] = RunStatus(record, state, *holder) if holder else RunStatus(record, state, None, None)
    return found


def _task_states(store: Store, submissions: Iterable[Submission]) -> dict[tuple[str, int], TaskState]:
    """Of the backends that can be asked; a foreground run is known by its process alone."""
    asked = list(submissions)
    return {
        **local.task_states(store, [s for s in asked if s.backend == "local"]),
        **slurm.task_states([s for s in asked if s.backend == "slurm"]),
    }


def sweeps(store: Store, names: Sequence[str] = ()) -> list[SweepStatus]:
    """The sweeps of the results folder, those under `names` or all; a sweep's name stands for its options too."""
    views = [view for view in map(store.read_view, selected(store, names)) if view is not None]
    steps: dict[RunRef, int] = {}
    for view in views:
        for config in view.configs:
            stored = store.read_config(config.config_id)
            if stored is not None:
                steps.update({RunRef(config.config_id, seed): stored.steps for seed in config.seeds})
    states = survey(store, steps)
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


def selected(store: Store, names: Sequence[str]) -> list[str]:
    """Names of submitted sweeps. Raises `JobsError` for one that was never submitted here."""
    there = store.view_names()
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
        "reason": run.state.reason,
        "step": record.step,
        "steps": record.steps,
        "steps_per_s": status.steps_per_s if status else None,
        "last_return": status.last_return if status else None,
        "attempts": record.attempts,
        "host": record.attempt.host if record.attempt else None,
        "submission": run.submission.id if run.submission else None,
        "task": run.task,
    }
