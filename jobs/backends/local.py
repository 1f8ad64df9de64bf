"""The local backend: a scheduler in a session of its own runs N tasks at a time on this machine.

It survives the terminal. A slot is a lock file in the results folder; the lock is held by the task itself,
so that two submissions share the slots and a task outlives a scheduler that died.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from jobs import process
from jobs.results import code_snapshot
from jobs.results.file_lock import try_lock
from jobs.results.records import Submission, Worker
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState

_POLL_S = 0.2


@dataclass(frozen=True)
class Slots:
    """How many tasks run at a time, and with what. gpus: name of a slot's GPU by slot % len; empty: CPU only."""

    count: int
    threads: int
    gpus: tuple[str, ...] = ()

    def gpu(self, slot: int) -> str | None:
        return self.gpus[slot % len(self.gpus)] if self.gpus else None


def plan_slots(tasks: int, max_parallel: int | None, use_gpus: bool, cpus: int | None = None) -> Slots:
    """N from `max_parallel`, else the number of GPUs, else of cores.

    cpus: of each task, where a profile says so; otherwise the tasks share the cores, and where that gives fewer tasks
    more of them, there are no further slots: another submission's task would want the same cores.
    """
    gpus = tuple(process.gpus()) if use_gpus else ()
    cores = process.cores()
    count = max(1, max_parallel or len(gpus) or cores // (cpus or 1))
    at_once = min(tasks, count)
    return Slots(count if gpus or cpus else at_once, cpus or max(1, cores // at_once), gpus)


def command(store: ResultsFolder, submission: str, task: int) -> list[str]:
    """How a task is started."""
    return [*process.python(), "-m", "jobs.entry", str(store.submissions.folder(submission)), str(task)]


def aggregate_command(store: ResultsFolder, sweep: str) -> list[str]:
    """How the report of `--then-aggregate` is written."""
    options = ["--results", str(store.root), "aggregate", sweep, "--out", str(store.report_path(sweep))]
    return [*process.python(), "-m", "jobs.cli", *options]


def environment(code: Path, slots: Slots, slot: int) -> dict[str, str]:
    """Variables of a task that imports from `code`, beside those of the user. Without GPUs CUDA sees none."""
    return {
        **process.job_variables(code),
        "OMP_NUM_THREADS": str(slots.threads),
        "CUDA_VISIBLE_DEVICES": slots.gpu(slot) or "",
    }


def shell_line(store: ResultsFolder, code: Path, submission: str, task: int, slots: Slots) -> str:
    """The exact command of a task, for `--dry-run`."""
    values = environment(code, slots, task % slots.count)
    variables = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    return " ".join([*variables, shlex.join(command(store, submission, task))])


def launch(store: ResultsFolder, submission: Submission) -> int:
    """Start the scheduler of `submission`; its process id. It and its tasks survive this terminal."""
    with store.submissions.scheduler_log_path(submission.id).open("ab") as log:
        scheduler = subprocess.Popen(
            [*process.python(), "-m", "jobs.backends.local", str(store.submissions.folder(submission.id))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=store.root,
            env={**os.environ, **process.job_variables(code_snapshot.folder(store, submission))},
        )
    store.submissions.write_worker(submission.id, None, _worker(scheduler.pid))
    return scheduler.pid


def _worker(pid: int, gpu: str | None = None) -> Worker:
    return Worker(process.host(), pid, process.start_time(pid), time.time(), gpu=gpu)


# --- the scheduler's process ------------------------------------------------------------------------------


@dataclass
class Scheduler:
    """Runs the tasks of one submission; told to stop (SIGTERM) it tells its tasks and starts no more."""

    store: ResultsFolder
    submission: Submission
    slots: Slots
    waiting: deque[int] = field(default_factory=deque)
    running: dict[int, tuple[subprocess.Popen[bytes], Worker]] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    stopping: bool = False

    def run(self) -> None:
        self.waiting.extend(range(len(self.submission.tasks)))
        signal.signal(signal.SIGTERM, self._told_to_stop)
        while self.waiting or self.running:
            self.reap()
            if self.stopping:
                self.stop()
            else:
                self.drop_cancelled()
                self.start_ready()
            time.sleep(_POLL_S)
        if self.submission.report:
            subprocess.run(aggregate_command(self.store, self.submission.sweep), check=False)

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def stop(self) -> None:
        """Start nothing more and tell every running task, once, to checkpoint and end."""
        self.waiting.clear()
        for task in self.running:
            self._tell(task)

    def drop_cancelled(self) -> None:
        """End those tasks, and do not start those, that `cancel` marked."""
        cancelled = self.store.submissions.cancelled(self.submission.id)
        self.waiting = deque(task for task in self.waiting if task not in cancelled)
        for task in cancelled & set(self.running):
            self._tell(task)

    def _tell(self, task: int) -> None:
        """Once: a second signal would not wait for the checkpoint."""
        if task not in self.told:
            self.told.add(task)
            self.running[task][0].send_signal(signal.SIGTERM)

    def reap(self) -> None:
        """Record the tasks that ended."""
        for task, (child, worker) in list(self.running.items()):
            code = child.poll()
            if code is not None:
                del self.running[task]
                self.store.submissions.write_worker(
                    self.submission.id, task, replace(worker, exit_code=code, ended=time.time())
                )

    def start_ready(self) -> None:
        """Start waiting tasks in free slots."""
        for slot in range(self.slots.count):
            if not self.waiting or len(self.running) >= self.slots.count:
                return
            lock = try_lock(self.store.slot_path(slot))
            if lock is not None:
                self._start(self.waiting.popleft(), slot, lock)

    def _start(self, task: int, slot: int, lock: int) -> None:
        """Start `task`; `lock` goes over to it and is free again when it ends, however it ends."""
        code = code_snapshot.folder(self.store, self.submission)
        try:
            with self.store.submissions.log_path(self.submission.id, task).open("ab") as log:
                child = subprocess.Popen(
                    command(self.store, self.submission.id, task),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.store.root,
                    env={**os.environ, **environment(code, self.slots, slot)},
                    pass_fds=(lock,),
                )
        finally:
            os.close(lock)
        worker = _worker(child.pid, self.slots.gpu(slot))
        self.running[task] = (child, worker)
        self.store.submissions.write_worker(self.submission.id, task, worker)


def main(arguments: Sequence[str]) -> int:
    """`python -P -m jobs.backends.local SUBMISSION_FOLDER`."""
    folder = Path(arguments[0])
    store = ResultsFolder(folder.parent.parent)
    submission = store.submissions.read(folder.name)
    if submission is None:
        print(f"error: no submission in {folder}", file=sys.stderr)
        return 2
    gpus = tuple(process.gpus()) if submission.gpus else ()
    count = int(submission.options["slots"])
    Scheduler(store, submission, Slots(count, submission.threads, gpus)).run()
    return 0


def cancel(store: ResultsFolder, submission: Submission, tasks: Iterable[int]) -> None:
    """End `tasks` of a submission of this machine: the scheduler does, or where it is gone, this process."""
    for task in tasks:
        store.submissions.mark_cancelled(submission.id, task)
    if _alive(store.submissions.read_worker(submission.id, None)):
        return
    for task in tasks:
        worker = store.submissions.read_worker(submission.id, task)
        if worker is not None and worker.exit_code is None and _alive(worker):
            os.kill(worker.pid, signal.SIGTERM)


def _alive(worker: Worker | None) -> bool:
    return worker is not None and process.alive(worker.pid, worker.pid_start)


# --- what status asks -------------------------------------------------------------------------------------


def task_states(store: ResultsFolder, submissions: Iterable[Submission]) -> dict[tuple[str, int], TaskState]:
    """(submission, task) -> its state, for `submissions` of this backend."""
    found = {}
    for submission in submissions:
        scheduler = store.submissions.read_worker(submission.id, None)
        cancelled = store.submissions.cancelled(submission.id)
        for task in range(len(submission.tasks)):
            found[submission.id, task] = _task_state(store, submission, scheduler, task, task in cancelled)
    return found


def _task_state(
    store: ResultsFolder, submission: Submission, scheduler: Worker | None, task: int, cancelled: bool
) -> TaskState:
    name = submission.id
    worker = store.submissions.read_worker(name, task)
    if submission.host != process.host():
        word = "ended" if worker is not None and worker.exit_code is not None else "unknown"
        return TaskState(name, word)
    if worker is None:
        if cancelled:
            return TaskState(name, "ended", "cancelled", "cancelled")
        if _alive(scheduler):
            return TaskState(name, "pending")
        return TaskState(name, "gone", "its scheduler on this machine ended")
    if worker.exit_code is None and _alive(worker):
        return TaskState(name, "running")
    return TaskState(name, "ended", "cancelled", "cancelled") if cancelled else _ended(name, worker.exit_code)


def _ended(submission: str, code: int | None) -> TaskState:
    if code is None:
        return TaskState(submission, "ended", "its process ended unseen")
    if code < 0:
        cause = "cancelled" if -code in (signal.SIGTERM, signal.SIGINT) else ""
        return TaskState(submission, "ended", f"killed by {_signal_name(-code)}", cause)
    return TaskState(submission, "ended", f"exit code {code}" if code else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
