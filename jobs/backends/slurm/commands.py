"""What is asked of sbatch, squeue, scontrol and sacctmgr for a hand-over."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from jobs import process
from jobs.backends.base import NoResponse
from jobs.backends.slurm import queue_state
from sweepwise.core.errors import JobsError

ARRAY_SIZE = 1001  # Slurm's default of MaxArraySize; an index is below it
QUERY_TIMEOUT_S = 20
_SBATCH_TIMEOUT_S = 120
_JOB_ID = re.compile(r"(\d+)(;.*)?\s*$")  # --parsable: the id, and the cluster's name where there are several
_CONFIGURATIONS = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf"))
# of messages after which the controller may have taken the job
_UNSURE = ("imed out", "ontact slurm controller", "onnection", "Zero Bytes", "not responding", "Communication")


def check() -> None:
    """Raises `JobsError` where jobs cannot be submitted from."""
    for program in ("sbatch", "squeue", "scontrol"):
        if shutil.which(program) is None:
            raise JobsError(f"{program} is not on PATH; submit where Slurm is, or use --cluster local")
    if not cluster_settings():
        raise NoResponse("Slurm's controller does not answer (`scontrol show config`); try again later")


def sbatch(script: Path, after: Sequence[str]) -> str:
    """Submit `script` held, to begin after the jobs `after` have ended; its job id.

    Raises `JobsError` where Slurm refuses, `NoResponse` where it cannot be known whether it took the job.
    """
    depends = [f"--dependency=afterany:{':'.join(after)}"] if after else []
    command = ["sbatch", "--parsable", "--hold", *depends, str(script)]
    code, output, errors = process.run(command, _SBATCH_TIMEOUT_S, _environment())
    job = _JOB_ID.match(output)
    if code == 0 and job is not None:
        return job[1]
    told = " ".join(line.strip() for line in errors.splitlines()[:2]) or f"it said {output.strip()!r}"
    if code is None or code == 0 or any(word in errors for word in _UNSURE):
        raise NoResponse(f"no answer from sbatch: {told}")
    raise JobsError(f"sbatch refused: {told}")


def find(job_name: str, since: float) -> str | None:
    """The id of the job or array of this name, None where Slurm has none; asked of sacct too, where there is one.

    since: unix seconds, before it was submitted. Raises `NoResponse` where squeue does not answer.
    """
    command = ["squeue", "--noheader", "--states=all", f"--name={job_name}", "--format=%F"]
    code, output, errors = process.run(command, QUERY_TIMEOUT_S)
    if code != 0:
        raise NoResponse(f"no answer from squeue: {' '.join(errors.split())}")
    begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--name={job_name}", f"--starttime={begin}",
               "--format=JobID"]  # fmt: skip
    listed = output.split() or (process.run_quietly(command, QUERY_TIMEOUT_S) or "").split()
    return listed[0].partition("_")[0] if listed else None


def release(jobs: Sequence[str]) -> bool:
    """Let held `jobs` run; those that ran already are no error. Raises `NoResponse` where one stays held.

    False where Slurm may not know one of them: it ran long ago, or was lost.
    """
    code, _, errors = process.run(["scontrol", "release", ",".join(jobs)], QUERY_TIMEOUT_S)
    if code == 0:
        return True
    listed = queue_state.mine()
    held = {row.job for row in listed or () if row.reason.startswith("JobHeld")}
    if listed is None or held & set(jobs) or {job.partition("_")[0] for job in held} & set(jobs):
        raise NoResponse(f"Slurm did not release {', '.join(jobs)}: {' '.join(errors.split())}")
    return False


def hold(jobs: Sequence[str]) -> None:
    """Keep waiting `jobs` from starting, until they are released. Raises `NoResponse` where Slurm does not."""
    code, _, errors = process.run(["scontrol", "uhold", ",".join(jobs)], QUERY_TIMEOUT_S)
    if code != 0:
        raise NoResponse(f"Slurm did not hold {', '.join(jobs)}: {' '.join(errors.split())}")


def submit_limit(account: str | None) -> int | None:
    """How many tasks Slurm's accounting lets this user have in the queue; None where it says nothing."""
    which = [f"user={process.user()}", *([f"account={account}"] if account else [])]
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", *which, "format=MaxSubmitJobs"]
    words = (process.run_quietly(command, QUERY_TIMEOUT_S) or "").split()
    return min((int(word) for word in words if word.isdigit()), default=None)


def queued() -> int:
    """Tasks of this user that are in Slurm's queue. Raises `NoResponse`."""
    listed = queue_state.mine()
    if listed is None:
        raise NoResponse("no answer from squeue; try again later")
    return len(listed)


def cluster_settings() -> dict[str, str]:
    """`scontrol show config` as it stands; empty where the controller does not answer."""
    shown = process.run_quietly(["scontrol", "show", "config"], QUERY_TIMEOUT_S) or ""
    lines = (line.partition("=") for line in shown.splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals}


def trace() -> str | None:
    """What tells of a cluster where sbatch is not at hand; None where nothing does."""
    named = [f"${name}" for name in ("SLURM_CONF", "SLURM_JOB_ID") if os.environ.get(name)]
    files = [str(path) for path in _CONFIGURATIONS if path.exists()]
    return next(iter(named + files), None)


def _environment() -> dict[str, str]:
    """Submitting from inside a job must not pass that job's SLURM_* on; SLURM_CONF names the cluster and stays."""
    inherited = ("SLURM_", "SUBMITIT_")
    return {k: v for k, v in os.environ.items() if not k.startswith(inherited) or k == "SLURM_CONF"}
