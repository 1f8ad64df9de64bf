"""One word for a run, from what it wrote and what its backend says. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobs import process
from jobs.records import Attempt, Outcome, Status
from jobs.store import RunRecord

State = Literal["new", "pending", "running", "stalled", "interrupted", "failed", "diverged", "done"]
STATES: tuple[State, ...] = ("done", "running", "pending", "stalled", "interrupted", "failed", "diverged", "new")
ACTIVE: frozenset[State] = frozenset({"pending", "running", "stalled"})

STALLED_AFTER_S = 900.0  # no heartbeat for this long; a step of the base configuration on a CPU takes a minute
FRESH_S = 120.0  # a process on another host counts as alive for this long after its last heartbeat


@dataclass(frozen=True)
class TaskState:
    """What a backend says of a task. word: pending | running | ended | unknown."""

    submission: str
    word: str
    reason: str = ""


@dataclass(frozen=True)
class RunState:
    state: State
    reason: str = ""


def attempt_alive(attempt: Attempt, status: Status | None, now: float) -> bool:
    """Whether the process of `attempt` runs: asked on its own host, judged by its heartbeat elsewhere."""
    if attempt.host == process.host():
        return process.alive(attempt.pid, attempt.pid_start)
    beat = status.time if status is not None and status.attempt == attempt.number else attempt.started
    return now - beat < FRESH_S


def run_state(run: RunRecord, task: TaskState | None, now: float) -> RunState:
    """The state of `run`. task: of the newest submission that holds the run; now: unix seconds.

    done is what the run wrote, whatever a backend says; no word of a backend makes a run failed while its
    process is known to be alive.
    """
    if run.done:
        return RunState("done")
    attempt = run.attempt
    begun = attempt is not None and (task is None or attempt.submission == task.submission)
    if run.attempts and attempt is None:
        return RunState("failed", "its newest attempt's file is damaged")
    if attempt is not None and run.outcome is None and _open_is_alive(run, attempt, task if begun else None, now):
        return _running(run, attempt, now)
    if task is not None and task.word == "pending":
        return RunState("pending", task.reason)
    if not begun and task is not None and task.word in ("running", "unknown"):
        return RunState("pending", "starting" if task.word == "running" else "no word from its backend")
    if run.outcome is not None and (begun or task is None or not task.reason):
        return _ended(run, run.outcome)
    if begun:
        return RunState("failed", (task.reason if task else "") or "its process ended without a word: killed?")
    if task is not None:
        return RunState("failed", task.reason or "its task ended before the run began; see the log")
    return RunState("new")


def _open_is_alive(run: RunRecord, attempt: Attempt, task: TaskState | None, now: float) -> bool:
    """Whether an attempt without an outcome still runs, by its backend where that knows."""
    if task is None:
        return attempt_alive(attempt, run.status, now)
    return task.word in ("running", "unknown")


def _running(run: RunRecord, attempt: Attempt, now: float) -> RunState:
    own = run.status is not None and run.status.attempt == attempt.number
    silent = now - (run.status.time if own and run.status is not None else attempt.started)
    if silent > STALLED_AFTER_S:
        return RunState("stalled", f"no heartbeat for {silent / 60:.0f} min")
    return RunState("running")


def _ended(run: RunRecord, outcome: Outcome) -> RunState:
    if outcome.state == "finished":
        return RunState("interrupted", f"finished at {outcome.step:,} of {run.steps:,} steps")
    if outcome.state == "diverged":
        return RunState("diverged", outcome.message)
    if outcome.state in ("interrupted", "superseded"):
        return RunState("interrupted", outcome.message)
    return RunState("failed", outcome.message)
