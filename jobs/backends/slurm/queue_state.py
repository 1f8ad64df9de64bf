"""What Slurm says of the tasks of submissions: one question to squeue, one to sacct for what squeue forgot.

Answers are kept in the results folder: while Slurm is silent its last word stands, marked with its time, and it is
asked less and less often. Without accounting sacct is asked once in a while, and what it would say stays unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from jobs import process
from jobs.results.records import Chunk, QueueSnapshot, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState

TIMEOUT_S = 20.0
RETRY_S, RETRY_AT_MOST_S = 5.0, 300.0  # before a silent controller is asked again; doubled with every failure
NO_ACCOUNTING_S = 600.0  # before sacct is asked again that had no answer
FORGOTTEN_S = 30 * 86400.0  # answers that were not asked for in this time are dropped
_EVERY_INDEX = {"SLURM_BITSTR_LEN": "0"}  # otherwise lists of indices end in "..." after 64 bytes

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED"}
_STUCK = {"REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
# Slurm's word -> (cause as in `jobs.results.run_state`, in words)
_ENDED = {
    "COMPLETED": ("", ""),
    "FAILED": ("error", "its job failed"),
    "TIMEOUT": ("timeout", "its time limit was reached"),
    "DEADLINE": ("timeout", "its deadline was reached"),
    "OUT_OF_MEMORY": ("oom", "it used more memory than it asked for"),
    "NODE_FAIL": ("node-fail", "its node failed"),
    "BOOT_FAIL": ("node-fail", "its node did not boot"),
    "PREEMPTED": ("preempted", "another job took its node"),
    "CANCELLED": ("cancelled", "cancelled"),
    "REVOKED": ("cancelled", "withdrawn by Slurm"),
}
# Why a job waits, in words; others are shown as Slurm writes them.
_WHY = {
    "None": "", "Priority": "others go first", "Resources": "no node is free", "JobHeldUser": "held",
    "JobArrayTaskLimit": "as many as allowed run already", "BeginTime": "queued again, begins in a moment",
    "Dependency": "waits for another job", "Licenses": "no licence is free",
    "ReqNodeNotAvail": "the nodes it asks for are down or reserved", "Reservation": "waits for its reservation",
}  # fmt: skip
# Reasons that do not pass by themselves.
_NEVER = {
    "JobHeldAdmin": "held by an administrator",
    "launch failed requeued held": "its start failed and Slurm holds it; `scontrol release` lets it go",
    "job requeued in held state": "queued again and held; `scontrol release` lets it go",
    "DependencyNeverSatisfied": "the job that it waits for failed",
    "PartitionTimeLimit": "it asks for more time than its partition allows",
    "PartitionNodeLimit": "it asks for more nodes than its partition allows",
    "BadConstraints": "no node has what it asks for",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its QOS is not valid",
    "AccountNotAllowed": "its account may not use this partition",
    "QOSNotAllowed": "its QOS may not use this partition",
}
_ARRAY = re.compile(r"(?P<job>\d+)(?:_(?:(?P<index>\d+)|\[(?P<spans>[^\]%]+)(?:%\d+)?\]))?")
_SPAN = re.compile(r"(?P<low>\d+)(?:-(?P<high>\d+)(?::(?P<stride>\d+))?)?")


def expand(job: str) -> list[str]:
    """Tasks of squeue's job column: `7_3`, `7_[0-9:3,12%4]` (or `7` alone) as `JOBID_INDEX`; none if it is foreign."""
    match = _ARRAY.fullmatch(job)
    if match is None:
        return []
    if match["spans"] is None:
        return [job]
    found: list[str] = []
    for part in match["spans"].split(","):
        span = _SPAN.fullmatch(part)
        if span is not None:
            low = int(span["low"])
            indices = range(low, int(span["high"] or low) + 1, int(span["stride"] or 1))
            found += [f"{match['job']}_{index}" for index in indices]
    return found


@dataclass(frozen=True)
class Listed:
    """A task that squeue lists. job: `JOBID_INDEX` or `JOBID`."""

    job: str
    state: str
    node: str
    user: str
    name: str
    reason: str


def listed(names: Iterable[str]) -> list[Listed] | None:
    """What squeue lists under the job names, ended tasks too while it remembers them; None where it is silent."""
    return _rows("--states=all", f"--name={','.join(sorted(set(names)))}")


def mine() -> list[Listed] | None:
    """All tasks of this user that wait or run; None where squeue is silent."""
    return _rows("--me")


def _rows(*which: str) -> list[Listed] | None:
    # the reason stands last: it is the only one in free words
    command = ["squeue", "--noheader", *which, "--format=%i|%T|%N|%u|%j|%r"]
    text = process.run_quietly(command, TIMEOUT_S, {**os.environ, **_EVERY_INDEX})
    if text is None:
        return None
    rows = (line.strip().split("|", 5) for line in text.splitlines())
    return [Listed(job, *row[1:]) for row in rows if len(row) == 6 for job in expand(row[0])]


def task_states(
    store: ResultsFolder, submissions: Iterable[Submission], now: float, max_age_s: float = 0.0
) -> dict[tuple[str, int], TaskState]:
    """(submission, task) -> its state, for `submissions` of this backend.

    max_age_s: an answer that is no older than this is not asked for again.
    """
    chunks = [(s, chunk) for s in submissions for chunk in s.chunks if chunk.count]
    if not chunks:
        return {}
    memory = store.read_queue() or QueueSnapshot()
    fresh = all(now - memory.time_of(chunk.job_name) <= max_age_s for _, chunk in chunks)
    if now >= memory.retry_at and not (fresh and max_age_s):
        memory = _asked(memory, [chunk for _, chunk in chunks], now)
        store.write_queue(memory)
    return {
        (submission.id, task): _task_state(submission, chunk, task, memory)
        for submission, chunk in chunks
        for task in chunk.tasks
        if not (submission.exported and not chunk.job_id)  # it is unknown whether its script was submitted
    }


def _asked(memory: QueueSnapshot, chunks: Sequence[Chunk], now: float) -> QueueSnapshot:
    """What is known after one question to squeue, and one to sacct about what squeue does not list."""
    rows = listed(chunk.job_name for chunk in chunks)
    if rows is None:
        pause = min(RETRY_AT_MOST_S, RETRY_S * 2**memory.failures)
        return replace(memory, failures=memory.failures + 1, retry_at=now + pause)
    known = {row.job: [row.state, row.reason, row.node] for row in rows}
    unlisted = []
    for chunk in chunks:
        before = memory.tasks_of(chunk.job_name)
        for job in filter(None, map(chunk.job_of, chunk.tasks)):
            if job not in known and job in before and before[job][0] in _ENDED:
                known[job] = before[job]
            elif job not in known:
                unlisted.append(job)
    sacct_at = memory.sacct_at
    if unlisted and now >= sacct_at:
        accounted = _accounted(unlisted)
        if accounted is None:
            sacct_at = now + NO_ACCOUNTING_S
        known |= accounted or {}
    kept = {name: said for name, said in memory.said.items() if now - memory.time_of(name) < FORGOTTEN_S}
    for chunk in chunks:
        tasks = {job: known[job] for job in filter(None, map(chunk.job_of, chunk.tasks)) if job in known}
        kept[chunk.job_name] = {"time": now, "tasks": tasks}
    return QueueSnapshot(kept, 0, 0.0, sacct_at)


def _accounted(jobs: list[str]) -> dict[str, list[str]] | None:
    """How `jobs` ended by sacct's books; None where it has none. One that it believes to wait or run is not told."""
    arrays = sorted({job.partition("_")[0] for job in jobs})
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(arrays)}",
               "--format=JobID,State,NodeList"]  # fmt: skip
    text = process.run_quietly(command, TIMEOUT_S, {**os.environ, **_EVERY_INDEX})
    if text is None:
        return None
    found = {}
    wanted = set(jobs)
    for line in text.splitlines():
        job, state, node = [*line.split("|"), "", ""][:3]
        word, _, more = state.partition(" ")  # "CANCELLED by 1000"
        if word in _ENDED:
            found.update({task: [word, more, node] for task in expand(job) if task in wanted})
    return found


def _task_state(submission: Submission, chunk: Chunk, task: int, memory: QueueSnapshot) -> TaskState:
    job, asked = chunk.job_of(task), memory.time_of(chunk.job_name)
    as_of = asked if memory.failures else None
    if job is None:
        text = "not handed to Slurm yet; the next `sweeps submit` does if need be"
        return TaskState(submission.id, "pending", text, as_of=as_of)
    said = memory.tasks_of(chunk.job_name).get(job)
    if said is not None:
        word, reason, node = said
        return _in_words(submission.id, job, word, reason, node, as_of)
    if memory.failures:
        return TaskState(submission.id, "unknown", "Slurm does not answer", job=job, as_of=as_of)
    return TaskState(submission.id, "gone", "Slurm no longer knows its job", job=job)


def _in_words(submission: str, job: str, word: str, reason: str, node: str, as_of: float | None) -> TaskState:
    def state(kind: str, text: str = "", cause: str = "") -> TaskState:
        return TaskState(submission, kind, text, cause, node, job, as_of)

    if word in _STUCK or (word in _WAITING and reason in _NEVER):
        return state("stuck", _NEVER.get(reason, f"Slurm holds it ({word}); `scontrol release` lets it go"))
    if word in _WAITING:
        return state("pending", _WHY.get(reason, reason))
    if word in _RUNNING:
        return state("running", "suspended" if word in ("SUSPENDED", "STOPPED") else "")
    cause, text = _ENDED.get(word, ("error", f"Slurm: {word}"))
    if word == "CANCELLED" and reason.startswith("by "):
        text = f"cancelled by user {reason[3:]}"
    return state("ended", text, cause)
