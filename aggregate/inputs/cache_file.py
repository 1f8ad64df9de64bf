"""Cache files of a run: a head as JSON and Arrow tables, behind a checksum.

A file that is missing, damaged or of another version counts as absent and is made again. It is replaced atomically, and
skipped where it cannot be written.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sweepwise.core import atomic

_HEADER = 64  # bytes, which keeps the streams aligned


def write(path: Path, made_by: int, head: Any, tables: Iterable[pa.Table] = ()) -> None:
    """head: a JSON value; NaN is allowed. made_by: number of the rules that made the content."""
    body = pa.BufferOutputStream()
    for table in (pa.table({}).replace_schema_metadata({"head": json.dumps(head)}), *tables):
        with pa.ipc.new_stream(body, table.schema) as stream:
            stream.write_table(table)
    content = body.getvalue()

    def write_part(part: Path) -> None:
        with part.open("wb") as file:
            file.write(_header(content, made_by))
            file.write(content)

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
    if data.size < _HEADER:
        return None
    content = data.slice(_HEADER)
    if data.slice(0, _HEADER).to_pybytes() != _header(content, made_by):
        return None
    streams = pa.BufferReader(content)
    return json.loads(pa.ipc.open_stream(streams).read_all().schema.metadata[b"head"]), streams


def tables(streams: pa.BufferReader, names: Sequence[str]) -> dict[str, pa.Table]:
    """The tables that follow the head, by name."""
    return {name: pa.ipc.open_stream(streams).read_all() for name in names}


def _header(content: pa.Buffer, made_by: int) -> bytes:
    return f"{zlib.crc32(content):08x} {made_by:08x} sweeps: cache of a run".encode().ljust(_HEADER)
