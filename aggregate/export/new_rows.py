"""Which rows of a run an export does not hold yet, as flat numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from aggregate.inputs.runs import RunRows
from sweepwise.core.metrics import Catalogue, Metric


class RunInfo(NamedTuple):
    """Identifies the run of exported rows. sweep: "" for runs that were named individually. task: "" where unknown."""

    config_id: str
    seed: int
    label: str
    sweep: str
    config: dict[str, Any]
    task: str = ""


class ExportedRow(NamedTuple):
    """step: agent steps. frames: environment frames. time: unix seconds. values: tag -> number."""

    step: int
    frames: int
    update: int
    time: float
    values: dict[str, float]


@dataclass(frozen=True)
class ExportState:
    """How much of a run was exported.

    attempt: rank of the newest attempt with exported rows. batches, rows: number written. marks: kind of row -> [last
    step written, rows of that kind at this step].
    """

    attempt: int = -1
    batches: int = 0
    rows: int = 0
    marks: Mapping[str, list[int]] = field(default_factory=dict)


class NewRows(NamedTuple):
    """rows: new ones, sorted by step. back_to: step from which on earlier exported rows are invalid, None if all are
    valid. written: the state after these rows are written."""

    rows: list[ExportedRow]
    back_to: int | None
    written: ExportState


def new_rows(run: RunRows, written: ExportState, catalogue: Catalogue, can_replace: bool) -> NewRows:
    """The rows of `run` that `written` lacks, with the metrics of `catalogue`.

    A later attempt resumes from a checkpoint, so rows of an earlier one beyond that step are invalid. A target that
    `can_replace` rows gets those steps again; any other keeps the old rows.
    """
    marks = {kind: (step, count) for kind, (step, count) in written.marks.items()}
    furthest = max((step for step, _ in marks.values()), default=-1)
    starts = [attempt.start for rank, attempt in run.attempts.items() if rank > written.attempt]
    back_to = min(starts, default=furthest + 1)
    if back_to <= furthest and can_replace:
        marks = {kind: min(mark, (back_to, 0)) for kind, mark in marks.items()}
    new: list[ExportedRow] = []
    for kind, rows in run.frames().items():
        rows = _beyond(rows, *marks.get(kind, (-1, 0)))
        if len(rows):
            last = int(rows["step"].iloc[-1])
            before = marks[kind][1] if kind in marks and marks[kind][0] == last else 0
            marks[kind] = last, before + int((rows["step"] == last).sum())
            new += _flat(kind, rows, catalogue)
    state = ExportState(
        attempt=max(run.attempts, default=written.attempt),
        batches=written.batches + bool(new),
        rows=written.rows + len(new),
        marks={kind: list(mark) for kind, mark in sorted(marks.items())},
    )
    new.sort(key=lambda row: row.step)
    return NewRows(new, back_to if back_to <= furthest and can_replace else None, state)


def _beyond(rows: pd.DataFrame, step: int, count: int) -> pd.DataFrame:
    """Rows, sorted by step, from `step` on without the first `count` at that step."""
    first, behind = (int(rows["step"].searchsorted(step, side=side)) for side in ("left", "right"))
    return rows.iloc[min(first + count, behind) :]


def _flat(kind: str, rows: pd.DataFrame, catalogue: Catalogue) -> Iterator[ExportedRow]:
    """The rows that hold a number."""
    for cells in rows.to_dict("records"):
        step, frames, update = (int(cells[name]) for name in ("step", "frames", "update"))
        values = {f"event/{cells['event']}": 1.0} if kind == "event" else dict(_values(cells, catalogue))
        if values:
            yield ExportedRow(step, frames, update, float(cells["time"]), values)


def _values(cells: Mapping[str, Any], catalogue: Catalogue) -> Iterator[tuple[str, float]]:
    """Tags and numbers of a row. Absent metrics are left out; a metric that became NaN is kept."""
    for name, value in cells.items():
        metric = catalogue.metrics.get(name)
        if metric is None:
            continue
        if not metric.is_list:
            if not math.isnan(value) or cells.get("nonfinite") == name:
                yield tag(metric), float(value)
        elif metric.kind != "eval" and value is not None:  # not single episodes: their mean and spread are metrics too
            yield from ((f"{tag(metric)}/{place}", float(item)) for place, item in enumerate(value))


def tag(metric: Metric) -> str:
    """Name of a metric in other programs, which group panels by the part before the slash."""
    return f"{metric.group.replace(' ', '_')}/{metric.name}"
