"""Plain files only. What lies at a path may be a FIFO, which blocks for ever, a device, or somebody else's file.

`read_bytes`, `read_text` and `check` are for input; `output` decides which path an option such as `--out` may write.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

from sweepwise.core.errors import SweepsError

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

IsOwn = Callable[[bytes], bool]


class OutputError(SweepsError):
    """A path that must not be written; the message says why and what to do."""


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a plain file. Raises `OSError` for anything else, and for more than `largest` bytes."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO without a writer would block
    with os.fdopen(handle, "rb") as file:
        _check(path, os.fstat(handle))
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"larger than {largest / 1e6:,.0f} MB", str(path))
    return content


def read_text(path: Path, encoding: str = "utf-8", largest: int = LARGEST) -> str:
    """As `read_bytes`; lines end with a newline only. Raises `UnicodeDecodeError` too."""
    return io.TextIOWrapper(io.BytesIO(read_bytes(path, largest)), encoding=encoding).read()


def check(path: Path) -> None:
    """Raises `OSError` unless `path` is a plain file, or a link to one."""
    _check(path, path.stat())


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
            raise OutputError(f"{place}: is a {_kind(status)}; name a file")
        with target.open("rb") as file:
            head = file.read(_HEAD)
    except (FileNotFoundError, NotADirectoryError):
        return target
    except OSError as error:
        raise OutputError(f"{place}: {error.strerror or error}; choose a place you may write to") from error
    if head and not is_own(head):
        raise OutputError(f"{place}: is there and was not written by this command; give another name, or move it away")
    return target


def output_folder(path: Path, option: str = "--out") -> Path:
    """`path` with links followed. Raises `OutputError` for the records of a results folder, and for links in a ring."""
    try:
        target = path.resolve()
        if target.is_symlink():
            raise OutputError(f"{option} {path}: links that lead in a ring; name a file")
        for root in target.parents:
            if target.relative_to(root).parts[0] in _RECORDS and all((root / name).is_dir() for name in _RESULTS):
                raise OutputError(f"{option} {path}: lies among the records of the results folder {root}; name another")
    except (OSError, RuntimeError, ValueError) as error:
        raise OutputError(f"{option} {path}: {getattr(error, 'strerror', None) or error}; name another") from error
    return target


def begins_with(*beginnings: bytes) -> IsOwn:
    """For `output`: whether a file begins with one of these."""
    return lambda head: head.startswith(beginnings)


def is_report(head: bytes) -> bool:
    """For `output`: whether a file begins as the HTML page of `sweeps aggregate`."""
    return b"<title>Sweep report: " in head
