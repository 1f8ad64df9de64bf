"""The calls of sbatch, squeue, scontrol and sacctmgr that a hand-over needs."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs import process
from jobs.backends import formats
from jobs.backends.base import NoResponse
from jobs.backends.slurm import programs, squeue
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import shown

ARRAY_SIZE = 1001  # Slurm's default of MaxArraySize; an index is below it
_SBATCH_TIMEOUT_S = 120
_CLOCK_SKEW_S = 86400.0  # sacct compares with the clock of another host; names are unique anyway
_LIMIT = re.compile(r"sbatch: error: \w*(?:Submit|Jobs)\w*Limit")
_CONFIGURATIONS = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf"))
# parts of error messages after which the controller may have accepted the job
_UNSURE = ("imed out", "ontact slurm controller", "onnection", "Zero Bytes", "not responding", "Communication")


class LimitReached(JobsError):
    """Slurm accepts no more tasks from this user now."""


def check() -> None:
    """Raises `JobsError` if jobs cannot be submitted from this machine."""
    for program in ("sbatch", "squeue", "scontrol"):
        if shutil.which(program) is None:
            raise JobsError(f"{program} is not on PATH; submit where Slurm is, or use --cluster local")
    if not cluster_settings():
        raise NoResponse("Slurm's controller does not answer (`scontrol show config`); try again later")


def sbatch(script: Path, after: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Submit `script` held, to start after the jobs `after` have ended. environment: variables for sbatch.

    What sbatch prints may be a banner of a site's wrapper, so `find` tells the job's id.
    Raises `JobsError` if Slurm refuses, `NoResponse` if it is unknown whether Slurm accepted the job.
    """
    dependency = [f"--dependency=afterany:{':'.join(after)}"] if after else []
    command = ["sbatch", "--parsable", "--hold", *dependency, str(script)]
    code, _, errors = programs.run(command, _SBATCH_TIMEOUT_S, environment)
    if code == 0:
        return
    lines = [shown(line.strip()) for line in errors.splitlines() if line.strip()]
    own_lines = [line for line in lines if line.startswith("sbatch: error")] or lines or ["no reason given"]
    if code is None or any(word in line for word in _UNSURE for line in own_lines):
        raise NoResponse(f"no answer from sbatch: {own_lines[-1]}")
    limit = next((line.rpartition(" ")[2] for line in own_lines if _LIMIT.fullmatch(line)), None)
    if limit is not None:
        raise LimitReached(f"sbatch refused: {own_lines[-1]}, {limit}")
    raise JobsError(f"sbatch refused: {own_lines[-1]}")


def find(job_name: str, since: float) -> str | None:
    """The id of this user's job or array with this name, from squeue, else from sacct; None if neither lists it.

    since: unix seconds, before it was submitted. Raises `NoResponse` if squeue does not respond.
    """
    command = ["squeue", "--noheader", "--states=all", f"--name={job_name}", "--format=%F|%u|%j"]
    code, output, errors = programs.run(command)
    if code != 0:
        raise NoResponse(f"no answer from squeue: {shown(' '.join(errors.split()))}")
    if job_id := _id_in(output, job_name):
        return job_id
    begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - _CLOCK_SKEW_S))
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--name={job_name}", f"--starttime={begin}",
               "--format=JobID,User,JobName"]  # fmt: skip
    return _id_in(programs.run_quietly(command) or "", job_name)


def _id_in(text: str, job_name: str) -> str | None:
    rows = [line.strip().split("|") for line in text.splitlines()]
    ids = (row[0].partition("_")[0] for row in rows if row[1:] == [process.user(), job_name])
    return next(filter(str.isdecimal, ids), None)


def release(jobs: Sequence[str]) -> bool:
    """Release held `jobs`; jobs that have already run are not an error. Raises `NoResponse` if one stays held.

    False if Slurm may not know one of them: it ran long ago, or was lost.
    """
    code, _, errors = programs.run(["scontrol", "release", ",".join(jobs)])
    if code == 0:
        return True
    listed = squeue.mine()
    held = {row.job for row in listed or () if row.is_held}
    requested = {task for job in jobs for task in formats.task_ids(job)}
    if listed is None or held & requested or {job.partition("_")[0] for job in held} & requested:
        reason = shown(" ".join(errors.split()))
        raise NoResponse(f"Slurm did not release {', '.join(jobs)}: {reason or 'no reason given'}")
    return False


def hold(jobs: Sequence[str]) -> None:
    """Hold pending `jobs` until they are released. Raises `NoResponse` if Slurm did not hold them."""
    code, _, errors = programs.run(["scontrol", "uhold", ",".join(jobs)])
    if code != 0:
        raise NoResponse(f"Slurm did not hold {', '.join(jobs)}: {' '.join(errors.split())}")


def exclude(jobs: Sequence[str], nodes: Sequence[str]) -> bool:
    """Keep pending `jobs` of one user off `nodes`, and off those that they exclude already; False if no node of their
    partition would be left. Raises `NoResponse` if Slurm does not change one."""
    if not jobs:
        return True
    fields = {name: value for record in programs.job_records(jobs[0]) for name, value in record.items()}
    before = fields.get("ExcNodeList", "(null)")
    excluded = ",".join([*([before] if before != "(null)" else []), *nodes])
    listing = programs.run_quietly(["sinfo", "--noheader", "--Node", "--format=%N|%R"]) or ""
    partitions = fields.get("Partition", "").split(",")
    nodes_there = {row[0] for line in listing.splitlines() if (row := line.split("|"))[1:2] and row[1] in partitions}
    if not nodes_there - set(formats.node_names(excluded)):
        return False
    for job in formats.task_list(jobs):
        code, _, errors = programs.run(["scontrol", "update", f"JobId={job}", f"ExcNodeList={excluded}"])
        if code != 0:
            reason = shown(" ".join(errors.split()))
            raise NoResponse(f"Slurm did not exclude {', '.join(nodes)} for {job}: {reason}")
    return True


def cluster_settings() -> dict[str, str]:
    """The settings from `scontrol show config`; empty if the controller does not respond."""
    output = programs.run_quietly(["scontrol", "show", "config"]) or ""
    lines = (line.partition("=") for line in output.splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals}


def trace() -> str | None:
    """A variable or file that indicates a Slurm cluster although sbatch is not on PATH; None if there is none."""
    variables = [f"${name}" for name in ("SLURM_CONF", "SLURM_JOB_ID") if os.environ.get(name)]
    files = [str(path) for path in _CONFIGURATIONS if path.exists()]
    return next(iter(variables + files), None)
