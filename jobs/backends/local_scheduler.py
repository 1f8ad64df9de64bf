"""The scheduler of the local backend: one process per submission, in its own session.

`python -P -m jobs.backends.local_scheduler SUBMISSION_FOLDER`
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from jobs import process
from jobs.backends.job_command import last_command
from jobs.backends.local import Slots, command, environment, slots_of, worker
from jobs.results import code_snapshot
from jobs.results.file_lock import Held, share_lock, try_lock
from jobs.results.records import Submission, Worker
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.atomic import FULL

_POLL_S = 0.2
_RENEW_S = 20.0  # well below `local.SILENT_S`


@dataclass
class Scheduler:
    """Runs the tasks of one submission. On SIGTERM it terminates its tasks and starts no more."""

    store: ResultsFolder
    submission: Submission
    slots: Slots
    waiting: deque[int] = field(default_factory=deque)
    running: dict[int, tuple[subprocess.Popen[bytes], Worker]] = field(default_factory=dict)
    terminated: set[int] = field(default_factory=set)
    stopping: bool = False
    unwritten: dict[int, Worker] = field(default_factory=dict)
    renew_at: float = 0.0  # by time.monotonic

    def run(self) -> None:
        self.waiting.extend(range(len(self.submission.tasks)))
        signal.signal(signal.SIGTERM, self._handle_stop)
        while self.waiting or self.running:
            self.renew()
            self.reap()
            if self.stopping:
                self.stop()
            else:
                self.drop_cancelled()
                self.start_ready()
            time.sleep(_POLL_S)
        self.write_records()
        if command := last_command(self.store, self.submission):
            subprocess.run(command, check=False)

    def renew(self) -> None:
        if time.monotonic() >= self.renew_at:
            self.renew_at = time.monotonic() + _RENEW_S
            with _later_on_a_full_disk():
                self.store.submissions.renew_scheduler(self.submission.id)

    def _handle_stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def stop(self) -> None:
        """Start no further tasks. Send SIGTERM once to every running task, which then checkpoints and ends."""
        self.waiting.clear()
        for task in self.running:
            self._terminate(task)

    def drop_cancelled(self) -> None:
        """Terminate the running tasks that `cancel` marked, and remove the waiting ones."""
        cancelled = self.store.submissions.cancelled(self.submission.id)
        self.waiting = deque(task for task in self.waiting if task not in cancelled)
        for task in cancelled & set(self.running):
            self._terminate(task)

    def _terminate(self, task: int) -> None:
        """Send SIGTERM at most once, since a second signal would interrupt the checkpoint."""
        if task not in self.terminated:
            self.terminated.add(task)
            self.running[task][0].send_signal(signal.SIGTERM)

    def reap(self) -> None:
        """Record the tasks that have ended."""
        for task, (child, started) in list(self.running.items()):
            code = child.poll()
            if code is not None:
                del self.running[task]
                self.unwritten[task] = replace(started, exit_code=code, ended=time.time())
        self.write_records()

    def write_records(self) -> None:
        """Write what became of the tasks; later what a full disk has no room for."""
        for task, record in list(self.unwritten.items()):
            with _later_on_a_full_disk():
                self.store.submissions.write_worker(self.submission.id, task, record)
                del self.unwritten[task]

    def start_ready(self) -> None:
        """Start waiting tasks in free slots; none while the disk is full."""
        if self.unwritten or process.is_full_disk(self.store.root):
            return
        for slot in range(self.slots.count):
            if not self.waiting or len(self.running) >= self.slots.count:
                return
            with _later_on_a_full_disk():
                # A scheduler of earlier code holds this one for itself; ours share it, on any number of hosts.
                shared = share_lock(self.store.older_slot_path(slot))
                if shared is None:
                    continue
                try:
                    lock = try_lock(self.store.slot_path(slot))
                    if lock is not None:
                        self._start(self.waiting[0], slot, lock, shared)
                finally:
                    os.close(shared)

    def _start(self, task: int, slot: int, lock: Held, shared: int) -> None:
        """Start `task`, the first that waits. It holds `lock` and the descriptor `shared` until it ends."""
        code = code_snapshot.folder(self.store, self.submission)

        def record(pid: int) -> None:
            self.store.submissions.write_worker(self.submission.id, task, worker(pid, self.slots.gpu(slot)))

        try:
            with self.store.submissions.log_path(self.submission.id, task).open("ab") as log:
                child = process.start_recorded(
                    command(self.store, self.submission.id, task),
                    record,
                    {**os.environ, **environment(code, self.slots, slot)},
                    (lock.handle, shared),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.store.root,
                )
        except BaseException:
            lock.release()
            raise
        self.waiting.popleft()
        self.running[task] = (child, worker(child.pid, self.slots.gpu(slot)))
        lock.hand_over(child.pid)


@contextlib.contextmanager
def _later_on_a_full_disk() -> Iterator[None]:
    """Leave the block where the disk is full; it is tried again at the next poll."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise


def main(arguments: Sequence[str]) -> int:
    """`python -P -m jobs.backends.local_scheduler SUBMISSION_FOLDER`."""
    folder = Path(arguments[0])
    store = ResultsFolder(folder.parent.parent)
    submission = store.submissions.read(folder.name)
    if submission is None:
        print(f"error: no submission in {folder}", file=sys.stderr)
        return 2
    if not process.is_recorded(lambda: store.submissions.is_recorded(submission.id, None)):
        print("the submit ended before it recorded this scheduler: no task is started", file=sys.stderr)
        return 2
    Scheduler(store, submission, slots_of(submission)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
