"""The shards of one run, merged: in memory, and in one file that stands for them as long as they stay as they are.

The file is a cache and nothing more: the shards remain the truth, and a file that is missing, damaged, of another
version or of other shards is made anew from them. It holds an Arrow stream for the head and one for every kind of row,
after 64 bytes that begin with the checksum of the rest; readers see a whole file or none, and where it cannot be
written there is none.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from aggregate.inputs import merge_shards, provenance
from sweepwise.core import atomic, shard_name, shards
from tdmpc.metrics import METRICS

_HEADER = 64  # bytes: so that what follows is aligned
# A file says by which rules it was made. Count up when `merge` changes what it makes of the same shards.
_RULES = 2
_MADE_BY = zlib.crc32(repr((_RULES, shards.SCHEMA_VERSION, pa.__version__, METRICS)).encode())


class File(NamedTuple):
    """A shard as the folder lists it; one that was replaced differs."""

    name: str
    size: int
    mtime_ns: int


class RejectedFile(NamedTuple):
    """A file that was set aside, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Attempt:
    """start: the step from which it went on. origins: values of `provenance.KINDS`, more than one set only where its
    shards differ."""

    start: int
    origins: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Merged:
    """The rows of `files`, which are all shards of a run. attempts: by rank, of those with a readable shard."""

    files: tuple[File, ...]
    attempts: dict[int, Attempt]
    kinds: merge_shards.Kinds
    refused: tuple[RejectedFile, ...] = ()


def listed(run_folder: Path) -> tuple[tuple[File, ...], tuple[RejectedFile, ...]]:
    """(shards of a run, earliest first; files that are none)."""
    folder = run_folder / shard_name.FOLDER
    found, foreign = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                named = shard_name.parse(entry.name)
                if named and entry.is_file():
                    stat = entry.stat()
                    file = File(entry.name, stat.st_size, stat.st_mtime_ns)
                    found.append((named.order, file))
                elif not entry.name.endswith(".part"):  # what a killed writer left behind is no fault
                    foreign.append(RejectedFile(entry.name, "not the name of a metric shard"))
    except FileNotFoundError:
        pass  # nothing was logged yet
    except OSError as error:
        foreign.append(RejectedFile(shard_name.FOLDER, f"cannot be listed: {error.strerror}"))
    return tuple(file for _, file in sorted(found)), tuple(sorted(foreign))


def merged(run_folder: Path, files: Sequence[File], cache: Path | None) -> Merged:
    """All rows of `files`. Of shards that `cache` knows, none is opened; it is brought up to date.

    Runs with files that are set aside are not cached: what is wrong with them may pass.
    """
    before = _read(cache, files) if cache is not None else None
    if before is not None and len(before.files) == len(files):
        return before
    made = _extended(before or Merged((), {}, {}), run_folder, files)
    if cache is not None and not made.refused:
        with contextlib.suppress(OSError):  # a folder of somebody else, a full disk
            _write(cache, made)
    return made


def _extended(before: Merged, run_folder: Path, files: Sequence[File]) -> Merged:
    attempts, new, refused = dict(before.attempts), [], []
    tags = sorted({_tag(file) for file in files})
    for file in files[len(before.files) :]:
        rank = tags.index(_tag(file))
        try:
            table = shards.read_shard(run_folder / shard_name.FOLDER / file.name)
            start, said = shards.start_step(table), shards.metadata(table)
            new.append(merge_shards.Shard(rank, merge_shards.conform(table)))
        except (shards.ShardError, ValueError) as error:
            refused.append(RejectedFile(file.name, str(error).splitlines()[0]))
            continue
        known = attempts[rank].origins if rank in attempts else ()
        origin = tuple(said.get(key, "") for key in provenance.KINDS)
        attempts[rank] = Attempt(start, known if origin in known else (*known, origin))
    starts = {rank: attempt.start for rank, attempt in attempts.items()}
    return Merged(tuple(files), attempts, merge_shards.merge(before.kinds, new, starts), tuple(refused))


def _tag(file: File) -> tuple[int, str]:
    named = shard_name.parse(file.name)
    assert named is not None  # `listed` saw to it
    return shard_name.tag_order(named.tag)


# --- the file -------------------------------------------------------------------------------------------


def _write(path: Path, made: Merged) -> None:
    head = {
        "files": made.files,
        "attempts": [(rank, attempt.start, attempt.origins) for rank, attempt in made.attempts.items()],
        "kinds": list(made.kinds),
    }
    body = pa.BufferOutputStream()
    for table in (pa.table({}).replace_schema_metadata({"head": json.dumps(head)}), *made.kinds.values()):
        with pa.ipc.new_stream(body, table.schema) as stream:
            stream.write_table(table)
    content = body.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            file.write(_header(content))
            file.write(content)

    atomic.write(path, write, sync=False)  # the checksum finds what a power cut does


def _header(content: pa.Buffer) -> bytes:
    return f"{zlib.crc32(content):08x} {_MADE_BY:08x} sweeps: rows of a run, merged".encode().ljust(_HEADER)


def _read(path: Path, files: Sequence[File]) -> Merged | None:
    """What the file holds, if that is whole and of the first of `files`."""
    try:
        with pa.OSFile(str(path)) as file:
            data = file.read_buffer()
    except OSError:
        return None
    if data.size < _HEADER:
        return None
    content = data.slice(_HEADER)
    if data.slice(0, _HEADER).to_pybytes() != _header(content):
        return None
    streams = pa.BufferReader(content)
    head = json.loads(pa.ipc.open_stream(streams).read_all().schema.metadata[b"head"])
    known = tuple(File(*file) for file in head["files"])
    if known != tuple(files[: len(known)]):
        return None
    attempts = {rank: Attempt(start, tuple(map(tuple, said))) for rank, start, said in head["attempts"]}
    return Merged(known, attempts, {kind: pa.ipc.open_stream(streams).read_all() for kind in head["kinds"]})
