"""Files of other programs -> curves, one per algorithm, task and seed -> metric shards."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from aggregate.importers.event_files import MARK, scalars
from aggregate.importers.import_options import (
    EVENTS_PATH,
    TABLE_PATH,
    USUAL,
    CurveImportError,
    ImportOptions,
    checked_name,
    parse_number,
    parse_seed,
    parse_step,
)
from aggregate.importers.tables import READERS, InputTable, open_table
from aggregate.inputs.progress import tracked
from sweepwise.core import atomic, shard_name, shards
from sweepwise.core.metrics import Kind

_WRITERS = 16
_NOT_SEARCHED = ".json"  # in folders of runs these files usually hold settings


class CurveKey(NamedTuple):
    """Identifies a curve."""

    algorithm: str
    task: str
    seed: int


@dataclass
class Curve:
    """Metrics of one seed of an algorithm on a task. points: (kind of row, agent step) -> metric -> value, and time."""

    key: CurveKey
    points: dict[tuple[Kind, int], dict[str, float]] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        return max(step for _, step in self.points)


class _Point(NamedTuple):
    """One value of a file. x: step in the file's unit. where: place in the file, for error messages."""

    key: CurveKey
    metric: str
    x: int
    value: float
    time: float | None
    where: str


def collect(paths: Sequence[Path], options: ImportOptions) -> list[Curve]:
    """The curves of files and of the folders below `paths`, sorted by key. Raises `CurveImportError`,
    with file and line, for anything that `options` does not describe; no value is skipped silently."""
    curves: dict[CurveKey, Curve] = {}
    files = list(_files_in(paths))
    for path in tracked(files, len(files), "reading files"):
        points = _of_table(open_table(path), options, curves) if path.is_file() else _of_events(path, options, curves)
        empty = True
        for point in points:
            _add(curves, point, options)
            empty = False
        if empty:
            raise CurveImportError(
                f"{path}: no value of {' or '.join(options.metrics.values())} in it; leave the file out"
            )
    return [curves[key] for key in sorted(curves)]


def write(curves: Sequence[Curve], folder_of: Mapping[CurveKey, Path], options: ImportOptions) -> None:
    """Write every curve as a metric shard below its folder."""
    repeat = options.frames_per_step or 1

    def write_curve(curve: Curve) -> None:
        rows = [
            {"kind": kind, "step": step, "frames": step * repeat, "update": 0, "time": math.nan, **own}
            for (kind, step), own in sorted(curve.points.items())
        ]
        target = folder_of[curve.key] / shard_name.FOLDER
        target.mkdir(parents=True)
        publish = functools.partial(shards.write_table, shards.rows_to_table(rows, {}, options.catalogue))
        atomic.write(target / str(shard_name.ShardName("imported", 0)), publish)

    with ThreadPoolExecutor(_WRITERS) as pool:  # latency of the file system dominates
        list(tracked(pool.map(write_curve, curves), len(curves), "writing curves"))


def _add(curves: dict[CurveKey, Curve], point: _Point, options: ImportOptions) -> None:
    curve = curves.setdefault(point.key, Curve(point.key))
    place = (options.catalogue.metric(point.metric).kind, point.x // (options.frames_per_step or 1))
    own = curve.points.setdefault(place, {})
    if point.metric in own:
        who = f"{point.key.algorithm}, {point.key.task}, seed {point.key.seed}"
        raise CurveImportError(
            f"{point.where}: step {place[1]:,} of {who} stands there twice; tell seeds apart with --map seed=COLUMN or "
            "{seed} in --path"
        )
    own[point.metric] = point.value
    if point.time is not None:
        own["time"] = point.time


def _files_in(paths: Sequence[Path]) -> Iterator[Path]:
    """Table files, then folders with event files, sorted by name."""
    tables: dict[Path, None] = {}
    events: dict[Path, None] = {}
    searched = [suffix for suffix in READERS if suffix != _NOT_SEARCHED]
    for path in paths:
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            tables |= dict.fromkeys(p for p in below if p.suffix.lower() in searched)
            events |= dict.fromkeys(p.parent for p in below if MARK in p.name)
            if not any(p.suffix.lower() in searched or MARK in p.name for p in below):
                raise CurveImportError(f"{path}: holds no file of curves; {_kinds(searched)} are searched for")
        elif not path.is_file():
            raise CurveImportError(f"{path}: there is no such file")
        elif MARK in path.name:
            events[path.parent] = None
        elif path.suffix.lower() in READERS:
            tables[path] = None
        else:
            raise CurveImportError(f"{path}: a file of a kind that is not read; {_kinds(READERS)} are")
    yield from tables
    yield from events


def _kinds(suffixes: Iterable[str]) -> str:
    return f"{', '.join(suffixes)} and event files of TensorBoard"


# --- tables ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """A column with values. seed: the number that the * of its pattern matched, None without *."""

    metric: str
    name: str
    seed: int | None


def _of_table(table: InputTable, options: ImportOptions, curves: Mapping[CurveKey, Curve]) -> Iterator[_Point]:
    index = {key: name for key, name in USUAL.items() if name in table.columns} | dict(options.index)
    if "step" not in index:
        raise CurveImportError(f"{table.path}: which column is the step? --map step=COLUMN; {_has(table)}")
    for name in index.values():
        if name not in table.columns:
            raise CurveImportError(f"{table.path}: there is no column {name!r}; {_has(table)}")
    values = [column for pair in options.metrics.items() for column in _columns(table, *pair)]
    named = options.named(table.path, TABLE_PATH)
    numbered: dict[tuple[str, str], int] = {}  # seeds given to tables that name none
    keys = list(index)
    for line, cells in table.rows([*index.values(), *(column.name for column in values)]):
        where = f"{table.path}, {table.unit} {line}"
        fields = dict(zip(keys, cells, strict=False))
        there = [(column, value) for column, cell in zip(values, cells[len(keys) :], strict=True)
                 if (value := parse_number(cell, f"{where}, column {column.name!r}")) is not None]  # fmt: skip
        if not there:
            continue
        x = parse_step(fields["step"], f"{where}, column {index['step']!r}")
        time = parse_number(fields.get("time"), f"{where}, column {index.get('time')!r}")
        who = (_name("algorithm", fields, named, where), _name("task", fields, named, where))
        seed = fields.get("seed", named.get("seed"))
        for column, value in there:
            if column.seed is not None:
                own = column.seed
            elif seed is not None:
                own = parse_seed(seed, where)
            else:
                own = numbered.setdefault(who, _next_seed(curves, who))
            yield _Point(CurveKey(*who, own), column.metric, x, value, time, where)


def _columns(table: InputTable, metric: str, pattern: str) -> Iterator[_Column]:
    head, star, tail = pattern.partition("*")
    if not star or pattern in table.columns:
        if pattern not in table.columns:
            raise CurveImportError(f"{table.path}: there is no column {pattern!r}; {_has(table)}")
        yield _Column(metric, pattern, None)
        return
    matching = [name for name in table.columns if len(name) > len(head + tail)
                and name.startswith(head) and name.endswith(tail)]  # fmt: skip
    if not matching:
        raise CurveImportError(f"{table.path}: no column is like {pattern!r}; {_has(table)}")
    for name in matching:
        middle = name[len(head) : len(name) - len(tail)]
        yield _Column(metric, name, parse_seed(middle, f"{table.path}, column {name!r}, the * of {pattern!r}"))


def _has(table: InputTable) -> str:
    shown = ", ".join(name[:40] for name in table.columns[:12])
    return f"it has {shown}{' ...' if len(table.columns) > 12 else ''}"


def _name(key: str, fields: Mapping[str, object], named: Mapping[str, str], where: str) -> str:
    if key in fields:
        return checked_name(str(fields[key]).strip(), f"{where}, column of the {key}")
    if key not in named:
        raise CurveImportError(f"{where}: whose {key}? --{key} NAME says it, or {{{key}}} in --path")
    return checked_name(named[key], f"{where}, the {key} by its path; --{key} NAME gives one")


# --- TensorBoard ----------------------------------------------------------------------------------------


def _of_events(folder: Path, options: ImportOptions, curves: Mapping[CurveKey, Curve]) -> Iterator[_Point]:
    """One run: the event files of a folder. Where steps go back, earlier values from that step on are dropped, as
    TensorBoard does: the process that wrote them was lost and resumed."""
    if options.index:
        raise CurveImportError(f"{folder}: event files have no columns; leave {', '.join(options.index)} out of --map")
    metric_of = {tag: metric for metric, tag in options.metrics.items()}
    kept: dict[str, list[_Point]] = {metric: [] for metric in options.metrics}
    tags: dict[str, None] = {}
    key: CurveKey | None = None
    for path in sorted(p for p in folder.iterdir() if MARK in p.name and p.is_file()):
        for scalar in scalars(path):
            tags[scalar.tag] = None
            metric = metric_of.get(scalar.tag)
            value = parse_number(scalar.value, str(path))
            if metric is None or value is None:
                continue
            key = key or _key_of(folder, options, curves)
            own = kept[metric]
            while own and own[-1].x >= scalar.step:
                own.pop()
            x = parse_step(scalar.step, f"{path}, tag {scalar.tag!r}")
            own.append(_Point(key, metric, x, value, scalar.time, f"{path}, tag {scalar.tag!r}"))
    missing = [tag for tag in metric_of if tag not in tags]
    if missing:
        there = ", ".join(list(tags)[:12]) or "none"
        raise CurveImportError(f"{folder}: no scalar is called {missing[0]!r}; it has {there}")
    for own in kept.values():
        yield from own


def _key_of(folder: Path, options: ImportOptions, curves: Mapping[CurveKey, Curve]) -> CurveKey:
    named = options.named(folder, EVENTS_PATH)
    who = (_name("algorithm", {}, named, str(folder)), _name("task", {}, named, str(folder)))
    return CurveKey(*who, parse_seed(named["seed"], str(folder)) if "seed" in named else _next_seed(curves, who))


def _next_seed(curves: Mapping[CurveKey, Curve], who: tuple[str, str]) -> int:
    """The seed of a file that names none: files of one algorithm and task are numbered."""
    return 1 + sum(key[:2] == who for key in curves)
