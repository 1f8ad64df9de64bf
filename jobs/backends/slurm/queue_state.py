"""The states of tasks in Slurm: one call of squeue, and one of sacct for tasks that squeue no longer lists.

Answers are cached in the results folder. While Slurm does not respond, the last answer is used and marked with its
time, and the pause between calls grows. Without accounting, sacct is called only every `NO_ACCOUNTING_S` seconds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from jobs import process
from jobs.backends.formats import task_ids
from jobs.backends.slurm import holds, programs, squeue
from jobs.backends.slurm.reasons import ENDED, describe
from jobs.backends.slurm.squeue import EVERY_INDEX, HELD_BY_USER
from jobs.results.records import Chunk, QueueSnapshot, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState

RETRY_S, RETRY_AT_MOST_S = 5.0, 300.0  # pause after a call without a response; doubled with every failure
NO_ACCOUNTING_S = 600.0  # pause after sacct did not respond
SETTLED_S = 600.0  # after a submit: until then Slurm is queried for tasks whose runs are done
FORGOTTEN_S = 30 * 86400.0  # cached answers that were not renewed in this time are dropped


def task_states(
    store: ResultsFolder, submissions: Iterable[Submission], now: float, max_age_s: float = 0.0
) -> dict[tuple[str, int], TaskState]:
    """(submission, task) -> its state, for `submissions` of this backend. Jobs that are held and should not be are
    released (`holds.release_lost`).

    max_age_s: seconds; cached answers that are no older are used without a new call.
    """
    chunks = [(s, chunk) for s in submissions for chunk in s.chunks]
    if not any(chunk.count for _, chunk in chunks):
        return {}
    snapshot = store.read_queue() or QueueSnapshot()
    fresh = all(now - snapshot.time_of(chunk.job_name) <= max_age_s for _, chunk in chunks)
    if now >= snapshot.retry_at and not (fresh and max_age_s):
        answer = _query(snapshot, chunks, now)
        snapshot = holds.release_lost(store, chunks, snapshot, answer) if not answer.failures else answer
        store.write_queue(snapshot)
    return {
        (submission.id, task): _task_state(submission, chunk, task, snapshot, waits)
        for submission, chunk, waits in _with_expected(store, chunks, snapshot)
        for task in chunk.tasks
        if not (submission.exported and not chunk.job_id)  # it is unknown whether its script was submitted
    }


def unsettled(store: ResultsFolder, submissions: Iterable[Submission], now: float) -> set[str]:
    """Submissions of this user with tasks that had not ended by the last answer, or that are so new that a controller
    which is restored to an older state may start their tasks again. Empty where Slurm's programs are missing."""
    own = [s for s in submissions if s.user == process.user() and s.handed_over]
    if not own or shutil.which("squeue") is None:
        return set()
    snapshot = store.read_queue() or QueueSnapshot()
    return {
        submission.id
        for submission in own
        if now - submission.time < SETTLED_S
        or any(
            not snapshot.time_of(chunk.job_name)
            or any(entry[0] not in ENDED for entry in snapshot.tasks_of(chunk.job_name).values())
            for chunk in submission.chunks
            if chunk.job_id
        )
    }


def _with_expected(
    store: ResultsFolder, chunks: Iterable[tuple[Submission, Chunk]], snapshot: QueueSnapshot
) -> Iterator[tuple[Submission, Chunk, holds.Expected]]:
    """Each chunk with `holds.expected`, which is read from files only where a task is held."""
    for submission, chunk in chunks:
        held = any(entry[1] == HELD_BY_USER for entry in snapshot.tasks_of(chunk.job_name).values())
        yield submission, chunk, holds.expected(store, submission) if held else lambda chunk, task: False


def _query(snapshot: QueueSnapshot, chunks: Sequence[tuple[Submission, Chunk]], now: float) -> QueueSnapshot:
    """`snapshot` updated by one call of squeue, and one of sacct for tasks that squeue does not list."""
    rows = squeue.listed(chunk.job_name for _, chunk in chunks)
    if rows is None:
        pause = min(RETRY_AT_MOST_S, RETRY_S * 2**snapshot.failures)
        return replace(snapshot, failures=snapshot.failures + 1, retry_at=now + pause)
    # by name and user as well: after a controller lost its last seconds, a new job has the id of a lost one
    states = {(row.name, row.user, row.job): [row.state, row.reason, row.node] for row in rows}
    unlisted: list[tuple[str, str, str]] = []
    for submission, chunk in chunks:
        previous = snapshot.tasks_of(chunk.job_name)
        for job in chunk.jobs:
            key = (chunk.job_name, submission.user, job)
            if key not in states and job in previous and previous[job][0] in ENDED:
                states[key] = previous[job]
            elif key not in states:
                unlisted.append(key)
    sacct_at = snapshot.sacct_at
    if unlisted and now >= sacct_at:
        accounted = _query_sacct(unlisted)
        if accounted is None:
            sacct_at = now + NO_ACCOUNTING_S
        states |= accounted or {}
    answers = {name: answer for name, answer in snapshot.said.items() if now - snapshot.time_of(name) < FORGOTTEN_S}
    for submission, chunk in chunks:
        # of an array whose waiting tasks were cancelled, squeue lists one row for them with the bare id
        rest = states.get((chunk.job_name, submission.user, chunk.job_id)) if chunk.count > 1 else None
        job_states = {job: states.get((chunk.job_name, submission.user, job)) for job in chunk.jobs}
        tasks = {job: entry or rest for job, entry in job_states.items() if entry or (rest and rest[0] in ENDED)}
        answers[chunk.job_name] = {"time": now, "tasks": tasks}
    return QueueSnapshot(answers, 0, 0.0, sacct_at)


def _query_sacct(jobs: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], list[str]] | None:
    """How `jobs` (name, user, id) ended according to sacct; None without accounting. Jobs that have not ended are left
    out, as are others that once had the same id."""
    arrays = sorted({job.partition("_")[0] for _, _, job in jobs})
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", f"--jobs={','.join(arrays)}",
               "--format=JobID,State,NodeList,Submit,User,JobName"]  # fmt: skip
    text = programs.run_quietly(command, extra=EVERY_INDEX)
    if text is None:
        return None
    rows = [row for line in text.splitlines() if len(row := line.split("|", 5)) == 6]
    states: dict[tuple[str, str, str], list[str]] = {}
    # A row for several tasks of an array is not updated when one of them starts, so rows of single tasks come last.
    # A job that was queued again has a row for each time.
    for job, state, node, _, user, name in sorted(rows, key=lambda row: ("[" not in row[0], row[3])):
        word, _, more = state.partition(" ")  # "CANCELLED by 1000"
        entry = [word, more, "" if node == "None assigned" else node]
        states.update({(name, user, task): entry for task in task_ids(job)})
    return {job: states[job] for job in jobs if job in states and states[job][0] in ENDED}


def _task_state(
    submission: Submission, chunk: Chunk, task: int, snapshot: QueueSnapshot, waits: holds.Expected
) -> TaskState:
    job, answered_at = chunk.job_of(task), snapshot.time_of(chunk.job_name)
    as_of = answered_at if snapshot.failures else None
    if job is None:
        text = "not submitted to Slurm yet; the next `sweeps submit` submits it if necessary"
        return TaskState(submission.id, "pending", text, as_of=as_of)
    entry = snapshot.tasks_of(chunk.job_name).get(job)
    if entry is not None:
        word, reason, node = entry
        return describe(submission.id, submission.sweep, job, word, reason, node, as_of, waits(chunk, task))
    if snapshot.failures:
        return TaskState(submission.id, "unknown", "Slurm does not answer", job=job, as_of=as_of)
    return TaskState(submission.id, "gone", "Slurm no longer knows its job", job=job)
