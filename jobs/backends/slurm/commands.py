"""The calls of sbatch, squeue, scontrol and sacctmgr that a hand-over needs."""

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
_JOB_ID = re.compile(r"(\d+)(;.*)?\s*$")  # --parsable prints the id, and with several clusters also the cluster's name
_CONFIGURATIONS = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf"))
# parts of error messages after which the controller may have accepted the job
_UNSURE = ("imed out", "ontact slurm controller", "onnection", "Zero Bytes", "not responding", "Communication")


def check() -> None:
    """Raises `JobsError` if jobs cannot be submitted from this machine."""
    for program in ("sbatch", "squeue", "scontrol"):
        if shutil.which(program) is None:
            raise JobsError(f"{program} is not on PATH; submit where Slurm is, or use --cluster local")
    if not cluster_settings():
        raise NoResponse("Slurm's controller does not answer (`scontrol show config`); try again later")


def sbatch(script: Path, after: Sequence[str]) -> str:
    """Submit `script` held, to start after the jobs `after` have ended. Returns its job id.

    Raises `JobsError` if Slurm refuses, `NoResponse` if it is unknown whether Slurm accepted the job.
    """
    dependency = [f"--dependency=afterany:{':'.join(after)}"] if after else []
    command = ["sbatch", "--parsable", "--hold", *dependency, str(script)]
    code, output, errors = process.run(command, _SBATCH_TIMEOUT_S, _environment())
    job = _JOB_ID.match(output)
    if code == 0 and job is not None:
        return job[1]
    message = " ".join(line.strip() for line in errors.splitlines()[:2]) or f"it said {output.strip()!r}"
    if code is None or code == 0 or any(word in errors for word in _UNSURE):
        raise NoResponse(f"no answer from sbatch: {message}")
    raise JobsError(f"sbatch refused: {message}")


def find(job_name: str, since: float) -> str | None:
    """The id of the job or array with this name, from squeue, else from sacct; None if neither lists it.

    since: unix seconds, before it was submitted. Raises `NoResponse` if squeue does not respond.
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
    """Release held `jobs`; jobs that have already run are not an error. Raises `NoResponse` if one stays held.

    False if Slurm may not know one of them: it ran long ago, or was lost.
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
    """Hold pending `jobs` until they are released. Raises `NoResponse` if Slurm did not hold them."""
    code, _, errors = process.run(["scontrol", "uhold", ",".join(jobs)], QUERY_TIMEOUT_S)
    if code != 0:
        raise NoResponse(f"Slurm did not hold {', '.join(jobs)}: {' '.join(errors.split())}")


def submit_limit(account: str | None) -> int | None:
    """The largest number of tasks that this user may have in the queue; None if accounting sets no limit."""
    association = [f"user={process.user()}", *([f"account={account}"] if account else [])]
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", *association, "format=MaxSubmitJobs"]
    words = (process.run_quietly(command, QUERY_TIMEOUT_S) or "").split()
    return min((int(word) for word in words if word.isdigit()), default=None)


def queued() -> int:
    """The number of tasks of this user in Slurm's queue. Raises `NoResponse`."""
    listed = queue_state.mine()
    if listed is None:
        raise NoResponse("no answer from squeue; try again later")
    return len(listed)


def cluster_settings() -> dict[str, str]:
    """The settings from `scontrol show config`; empty if the controller does not respond."""
    output = process.run_quietly(["scontrol", "show", "config"], QUERY_TIMEOUT_S) or ""
    lines = (line.partition("=") for line in output.splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals}


def trace() -> str | None:
    """A variable or file that indicates a Slurm cluster although sbatch is not on PATH; None if there is none."""
    variables = [f"${name}" for name in ("SLURM_CONF", "SLURM_JOB_ID") if os.environ.get(name)]
    files = [str(path) for path in _CONFIGURATIONS if path.exists()]
    return next(iter(variables + files), None)


def _environment() -> dict[str, str]:
    """The environment for sbatch, without the SLURM_* variables of a surrounding job; SLURM_CONF stays."""
    inherited = ("SLURM_", "SUBMITIT_")
    return {k: v for k, v in os.environ.items() if not k.startswith(inherited) or k == "SLURM_CONF"}
