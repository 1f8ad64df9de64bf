"""Slurm: the batch script through submitit, and what is asked of sbatch and scontrol."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import process
from jobs.backends.slurm import queue_state
from jobs.backends.slurm.profile import Profile
from jobs.results.records import Chunk
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    import submitit

ARRAY_SIZE = 1001  # what MaxArraySize is where nobody set it; an index is below it
_SQUEUE_TIMEOUT_S = 20
_SBATCH_TIMEOUT_S = 120
_JOB_ID = re.compile(r"(\d+)(;.*)?\s*$")  # --parsable: the id, and the cluster's name where there are several
_CONFIGURATIONS = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf"))
# of messages after which the controller may have taken the job
_UNSURE = ("imed out", "ontact slurm controller", "onnection", "Zero Bytes", "not responding", "Communication")


# --- the batch script -------------------------------------------------------------------------------------


def parameters(profile: Profile, code: Path, job_name: str, max_parallel: int | None) -> dict[str, Any]:
    """`profile` in submitit's words."""
    gpus = f"{profile.gpu_type}:{profile.gpus}" if profile.gpu_type else str(profile.gpus)
    gres = profile.gpu_request == "gres"  # one of the two options: Slurm would add them up
    wanted = {
        "job_name": job_name,
        "time": profile.time_min,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": profile.cpus,
        "gpus_per_node": gpus if profile.gpus and not gres else None,
        "gres": f"gpu:{gpus}" if profile.gpus and gres else None,
        "mem": _memory(profile.mem_gb),
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "exclude": profile.exclude,
        "signal_delay_s": profile.checkpoint_signal_s,
        "array_parallelism": max_parallel or profile.max_parallel,
        "setup": setup_lines(profile, code),
        # since Slurm 22.05 srun does not take the batch job's --cpus-per-task over by itself
        # and without open-mode it empties the log of a task that was requeued
        "srun_args": [f"--cpus-per-task={profile.cpus}", "--open-mode=append"],
        "additional_parameters": {"requeue": True, **profile.sbatch},
        # submitit would put its own name there, and clusters with wckeys refuse an unknown one
        "wckey": None,
    }
    return {key: value for key, value in wanted.items() if value is not None or key == "wckey"}


def setup_lines(profile: Profile, code: Path) -> list[str]:
    """Shell lines before the task: modules, the environment's activation, variables, then the user's own."""
    variables = {**process.job_variables(code), "OMP_NUM_THREADS": str(profile.cpus)}
    if profile.mujoco_gl:
        variables["MUJOCO_GL"] = profile.mujoco_gl
    folders = {"TMPDIR": profile.scratch} if profile.scratch else {}
    if profile.compile_cache:
        cache = profile.compile_cache
        folders |= {"TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor", "TRITON_CACHE_DIR": f"{cache}/triton"}
    return [
        *(f"module load {shlex.quote(module)}" for module in profile.modules),
        *([profile.activate] if profile.activate else []),
        *(f"export {name}={shlex.quote(value)}" for name, value in {**variables, **profile.env}.items()),
        *(f'export {name}="{folder}"; mkdir -p "${name}"' for name, folder in folders.items()),
        *profile.setup,
    ]


def script(
    profile: Profile,
    job_name: str,
    command: str,
    throttle: int | None = None,
    tasks: int = 1,
    *,
    code: Path,
    folder: Path,
) -> str:
    """The batch script, as sbatch is given it: an array where there are several tasks.

    code: the folder its tasks import from. folder: for logs. command: a shell command.
    """
    executor = _executor(folder, parameters(profile, code, job_name, throttle))
    if tasks > 1:
        executor.parameters["map_count"] = tasks
    return executor._make_submission_file_text(command, "")


def task_command(submission: Path, chunk: Chunk) -> str:
    """What a task of `chunk` runs. submission: its folder."""
    task = str(chunk.start) if chunk.count == 1 else f"$(({chunk.start} + SLURM_ARRAY_TASK_ID))"
    return f"{shlex.join([*process.python(), '-u', '-m', 'jobs.entry', str(submission)])} {task}"


def _executor(folder: Path, wanted: dict[str, Any]) -> submitit.SlurmExecutor:
    """submitit's executor; it can write a script without Slurm at hand."""
    import submitit

    class Executor(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2

    executor = Executor(folder=_plain(folder))
    executor.update_parameters(**wanted)
    return executor


def _plain(folder: Path) -> Path:
    """Log names are patterns to Slurm and lines to the shell."""
    if "%" in str(folder) or not str(folder).isprintable():
        raise JobsError(f"results folder {str(folder)!r}: Slurm cannot take % or control characters in it")
    return folder


def _memory(gigabytes: float | None) -> str | None:
    return None if gigabytes is None else f"{round(gigabytes * 1024)}M"


# --- the hand-over ----------------------------------------------------------------------------------------


class NoResponse(JobsError):
    """The controller did not say yes or no: what was asked of it may have been done."""


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
    code, output, errors = process.run(command, _SQUEUE_TIMEOUT_S)
    if code != 0:
        raise NoResponse(f"no answer from squeue: {' '.join(errors.split())}")
    begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 60))
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--name={job_name}", f"--starttime={begin}",
               "--format=JobID"]  # fmt: skip
    listed = output.split() or (process.run_quietly(command, _SQUEUE_TIMEOUT_S) or "").split()
    return listed[0].partition("_")[0] if listed else None


def release(jobs: Sequence[str]) -> bool:
    """Let held `jobs` run; those that ran already are no error. Raises `NoResponse` where one stays held.

    False where Slurm may not know one of them: it ran long ago, or was lost.
    """
    code, _, errors = process.run(["scontrol", "release", ",".join(jobs)], _SQUEUE_TIMEOUT_S)
    if code == 0:
        return True
    listed = queue_state.mine()
    held = {row.job for row in listed or () if row.reason.startswith("JobHeld")}
    if listed is None or held & set(jobs) or {job.partition("_")[0] for job in held} & set(jobs):
        raise NoResponse(f"Slurm did not release {', '.join(jobs)}: {' '.join(errors.split())}")
    return False


def hold(jobs: Sequence[str]) -> None:
    """Keep waiting `jobs` from starting, until they are released. Raises `NoResponse` where Slurm does not."""
    code, _, errors = process.run(["scontrol", "uhold", ",".join(jobs)], _SQUEUE_TIMEOUT_S)
    if code != 0:
        raise NoResponse(f"Slurm did not hold {', '.join(jobs)}: {' '.join(errors.split())}")


def submit_limit(account: str | None) -> int | None:
    """How many tasks Slurm's accounting lets this user have in the queue; None where it says nothing."""
    which = [f"user={process.user()}", *([f"account={account}"] if account else [])]
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", *which, "format=MaxSubmitJobs"]
    words = (process.run_quietly(command, _SQUEUE_TIMEOUT_S) or "").split()
    return min((int(word) for word in words if word.isdigit()), default=None)


def queued() -> int:
    """Tasks of this user that are in Slurm's queue. Raises `NoResponse`."""
    listed = queue_state.mine()
    if listed is None:
        raise NoResponse("no answer from squeue; try again later")
    return len(listed)


def cluster_settings() -> dict[str, str]:
    """`scontrol show config` as it stands; empty where the controller does not answer."""
    shown = process.run_quietly(["scontrol", "show", "config"], _SQUEUE_TIMEOUT_S) or ""
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


# --- inside a job -----------------------------------------------------------------------------------------


def current_job() -> str | None:
    """`JOBID_INDEX`, or `JOBID` of a job that is no array; None outside Slurm."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def requeue(job: str) -> bool:
    """Queue `job` again, this one task only; False where Slurm refuses."""
    return process.run_quietly(["scontrol", "requeue", job], _SQUEUE_TIMEOUT_S) is not None
