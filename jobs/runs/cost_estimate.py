"""What a submit is expected to take, before it is spent: hours, files and bytes, from the runs that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from jobs.results.attempts import RunRecord, RunRef
from jobs.results.records import Attempt, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

_SAMPLES = 200  # earlier runs are looked at, at most
_FOLDERS = 5  # of which files are counted, at most
_ENOUGH = 0.1  # of its steps, before a run says how fast it is: the first ones are random and quick


@dataclass(frozen=True)
class Sample:
    """An earlier run. steps_per_s: over all its time, evaluations and start included. seeds: trained beside it."""

    run: RunRef
    seeds: int
    steps_per_s: float
    done: bool


@dataclass(frozen=True)
class Cost:
    """hours: of every task. gpus: of each. width: tasks at a time. size, files: on disk; None where nothing is known.

    samples: how many earlier runs say so.
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
        """From the first start to the last end, where nobody waits for a node."""
        return max(max(self.hours), sum(self.hours) / self.width)


def samples(store: ResultsFolder, device: str, first: Sequence[str]) -> list[Sample]:
    """Earlier runs on `device` whose only attempt went far enough, the configurations `first` before others."""
    submissions = {submission.id: submission for submission in store.submissions.all()}
    found: list[Sample] = []
    for run in _runs(store, first):
        config = store.read_config(run.config_id)
        record = store.attempts.load(run, config.steps) if config is not None else None
        sample = _sample(record, submissions) if record is not None and _ran_on(record.attempt, device) else None
        if sample is not None:
            found.append(sample)
        if len(found) == _SAMPLES:
            break
    return found


def _runs(store: ResultsFolder, first: Sequence[str]) -> Iterator[RunRef]:
    for config in dict.fromkeys([*first, *store.config_ids()]):
        yield from (RunRef(config, seed) for seed in store.attempts.seeds(config))


def _ran_on(attempt: Attempt | None, device: str) -> bool:
    """device: cpu, cuda, or a GPU as Slurm names it: a100 is "NVIDIA A100-SXM4-80GB" to nvidia-smi."""
    if attempt is None or device in ("cpu", "cuda"):
        return attempt is not None and attempt.device == device
    asked, had = ("".join(filter(str.isalnum, name)).lower() for name in (device, attempt.gpu or ""))
    return asked in had


def _sample(record: RunRecord, submissions: Mapping[str, Submission]) -> Sample | None:
    attempt, status = record.attempt, record.status
    if attempt is None or status is None or record.attempts != 1 or status.step < _ENOUGH * record.steps:
        return None
    elapsed = status.time - attempt.started
    submission = submissions.get(attempt.submission or "")
    beside = len(submission.tasks[attempt.task].seeds) if submission and attempt.task is not None else 1
    return Sample(record.ref, beside, status.step / elapsed, record.done) if elapsed > 0 else None


def expected(
    store: ResultsFolder, tasks: Sequence[TaskRuns], steps: Mapping[RunRef, int], device: str, gpus: int, width: int
) -> Cost | None:
    """The cost of `tasks`, None where no earlier run on such a device says. steps: asked of each run, in all."""
    earlier = samples(store, device, [task.config_id for task in tasks])
    if not earlier:
        return None
    hours = []
    for task in tasks:
        runs = [RunRef(task.config_id, seed) for seed in task.seeds]
        left = max(steps[run] - store.attempts.load(run, steps[run]).step for run in runs)
        hours.append(left / _speed(earlier, task) / 3600)
    folders = [store.attempts.file_sizes(sample.run) for sample in earlier if sample.done][:_FOLDERS]
    runs_asked = sum(len(task.seeds) for task in tasks)
    size = mean(sum(sizes) for sizes in folders) * runs_asked if folders else None
    files = mean(len(sizes) for sizes in folders) * runs_asked if folders else None
    return Cost(hours, gpus, max(1, min(width, len(tasks))), len(earlier), size, files)


def _speed(earlier: Sequence[Sample], task: TaskRuns) -> float:
    """Of the runs most like `task`: with as many seeds side by side, of its configuration."""

    def likeness(sample: Sample) -> tuple[bool, bool]:
        return sample.seeds == len(task.seeds), sample.run.config_id == task.config_id

    best = max(map(likeness, earlier))
    return median(sample.steps_per_s for sample in earlier if likeness(sample) == best)


def format_cost(cost: Cost | None, device: str) -> str:
    """`expected: 96.0 GPU-hours (2.0 h a task), done 8.0 h after the start; by 12 earlier runs`."""
    if cost is None:
        return f"expected cost: unknown, no earlier run on {device} is here to judge by"
    total = f"{cost.gpu_hours:.1f} GPU-hours" if cost.gpus else f"{sum(cost.hours):.1f} task-hours"
    disk = f", {cost.size / 1e9:.1f} GB in {cost.files:.0f} files" if cost.size and cost.files else ""
    return (
        f"expected: {total} ({mean(cost.hours):.1f} h a task), done {cost.elapsed_h:.1f} h after the start{disk}; "
        f"by {cost.samples} earlier runs on {device}"
    )


def check(cost: Cost | None, limit: float | None, device: str) -> None:
    """Raises `JobsError` where more than `limit` GPU-hours are expected, or nobody knows how many."""
    if limit is None:
        return
    if cost is None:
        raise JobsError(
            f"--max-gpu-hours {limit:g}: no earlier run on {device} says how long one takes; "
            "train one first, or leave it out"
        )
    if cost.gpu_hours > limit:
        raise JobsError(
            f"--max-gpu-hours {limit:g}: {cost.gpu_hours:.1f} GPU-hours are expected; ask for fewer runs, or allow more"
        )
