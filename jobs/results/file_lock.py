"""Locks that a process holds until it ends, even if it is killed.

flock where the file system has it. Where it has not (NFS without a lock service, some FUSE and Lustre mounts), a record
of the holder: a numbered file, claimed by exclusive creation. The newest one is held until its file records the end,
its process is gone or, for a holder on another host, it was not renewed for `SILENT_S` seconds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from jobs import process
from jobs.results.record_files import RecordReader, encode, numbers_in
from jobs.results.records import Worker
from sweepwise.core.atomic import create_json, write_json

SILENT_S = 600.0
_WRITING_S = 20.0  # after this, a file without a record belongs to a holder that was killed while it wrote it
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Held:
    """A lock that is held. handle: descriptor of its file, which a child may inherit. number: of the record of the
    holder; 0 where flock holds it."""

    path: Path
    handle: int
    number: int = 0

    def hand_over(self, pid: int) -> None:
        """From now on the child `pid`, which inherited `handle`, holds the lock."""
        self._write(_holder(pid))
        os.close(self.handle)

    def renew(self) -> None:
        """To be called more often than every `SILENT_S` seconds where others may be on other hosts."""
        self._write(_holder(os.getpid()))

    def release(self) -> None:
        self._write(replace(_holder(os.getpid()), ended=time.time()))
        os.close(self.handle)

    def _write(self, holder: Worker) -> None:
        if self.number:
            write_json(_records(self.path) / f"{self.number:03d}.json", encode(holder), sync=False)


def try_lock(path: Path) -> Held | None:
    """The lock at `path`; None if another process holds it. Raises `OSError` if the file cannot be opened."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Held(path, handle)
    except BlockingIOError:
        number = None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(handle)
            raise
        number = _claim(_records(path))
    if number is None:
        os.close(handle)
        return None
    return Held(path, handle, number)


def share_lock(path: Path) -> int | None:
    """A descriptor that keeps others from locking `path` for themselves; any number of processes share it. None if one
    process holds the lock for itself. Without effect where the file system has no locks."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(handle)
            raise
    return handle


def _records(path: Path) -> Path:
    return path.with_name(f"{path.name}.holders")


def _claim(folder: Path) -> int | None:
    folder.mkdir(exist_ok=True)
    newest = max(numbers_in(folder), default=0)
    if newest and _is_held(folder / f"{newest:03d}.json"):
        return None
    if not create_json(folder / f"{newest + 1:03d}.json", encode(_holder(os.getpid()))):
        return None
    for number in numbers_in(folder):
        if number < newest:
            (folder / f"{number:03d}.json").unlink(missing_ok=True)
    return newest + 1


def _is_held(path: Path) -> bool:
    holder = RecordReader().read(path, Worker)
    if holder is None:
        return _age(path) < _WRITING_S
    if holder.ended is not None:
        return False
    if holder.host == process.host():
        return process.alive(holder.pid, holder.pid_start)
    return _age(path) < SILENT_S


def _age(path: Path) -> float:
    """Seconds since a file was written, by the clock of its file system: that of another host may be wrong."""
    try:
        return process.file_system_time(path.parent) - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _holder(pid: int) -> Worker:
    return Worker(process.host(), pid, process.start_time(pid), time.time())
