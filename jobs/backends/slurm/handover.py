"""Hand submissions over to Slurm. Every step is recorded, so that a later command can complete an interrupted one.

Jobs are submitted held, their job ids are recorded, then they are released. A chunk without a recorded job id may
still be known to Slurm, so its unique name is looked up before it is submitted again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from jobs.backends.base import NoResponse
from jobs.backends.slurm import commands
from jobs.results.attempts import RunRef
from jobs.results.evaluations import folder_of
from jobs.results.lock import Lock
from jobs.results.records import Chunk, Submission
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

_PAUSES_S = (2.0, 10.0)  # before a command is repeated to which Slurm did not respond


def split(counts: Sequence[int], size: int) -> list[int]:
    """The sizes of the arrays, each of at most `size` tasks, for groups of `counts` tasks, in order."""
    return [min(size, count - start) for count in counts for start in range(0, count, size)]


def shares(counts: Sequence[int], throttle: int) -> list[int]:
    """How many tasks of each array may run at a time, by its size: at least one, in total at most `throttle`.

    With more arrays than `throttle`, later arrays wait for earlier ones, see `chunks`.
    """
    limits: list[int] = []
    for position, count in enumerate(counts):
        remaining, later = throttle - sum(limits), counts[position + 1 :]
        fair = -(-remaining * count // (count + sum(later)))  # rounded up
        limits.append(max(1, min(fair, count, remaining - len(later))))
    return limits


def chunks(job_name: str, counts: Sequence[int], free: int, throttle: int, has_last: bool) -> list[Chunk]:
    """Arrays of `counts` tasks each, of which at most `throttle` run at a time; those after `free` tasks are held.

    has_last: adds a last job that starts when all arrays have ended, whether they succeeded or not.
    """
    arrays: list[Chunk] = []
    start = 0
    for position, count in enumerate(counts):
        name = job_name if len(counts) == 1 else f"{job_name}.{position + 1}"
        after = [position - throttle] if position >= throttle else []
        arrays.append(Chunk(name, start, count, after, held=start >= free))
        start += count
    if has_last:
        arrays.append(Chunk(f"{job_name}.report", start, 0, list(range(len(counts)))))
    return arrays


def proceed(store: ResultsFolder, submission: Submission, lock: Lock, *, may_exist: bool) -> Submission:
    """Submit the chunks of `submission` without a job id, then release them. may_exist: Slurm may know some already.

    Raises `JobsError` if Slurm refuses a chunk; this is recorded as the submission's problem, and the chunks before it
    stay submitted. Raises `NoResponse` if Slurm does not respond, and `LimitReached` if it takes no more tasks now; the
    hand-over then stays incomplete.
    """
    submission, refused = _hand_over(store, submission, lock, may_exist)
    lock.renew()
    submission = replace(submission, controller=commands.cluster_settings().get("BOOT_TIME", ""))
    if not _release(submission):
        submission, refused = _hand_over(store, _without_lost_jobs(store, submission), lock, may_exist=True)
        _release(submission)
    waits = isinstance(refused, commands.LimitReached)
    submission = replace(submission, handed_over=not waits, problem=str(refused) if refused and not waits else "")
    store.submissions.write(submission)
    if refused is not None:
        taken = sum(chunk.count for chunk in submission.chunks if chunk.job_id)
        before = f"{taken} of {len(submission.tasks)} tasks were submitted, then " if taken else ""
        after = f"; the others are submitted by the next `sweeps submit` or `status` ({submission.id})" if waits else ""
        raise type(refused)(f"{before}{refused}{after}") from refused
    return submission


def _hand_over(
    store: ResultsFolder, submission: Submission, lock: Lock, may_exist: bool
) -> tuple[Submission, JobsError | None]:
    """`submission` with job ids up to the first refusal, and the refusal. Each id is recorded at once."""
    for position, chunk in enumerate(submission.chunks):
        if chunk.job_id:
            continue
        lock.renew()
        try:
            job_id = _submit_chunk(store, submission, position, may_exist)
        except NoResponse as error:
            raise NoResponse(f"{error}; the next `sweeps submit` or `status` continues {submission.id}") from error
        except JobsError as error:
            return submission, error
        done = [*submission.chunks[:position], replace(chunk, job_id=job_id), *submission.chunks[position + 1 :]]
        submission = replace(submission, chunks=done)
        store.submissions.write(submission)
    return submission, None


def _release(submission: Submission) -> bool:
    """Release the jobs that are not to stay held; False if Slurm may have lost one."""
    ready = [chunk.job_id for chunk in submission.chunks if chunk.job_id and not chunk.held]
    return not ready or commands.release(ready)


def _without_lost_jobs(store: ResultsFolder, submission: Submission) -> Submission:
    """Without the ids of lost jobs: a controller that crashes may not have saved the jobs that it accepted."""
    attempts = folder_of(store, submission).attempts
    started = {
        attempt.task
        for task in submission.tasks
        for seed in task.seeds
        if (attempt := attempts.load(RunRef(task.config_id, seed), 0).attempt) and attempt.submission == submission.id
    }
    chunks = [
        replace(chunk, job_id="")
        if chunk.job_id and not started & set(chunk.tasks) and commands.find(chunk.job_name, submission.time) is None
        else chunk
        for chunk in submission.chunks
    ]
    return replace(submission, chunks=chunks)


def _submit_chunk(store: ResultsFolder, submission: Submission, position: int, may_exist: bool) -> str:
    """The job id of a chunk, which is submitted unless Slurm knows its name already. Raises as `proceed`."""
    chunk = submission.chunks[position]
    after = [submission.chunks[other].job_id for other in chunk.after]
    script = store.submissions.script_path(submission.id, position)
    for pause in (*_PAUSES_S, None):
        try:
            if may_exist and (job_id := commands.find(chunk.job_name, submission.time)):
                return job_id
            commands.sbatch(script, after, submission.options.get("slurm_environment"))
            return _listed(chunk, submission.time)
        except NotListed:
            raise  # to submit it again would make two of it
        except JobsError as error:
            may_exist = True
            if not isinstance(error, NoResponse):
                job_id = commands.find(chunk.job_name, submission.time)
                if job_id is None:
                    raise
                return job_id
            if pause is None:
                raise
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


class NotListed(NoResponse):
    """sbatch took a job, and squeue does not list it."""


def _listed(chunk: Chunk, since: float) -> str:
    """The id under which squeue lists a chunk that sbatch took; a site's squeue may answer from a cache. Raises
    `NotListed`."""
    for pause in (*_PAUSES_S, None):
        with contextlib.suppress(NoResponse):
            if job_id := commands.find(chunk.job_name, since):
                return job_id
        if pause is not None:
            time.sleep(pause)
    raise NotListed(f"sbatch accepted job {chunk.job_name}, but squeue does not list it")


# --- interrupted hand-overs ---------------------------------------------------------------------------------


def recover(store: ResultsFolder, submissions: Sequence[Submission], lock: Lock) -> Iterator[str]:
    """Complete the interrupted hand-over of `submissions` of this cluster; yields a line for the user about each."""
    for submission in submissions:
        try:
            if submission.exported:
                _adopt(store, submission)
                continue
            proceed(store, submission, lock, may_exist=True)
            yield f"{submission.id} was interrupted while it was submitted; it is complete now"
        except JobsError as error:
            yield f"{submission.id}, which was interrupted: {error}"


def _adopt(store: ResultsFolder, submission: Submission) -> None:
    """Record the job ids of exported scripts that were submitted by hand."""
    chunks = [
        replace(chunk, job_id=chunk.job_id or commands.find(chunk.job_name, submission.time) or "")
        for chunk in submission.chunks
    ]
    if chunks != submission.chunks:
        done = all(chunk.job_id for chunk in chunks)
        store.submissions.write(replace(submission, chunks=chunks, handed_over=done))
