"""Follows the bytes of one file that another process appends to, or writes again."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

CHUNK = 8 << 20  # bytes of a file that are read at once, so that the caller stays responsive
_FOOT = 64  # bytes before the place that are compared


class Piece(NamedTuple):
    """data: what follows the last piece. restarted: the file was written again, and `data` begins at its start."""

    data: bytes
    restarted: bool


NOTHING = Piece(b"", False)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path` is in `folder` once links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def open_regular(path: Path) -> int:
    """A descriptor to read from. Raises `OSError` for what is no regular file; never waits for a writer."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path}: not a regular file")
    return handle


class Tail:
    """A file is read again from its start where it is another file, shorter than what was read, or differs in its first
    `head` bytes or in those before the place where reading goes on.

    folder: outside it, nothing is read.
    """

    def __init__(self, path: Path, folder: Path, head: int) -> None:
        self._path, self._folder, self._most = path, folder, head
        self._identity: tuple[int, int] | None = None
        self._place = 0
        self._head = self._foot = b""

    def more(self, patient: bool = False) -> Piece:
        """At most `CHUNK` bytes; none where the file is gone. patient: of a file that was written again in place
        nothing is read yet, for its writer may be in the middle of it."""
        try:
            if not is_inside(self._path, self._folder):
                return NOTHING
            handle = open_regular(self._path)
        except OSError:
            return NOTHING
        try:
            return self._more(handle, patient)
        except OSError:
            return NOTHING
        finally:
            os.close(handle)

    def _more(self, handle: int, patient: bool) -> Piece:
        status = os.fstat(handle)
        identity = (status.st_dev, status.st_ino)
        replaced = self._identity not in (None, identity)
        self._identity = identity
        data = os.pread(handle, min(CHUNK, max(0, status.st_size - self._place)), self._place)
        # compared after reading: what was written in between is then seen
        if not replaced and status.st_size >= self._place and self._is_same(handle):
            self._advance(data)
            return Piece(data, False)
        self._place, self._head, self._foot = 0, b"", b""
        if patient and not replaced:
            return Piece(b"", True)
        data = os.pread(handle, min(CHUNK, os.fstat(handle).st_size), 0)
        self._advance(data)
        return Piece(data, True)

    def _is_same(self, handle: int) -> bool:
        before = self._place - len(self._foot)
        return (
            os.pread(handle, len(self._head), 0) == self._head
            and os.pread(handle, len(self._foot), before) == self._foot
        )

    def _advance(self, data: bytes) -> None:
        self._place += len(data)
        if len(self._head) < self._most:
            self._head = (self._head + data)[: self._most]
        self._foot = (self._foot + data[-_FOOT:])[-_FOOT:]
