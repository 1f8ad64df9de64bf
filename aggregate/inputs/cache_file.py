"""Cache files of a run: a head as JSON and Arrow tables, behind a checksum.

A file that is missing, damaged or of another version counts as absent and is made again. It is replaced atomically, and
skipped where it cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sweepwise.core import atomic

_ALIGNED = 64  # bytes: what the streams' place is a multiple of
_HEADER = struct.Struct("<16sII20s20s")  # kind of file, number of the rules, size of the head, sums of head and rest
_KIND = b"sweeps: cache"
_FIRST = 1 << 14  # bytes to read at once, which hold most heads


def write(path: Path, made_by: int, head: Any, tables: Iterable[pa.Table] = ()) -> None:
    """head: a JSON value; NaN is allowed. made_by: number of the rules that made the content."""
    words = json.dumps(head).encode()
    words = words.ljust(-(-len(words) // _ALIGNED) * _ALIGNED)
    body = pa.BufferOutputStream()
    for table in tables:
        with pa.ipc.new_stream(body, table.schema) as stream:
            stream.write_table(table)
    content = body.getvalue()
    header = _HEADER.pack(_KIND, made_by, len(words), _sum(words), _sum(content))

    def write_part(part: Path) -> None:
        with part.open("wb") as file:
            file.writelines((header, words, content))

    with contextlib.suppress(OSError):  # no permission, or a full disk
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, write_part, sync=False)  # the checksum detects damage by a power failure


def read(path: Path, made_by: int) -> tuple[Any, pa.BufferReader] | None:
    """(head, the tables' streams for `tables`) of a file that is intact and was made by the same rules; else None."""
    try:
        atomic.check_plain(path)
        with pa.OSFile(str(path)) as file:
            data = file.read_buffer()
    except OSError:
        return None
    known = _header(data, made_by)
    if known is None:
        return None
    size, head_sum, rest_sum = known
    if _HEADER.size + size > data.size:
        return None
    words, rest = data.slice(_HEADER.size, size), data.slice(_HEADER.size + size)
    if _sum(words) != head_sum or _sum(rest) != rest_sum:
        return None
    return json.loads(words.to_pybytes()), pa.BufferReader(rest)


def read_head(path: Path, made_by: int) -> Any | None:
    """The head of such a file. The tables are not looked at: they may be damaged."""
    try:
        with path.open("rb", buffering=0) as file:
            data = file.read(_FIRST)
            known = _header(data, made_by)
            if known is None:
                return None
            size, head_sum, _ = known
            words = data[_HEADER.size : _HEADER.size + size]
            words += file.read(size - len(words))
    except OSError:
        return None
    return json.loads(words) if _sum(words) == head_sum else None


def _sum(data: bytes | pa.Buffer) -> bytes:
    """Of a SHA-256, as much as there is room for: the header is a multiple of `_ALIGNED` and has no byte to spare. A
    CRC-32, at half the time, would miss one damaged file in 4 billion."""
    return hashlib.sha256(data).digest()[:20]


def _header(data: bytes | pa.Buffer, made_by: int) -> tuple[int, bytes, bytes] | None:
    """(size of the head, checksums of head and rest) where `data` begins as such a file."""
    if len(data) < _HEADER.size:
        return None
    kind, rules, *rest = _HEADER.unpack_from(data)
    return tuple(rest) if (kind.rstrip(b"\0"), rules) == (_KIND, made_by) else None


def tables(streams: pa.BufferReader, names: Sequence[str]) -> dict[str, pa.Table]:
    """The tables that follow the head, by name."""
    return {name: pa.ipc.open_stream(streams).read_all() for name in names}
