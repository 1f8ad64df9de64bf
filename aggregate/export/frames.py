"""The summary as data frames, one per level, for notebooks and other programs."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from aggregate.analysis import question_contrasts
from aggregate.analysis.factor_effects import PRIMARY
from aggregate.analysis.run_scores import EVALUATION
from aggregate.analysis.summary import Summary, SweepSummary
from aggregate.inputs.runs import ConfigSource, Loaded, SweepSource
from sweepwise.core import atomic
from sweepwise.core.errors import AggregateError
from sweepwise.core.value_format import cell

FORMATS = ("csv", "parquet", "json")
_CONFIG = ["sweep", "config_id", "label", "imported", "is_baseline"]
_BLOCK = 10_000  # rows converted to Python values at a time


@dataclass(frozen=True)
class Frames:
    """All sweeps, concatenated; column `sweep` names them, `config_id` and `seed` connect the levels.

    rows: logged metrics (`runs.Loaded.rows`), read on first access. runs: one line per sweep and run with its state and
    scores. configurations: one line per sweep and configuration with mean, sd, low, high and n of every score.
    contrasts: `config_id` minus `against`, the best configuration or the baseline, on an `outcome`. effects: what
    factors do (`factor_effects.Effects`). odds: of flags. answers: to the plan's questions (`asked`). flags: what every
    detector says of every run, and its configuration's vote. curves: mean over seeds at every step. excluded: the runs
    that a user left out with the reason, which are in no other frame. Runs and
    configurations have a column per factor, empty where a sweep does not vary it. docs/notebooks.md has the columns.
    """

    loaded: Loaded
    runs: pd.DataFrame
    configurations: pd.DataFrame
    contrasts: pd.DataFrame
    effects: pd.DataFrame
    odds: pd.DataFrame
    answers: pd.DataFrame
    flags: pd.DataFrame
    curves: pd.DataFrame
    excluded: pd.DataFrame

    @functools.cached_property
    def rows(self) -> pd.DataFrame:
        return self.loaded.rows


LEVELS = ("rows", *(field.name for field in dataclasses.fields(Frames) if field.name != "loaded"))


def frames(summary: Summary) -> Frames:
    """The summary's frames by level."""
    by_level = {name: _stacked([make(sweep) for sweep in summary.sweeps]) for name, make in _MAKERS.items()}
    return Frames(summary.loaded, **by_level)


def _runs(sweep: SweepSummary) -> pd.DataFrame:
    runs, scores = sweep.runs, sweep.scores
    if scores[EVALUATION].isna().all():  # most sweeps are not evaluated after training
        scores = scores.drop(columns=EVALUATION)
    if sweep.imported is not None:
        runs = pd.concat([runs, sweep.imported.runs], ignore_index=True)
        scores = pd.concat([scores, sweep.imported.scores], ignore_index=True)
    return _configs(sweep.source).merge(runs, on="config_id").merge(scores, on=["config_id", "seed"])


def _configurations(sweep: SweepSummary) -> pd.DataFrame:
    ranking = sweep.ranking
    if sweep.imported is not None:
        ranking = pd.concat([ranking, sweep.imported.ranking], ignore_index=True)
    places = sweep.contrasts[["config_id", "first", "last"]]
    known = _configs(sweep.source)
    return known.merge(ranking.drop(columns=["label", "is_baseline"]), on="config_id").merge(
        places, on="config_id", how="left"
    )


def _contrasts(sweep: SweepSummary) -> pd.DataFrame:
    leader = sweep.contrasts.iloc[1:]
    turned = leader.assign(difference=-leader["difference"], low=-leader["high"], high=-leader["low"])
    first = next(iter(sweep.contrasts["config_id"]), "")
    baseline = sweep.source.baseline
    parts = [
        turned.drop(columns=["mean", "first", "last"]).assign(family="best", against=first, outcome=PRIMARY),
        sweep.baseline.assign(family="baseline", against=baseline, outcome=PRIMARY),
        sweep.secondary.assign(family="secondary", against=baseline),
        sweep.diagnostics.assign(family="diagnostic", against=baseline),
    ]
    if sweep.imported is not None:
        parts.append(sweep.imported.baseline.assign(family="imported", against=baseline, outcome=PRIMARY))
    return _named(sweep, _stacked(parts))


def _effects(sweep: SweepSummary) -> pd.DataFrame:
    effects = sweep.effects
    parts = {"main": effects.returns, "interaction": effects.interactions, "diagnostic": effects.diagnostics,
             "diagnostic interaction": effects.diagnostic_pairs}  # fmt: skip
    return _named(sweep, _stacked([part.assign(family=family) for family, part in parts.items()]))


def _odds(sweep: SweepSummary) -> pd.DataFrame:
    parts = {"main": sweep.effects.odds, "interaction": sweep.effects.odds_pairs}
    return _named(sweep, _stacked([part.assign(family=family) for family, part in parts.items()]))


def _answers(sweep: SweepSummary) -> pd.DataFrame:
    texts = [question.text for question in question_contrasts.all_questions(sweep.source)]
    return _named(
        sweep, sweep.question_contrasts.assign(asked=[texts[place] for place in sweep.question_contrasts["question"]])
    )


def _flags(sweep: SweepSummary) -> pd.DataFrame:
    votes = sweep.votes[["config_id", "flag", "raised", "assessable", "state"]].rename(columns={"state": "vote"})
    return _named(sweep, sweep.findings.merge(votes, on=["config_id", "flag"]))


def _curves(sweep: SweepSummary) -> pd.DataFrame:
    imported = [sweep.imported.curves] if sweep.imported is not None else []
    return _named(sweep, pd.concat([sweep.curves, *imported], ignore_index=True))


def _excluded(sweep: SweepSummary) -> pd.DataFrame:
    return _named(sweep, sweep.excluded.runs)


_MAKERS: Mapping[str, Callable[[SweepSummary], pd.DataFrame]] = {
    "runs": _runs, "configurations": _configurations, "contrasts": _contrasts, "effects": _effects, "odds": _odds,
    "answers": _answers, "flags": _flags, "curves": _curves, "excluded": _excluded,
}  # fmt: skip


def _stacked(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenated, without empty parts, whose types would change those of the columns."""
    filled = [part for part in parts if len(part)] or list(parts[:1])
    return pd.concat(filled, ignore_index=True)


def _named(sweep: SweepSummary, frame: pd.DataFrame) -> pd.DataFrame:
    first = {"sweep": sweep.source.name}
    if "config_id" in frame:
        labels = {config.config_id: config.label for config in _all_configs(sweep.source)}
        first["label"] = frame["config_id"].astype(str).map(labels)
    columns = [*first, *(name for name in frame if name not in first)]
    return frame.assign(**first)[columns]


def _configs(source: SweepSource) -> pd.DataFrame:
    return with_factors([(source.name, config) for config in _all_configs(source)])


def with_factors(configs: Sequence[tuple[str, ConfigSource]]) -> pd.DataFrame:
    """One row per (sweep, configuration), with a column per factor. Integers stay integers where some configurations
    have none."""
    lines = [(sweep, c.config_id, c.label, c.imported, c.is_baseline) for sweep, c in configs]
    frame = pd.DataFrame(lines, columns=_CONFIG)
    for name in dict.fromkeys(name for _, config in configs for name in config.factors):
        values = pd.Series([config.factors.get(name) for _, config in configs], dtype=object)
        whole = all(type(value) is int for value in values.dropna())
        frame[name] = values.astype("Int64") if whole else values.infer_objects()
    return frame


def _all_configs(source: SweepSource) -> tuple[ConfigSource, ...]:
    return (*source.configs, *source.imported)


# --- files ----------------------------------------------------------------------------------------------


def write(levels: Frames, out: Path, formats: Sequence[str]) -> Iterator[Path]:
    """Write every level in every format next to `out`, named after it; yields the path of each complete file.

    The same frames give the same bytes. Raises `AggregateError` where a file cannot be written.
    """
    for level in LEVELS:
        table = as_table(getattr(levels, level))
        for suffix in dict.fromkeys(formats):
            path = out.with_name(f"{out.stem}-{level}.{suffix}")
            target = atomic.output(path, atomic.begins_with(*_BEGINNINGS[suffix]))
            try:
                atomic.write(target, functools.partial(_WRITERS[suffix], table))
            except OSError as error:
                raise AggregateError(f"{path}: {error.strerror or error}; choose a place you may write to") from error
            yield path


def as_table(frame: pd.DataFrame) -> pa.Table:
    return pa.table({name: _column(values) for name, values in frame.items()})


def _column(values: pd.Series) -> pa.Array | pa.ChunkedArray:
    """A column in Arrow, with null for NaN of pandas; factors of mixed types as JSON text."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    try:
        return pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        missing = [value is None or value is pd.NA or value != value for value in values]
        return pa.array([None if gone else json.dumps(value) for value, gone in zip(values, missing, strict=True)])


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def write_csv(table: pa.Table, path: Path) -> None:
    """Lists as JSON text; no text that a spreadsheet takes for a formula (`value_format.cell`)."""
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [None if value is None else json.dumps(value) for value in table.column(index).to_pylist()]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
        elif not _is_plain(field.type):
            safe = [None if value is None else cell(str(value)) for value in table.column(index).to_pylist()]
            table = table.set_column(index, field.name, pa.array(safe, pa.string()))
    pyarrow.csv.write_csv(table.rename_columns(list(map(cell, table.column_names))), path)


def _is_plain(kind: pa.DataType) -> bool:
    """Numbers, truth values and times, which are no text."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_null(kind))


def _write_json(table: pa.Table, path: Path) -> None:
    """An array of objects, one per line; null for NaN and infinity, which JSON lacks."""
    lists = []
    for index, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(index)
            table = table.set_column(index, field.name, pc.if_else(pc.is_finite(column), column, None))
        elif pa.types.is_list(field.type):
            lists.append(field.name)
    with path.open("w", encoding="utf-8") as file:
        before = "[\n"
        for batch in table.to_batches(max_chunksize=_BLOCK):
            for record in batch.to_pylist():
                finite = {name: _finite(record[name]) for name in lists}
                file.write(before + json.dumps(record | finite, allow_nan=False))
                before = ",\n"
        file.write("\n]\n" if table.num_rows else "[]\n")


def _finite(values: list[Any] | None) -> list[Any] | None:
    if values is None:
        return None
    return [value if not isinstance(value, float) or math.isfinite(value) else None for value in values]


# Of files that `write` made.
_BEGINNINGS: Mapping[str, tuple[bytes, ...]] = {
    "csv": (b'"sweep",', b'"config_id",'), "parquet": (b"PAR1",),
    "json": (b'[\n{"sweep"', b'[\n{"config_id"', b"[]"),
}  # fmt: skip
_WRITERS: Mapping[str, Callable[[pa.Table, Path], None]] = {
    "csv": write_csv, "parquet": _write_parquet, "json": _write_json,
}  # fmt: skip
