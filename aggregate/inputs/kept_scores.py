"""The final scores of runs as small JSON files beside their caches, for who does not load Arrow (`sweeps status`).

A score counts while the shards of its run are those that it was computed from. A file that is damaged counts as absent.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sweepwise.core import atomic, shard_name

NAME = "scores.json"  # one for each configuration
_LARGEST = 2**24  # bytes


class FinalScore(NamedTuple):
    """cache: file for the merged rows of the run. shards: (name, size in bytes, mtime in ns) of each. final: NaN for a
    run that has not come to its end."""

    cache: Path
    seed: int
    shards: Sequence[tuple[str, int, int]]
    final: float


def keep(scores: Iterable[FinalScore]) -> None:
    """Write the files in which a score is new; where they cannot be written, nothing happens."""
    by_file: dict[Path, dict[str, Any]] = {}
    for score in scores:
        entry = [sorted(map(list, score.shards)), score.final] if math.isfinite(score.final) else None
        by_file.setdefault(score.cache.with_name(NAME), {})[str(score.seed)] = entry
    for path, entries in by_file.items():
        before = _read(path)
        after = {seed: entry for seed, entry in {**before, **entries}.items() if entry is not None}
        if after != before:
            with contextlib.suppress(OSError):  # no permission, or a full disk
                atomic.write_json(path, after, sync=False)


def finals(caches: Mapping[int, Path], folders: Mapping[int, Path]) -> dict[int, float]:
    """By seed, the final scores of runs of one configuration that are kept and still count. caches, folders: by seed,
    file for the merged rows and folder of the run."""
    scores = {}
    files = {cache.with_name(NAME) for cache in caches.values()}
    kept = {seed: entry for path in files for seed, entry in _read(path).items()}
    for seed, folder in folders.items():
        entry = kept.get(str(seed))
        if isinstance(entry, list) and len(entry) == 2 and entry[0] == _shards(folder) and isinstance(entry[1], float):
            scores[seed] = entry[1]
    return scores


def _shards(run_folder: Path) -> list[list[Any]]:
    listed = []
    with contextlib.suppress(OSError), os.scandir(run_folder / shard_name.FOLDER) as entries:
        for entry in entries:
            if shard_name.parse(entry.name) and entry.is_file():
                status = entry.stat()
                listed.append([entry.name, status.st_size, status.st_mtime_ns])
    return sorted(listed)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(atomic.read_bytes(path, _LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
