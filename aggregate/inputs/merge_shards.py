"""Shards of one run -> its rows by kind, without duplicates. Tables in, tables out.

The table of a kind has `attempt` (rank within the run, int32), the index columns of `sweepwise.core.shards` except
`kind`, the metrics that rows of that kind have, and `nonfinite`: the first metric of the row that was NaN or infinite,
else null (an absent metric is neither). `event`, `nonfinite` and metrics are columns only where some row has a value.
Rows are sorted by step. An absent number is NaN.

A shard describes itself: which metrics there are, and whether they are numbers or lists, is read from its columns.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sweepwise.core import shards
from sweepwise.core.metrics import IS_FINAL

Kinds = dict[str, pa.Table]

_INDEX = tuple(shards.INDEX_SCHEMA.names)
_NEVER_EMPTY = tuple(name for name in _INDEX if name != "event")
_OWN = ("attempt", "nonfinite", "config_id", "seed")  # columns that are added; a metric cannot have these names
_ROW_KEY = ("step", "event", IS_FINAL)  # two events, or the ordinary and the final evaluation, share a step


class Shapes(NamedTuple):
    """Names of the metrics that are numbers, and of those that are lists of numbers."""

    numbers: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()

    def united(self, other: Shapes) -> Shapes:
        """Raises `ValueError` where a metric is a number in one and a list in the other."""
        if other.numbers <= self.numbers and other.lists <= self.lists:
            return self
        for name in sorted((self.numbers & other.lists) | (self.lists & other.numbers)):
            was, now = ("a list", "a number") if name in self.lists else ("a number", "a list")
            raise ValueError(f"column {name} is {now}, {was} in earlier shards of the run")
        return Shapes(self.numbers | other.numbers, self.lists | other.lists)


NO_SHAPES = Shapes()


class Shard(NamedTuple):
    """A shard's rows and its metrics, both as `conform` returns them, and the rank of the attempt that wrote it."""

    attempt: int
    table: pa.Table
    shapes: Shapes


def conform(table: pa.Table) -> tuple[pa.Table, Shapes]:
    """The index columns, and the metrics as numbers or lists of numbers; other columns are left out. Raises
    `ValueError`."""
    described = table.schema.to_string(show_field_metadata=False, show_schema_metadata=False)
    schema, shapes = _layout(_Described(described, table.schema))
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
    return table.replace_schema_metadata(None), shapes


@dataclass(frozen=True)
class _Described:
    """A schema that is compared by its text, as its own hash takes ten times as long."""

    text: str
    schema: pa.Schema = field(compare=False)


@functools.lru_cache
def _layout(described: _Described) -> tuple[pa.Schema, Shapes]:
    """(schema of such a shard once it is conformed, its `Shapes`)."""
    fields, numbers, lists = [], [], []
    for name, given in zip(described.schema.names, described.schema.types, strict=True):
        if name in _INDEX:
            fields.append(shards.INDEX_SCHEMA.field(name))
        elif name not in _OWN and _is_number(given):
            fields.append(pa.field(name, pa.float64()))
            numbers.append(name)
        elif name not in _OWN and _is_list(given):
            fields.append(pa.field(name, pa.list_(pa.float64())))
            lists.append(name)
    return pa.schema(fields), Shapes(frozenset(numbers), frozenset(lists))


def _is_number(given: pa.DataType) -> bool:
    return bool(pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_boolean(given))


def _is_list(given: pa.DataType) -> bool:
    """Whether it is a list of numbers, or of nothing at all."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(of(given) for of in lists) and (_is_number(given.value_type) or pa.types.is_null(given.value_type))


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
        kept = _deduplicated(table, starts)
        if kept.num_rows < table.num_rows or "nonfinite" in kept.column_names:  # else no column has lost its values
            kept = _without_empty(kept)
        merged[kind] = kept if kept is parts[0] else _dense(kept)
    return {kind: table for kind, table in merged.items() if table.num_rows}


def _by_kind(new: Sequence[Shard]) -> Kinds:
    """The rows of each kind in the order given, each column in one chunk; absent numbers are NaN.

    Numbers are moved as one matrix, because Arrow takes ten times as long for 50 columns one by one.
    """
    new = [shard for shard in new if shard.table.num_rows]
    if not new:
        return {}
    metrics = list(dict.fromkeys(name for shard in new for name in shard.table.column_names if name not in _INDEX))
    is_number = frozenset().union(*(shard.shapes.numbers for shard in new))
    numbers = [name for name in metrics if name in is_number]
    rest = _rest(new)
    kinds = rest["kind"].combine_chunks().dictionary_encode()
    codes, names = kinds.indices.to_numpy(), kinds.dictionary.to_pylist()
    order, ends = np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes)).tolist()
    rest = rest.drop_columns(["kind"]).take(pa.array(order))
    values, present = (np.take(of, order, axis=1) for of in _numbers(new, numbers))
    return {
        kind: _of_kind(rest.slice(start, end - start), values[:, start:end], present[:, start:end], numbers, metrics)
        for kind, start, end in zip(names, (0, *ends), ends, strict=False)
    }


def _of_kind(
    rest: pa.Table, values: np.ndarray, present: np.ndarray, numbers: Sequence[str], metrics: Sequence[str]
) -> pa.Table:
    """The columns that have a value. rest: those that are no numbers. values, there: of `numbers`, see `_numbers`.
    metrics: all of them in order."""
    columns = {name: column for name, column in zip(rest.column_names, rest.columns, strict=True)
               if column.null_count < rest.num_rows}  # fmt: skip
    has_value = np.any(present, axis=1)
    own, own_values = list(itertools.compress(numbers, has_value)), values[has_value]
    in_one = pa.array(own_values.ravel())
    columns |= {name: in_one.slice(place * rest.num_rows, rest.num_rows) for place, name in enumerate(own)}
    bad = present & ~np.isfinite(values)
    if bad.any():
        columns["nonfinite"] = _first_names(bad, numbers)
    fields = dict(zip(rest.schema.names, rest.schema, strict=True))
    names = [name for name in ("attempt", *_INDEX, *metrics, "nonfinite") if name in columns]
    schema = pa.schema([fields.get(name) or pa.field(name, columns[name].type) for name in names])
    return pa.table([columns[name] for name in names], schema=schema)


def _rest(new: Sequence[Shard]) -> pa.Table:
    """The columns that are no metric with numbers, and the attempt of each row."""
    tables = [shard.table.select([name for name in shard.table.column_names if name not in shard.shapes.numbers])
              for shard in new]  # fmt: skip
    attempts = np.repeat(np.array([shard.attempt for shard in new], np.int32), [table.num_rows for table in tables])
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    return table.append_column("attempt", pa.array(attempts))


def _numbers(new: Sequence[Shard], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(values, where there are any), both (names, rows of all shards); an absent value is NaN."""
    blocks = []
    for shard in new:
        own = [place for place, name in enumerate(names) if name in shard.shapes.numbers]
        block = _matrix(shard.table.select([names[place] for place in own]))
        if len(own) < len(names):
            shape = (len(names), shard.table.num_rows)
            wider = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
            for whole, part in zip(wider, block, strict=True):
                whole[own] = part
            block = wider
        blocks.append(block)
    values, present = zip(*blocks, strict=True)
    return np.concatenate(values, axis=1), np.concatenate(present, axis=1)


def _matrix(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """As `_numbers`, of one table."""
    if not table.num_columns:
        return np.empty((0, table.num_rows)), np.empty((0, table.num_rows), dtype=bool)
    (batch,) = table.combine_chunks().to_batches()
    values = batch.to_tensor(null_to_nan=True, row_major=False).to_numpy().T
    present = ~np.isnan(values)
    if sum(column.null_count for column in batch.columns) < present.size - np.count_nonzero(present):  # some are NaN
        present = np.stack([column.is_valid().to_numpy(zero_copy_only=False) for column in batch.columns])
    return values, present


def _first_names(raised: np.ndarray, names: Sequence[str]) -> pa.Array:
    """Per row, the first of the names that is raised, else null. raised: (names, rows)."""
    first = np.array(names, dtype=object)[raised.argmax(axis=0)]
    return pa.array(np.where(raised.any(axis=0), first, None), pa.string())


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


def _without_empty(table: pa.Table) -> pa.Table:
    """Without columns that have no value in the rows that are left; a metric that was never finite has one only where
    `nonfinite` names it, as NaN stands for absent numbers in rows that were merged before."""
    named = set(table["nonfinite"].to_pylist()) if "nonfinite" in table.column_names else set()
    always = {*_NEVER_EMPTY, "attempt", *named}
    empty = [name for name in table.column_names if name not in always and _is_empty(table[name])]
    return table.drop_columns(empty) if empty else table


def _is_empty(column: pa.ChunkedArray) -> bool:
    if column.type == pa.float64():
        values = column.to_numpy()
        return bool(np.isnan(values[:1]).all() and np.isnan(values).all())
    return bool(column.null_count == len(column))


def _dense(table: pa.Table) -> pa.Table:
    """With NaN for absent numbers, each column in one chunk."""
    for index, column in enumerate(table.schema):
        if column.type == pa.float64() and table[index].null_count:
            table = table.set_column(index, column, pc.fill_null(table[index], math.nan))
    return table.combine_chunks()


def frame(table: pa.Table) -> pd.DataFrame:
    """A merged table as a data frame, always with `IS_FINAL`."""
    rows: pd.DataFrame = table.to_pandas()
    return rows if IS_FINAL in rows else rows.assign(**{IS_FINAL: np.nan})


class Columns(Mapping[str, np.ndarray]):
    """A merged table as arrays, always with `IS_FINAL`: column -> (n,), lists as objects. Each is made when it is first
    asked for; detectors that compare runs look at few."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._names = dict.fromkeys((IS_FINAL, *table.column_names))
        self._made = {} if IS_FINAL in table.column_names else {IS_FINAL: np.full(table.num_rows, np.nan)}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._table[name].to_numpy()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
