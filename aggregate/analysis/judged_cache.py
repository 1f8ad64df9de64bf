"""The results of runs in cache files beside their merged rows, valid as long as nothing they depend on changes.

The runs of a configuration share a file. They depend on the code of this package, the versions of the libraries, the
agent, the run's shards and state, and the sweep's steps and bins. What the run is compared with (`SweepReference`)
decides only some flags, which have a file of their own: where the sweep's best run has improved, the others are not
judged anew, but for these flags.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy

from aggregate import flags
from aggregate.inputs import cache_file, kept_scores
from aggregate.inputs.kept_scores import FinalScore
from aggregate.inputs.parallel import in_threads
from aggregate.inputs.runs import ConfigSource, RunRows
from sweepwise.core.agent import AgentDescription

SINGLE, COMPARED = "runs.judged", "runs.compared"  # names of the two files
_PACKAGES = ("aggregate", "sweepwise")


@dataclass(frozen=True)
class JudgedRun:
    """Results of one run. Its rows are not kept.

    curves: by kind, step and metrics, NaN or null where absent. events: event -> first step. scores: `run_scores`.
    findings: `flags.judge_run`. late: `factor_effects.last_quarter`. evaluations: `flags.late_evaluations`. random:
    seed, step and return of the episodes before training. levels: what the sweep's reference values are made of.
    """

    curves: dict[str, pa.Table]
    events: dict[str, int]
    scores: dict[str, float | bool]
    findings: list[tuple[Any, ...]]
    late: dict[str, float]
    evaluations: flags.Evaluations
    random: set[tuple[int, int, float]]
    last_step: int
    levels: flags.RunLevels


@functools.cache
def rules() -> int:
    """Checksum of the code and of the libraries that judge."""
    root = Path(__file__).resolve().parents[2]
    files = sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py"))
    total = zlib.crc32(repr((np.__version__, pd.__version__, scipy.__version__, pa.__version__)).encode())
    for path in files:
        total = zlib.crc32(path.read_bytes(), total)
    return total


def digest(*inputs: Any) -> str:
    """Of what results depend on: values that have a stable `repr`."""
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


@dataclass(frozen=True)
class Judging:
    """What all runs of a sweep are judged by. bins: by kind, number of bins. total: steps of the whole sweep. key:
    digest of all of it."""

    agent: AgentDescription
    bins: Mapping[str, int]
    total: int
    key: str

    @classmethod
    def of(cls, agent: AgentDescription, bins: Mapping[str, int], total: int) -> Judging:
        return cls(agent, bins, total, digest(agent, sorted(bins.items()), total))


Pair = tuple[ConfigSource, RunRows]
Lines = list[tuple[Any, ...]]  # of `flags.COLUMNS`
Value = TypeVar("Value")
Kept = dict[int, tuple[str, Value]]  # seed -> the key of what its results depend on, and the results


def keys(pairs: Sequence[Pair], judging: Judging) -> list[str]:
    """What the results of each run by itself depend on."""
    settings = {
        id(config): (config.total_steps, json.dumps(config.config, sort_keys=True, default=str), config.imported)
        for config, _ in pairs
    }
    return [
        digest(judging.key, run.files, run.source.config_id, run.source.seed, run.source.state, *settings[id(config)])
        for config, run in pairs
    ]


def single(
    pairs: Sequence[Pair], known: Sequence[str], judge: Callable[[Sequence[Pair]], Iterable[JudgedRun]]
) -> list[JudgedRun]:
    """The results of each run by itself: from its file where its key, of those `known`, is that of the file, else made
    by `judge` and kept there. The final scores are kept for others too (`kept_scores`)."""
    runs = _kept(pairs, known, SINGLE, _read_single, _write_single, judge)
    kept_scores.keep(
        FinalScore(rows.source.cache, rows.source.seed, rows.files, float(run.scores["final_primary"]))
        for (_, rows), run in zip(pairs, runs, strict=True)
        if rows.source.cache is not None and rows.whole
    )
    return runs


def compared(
    pairs: Sequence[Pair], known: Sequence[str], reference: flags.SweepReference,
    judge: Callable[[Sequence[Pair]], Iterable[Lines]],
) -> list[Lines]:  # fmt: skip
    """The lines of `flags.COMPARING` in the same way."""
    return _kept(pairs, [digest(key, reference) for key in known], COMPARED, _read_compared, _write_compared, judge)


def _kept(
    pairs: Sequence[Pair], known: Sequence[str], name: str, read: Callable[[Path], Kept[Value]],
    write: Callable[[Path, Kept[Value]], None], judge: Callable[[Sequence[Pair]], Iterable[Value]],
) -> list[Value]:  # fmt: skip
    paths = [_path(rows, name) for _, rows in pairs]
    distinct = list(dict.fromkeys(path for path in paths if path is not None))
    files: dict[Path | None, Kept[Value]] = dict(zip(distinct, in_threads(read, distinct), strict=True))
    stored = [files.get(path, {}).get(rows.source.seed) for path, (_, rows) in zip(paths, pairs, strict=True)]
    missing = [place for place, kept in enumerate(stored) if kept is None or kept[0] != known[place]]
    for place, made in zip(missing, judge([pairs[place] for place in missing]), strict=True):
        stored[place] = (known[place], made)
        files.setdefault(paths[place], {})[pairs[place][1].source.seed] = (known[place], made)
    for path in dict.fromkeys(paths[place] for place in missing):
        if path is not None:
            write(path, files[path])
    return [kept[1] for kept in stored if kept is not None]


def _path(rows: RunRows, name: str) -> Path | None:
    """None where the run has no cache, or a file that could not be read, whose cause may be temporary."""
    return rows.source.cache.with_name(name) if rows.source.cache is not None and rows.whole else None


# --- the files ------------------------------------------------------------------------------------------


def _write_compared(path: Path, kept: Kept[Lines]) -> None:
    cache_file.write(path, rules(), [(seed, key, lines) for seed, (key, lines) in kept.items()])


def _read_compared(path: Path) -> Kept[Lines]:
    stored = cache_file.read(path, rules())
    return {seed: (key, list(map(tuple, lines))) for seed, key, lines in stored[0]} if stored else {}


def _write_single(path: Path, kept: Kept[JudgedRun]) -> None:
    kinds = sorted({kind for _, run in kept.values() for kind in run.curves})
    runs = [{"seed": seed, "key": key, **_packed(run)} for seed, (key, run) in kept.items()]
    tables = (
        pa.concat_tables(
            [run.curves[kind] for _, run in kept.values() if kind in run.curves], promote_options="default"
        ).combine_chunks()
        for kind in kinds
    )
    cache_file.write(path, rules(), {"kinds": kinds, "runs": runs}, tables)


def _read_single(path: Path) -> Kept[JudgedRun]:
    stored = cache_file.read(path, rules())
    if stored is None:
        return {}
    head, streams = stored
    tables = cache_file.tables(streams, head["kinds"])
    ends = dict.fromkeys(tables, 0)
    kept = {}
    for run in head["runs"]:
        curves = {}
        for kind, count in run["curves"].items():
            curves[kind] = tables[kind].slice(ends[kind], count)
            ends[kind] += count
        kept[run["seed"]] = (run["key"], _unpacked(run, curves))
    return kept


def _packed(made: JudgedRun) -> dict[str, Any]:
    return {
        "curves": {kind: curve.num_rows for kind, curve in made.curves.items()},
        "events": made.events,
        "scores": made.scores,
        "findings": made.findings,
        "late": made.late,
        "evaluations": made.evaluations,
        "random": sorted(made.random),
        "last_step": made.last_step,
        "levels": made.levels,
    }


def _unpacked(run: Mapping[str, Any], curves: dict[str, pa.Table]) -> JudgedRun:
    return JudgedRun(
        curves=curves,
        events=run["events"],
        scores=run["scores"],
        findings=list(map(tuple, run["findings"])),
        late=run["late"],
        evaluations={mode: flags.LateEvaluations(*every) for mode, every in run["evaluations"].items()},
        random=set(map(tuple, run["random"])),
        last_step=run["last_step"],
        levels=flags.RunLevels(*run["levels"]),
    )
