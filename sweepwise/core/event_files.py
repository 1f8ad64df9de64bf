"""TensorBoard's event files without TensorBoard, and protobuf's wire format. Standard library only.

A file is a sequence of records: length (8 bytes), its checksum (4), data, its checksum (4), all little-endian. The data
is an `Event` in protobuf's wire format. Its time, its step and, per value of its summary, tag and number are read; old
writers store the number directly, new ones as a tensor.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

MARK = "tfevents"  # in the name of every event file
_FLOAT, _DOUBLE = 1, 2  # types of tensors
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_LONGEST_SHIFT = 63  # of a number of ten bytes, protobuf's longest
_TABLE: list[int] = []


class Scalar(NamedTuple):
    """time: unix seconds."""

    tag: str
    step: int
    value: float
    time: float


class EventFileError(ValueError):
    """A damaged record. place: the byte at which it begins. end: the byte after it, None where its length is damaged
    too and nothing that follows can be read."""

    def __init__(self, message: str, place: int, end: int | None) -> None:
        super().__init__(message)
        self.place, self.end = place, end


def events(data: bytes, place: int = 0) -> Iterator[tuple[int, list[Scalar]]]:
    """Every whole record from byte `place` on: the byte after it, and its scalars. Stops before an incomplete last
    record; to resume, call it again with the last byte it gave and longer `data`. Raises `EventFileError`."""
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        end = place + 12 + length
        if checksum(data[place : place + 8]) != struct.unpack_from("<I", data, place + 8)[0]:
            raise EventFileError("damaged, or not a TensorBoard event file", place, None)
        if end + 4 > len(data):
            return
        record = data[place + 12 : end]
        if checksum(record) != struct.unpack_from("<I", data, end)[0]:
            raise EventFileError("a damaged record; copy the file again, or leave it out", place, end + 4)
        try:
            scalars = list(_scalars_of(record))
        except (struct.error, IndexError, ValueError) as error:
            raise EventFileError("not a TensorBoard event", place, end + 4) from error
        place = end + 4
        yield place, scalars


def _scalars_of(record: bytes) -> Iterator[Scalar]:
    time, step, summary = 0.0, 0, b""
    for number, value in fields(record):
        if number == 1 and isinstance(value, bytes):
            (time,) = struct.unpack("<d", value)
        elif number == 2 and isinstance(value, int):
            step = value
        elif number == 5 and isinstance(value, bytes):
            summary = value
    for number, value in fields(summary):
        if number == 1 and isinstance(value, bytes):
            tag, scalar = _value(value)
            if scalar is not None:
                yield Scalar(tag, step, scalar, time)


def _value(message: bytes) -> tuple[str, float | None]:
    tag, scalar = "", None
    for number, value in fields(message):
        if isinstance(value, bytes):
            if number == 1:
                tag = value.decode()
            elif number == 2 and len(value) == 4:
                (scalar,) = struct.unpack("<f", value)
            elif number == 8:
                scalar = _tensor(value)
    return tag, scalar


def _tensor(message: bytes) -> float | None:
    """The number of a tensor that holds one float or double, None for any other."""
    kind, content = 0, b""
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number in (4, 5, 6) and isinstance(value, bytes):  # raw content, floats, doubles
            content = value
    if (kind, len(content)) in ((_FLOAT, 4), (_DOUBLE, 8)):
        return float(struct.unpack("<f" if kind == _FLOAT else "<d", content)[0])
    return None


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message in protobuf's wire format; numbers of fixed width as their bytes. Raises
    `ValueError` or `IndexError` for other bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        wire = key & 7
        if wire == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            size, place = _varint(message, place)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if place + size > len(message):
            raise ValueError("cut off")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    byte = message[place]
    if byte < 0x80:
        return byte, place + 1
    value = shift = 0
    while True:
        byte = message[place]
        if shift > _LONGEST_SHIFT:
            raise ValueError("a number of more than ten bytes")
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def checksum(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TensorFlow masks it."""
    if not _TABLE:
        for byte in range(256):
            for _ in range(8):
                byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
            _TABLE.append(byte)
    table, crc = _TABLE, 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
