"""The interface of detectors: a detector, its view of a run, and its finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

FLAG, WARN, OK, NOT_ASSESSABLE = "flag", "warn", "ok", "not assessable"


@dataclass(frozen=True)
class Series:
    """Finite values of one metric over the steps of one run; both of shape (n,), steps ascending."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class SweepReference:
    """Values of the whole sweep that a run is compared with; NaN where unknown.

    low, best: lowest start and highest level of the evaluation return with planning, over the sweep's runs.
    jitter: row-to-row noise of the baseline's policy loss in the second half of training.
    """

    low: float = np.nan
    best: float = np.nan
    jitter: float = np.nan


@dataclass(frozen=True)
class RunView:
    """The input of detectors: one run.

    rows: by kind and column, (n,) values by ascending step, lists as objects; data frames work too. total_steps: where
    the run should end. state: of the run, see `jobs.results.run_state`. config: its hyperparameters.
    """

    rows: Mapping[str, Mapping[str, Any]]
    total_steps: int
    state: str
    config: Mapping[str, Any] = field(default_factory=dict)
    reference: SweepReference = SweepReference()

    def series(self, kind: str, metric: str) -> Series:
        """The metric's finite values; empty if the run never logged it."""
        rows = self.rows.get(kind)
        if rows is None or metric not in rows:
            return Series(np.empty(0), np.empty(0))
        values = np.asarray(rows[metric], dtype=float)
        finite = np.isfinite(values)
        return Series(np.asarray(rows["step"], dtype=float)[finite], values[finite])

    def lists(self, kind: str, metric: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """(steps, values) of a list metric, of the rows that have it."""
        rows = self.rows.get(kind)
        if rows is None or metric not in rows:
            return np.empty(0), []
        values = np.asarray(rows[metric], dtype=object)
        there = pd.notna(values)
        return np.asarray(rows["step"], dtype=float)[there], [np.asarray(v, dtype=float) for v in values[there]]

    def halves(self, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(steps, mean of the odd, mean of the even episodes) of the evaluations whose episodes are two or more and
        finite, each (n,). metric: of one value per episode."""
        steps, episodes = self.lists("eval", metric)
        kept = [i for i, e in enumerate(episodes) if e.size > 1 and np.isfinite(e).all()]
        pairs = np.array([(episodes[i][::2].mean(), episodes[i][1::2].mean()) for i in kept]).reshape(-1, 2)
        return steps[kept], pairs[:, 0], pairs[:, 1]

    @property
    def last_step(self) -> int:
        return max((int(np.max(rows["step"])) for rows in self.rows.values() if len(rows["step"])), default=0)


@dataclass(frozen=True)
class Finding:
    """The result of a detector on one run.

    The flag is raised where `measured` exceeds `least`, the largest of the detector's threshold, the noise of this run
    and the minimum difference in return points. onset: step. measured, least and onset are NaN where there is none.
    """

    state: str
    measured: float = np.nan
    least: float = np.nan
    onset: float = np.nan
    detail: str = ""


@dataclass(frozen=True)
class Detector:
    """A fault and how it is detected: `judge` measures `metric`; `measured > threshold` (in `unit`) raises the flag.

    min_points: with fewer values of the metric the run is not assessable. formula: the measured quantity; quarters are
    quarters of the metric's values.
    """

    name: str
    title: str
    group: str
    metric: str
    threshold: float
    unit: str
    min_points: int
    help: str
    formula: str
    judge: Callable[[RunView, Detector], Finding]


def too_few(points: int, detector: Detector) -> Finding:
    return Finding(NOT_ASSESSABLE, detail=f"{points} points, needs {detector.min_points}")


def unknown(reason: str) -> Finding:
    return Finding(NOT_ASSESSABLE, detail=reason)


def finding(measured: float, least: float, onset: float, detail: str, also: bool = True) -> Finding:
    """A flag where `measured` exceeds `least` and a second condition, `also`, holds; else ok."""
    raised = bool(measured > least and also)
    return Finding(FLAG if raised else OK, float(measured), float(least), float(onset) if raised else np.nan, detail)
