"""File locks (flock). A lock is released when the process that holds it ends, even if it is killed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sweepwise.core.errors import JobsError


def try_lock(path: Path) -> int | None:
    """A file descriptor that holds the lock at `path`; None if another process holds it.

    Raises `JobsError` if the file system has no locks, and `OSError` if the file cannot be opened.
    """
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        raise JobsError(
            f"{path}: this file system has no file locks ({error.strerror}); choose a results folder on a local disk"
        ) from error
    return handle
