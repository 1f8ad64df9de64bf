"""The only writer of files that others may read at the same time: a file is there whole, or not at all.

A file is written under a temporary name in the same folder, synced, and moved into place by `os.replace`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Guard = Callable[[], bool]
FULL = (errno.ENOSPC, errno.EDQUOT)  # a full disk, a quota that is used up
_ROOM = 8 << 10  # bytes of a file that is to be written on a full disk too


class Superseded(Exception):
    """A newer attempt owns the run, so this attempt may not publish any more."""


def _always() -> bool:
    return True


def write(path: Path, fill: Callable[[Path], object], guard: Guard = _always, *, sync: bool = True) -> None:
    """Call `fill` with a temporary path, then move that file to `path`. The folder must exist.

    guard: called right before the move; raises `Superseded` where it returns False. sync: survive a power cut too.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        fill(part)
        if sync:
            with part.open("rb") as written:
                os.fsync(written.fileno())
        if not guard():
            raise Superseded(f"{path.parent.parent} belongs to a newer attempt")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, guard: Guard = _always, *, sync: bool = True) -> None:
    """As `write`; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, lambda part: part.write_bytes(data), guard, sync=sync)


def write_json(path: Path, value: Mapping[str, Any], guard: Guard = _always, *, sync: bool = True) -> None:
    """As `write_bytes`. Raises `ValueError` for NaN and infinity, which JSON does not have."""
    write_bytes(path, dump_json(value), guard, sync=sync)


def keep_room(path: Path) -> None:
    """Take disk space now for the file `path`, which `write_in_room` then writes on a full disk too. Where there is
    none, nothing is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError), _room(path).open("wb") as file:
        file.write(os.urandom(_ROOM))  # zeros would take no space where the file system compresses
        file.flush()
        os.fsync(file.fileno())


def write_in_room(path: Path, candidates: Iterable[Mapping[str, Any]]) -> None:
    """Write the first of `candidates` that fits into the space of `keep_room`, as JSON. Raises `OSError` where no space
    was kept, and `ValueError` where none fits."""
    room = _room(path)
    data = next((data for data in map(dump_json, candidates) if len(data) <= _ROOM), None)
    if data is None:
        raise ValueError(f"{path}: no candidate fits into {_ROOM} bytes")
    with room.open("r+b") as file:  # in place: a new file would take new space
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    os.replace(room, path)


def free_room(path: Path) -> None:
    """Give back what `keep_room` took and nobody used."""
    with contextlib.suppress(OSError):
        _room(path).unlink()


def _room(path: Path) -> Path:
    return path.with_name(f".{path.name}.room")


def create_json(path: Path, value: Mapping[str, Any]) -> bool:
    """Write a new file by exclusive creation: of two that try at once, one gets True. False where the file exists."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(dump_json(value))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()  # a full disk: an empty file would claim the name for good
        raise
    return True


def dump_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
