"""Files of other programs -> curves, one per algorithm, task and seed -> metric shards."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from aggregate.importers.event_files import MARK
from aggregate.importers.faults import CurveImportError
from aggregate.importers.import_options import ImportOptions
from aggregate.importers.layouts import PREFERRED, SEARCHED, is_monitor, plain_name
from aggregate.importers.read_runs import RunFile, event_file, metric_columns, rows_of, table_file
from aggregate.importers.repeated_steps import CurveKey, CurveRow, split_runs
from aggregate.importers.tables import COMPRESSED, READERS, kind_of
from aggregate.inputs.progress import tracked
from sweepwise.core import atomic, shard_name, shards
from sweepwise.core.metrics import Kind

_WRITERS = 16
_NOT_SEARCHED = ".json"  # in folders of runs these files usually hold settings


@dataclass
class Curve:
    """Metrics of one seed of an algorithm on a task. points: (kind of row, agent step) -> metric -> value, and time."""

    key: CurveKey
    points: dict[tuple[Kind, int], dict[str, float]] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        return max(step for _, step in self.points)


@dataclass(frozen=True)
class Collected:
    """curves: sorted by key. files: how each was read. notes: on files that were left out and faults that were
    accepted. references: task -> results that count as 0 and 1, where a layout declares them. refusals: of files, where
    the others were read all the same."""

    curves: list[Curve]
    files: list[RunFile]
    notes: list[str]
    references: dict[str, tuple[float, float]]
    refusals: list[str]


def collect(paths: Sequence[Path], options: ImportOptions, collect_errors: bool = False) -> Collected:
    """The curves of files and of the folders below `paths`. Raises `CurveImportError`, with file and line, for anything
    that `options` and the known layouts do not describe; no value is skipped silently. collect_errors: read what can be
    read, and return the errors as `refusals`."""
    options = replace(options, folders=tuple(path if path.is_dir() else path.parent for path in paths))
    curves: dict[CurveKey, Curve] = {}
    further: list[Curve] = []  # runs beside the first under a seed
    read: list[RunFile] = []
    refusals: list[str] = []
    groups, notes = _groups(paths)
    for group in tracked(groups, len(groups), "reading files"):
        try:
            read.append(table_file(group, options) if group[0].is_file() else event_file(group[0], options))
            _add_file(read[-1], options, curves, further)
        except CurveImportError as error:
            if not collect_errors:
                raise
            refusals.append(str(error))
    notes += options.faults.notes + _number(curves, further)
    every = [curves[key] for key in sorted(curves)]
    return Collected(every, read, notes, {} if refusals else _references(read), refusals)


def _add_file(file: RunFile, options: ImportOptions, curves: dict[CurveKey, Curve], further: list[Curve]) -> None:
    empty = True
    for rows in _rows_by_key(rows_of(file, options, curves)):
        empty = False
        first, *others = split_runs(rows, options.faults, file.runs_follow)
        _add(curves.setdefault(first[0].key, Curve(first[0].key)), first, options)
        for run in others:
            further.append(Curve(run[0].key))
            _add(further[-1], run, options)
    if empty:
        columns = " or ".join(metric_columns(file))
        raise CurveImportError(f"{file.path}: no value of {columns} in it; leave the file out")


def _rows_by_key(rows: Iterator[CurveRow]) -> Iterable[list[CurveRow]]:
    by_key: dict[CurveKey, list[CurveRow]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    return by_key.values()


def _add(curve: Curve, rows: Sequence[CurveRow], options: ImportOptions) -> None:
    for row in rows:
        for metric, value in row.values.items():
            own = curve.points.setdefault((options.catalogue.metric(metric).kind, row.step), {})
            if metric in own:
                raise CurveImportError(
                    f"{row.where}: step {row.step:,} of {row.key} occurs twice, in several files; tell seeds "
                    "apart with --map seed=COLUMN or {seed} in --path"
                )
            own[metric] = value
            if row.time is not None:
                own["time"] = row.time


def _number(curves: dict[CurveKey, Curve], further: Sequence[Curve]) -> list[str]:
    """Add the further runs under seeds that are not taken; a note for each."""
    notes = []
    for curve in further:
        algorithm, task, seed = curve.key
        free = 1 + max(key.seed for key in curves if key[:2] == (algorithm, task))
        curves[CurveKey(algorithm, task, free)] = Curve(CurveKey(algorithm, task, free), curve.points)
        notes.append(f"{algorithm}, {task}: another run of seed {seed} is seed {free}")
    return notes


def _references(read: Sequence[RunFile]) -> dict[str, tuple[float, float]]:
    """Raises `CurveImportError` where the results of a task are measured differently."""
    columns: dict[str, tuple[str, Path]] = {}
    references: dict[str, tuple[float, float]] = {}
    for file in read:
        if file.layout is None or not file.layout.references:
            continue
        (column,) = metric_columns(file)[:1]
        for task in {key.task for key in file.keys}:
            other, path = columns.setdefault(task, (column, file.path))
            if other != column:
                raise CurveImportError(
                    f"{file.path}: {column} of {task}, and {other} in {path}; import them separately"
                )
            if column in file.layout.references:
                references[task] = file.layout.references[column]
    return references


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


# --- files ----------------------------------------------------------------------------------------------


def _groups(paths: Sequence[Path]) -> tuple[list[list[Path]], list[str]]:
    """(files that are read together, notes on files that were left out): table files, then folders with event files."""
    tables, events = _files_in(paths)
    kept: list[list[Path]] = []
    notes: list[str] = []
    by_folder: dict[Path, list[Path]] = {}
    for path in tables:
        by_folder.setdefault(path.parent, []).append(path)
    known: set[Path] = set()  # folders of one run
    for folder, files in by_folder.items():
        named = {plain_name(path): path for path in files}
        best = next((named[name] for name in PREFERRED if name in named), None)
        monitors = [path for path in files if is_monitor(path)]
        same = [path for path in files if best and path != best and (plain_name(path) in PREFERRED or path in monitors)]
        notes += [f"{path}: left out, {best.name} beside it is of the same run" for path in same if best]
        together = [] if best else monitors
        if best or monitors:
            known.add(folder)
        kept += [[path] for path in files if path not in same and path not in together]
        kept += [together] if together else []
    notes += [f"{folder}: its event files are left out, the table beside them is of the same run"
              for folder in events if folder in known]  # fmt: skip
    return kept + [[folder] for folder in events if folder not in known], notes


def _files_in(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(table files, folders with event files), sorted by name."""
    tables: dict[Path, None] = {}
    events: dict[Path, None] = {}
    searched = [suffix for suffix in READERS if suffix != _NOT_SEARCHED]
    for path in paths:
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            own = [p for p in below if kind_of(p) in searched or plain_name(p) in SEARCHED]
            marked = [p for p in below if MARK in p.name]
            if not own and not marked:
                raise CurveImportError(f"{path}: holds no file of curves; {_kinds(searched)} are searched for")
            tables |= dict.fromkeys(own)
            events |= dict.fromkeys(p.parent for p in marked)
        elif not path.is_file():
            raise CurveImportError(f"{path}: there is no such file")
        elif MARK in path.name:
            events[path.parent] = None
        elif kind_of(path) in READERS or plain_name(path) in SEARCHED:
            tables[path] = None
        else:
            raise CurveImportError(f"{path}: a file of a kind that is not read; {_kinds(READERS)} are")
    return list(tables), list(events)


def _kinds(suffixes: Iterable[str]) -> str:
    return f"{', '.join(suffixes)} (each also with {COMPRESSED}) and event files of TensorBoard"
