"""What a finished run of a program has logged: its files, their step and their metrics."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.assist import guess
from jobs.programs.metric_sources.base import MetricReader, SourceSpec
from jobs.programs.metric_sources.search import NAMES
from jobs.programs.metric_sources.values import Value, flatten
from sweepwise.core.errors import JobsError
from sweepwise.core.event_files import MARK

_MOST_FILES = 20_000
_LINES = 50  # at the start of a file, which show its columns
_MOST_SOURCES = 8
_JSON = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Logged:
    """sources: without those whose metrics others have too. step: of most sources. metrics: name -> number of rows.
    notes: one line each, about what was left out or could not be read."""

    sources: tuple[SourceSpec, ...]
    step: str
    metrics: dict[str, int]
    notes: tuple[str, ...] = ()


def look(folder: Path) -> Logged:
    """Raises `JobsError` where nothing is logged there."""
    if not folder.is_dir():
        raise JobsError(f"--like: there is no folder {folder}")
    specs = list(_sources(folder))
    notes = [f"{spec.path}: no column holds the step" for spec in specs if not spec.step and _needs_step(spec)]
    usable = [spec for spec in specs if spec.step or not _needs_step(spec)]
    metrics: dict[str, int] = {}
    kept: list[SourceSpec] = []
    for spec in usable:
        reader = MetricReader([spec], spec.step or "step", folder, folder / "no output")
        counts = Counter(name for row in reader.finish() for name in row.metrics)
        if counts.keys() <= metrics.keys():
            notes.append(f"{spec.path}: left out, all its metrics are in earlier files")
            continue
        notes += reader.problems
        kept.append(spec)
        metrics |= {name: metrics.get(name, 0) + count for name, count in counts.items()}
    if not kept:
        such = "JSON lines, CSV, event files of TensorBoard or *.wandb"
        raise JobsError(f"--like {folder}: no metrics in {such}{'; ' if notes else ''}{'; '.join(notes[:3])}")
    notes += [f"{spec.path}: left out, too many files" for spec in kept[_MOST_SOURCES:]]
    step = Counter(spec.step for spec in kept if spec.step).most_common(1)
    usual = step[0][0] if step else "step"
    sources = [replace(spec, step="" if spec.step == usual else spec.step) for spec in kept[:_MOST_SOURCES]]
    return Logged(tuple(sources), usual, metrics, tuple(dict.fromkeys(notes)))


def _needs_step(spec: SourceSpec) -> bool:
    return spec.kind not in NAMES


def _sources(folder: Path) -> Iterator[SourceSpec]:
    """JSON lines, then CSV, event files and Weights & Biases: the first are read best."""
    paths = sorted(itertools.islice((path for path in folder.rglob("*") if path.is_file()), _MOST_FILES))
    columns = {path: _columns(path) for path in paths if path.suffix in (*_JSON, ".csv")}
    seen = set()
    for kind, suffixes in (("jsonl", _JSON), ("csv", (".csv",))):
        for path in paths:
            if path.suffix not in suffixes or not columns[path]:
                continue
            place = _place(path.relative_to(folder))
            if (kind, place) not in seen:
                seen.add((kind, place))
                step = guess.pick(columns[path], guess.STEP_COLUMNS)
                yield SourceSpec(kind, place, is_evaluation=guess.is_evaluation(path.name), step=step)
    for kind, files in (
        ("tensorboard", [path for path in paths if MARK in path.name]),
        ("wandb", [path for path in paths if path.match(NAMES["wandb"])]),
    ):
        if files:
            tops = {path.relative_to(folder).parts[0] if path.parent != folder else "." for path in files}
            top = tops.pop() if len(tops) == 1 else "."
            yield SourceSpec(kind, "." if re.search(r"\d", top) else top)


def _place(path: Path) -> str:
    """The path in another run's folder: folders with digits in their names are of this run alone."""
    return f"**/{path.name}" if any(re.search(r"\d", part) for part in path.parts[:-1]) else path.as_posix()


def _columns(path: Path) -> list[str]:
    """The numbers of a file by name; none where it holds no table."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            lines = [line for line in itertools.islice(file, _LINES) if len(line) < 1_000_000]
    except OSError:
        return []
    if path.suffix == ".csv":
        rows = list(csv.reader(lines))
        return [cell.strip().removeprefix("\ufeff") for cell in rows[0]] if len(rows) > 1 else []
    if path.suffix == ".json" and len(lines) < 2:
        return []
    values: dict[str, Value] = {}
    for line in lines:
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            return list(values)
        if isinstance(item, dict):
            flatten(item, values)
    return list(values)
