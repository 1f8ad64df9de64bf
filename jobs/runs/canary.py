"""Jobs held at Slurm: seeds that wait for their configuration's canary, and pending tasks after repeated failures.

No process has to keep running for this. A canary's own job releases the seeds that wait for it. A job that fails holds
the pending tasks if at least `TRIPS_AT` tasks failed for one reason and no run was healthy. `sweeps status` does both
if a job could not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from jobs import process
from jobs.backends import registry
from jobs.results.attempts import RunRef
from jobs.results.records import CircuitBreaker, QueueSnapshot, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE, NOT_BEGUN
from jobs.runs import nodes, notify
from jobs.runs.status import RunStatus, load_statuses
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Progress

TRIPS_AT = 3  # tasks
LOOK_S = 60.0
# Devices, ports, addresses and process ids differ between failures of the same kind.
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")


def held_jobs(store: ResultsFolder, submission: Submission) -> dict[str, list[str]]:
    """Config ID -> the jobs of its seeds that wait for its canary."""
    released = store.submissions.released(submission.id)
    jobs: dict[str, list[str]] = {}
    for chunk in submission.chunks:
        for task in chunk.tasks if chunk.held else ():
            config, job = submission.tasks[task].config_id, chunk.job_of(task)
            if config not in released and job is not None:
                jobs.setdefault(config, []).append(job)
    return jobs


def release_configuration(store: ResultsFolder, submission: Submission, config: str) -> None:
    """Release the seeds that wait for the canary of `config`. Raises `NoResponse` if Slurm did not release them."""
    jobs, breaker = held_jobs(store, submission).get(config), store.submissions.read_breaker(submission.id)
    if jobs and (breaker is None or breaker.released):
        registry.get(submission.backend).release(jobs)
        store.submissions.mark_released(submission.id, config)


@dataclass
class Canary:
    """A listener in a canary's own job that releases the seeds that wait for it, once it is healthy."""

    store: ResultsFolder
    submission: Submission
    at: dict[str, int] = field(default_factory=dict)

    def __call__(self, run: RunRef, progress: Progress) -> None:
        if run.config_id not in self.at:
            self.at[run.config_id] = self.store.check_config(run.config_id).healthy_step
        if progress.step < self.at[run.config_id]:
            return
        self.at[run.config_id] = progress.total + 1  # never reached again, so that the release happens only once
        try:
            release_configuration(self.store, self.submission, run.config_id)
        except JobsError as error:
            print(f"{error}; the next `sweeps status` releases the tasks", flush=True)


def listener(store: ResultsFolder, submission: Submission, task: int) -> Callable[[RunRef, Progress], None]:
    """The progress listener of a task: a `Canary` if seeds wait for the task, else one that does nothing."""
    if _held(submission, task) or submission.tasks[task].config_id not in held_jobs(store, submission):
        return lambda run, progress: None
    return Canary(store, submission)


# --- repeated failures --------------------------------------------------------------------------------------


def _can_hold(submission: Submission) -> bool:
    return registry.is_known(submission.backend) and registry.get(submission.backend).can_hold


def repeated_failures(store: ResultsFolder, runs: Iterable[RunStatus]) -> tuple[int, str] | None:
    """(number of failed tasks, reason) if all tasks that ended failed for one reason before they were healthy."""
    reasons: dict[int | None, str] = {}
    for run in runs:
        record = run.record
        config = store.read_config(record.ref.config_id)
        if run.state.state == "failed":
            reasons[run.task] = run.state.reason.partition("; see ")[0]
        if run.state.state in ("done", "diverged", "interrupted") or (config and record.step >= config.healthy_step):
            return None
    kinds = {_NUMBER.sub("#", reason) for reason in reasons.values()}
    return (len(reasons), next(iter(reasons.values()))) if len(kinds) == 1 else None


def trip_breaker(store: ResultsFolder, submission: Submission, runs: Iterable[RunStatus]) -> bool:
    """Hold the pending tasks of `submission` after repeated failures. Returns whether this call did so."""
    if store.submissions.read_breaker(submission.id) is not None:
        return False
    failures = repeated_failures(store, runs)
    if failures is None or failures[0] < TRIPS_AT:
        return False
    held = registry.get(submission.backend).hold_pending(submission)
    if not held:
        return False
    tripped = store.submissions.claim_breaker(submission.id, CircuitBreaker(*failures, held, time.time()))
    if tripped:
        count, reason = failures
        message = f"{submission.sweep}: {held} waiting tasks are held, since the first {count} failed alike: {reason}"
        notify.send(store, submission, notify.Event(notify.HELD, submission.sweep, submission.id, message))
    return tripped


def _mind_failures(store: ResultsFolder, submission: Submission, runs: Sequence[RunStatus]) -> bool:
    """Keep pending tasks off nodes on which tasks end before their runs begin, and hold them after repeated failures
    elsewhere. Returns whether this call held them."""
    excluded = nodes.exclude_failing(store, submission, runs)
    elsewhere = [run for run in runs if not (run.state.cause == NOT_BEGUN and run.node in excluded)]
    return trip_breaker(store, submission, elsewhere)


def when_begun(store: ResultsFolder, submission: Submission) -> None:
    """Called in a job that begins, for the tasks that end before their runs begin and cannot look themselves; all jobs
    together look at most once in `LOOK_S` seconds. No error if the backend does not respond."""
    answers = store.read_queue() or QueueSnapshot()
    newest = max((answers.time_of(chunk.job_name) for chunk in submission.chunks), default=0.0)
    if not _can_hold(submission) or time.time() - newest < LOOK_S:
        return
    try:
        _mind_failures(store, submission, _runs_of(store, submission))
    except JobsError as error:
        print(error, flush=True)


def _runs_of(store: ResultsFolder, submission: Submission) -> list[RunStatus]:
    steps = {task.config_id: store.run_length(task.config_id) for task in submission.tasks}
    runs = {RunRef(task.config_id, seed): steps[task.config_id] for task in submission.tasks for seed in task.seeds}
    return [run for run in load_statuses(store, runs).values() if _belongs_to(run, submission)]


def after_failure(store: ResultsFolder, submission: Submission) -> None:
    """Called in a job that failed: check for repeated failures. No error if the backend does not respond."""
    if not _can_hold(submission) or store.submissions.read_breaker(submission.id) is not None:
        return
    try:
        if _mind_failures(store, submission, _runs_of(store, submission)):
            print("the first tasks failed in the same way: waiting tasks are held; see `sweeps status`", flush=True)
    except JobsError as error:
        print(error, flush=True)


def _belongs_to(run: RunStatus, submission: Submission) -> bool:
    return run.submission is not None and run.submission.id == submission.id


# --- `status` and `release` ---------------------------------------------------------------------------------


def update_holds(store: ResultsFolder, runs: Sequence[RunStatus]) -> list[str]:
    """Release and hold jobs of the submissions of `runs` where due. Returns a line about each one with held jobs."""
    submissions = {run.submission.id: run.submission for run in runs if run.submission is not None}
    notes = []
    for submission in submissions.values():
        if not _can_hold(submission) or not submission.handed_over:
            continue
        members = [run for run in runs if _belongs_to(run, submission)]
        if submission.user == process.user():
            try:
                _release_healthy(store, submission, members)
                _mind_failures(store, submission, members)
            except JobsError as error:
                notes.append(f"{submission.id}: {error}")
        notes += nodes.describe_excluded(submission, store.submissions.read_excluded(submission.id).nodes)
        notes += _describe_holds(store, submission, members)
    return notes


def _release_healthy(store: ResultsFolder, submission: Submission, runs: Sequence[RunStatus]) -> None:
    for config in held_jobs(store, submission):
        stored = store.read_config(config)
        canaries = [run for run in runs if run.record.ref.config_id == config and not _held(submission, run.task)]
        if stored is not None and any(run.record.step >= stored.healthy_step for run in canaries):
            release_configuration(store, submission, config)


def _held(submission: Submission, task: int | None) -> bool:
    return any(chunk.held for chunk in submission.chunks if task in chunk.tasks)


def _describe_holds(store: ResultsFolder, submission: Submission, runs: Sequence[RunStatus]) -> list[str]:
    again = f"`sweeps release {submission.sweep}` releases them"
    breaker = store.submissions.read_breaker(submission.id)
    if breaker is not None and not breaker.released:
        return [
            f"{submission.sweep}: {breaker.held} tasks are held, since the first {breaker.tasks} failed alike "
            f"({breaker.reason}); {again}"
        ]
    held = held_jobs(store, submission)
    tasks = sum(map(len, held.values()))
    ended_runs = [
        r for r in runs if r.record.ref.config_id in held and r.state.state in ("failed", "diverged", "interrupted")
    ]
    ended = f"; {len(ended_runs)} of these ended: {ended_runs[0].state.reason}" if ended_runs else ""
    prefix = f"{submission.sweep}: {tasks} tasks are held until the first seeds of their {len(held)} configurations are"
    return [f"{prefix} healthy{ended}; {again}"] if tasks else []


def blocked(store: ResultsFolder, runs: Sequence[RunStatus]) -> bool:
    """Whether all active `runs` are held and no active canary is left to release them."""
    active = [run for run in runs if run.state.state in ACTIVE]
    return bool(active) and all(_is_blocked(store, run, active) for run in active)


def _is_blocked(store: ResultsFolder, run: RunStatus, active: Sequence[RunStatus]) -> bool:
    submission, config = run.submission, run.record.ref.config_id
    if submission is None or not _can_hold(submission) or run.state.state != "pending":
        return False
    breaker = store.submissions.read_breaker(submission.id)
    if breaker is not None and not breaker.released:
        return True
    return (
        _held(submission, run.task)
        and config in held_jobs(store, submission)
        and all(_held(submission, other.task) for other in active if other.record.ref.config_id == config)
    )


def release_all(store: ResultsFolder, submissions: Iterable[Submission]) -> int:
    """Release all held jobs of `submissions`, whoever held them. Returns how many submissions had held jobs. Raises
    `JobsError`."""
    count = 0
    for submission in submissions:
        if not _can_hold(submission) or not submission.handed_over:
            continue
        breaker, held = store.submissions.read_breaker(submission.id), held_jobs(store, submission)
        jobs = registry.get(submission.backend).held(submission)
        if not jobs and not held and (breaker is None or breaker.released):
            continue
        if jobs is None:
            jobs = [chunk.job_id for chunk in submission.chunks if chunk.job_id]
        if jobs:
            registry.get(submission.backend).release(jobs)
        for config in held:
            store.submissions.mark_released(submission.id, config)
        if breaker is not None:
            store.submissions.write_breaker(submission.id, replace(breaker, released=True))
        count += 1
    return count
