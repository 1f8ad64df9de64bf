"""Shards of one run -> its rows by kind, without duplicates. Tables in, tables out.

The table of a kind has `attempt` (rank within the run, int32), the index columns of `sweepwise.core.shards` except
`kind`, the metrics of that kind, and `nonfinite`: the first metric of the row that was NaN or infinite, else null
(an absent metric is neither). `event`, `nonfinite` and metrics are columns only where some row has a value. Rows are
sorted by step. An absent number is NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sweepwise.core import shards
from tdmpc.metrics import METRICS

Kinds = dict[str, pa.Table]

_INDEX = tuple(shards.INDEX_SCHEMA.names)
_NEVER_EMPTY = tuple(name for name in _INDEX if name != "event")
_ROW_KEY = ("step", "event", "eval_is_final")  # two events, or the ordinary and the final evaluation, share a step


class Shard(NamedTuple):
    """A shard's rows, conformed, and the rank of the attempt that wrote it."""

    attempt: int
    table: pa.Table


def conform(table: pa.Table) -> pa.Table:
    """The index columns and the catalogue's metrics, in the catalogue's types. Raises `ValueError`."""
    schema = _schema(tuple(table.column_names))
    if len(schema) < table.num_columns:
        table = table.select(schema.names)
    for name in _NEVER_EMPTY:
        if table[name].null_count:
            raise ValueError(f"column {name} has empty cells")
    if not table.schema.equals(schema):
        try:
            table = table.cast(schema)
        except pa.ArrowException as error:  # some are no ValueError
            raise ValueError(str(error)) from error
    if table.num_rows and (first := table["step"].to_numpy().min()) < 0:
        raise ValueError(f"step {first} is negative")
    return table.replace_schema_metadata(None)


@functools.lru_cache
def _schema(names: tuple[str, ...]) -> pa.Schema:
    """The schema of a shard with columns `names`, without those that neither index nor catalogue has."""
    fields = [shards.INDEX_SCHEMA.field(name) if name in _INDEX else _metric_field(name)
              for name in names if name in _INDEX or name in METRICS]  # fmt: skip
    return pa.schema(fields)


def _metric_field(name: str) -> pa.Field:
    return pa.field(name, pa.list_(pa.float64()) if METRICS[name].is_list else pa.float64())


def merge(before: Kinds, new: Sequence[Shard], starts: Mapping[int, int]) -> Kinds:
    """Append `new` shards, in order and later than all shards merged `before`.

    starts: by attempt, the step from which it resumed. Rows of earlier attempts beyond that step are dropped; of rows
    that two attempts logged, those of the later one are kept.
    """
    split = _by_kind(new)
    merged = {}
    for kind in sorted({*before, *split}):
        parts = [kinds[kind] for kinds in (before, split) if kind in kinds]
        table = pa.concat_tables(parts, promote_options="default") if len(parts) > 1 else parts[0]
        merged[kind] = _dense(_deduplicated(table, starts))
    return {kind: table for kind, table in merged.items() if table.num_rows}


def _by_kind(new: Sequence[Shard]) -> Kinds:
    if not new:
        return {}
    table = pa.concat_tables([shard.table for shard in new], promote_options="default").combine_chunks()
    attempts = np.repeat(np.array([shard.attempt for shard in new], np.int32), [shard.table.num_rows for shard in new])
    table = table.append_column("attempt", pa.array(attempts))
    kinds = table["kind"].combine_chunks().dictionary_encode()
    codes = kinds.indices.to_numpy()
    by_kind = {}
    for code, kind in enumerate(kinds.dictionary.to_pylist()):
        own = [name for name in table.column_names if name in METRICS and METRICS[name].kind == kind]
        part = table.select(["attempt", *_INDEX[1:], *own]).take(pa.array(np.flatnonzero(codes == code)))
        part = part.append_column("nonfinite", _first_nonfinite(part))
        empty = [name for name in part.column_names if part[name].null_count == part.num_rows]
        by_kind[kind] = part.drop_columns(empty)
    return by_kind


def _first_nonfinite(table: pa.Table) -> pa.Array:
    """Per row, the name of the first metric that is present but NaN or infinite, else null."""
    first = np.full(table.num_rows, None, object)
    for name in table.column_names:
        if name not in METRICS or METRICS[name].is_list:
            continue
        values = table[name].to_numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(values.sum()):  # nearly always so; an absent value is NaN here
                continue
        bad = ~np.isfinite(values) & table[name].is_valid().to_numpy()
        first[bad & (first == None)] = name  # noqa: E711
    return pa.array(first, pa.string())


def _deduplicated(table: pa.Table, starts: Mapping[int, int]) -> pa.Table:
    """Without dropped rows and duplicates, sorted by step."""
    attempts = table["attempt"].to_numpy()
    limits = np.array([min((start for later, start in starts.items() if later > attempt), default=math.inf)
                       for attempt in range(1 + max(starts, default=0))])  # fmt: skip
    kept = table["step"].to_numpy() <= limits[attempts]
    if not kept.all():
        table = table.filter(pa.array(kept))
    steps = table["step"].to_numpy()
    if (np.diff(steps) < 0).any():
        table = table.take(pa.array(np.argsort(steps, kind="stable")))
    return _latest_rows(table) if _has_duplicates(table) else table


def _has_duplicates(table: pa.Table) -> bool:
    steps = table["step"].to_numpy()
    shared = np.flatnonzero(np.isin(steps, steps[1:][np.diff(steps) == 0]))
    if not shared.size:
        return False
    keys = table.select([name for name in _ROW_KEY if name in table.column_names]).take(pa.array(shared)).to_pylist()
    # as text: NaN, which stands for an absent number, is not equal to itself
    return len({str(list(key.values())).replace("nan", "None") for key in keys}) < len(keys)


def _latest_rows(table: pa.Table) -> pa.Table:
    """One row per (step, event, which evaluation), of the latest attempt; cells that it spread over several rows are
    merged."""
    rows = table.to_pandas()
    key = [name for name in _ROW_KEY if name in rows]
    newest = rows.groupby(key, dropna=False)["attempt"].transform("max")
    rows = rows[rows["attempt"] == newest].groupby(key, dropna=False, sort=False).last().reset_index()
    rows = rows[table.column_names].sort_values("step", kind="stable")
    return pa.Table.from_pandas(rows, schema=table.schema, preserve_index=False)


def _dense(table: pa.Table) -> pa.Table:
    """With NaN for absent numbers, each column in one chunk."""
    for index, field in enumerate(table.schema):
        if field.type == pa.float64() and table[index].null_count:
            table = table.set_column(index, field, pc.fill_null(table[index], math.nan))
    return table.combine_chunks()


def frame(table: pa.Table) -> pd.DataFrame:
    """A merged table as a data frame, always with `eval_is_final`."""
    rows: pd.DataFrame = table.to_pandas()
    return rows if "eval_is_final" in rows else rows.assign(eval_is_final=np.nan)


def columns(table: pa.Table) -> dict[str, np.ndarray]:
    """The same as arrays, many times faster: column -> (n,), lists as objects."""
    arrays = {name: table[name].to_numpy() for name in table.column_names}
    return {"eval_is_final": np.full(table.num_rows, np.nan), **arrays}
