"""The merged shards of one run, in memory and in a cache file that is valid as long as the shards do not change.

The shards remain the source: a cache file that is missing, damaged, of another version or of other shards is rebuilt
from them. It is a `cache_file` with one table per kind of row.
"""

from __future__ import annotations

import contextlib
import functools
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from aggregate.inputs import cache_file, merge_shards, provenance
from aggregate.inputs.run_facts import RunFacts, facts_of
from sweepwise.core import atomic, shard_name, shards

# Version of the merging rules: increase it when `merge_shards.merge` gives another result for the same shards.
_RULES = 5
_MADE_BY = zlib.crc32(repr((_RULES, shards.SCHEMA_VERSION, pa.__version__)).encode())


class ShardFile(NamedTuple):
    """A shard as the folder lists it; a replaced file compares unequal."""

    name: str
    size: int
    mtime_ns: int


Contents = Mapping[ShardFile, bytes]
NO_CONTENTS: Contents = {}
_READ_AHEAD = 2**24  # bytes of a run


class RejectedFile(NamedTuple):
    """A file that was not read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class MergedAttempt:
    """start: the step from which it resumed. origins: values of `provenance.KINDS`, several only if its shards
    differ."""

    start: int
    origins: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class MergedRun:
    """The rows of `files`, all shards of a run. attempts: by rank, of those with a readable shard. shapes: of all their
    metrics, those of rows that were dropped too."""

    files: tuple[ShardFile, ...] = ()
    attempts: dict[int, MergedAttempt] = field(default_factory=dict)
    kinds: merge_shards.Kinds = field(default_factory=dict)
    shapes: merge_shards.Shapes = merge_shards.NO_SHAPES
    rejected: tuple[RejectedFile, ...] = ()

    @functools.cached_property
    def facts(self) -> RunFacts:
        return facts_of(self.kinds)


def list_shards(run_folder: Path) -> tuple[tuple[ShardFile, ...], tuple[RejectedFile, ...]]:
    """(shards of a run, earliest first; other files)."""
    folder = run_folder / shard_name.FOLDER
    ordered, foreign = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                named = shard_name.parse(entry.name)
                if named and entry.is_file():
                    stat = entry.stat()
                    file = ShardFile(entry.name, stat.st_size, stat.st_mtime_ns)
                    ordered.append((named.order, file))
                elif not entry.name.endswith(".part"):  # left by a killed writer: not an error
                    foreign.append(RejectedFile(entry.name, "not the name of a metric shard"))
    except FileNotFoundError:
        pass  # nothing logged yet
    except OSError as error:
        foreign.append(RejectedFile(shard_name.FOLDER, f"cannot be listed: {error.strerror}"))
    return tuple(file for _, file in sorted(ordered)), tuple(sorted(foreign))


def known_facts(files: Sequence[ShardFile], cache: Path | None) -> tuple[RunFacts, dict[int, MergedAttempt]] | None:
    """Facts and attempts of a run whose `files` are all in the cache, of which only the head is read; else None."""
    head = cache_file.read_head(cache, _MADE_BY) if cache is not None else None
    if head is None or _files(head) != tuple(files):
        return None
    rows, spacing, times, ranks, doubts = head["facts"]
    return RunFacts(rows, spacing, tuple(times), ranks, doubts), _attempts(head)


def new_content(run_folder: Path, files: Sequence[ShardFile], cache: Path | None) -> Contents:
    """The content of the first of `files` that are not in the cache, of at most `_READ_AHEAD` bytes. A file that cannot
    be read is left out: `load_merged` says why."""
    head = cache_file.read_head(cache, _MADE_BY) if cache is not None else None
    known = _files(head) if head is not None else ()
    contents, room = {}, _READ_AHEAD
    for file in files[len(known) :] if known == tuple(files[: len(known)]) else files:
        room -= file.size
        if room < 0:
            break
        with contextlib.suppress(OSError):
            contents[file] = atomic.read_bytes(run_folder / shard_name.FOLDER / file.name)
    return contents


def load_merged(
    run_folder: Path, files: Sequence[ShardFile], cache: Path | None, contents: Contents = NO_CONTENTS
) -> MergedRun:
    """All rows of `files`. Shards that are in `cache` are not opened; new ones are added to it.

    Runs with rejected files are not cached, as the cause may be temporary. contents: of files that were read already.
    """
    before = _read(cache, files) if cache is not None else None
    if before is not None and len(before.files) == len(files):
        return before
    made = _with_new_shards(before or MergedRun(), run_folder, files, contents)
    if cache is not None and not made.rejected:
        _write(cache, made)
    return made


def _with_new_shards(before: MergedRun, run_folder: Path, files: Sequence[ShardFile], contents: Contents) -> MergedRun:
    attempts, shapes, new, rejected = dict(before.attempts), before.shapes, [], []
    tags = sorted({_tag(file) for file in files})
    for file in files[len(before.files) :]:
        rank = tags.index(_tag(file))
        try:
            table = shards.read_shard(run_folder / shard_name.FOLDER / file.name, contents.get(file))
            start, metadata = shards.start_step(table), shards.metadata(table)
            table, own = merge_shards.conform(table)
            shapes = shapes.united(own)
        except (shards.ShardError, ValueError) as error:
            rejected.append(RejectedFile(file.name, str(error).splitlines()[0]))
            continue
        new.append(merge_shards.Shard(rank, table, own))
        known = attempts[rank].origins if rank in attempts else ()
        origin = tuple(metadata.get(key, "") for key in provenance.KINDS)
        attempts[rank] = MergedAttempt(start, known if origin in known else (*known, origin))
    starts = {rank: attempt.start for rank, attempt in attempts.items()}
    kinds = merge_shards.merge(before.kinds, new, starts)
    return MergedRun(tuple(files), attempts, kinds, shapes, tuple(rejected))


def _tag(file: ShardFile) -> tuple[int, str]:
    named = shard_name.parse(file.name)
    assert named is not None  # checked in `list_shards`
    return shard_name.tag_order(named.tag)


# --- the cache file -------------------------------------------------------------------------------------


def _write(path: Path, made: MergedRun) -> None:
    head = {
        "files": made.files,
        "attempts": [(rank, attempt.start, attempt.origins) for rank, attempt in made.attempts.items()],
        "kinds": list(made.kinds),
        "shapes": [sorted(names) for names in made.shapes],
        "facts": made.facts,
    }
    cache_file.write(path, _MADE_BY, head, made.kinds.values())


def _read(path: Path, files: Sequence[ShardFile]) -> MergedRun | None:
    """The content of the cache file; None unless it is intact and its shards are the first of `files`."""
    stored = cache_file.read(path, _MADE_BY)
    if stored is None:
        return None
    head, streams = stored
    known = _files(head)
    if known != tuple(files[: len(known)]):
        return None
    kinds = cache_file.tables(streams, head["kinds"])
    return MergedRun(known, _attempts(head), kinds, merge_shards.Shapes(*map(frozenset, head["shapes"])))


def _files(head: Mapping[str, Any]) -> tuple[ShardFile, ...]:
    return tuple(ShardFile(*file) for file in head["files"])


def _attempts(head: Mapping[str, Any]) -> dict[int, MergedAttempt]:
    return {rank: MergedAttempt(start, tuple(map(tuple, origins))) for rank, start, origins in head["attempts"]}
