"""Submissions from written down to released, every step recorded: any later command goes on where one was killed.

Jobs are submitted held, their ids recorded, then they are released. A chunk whose id is not recorded may still be with
Slurm, so its unique name is looked up before it is submitted again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from jobs.backends.base import NoResponse
from jobs.backends.slurm import commands
from jobs.results.attempts import RunRef
from jobs.results.lock import Lock
from jobs.results.records import Chunk, Submission
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

_PAUSES_S = (2.0, 10.0)  # before Slurm is asked again that did not answer


def split(counts: Sequence[int], size: int) -> list[int]:
    """Sizes of arrays of at most `size` tasks for groups of `counts` tasks, group by group."""
    return [min(size, count - start) for count in counts for start in range(0, count, size)]


def shares(counts: Sequence[int], throttle: int) -> list[int]:
    """How many tasks of each array may run at a time, by its size: together at most `throttle`, and at least one each.

    Where there are more arrays than `throttle` they wait for one another, see `chunks`.
    """
    found: list[int] = []
    for position, count in enumerate(counts):
        left, later = throttle - sum(found), counts[position + 1 :]
        fair = -(-left * count // (count + sum(later)))  # rounded up
        found.append(max(1, min(fair, count, left - len(later))))
    return found


def chunks(job_name: str, counts: Sequence[int], free: int, throttle: int, report: bool) -> list[Chunk]:
    """Arrays of `counts` tasks each, of which at most `throttle` run at a time; those behind `free` tasks are held.

    report: a last job, that begins when all have ended, however they ended.
    """
    found: list[Chunk] = []
    start = 0
    for position, count in enumerate(counts):
        name = job_name if len(counts) == 1 else f"{job_name}.{position + 1}"
        after = [position - throttle] if position >= throttle else []
        found.append(Chunk(name, start, count, after, held=start >= free))
        start += count
    if report:
        found.append(Chunk(f"{job_name}.report", start, 0, list(range(len(counts)))))
    return found


def proceed(store: ResultsFolder, submission: Submission, lock: Lock, *, asked: bool) -> Submission:
    """Hand over what of `submission` (for Slurm) is not, then release it. asked: parts of it may be with Slurm.

    Raises `JobsError` where Slurm refuses, which is recorded as the submission's problem: what it took before stays.
    Raises `NoResponse` where it does not answer; the submission stays open then.
    """
    submission, refused = _hand_over(store, submission, lock, asked)
    lock.renew()
    if not _release(submission):
        submission, refused = _hand_over(store, _without_lost(store, submission), lock, asked=True)
        _release(submission)
    submission = replace(submission, handed_over=True, problem=str(refused) if refused else "")
    store.submissions.write(submission)
    if refused is not None:
        taken = sum(chunk.count for chunk in submission.chunks if chunk.job_id)
        before = f"{taken} of {len(submission.tasks)} tasks were submitted, then " if taken else ""
        raise JobsError(f"{before}{refused}") from refused
    return submission


def _hand_over(
    store: ResultsFolder, submission: Submission, lock: Lock, asked: bool
) -> tuple[Submission, JobsError | None]:
    """`submission` with the ids of all chunks, each recorded as soon as it is known, or of those before a refusal."""
    for position, chunk in enumerate(submission.chunks):
        if chunk.job_id:
            continue
        lock.renew()
        try:
            job = _submitted(store, submission, position, asked)
        except NoResponse as error:
            raise NoResponse(f"{error}; the next `sweeps submit` or `status` goes on with {submission.id}") from error
        except JobsError as error:
            return submission, error
        done = [*submission.chunks[:position], replace(chunk, job_id=job), *submission.chunks[position + 1 :]]
        submission = replace(submission, chunks=done)
        store.submissions.write(submission)
    return submission, None


def _release(submission: Submission) -> bool:
    """Let the jobs run that are to; False where Slurm may have lost one."""
    ready = [chunk.job_id for chunk in submission.chunks if chunk.job_id and not chunk.held]
    return not ready or commands.release(ready)


def _without_lost(store: ResultsFolder, submission: Submission) -> Submission:
    """Without the ids of jobs that a controller forgot which died before it had saved what it accepted."""
    begun = {
        attempt.task
        for task in submission.tasks
        for seed in task.seeds
        if (attempt := store.attempts.load(RunRef(task.config_id, seed), 0).attempt)
        and attempt.submission == submission.id
    }
    chunks = [
        replace(chunk, job_id="")
        if chunk.job_id and not begun & set(chunk.tasks) and commands.find(chunk.job_name, submission.time) is None
        else chunk
        for chunk in submission.chunks
    ]
    return replace(submission, chunks=chunks)


def _submitted(store: ResultsFolder, submission: Submission, position: int, asked: bool) -> str:
    """The id of a chunk's job: Slurm's, where it has it already, else a new one. Raises as `proceed`."""
    chunk = submission.chunks[position]
    after = [submission.chunks[other].job_id for other in chunk.after]
    for pause in (*_PAUSES_S, None):
        try:
            found = commands.find(chunk.job_name, submission.time) if asked else None
            return found or commands.sbatch(store.submissions.script_path(submission.id, position), after)
        except JobsError as error:
            asked = True
            if not isinstance(error, NoResponse):
                found = commands.find(chunk.job_name, submission.time)
                if found is None:
                    raise
                return found
            if pause is None:
                raise
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


# --- what a killed command left -----------------------------------------------------------------------------


def recover(store: ResultsFolder, submissions: Sequence[Submission], lock: Lock) -> Iterator[str]:
    """Complete the interrupted hand-over of `submissions` of this cluster; a line about each for the user."""
    for submission in submissions:
        try:
            if submission.exported:
                _adopt(store, submission)
                continue
            proceed(store, submission, lock, asked=True)
            yield f"{submission.id} was interrupted while it was submitted; it is complete now"
        except JobsError as error:
            yield f"{submission.id}, which was interrupted: {error}"


def _adopt(store: ResultsFolder, submission: Submission) -> None:
    """Record the ids of exported scripts that were submitted by hand."""
    found = [
        replace(chunk, job_id=chunk.job_id or commands.find(chunk.job_name, submission.time) or "")
        for chunk in submission.chunks
    ]
    if found != submission.chunks:
        done = all(chunk.job_id for chunk in found)
        store.submissions.write(replace(submission, chunks=found, handed_over=done))
