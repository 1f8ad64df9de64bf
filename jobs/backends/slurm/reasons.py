"""Slurm's states and reasons of jobs in words, and what helps where a job does not start by itself."""

from __future__ import annotations

import re

from jobs.backends.slurm.squeue import HELD_BY_ADMINISTRATOR, HELD_BY_USER, HELD_STATES, LAUNCH_FAILED
from jobs.results.run_state import TaskState

# Reasons of our own in the cache of answers: a hold that the user asked for, and one that was just lifted.
USERS_HOLD, RELEASED_AGAIN = "held by its user", "released again"

_WAITING = {
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "EXPEDITING", "POWER_UP_NODE", "LAUNCH_FAILED",
    "RECONFIG_FAIL",
}  # fmt: skip
_RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
# Slurm's state -> (cause as in `jobs.results.run_state`, text for the user)
ENDED = {
    "COMPLETED": ("", ""),
    "FAILED": ("error", "its job failed"),
    "TIMEOUT": ("timeout", "its time limit was reached"),
    "DEADLINE": ("timeout", "its deadline was reached"),
    "OUT_OF_MEMORY": ("oom", "it used more memory than it requested"),
    "NODE_FAIL": ("node-fail", "its node failed"),
    "BOOT_FAIL": ("node-fail", "its node did not boot"),
    "PREEMPTED": ("preempted", "another job took its node"),
    "CANCELLED": ("cancelled", "cancelled"),
    "REVOKED": ("cancelled", "withdrawn by Slurm"),
}
LAUNCH_FAILURE = "JobLaunchFailure"  # of a failed job: the node could not start it
# Slurm's reason for a pending job -> text for the user; other reasons are shown as Slurm writes them.
_WHY = {
    "None": "", "Priority": "jobs with higher priority go first", "Resources": "no node is free", HELD_BY_USER: "held",
    "JobArrayTaskLimit": "the maximum number of its tasks is running", "BeginTime": "queued again, starts soon",
    "Dependency": "waits for another job", "Licenses": "no licence is free",
    "ReqNodeNotAvail": "the nodes it requests are down or reserved", "Reservation": "waits for its reservation",
    RELEASED_AGAIN: "Slurm had lost its release; released again",
}  # fmt: skip
_RELEASE = "`sweeps release {sweep}` lets it run"
_AGAIN = "`sweeps cancel {sweep}`, then submit with another"
# Reasons for which a job never starts unless somebody intervenes.
_NEVER = {
    HELD_BY_USER: f"Slurm lost its release; {_RELEASE}",
    USERS_HOLD: f"held by `scontrol hold`, not by this program; {_RELEASE}",
    HELD_BY_ADMINISTRATOR: f"held by an administrator; {_RELEASE} if you are allowed to",
    LAUNCH_FAILED: f"its start failed and Slurm holds it; {_RELEASE}",
    "job requeued in held state": f"queued again and held; {_RELEASE}",
    "DependencyNeverSatisfied": "the job that it waits for failed; `sweeps cancel {sweep}`, then submit",
    "PartitionTimeLimit": f"it requests more time than its partition allows; {_AGAIN} --option time=...",
    "PartitionNodeLimit": f"it requests more nodes than its partition allows; {_AGAIN} --option partition=...",
    "PartitionInactive": "its partition is inactive; an administrator has to change that",
    "PartitionDown": "its partition is down; an administrator has to change that",
    "BadConstraints": f"no node has what it requests; {_AGAIN} --option of cpus, mem_gb, gpus or constraint",
    "InvalidAccount": f"its account is not valid; {_AGAIN} --option account=...",
    "InvalidQOS": f"its QOS is not valid; {_AGAIN} --option qos=...",
    "AccountNotAllowed": f"its account may not use this partition; {_AGAIN} --option account=... or partition=...",
    "QOSNotAllowed": f"its QOS may not use this partition; {_AGAIN} --option qos=... or partition=...",
}
_NOT_ITS_TURN = ("Licenses", "ReqNodeNotAvail", "Reservation")
_LIMIT = re.compile(r"(?P<scope>Assoc|QOS)(?P<what>\w+)")


def describe(
    submission: str, sweep: str, job: str, word: str, reason: str, node: str, as_of: float | None, may_be_held: bool
) -> TaskState:
    """The state of a task that Slurm lists in state `word`. may_be_held: whether it waits for a release by this
    program."""

    def state(kind: str, text: str = "", cause: str = "") -> TaskState:
        return TaskState(submission, kind, text, cause, node, job, as_of)

    if word in HELD_STATES:
        held = _NEVER.get(reason, f"Slurm holds it ({word}); {_RELEASE}")
        return state("stuck", held.format(sweep=sweep))
    if word in _WAITING:
        return state(*_waiting(reason, sweep, may_be_held))
    if word in _RUNNING:
        return state("running", "suspended" if word in ("SUSPENDED", "STOPPED") else "")
    if word not in ENDED:  # a state of a newer Slurm: squeue lists the job, so it is not assumed to have failed
        return state("unknown", f"Slurm: {word}")
    cause, text = ENDED[word]
    if word == "CANCELLED" and reason.startswith("by "):
        text = f"cancelled by user {reason[3:]}"
    if word == "FAILED" and reason == LAUNCH_FAILURE:
        text = f"Slurm could not start it on its node ({reason})"
    return state("ended", text, cause)


def _waiting(reason: str, sweep: str, may_be_held: bool) -> tuple[str, str, str]:
    """(state, text, cause) of a pending task."""
    if reason == HELD_BY_USER and may_be_held:
        return "pending", _WHY[reason], ""
    if reason in _NEVER:
        return "stuck", _NEVER[reason].format(sweep=sweep), ""
    limit = _limit(reason, sweep)
    if limit is not None:
        return limit
    if reason in _WHY:
        return "pending", _WHY[reason], "limit" if reason in _NOT_ITS_TURN else ""
    # "ReqNodeNotAvail, UnavailableNodes:n1" and the like
    first, comma, rest = reason.partition(",")
    return "pending", f"{_WHY[first]} ({rest.strip()})" if comma and first in _WHY else reason, "limit"


def _limit(reason: str, sweep: str) -> tuple[str, str, str] | None:
    """The same for a limit of an association (user and account) or a QOS; None for other reasons."""
    match = _LIMIT.fullmatch(reason)
    if match is None:
        return None
    whose = "its QOS" if match["scope"] == "QOS" else "its account"
    again = _AGAIN.format(sweep=sweep)
    if "PerJob" in reason or "PerNode" in reason or match["what"].startswith("Min"):
        limited = "time" if "WallDuration" in reason else "resources"
        return "stuck", f"it requests more {limited} than {whose} allows a job ({reason}); {again} --option", ""
    if "Minutes" in reason and "Run" not in reason:
        return "stuck", f"the time that {whose} may use is used up ({reason}); {again} --option account=...", ""
    return "pending", f"a limit of {whose} is reached ({reason}); it starts when other jobs have ended", "limit"
