"""The interface of detectors: a detector, its view of a run, and its finding."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aggregate.flags.curve_features import complete, means, quarter, spread
from aggregate.inputs.metric_words import with_unit
from sweepwise.core.agent import AgentDescription
from sweepwise.core.metrics import Metric

_FLOAT = np.dtype(float)  # there is one such object, which is compared faster than types are
NOT_FOUND = "not found: "  # begins what a detector cannot see, in the text of a finding
FLAG, WARN, OK, NOT_ASSESSABLE = "flag", "warn", "ok", "not assessable"


@dataclass(frozen=True)
class Series:
    """Finite values of one metric over the steps of one run; both of shape (n,), steps ascending."""

    steps: np.ndarray
    values: np.ndarray


class Halves(NamedTuple):
    """The primary metric of two halves of the data at the same points, times its sign; each (n,). points: values that
    the rows have."""

    steps: np.ndarray
    one: np.ndarray
    other: np.ndarray
    points: int


@dataclass(frozen=True)
class SweepReference:
    """Values of the whole sweep that a run is compared with; NaN where unknown.

    low, best: worst start and best level of the primary metric, over the sweep's runs; `best` is the smaller one where
    lower is better. jitter_growth: of the baseline's policy loss (`curve_features.jitter_growth`).
    """

    low: float = np.nan
    best: float = np.nan
    jitter_growth: float = np.nan


@dataclass(frozen=True)
class RunView:
    """The input of detectors: one run.

    rows: by kind and column, (n,) values by ascending step, lists as objects; data frames work too. total_steps: where
    the run should end. state: of the run, see `jobs.results.run_state`. agent: what it trains. config: its
    hyperparameters.
    """

    rows: Mapping[str, Mapping[str, Any]]
    total_steps: int
    state: str
    agent: AgentDescription
    config: Mapping[str, Any] = field(default_factory=dict)
    reference: SweepReference = SweepReference()

    @property
    def sign(self) -> int:
        """sign x primary metric rises with quality."""
        return self.agent.catalogue.sign

    @property
    def sweep_gain(self) -> float:
        """What the sweep's best run gained on its worst start, NaN where unknown."""
        return self.sign * (self.reference.best - self.reference.low)

    def metric(self, role: str) -> Metric | None:
        return self.agent.catalogue.roles.get(role)

    def series(self, role: str) -> Series:
        """Finite values of the metric with that role; empty if the agent has none or the run never logged it."""
        if role not in self._series:
            self._series[role] = series_of(self.rows, self.metric(role))
        return self._series[role]

    @functools.cached_property  # several detectors use the same role
    def _series(self) -> dict[str, Series]:
        return {}

    @functools.cached_property
    def _lists(self) -> dict[str, tuple[np.ndarray, list[np.ndarray]]]:
        return {}

    def quality(self, role: str) -> Series:
        """`series` of a metric in the unit of the primary metric, times `sign`."""
        series = self.series(role)
        return Series(series.steps, self.sign * series.values)

    def lists(self, role: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """(steps, values) of a list metric, of the rows that have it."""
        if role not in self._lists:
            self._lists[role] = self._lists_of(role)
        return self._lists[role]

    def _lists_of(self, role: str) -> tuple[np.ndarray, list[np.ndarray]]:
        metric = self.metric(role)
        rows = self.rows.get(metric.kind, {}) if metric else {}
        if metric is None or metric.name not in rows:
            return np.empty(0), []
        values = np.asarray(rows[metric.name], dtype=object)
        present = pd.notna(values)
        lists = [
            v
            if isinstance(v, np.ndarray) and v.dtype is _FLOAT and v.ndim == 1
            else np.atleast_1d(np.asarray(v, float))
            for v in values[present]
        ]
        return np.asarray(rows["step"], dtype=float)[present], lists

    @functools.cached_property
    def halves(self) -> Halves:
        """Odd and even episodes of the evaluations whose episodes are two or more and finite; neighbouring evaluations
        where the run has no such episodes, as in imported curves."""
        steps, episodes = self.lists("primary_episodes")
        kept = complete(episodes)
        if not kept:
            return paired(self.quality("primary"))
        used = [episodes[place] for place in kept]
        one, other = (self.sign * means(used, start, 2) for start in (0, 1))
        return Halves(steps[kept], one, other, len(kept))

    @functools.cached_property
    def value_scale(self) -> float:
        """Level of the value target at the end plus the range that it covered; 0 with fewer than four values."""
        target = self.series("value_target").values
        return float(abs(quarter(target, 4).mean()) + spread(target)) if target.size >= 4 else 0.0

    @functools.cached_property
    def log_std(self) -> tuple[np.ndarray, np.ndarray]:
        """(steps (n,), values (dimensions, n)): the dimensions that are finite throughout, else the mean over
        dimensions."""
        steps, values = self.lists("log_std_per_dim")
        if len({v.size for v in values}) == 1:
            dims = np.ascontiguousarray(np.concatenate(values).reshape(len(values), -1).T)
            return steps, dims[np.isfinite(dims).all(axis=1)]
        mean = self.series("log_std")
        return mean.steps, mean.values[None]

    @property
    def last_step(self) -> int:
        return max((int(np.max(rows["step"])) for rows in self.rows.values() if len(rows["step"])), default=0)


def series_of(rows: Mapping[str, Mapping[str, Any]], metric: Metric | None) -> Series:
    """The finite values of a metric; empty without one or where it is not in `rows` (see `RunView`)."""
    own = rows.get(metric.kind, {}) if metric else {}
    if metric is None or metric.name not in own:
        return Series(np.empty(0), np.empty(0))
    values = _numbers(own[metric.name])
    finite = np.isfinite(values)
    return Series(np.asarray(own["step"], dtype=float)[finite], values[finite])


def paired(series: Series) -> Halves:
    """Neighbouring values as the two halves, up to the last; the first is left out of an odd number."""
    even = series.values.size // 2 * 2
    steps, pairs = series.steps[series.steps.size - even :], series.values[series.values.size - even :].reshape(-1, 2)
    return Halves(steps.reshape(-1, 2)[:, 1], pairs[:, 0], pairs[:, 1], series.values.size)


def _numbers(column: Any) -> np.ndarray:
    """(n,) floats; NaN for a column of lists, which is no curve."""
    values = np.asarray(column)
    if values.dtype == object and any(isinstance(value, (list, np.ndarray)) for value in values):
        return np.full(len(values), np.nan)
    return values.astype(float)


@dataclass(frozen=True)
class Finding:
    """The result of a detector on one run.

    The flag is raised where `measured` exceeds `least`, the largest of the detector's threshold, the noise of this run
    and the smallest change that counts. onset: step. measured, least and onset are NaN where there is none. not_found:
    the faults that the detector cannot see at the length and noise of this run.
    """

    state: str
    measured: float = np.nan
    least: float = np.nan
    onset: float = np.nan
    detail: str = ""
    not_found: str = ""

    @property
    def text(self) -> str:
        """The detail, and of a run without the flag what could have been missed."""
        limits = f"{NOT_FOUND}{self.not_found}" if self.not_found and self.state == OK else ""
        return "; ".join(filter(None, (self.detail, limits)))


@dataclass(frozen=True)
class Detector:
    """A fault and how it is detected: `judge` measures a metric; `measured > threshold` (in `unit`) raises the flag.

    role: of the metric, "" for a flag about the whole run. min_points: with fewer values of the metric the run is not
    assessable. help: a template, see `of`. formula: the measured quantity; quarters are quarters of the metric's
    values. judge: called by `assess`. needs: further roles. instead: role that will do where no metric has `role`.
    metric: name of the metric, or the column that a flag about the whole run looks at; see `of`. compares: whether it
    needs `RunView.reference`.
    """

    name: str
    title: str
    group: str
    role: str
    threshold: float
    unit: str
    min_points: int
    help: str
    formula: str
    judge: Callable[[RunView, Detector], Finding]
    needs: tuple[str, ...] = ()
    instead: str = ""
    metric: str = ""
    compares: bool = False

    def of(self, agent: AgentDescription) -> Detector:
        """With the agent's metric, "" where no metric has the role, its threshold, and the help for both."""
        own = self._measuring(agent)
        threshold = own.threshold
        change, differs = agent.diagnostics.smallest_change, agent.diagnostics.training_differs
        counts = bool(change) and "primary" in agent.catalogue.roles
        words = self.help.format(
            threshold=threshold,
            percent=f"{100 * threshold:g}",
            rest=f"{100 - 100 * threshold:.3g}",
            change=f" and {with_unit(change, agent.catalogue.primary)}" if counts else "",
            differs=f"; {differs}" if differs else "",
        )
        return dataclasses.replace(own, help=words)

    def _measuring(self, agent: AgentDescription) -> Detector:
        """The same but for the help, which takes longer to write than some detectors take to judge a run."""
        threshold = agent.diagnostics.thresholds.get(self.name, self.threshold)
        return dataclasses.replace(self, metric=self.metric_of(agent), threshold=threshold)

    def metric_of(self, agent: AgentDescription) -> str:
        """The name of the agent's metric; `metric` where none has the role."""
        return next((metric.name for metric in self._metrics(agent)), self.metric)

    def assess(self, run: RunView) -> Finding:
        """The finding on one run; not assessable where the agent has no metric of a role that is needed."""
        if lacking := self.lacking(run.agent):
            return unknown(f"not assessed: no metric has the role {lacking}")
        return self.judge(run, self._measuring(run.agent))

    def lacking(self, agent: AgentDescription) -> str:
        """The first role that no metric of the agent has, of those that are needed; "" for none."""
        needed = () if not self.role or self._metrics(agent) else (self.instead or self.role,)
        return next((role for role in (*needed, *self.needs) if role not in agent.catalogue.roles), "")

    def _metrics(self, agent: AgentDescription) -> list[Metric]:
        return [agent.catalogue.roles[role] for role in (self.role, self.instead) if role in agent.catalogue.roles]


Judge = Callable[[RunView, Detector], Finding]


def too_few(points: int, detector: Detector) -> Finding:
    return Finding(NOT_ASSESSABLE, detail=f"{points} points, needs {detector.min_points}")


def unknown(reason: str) -> Finding:
    return Finding(NOT_ASSESSABLE, detail=reason)


def finding(measured: float, least: float, onset: float, detail: str, also: bool = True) -> Finding:
    """A flag where `measured` exceeds `least` and a second condition, `also`, holds; else ok."""
    raised = bool(measured > least and also)
    return Finding(FLAG if raised else OK, float(measured), float(least), float(onset) if raised else np.nan, detail)


def strongest(kinds: Sequence[Finding], not_found: str = "") -> Finding:
    """Of findings about several kinds of one fault, the one that exceeds its threshold most; raised ones first."""

    def excess(kind: Finding) -> tuple[bool, float]:
        return kind.state == FLAG, kind.measured / kind.least if kind.least > 0 else 0.0

    return dataclasses.replace(max(kinds, key=excess), not_found=not_found)


def first_step(steps: np.ndarray, over: np.ndarray) -> float:
    """First step where `over` is True; the last step if it never is."""
    return float(steps[np.argmax(over)] if over.any() else steps[-1])
