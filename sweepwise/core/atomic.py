"""The only writer of files that others may read at the same time: a file is there whole, or not at all.

A file is written under a temporary name in the same folder, synced, and moved into place by `os.replace`. What is read
or replaced is a plain file: what lies at a path may also be a FIFO, which blocks for ever, a device, or somebody else's
file. `output` decides which path an option such as `--out` may write.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sweepwise.core.errors import SweepsError

Guard = Callable[[], bool]
IsOwn = Callable[[bytes], bool]

LARGEST = 512 * 2**20  # bytes of a file that is read into memory whole
_KINDS = {stat.S_IFIFO: "FIFO", stat.S_IFCHR: "device", stat.S_IFBLK: "device", stat.S_IFSOCK: "socket",
          stat.S_IFDIR: "folder"}  # fmt: skip
# Folders and files in which a results folder keeps its records. `reports` is not among them.
_RECORDS = frozenset(
    ("sweeps", "runs", "submissions", "looks", "decisions.json", "imports", "cache", "agents", "code", "archived_code",
     "locks", "slots", "queue.json")
)  # fmt: skip
_RESULTS = ("runs", "submissions", "locks")  # a folder that holds these is a results folder
_HEAD = 4096  # bytes by which a file of this program is recognised
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


# --- plain files ----------------------------------------------------------------------------------------


class OutputError(SweepsError):
    """A path that must not be written; the message says why and what to do."""


def read_bytes(path: Path, largest: float = LARGEST) -> bytes:
    """The content of a plain file. Raises `OSError` for anything else, and for more than `largest` bytes."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO without a writer would block
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        _check(path, status)
        if status.st_size > largest:
            raise OSError(errno.EFBIG, f"larger than {largest / 1e6:,.0f} MB", str(path))
        return file.read()


def read_text(path: Path, encoding: str = "utf-8", largest: float = LARGEST) -> str:
    """As `read_bytes`; lines end with a newline only. Raises `UnicodeDecodeError` too."""
    return io.TextIOWrapper(io.BytesIO(read_bytes(path, largest)), encoding=encoding).read()


def check_plain(path: Path) -> int:
    """The size in bytes. Raises `OSError` unless `path` is a plain file, or a link to one."""
    status = path.stat()
    _check(path, status)
    return status.st_size


def _check(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"a {_kind(status)}, not a plain file", str(path))


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "special file")


def output(path: Path, is_own: IsOwn, option: str = "--out") -> Path:
    """The path to write for `path`: itself, or where the link leads.

    is_own: whether a file that begins with these bytes was written by this program, so that it may be replaced. Raises
    `OutputError` for a device, FIFO or folder, for another's file, and for what a results folder keeps.
    """
    place = f"{option} {path}"
    target = output_folder(path, option)
    try:
        status = target.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise OutputError(f"{place}: this is a {_kind(status)}; name a file")
        with target.open("rb") as file:
            head = file.read(_HEAD)
    except (FileNotFoundError, NotADirectoryError):
        return target
    except OSError as error:
        raise OutputError(f"{place}: {error.strerror or error}; choose a place you may write to") from error
    if head and not is_own(head):
        raise OutputError(f"{place}: exists and was not written by this command; give another name, or move it away")
    return target


def output_folder(path: Path, option: str = "--out") -> Path:
    """`path` with links followed. Raises `OutputError` for the records of a results folder, and for links in a ring."""
    try:
        target = path.resolve()
        if target.is_symlink():
            raise OutputError(f"{option} {path}: symbolic links form a loop; name a file")
        for root in target.parents:
            if target.relative_to(root).parts[0] in _RECORDS and all((root / name).is_dir() for name in _RESULTS):
                raise OutputError(f"{option} {path}: is inside the records of the results folder {root}; name another")
    except (OSError, RuntimeError, ValueError) as error:
        raise OutputError(f"{option} {path}: {getattr(error, 'strerror', None) or error}; name another") from error
    return target


def begins_with(*beginnings: bytes) -> IsOwn:
    """For `output`: whether a file begins with one of these."""
    return lambda head: head.startswith(beginnings)


def is_report(head: bytes) -> bool:
    """For `output`: whether a file begins as the HTML page of `sweeps aggregate`."""
    return b"<title>Sweep report: " in head
