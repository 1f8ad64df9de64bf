"""The state of a run, from its files and the state of its task in the backend. Pure functions."""

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
# Why a run is neither done nor active, "" where its state says enough. unknown: its process ended and nothing says why.
# not-begun: its task ended before the run began, which may be due to the node. limit: it waits, and not only for its
# turn.
Cause = Literal[
    "", "error", "limit", "not-begun", "no-metrics", "oom", "timeout", "node-fail", "preempted", "cancelled",
    "diverged", "stopped", "unknown",
]  # fmt: skip
NOT_BEGUN = "not-begun"
# Causes outside the run: it continues from its checkpoint when it is submitted again.
_EXTERNAL_CAUSES = ("timeout", "node-fail", "preempted", "cancelled")
_STATES_AFTER_PRUNING = ("interrupted", "lost", "failed", "new")  # states that pruning may have caused

_ALL_TRAINED = "all steps trained"  # what the packaged agent says of every run
STALLED_AFTER_S = 900.0  # no heartbeat for this long; a step of the base configuration on a CPU takes a minute
FRESH_S = 120.0  # a process on another host counts as alive for this long after its last heartbeat
GPU_MEMORY = "the GPU has too little memory"
_OUT_OF_MEMORY = re.compile(r"MemoryError|out of memory|OutOfMemory", re.I)


@dataclass(frozen=True)
class TaskState:
    """The state of a task in its backend.

    word: pending | stuck (does not start by itself) | running | ended | gone (its backend no longer knows it) |
    unknown. cause: see `Cause`. as_of: unix seconds, set if the state comes from an earlier answer.
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
    """cause: why it ended, see `Cause`. as_of: unix seconds of the backend's answer, if that is not current."""

    state: State
    reason: str = ""
    cause: str = ""
    as_of: float | None = None


def attempt_alive(attempt: Attempt, status: Status | None, now: float) -> bool:
    """Whether the process of `attempt` runs: checked directly on its own host, by its heartbeat on other hosts."""
    if attempt.host == process.host():
        return process.alive(attempt.pid, attempt.pid_start)
    last_heartbeat = status.time if status is not None and status.attempt == attempt.number else attempt.started
    return now - last_heartbeat < FRESH_S


def ending(run: RunRecord, now: float) -> bool:
    """Whether a run that is done has a process that is still saving its last checkpoint and its outcome."""
    return run.done and run.outcome is None and run.attempt is not None and attempt_alive(run.attempt, run.status, now)


def belongs(attempt: Attempt | None, task: TaskState | None) -> bool:
    """Whether `task` started the attempt. Without a task, the attempt ran in the foreground."""
    return attempt is not None and (task is None or attempt.submission == task.submission)


def run_state(run: RunRecord, task: TaskState | None, now: float, before: TaskState | None = None) -> RunState:
    """The state of `run`. task: of the newest submission that includes the run; now: unix seconds.

    before: the task that started the newest attempt, if that is another one.

    A run is done according to its own files, whatever its backend reports. A run is not failed while its process is
    known to be alive, nor because its backend does not respond.
    """
    if run.done:
        return RunState("done", _note(run.outcome))
    attempt, as_of = run.attempt, task.as_of if task is not None else None
    started = belongs(attempt, task)
    if run.attempts and attempt is None:
        return RunState("failed", "its newest attempt's file is damaged", "error")
    if attempt is not None and run.outcome is None and _open_is_alive(run, attempt, task if started else before, now):
        return _running(run, attempt, now, as_of)
    if task is not None and task.word in ("pending", "stuck"):
        return RunState("stuck" if task.word == "stuck" else "pending", task.reason, task.cause, as_of)
    stopped = run.outcome is not None and run.outcome.state == "interrupted"
    if started and stopped and task is not None and task.word == "running":  # it is about to end, or was just restarted
        return RunState("pending", "between two attempts", "", as_of)
    if not started and task is not None and task.word in ("running", "unknown"):
        word = "starting" if task.word == "running" else task.reason or "no answer from its backend"
        return RunState("pending", word, "", as_of)
    if run.outcome is not None and (started or task is None or not (task.reason or task.cause)):
        return _ended(run, run.outcome, task if started else None)
    if started:
        return _ended_without_outcome(task, run)
    if task is not None:
        return _never_started(task)
    return RunState("new")


def _note(outcome: AttemptOutcome | None) -> str:
    """What is to be said of a run that is done, such as that it ended early."""
    said = outcome.message if outcome is not None and outcome.state == "finished" else ""
    return "" if said == _ALL_TRAINED else said


def given_up(run: RunRecord, submission: str | None, state: RunState) -> RunState:
    """`state`, or stopped if `sweeps prune` stopped the run. submission: the newest that includes it; None if there is
    none, as in a folder from an unpacked archive."""
    stop = run.stopped
    if stop is None or submission not in (None, stop.submission) or state.state not in _STATES_AFTER_PRUNING:
        return state
    return RunState("stopped", stop.reason, "stopped", state.as_of)


def _open_is_alive(run: RunRecord, attempt: Attempt, task: TaskState | None, now: float) -> bool:
    """Whether an attempt without an outcome still runs, according to its backend if that knows."""
    if task is None or task.word == "gone":
        return attempt_alive(attempt, run.status, now)
    return task.word in ("running", "unknown")


def _running(run: RunRecord, attempt: Attempt, now: float, as_of: float | None) -> RunState:
    has_heartbeat = run.status is not None and run.status.attempt == attempt.number
    silent, what = now - attempt.started, "step"
    if has_heartbeat and run.status is not None:
        silent = now - (run.status.logged or run.status.time)
        what = "metrics and no output" if run.status.logged else what
    if silent > STALLED_AFTER_S:
        return RunState("stalled", f"no {what} for {silent / 60:.0f} min", "", as_of)
    return RunState("running", "", "", as_of)


def _ended(run: RunRecord, outcome: AttemptOutcome, task: TaskState | None) -> RunState:
    """The state after `outcome`. task: the one that started the attempt; it has the cause of an interruption."""
    if outcome.state == "finished" and run.lost_shard:
        return RunState("failed", lost_shard(run.lost_shard), "error")
    if outcome.state == "finished":
        return RunState("interrupted", f"finished at {outcome.step:,} of {run.steps:,} steps")
    if outcome.state == "diverged":
        return RunState("diverged", outcome.message, "diverged")
    if outcome.state in ("interrupted", "superseded"):
        if task is not None and task.cause in _EXTERNAL_CAUSES:
            return RunState("interrupted", f"{task.reason}; state saved", task.cause)
        return RunState("interrupted", outcome.message)
    cause = outcome.cause or ("oom" if _OUT_OF_MEMORY.search(outcome.message) else "error")
    return RunState("failed", outcome.message, cause)


def lost_shard(name: str) -> str:
    """The reason for a finished run whose last shard of metrics is missing."""
    return f"its last shard metrics/{name} is missing; restore it, or move the run's folder away to train it again"


def _ended_without_outcome(task: TaskState | None, run: RunRecord) -> RunState:
    """The state of a run whose newest attempt ended without an outcome."""
    if task is None or not (task.reason or task.cause):
        return RunState("failed", "its process ended without an outcome: killed?", "unknown")
    if task.word == "gone" and not task.cause:
        return RunState("failed", f"{task.reason}, and the run recorded no outcome", "unknown")
    state: State = "interrupted" if task.cause in _EXTERNAL_CAUSES else "failed"
    return RunState(state, task.reason, task.cause or "unknown")


def _never_started(task: TaskState) -> RunState:
    """The state of a run whose task ended before the run claimed an attempt."""
    if task.cause == "cancelled":
        return RunState("interrupted", f"{task.reason} before it began", task.cause)
    if task.word == "gone" or task.cause in _EXTERNAL_CAUSES:
        return RunState("lost", f"{task.reason}, and it never began", task.cause)
    cause = task.cause if task.cause == "oom" else NOT_BEGUN
    return RunState("failed", task.reason or "its task ended before the run began; see the log", cause)
