"""What a submit is expected to take, by hand: 36,000 steps at 10 steps/s are an hour."""

from __future__ import annotations

import pytest

from jobs.backends import profile
from jobs.backends.base import Target
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome, Status, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.runs import cost_estimate
from sweepwise.core.errors import JobsError
from sweepwise.core.schema import ExpectedMemory, Memory
from tdmpc.config import TrainConfig, config_id
from tdmpc.description import SCHEMA

CONFIG = TrainConfig(steps=36_000)
OTHER = TrainConfig(steps=36_000, num_q=CONFIG.num_q + 1)
A, B = config_id(CONFIG), config_id(OTHER)


def earlier(
    store: ResultsFolder, config: TrainConfig, seeds: list[int], step: int, seconds: float, gpu: str = ""
) -> None:
    """A task that trained `seeds` side by side, up to `step` in so many seconds."""
    store.write_config(SCHEMA.resolve(vars(config)))
    name = store.submissions.create("s")
    tasks = [TaskRuns(config_id(config), seeds)]
    store.submissions.write(Submission(name, "s", "local", "h", "u", 1.0, tasks, 0, 1, "n", {}, handed_over=True))
    for seed in seeds:
        run = RunRef(config_id(config), seed)
        device = "cuda" if gpu else "cpu"
        attempt = Attempt(0, "h", 1, "", 1000.0, device, submission=name, task=0, gpu=gpu or None)
        number = store.attempts.claim(run, attempt).number
        store.attempts.write_status(run, Status(number, step, config.steps, 99.0, None, 1000.0 + seconds))
        if step == config.steps:
            store.attempts.write_outcome(run, number, AttemptOutcome("finished", step, "", 1000.0 + seconds))


def expected(
    store: ResultsFolder, *tasks: TaskRuns, device: str = "cpu", gpus: int = 0, width: int = 8
) -> cost_estimate.Cost:
    steps = {RunRef(task.config_id, seed): 36_000 for task in tasks for seed in task.seeds}
    found = cost_estimate.expected(store, tasks, steps, device, gpus, width)
    assert found is not None
    return found


def test_hours_are_those_of_the_runs_most_alike(store: ResultsFolder) -> None:
    earlier(store, CONFIG, [1], 36_000, 3600)  # 10 steps/s
    earlier(store, CONFIG, [2, 3], 36_000, 7200)  # 5 steps/s, side by side
    earlier(store, CONFIG, [4], 3_000, 1)  # too short to judge by
    assert expected(store, TaskRuns(A, [5])).hours == [1.0]
    assert expected(store, TaskRuns(A, [5, 6])).hours == [2.0]
    assert expected(store, TaskRuns(B, [1])).hours == [1.0]
    assert expected(store, TaskRuns(A, [5, 6, 7])).hours == [2.0]  # none like it: the median of 10, 5 and 5
    assert expected(store, TaskRuns(A, [4])).hours == [33_000 / 36_000]  # goes on from step 3,000


def test_gpu_hours_and_the_end(store: ResultsFolder) -> None:
    earlier(store, CONFIG, [1], 36_000, 3600, "NVIDIA A100-SXM4-80GB")
    earlier(store, CONFIG, [20], 36_000, 1800, "NVIDIA H100 80GB HBM3")
    tasks = [TaskRuns(A, [seed]) for seed in range(2, 12)]
    found = expected(store, *tasks, device="a100", gpus=2, width=4)
    assert (found.gpu_hours, found.elapsed_h) == (20.0, 2.5)
    told = "expected: 20.0 GPU-hours (1.0 h a task), done 2.5 h after the start; by 1 earlier runs on a100"
    assert cost_estimate.format_cost(found, "a100").replace(", 0.0 GB in 30 files", "") == told
    cost_estimate.check(found, 20.0, "a100")
    with pytest.raises(JobsError, match=r"--max-gpu-hours 19: 20.0 GPU-hours are expected"):
        cost_estimate.check(found, 19.0, "a100")


def test_disk_is_that_of_finished_runs(store: ResultsFolder) -> None:
    earlier(store, CONFIG, [1], 36_000, 3600)
    before = store.attempts.file_sizes(RunRef(A, 1))
    (store.attempts.folder(RunRef(A, 1)) / "big").write_bytes(b"x" * 1000)
    found = expected(store, TaskRuns(A, [2, 3]))
    assert (found.files, found.size) == (2 * (len(before) + 1), 2 * (sum(before) + 1000))


def test_what_nobody_knows_is_said_and_refused_under_a_limit(store: ResultsFolder) -> None:
    earlier(store, CONFIG, [1], 36_000, 3600)
    found = cost_estimate.expected(store, [TaskRuns(A, [2])], {RunRef(A, 2): 36_000}, "cuda", gpus=1, width=1)
    assert found is None
    assert "unknown, no earlier run on cuda" in cost_estimate.format_cost(found, "cuda")
    cost_estimate.check(found, None, "cuda")
    with pytest.raises(JobsError, match="without an earlier run on cuda"):
        cost_estimate.check(found, 5.0, "cuda")


@pytest.mark.parametrize(
    ("options", "gpus", "line"),
    [
        ((), 0, "expected memory: 2.0 GB a task (3 seeds)"),
        (("mem_gb=2",), 0, "expected memory: 2.0 GB a task (3 seeds), more than the 2 GB of the profile: "
                           "--option mem_gb=3"),
        (("mem_gb=4",), 0, "expected memory: 2.0 GB a task (3 seeds)"),
        ((), 1, "expected GPU memory: 0.5 GB a task (3 seeds)"),
    ],
)  # fmt: skip
def test_the_memory_is_that_of_the_largest_task(options: tuple[str, ...], gpus: int, line: str) -> None:
    memory = {A: ExpectedMemory(Memory(2**30, 0.34 * 2**30), Memory(2**28, 2**26 * 4 / 3)),
              B: ExpectedMemory(Memory(2**28, 2**20), Memory(2**20, 2**20))}  # fmt: skip
    tasks = [TaskRuns(B, [1, 2, 3, 4]), TaskRuns(A, [1, 2, 3]), TaskRuns(A, [4])]
    target = Target("slurm", profile.load("cpu", options), gpus)
    assert cost_estimate.format_memory(tasks, memory, target) == line
    assert cost_estimate.format_memory(tasks, {}, target) == ""
