"""Metric shards of many runs -> one frame of rows, with what could not be read set aside and named.

`rows` has one line per logged row: `config_id`, `seed`, `attempt` (rank of the attempt within its run), the
index columns of `tdmpc.shards`, every metric of the catalogue that occurs, and `nonfinite` (the first metric
of the row that was NaN or infinite, else None; an absent metric is no such thing).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aggregate import origins
from aggregate.asked import Question
from tdmpc import catalogue, shardname, shards

DIVERGED, DONE, FAILED, INTERRUPTED, STALLED = "diverged", "done", "failed", "interrupted", "stalled"
BROKEN = (DIVERGED, FAILED, INTERRUPTED, STALLED)  # states that end a run before its last step

_INDEX = tuple(shards.INDEX_SCHEMA.names)
_ROW_KEY = ["config_id", "seed", "kind", "step", "event", "eval_is_final"]


class AggregateError(Exception):
    """Nothing to aggregate; the message is one line with the fix."""


@dataclass(frozen=True)
class RunSource:
    """A run: where its shards lie and what the store says of it."""

    config_id: str
    seed: int
    folder: Path
    state: str  # see `jobs.state.State`
    attempts: int


@dataclass(frozen=True)
class ConfigSource:
    """A configuration as a sweep sees it; `label` and `factors` hold only what varies there."""

    config_id: str
    label: str
    factors: dict[str, Any]
    is_baseline: bool
    config: dict[str, Any]
    total_steps: int
    runs: tuple[RunSource, ...]

    @property
    def name(self) -> str:
        """The label, or words for a configuration that varies nothing."""
        return self.label or "the configuration"


@dataclass(frozen=True)
class SweepSource:
    """beside: configurations of other sweeps that `questions` need, by sweep; none of one that was not submitted."""

    name: str
    goal: str
    questions: tuple[Question, ...]
    factors: tuple[str, ...]
    configs: tuple[ConfigSource, ...]
    beside: Mapping[str, tuple[ConfigSource, ...]] = field(default_factory=dict)

    @property
    def all_configs(self) -> tuple[ConfigSource, ...]:
        """Its own, then those beside them, each once."""
        found = {config.config_id: config for config in self.configs}
        for config in itertools.chain.from_iterable(self.beside.values()):
            found.setdefault(config.config_id, config)
        return tuple(found.values())


@dataclass(frozen=True)
class Loaded:
    """`rows` as in the module head; `quarantine`: config_id, seed, file, reason.

    origins: config_id, seed and `origins.KINDS` ("" where not recorded), one line per shard that rows come from.
    """

    rows: pd.DataFrame
    quarantine: pd.DataFrame
    origins: pd.DataFrame


def load(sweeps: Sequence[SweepSource]) -> Loaded:
    """Read every shard of every run once, however many sweeps hold it.

    Raises `AggregateError` where there is no run or not one readable row.
    """
    runs = {(run.config_id, run.seed): run for sweep in sweeps for config in sweep.all_configs for run in config.runs}
    if not runs:
        raise AggregateError("no runs to aggregate: nothing was submitted; `sweeps submit ensemble --seeds 6` starts")
    tables: list[pa.Table] = []
    owners: list[tuple[str, int, int]] = []
    refused: list[tuple[str, int, str, str]] = []
    made: list[tuple[str | int, ...]] = []
    for (config_id, seed), run in sorted(runs.items()):
        read: list[_Read] = []
        for path, attempt in _shards_of(run, refused):
            try:
                table = shards.read_shard(path)
                read.append(_Read(attempt, shards.start_step(table), shards.metadata(table), _conform(table)))
            except (shards.ShardError, ValueError) as error:
                reason = str(error).splitlines()[0].replace(str(path), path.name)
                refused.append((config_id, seed, path.name, reason))
        for shard in _built_upon(read):
            tables.append(shard.table)
            owners.append((config_id, seed, shard.attempt))
            if shard.table.num_rows:
                made.append((config_id, seed, *(shard.metadata.get(key, "") for key in origins.KINDS)))
    if not sum(table.num_rows for table in tables):
        bad = f", {len(refused)} bad files (first: {refused[0][2]}: {refused[0][3]})" if refused else ""
        hint = "wait for the first, see `sweeps status`"
        raise AggregateError(f"no readable metric shards in {len(runs)} runs{bad}: {hint}")
    return Loaded(
        rows=_to_rows(tables, owners),
        quarantine=pd.DataFrame(refused, columns=["config_id", "seed", "file", "reason"]),
        origins=pd.DataFrame(made, columns=["config_id", "seed", *origins.KINDS]),
    )


@dataclass(frozen=True)
class _Read:
    """A shard of a run. start: the step from which its attempt went on."""

    attempt: int
    start: int
    metadata: dict[str, str]
    table: pa.Table


def _built_upon(read: Sequence[_Read]) -> Iterator[_Read]:
    """Of each attempt the rows up to the step from which a later one went on. What it did beyond was lost with it."""
    starts = {shard.attempt: shard.start for shard in read}
    for shard in read:
        later = [start for other, start in starts.items() if other > shard.attempt]
        kept = shard.table.filter(pc.less_equal(shard.table["step"], min(later))) if later else shard.table
        yield replace(shard, table=kept)


def _shards_of(run: RunSource, refused: list[tuple[str, int, str, str]]) -> Iterator[tuple[Path, int]]:
    """(path, attempt rank) of a run's shards, earliest first; files with foreign names go to `refused`."""
    folder = run.folder / shardname.FOLDER
    if not folder.is_dir():
        return
    found = []
    for path in sorted(folder.iterdir()):
        named = shardname.parse(path.name)
        if named and path.is_file():
            found.append((named.order, path))
        elif not path.name.endswith(".part"):  # what a killed writer left behind is no fault
            refused.append((run.config_id, run.seed, path.name, "not the name of a metric shard"))
    tags = sorted({tag for (tag, _), _ in found})
    for (tag, _), path in sorted(found):
        yield path, tags.index(tag)


def _conform(table: pa.Table) -> pa.Table:
    """The index columns and the catalogue's metrics, in the catalogue's types. Raises `ValueError`."""
    known = [name for name in table.column_names if name in _INDEX or name in catalogue.METRICS]
    fields = [shards.INDEX_SCHEMA.field(name) if name in _INDEX else _metric_field(name) for name in known]
    table = table.select(known)
    for name in _INDEX:
        if name != "event" and table[name].null_count:
            raise ValueError(f"column {name} has empty cells")
    schema = pa.schema(fields)
    if table.schema.remove_metadata() != schema:
        table = table.replace_schema_metadata(None).cast(schema)  # pa.ArrowInvalid is a ValueError
    return table


def _metric_field(name: str) -> pa.Field:
    return pa.field(name, pa.list_(pa.float64()) if catalogue.METRICS[name].is_list else pa.float64())


def _to_rows(tables: list[pa.Table], owners: list[tuple[str, int, int]]) -> pd.DataFrame:
    table = pa.concat_tables([t.replace_schema_metadata(None) for t in tables], promote_options="default")
    lengths = [t.num_rows for t in tables]
    nonfinite = _first_nonfinite(table)
    rows = table.to_pandas(strings_to_categorical=True, self_destruct=True)
    names = sorted({owner[0] for owner in owners})
    codes = np.repeat([names.index(owner[0]) for owner in owners], lengths)
    rows.insert(0, "config_id", pd.Categorical.from_codes(codes, names))
    rows.insert(1, "seed", np.repeat([owner[1] for owner in owners], lengths))
    rows.insert(2, "attempt", np.repeat([owner[2] for owner in owners], lengths))
    rows["nonfinite"] = nonfinite
    if "eval_is_final" not in rows:
        rows["eval_is_final"] = np.nan
    return _resolve(rows)


def _resolve(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per (run, kind, step), the latest attempt's; cells that attempt spread over several rows are
    put together. Two events, or the ordinary and the final evaluation, may share a step."""
    newest = rows.groupby(_ROW_KEY, observed=True, dropna=False)["attempt"].transform("max")
    rows = rows[rows["attempt"] == newest]
    if rows.duplicated(_ROW_KEY).any():
        columns = rows.columns
        rows = rows.groupby(_ROW_KEY, observed=True, dropna=False).last().reset_index()[columns]
    return rows.sort_values(["config_id", "seed", "kind", "step"], kind="stable", ignore_index=True)


def _first_nonfinite(table: pa.Table) -> pd.Series:
    """Per row, the name of the first metric that is present but NaN or infinite, else None."""
    first = pd.Series([None] * table.num_rows, dtype=object)
    for name in table.column_names:
        if name not in catalogue.METRICS or catalogue.METRICS[name].is_list:
            continue
        bad = pc.fill_null(pc.invert(pc.is_finite(table[name])), False).to_numpy()
        first[bad & first.isna()] = name
    return first
