"""The results of one run in cache files beside its merged rows, valid as long as nothing they depend on changes.

They depend on the code of this package, the versions of the libraries, the agent, the run's shards and state, and the
sweep's steps and bins. What the run is compared with (`SweepReference`) decides only some flags, which have a file of
their own: where the sweep's best run has improved, the others are not judged anew, but for these flags.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy

from aggregate import flags
from aggregate.inputs import cache_file
from aggregate.inputs.runs import ConfigSource, RunRows
from sweepwise.core.agent import AgentDescription

SINGLE, COMPARED = ".judged", ".compared"  # endings of the two files
_PACKAGES = ("aggregate", "sweepwise")


@dataclass(frozen=True)
class JudgedRun:
    """Results of one run. Its rows are not kept.

    curves: by kind, step and metrics. events: event -> first step. scores: `run_scores`. findings: `flags.judge_run`.
    late: `factor_effects.last_quarter`. evaluations: `flags.late_evaluations`. random: seed, step and return of the
    episodes before training. levels: what the sweep's reference values are made of.
    """

    curves: dict[str, pd.DataFrame]
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


def single(config: ConfigSource, rows: RunRows, judging: Judging, judge: Callable[[], JudgedRun]) -> JudgedRun:
    """The results of a run by itself, from its cache file where that is valid, else made by `judge` and kept there."""
    path, key = _path(rows, SINGLE), _key(config, rows, judging)
    found = cache_file.read(path, rules()) if path else None
    if found is not None and found[0]["key"] == key:
        return _unpacked(*found)
    made = judge()
    if path:
        tables = (pa.Table.from_pandas(curve, preserve_index=False) for curve in made.curves.values())
        cache_file.write(path, rules(), {"key": key, **_packed(made)}, tables)
    return made


def compared(
    config: ConfigSource, rows: RunRows, judging: Judging, reference: flags.SweepReference,
    judge: Callable[[], list[tuple[Any, ...]]],
) -> list[tuple[Any, ...]]:  # fmt: skip
    """The lines of `flags.COMPARING` in the same way."""
    path, key = _path(rows, COMPARED), digest(_key(config, rows, judging), reference)
    found = cache_file.read(path, rules()) if path else None
    if found is not None and found[0]["key"] == key:
        return [tuple(line) for line in found[0]["findings"]]
    made = judge()
    if path:
        cache_file.write(path, rules(), {"key": key, "findings": made})
    return made


def _path(rows: RunRows, ending: str) -> Path | None:
    """None where the run has no cache, or a file that could not be read, whose cause may be temporary."""
    return rows.source.cache.with_suffix(ending) if rows.source.cache is not None and rows.whole else None


def _key(config: ConfigSource, rows: RunRows, judging: Judging) -> str:
    settings = json.dumps(config.config, sort_keys=True, default=str)
    return digest(
        judging.key, rows.files, rows.source.config_id, rows.source.seed, rows.source.state, config.total_steps,
        settings, config.imported,
    )  # fmt: skip


def _packed(made: JudgedRun) -> dict[str, Any]:
    return {
        "curves": list(made.curves),
        "events": made.events,
        "scores": made.scores,
        "findings": made.findings,
        "late": made.late,
        "evaluations": {mode: [episodes.tolist() for episodes in every] for mode, every in made.evaluations.items()},
        "random": sorted(made.random),
        "last_step": made.last_step,
        "levels": made.levels,
    }


def _unpacked(head: Mapping[str, Any], streams: pa.BufferReader) -> JudgedRun:
    tables = cache_file.tables(streams, head["curves"])
    return JudgedRun(
        curves={kind: table.to_pandas() for kind, table in tables.items()},
        events=dict(head["events"]),
        scores=dict(head["scores"]),
        findings=[tuple(line) for line in head["findings"]],
        late=dict(head["late"]),
        evaluations={
            mode: [np.array(episodes, dtype=float) for episodes in every] for mode, every in head["evaluations"].items()
        },
        random={tuple(episode) for episode in head["random"]},
        last_step=head["last_step"],
        levels=flags.RunLevels(*head["levels"]),
    )
