"""The jobs that squeue lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from jobs.backends.formats import task_ids
from jobs.backends.slurm import programs

EVERY_INDEX = {"SLURM_BITSTR_LEN": "0"}  # otherwise squeue and sacct truncate lists of indices to 64 bytes
# Reasons of jobs that start only after they are released.
HELD_BY_USER, HELD_BY_ADMINISTRATOR = "JobHeldUser", "JobHeldAdmin"
LAUNCH_FAILED = "launch failed requeued held"
HELD_STATES = ("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_HELD = (HELD_BY_USER, HELD_BY_ADMINISTRATOR, LAUNCH_FAILED, "job requeued in held state")


@dataclass(frozen=True)
class Listed:
    """A task that squeue lists. job: `JOBID_INDEX` or `JOBID`."""

    job: str
    state: str
    node: str
    user: str
    name: str
    reason: str

    @property
    def is_held(self) -> bool:
        """Whether it waits until it is released."""
        return self.state in HELD_STATES or (self.state == "PENDING" and self.reason in _HELD)


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
    tasks = [Listed(job, *row[1:]) for row in rows for job in task_ids(row[0])]
    if any("[" in row[0] and "," in row[5] for row in rows):
        # squeue writes the pending tasks of an array as one row with several reasons. --array has one row per task,
        # but omits the last task of an array such as 0-60:2, so it is used for the reasons only.
        reasons = {(row[0], row[1]): row[5] for row in _squeue_rows("--array", *selection) or ()}
        tasks = [replace(task, reason=reasons.get((task.job, task.state), task.reason)) for task in tasks]
    return tasks


def _squeue_rows(*selection: str) -> list[list[str]] | None:
    # the reason is the last column: it is free text and may contain the separator
    command = ["squeue", "--noheader", *selection, "--format=%i|%T|%N|%u|%j|%r"]
    text = programs.run_quietly(command, extra=EVERY_INDEX)
    if text is None:
        return None
    return [row for line in text.splitlines() if len(row := line.strip().split("|", 5)) == 6]
