"""The local backend: slots shared by locks that the tasks hold, tasks recorded, a scheduler that stops when told."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import process
from jobs.backends import local, local_scheduler
from jobs.backends.base import ExecutionOptions
from jobs.backends.local import LocalBackend, Slots
from jobs.backends.local_scheduler import Scheduler
from jobs.results.file_lock import try_lock
from jobs.results.records import Submission, TaskRuns, Worker
from jobs.results.results_folder import ResultsFolder
from jobs.worker import train_job
from sweepwise.core.errors import JobsError


def submission(store: ResultsFolder, tasks: int) -> Submission:
    name = store.submissions.create("s")
    runs = [TaskRuns("0" * 10, [seed]) for seed in range(tasks)]
    made = Submission(name, "s", "local", process.host(), "u", 1.0, runs, 0, 1, "n", {"slots": 1})
    store.submissions.write(made)
    return made


def tasks_run(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Every task runs `code`, with its index as TASK."""
    monkeypatch.setattr(local_scheduler, "_POLL_S", 0.01)
    monkeypatch.setattr(
        local_scheduler, "command", lambda s, name, task: [sys.executable, "-c", f"TASK = {task}\n{code}"]
    )


def words(store: ResultsFolder, made: Submission) -> list[tuple[str, str]]:
    found = LocalBackend().task_states(store, [made], 0.0, 0.0)
    return [(found[made.id, i].word, found[made.id, i].reason.partition(";")[0]) for i in range(len(made.tasks))]


@pytest.mark.parametrize(
    ("tasks", "asked", "gpus", "cpus", "slots"),
    [
        (8, None, [], None, Slots(4, 1)),  # as many as cores
        (8, 2, [], None, Slots(2, 2)),  # fewer tasks share the cores
        (1, None, [], None, Slots(1, 4)),
        (8, None, ["0", "1"], None, Slots(2, 2, ("0", "1"))),  # as many as GPUs
        (8, 4, ["0", "1"], None, Slots(4, 1, ("0", "1"))),  # two to a GPU
        (8, 9, [], None, Slots(8, 1)),
        (8, None, [], 2, Slots(2, 2)),  # as a profile says
        (1, None, [], 1, Slots(4, 1)),  # the others are for what else is submitted
        (1, None, ["0", "1"], None, Slots(2, 4, ("0", "1"))),
        (8, None, [], 6, Slots(1, 6)),
    ],
)
def test_slots(
    monkeypatch: pytest.MonkeyPatch, tasks: int, asked: int | None, gpus: list[str], cpus: int | None, slots: Slots
) -> None:
    monkeypatch.setattr(process, "cores", lambda: 4)
    monkeypatch.setattr(process, "gpus", lambda: gpus)
    assert local.plan_slots(tasks, asked, int(bool(gpus)), cpus) == slots


def test_a_slot_has_its_gpu_and_without_gpus_cuda_sees_none() -> None:
    assert [Slots(3, 1, ("0", "1")).gpu(slot) for slot in range(3)] == ["0", "1", "0"]
    code = Path("/code")
    assert local.environment(code, Slots(2, 3), 0)["CUDA_VISIBLE_DEVICES"] == ""
    assert local.environment(code, Slots(2, 3, ("4", "7")), 1)["CUDA_VISIBLE_DEVICES"] == "7"
    assert local.environment(code, Slots(2, 3), 0)["OMP_NUM_THREADS"] == "3"


def test_a_task_may_have_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "cores", lambda: 4)
    monkeypatch.setattr(process, "gpus", lambda: ["0", "1", "2", "3", "4"])
    assert local.plan_slots(8, None, 2) == Slots(2, 2, ("0,1", "2,3"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("gpus=3", "requests 3 GPUs per task and this machine has 2; give --option gpus=2, or another profile"),
        ("cpus=5", "requests 5 cores per task and this machine has 4; give --option cpus=4, or another profile"),
        ("mem_gb=16.5", "requests 16.5 GB of memory per task and this machine has 16; give --option mem_gb=16, or"),
        ("mem_gb=16", ""),
    ],
)
def test_a_profile_that_asks_for_more_than_there_is_is_refused(
    monkeypatch: pytest.MonkeyPatch, option: str, message: str
) -> None:
    monkeypatch.setattr(process, "cores", lambda: 4)
    monkeypatch.setattr(process, "gpus", lambda: ["0", "1"])
    monkeypatch.setattr(process, "memory_gb", lambda: 16)
    options = ExecutionOptions(profile="gpu", option=["gpus=2", option])
    if not message:
        assert LocalBackend().target(options).gpus == 2
        return
    with pytest.raises(JobsError, match=message):
        LocalBackend().target(options)


def test_visible_devices_are_all_the_gpus_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert process.gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert process.gpus() == []


def test_tasks_run_and_how_they_ended_is_told(store: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks_run(
        monkeypatch, "import os, sys\nif TASK == 1: sys.exit(3)\nif TASK == 2: os.kill(os.getpid(), 9)\nprint('hi')"
    )
    made = submission(store, 3)
    Scheduler(store, made, Slots(2, 1)).run()
    assert words(store, made) == [("ended", ""), ("ended", "exit code 3"), ("ended", "killed by SIGKILL")]
    assert store.submissions.log_path(made.id, 0).read_text() == "hi\n"


def test_a_full_disk_ends_no_scheduler(store: ResultsFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its tasks wait until there is room, and what became of those that ran is written then."""
    tasks_run(monkeypatch, f"open({str(tmp_path)!r} + f'/began-{{TASK}}', 'w'); raise SystemExit(TASK)")
    made, write, failed = submission(store, 2), store.submissions.write_worker, []

    def full_at_first(name: str, task: int | None, worker: Worker) -> None:
        if len(failed) < 5:
            failed.append(task)
            assert not (tmp_path / "began-1").exists()
            raise OSError(errno.ENOSPC, "No space left on device")
        write(name, task, worker)

    monkeypatch.setattr(store.submissions, "write_worker", full_at_first)
    Scheduler(store, made, Slots(2, 1)).run()
    assert words(store, made) == [("ended", ""), ("ended", "exit code 1")]


def test_on_a_full_disk_no_task_begins_and_it_is_said(store: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    made = submission(store, 1)
    store.submissions.write_worker(made.id, None, local.worker(os.getpid()))
    assert words(store, made) == [("pending", "")]
    monkeypatch.setattr(process, "is_full_disk", lambda folder: folder == store.root)
    assert words(store, made) == [("stuck", f"the disk of {store.root} is full: make room")]
    scheduler = Scheduler(store, made, Slots(1, 1))
    scheduler.waiting.append(0)
    scheduler.start_ready()
    assert not scheduler.running


def test_the_report_is_written_when_the_last_task_has_ended(
    store: ResultsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [tmp_path / f"done-{task}" for task in range(2)]
    tasks_run(monkeypatch, f"open({str(tmp_path)!r} + f'/done-{{TASK}}', 'w'); raise SystemExit(TASK)")
    wrote = (
        f"import os; open({str(tmp_path / 'report')!r}, 'w').write(str([*map(os.path.exists, {[*map(str, done)]})]))"
    )
    monkeypatch.setattr(local_scheduler, "last_command", lambda store, submission: [sys.executable, "-c", wrote])
    made = replace(submission(store, 2), report=True)
    Scheduler(store, made, Slots(1, 1)).run()
    assert (tmp_path / "report").read_text() == "[True, True]"


def test_never_more_than_n_at_a_time_over_two_submissions(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each task counts those alive beside it while it holds its slot."""
    alive = tmp_path / "alive"
    alive.mkdir()
    tasks_run(monkeypatch, f"""
import os, pathlib, uuid
alive = pathlib.Path({str(alive)!r})
own = alive / uuid.uuid4().hex
own.touch()
print(len(list(alive.iterdir())))
own.unlink()
""")  # fmt: skip
    first, second = (Scheduler(store, submission(store, 4), Slots(2, 1)) for _ in range(2))
    for scheduler in (first, second):
        scheduler.waiting.extend(range(4))
    while first.waiting or second.waiting or first.running or second.running:
        for scheduler in (first, second):
            scheduler.reap()
            scheduler.start_ready()
        assert len(first.running) + len(second.running) <= 4  # reaping lags behind, the locks do not
    logs = [store.submissions.log_path(s.submission.id, task) for s in (first, second) for task in range(4)]
    assert max(int(log.read_text()) for log in logs) <= 2


def test_the_lock_is_the_tasks_own_and_outlives_the_scheduler(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks_run(monkeypatch, "import sys; sys.stdin.read()\nimport time; time.sleep(600)")
    scheduler = Scheduler(store, submission(store, 1), Slots(1, 1))
    scheduler.waiting.append(0)
    scheduler.start_ready()
    child, _ = scheduler.running[0]
    assert try_lock(store.slot_path(0)) is None  # though this process has closed its own handle
    child.kill()
    child.wait()
    lock = try_lock(store.slot_path(0))
    assert lock is not None
    lock.release()


def test_told_to_stop_it_tells_its_tasks_and_starts_no_more(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks_run(monkeypatch, "import time; time.sleep(600)")
    made = submission(store, 3)
    scheduler = Scheduler(store, made, Slots(1, 1))
    scheduler.waiting.extend(range(3))
    scheduler.start_ready()
    scheduler.stopping = True
    scheduler.stop()
    assert not scheduler.waiting
    scheduler.running[0][0].wait()
    scheduler.reap()
    assert words(store, made)[0] == ("ended", "killed by SIGTERM")
    assert words(store, made)[1][0] == "gone"


def test_tasks_of_a_scheduler_that_died_are_lost_and_not_pending(store: ResultsFolder) -> None:
    made = submission(store, 1)
    store.submissions.write_worker(
        made.id, None, Worker(process.host(), os.getpid(), "1", time.time())
    )  # a recycled pid
    assert words(store, made) == [("gone", "its scheduler on this machine ended")]
    store.submissions.scheduler_log_path(made.id).write_text("Traceback:\n  x\nImportError: no \x1b[1mjobs\n")
    assert words(store, made) == [("gone", "its scheduler on this machine ended: ImportError: no \\x1b[1mjobs")]
    store.submissions.write_worker(
        made.id, None, Worker(process.host(), os.getpid(), process.start_time(os.getpid()), time.time())
    )
    assert words(store, made) == [("pending", "")]


def test_a_task_that_outlives_its_scheduler_is_running(store: ResultsFolder) -> None:
    made = submission(store, 1)
    store.submissions.write_worker(made.id, None, Worker(process.host(), os.getpid(), "1", time.time()))
    store.submissions.write_worker(
        made.id, 0, Worker(process.host(), os.getpid(), process.start_time(os.getpid()), time.time())
    )
    assert words(store, made) == [("running", "")]


@pytest.mark.parametrize("is_recorded", [True, False])
def test_another_machines_tasks_are_unknown_here_until_its_scheduler_is_silent(
    store: ResultsFolder, is_recorded: bool
) -> None:
    """The scheduler of a submit that died was never recorded; one of earlier code does not renew its record."""
    name = store.submissions.create("s")
    tasks = [TaskRuns("0" * 10, [seed]) for seed in (1, 2)]
    made = Submission(name, "s", "local", "elsewhere", "u", 1.0, tasks, 0, 1, "n", {"slots": 1})
    if is_recorded:
        store.submissions.write_worker(name, None, Worker("elsewhere", 1, "1", 0.0))
        store.submissions.write_worker(name, 0, Worker("elsewhere", 1, "1", 0.0, exit_code=0))
    ended = "ended" if is_recorded else "unknown"
    assert [word for word, _ in words(store, made)] == [ended, "unknown"]
    folder = store.submissions.folder(name)
    os.utime(folder, (0, time.time() - local.SILENT_S - 1))
    expected = ["ended", "unknown"] if is_recorded else ["gone", "gone"]
    assert [word for word, _ in words(store, made)] == expected
    Scheduler(store, made, Slots(1, 1)).renew()
    assert [word for word, _ in words(store, made)] == [ended, "unknown"]
    os.utime(folder / "scheduler.renewed", (0, time.time() - local.SILENT_S - 1))
    assert words(store, made)[1] == ("gone", "its scheduler on elsewhere has been silent for 10 min")


def test_the_scheduler_is_launched_in_a_session_of_its_own(store: ResultsFolder) -> None:
    made = submission(store, 1)
    slot = try_lock(store.slot_path(0))  # its task waits, so that it is there to be looked at
    assert slot is not None
    pid = local.launch(store, made)
    try:
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        slot.release()
    assert store.submissions.read_worker(made.id, None) is not None


def test_a_hostile_working_directory_does_no_harm(tmp_path: Path) -> None:
    """The results folder is the tasks' working directory; modules in it are not imported."""
    for name in ("plots.py", "jobs.py", "yaml.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('imported the wrong one')")
    command = [*process.python(), "-c", "import jobs.worker.train_job, yaml, json; print('fine')"]
    environment = {**os.environ, **process.job_variables(process.ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "fine\n"


# --- no process without a record --------------------------------------------------------------------------


def ended(child: subprocess.Popen[bytes]) -> int:
    return child.wait(timeout=600)


def test_what_is_started_goes_on_when_it_is_recorded_and_ends_when_it_cannot_be(tmp_path: Path) -> None:
    code = "from jobs import process; import sys; sys.exit(7 if process.is_recorded(lambda: False) else 3)"
    command = [sys.executable, "-c", code]
    recorded: list[int] = []
    child = process.start_recorded(command, recorded.append, os.environ, cwd=process.ROOT)
    assert (recorded, ended(child)) == ([child.pid], 7)
    started: list[int] = []

    def full(pid: int) -> None:
        started.append(pid)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        process.start_recorded(command, full, os.environ, cwd=process.ROOT)
    assert os.waitstatus_to_exitcode(os.waitpid(started[0], 0)[1]) == 3


def test_a_record_counts_where_the_starter_died_before_it_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_record in (True, False):
        reader, writer = os.pipe()
        os.close(writer)  # as the end of the process that held it does
        monkeypatch.setenv("SWEEPS_STARTED_FD", str(reader))
        assert process.is_recorded(lambda known=has_record: known) == has_record  # type: ignore[misc]
        assert "SWEEPS_STARTED_FD" not in os.environ
    assert process.is_recorded(lambda: False)  # started by hand, or by Slurm


def test_a_scheduler_or_a_task_that_nobody_recorded_starts_nothing(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = submission(store, 1)
    store.submissions.write_worker(made.id, None, Worker(process.host(), os.getpid() + 1, "", 1.0))
    for main, words in ((local_scheduler.main, "no task is started"), (train_job.main, "nothing is trained")):
        reader, writer = os.pipe()
        os.close(writer)
        monkeypatch.setenv("SWEEPS_STARTED_FD", str(reader))
        assert main([str(store.submissions.folder(made.id)), "0"]) == 2
        assert words in capfd.readouterr().err
    assert store.submissions.read_worker(made.id, 0) is None
