"""Rows of a buffer on disk, each written once: files that only grow and that checkpoints name by length and hash.

`checkpoints/<buffer>-<tag>-<n>.rows` holds float32 rows, one after another. An attempt writes to files of its own
and goes on reading those of the attempts before it. What lies beyond the named length is the end of a write that
never became part of a checkpoint.
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
    """The first `rows` rows of a file, as a checkpoint names them."""

    file: str
    rows: int
    sha256: str


class JournalError(Exception):
    """An extent that is not what the checkpoint names; the message says why."""


class Journal:
    """Appends one buffer's rows for one attempt."""

    def __init__(self, folder: Path, buffer: str, tag: str) -> None:
        self._folder, self._buffer, self._tag = folder, buffer, tag
        self._before: list[Extent] = []
        self._path: Path | None = None
        self._rows, self._hash = 0, hashlib.sha256()

    def resume(self, extents: Sequence[Extent]) -> None:
        """Go on behind the rows that `extents` hold."""
        self._before = list(extents)

    @property
    def extents(self) -> list[Extent]:
        """All that is on disk, in order."""
        if self._path is None:
            return self._before
        return [*self._before, Extent(file=self._path.name, rows=self._rows, sha256=self._hash.hexdigest())]

    @property
    def rows(self) -> int:
        """How many rows are on disk, those of earlier attempts included."""
        return sum(extent["rows"] for extent in self.extents)

    def append(self, rows: Tensor) -> None:
        """Put `rows` (n, W) on disk. One that fails, on a full disk, can be tried again."""
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
                os.truncate(self._path, end)  # gives the room back
            raise
        self._hash.update(data)
        self._rows += len(rows)

    def _create(self) -> Path:
        """A file that nobody else has; a tag that is used again does not write into what checkpoints name."""
        for number in itertools.count():
            path = self._folder / f"{self._buffer}-{self._tag}-{number:03d}.rows"
            try:
                path.open("xb").close()
            except FileExistsError:
                continue
            return path
        raise AssertionError("unreachable")


def read_rows(folder: Path, extents: Sequence[Extent], width: int) -> Tensor:
    """(n, width) rows that `extents` name. Raises `JournalError` where one is missing, too short or changed."""
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
