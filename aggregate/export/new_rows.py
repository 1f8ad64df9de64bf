"""Which rows of a run are new to a place that holds some already, as flat numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from aggregate.inputs.runs import RunRows
from tdmpc.metrics import CATALOGUE, METRICS


class About(NamedTuple):
    """Whose rows they are. sweep: "" for runs that were named one by one."""

    config_id: str
    seed: int
    label: str
    sweep: str
    config: dict[str, Any]


class Row(NamedTuple):
    """step: agent steps. frames: environment frames. time: unix seconds. values: tag -> number."""

    step: int
    frames: int
    update: int
    time: float
    values: dict[str, float]


@dataclass(frozen=True)
class Written:
    """What of a run stands in a place.

    attempt: rank of the newest attempt that rows came from. batches, rows: how many were written. marks: kind of row ->
    [the furthest step written, rows of that kind at this step].
    """

    attempt: int = -1
    batches: int = 0
    rows: int = 0
    marks: Mapping[str, list[int]] = field(default_factory=dict)


class News(NamedTuple):
    """rows: those that are new, by step. back_to: the step from which on what was written is void, None where all of it
    stands. written: what stands there once they are."""

    rows: list[Row]
    back_to: int | None
    written: Written


def news(run: RunRows, written: Written, takes_back: bool) -> News:
    """What of `run` is missing where `written` is.

    A later attempt goes on from a checkpoint, so what an earlier one logged beyond that step was lost with it. A place
    that `takes_back` is given those steps again; any other keeps the rows it has.
    """
    marks = {kind: (step, count) for kind, (step, count) in written.marks.items()}
    furthest = max((step for step, _ in marks.values()), default=-1)
    starts = [attempt.start for rank, attempt in run.attempts.items() if rank > written.attempt]
    back_to = min(starts, default=furthest + 1)
    if back_to <= furthest and takes_back:
        marks = {kind: min(mark, (back_to, 0)) for kind, mark in marks.items()}
    found: list[Row] = []
    for kind, rows in run.frames().items():
        rows = _beyond(rows, *marks.get(kind, (-1, 0)))
        if len(rows):
            last = int(rows["step"].iloc[-1])
            before = marks[kind][1] if kind in marks and marks[kind][0] == last else 0
            marks[kind] = last, before + int((rows["step"] == last).sum())
            found += _flat(kind, rows)
    now = Written(
        attempt=max(run.attempts, default=written.attempt),
        batches=written.batches + bool(found),
        rows=written.rows + len(found),
        marks={kind: list(mark) for kind, mark in sorted(marks.items())},
    )
    found.sort(key=lambda row: row.step)
    return News(found, back_to if back_to <= furthest and takes_back else None, now)


def _beyond(rows: pd.DataFrame, step: int, count: int) -> pd.DataFrame:
    """Rows, sorted by step, without those before `step` and the first `count` at it."""
    first, behind = (int(rows["step"].searchsorted(step, side=side)) for side in ("left", "right"))
    return rows.iloc[min(first + count, behind) :]


def _flat(kind: str, rows: pd.DataFrame) -> Iterator[Row]:
    """Those that hold a number."""
    for cells in rows.to_dict("records"):
        step, frames, update = (int(cells[name]) for name in ("step", "frames", "update"))
        values = {f"event/{cells['event']}": 1.0} if kind == "event" else dict(_values(cells))
        if values:
            yield Row(step, frames, update, float(cells["time"]), values)


def _values(cells: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Tags and numbers of a row. An absent metric is no number; one that became NaN is, and is told."""
    for name, value in cells.items():
        metric = METRICS.get(name)
        if metric is None:
            continue
        if not metric.is_list:
            if not math.isnan(value) or cells.get("nonfinite") == name:
                yield tag(name), float(value)
        elif metric.kind != "eval" and value is not None:  # single episodes: their mean and spread stand beside them
            yield from ((f"{tag(name)}/{place}", float(item)) for place, item in enumerate(value))


def tag(name: str) -> str:
    """How a metric is called elsewhere: below its group, as panels are grouped by what stands before the slash."""
    return f"{CATALOGUE.metric(name).group.replace(' ', '_')}/{name}"
