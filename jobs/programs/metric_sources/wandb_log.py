"""The file format of a Weights & Biases run, `run-*.wandb`, without wandb.

A header of 7 bytes, then blocks of 32 KiB as in LevelDB's log (the header counts as part of the first): pieces of a
checksum (CRC-32 of kind and content), a length, a kind and content; one record is one whole piece or several. A record
is a `Record` in protobuf's wire format; of those with a history item, a name (in parts) and a value in JSON are read.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from sweepwise.core.event_files import fields

HEADER = b":W&B\xe1\xbe\x00"  # mark, magic number, version
BLOCK = 32 << 10
_PIECE = struct.Struct("<IHB")  # checksum, length, kind
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
_KINDS = tuple(zlib.crc32(bytes((kind,))) for kind in range(5))
_KEY, _PART, _JSON = 1, 2, 16  # fields of an item: name, one part of a name, value
_SHORT_NAME, _SHORT_JSON = (_KEY << 3 | 2, _PART << 3 | 2), bytes((_JSON << 3 & 0x7F | 0x82, 1))  # as written

Item = tuple[tuple[str, ...], bytes]  # parts of the name, value as JSON


class LogPart(NamedTuple):
    """records: content of whole records. used: bytes up to the first record that is incomplete. damage: places where
    what remains of the block was left out."""

    records: list[bytes]
    used: int
    damage: list[int]


def log_part(data: bytes, start: int) -> LogPart:
    """The records in `data`, which begins at byte `start` of the file, there where a record begins or a block."""
    part = LogPart([], 0, [])
    pieces: list[bytes] = []
    place = used = 0
    while True:
        left = BLOCK - (start + place) % BLOCK  # in this block
        header = _PIECE.unpack_from(data, place) if left >= _PIECE.size and place + _PIECE.size <= len(data) else None
        if header is None and left >= _PIECE.size:
            break
        checksum, length, kind = header or (0, 0, 0)
        end = place + _PIECE.size + length
        if header is None or header == (0, 0, 0):  # padding
            end, whole = place + left, True
        elif not WHOLE <= kind <= LAST or length > left - _PIECE.size:
            end, whole = place + left, False
        else:
            whole = end > len(data) or zlib.crc32(data[end - length : end], _KINDS[kind]) == checksum
            end = end if whole else place + left
        if not whole:
            part.damage.append(start + place)
            pieces.clear()
        if end > len(data):
            break
        if whole and kind:
            if kind in (WHOLE, FIRST):
                pieces.clear()
            if pieces or kind in (WHOLE, FIRST):
                pieces.append(data[end - length : end])
            if pieces and kind in (WHOLE, LAST):
                part.records.append(b"".join(pieces))
                pieces.clear()
        place = end
        used = used if pieces else place
    return part._replace(used=used)


def history(record: bytes) -> tuple[list[Item], int | None]:
    """The items of a record of history and its step, where it has one; no items for a record of another kind. Raises
    `ValueError` or `IndexError` for other bytes."""
    items: list[Item] = []
    step = None
    for number, content in fields(record):
        if number != 2 or not isinstance(content, bytes):
            continue
        for inner, value in fields(content):
            if not isinstance(value, bytes):
                continue
            if inner == 1:
                items.append(_item(value))
            elif inner == 2:
                step = next((n for field, n in fields(value) if field == 1 and isinstance(n, int)), 0)
    return items, step


def _item(item: bytes) -> Item:
    if len(item) > 4 and item[0] in _SHORT_NAME:  # a short name and a short value, as nearly all are
        end = 2 + item[1]
        size = len(item) - end - 3
        if item[1] < 128 and 0 <= size < 128 and item[end : end + 2] == _SHORT_JSON and item[end + 2] == size:
            return (item[2:end].decode(),), item[end + 3 :]
    parts: list[str] = []
    text = b""
    for number, value in fields(item):
        if isinstance(value, bytes):
            if number in (_KEY, _PART):
                parts.append(value.decode())
            elif number == _JSON:
                text = value
    return tuple(parts), text
