"""The resource usage of tasks, from sacct."""

from __future__ import annotations

import re

from jobs import process
from jobs.backends.base import Usage
from jobs.results.records import Submission

_SACCT_TIMEOUT_S = 30.0
_CPU = re.compile(r"(?:(?:(?P<days>\d+)-)?(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?)")
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[KMGT]?)")
_GB = {"": 1 / 1024**3, "K": 1 / 1024**2, "M": 1 / 1024, "G": 1.0, "T": 1024.0}


def usage(submission: Submission) -> list[Usage]:
    """Usage per task, from sacct. Empty without accounting or without memory accounting."""
    jobs = [chunk.job_id for chunk in submission.chunks if chunk.job_id and chunk.count]
    if not jobs:
        return []
    command = ["sacct", "--noheader", "--parsable2", f"--jobs={','.join(jobs)}",
               "--format=JobID,State,ElapsedRaw,TotalCPU,MaxRSS"]  # fmt: skip
    text = process.run_quietly(command, _SACCT_TIMEOUT_S) or ""
    tasks: dict[str, tuple[float, float]] = {}
    memory: dict[str, float] = {}
    for line in text.splitlines():
        job, state, seconds, cpu, size = [*line.split("|"), *[""] * 5][:5]
        task, _, step = job.partition(".")
        if step:
            memory[task] = max(memory.get(task, 0.0), gigabytes(size))
        elif state.partition(" ")[0] not in ("PENDING", "RUNNING") and seconds.isdigit() and int(seconds):
            tasks[task] = (float(seconds), cpu_seconds(cpu))
    return [Usage(*times, memory[task]) for task, times in tasks.items() if memory.get(task)]


def cpu_seconds(text: str) -> float:
    """Parse `1-02:03:04`, `02:03:04` or `03:04.500` as sacct prints it; 0 for other text."""
    match = _CPU.fullmatch(text)
    if match is None:
        return 0.0
    part = {name: float(value or 0) for name, value in match.groupdict().items()}
    return ((part["days"] * 24 + part["hours"]) * 60 + part["minutes"]) * 60 + part["seconds"]


def gigabytes(text: str) -> float:
    """Parse `512000K` as sacct prints it; 0 for other text."""
    match = _SIZE.fullmatch(text)
    return float(match["number"]) * _GB[match["unit"]] if match else 0.0
