"""The states of tasks in Slurm: one call of squeue, and one of sacct for tasks that squeue no longer lists.

Answers are cached in the results folder. While Slurm does not respond, the last answer is used and marked with its
time, and the pause between calls grows. Without accounting, sacct is called only every `NO_ACCOUNTING_S` seconds.
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
RETRY_S, RETRY_AT_MOST_S = 5.0, 300.0  # pause after a call without a response; doubled with every failure
NO_ACCOUNTING_S = 600.0  # pause after sacct did not respond
FORGOTTEN_S = 30 * 86400.0  # cached answers that were not renewed in this time are dropped
_EVERY_INDEX = {"SLURM_BITSTR_LEN": "0"}  # otherwise squeue truncates lists of indices to 64 bytes

_WAITING = {
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "EXPEDITING", "POWER_UP_NODE", "LAUNCH_FAILED",
    "RECONFIG_FAIL",
}  # fmt: skip
_STUCK = {"REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
# Slurm's state -> (cause as in `jobs.results.run_state`, text for the user)
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
# Slurm's reason for a pending job -> text for the user; other reasons are shown as Slurm writes them.
_WHY = {
    "None": "", "Priority": "others go first", "Resources": "no node is free", "JobHeldUser": "held",
    "JobArrayTaskLimit": "as many as allowed run already", "BeginTime": "queued again, begins in a moment",
    "Dependency": "waits for another job", "Licenses": "no licence is free",
    "ReqNodeNotAvail": "the nodes it asks for are down or reserved", "Reservation": "waits for its reservation",
}  # fmt: skip
# Reasons for which a job never starts unless somebody intervenes.
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
    """Expand squeue's job column (`7`, `7_3`, `7_[0-9:3,12%4]`) to `JOBID` or `JOBID_INDEX`; empty for other text."""
    match = _ARRAY.fullmatch(job)
    if match is None:
        return []
    if match["spans"] is None:
        return [job]
    tasks: list[str] = []
    for part in match["spans"].split(","):
        span = _SPAN.fullmatch(part)
        if span is not None:
            low = int(span["low"])
            indices = range(low, int(span["high"] or low) + 1, int(span["stride"] or 1))
            tasks += [f"{match['job']}_{index}" for index in indices]
    return tasks


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
    """The tasks that squeue lists under the job names, recently ended ones too; None if squeue does not respond."""
    return _query_squeue("--states=all", f"--name={','.join(sorted(set(names)))}")


def mine() -> list[Listed] | None:
    """All pending and running tasks of this user; None if squeue does not respond."""
    return _query_squeue("--me")


def _query_squeue(*selection: str) -> list[Listed] | None:
    rows = _squeue_rows(*selection)
    if rows is None:
        return None
    tasks = [Listed(job, *row[1:]) for row in rows for job in expand(row[0])]
    if any("[" in row[0] and "," in row[5] for row in rows):
        # squeue writes the pending tasks of an array as one row with several reasons. --array has one row per task,
        # but omits the last task of an array such as 0-60:2, so it is used for the reasons only.
        reasons = {(row[0], row[1]): row[5] for row in _squeue_rows("--array", *selection) or ()}
        tasks = [replace(task, reason=reasons.get((task.job, task.state), task.reason)) for task in tasks]
    return tasks


def _squeue_rows(*selection: str) -> list[list[str]] | None:
    # the reason is the last column: it is free text and may contain the separator
    command = ["squeue", "--noheader", *selection, "--format=%i|%T|%N|%u|%j|%r"]
    text = process.run_quietly(command, TIMEOUT_S, {**os.environ, **_EVERY_INDEX})
    if text is None:
        return None
    return [row for line in text.splitlines() if len(row := line.strip().split("|", 5)) == 6]


def task_states(
    store: ResultsFolder, submissions: Iterable[Submission], now: float, max_age_s: float = 0.0
) -> dict[tuple[str, int], TaskState]:
    """(submission, task) -> its state, for `submissions` of this backend.

    max_age_s: seconds; cached answers that are no older are used without a new call.
    """
    chunks = [(s, chunk) for s in submissions for chunk in s.chunks if chunk.count]
    if not chunks:
        return {}
    snapshot = store.read_queue() or QueueSnapshot()
    fresh = all(now - snapshot.time_of(chunk.job_name) <= max_age_s for _, chunk in chunks)
    if now >= snapshot.retry_at and not (fresh and max_age_s):
        snapshot = _query(snapshot, [chunk for _, chunk in chunks], now)
        store.write_queue(snapshot)
    return {
        (submission.id, task): _task_state(submission, chunk, task, snapshot)
        for submission, chunk in chunks
        for task in chunk.tasks
        if not (submission.exported and not chunk.job_id)  # it is unknown whether its script was submitted
    }


def _query(snapshot: QueueSnapshot, chunks: Sequence[Chunk], now: float) -> QueueSnapshot:
    """`snapshot` updated by one call of squeue, and one of sacct for tasks that squeue does not list."""
    rows = listed(chunk.job_name for chunk in chunks)
    if rows is None:
        pause = min(RETRY_AT_MOST_S, RETRY_S * 2**snapshot.failures)
        return replace(snapshot, failures=snapshot.failures + 1, retry_at=now + pause)
    states = {row.job: [row.state, row.reason, row.node] for row in rows}
    unlisted = []
    for chunk in chunks:
        previous = snapshot.tasks_of(chunk.job_name)
        for job in filter(None, map(chunk.job_of, chunk.tasks)):
            if job not in states and job in previous and previous[job][0] in _ENDED:
                states[job] = previous[job]
            elif job not in states:
                unlisted.append(job)
    sacct_at = snapshot.sacct_at
    if unlisted and now >= sacct_at:
        accounted = _query_sacct(unlisted)
        if accounted is None:
            sacct_at = now + NO_ACCOUNTING_S
        states |= accounted or {}
    answers = {name: answer for name, answer in snapshot.said.items() if now - snapshot.time_of(name) < FORGOTTEN_S}
    for chunk in chunks:
        tasks = {job: states[job] for job in filter(None, map(chunk.job_of, chunk.tasks)) if job in states}
        answers[chunk.job_name] = {"time": now, "tasks": tasks}
    return QueueSnapshot(answers, 0, 0.0, sacct_at)


def _query_sacct(jobs: list[str]) -> dict[str, list[str]] | None:
    """How `jobs` ended according to sacct; None without accounting. Jobs that have not ended are left out."""
    arrays = sorted({job.partition("_")[0] for job in jobs})
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(arrays)}",
               "--format=JobID,State,NodeList"]  # fmt: skip
    text = process.run_quietly(command, TIMEOUT_S, {**os.environ, **_EVERY_INDEX})
    if text is None:
        return None
    tasks: dict[str, list[str]] = {}
    # A row for several tasks of an array is not updated when one of them starts, so rows of single tasks come last.
    for line in sorted(text.splitlines(), key=lambda line: "[" not in line):
        job, state, node = [*line.split("|"), "", ""][:3]
        word, _, more = state.partition(" ")  # "CANCELLED by 1000"
        tasks.update({task: [word, more, "" if node == "None assigned" else node] for task in expand(job)})
    return {job: tasks[job] for job in jobs if job in tasks and tasks[job][0] in _ENDED}


def _task_state(submission: Submission, chunk: Chunk, task: int, snapshot: QueueSnapshot) -> TaskState:
    job, answered_at = chunk.job_of(task), snapshot.time_of(chunk.job_name)
    as_of = answered_at if snapshot.failures else None
    if job is None:
        text = "not handed to Slurm yet; the next `sweeps submit` does if need be"
        return TaskState(submission.id, "pending", text, as_of=as_of)
    entry = snapshot.tasks_of(chunk.job_name).get(job)
    if entry is not None:
        word, reason, node = entry
        return _describe(submission.id, job, word, reason, node, as_of)
    if snapshot.failures:
        return TaskState(submission.id, "unknown", "Slurm does not answer", job=job, as_of=as_of)
    return TaskState(submission.id, "gone", "Slurm no longer knows its job", job=job)


def _describe(submission: str, job: str, word: str, reason: str, node: str, as_of: float | None) -> TaskState:
    def state(kind: str, text: str = "", cause: str = "") -> TaskState:
        return TaskState(submission, kind, text, cause, node, job, as_of)

    if word in _STUCK or (word in _WAITING and reason in _NEVER):
        return state("stuck", _NEVER.get(reason, f"Slurm holds it ({word}); `scontrol release` lets it go"))
    if word in _WAITING:
        return state("pending", _WHY.get(reason, reason))
    if word in _RUNNING:
        return state("running", "suspended" if word in ("SUSPENDED", "STOPPED") else "")
    if word not in _ENDED:  # a state of a newer Slurm: squeue lists the job, so it is not assumed to have failed
        return state("unknown", f"Slurm: {word}")
    cause, text = _ENDED[word]
    if word == "CANCELLED" and reason.startswith("by "):
        text = f"cancelled by user {reason[3:]}"
    return state("ended", text, cause)
