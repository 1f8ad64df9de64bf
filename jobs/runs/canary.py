"""What is held at Slurm: seeds that wait for their configuration's canary, and all that waits after a series of deaths.

Nobody stays behind to watch. A canary's own job releases the seeds that wait for it, a job that dies looks whether it
is the third to die alike and then holds what has not begun; `sweeps status` does either where a job could not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from jobs import process
from jobs.backends import registry
from jobs.results.attempts import RunRef
from jobs.results.records import CircuitBreaker, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs.status import RunStatus, load_statuses
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Progress
from tdmpc.config import TrainConfig

TRIPS_AT = 3  # tasks
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")  # devices, ports, addresses, processes: they differ between deaths alike


def healthy_step(config: TrainConfig) -> int:
    """The step at which a run has trained, was evaluated, and went on."""
    first = -(-config.seed_phase_steps // config.eval_freq) * config.eval_freq
    return min(config.steps, first + 1)


def waiting(store: ResultsFolder, submission: Submission) -> dict[str, list[str]]:
    """Configuration -> its jobs that wait for its canary."""
    released = store.submissions.released(submission.id)
    found: dict[str, list[str]] = {}
    for chunk in submission.chunks:
        for task in chunk.tasks if chunk.held else ():
            config, job = submission.tasks[task].config_id, chunk.job_of(task)
            if config not in released and job is not None:
                found.setdefault(config, []).append(job)
    return found


def release_configuration(store: ResultsFolder, submission: Submission, config: str) -> None:
    """Let the seeds run that wait for the canary of `config`. Raises `NoResponse` where Slurm does not."""
    jobs, tripped = waiting(store, submission).get(config), store.submissions.read_breaker(submission.id)
    if jobs and (tripped is None or tripped.released):
        registry.get(submission.backend).release(jobs)
        store.submissions.mark_released(submission.id, config)


@dataclass
class Canary:
    """Listens to a canary's progress in its own job, and releases the seeds that wait for it once it is healthy."""

    store: ResultsFolder
    submission: Submission
    at: dict[str, int] = field(default_factory=dict)

    def __call__(self, run: RunRef, progress: Progress) -> None:
        if run.config_id not in self.at:
            self.at[run.config_id] = healthy_step(self.store.check_config(run.config_id))
        if progress.step < self.at[run.config_id]:
            return
        self.at[run.config_id] = progress.total + 1  # once
        try:
            release_configuration(self.store, self.submission, run.config_id)
        except JobsError as error:
            print(f"{error}; the next `sweeps status` does it", flush=True)


def listener(store: ResultsFolder, submission: Submission, task: int) -> Callable[[RunRef, Progress], None]:
    """For the progress of a task's runs: releases what waits for them, where something does."""
    if _held(submission, task) or submission.tasks[task].config_id not in waiting(store, submission):
        return lambda run, progress: None
    return Canary(store, submission)


# --- a series of deaths -------------------------------------------------------------------------------------


def _can_hold(submission: Submission) -> bool:
    return registry.is_known(submission.backend) and registry.get(submission.backend).can_hold


def repeated_failures(store: ResultsFolder, runs: Iterable[RunStatus]) -> tuple[int, str] | None:
    """How many tasks of a submission died, and of what, where all that ended died alike and at once."""
    died: dict[int | None, str] = {}
    for run in runs:
        record = run.record
        config = store.read_config(record.ref.config_id)
        if run.state.state == "failed":
            died[run.task] = run.state.reason.partition("; see ")[0]
        if run.state.state in ("done", "diverged", "interrupted") or (config and record.step >= healthy_step(config)):
            return None
    alike = {_NUMBER.sub("#", reason) for reason in died.values()}
    return (len(died), next(iter(died.values()))) if len(alike) == 1 else None


def trip_breaker(store: ResultsFolder, submission: Submission, runs: Iterable[RunStatus]) -> bool:
    """Hold what waits of `submission` where its first tasks died alike; whether that was done now."""
    if store.submissions.read_breaker(submission.id) is not None:
        return False
    found = repeated_failures(store, runs)
    if found is None or found[0] < TRIPS_AT:
        return False
    held = registry.get(submission.backend).hold_pending(submission)
    if not held:
        return False
    return store.submissions.claim_breaker(submission.id, CircuitBreaker(*found, held, time.time()))


def after_failure(store: ResultsFolder, submission: Submission) -> None:
    """In a job that failed: see whether it is one of a series. A backend that does not answer is no error here."""
    if not _can_hold(submission) or store.submissions.read_breaker(submission.id) is not None:
        return
    steps = {task.config_id: store.check_config(task.config_id).steps for task in submission.tasks}
    runs = {RunRef(task.config_id, seed): steps[task.config_id] for task in submission.tasks for seed in task.seeds}
    found = load_statuses(store, runs).values()
    try:
        if trip_breaker(store, submission, [run for run in found if _of(run, submission)]):
            print("the first tasks died alike: what waits is held; `sweeps status` says more", flush=True)
    except JobsError as error:
        print(error, flush=True)


def _of(run: RunStatus, submission: Submission) -> bool:
    return run.submission is not None and run.submission.id == submission.id


# --- `status` and `release` ---------------------------------------------------------------------------------


def update_holds(store: ResultsFolder, runs: Sequence[RunStatus]) -> list[str]:
    """Release and hold what is due among the submissions of `runs`; a line about each that is held."""
    submissions = {run.submission.id: run.submission for run in runs if run.submission is not None}
    notes = []
    for submission in submissions.values():
        if not _can_hold(submission) or not submission.handed_over:
            continue
        mine = [run for run in runs if _of(run, submission)]
        if submission.user == process.user():
            try:
                _release_healthy(store, submission, mine)
                trip_breaker(store, submission, mine)
            except JobsError as error:
                notes.append(f"{submission.id}: {error}")
        notes += _told(store, submission, mine)
    return notes


def _release_healthy(store: ResultsFolder, submission: Submission, runs: Sequence[RunStatus]) -> None:
    for config in waiting(store, submission):
        full = store.read_config(config)
        canaries = [run for run in runs if run.record.ref.config_id == config and not _held(submission, run.task)]
        if full is not None and any(run.record.step >= healthy_step(full) for run in canaries):
            release_configuration(store, submission, config)


def _held(submission: Submission, task: int | None) -> bool:
    return any(chunk.held for chunk in submission.chunks if task in chunk.tasks)


def _told(store: ResultsFolder, submission: Submission, runs: Sequence[RunStatus]) -> list[str]:
    again = f"`sweeps release {submission.sweep}` lets them run"
    tripped = store.submissions.read_breaker(submission.id)
    if tripped is not None and not tripped.released:
        return [
            f"{submission.sweep}: {tripped.held} tasks are held, the first {tripped.tasks} died alike "
            f"({tripped.reason}); {again}"
        ]
    left = waiting(store, submission)
    tasks = sum(map(len, left.values()))
    bad = [r for r in runs if r.record.ref.config_id in left and r.state.state in ("failed", "diverged", "interrupted")]
    ended = f"; {len(bad)} of these ended: {bad[0].state.reason}" if bad else ""
    where = f"{submission.sweep}: {tasks} tasks are held until the first seeds of their {len(left)} configurations are"
    return [f"{where} healthy{ended}; {again}"] if tasks else []


def blocked(store: ResultsFolder, runs: Sequence[RunStatus]) -> bool:
    """Whether nothing of `runs` goes on by itself: what is active is held, and no canary is left to release it."""
    active = [run for run in runs if run.state.state in ACTIVE]
    return bool(active) and all(_is_blocked(store, run, active) for run in active)


def _is_blocked(store: ResultsFolder, run: RunStatus, active: Sequence[RunStatus]) -> bool:
    submission, config = run.submission, run.record.ref.config_id
    if submission is None or not _can_hold(submission) or run.state.state != "pending":
        return False
    tripped = store.submissions.read_breaker(submission.id)
    if tripped is not None and not tripped.released:
        return True
    return (
        _held(submission, run.task)
        and config in waiting(store, submission)
        and all(_held(submission, other.task) for other in active if other.record.ref.config_id == config)
    )


def release_all(store: ResultsFolder, submissions: Iterable[Submission]) -> int:
    """Let everything held of `submissions` run; how many submissions had something. Raises `JobsError`."""
    count = 0
    for submission in submissions:
        tripped, left = store.submissions.read_breaker(submission.id), waiting(store, submission)
        if not left and (tripped is None or tripped.released):
            continue
        registry.get(submission.backend).release([chunk.job_id for chunk in submission.chunks if chunk.job_id])
        for config in left:
            store.submissions.mark_released(submission.id, config)
        if tripped is not None:
            store.submissions.write_breaker(submission.id, replace(tripped, released=True))
        count += 1
    return count
