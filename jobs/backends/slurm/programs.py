"""Calls of Slurm's programs, with an environment of our own and a time limit that the user can set.

Slurm's programs read options from variables: `SQUEUE_PARTITION` hides jobs, `SBATCH_TIMELIMIT` wins over the script.
None of them reaches a program, and none of those that belong to a surrounding job.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping

from jobs import process
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import shown

TIMEOUT_VARIABLE = "SWEEPS_SLURM_TIMEOUT"
TIMEOUT_S = 20.0
_LONGEST_TIMEOUT_S = 3600.0
_PREFIXES = ("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_", "SRUN_", "SINFO_", "SUBMITIT_")
# Which cluster, and the token that some clusters ask for: neither changes a question or a script.
_KEPT = ("SLURM_CONF", "SLURM_JWT")


def is_dropped(name: str) -> bool:
    """Whether the variable is kept from Slurm's programs."""
    return name.startswith(_PREFIXES) and name not in _KEPT


def run(
    command: list[str], at_least_s: float = 0.0, extra: Mapping[str, str] | None = None
) -> tuple[int | None, str, str]:
    """As `process.run`. at_least_s: seconds that the program has, if that is longer than the time limit of questions.
    extra: variables to set. Raises `JobsError` if the time limit in the environment is no number of seconds."""
    _note_dropped()
    return process.run(command, max(at_least_s, timeout_s()), environment(extra))


def run_quietly(command: list[str], at_least_s: float = 0.0, extra: Mapping[str, str] | None = None) -> str | None:
    """As `process.run_quietly`."""
    code, output, _ = run(command, at_least_s, extra)
    return output if code == 0 else None


def job_records(job: str) -> list[dict[str, str]]:
    """What `scontrol show job` says of a job, one record for each of its lines; empty if Slurm does not know it."""
    text = run_quietly(["scontrol", "show", "job", "--oneliner", job]) or ""
    return [dict(word.partition("=")[::2] for word in line.split()) for line in text.splitlines()]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of Slurm's programs."""
    return {**{name: value for name, value in os.environ.items() if not is_dropped(name)}, **(extra or {})}


def timeout_s() -> float:
    """How many seconds a question may take. Raises `JobsError`."""
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    if not text:
        return TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= _LONGEST_TIMEOUT_S:
        raise JobsError(f"{TIMEOUT_VARIABLE}={text!r}: give seconds from 1 to {_LONGEST_TIMEOUT_S:.0f}, such as 60")
    return seconds


@functools.cache
def _note_dropped() -> None:
    """Say once which variables are ignored. Inside a job there are always some."""
    if "SLURM_JOB_ID" in os.environ:
        return
    names = sorted(filter(is_dropped, os.environ))
    if names:
        print(
            f"not passed to Slurm's commands: {shown(', '.join(names))}; set the resources of jobs in a profile",
            file=sys.stderr,
        )
