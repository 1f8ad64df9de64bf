"""Scalars of whole event files of TensorBoard. `sweepwise.core.event_files` documents the format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aggregate.importers.faults import CurveImportError
from sweepwise.core import atomic
from sweepwise.core.event_files import MARK, EventFileError, Scalar, checksum, events

__all__ = ["MARK", "Scalar", "checksum", "scalars"]


def scalars(path: Path) -> Iterator[Scalar]:
    """In the file's order. An incomplete last record, of a killed writer, is left out. Raises `CurveImportError` where
    the file is damaged elsewhere."""
    try:
        data = atomic.read_bytes(path)
    except OSError as error:
        raise CurveImportError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        for _, event_scalars in events(data):
            yield from event_scalars
    except EventFileError as error:
        raise CurveImportError(f"{path}, byte {error.place}: {error}") from error
