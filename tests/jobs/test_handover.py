"""From written down to released: chunks, a submit killed at any step, errors of sbatch, two terminals at once."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fake_slurm import FakeSlurm

from jobs import process
from jobs.backends.slurm import handover
from jobs.results import lock
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, CodeFile, Worker
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, slurm: FakeSlurm, six_runs: Any) -> Any:
    """`sweeps ...` in this process, with the pretended Slurm; six runs in arrays of four."""
    slurm.configure(MaxArraySize="4", AccountingStorageEnforce="none")
    monkeypatch.setattr(handover, "_PAUSES_S", (0.0, 0.0))
    return six_runs


def arrays(slurm: FakeSlurm) -> list[tuple[int, int, int]]:
    """(first task, tasks, how many at a time) of every job, in the order of their submission."""
    found: dict[str, list[dict[str, Any]]] = {}
    for task in slurm.tasks():
        found.setdefault(task["job"], []).append(task)
    start = re.compile(r"(\d+)(?: \+ SLURM_ARRAY_TASK_ID\)\))?\s*\Z")
    return [
        (int(match[1]), len(tasks), tasks[0]["throttle"])
        for tasks in found.values()
        if (match := start.search(tasks[0]["script"]))
    ]


def check(store: ResultsFolder, slurm: FakeSlurm) -> None:
    """Every one of six tasks is with Slurm once, released, and its id recorded."""
    assert [(start, count) for start, count, _ in arrays(slurm)] == [(0, 4), (4, 2)]
    assert not any(task["held"] for task in slurm.tasks())
    (submission,) = store.submissions.all()
    assert submission.handed_over
    assert not submission.problem
    ids = {(task["name"], f"{task['job']}_{task['index']}") for task in slurm.tasks()}
    assert ids == {(c.job_name, job) for c in submission.chunks for n in range(6) if (job := c.job_of(n))}


# --- chunks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "throttle", "shared"),
    [
        ([10, 10, 10, 10, 8], 256, [10, 10, 10, 10, 8]),  # no limit in sight
        ([10, 10, 10, 10, 8], 13, [3, 3, 3, 3, 1]),  # of 13 * 10 / 48, of 10 * 10 / 38, 7 * 10 / 28, 4 * 10 / 18
        ([100, 1, 1], 4, [2, 1, 1]),
        ([4, 4, 2], 2, [1, 1, 1]),  # the third waits for the first
        ([48], 8, [8]),
    ],
)
def test_the_throttle_is_shared_among_the_chunks(counts: list[int], throttle: int, shared: list[int]) -> None:
    assert handover.shares(counts, throttle) == shared
    made = handover.chunks("name", counts, sum(counts), throttle, has_last=False)
    together = [share for chunk, share in zip(made, shared, strict=True) if not chunk.after]
    assert sum(together) <= throttle


def test_chunks_stay_below_the_cap_of_indices_and_begin_at_zero(
    run: Any, slurm: FakeSlurm, store: ResultsFolder
) -> None:
    run("submit", "q", "--max-parallel", "3")
    assert arrays(slurm) == [(0, 4, 2), (4, 2, 1)]
    check(store, slurm)
    (submission,) = store.submissions.all()
    assert [submission.job_of(task) for task in (0, 3, 4, 5)] == ["100_0", "100_3", "101_0", "101_1"]


def test_more_chunks_than_may_run_at_a_time_wait_for_one_another(run: Any, slurm: FakeSlurm) -> None:
    slurm.configure(MaxArraySize="2")
    run("submit", "q", "--max-parallel", "2")
    assert arrays(slurm) == [(0, 2, 1), (2, 2, 1), (4, 2, 1)]
    waits = [[word for word in call if "dependency" in word] for call in slurm.calls("sbatch")]
    assert waits == [[], [], ["--dependency=afterany:100"]]


# --- killed -------------------------------------------------------------------------------------------------


EFFECTS = (("sweepwise.core.atomic", "write"), ("jobs.results.results_folder", "create_json"), ("jobs.process", "run"))


def test_a_submit_killed_at_any_step_is_completed_by_the_next(
    run: Any, slurm: FakeSlurm, store: ResultsFolder, line: Callable[..., list[str]], killed: Callable[..., bool]
) -> None:
    for step in itertools.count():
        died = killed(line("submit", "q"), step, EFFECTS)
        if not died:
            break
        if step % 2:
            run("status")
        run("submit", "q")
        check(store, slurm)
        assert not list(store.root.rglob("*.part"))
        for path in sorted(store.root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        with slurm.open() as state:
            state["tasks"].clear()
    assert step > 15  # files, locks and calls of a submit of two chunks


def test_status_completes_what_was_killed(
    run: Any, slurm: FakeSlurm, store: ResultsFolder, line: Callable[..., list[str]], killed: Callable[..., bool]
) -> None:
    step = next(s for s in itertools.count() if killed(line("submit", "q"), s, EFFECTS) and slurm.tasks())
    assert slurm.tasks()[-1]["held"]
    assert "interrupted" in run("status").stderr
    check(store, slurm)
    assert step
    assert "interrupted" not in run("status").stderr


def test_that_a_diff_is_not_kept_is_said(run: Any, store: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    note = "the diff may contain a secret: only its hash is kept"
    monkeypatch.setattr("jobs.results.code_snapshot._describe", lambda code: CodeFile(code, "/here", 1.0, note=note))
    assert f"the code differs from its commit; {note}" in run("submit", "q").stdout


# --- errors of sbatch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["before", "after"])
def test_an_error_of_sbatch_is_no_second_job(run: Any, slurm: FakeSlurm, store: ResultsFolder, fault: str) -> None:
    slurm.fault("sbatch", fault)
    run("submit", "q")
    check(store, slurm)


def test_a_job_that_squeue_does_not_list_yet_is_not_submitted_twice(
    run: Any, slurm: FakeSlurm, store: ResultsFolder
) -> None:
    """A site's squeue that answers from a cache, and a controller that does not answer it."""
    slurm.accounting(False)
    slurm.fault("squeue", "before")
    slurm.answer("squeue", "")
    assert "squeue does not list it; the next `sweeps submit`" in run("submit", "q", code=1).stderr
    assert len({task["job"] for task in slurm.tasks()}) == 1
    with slurm.open() as state:
        state["answers"].clear()
    assert "it is complete now" in run("status").stderr
    check(store, slurm)


def test_a_silent_controller_leaves_the_submission_open(run: Any, slurm: FakeSlurm, store: ResultsFolder) -> None:
    slurm.fault("sbatch", "before", times=3)
    result = run("submit", "q", code=1)
    assert "Unable to contact" in result.stderr
    assert "continues" in result.stderr
    assert not slurm.tasks()
    assert "6 pending; 0 to submit" in run("submit", "q").stdout
    check(store, slurm)


@pytest.mark.parametrize("begun", [False, True])
def test_a_job_that_the_controller_lost_is_submitted_again_unless_it_ran(
    run: Any, slurm: FakeSlurm, store: ResultsFolder, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """slurmctld died before it had saved that it accepted the second array."""
    release, lost = handover.commands.release, ["101"]

    def restarted(jobs: Sequence[str]) -> bool:
        if lost:
            slurm.forget(lost.pop())
            if begun:
                (submission,) = store.submissions.all()
                task = submission.tasks[4]
                store.attempts.claim(
                    RunRef(task.config_id, task.seeds[0]),
                    Attempt(0, "n1", 1, "", 1.0, "cpu", submission.id, 4, "101_0"),
                )
        return release(jobs)

    slurm.accounting(False)
    monkeypatch.setattr(handover.commands, "release", restarted)
    run("submit", "q")
    (submission,) = store.submissions.all()
    assert submission.handed_over
    assert [chunk.job_id for chunk in submission.chunks] == ["100", "101" if begun else "102"]
    assert not any(task["held"] for task in slurm.tasks() if not task["purged"])


def test_a_refusal_keeps_what_was_taken_and_frees_the_rest(run: Any, slurm: FakeSlurm, store: ResultsFolder) -> None:
    slurm.configure(MaxArraySize="2")
    for mode in ("after", "refuse"):  # the first chunk is found by its name
        slurm.fault("sbatch", mode)
    result = run("submit", "q", code=1)
    assert "2 of 6 tasks were submitted, then sbatch refused" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [task["held"] for task in slurm.tasks()] == [False, False]
    assert "2 pending, 4 new; 4 to submit" in run("submit", "q").stdout
    assert len(slurm.tasks()) == 6


# --- two terminals ------------------------------------------------------------------------------------------


def test_two_submits_at_once_submit_once_and_lose_no_seed(
    run: Any, slurm: FakeSlurm, store: ResultsFolder, line: Callable[..., list[str]], at_once: Callable[..., list[int]]
) -> None:
    assert at_once(*(line("submit", "q", "--seeds", seeds) for seeds in ("1-3", "2-5"))) == [0, 0]
    view = store.read_sweep("q")
    assert view is not None
    assert [config.seeds for config in view.configs] == [[1, 2, 3, 4, 5]] * 2
    runs = [(t.config_id, seed) for s in store.submissions.all() for t in s.tasks for seed in t.seeds]
    assert len(runs) == len(set(runs)) == 10
    assert len(slurm.tasks()) == 10


def test_a_lock_is_waited_for_while_its_holder_lives(store: ResultsFolder) -> None:
    told = f"process {os.getpid()} on .* is submitting"
    with lock.alone(store), pytest.raises(JobsError, match=told), lock.alone(store, wait_s=0.0):
        pass
    with lock.alone(store, wait_s=0.0) as held:
        assert held.number == 2


ticks = itertools.count(1.0)


def test_a_lock_of_another_host_is_taken_over_when_it_does_not_change(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the clock of this process, whatever the times in the lock say; a holder that lives renews it."""
    ours = process.host()
    monkeypatch.setattr(lock, "_SAY_AFTER_S", 0.0)
    monkeypatch.setattr("jobs.process.host", lambda: "elsewhere")
    monkeypatch.setattr("jobs.results.lock.time.time", lambda: 1.0)  # its clock is wrong by decades
    monkeypatch.setattr(lock, "RENEW_S", 0.02)
    monkeypatch.setattr(lock, "SILENT_S", 0.5)
    renew, alive = lock.Lock.renew, [True]
    monkeypatch.setattr(lock.Lock, "renew", lambda self: renew(self) if alive else None)
    with lock.alone(store) as first:
        monkeypatch.setattr("jobs.process.host", lambda: ours)
        monkeypatch.setattr("jobs.results.lock._this_process", lambda: Worker("elsewhere", 1, "", next(ticks)))
        with pytest.raises(JobsError, match="is submitting"), lock.alone(store, wait_s=1.0):
            pass
        alive.clear()  # its host died
        with lock.alone(store, wait_s=60.0) as second:
            assert second.number == first.number + 1
            monkeypatch.undo()
            with pytest.raises(JobsError, match="another one took it over"):
                first.renew()
    assert "waiting for process 1 on elsewhere" in capsys.readouterr().err
