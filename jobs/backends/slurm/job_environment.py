"""Inside a Slurm job: its job id, its cluster, and requeueing it."""

from __future__ import annotations

import os
from datetime import datetime

from jobs.backends.slurm import programs


def current_job() -> str | None:
    """`JOBID_INDEX`, or `JOBID` for a job that is not an array; None outside Slurm."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def end_time() -> float | None:
    """Unix seconds when the time limit of this job is reached; None where Slurm does not say."""
    stated = os.environ.get("SLURM_JOB_END_TIME", "")
    if stated.isdecimal():
        return float(stated)
    job = current_job()
    ends = programs.run_quietly(["squeue", "--noheader", "--format=%e", f"--jobs={job}"]) if job else None
    try:
        return datetime.fromisoformat((ends or "").strip()).timestamp()
    except ValueError:
        return None


def requeue(job: str) -> bool:
    """Requeue `job`, only this one task; False if Slurm refuses."""
    return programs.run_quietly(["scontrol", "requeue", job]) is not None


def cluster_name() -> str:
    """The name of this cluster in Slurm; "" outside a job."""
    return os.environ.get("SLURM_CLUSTER_NAME", "")
