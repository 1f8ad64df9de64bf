"""Slurm: the batch script through submitit, the hand-over of a submission, and one question to squeue for all."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import process
from jobs.errors import JobsError
from jobs.profiles import Profile
from jobs.records import Submission
from jobs.state import TaskState

if TYPE_CHECKING:
    import submitit

_SQUEUE_TIMEOUT_S = 20
_PENDING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
_ARRAY = re.compile(r"\d+_(?:(?P<index>\d+)|\[(?P<spans>[^\]%]+)(?:%\d+)?\])")
_SPAN = re.compile(r"(?P<low>\d+)(?:-(?P<high>\d+)(?::(?P<stride>\d+))?)?")


# --- the batch script -------------------------------------------------------------------------------------


def parameters(profile: Profile, job_name: str, max_parallel: int | None) -> dict[str, Any]:
    """`profile` in submitit's words."""
    gpus = f"{profile.gpu_type}:{profile.gpus}" if profile.gpu_type else profile.gpus
    wanted = {
        "job_name": job_name,
        "time": profile.time_min,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": profile.cpus,
        "gpus_per_node": gpus or None,
        "mem": _memory(profile.mem_gb),
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "exclude": profile.exclude,
        "signal_delay_s": profile.checkpoint_signal_s,
        "array_parallelism": max_parallel or profile.max_parallel,
        "setup": setup_lines(profile),
        # since Slurm 22.05 srun does not take the batch job's --cpus-per-task over by itself
        "srun_args": [f"--cpus-per-task={profile.cpus}"],
        "additional_parameters": {"requeue": True, **profile.sbatch},
        # submitit would put its own name there, and clusters with wckeys refuse an unknown one
        "wckey": None,
    }
    return {key: value for key, value in wanted.items() if value is not None or key == "wckey"}


def setup_lines(profile: Profile) -> list[str]:
    """Shell lines before the task: modules, environment, then the user's own."""
    variables = {**process.job_variables(), "OMP_NUM_THREADS": str(profile.cpus), **profile.env}
    return [
        *(f"module load {shlex.quote(module)}" for module in profile.modules),
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        *profile.setup,
    ]


def script(profile: Profile, folder: Path, job_name: str, tasks: int, max_parallel: int | None) -> str:
    """The text that sbatch is given; exactly what `hand_over` submits."""
    executor = _executor(folder, parameters(profile, job_name, max_parallel))
    if tasks > 1:  # a single task is no array
        executor.parameters["map_count"] = tasks
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def _executor(folder: Path, wanted: dict[str, Any]) -> submitit.SlurmExecutor:
    """submitit's executor; it can write a script without Slurm at hand, and its tasks ignore the working directory."""
    import submitit

    class Executor(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2

    executor = Executor(folder=_plain(folder), python=shlex.join(process.python()))
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


def hand_over(
    jobs: Sequence[Callable[[], None]], profile: Profile, folder: Path, job_name: str, max_parallel: int | None
) -> list[str]:
    """Submit `jobs` as one array (or a single job); their ids in order. Raises `JobsError` if sbatch refuses."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise JobsError(f"{program} is not on PATH; submit where Slurm is, or use --cluster local")
    executor = _executor(folder, parameters(profile, job_name, max_parallel))
    try:
        with _without_job_environment():
            submitted = executor.submit_array(jobs)
    except (FailedJobError, FailedSubmissionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise JobsError(f"sbatch refused: {' '.join(lines[:2]) or 'no reason given'}") from error
    return [str(job.job_id) for job in submitted]


@contextlib.contextmanager
def _without_job_environment() -> Iterator[None]:
    """Submitting from inside a job must not pass that job's SLURM_* on; SLURM_CONF names the cluster and stays."""
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(("SLURM_", "SUBMITIT_")) and name != "SLURM_CONF":
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


# --- what Slurm says --------------------------------------------------------------------------------------


def task_states(submissions: Iterable[Submission]) -> dict[tuple[str, int], TaskState]:
    """(submission, task) -> its state, for `submissions` of this backend, with one question to squeue.

    A task that squeue does not list has ended; where squeue is missing or silent nothing is known.
    """
    asked = {s.job_name: s for s in submissions}
    if not asked:
        return {}
    command = ["squeue", "--noheader", "--format=%j|%i|%T|%r", f"--name={','.join(asked)}"]
    listed = process.run_quietly(command, _SQUEUE_TIMEOUT_S, {**os.environ, "SLURM_BITSTR_LEN": "0"})
    found: dict[tuple[str, int], TaskState] = {}
    for line in (listed or "").splitlines():
        name, job, word, reason = [*line.strip().split("|", 3), "", "", "", ""][:4]
        if name in asked:
            for index in task_indices(job):
                found[asked[name].id, index] = _task_state(asked[name].id, word, reason)
    for submission in asked.values():
        for index in range(len(submission.tasks)):
            missing = TaskState(submission.id, "unknown" if listed is None else "ended")
            found.setdefault((submission.id, index), missing)
    return found


def _task_state(submission: str, word: str, reason: str) -> TaskState:
    if word in _PENDING:
        return TaskState(submission, "pending", "" if reason in ("", "None") else reason)
    if word in _RUNNING:
        return TaskState(submission, "running")
    return TaskState(submission, "ended", "" if reason in ("", "None") else f"Slurm: {word}, {reason}")


def task_indices(job: str) -> list[int]:
    """Array indices of squeue's job column: `7_3`, `7_[0-9:3,12%4]`; a job that is no array is task 0."""
    match = _ARRAY.fullmatch(job)
    if match is None:
        return [0]
    if match["index"] is not None:
        return [int(match["index"])]
    indices: list[int] = []
    for part in match["spans"].split(","):
        span = _SPAN.fullmatch(part)
        if span is not None:
            low = int(span["low"])
            indices += range(low, int(span["high"] or low) + 1, int(span["stride"] or 1))
    return indices


# --- inside a job -----------------------------------------------------------------------------------------


def current_job() -> str | None:
    """`JOBID_INDEX`, or `JOBID` of a job that is no array; None outside Slurm."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def requeue(job: str) -> bool:
    """Queue `job` again, this one task only; False where Slurm refuses."""
    return process.run_quietly(["scontrol", "requeue", job], _SQUEUE_TIMEOUT_S) is not None
