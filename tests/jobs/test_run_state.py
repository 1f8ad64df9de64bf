"""One word for a run: disk, backend and heartbeat merged, case by case."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from jobs import process
from jobs.results.attempts import RunRecord, RunRef
from jobs.results.records import Attempt, AttemptOutcome, Status, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import FRESH_S, STALLED_AFTER_S, RunState, TaskState, attempt_alive, ending, run_state
from jobs.runs import status as statuses

NOW = 100_000.0
THIS, OLDER = "new-submission", "old-submission"


def attempt(submission: str | None = THIS, host: str = "elsewhere", **changes: object) -> Attempt:
    values = {"number": 1, "host": host, "pid": 1, "pid_start": "", "started": NOW - 5, "device": "cpu"}
    return Attempt(**{**values, "submission": submission, **changes})  # type: ignore[arg-type]


def record(
    made: Attempt | None = None, outcome: tuple[str, int] | None = None, beat: float | None = None, finished: int = 0
) -> RunRecord:
    return RunRecord(
        ref=RunRef("0" * 10, 1),
        steps=100,
        attempts=1 if made else 0,
        attempt=made,
        outcome=AttemptOutcome(*outcome, "why", NOW) if outcome else None,
        status=Status(1, 50, 100, 1.0, None, beat) if beat is not None else None,
        finished_step=finished,
    )


def task(word: str, reason: str = "", cause: str = "", as_of: float | None = None) -> TaskState:
    return TaskState(THIS, word, reason, cause, as_of=as_of)


def without_its_last_shard() -> RunRecord:
    return dataclasses.replace(record(attempt(), ("finished", 100)), lost_shard="a001-p00003-end100.parquet")


FRESH = NOW - 1
CASES = [
    # nothing yet
    (record(), None, "new"),
    (record(), task("pending", "Priority"), "pending"),
    (record(), task("running"), "pending"),
    (record(), task("unknown"), "pending"),
    (record(), task("ended"), "failed"),
    (record(), task("stuck"), "stuck"),
    (record(), task("gone"), "lost"),
    (record(), task("ended", "why", "node-fail"), "lost"),
    (record(), task("ended", "why", "error"), "failed"),
    (record(), task("ended", "why", "cancelled"), "interrupted"),
    # finished, and its last rows are gone
    (without_its_last_shard(), None, "failed"),
    (without_its_last_shard(), task("ended"), "failed"),
    # begun, by this task
    (record(attempt(), beat=FRESH), task("running"), "running"),
    (record(attempt(), beat=FRESH), task("unknown"), "running"),
    (record(attempt(), beat=NOW - STALLED_AFTER_S - 1), task("running"), "stalled"),
    (record(attempt(started=NOW - STALLED_AFTER_S - 1)), task("running"), "stalled"),
    (record(attempt(), beat=FRESH), task("pending"), "pending"),  # queued again
    (record(attempt(), beat=FRESH), task("ended"), "failed"),  # killed
    (record(attempt(), beat=FRESH), task("gone"), "running"),  # Slurm lost the job, not the process
    (record(attempt(), beat=NOW - FRESH_S - 1), task("gone"), "failed"),
    (record(attempt(), beat=FRESH), task("ended", "why", "oom"), "failed"),
    *((record(attempt(), beat=FRESH), task("ended", "why", cause), "interrupted")
      for cause in ("timeout", "node-fail", "preempted", "cancelled")),
    # ended
    (record(attempt(), ("finished", 100), finished=100), task("running"), "done"),
    (record(attempt(), ("finished", 100), finished=100), task("ended", "exit code 1"), "done"),
    (record(attempt(), ("finished", 60), finished=60), task("ended"), "interrupted"),  # more steps are asked now
    (record(attempt(), ("interrupted", 60)), task("ended"), "interrupted"),
    (record(attempt(), ("interrupted", 60)), task("pending"), "pending"),
    (record(attempt(), ("interrupted", 60)), task("running"), "pending"),  # it ends, or was started again
    (record(attempt(), ("diverged", 60)), task("running"), "diverged"),  # others of its pack go on
    (record(attempt(), ("superseded", 60)), task("ended"), "interrupted"),
    (record(attempt(), ("diverged", 60)), task("ended", "exit code 1"), "diverged"),
    (record(attempt(), ("failed", 60)), task("ended"), "failed"),
    # begun by an older submission
    (record(attempt(OLDER), ("failed", 60)), task("pending"), "pending"),
    (record(attempt(OLDER), ("failed", 60)), task("running"), "pending"),
    (record(attempt(OLDER), ("interrupted", 60)), task("ended"), "interrupted"),
    (record(attempt(OLDER), ("interrupted", 60)), task("ended", "exit code 1"), "failed"),
    (record(attempt(OLDER), beat=FRESH), task("pending"), "running"),
    (record(attempt(OLDER), beat=NOW - FRESH_S - 1), task("pending"), "pending"),
    (record(attempt(OLDER), ("failed", 60)), task("gone", "why"), "lost"),
    # in the foreground
    (record(attempt(None), beat=FRESH), None, "running"),
    (record(attempt(None), beat=NOW - FRESH_S - 1), None, "failed"),
    (record(attempt(None), ("interrupted", 60)), None, "interrupted"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "word", "state"), CASES)
def test_state(run: RunRecord, word: TaskState | None, state: str) -> None:
    assert run_state(run, word, NOW).state == state


def test_reasons_are_the_most_telling_there_are() -> None:
    assert run_state(record(), task("pending", "Priority"), NOW) == RunState("pending", "Priority")
    assert run_state(record(attempt(), ("diverged", 6)), task("ended"), NOW).reason == "why"
    assert run_state(record(attempt()), task("ended", "killed by SIGKILL"), NOW).reason == "killed by SIGKILL"
    assert "60 of 100" in run_state(record(attempt(), ("finished", 60), finished=60), None, NOW).reason


def test_the_cause_comes_from_whoever_knows() -> None:
    told_to_stop = record(attempt(), ("interrupted", 60))
    state = run_state(told_to_stop, task("ended", "its time limit was reached", "timeout"), NOW)
    assert state == RunState("interrupted", "its time limit was reached; state saved", "timeout")
    assert run_state(told_to_stop, task("ended", "exit code 1", "error"), NOW).cause == ""
    error = AttemptOutcome("failed", 60, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", NOW)
    on_gpu = dataclasses.replace(told_to_stop, outcome=error)
    assert run_state(on_gpu, task("ended", "its job failed", "error"), NOW).cause == "oom"
    assert run_state(record(attempt(), ("failed", 60)), None, NOW).cause == "error"
    assert run_state(record(attempt(), ("diverged", 60)), None, NOW).cause == "diverged"


def test_an_attempt_of_another_task_is_not_alive_once_its_backend_says_that_this_ended() -> None:
    old, ended = record(attempt(OLDER), beat=FRESH), TaskState(OLDER, "ended", cause="oom")
    assert run_state(old, task("pending"), NOW, ended).state == "pending"
    assert run_state(old, task("pending"), NOW, TaskState(OLDER, "running")).state == "running"


def test_an_old_word_of_the_backend_is_marked() -> None:
    for word in ("pending", "stuck", "unknown"):
        assert run_state(record(), task(word, as_of=NOW - 60), NOW).as_of == NOW - 60
    assert run_state(record(attempt(), beat=FRESH), task("running", as_of=NOW - 60), NOW).as_of == NOW - 60


def test_a_damaged_attempt_file_is_a_failed_run() -> None:
    broken = RunRecord(RunRef("0" * 10, 1), 100, 1, None, None, None, 0)
    assert run_state(broken, task("running"), NOW).state == "failed"


def test_a_process_here_is_alive_only_with_its_own_start_time() -> None:
    own, start = os.getpid(), process.start_time(os.getpid())
    here = process.host()
    assert attempt_alive(attempt(None, here, pid=own, pid_start=start), None, NOW)
    assert not attempt_alive(attempt(None, here, pid=own, pid_start="1"), None, NOW)  # a recycled pid


def test_an_ended_process_is_not_alive_even_before_it_is_reaped() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, still a zombie
    assert not process.alive(child.pid, process.start_time(child.pid))
    child.wait()
    assert not process.alive(child.pid, "")


def test_a_done_run_ends_while_its_process_has_an_outcome_to_write() -> None:
    assert ending(record(attempt(), finished=100), NOW)
    assert not ending(record(attempt(), ("finished", 100), finished=100), NOW)
    assert not ending(record(attempt(), finished=100), NOW + FRESH_S)  # it was killed
    assert not ending(record(attempt(), finished=50), NOW)
    assert not ending(record(finished=100), NOW)


def test_a_run_that_is_done_keeps_its_note() -> None:
    run = record(attempt(), ("finished", 100), finished=100)
    assert run_state(run, None, NOW).reason == "why"
    usual = AttemptOutcome("finished", 100, "all steps trained", NOW)
    assert run_state(dataclasses.replace(run, outcome=usual), None, NOW).reason == ""


@pytest.mark.parametrize("skew", [-1e9, -1200.0, 1200.0, 1e9])
@pytest.mark.parametrize("has_heartbeat", [True, False])
def test_a_node_with_a_wrong_clock_is_judged_by_the_file_systems(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch, skew: float, has_heartbeat: bool
) -> None:
    """Its heartbeats are as old as their files are: the run trains, then is stalled, whatever its clock says."""
    now, run, path = time.time(), RunRef("0" * 10, 1), "attempts/001.json"
    name = store.submissions.create("s")
    tasks = [TaskRuns(run.config_id, [run.seed])]
    store.submissions.write(Submission(name, "s", "debug", "h", "u", now, tasks, 0, 1, "n", {}))
    monkeypatch.setattr(statuses, "_task_states", lambda *_: {(name, 0): TaskState(name, "running")})
    store.attempts.claim(run, attempt(name, task=0, started=now + skew))
    if has_heartbeat:
        path = "status/001.json"
        store.attempts.write_status(run, Status(1, 5, 100, 1.0, None, now + skew, now + skew - 60))
    beat = store.attempts.folder(run) / path

    def state() -> str:
        return statuses.load_statuses(store, {run: 100})[run].state.state

    assert state() == "running"
    os.utime(beat, (now, now - STALLED_AFTER_S - 1))
    assert state() == "stalled"
    monkeypatch.setattr(
        process, "file_system_time", lambda folder: (folder / "none").stat()
    )  # nothing can be written there
    assert state() == ("stalled" if skew < 0 else "running")
