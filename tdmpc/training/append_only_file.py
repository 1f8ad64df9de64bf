"""Append-only files with the rows of a buffer, so that each row is written once.

`checkpoints/<buffer>-<tag>-<n>.rows` holds consecutive float32 rows. Each attempt writes new files and reads those of
the attempts before it. A checkpoint records the length and hash of every file it needs. Bytes beyond that length come
from a write after the checkpoint and are ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

FILE_NAME = re.compile(r"[a-z_]+-(?P<tag>[a-z0-9]+)-\d{3,}\.rows")


class Extent(TypedDict):
    """The first `rows` rows of a file, as a checkpoint records them."""

    file: str
    rows: int
    sha256: str


class JournalError(Exception):
    """A file that does not hold what the checkpoint recorded; the message says why."""


class Journal:
    """Appends the rows of one buffer for one attempt."""

    def __init__(self, folder: Path, buffer: str, tag: str) -> None:
        self._folder, self._buffer, self._tag = folder, buffer, tag
        self._earlier: list[Extent] = []  # of earlier attempts
        self._path: Path | None = None
        self._rows, self._hash = 0, hashlib.sha256()

    def resume(self, extents: Sequence[Extent]) -> None:
        """Continue after the rows of `extents`."""
        self._earlier = list(extents)

    @property
    def extents(self) -> list[Extent]:
        """Everything on disk, in order."""
        if self._path is None:
            return self._earlier
        return [*self._earlier, Extent(file=self._path.name, rows=self._rows, sha256=self._hash.hexdigest())]

    @property
    def rows(self) -> int:
        """Number of rows on disk, including those of earlier attempts."""
        return sum(extent["rows"] for extent in self.extents)

    def append(self, rows: Tensor) -> None:
        """Write `rows` (n, W) to disk. After a failure, such as a full disk, the call can be repeated."""
        if not len(rows):
            return
        if self._path is None:
            self._path = self._create()
        data = rows.numpy().tobytes()
        end = self._rows * len(data) // len(rows)
        try:
            with self._path.open("r+b") as file:
                file.seek(end)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self._path, end)  # frees the disk space
            raise
        self._hash.update(data)
        self._rows += len(rows)

    def _create(self) -> Path:
        """A new file, also where the tag was used before, since checkpoints may refer to the existing files."""
        for number in itertools.count():
            path = self._folder / f"{self._buffer}-{self._tag}-{number:03d}.rows"
            try:
                path.open("xb").close()
            except FileExistsError:
                continue
            return path
        raise AssertionError("unreachable")


def read_rows(folder: Path, extents: Sequence[Extent], width: int) -> Tensor:
    """(n, width) rows of `extents`. Raises `JournalError` where a file is missing, too short or changed."""
    data = b"".join(_read(folder, extent, width) for extent in extents)
    return torch.from_numpy(np.frombuffer(data, np.float32).reshape(-1, width).copy())


def _read(folder: Path, extent: Extent, width: int) -> bytes:
    name, size = extent["file"], extent["rows"] * width * np.float32().itemsize
    if not FILE_NAME.fullmatch(name):
        raise JournalError(f"{name!r} is not the name of a file of rows")
    try:
        with (folder / name).open("rb") as file:
            data = file.read(size)
    except OSError as error:
        raise JournalError(f"{name} cannot be read: {error.strerror}") from error
    if len(data) < size:
        raise JournalError(f"{name} has {len(data):,} of {size:,} bytes")
    if hashlib.sha256(data).hexdigest() != extent["sha256"]:
        raise JournalError(f"{name} is damaged")
    return data
