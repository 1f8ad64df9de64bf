"""The lock on a results folder, held by the one command that changes its views, configurations or submissions.

A lock is a numbered file, claimed by exclusive creation and never removed. The newest one is held until its file
records the end, its process is gone or, for a holder on another host, it was not renewed for `SILENT_S` seconds. flock
is not reliable on network file systems, and if stale files were removed, two processes could both take the lock.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from jobs import process
from jobs.results.records import Worker
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

SILENT_S = 600.0
_WRITING_S = 20.0  # after this, a lock file without a record belongs to a holder that was killed while it wrote it
_WAIT_S = 120.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Lock:
    """A lock that is held; see `alone`."""

    store: ResultsFolder
    number: int

    def renew(self) -> None:
        """Renew the lock, before every step that others can see. Raises `JobsError` if another process took it over."""
        if self.store.newest_lock()[0] != self.number:
            raise JobsError("this command was silent for so long that another one took over; look at `sweeps status`")
        self.store.write_lock(self.number, _this_process())


@contextlib.contextmanager
def alone(store: ResultsFolder, wait_s: float = _WAIT_S) -> Iterator[Lock]:
    """Hold the lock inside the block. Raises `JobsError` if another process holds it for more than `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    while (number := _claim(store)) is None:
        if time.monotonic() >= deadline:
            holder = store.newest_lock()[1]
            who = f"process {holder.pid} on {holder.host}" if holder else "another process"
            raise JobsError(f"{who} is submitting to {store.root}; try again when it has ended")
        time.sleep(_POLL_S)
    try:
        yield Lock(store, number)
    finally:
        store.write_lock(number, replace(_this_process(), ended=time.time()))


def _claim(store: ResultsFolder) -> int | None:
    number, holder, age = store.newest_lock()
    if number and _is_held(holder, age):
        return None
    return number + 1 if store.claim_lock(number + 1, _this_process()) else None


def _is_held(holder: Worker | None, age: float) -> bool:
    """age: seconds since the lock was written."""
    if holder is None:
        return age < _WRITING_S
    if holder.ended is not None:
        return False
    if holder.host != process.host():
        return age < SILENT_S
    return process.alive(holder.pid, holder.pid_start)


def _this_process() -> Worker:
    pid = os.getpid()
    return Worker(process.host(), pid, process.start_time(pid), time.time())
