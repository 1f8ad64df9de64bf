"""The batch script of an array of tasks, through submitit."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import process
from jobs.backends.job_command import task_command
from jobs.backends.profile import Profile
from jobs.results.records import Chunk
from jobs.submitter_environment import shell_lines
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    import submitit


def parameters(
    profile: Profile, code: Path, job_name: str, max_parallel: int | None, keep_environment: bool = False
) -> dict[str, Any]:
    """`profile` as submitit's parameters. keep_environment: see `setup_lines`."""
    gpus = f"{profile.gpu_type}:{profile.gpus}" if profile.gpu_type else str(profile.gpus)
    gres = profile.gpu_request == "gres"  # only one of the two options, since Slurm would add them up
    options = {
        "job_name": job_name,
        "time": profile.time_min or "UNLIMITED",
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
        "setup": setup_lines(profile, code, keep_environment),
        # since Slurm 22.05 srun does not inherit the batch job's --cpus-per-task,
        # and without open-mode=append it truncates the log of a requeued task
        "srun_args": [f"--cpus-per-task={profile.cpus}", "--open-mode=append"],
        "additional_parameters": {"requeue": True, **profile.sbatch},
        # submitit's default is its own name, and clusters that use wckeys reject an unknown one
        "wckey": None,
    }
    return {key: value for key, value in options.items() if value is not None or key == "wckey"}


def setup_lines(profile: Profile, code: Path, keep_environment: bool = False) -> list[str]:
    """Shell lines before the task: modules, the environment's activation, variables, then the user's own.

    keep_environment: for a program, which gets the environment that the modules left.
    """
    variables = {**process.job_variables(code), "OMP_NUM_THREADS": str(profile.cpus)}
    if profile.mujoco_gl:
        variables["MUJOCO_GL"] = profile.mujoco_gl
    folders = {"TMPDIR": profile.scratch} if profile.scratch else {}
    if profile.compile_cache:
        cache = profile.compile_cache
        folders |= {"TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor", "TRITON_CACHE_DIR": f"{cache}/triton"}
    return [
        *(line for module in profile.modules for line in _or_end(f"module load {shlex.quote(module)}")),
        *(shell_lines() if keep_environment else []),
        *(_or_end(profile.activate) if profile.activate else []),
        *(f"export {name}={shlex.quote(value)}" for name, value in {**variables, **profile.env}.items()),
        *(f'export {name}="{folder}"; mkdir -p "${name}"' for name, folder in folders.items()),
        *profile.setup,
    ]


def _or_end(line: str) -> list[str]:
    """`line`, and a check after it that ends the job; `jobs.runs.logs` reads what that writes."""
    return [line, f"[ $? -eq 0 ] || {{ echo {shlex.quote(f'sweeps: failed: {line}')} >&2; exit 1; }}"]


def script(
    profile: Profile,
    job_name: str,
    command: str,
    throttle: int | None = None,
    tasks: int = 1,
    *,
    code: Path,
    folder: Path,
    keep_environment: bool = False,
) -> str:
    """The batch script for sbatch: a job array if there are several tasks.

    code: the folder that its tasks import from. folder: for logs. command: a shell command.
    """
    executor = _executor(folder, parameters(profile, code, job_name, throttle, keep_environment))
    if tasks > 1:
        executor.parameters["map_count"] = tasks
    return executor._make_submission_file_text(command, "")


def chunk_command(submission_folder: Path, chunk: Chunk) -> str:
    """The shell command that a task of `chunk` runs."""
    task = str(chunk.start) if chunk.count == 1 else f"$(({chunk.start} + SLURM_ARRAY_TASK_ID))"
    return f"{shlex.join(task_command(submission_folder, '-u'))} {task}"


def _executor(folder: Path, parameters: dict[str, Any]) -> submitit.SlurmExecutor:
    """submitit's executor, changed so that it can write a script on a machine without Slurm."""
    import submitit

    class Executor(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2

    executor = Executor(folder=_plain(folder))
    executor.update_parameters(**parameters)
    return executor


def _plain(folder: Path) -> Path:
    """`folder`, checked: Slurm expands % in names of logs, and the batch script needs them on one line."""
    if "%" in str(folder) or not str(folder).isprintable():
        raise JobsError(f"results folder {str(folder)!r}: Slurm cannot take % or control characters in it")
    return folder


def _memory(gigabytes: float | None) -> str | None:
    return None if gigabytes is None else f"{round(gigabytes * 1024)}M"
