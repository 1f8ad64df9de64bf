"""TrainJob: attempts, outcomes, signals and requeueing, with a stand-in for the agent."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jobs import process
from jobs.backends.slurm import job_environment
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome, Status, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.worker import train_job
from jobs.worker.train_job import AttemptRunner, Heartbeat, TrainJob
from sweepwise.core import trainable
from sweepwise.core.errors import JobsError
from tdmpc.config import TrainConfig, config_id
from tdmpc.description import SCHEMA

CONFIG = TrainConfig(steps=9000)
RUNS = [RunRef(config_id(CONFIG), seed) for seed in (1, 2)]

pytestmark = pytest.mark.usefixtures("outside_slurm")


def job(store: ResultsFolder, seeds: Sequence[int] = (1, 2), gpus: int = 0, backend: str = "local") -> TrainJob:
    store.write_config(SCHEMA.resolve(vars(CONFIG)))
    name = store.submissions.create("s")
    tasks = [TaskRuns(config_id(CONFIG), list(seeds))]
    store.submissions.write(Submission(name, "s", backend, "h", "u", 1.0, tasks, gpus, 3, "n", {}))
    return TrainJob(str(store.root), name, 0)


def outcome(store: ResultsFolder, run: RunRef) -> AttemptOutcome:
    found = store.attempts.load(run, CONFIG.steps).outcome
    assert found is not None
    return found


def _outcome(state: str, step: int, saved: bool = False) -> Any:
    return trainable.Outcome(state, step, "why", saved=saved)


def test_a_pack_is_trained_side_by_side_and_recorded(store: ResultsFolder, agent: Any) -> None:
    made = job(store)
    made()
    settings = {"snapshots": 4, "checkpoint_minutes": 10.0, "deterministic": False, "compile": False,
                "cuda_graphs": False}  # fmt: skip
    assert agent.calls == [
        {"runs": [(1, "a001"), (2, "a001")], "device": "cpu", "threads": 3, "steps": 9000, **settings}
    ]
    assert [outcome(store, run).state for run in RUNS] == ["finished", "finished"]
    attempt = store.attempts.load(RUNS[0], 9000).attempt
    assert attempt is not None
    assert (attempt.host, attempt.pid, attempt.submission, attempt.task) == (
        process.host(),
        os.getpid(),
        made.submission,
        0,
    )
    assert attempt.versions["torch"]


def test_a_task_that_asked_for_a_gpu_trains_on_cuda_or_not_at_all(store: ResultsFolder, agent: Any) -> None:
    job(store, gpus=1)()
    assert agent.calls[0]["device"] == "cuda"


def test_done_runs_are_not_trained_again(store: ResultsFolder, agent: Any) -> None:
    job(store, [1], backend="slurm")()
    job(store)()
    job(store)()
    assert [call["runs"] for call in agent.calls] == [[(1, "a001")], [(2, "a001")]]


def end_shard(agent: Any) -> None:
    """Have the stand-in write what a run's last shard is."""

    def write(handles: Sequence[Any], stop: Callable[[], bool]) -> None:
        for handle in handles:
            (handle.folder / "metrics").mkdir()
            (handle.folder / "metrics" / f"{handle.tag}-p00003-end9000.parquet").write_bytes(b"rows")

    agent.before = write


def test_a_run_is_done_by_its_last_shard_where_the_outcome_was_never_written(store: ResultsFolder, agent: Any) -> None:
    end_shard(agent)
    job(store, [1], backend="slurm")()
    assert outcome(store, RUNS[0]).last_shard == "a001-p00003-end9000.parquet"
    (store.attempts.folder(RUNS[0]) / "outcome" / "001.json").unlink()
    job(store, [1], backend="slurm")()
    assert len(agent.calls) == 1


def test_a_finished_run_without_its_last_shard_is_left_alone_and_its_sibling_trains(
    store: ResultsFolder, agent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    end_shard(agent)
    job(store, [1], backend="slurm")()
    (store.attempts.folder(RUNS[0]) / "metrics" / "a001-p00003-end9000.parquet").unlink()
    job(store)()
    assert [call["runs"] for call in agent.calls] == [[(1, "a001")], [(2, "a001")]]
    told = "its last shard metrics/a001-p00003-end9000.parquet is missing; restore it, or move"
    assert f"{RUNS[0]}: {told}" in capsys.readouterr().err
    assert not store.attempts.load(RUNS[0], 9000).done


def test_a_run_that_is_alive_elsewhere_is_left_alone(store: ResultsFolder, agent: Any) -> None:
    made = job(store, [1])
    pid = os.getpid()
    store.attempts.claim(
        RUNS[0], Attempt(0, process.host(), pid, process.start_time(pid), time.time(), "cpu", "other", 0)
    )
    made()
    assert agent.calls == []


@pytest.mark.parametrize("skew_s", [0.0, 900.0, -900.0])
@pytest.mark.parametrize("beats", [True, False])
def test_on_another_host_the_next_heartbeat_tells_whether_a_run_is_alive(
    store: ResultsFolder, agent: Any, monkeypatch: pytest.MonkeyPatch, beats: bool, skew_s: float
) -> None:
    """A run that was killed a moment ago, run again at once: nothing but time tells, by the clock of one host."""
    made, clock = job(store, [1]), [time.time()]
    store.attempts.claim(RUNS[0], Attempt(0, "elsewhere", 1, "", clock[0] + skew_s, "cpu", "other", 0))
    store.attempts.write_status(RUNS[0], Status(1, 5, 5000, 1.0, None, clock[0] + skew_s))

    def sleep(seconds: float) -> None:
        clock[0] += 60
        if beats:
            store.attempts.write_status(RUNS[0], Status(1, 6, 5000, 1.0, None, clock[0] + skew_s))

    monkeypatch.setattr("jobs.worker.train_job.time.sleep", sleep)
    monkeypatch.setattr("jobs.worker.train_job.time.time", lambda: clock[0])
    made()
    assert len(agent.calls) == (0 if beats else 1)


def test_a_run_whose_process_died_is_taken_over(store: ResultsFolder, agent: Any) -> None:
    made = job(store, [1])
    store.attempts.claim(RUNS[0], Attempt(0, process.host(), os.getpid(), "1", time.time(), "cpu", "other", 0))
    made()
    assert agent.calls[0]["runs"] == [(1, "a002")]


def test_slurm_starting_the_same_task_again_fences_its_former_life(
    store: ResultsFolder, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(store, [1], backend="slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    former = Attempt(0, "other-node", 1, "", time.time(), "cpu", made.submission, 0, slurm_job="5")
    store.attempts.claim(RUNS[0], former)
    made()
    assert agent.calls[0]["runs"] == [(1, "a002")]


def test_the_guard_falls_when_a_newer_attempt_is_claimed(store: ResultsFolder, agent: Any) -> None:
    seen = []

    def look(handles: Sequence[Any], stop: Callable[[], bool]) -> None:
        seen.append(handles[0].guard())
        store.attempts.claim(RUNS[0], Attempt(0, "h", 1, "", 0.0, "cpu"))
        seen.append(handles[0].guard())

    agent.before = look
    job(store, [1])()
    assert seen == [True, False]


def test_an_exception_is_recorded_for_every_run_and_raised(store: ResultsFolder, agent: Any) -> None:
    agent.ends[2] = ValueError("bad shape\nsecond line")
    with pytest.raises(ValueError, match="bad shape"):
        job(store)()
    for run in RUNS:
        assert (outcome(store, run).state, outcome(store, run).message) == ("failed", "ValueError: bad shape")
        assert "Traceback" in outcome(store, run).traceback


def test_a_diverged_seed_does_not_fail_its_sibling(store: ResultsFolder, agent: Any) -> None:
    agent.ends[1] = _outcome("diverged", 100)
    job(store)()
    assert [outcome(store, run).state for run in RUNS] == ["diverged", "finished"]


def interrupted_by(
    store: ResultsFolder, agent: Any, number: int, monkeypatch: pytest.MonkeyPatch, step: int, saved: bool = False
) -> list[str]:
    """Jobs that were queued again after signal `number` in a Slurm job that had come to `step`."""
    queued: list[str] = []

    def stop(handles: Sequence[Any], should_stop: Callable[[], bool]) -> None:
        assert not should_stop()
        os.kill(os.getpid(), number)
        assert should_stop()

    def requeue(name: str) -> bool:
        assert outcome(store, RUNS[0]).state == "interrupted"  # written before: requeueing kills this process
        queued.append(name)
        return True

    agent.before, agent.ends[1] = stop, _outcome("interrupted", step, saved)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    monkeypatch.setattr(job_environment, "requeue", requeue)
    before = signal.getsignal(number)
    job(store, [1], backend="slurm")()
    assert signal.getsignal(number) == before
    return queued


def test_the_signal_before_the_time_limit_queues_this_task_again(
    store: ResultsFolder, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interrupted_by(store, agent, signal.SIGUSR2, monkeypatch, 100) == ["10_2"]


def test_a_cancelled_task_is_not_queued_again(
    store: ResultsFolder, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interrupted_by(store, agent, signal.SIGTERM, monkeypatch, 100) == []


def test_a_task_that_got_nowhere_is_not_queued_again(
    store: ResultsFolder, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interrupted_by(store, agent, signal.SIGUSR2, monkeypatch, 0) == []


def test_a_task_that_saved_its_state_but_logged_no_step_is_queued_again_three_times(
    store: ResultsFolder, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its metrics may lie in a block that was never written."""
    steps = [0, 0, 0, 0, 50, 50]
    queued = [interrupted_by(store, agent, signal.SIGUSR2, monkeypatch, step, saved=True) for step in steps]
    assert [bool(names) for names in queued] == [True, True, True, False, True, True]


def test_the_second_ctrl_c_does_not_wait(store: ResultsFolder, agent: Any) -> None:
    def twice(handles: Sequence[Any], should_stop: Callable[[], bool]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()
        os.kill(os.getpid(), signal.SIGINT)

    agent.before = twice
    with pytest.raises(KeyboardInterrupt):
        job(store, [1], backend="slurm")()
    assert outcome(store, RUNS[0]).state == "interrupted"


def test_heartbeats_are_throttled_but_the_last_step_is_told(store: ResultsFolder) -> None:
    run, told, now = RUNS[0], [], [0.0]
    store.attempts.claim(run, Attempt(0, "h", 1, "", 0.0, "cpu"))
    beat = Heartbeat(store, run, 1, lambda r, p: told.append(p.step), clock=lambda: now[0])

    def step_after(step: int, when: float) -> int:
        now[0] = when
        beat(trainable.Progress(step=step, total=10, steps_per_s=1.0, last_return=None))
        status = store.attempts.load(run, 10).status
        assert status is not None
        return status.step

    steps = [step_after(1, 0.0), step_after(2, 1.9), step_after(3, 2.0), step_after(10, 2.1)]
    assert steps == [1, 1, 3, 10]
    assert told == [1, 2, 3, 10]


def test_a_full_disk_does_not_end_a_run_by_its_heartbeat(
    store: ResultsFolder, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.attempts, "write_status", full)
    store.write_config(SCHEMA.resolve(vars(CONFIG)))
    outcomes = AttemptRunner(store, "cpu", 1).train(RUNS)
    assert [o.state for o in outcomes] == ["finished", "finished"]


@pytest.mark.parametrize("is_full_for_all", [False, True])
def test_a_full_disk_ends_the_job_in_one_line(
    store: ResultsFolder, agent: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    is_full_for_all: bool,
) -> None:  # fmt: skip
    """Its outcome has space of its own, without the traceback where that is too long."""
    if is_full_for_all:
        monkeypatch.setattr("jobs.results.attempts.write_json", no_space)
        monkeypatch.setattr("traceback.format_exception", lambda error: ["x" * 100_000])
    agent.ends[1] = OSError(errno.ENOSPC, "what pyarrow says, in its own words")
    made = job(store)
    assert train_job.main([str(store.submissions.folder(made.submission)), "0"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"No space left on device in {store.root}: make room, then `sweeps rerun`" in told
    assert {outcome(store, run).state for run in RUNS} == {"failed"}
    assert outcome(store, RUNS[0]).message in told
    assert not list(store.root.rglob("*.room"))


def no_space(*arguments: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_attempt_that_cannot_be_written_is_not_claimed(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sweepwise.core.atomic.os.fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            store.attempts.claim(RUNS[0], Attempt(0, "h", 1, "", 0.0, "cpu"))
    assert store.attempts.load(RUNS[0], 1).attempts == 0
    assert store.attempts.claim(RUNS[0], Attempt(0, "h", 1, "", 0.0, "cpu")).number == 1


def test_a_heartbeat_tells_a_superseded_attempt(store: ResultsFolder) -> None:
    run = RUNS[0]
    for _ in range(2):
        store.attempts.claim(run, Attempt(0, "h", 1, "", 0.0, "cpu"))
    told = trainable.Progress(step=10, total=10, steps_per_s=1.0, last_return=None)
    beats = [Heartbeat(store, run, number, lambda r, p: None)(told) for number in (1, 2)]
    assert beats == [False, True]


def test_a_task_that_is_not_in_the_folder_is_one_line(store: ResultsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    made = job(store)
    with pytest.raises(JobsError, match="task 7"):
        TrainJob(made.results, made.submission, 7)()
    assert train_job.main([str(store.submissions.folder(made.submission)), "7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
