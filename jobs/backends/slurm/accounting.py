"""The resource usage of tasks, from sacct."""

from __future__ import annotations

from jobs.backends.base import Usage
from jobs.backends.formats import cpu_seconds, gigabytes
from jobs.backends.slurm import programs
from jobs.results.records import Submission

_SACCT_TIMEOUT_S = 30.0


def usage(submission: Submission) -> list[Usage]:
    """Usage per task, from sacct. Empty without accounting or without memory accounting."""
    jobs = [chunk.job_id for chunk in submission.chunks if chunk.job_id and chunk.count]
    if not jobs:
        return []
    command = ["sacct", "--noheader", "--parsable2", f"--jobs={','.join(jobs)}",
               "--format=JobID,State,ElapsedRaw,TotalCPU,MaxRSS,JobName"]  # fmt: skip
    text = programs.run_quietly(command, _SACCT_TIMEOUT_S) or ""
    names = {chunk.job_name for chunk in submission.chunks}
    tasks: dict[str, tuple[float, float]] = {}
    memory: dict[str, float] = {}
    for line in text.splitlines():
        job, state, seconds, cpu, size, name = [*line.split("|", 5), *[""] * 6][:6]
        task, _, step = job.partition(".")
        if not step and name not in names:
            continue  # a later job with the same id
        if step:
            memory[task] = max(memory.get(task, 0.0), gigabytes(size))
        elif state.partition(" ")[0] not in ("PENDING", "RUNNING") and seconds.isdigit() and int(seconds):
            tasks[task] = (float(seconds), cpu_seconds(cpu))
    return [Usage(*times, memory[task]) for task, times in tasks.items() if memory.get(task)]
