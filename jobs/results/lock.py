"""The lock on a results folder, held by the one command that changes its views, configurations or submissions.

A lock is a numbered file, claimed by exclusive creation and never removed. The newest one is held until its file
records the end, its process is gone or, for a holder on another host, it did not change for `SILENT_S` seconds while
this process waited: clocks of hosts differ, so no time of another host is compared with ours. A holder renews its lock
every `RENEW_S` seconds. flock is not reliable on network file systems, and if stale files were removed, two processes
could both take the lock.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from jobs import process
from jobs.results.records import Worker
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import shown

SILENT_S = 45.0
RENEW_S = 10.0
_WRITING_S = 20.0  # after this, a lock file without a record belongs to a holder that was killed while it wrote it
_WAIT_S = 120.0
_SAY_AFTER_S = 1.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Lock:
    """A lock that is held; see `alone`."""

    store: ResultsFolder
    number: int

    def renew(self) -> None:
        """Renew the lock, before every step that others can see. Raises `JobsError` if another process took it over."""
        if self.store.newest_lock()[0] != self.number:
            raise JobsError(
                "this command did not renew its lock for so long that another one took it over; see `sweeps status`"
            )
        self.store.write_lock(self.number, _this_process())


@contextlib.contextmanager
def alone(store: ResultsFolder, wait_s: float = _WAIT_S) -> Iterator[Lock]:
    """Hold the lock inside the block. Says on stderr for whom it waits. Raises `JobsError` if another process holds it
    for more than `wait_s` seconds."""
    begun = time.monotonic()
    observer, was_named = _Observer(), False
    while (number := _claim(store, observer)) is None:
        waited = time.monotonic() - begun
        if waited >= wait_s:
            raise JobsError(f"{_holder(store)} is submitting to {store.root}; try again when it has ended")
        if waited >= _SAY_AFTER_S and not was_named:
            was_named = True
            print(
                f"waiting for {_holder(store)}, which is submitting to {store.root}; if it was killed on another "
                f"host, for {SILENT_S:.0f} s at most",
                file=sys.stderr,
            )
        time.sleep(_POLL_S)
    lock = Lock(store, number)
    try:
        with process.repeated(lock.renew, RENEW_S, until=(JobsError, OSError)):
            yield lock
    finally:
        store.write_lock(number, replace(_this_process(), ended=time.time()))


def _holder(store: ResultsFolder) -> str:
    holder = store.newest_lock()[1]
    return shown(f"process {holder.pid} on {holder.host}") if holder else "another process"


class _Observer:
    """Tells for how long the newest lock has not changed, by the clock of this process."""

    def __init__(self) -> None:
        self._seen: tuple[int, Worker | None] | None = None
        self._since = 0.0

    def unchanged_s(self, number: int, holder: Worker | None) -> float:
        if self._seen != (number, holder):
            self._seen, self._since = (number, holder), time.monotonic()
        return time.monotonic() - self._since


def _claim(store: ResultsFolder, observer: _Observer) -> int | None:
    number, holder = store.newest_lock()
    if number and _is_held(holder, observer.unchanged_s(number, holder)):
        return None
    return number + 1 if store.claim_lock(number + 1, _this_process()) else None


def _is_held(holder: Worker | None, unchanged_s: float) -> bool:
    if holder is None:
        return unchanged_s < _WRITING_S
    if holder.ended is not None:
        return False
    if holder.host != process.host():
        return unchanged_s < SILENT_S
    return process.alive(holder.pid, holder.pid_start)


def _this_process() -> Worker:
    pid = os.getpid()
    return Worker(process.host(), pid, process.start_time(pid), time.time())
