"""One word for a run, from what it wrote and what its backend says. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from jobs import process
from jobs.results.attempts import RunRecord
from jobs.results.records import Attempt, AttemptOutcome, Status

State = Literal[
    "new", "pending", "stuck", "running", "stalled", "interrupted", "lost", "failed", "diverged", "stopped", "done"
]  # fmt: skip
STATES: tuple[State, ...] = (
    "done", "running", "pending", "stuck", "stalled", "interrupted", "lost", "failed", "diverged", "stopped", "new",
)  # fmt: skip
ACTIVE: frozenset[State] = frozenset({"pending", "stuck", "running", "stalled"})
# Why a run is neither done nor active, where that is known.
Cause = Literal["", "error", "oom", "timeout", "node-fail", "preempted", "cancelled", "diverged", "stopped"]
# The world stopped it, not the run itself: it goes on from its checkpoint whenever it is submitted again.
_FROM_OUTSIDE = ("timeout", "node-fail", "preempted", "cancelled")
_CUT_SHORT = ("interrupted", "lost", "failed", "new")  # states that a stop may have brought about

STALLED_AFTER_S = 900.0  # no heartbeat for this long; a step of the base configuration on a CPU takes a minute
FRESH_S = 120.0  # a process on another host counts as alive for this long after its last heartbeat
GPU_MEMORY = "the GPU has too little memory"
_OUT_OF_MEMORY = re.compile(r"MemoryError|out of memory|OutOfMemory", re.I)


@dataclass(frozen=True)
class TaskState:
    """What a backend says of a task.

    word: pending | stuck (does not start by itself) | running | ended | gone (its backend no longer knows it) |
    unknown. cause: see `Cause`. as_of: unix seconds, where this is older than the question.
    """

    submission: str
    word: str
    reason: str = ""
    cause: str = ""
    node: str = ""
    job: str | None = None
    as_of: float | None = None


@dataclass(frozen=True)
class RunState:
    """cause: why it ended, see `Cause`. as_of: unix seconds of the backend's word, where that is not of now."""

    state: State
    reason: str = ""
    cause: str = ""
    as_of: float | None = None


def attempt_alive(attempt: Attempt, status: Status | None, now: float) -> bool:
    """Whether the process of `attempt` runs: asked on its own host, judged by its heartbeat elsewhere."""
    if attempt.host == process.host():
        return process.alive(attempt.pid, attempt.pid_start)
    beat = status.time if status is not None and status.attempt == attempt.number else attempt.started
    return now - beat < FRESH_S


def ending(run: RunRecord, now: float) -> bool:
    """Whether a run that is done has a process that still saves its last checkpoint and its outcome."""
    return run.done and run.outcome is None and run.attempt is not None and attempt_alive(run.attempt, run.status, now)


def belongs(attempt: Attempt | None, task: TaskState | None) -> bool:
    """Whether the task began the attempt; without a task it is one of the foreground."""
    return attempt is not None and (task is None or attempt.submission == task.submission)


def run_state(run: RunRecord, task: TaskState | None, now: float, before: TaskState | None = None) -> RunState:
    """The state of `run`. task: of the newest submission that holds the run; now: unix seconds.

    before: the task that began the newest attempt, where that is another one.

    done is what the run wrote, whatever a backend says; no word of a backend makes a run failed while its
    process is known to be alive, and silence of a backend makes nothing failed.
    """
    if run.done:
        return RunState("done")
    attempt, as_of = run.attempt, task.as_of if task is not None else None
    begun = belongs(attempt, task)
    if run.attempts and attempt is None:
        return RunState("failed", "its newest attempt's file is damaged", "error")
    if attempt is not None and run.outcome is None and _open_is_alive(run, attempt, task if begun else before, now):
        return _running(run, attempt, now, as_of)
    if task is not None and task.word in ("pending", "stuck"):
        return RunState("stuck" if task.word == "stuck" else "pending", task.reason, "", as_of)
    stopped = run.outcome is not None and run.outcome.state == "interrupted"
    if begun and stopped and task is not None and task.word == "running":  # it ends, or was started again just now
        return RunState("pending", "between two attempts", "", as_of)
    if not begun and task is not None and task.word in ("running", "unknown"):
        word = "starting" if task.word == "running" else task.reason or "no word from its backend"
        return RunState("pending", word, "", as_of)
    if run.outcome is not None and (begun or task is None or not (task.reason or task.cause)):
        return _ended(run, run.outcome, task if begun else None)
    if begun:
        return _cut_off(task, run)
    if task is not None:
        return _never_began(task)
    return RunState("new")


def given_up(run: RunRecord, submission: str | None, state: RunState) -> RunState:
    """`state`, or that the run was stopped, where `sweeps prune` did so. submission: the newest that holds
    it, None where none does, as in a folder that an archive was unpacked to."""
    stop = run.stopped
    if stop is None or submission not in (None, stop.submission) or state.state not in _CUT_SHORT:
        return state
    return RunState("stopped", stop.reason, "stopped", state.as_of)


def _open_is_alive(run: RunRecord, attempt: Attempt, task: TaskState | None, now: float) -> bool:
    """Whether an attempt without an outcome still runs, by its backend where that knows."""
    if task is None or task.word == "gone":
        return attempt_alive(attempt, run.status, now)
    return task.word in ("running", "unknown")


def _running(run: RunRecord, attempt: Attempt, now: float, as_of: float | None) -> RunState:
    own = run.status is not None and run.status.attempt == attempt.number
    silent = now - (run.status.time if own and run.status is not None else attempt.started)
    if silent > STALLED_AFTER_S:
        return RunState("stalled", f"no step for {silent / 60:.0f} min", "", as_of)
    return RunState("running", "", "", as_of)


def _ended(run: RunRecord, outcome: AttemptOutcome, task: TaskState | None) -> RunState:
    """task: the one that began the attempt; it knows why somebody told the run to stop."""
    if outcome.state == "finished" and run.lost_shard:
        return RunState("failed", lost_shard(run.lost_shard), "error")
    if outcome.state == "finished":
        return RunState("interrupted", f"finished at {outcome.step:,} of {run.steps:,} steps")
    if outcome.state == "diverged":
        return RunState("diverged", outcome.message, "diverged")
    if outcome.state in ("interrupted", "superseded"):
        if task is not None and task.cause in _FROM_OUTSIDE:
            return RunState("interrupted", f"{task.reason}; state saved", task.cause)
        return RunState("interrupted", outcome.message)
    cause = "oom" if _OUT_OF_MEMORY.search(outcome.message) else "error"
    return RunState("failed", outcome.message, cause)


def lost_shard(name: str) -> str:
    """What is wrong with a run that has finished and lacks the shard of its last rows."""
    return f"its last shard metrics/{name} is gone; restore it, or move the run's folder away to train it again"


def _cut_off(task: TaskState | None, run: RunRecord) -> RunState:
    """An attempt that left no word of its end."""
    if task is None or not (task.reason or task.cause):
        return RunState("failed", "its process ended without a word: killed?", "error")
    if task.word == "gone" and not task.cause:
        return RunState("failed", f"{task.reason}, and the run left no word of its end", "error")
    state: State = "interrupted" if task.cause in _FROM_OUTSIDE else "failed"
    return RunState(state, task.reason, task.cause or "error")


def _never_began(task: TaskState) -> RunState:
    """A task that ended before its run claimed an attempt."""
    if task.cause == "cancelled":
        return RunState("interrupted", f"{task.reason} before it began", task.cause)
    if task.word == "gone" or task.cause in _FROM_OUTSIDE:
        return RunState("lost", f"{task.reason}, and it never began", task.cause)
    return RunState("failed", task.reason or "its task ended before the run began; see the log", task.cause or "error")
