"""The expected cost of a submit, in hours, files and bytes, estimated from earlier runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from jobs.backends.base import Target
from jobs.results.attempts import RunRecord, RunRef
from jobs.results.records import Attempt, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from sweepwise.core.schema import ExpectedMemory

_SAMPLES = 200  # largest number of earlier runs to read
_FOLDERS = 5  # largest number of run folders whose files are counted
_MORE_MEMORY = 1.25  # times the expected memory is what to request
_ENOUGH = 0.1  # fraction of its steps before a run's speed counts: the first steps act randomly, which is faster


@dataclass(frozen=True)
class Sample:
    """An earlier run. steps_per_s: including start and evaluations. seeds: trained by its process, its own included."""

    run: RunRef
    seeds: int
    steps_per_s: float
    done: bool


@dataclass(frozen=True)
class Cost:
    """hours: per task. gpus: of each task. width: tasks at a time. size, files: bytes and files, None if unknown.

    samples: number of earlier runs that this is estimated from.
    """

    hours: Sequence[float]
    gpus: int
    width: int
    samples: int
    size: float | None
    files: float | None

    @property
    def gpu_hours(self) -> float:
        return self.gpus * sum(self.hours)

    @property
    def elapsed_h(self) -> float:
        """Hours from the first start to the last end, without waiting for nodes."""
        return max(max(self.hours), sum(self.hours) / self.width)


def samples(store: ResultsFolder, device: str, first: Sequence[str]) -> list[Sample]:
    """Earlier runs on `device` with one attempt that went far enough; the configurations `first` come first."""
    submissions = {submission.id: submission for submission in store.submissions.all()}
    earlier: list[Sample] = []
    for run in _runs(store, first):
        readable = store.read_config(run.config_id) is not None
        record = store.attempts.load(run, store.run_length(run.config_id)) if readable else None
        sample = _sample(record, submissions) if record is not None and _ran_on(record.attempt, device) else None
        if sample is not None:
            earlier.append(sample)
        if len(earlier) == _SAMPLES:
            break
    return earlier


def _runs(store: ResultsFolder, first: Sequence[str]) -> Iterator[RunRef]:
    for config in dict.fromkeys([*first, *store.config_ids()]):
        yield from (RunRef(config, seed) for seed in store.attempts.seeds(config))


def _ran_on(attempt: Attempt | None, device: str) -> bool:
    """device: cpu, cuda, or a GPU type as Slurm names it: a100 for "NVIDIA A100-SXM4-80GB" in nvidia-smi."""
    if attempt is None or device in ("cpu", "cuda"):
        return attempt is not None and attempt.device == device
    requested, used = ("".join(filter(str.isalnum, name)).lower() for name in (device, attempt.gpu or ""))
    return requested in used


def _sample(record: RunRecord, submissions: Mapping[str, Submission]) -> Sample | None:
    attempt, status = record.attempt, record.status
    if attempt is None or status is None or record.attempts != 1 or status.step < _ENOUGH * record.steps:
        return None
    elapsed = status.time - attempt.started
    submission = submissions.get(attempt.submission or "")
    seeds = len(submission.tasks[attempt.task].seeds) if submission and attempt.task is not None else 1
    return Sample(record.ref, seeds, status.step / elapsed, record.done) if elapsed > 0 else None


def expected(
    store: ResultsFolder, tasks: Sequence[TaskRuns], steps: Mapping[RunRef, int], device: str, gpus: int, width: int
) -> Cost | None:
    """The expected cost of `tasks`; None without earlier runs on `device`. steps: total agent steps of each run."""
    earlier = samples(store, device, [task.config_id for task in tasks])
    if not earlier:
        return None
    hours = []
    for task in tasks:
        runs = [RunRef(task.config_id, seed) for seed in task.seeds]
        remaining = max(steps[run] - store.attempts.load(run, steps[run]).step for run in runs)
        hours.append(remaining / _speed(earlier, task) / 3600)
    folders = [store.attempts.file_sizes(sample.run) for sample in earlier if sample.done][:_FOLDERS]
    run_count = sum(len(task.seeds) for task in tasks)
    size = mean(sum(sizes) for sizes in folders) * run_count if folders else None
    files = mean(len(sizes) for sizes in folders) * run_count if folders else None
    return Cost(hours, gpus, max(1, min(width, len(tasks))), len(earlier), size, files)


def _speed(earlier: Sequence[Sample], task: TaskRuns) -> float:
    """Median steps per second of the runs most similar to `task`: same number of seeds, then same configuration."""

    def similarity(sample: Sample) -> tuple[bool, bool]:
        return sample.seeds == len(task.seeds), sample.run.config_id == task.config_id

    best = max(map(similarity, earlier))
    return median(sample.steps_per_s for sample in earlier if similarity(sample) == best)


def format_cost(cost: Cost | None, device: str, episodes: int = 0) -> str:
    """`expected: 96.0 GPU-hours (2.0 h a task), done 8.0 h after the start; by 12 earlier runs`.

    episodes: of an evaluation of a sweep in all; without an earlier one they are what is known of its cost.
    """
    if cost is None and episodes:
        return f"expected cost: {episodes:,} episodes in all, time unknown; no earlier evaluation on {device}"
    if cost is None:
        return f"expected cost: unknown, no earlier run on {device} to estimate it from"
    total = f"{cost.gpu_hours:.1f} GPU-hours" if cost.gpus else f"{sum(cost.hours):.1f} task-hours"
    disk = f", {cost.size / 1e9:.1f} GB in {cost.files:.0f} files" if cost.size and cost.files else ""
    return (
        f"expected: {total} ({mean(cost.hours):.1f} h a task), done {cost.elapsed_h:.1f} h after the start{disk}; "
        f"by {cost.samples} earlier runs on {device}"
    )


def format_memory(tasks: Sequence[TaskRuns], memory: Mapping[str, ExpectedMemory], target: Target) -> str:
    """The memory that the largest of `tasks` is expected to need, with what to request if the profile requests less; ""
    where nothing is known of any. memory: by configuration ID."""
    known = [(task, memory[task.config_id]) for task in tasks if task.config_id in memory]
    if not known:
        return ""
    expected_gb, seeds = max(
        ((own.of_gpu if target.gpus else own.of_cpu).of(len(task.seeds)) / 2**30, len(task.seeds))
        for task, own in known
    )
    of = "GPU memory" if target.gpus else "memory"
    text = f"expected {of}: {expected_gb:.1f} GB a task ({seeds} seed{'s' if seeds > 1 else ''})"
    requested = target.profile.mem_gb if target.profile and not target.gpus else None
    if requested and requested < expected_gb:
        more = math.ceil(expected_gb * _MORE_MEMORY)
        return f"{text}, more than the {requested:g} GB of the profile: --option mem_gb={more}"
    return text


def check(cost: Cost | None, limit: float | None, device: str) -> None:
    """Raises `JobsError` if more than `limit` GPU-hours are expected, or if the cost is unknown."""
    if limit is None:
        return
    if cost is None:
        raise JobsError(
            f"--max-gpu-hours {limit:g}: the cost is unknown without an earlier run on {device}; "
            "train one first, or leave the option out"
        )
    if cost.gpu_hours > limit:
        raise JobsError(
            f"--max-gpu-hours {limit:g}: {cost.gpu_hours:.1f} GPU-hours are expected; request fewer runs, or allow more"
        )
