"""Metric shards: the one place that knows their schema, for the writer (trainer) and the reader (aggregate).

A shard is a Parquet file named as in `sweepwise.core.shard_name`. Rows are wide: the index columns below, then one
nullable column for each metric that occurs in the shard.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweepwise.core import atomic, shard_name
from sweepwise.core.metrics import Catalogue, Kind
from sweepwise.core.shard_name import FOLDER, ShardName
from sweepwise.core.trainable import RunHandle

SCHEMA_VERSION = 1
START_STEP = "start_step"  # metadata key
# Shards are small and many, and a reader pays by the column: with zstd and dictionaries of floats, the default, it
# takes three times as long for files no smaller. Nobody asks for the statistics.
_ENCODING = {"compression": "lz4", "use_dictionary": ["kind", "event"], "write_statistics": False,
             "write_page_checksum": True}  # fmt: skip
_AT_ONCE = 2**24  # bytes; a larger file is read column by column, which takes a call to the system for each
INDEX_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),  # agent steps
        pa.field("frames", pa.int64(), nullable=False),  # steps x action repeat
        pa.field("update", pa.int64(), nullable=False),  # gradient updates so far
        pa.field("time", pa.float64(), nullable=False),  # unix seconds
        pa.field("event", pa.string()),  # rows of kind "event" only
    ]
)


class ShardError(Exception):
    """A file that is no readable shard; the message says why."""


def rows_to_table(rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, str], catalogue: Catalogue) -> pa.Table:
    """Rows as dicts of index columns and metrics -> a table with the columns that occur."""
    used = {name for row in rows for name in row} - set(INDEX_SCHEMA.names)
    fields = [
        pa.field(name, pa.list_(pa.float64()) if m.is_list else pa.float64())
        for name, m in catalogue.metrics.items()
        if name in used
    ]
    schema = pa.schema([*INDEX_SCHEMA, *fields])
    stamped = {"schema_version": str(SCHEMA_VERSION), **metadata}
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema).replace_schema_metadata(stamped)


def write_table(table: pa.Table, path: Path) -> None:
    """A table of `rows_to_table` as the file of a shard."""
    pq.write_table(table, path, **_ENCODING)


class ShardWriter:
    """Buffers the rows of one run and publishes them as shards, each only while `guard()` still holds."""

    def __init__(
        self,
        folder: Path,
        tag: str,
        metadata: Mapping[str, str],
        guard: Callable[[], bool],
        catalogue: Catalogue,
        rows_per_shard: int = 500,
    ) -> None:
        self._folder = folder / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tag, self._metadata, self._guard = tag, dict(metadata), guard
        self._catalogue = catalogue
        self._rows_per_shard = rows_per_shard
        self._rows: list[dict[str, Any]] = []
        names = (shard_name.parse(path.name) for path in self._folder.iterdir())
        self._part = 1 + max((shard.part for shard in names if shard and shard.tag == tag), default=-1)

    @classmethod
    def of_run(
        cls,
        handle: RunHandle,
        start_step: int = 0,
        device: str = "cpu",
        *,
        catalogue: Catalogue | None = None,
        rows_per_shard: int = 500,
    ) -> ShardWriter:
        """The log of an attempt. start_step: the step of the checkpoint that it resumes from, 0 without one; rows of
        earlier attempts beyond it are dropped when the run is read. catalogue: in place of the handle's.

        Call `flush()` before every checkpoint is written, and `flush(end=steps)` after the last step.
        """
        origin = {
            "config_id": handle.config_id,
            "seed": str(handle.seed),
            "host": platform.node(),
            "device": f"{device}: {platform.processor() or platform.machine()}",
            START_STEP: str(start_step),
            **handle.origin,
        }
        return cls(handle.folder, handle.tag, origin, handle.guard, catalogue or handle.catalogue, rows_per_shard)

    def log(
        self,
        kind: Kind,
        step: int,
        frames: int,
        update: int,
        metrics: Mapping[str, Any],
        event: str | None = None,
        at: float | None = None,
    ) -> None:
        """Add one row. at: unix seconds, None for now.

        Raises `KeyError` for a metric outside the catalogue or of another kind of row.
        """
        for name in metrics:
            if self._catalogue.metric(name).kind != kind:
                raise KeyError(f"metric {name!r} belongs in rows of kind {self._catalogue.metric(name).kind!r}")
        if event is not None and event not in self._catalogue.events:
            raise KeyError(f"event {event!r} is not one of {', '.join(self._catalogue.events)}")
        if len(self._rows) >= self._rows_per_shard:  # ahead of the new row: the last one is left for `flush(end)`
            self.flush()
        index = {
            "kind": kind,
            "step": step,
            "frames": frames,
            "update": update,
            "time": time.time() if at is None else at,
        }
        self._rows.append({**index, "event": event, **metrics})

    def flush(self, end: int | None = None) -> None:
        """Publish what is buffered as one shard. Raises `Superseded` where the guard no longer holds.

        end: agent steps of the run, where these are its last rows; the shard's name tells it.
        """
        if not self._rows:
            return
        table = rows_to_table(self._rows, self._metadata, self._catalogue)
        path = self._folder / str(ShardName(self._tag, self._part, end))
        atomic.write(path, lambda part: write_table(table, part), self._guard)
        self._rows.clear()
        self._part += 1


def metadata(table: pa.Table) -> dict[str, str]:
    """What a shard says of its origin."""
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}


def start_step(table: pa.Table) -> int:
    """The step from which the attempt that wrote `table` went on; 0 where it began."""
    return int(metadata(table).get(START_STEP, "0"))


def read_shard(path: Path, content: bytes | None = None) -> pa.Table:
    """One shard. Raises `ShardError` for a truncated, empty or foreign file, or one of a later schema.

    The footer is looked at first: of a foreign file that is large, no column is read. content: of the file, where it
    was read already.
    """
    try:
        with _opened(path, content) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            _check_version((file.metadata.metadata or {}).get(b"schema_version", b"").decode(errors="replace"))
            table = file.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    names = table.column_names
    if not set(INDEX_SCHEMA.names) <= set(names):
        raise ShardError(_FOREIGN)
    if len(set(names)) < len(names):
        raise ShardError("two columns of one name")
    return table


def _opened(path: Path, content: bytes | None) -> pa.NativeFile:
    if content is None:
        if atomic.check_plain(path) > _AT_ONCE:
            return pa.OSFile(str(path))
        content = path.read_bytes()
    return pa.BufferReader(content)


_FOREIGN = "not a metric shard of this project"


def _check_version(said: str) -> None:
    if not said:
        raise ShardError(_FOREIGN)
    if not said.isdecimal():
        raise ShardError(f"schema version {said!r} is not a number")
    if int(said) > SCHEMA_VERSION:
        raise ShardError(f"schema version {said}, this program reads up to {SCHEMA_VERSION}")
