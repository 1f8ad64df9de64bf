"""The only writer of files that others may read at the same time: a file is there whole, or not at all.

A file is written under a temporary name in the same folder, synced, and moved into place by `os.replace`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Guard = Callable[[], bool]


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


def create_json(path: Path, value: Mapping[str, Any]) -> bool:
    """Write a new file whose name appears with its content: of two that try at once, one gets True. False where the
    file exists."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    data = dump_json(value)
    try:
        _create(part, data)
        try:
            path.hardlink_to(part)
        except FileExistsError:
            return part.stat().st_nlink == 2  # NFS reports this also where it lost its own answer
        except OSError:  # the file system has no links
            return _create(path, data)
    finally:
        part.unlink(missing_ok=True)
    return True


def _create(path: Path, data: bytes) -> bool:
    """False where the file exists."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()  # a full disk: an empty file would claim the name for good
        raise
    return True


def dump_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
