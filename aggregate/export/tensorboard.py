"""Writes TensorBoard event files without TensorBoard. `aggregate.importers.event_files` documents the format.

Every batch of rows is a separate file, written atomically, so that files never change. TensorBoard reads the files of a
folder in the order of their names.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from aggregate.export.new_rows import ExportedRow
from aggregate.importers.event_files import MARK, checksum
from sweepwise.core import atomic

_VERSION = b"brain.Event:2"  # with it TensorBoard drops steps only at a session start, not where steps go back
_SESSION_START = 1


def write(folder: Path, batch: int, rows: Iterable[ExportedRow], back_to: int | None) -> None:
    """The file of one batch of rows of a run. back_to: earlier files are invalid from this step on."""

    def fill(part: Path) -> None:
        with part.open("wb") as file:
            file.writelines(_record(event) for event in _events(list(rows), back_to))

    atomic.write(folder / f"events.out.{MARK}.{batch:010d}.sweeps", fill)


def _events(rows: list[ExportedRow], back_to: int | None) -> Iterator[bytes]:
    begun = next((row.time for row in rows), 0.0)
    yield _event(begun, 0, _bytes(3, _VERSION))
    if back_to is not None:
        yield _event(begun, back_to, _bytes(7, _number(1, _SESSION_START)))
    for row in rows:
        yield _event(row.time, row.step, _bytes(5, b"".join(_value(*pair) for pair in row.values.items())))


# Messages in protobuf's wire format: Event(wall_time=1, step=2, file_version=3, summary=5, session_log=7),
# Summary(value=1), Summary.Value(tag=1, simple_value=2), SessionLog(status=1).
# https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto


def _event(time: float, step: int, content: bytes) -> bytes:
    clock = 0.0 if math.isnan(time) else time
    return b"\x09" + struct.pack("<d", clock) + _number(2, step) + content


def _value(tag: str, value: float) -> bytes:
    return _bytes(1, _bytes(1, tag.encode()) + b"\x15" + _float(value))


def _float(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, value))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", checksum(length)) + data + struct.pack("<I", checksum(data))
