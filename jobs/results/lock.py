"""One at a time: whoever changes what a results folder asks for (views, configurations, submissions) holds its lock.

A lock is a numbered file, claimed by exclusive creation and never removed. The newest one holds until it says that it
has ended, its process is gone, or, written on another host, it was silent for `SILENT_S`. flock cannot be relied on on
network file systems, and two who remove a dead holder's file both get in.
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
_WRITING_S = 20.0  # a lock without words is one whose holder was killed while it wrote them
_WAIT_S = 120.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Lock:
    """Held; see `alone`."""

    store: ResultsFolder
    number: int

    def renew(self) -> None:
        """Say that the holder lives; before every step that others see. Raises `JobsError` where it was given up."""
        if self.store.newest_lock()[0] != self.number:
            raise JobsError("this command was silent for so long that another one took over; look at `sweeps status`")
        self.store.write_lock(self.number, _me())


@contextlib.contextmanager
def alone(store: ResultsFolder, wait_s: float = _WAIT_S) -> Iterator[Lock]:
    """Holds the lock inside. Raises `JobsError` where another process has it for longer than `wait_s`."""
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
        store.write_lock(number, replace(_me(), ended=time.time()))


def _claim(store: ResultsFolder) -> int | None:
    number, holder, age = store.newest_lock()
    if number and _held(holder, age):
        return None
    return number + 1 if store.claim_lock(number + 1, _me()) else None


def _held(holder: Worker | None, age: float) -> bool:
    """age: seconds since the lock was written."""
    if holder is None:
        return age < _WRITING_S
    if holder.ended is not None:
        return False
    if holder.host != process.host():
        return age < SILENT_S
    return process.alive(holder.pid, holder.pid_start)


def _me() -> Worker:
    pid = os.getpid()
    return Worker(process.host(), pid, process.start_time(pid), time.time())
