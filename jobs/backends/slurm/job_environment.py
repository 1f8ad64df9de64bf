"""Inside a Slurm job: which job it is, and queueing it again."""

from __future__ import annotations

import os

from jobs import process
from jobs.backends.slurm.commands import QUERY_TIMEOUT_S


def current_job() -> str | None:
    """`JOBID_INDEX`, or `JOBID` of a job that is no array; None outside Slurm."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def requeue(job: str) -> bool:
    """Queue `job` again, this one task only; False where Slurm refuses."""
    return process.run_quietly(["scontrol", "requeue", job], QUERY_TIMEOUT_S) is not None


def cluster_name() -> str:
    """Slurm's name of this cluster; "" outside a job."""
    return os.environ.get("SLURM_CLUSTER_NAME", "")
