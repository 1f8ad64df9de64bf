"""Underperforming configurations of a running sweep, by the median stopping rule of Golovin et al. (2017, Vizier).

The rule stops whole configurations, never single seeds: stopping bad seeds would bias the mean of the others upwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.inputs.runs import DIVERGED, ConfigSource, Loaded, SweepSource, load
from sweepwise.core.metrics import Catalogue, Metric

FEWEST_OTHERS = 3  # configurations needed for a median


@dataclass(frozen=True)
class Underperforming:
    """best: best value up to `step` of the primary metric, averaged over the configuration's seeds. median: over
    `others` other configurations, of the average of their curves up to `step`. metric: the primary one."""

    config_id: str
    step: int
    best: float
    median: float
    others: int
    metric: Metric


def underperforming(sweep: SweepSource, after: float) -> list[Underperforming]:
    """Configurations whose best value is worse than the median of the others' averages. after: share of training before
    which none is judged. Raises `AggregateError` where no row can be read, `MetricError` without a primary metric."""
    loaded, catalogue = load([sweep]), sweep.agent.catalogue
    curves = {config.config_id: _curve(config, loaded, catalogue.primary) for config in sweep.configs}
    least = {config.config_id: after * config.total_steps for config in sweep.configs}
    judged = (judge_configuration(config_id, curves, least[config_id], catalogue) for config_id in curves)
    return [configuration for configuration in judged if configuration is not None]


def judge_configuration(
    config_id: str, curves: Mapping[str, pd.Series], least: float, catalogue: Catalogue
) -> Underperforming | None:
    """None where the configuration does not underperform, or cannot be judged yet.

    curves: mean primary metric over seeds by step, up to the last step that all seeds reached. least: step before
    which it is not judged. Only configurations that reached the same step are compared with it.
    """
    own = curves[config_id]
    step = int(own.index[-1]) if len(own) else 0
    averages = [
        float(curve[curve.index <= step].mean())
        for other, curve in curves.items()
        if other != config_id and len(curve) and curve.index[-1] >= step
    ]
    if not step or step < least or len(averages) < FEWEST_OTHERS:
        return None
    sign, median = catalogue.sign, float(np.median(averages))
    best = sign * float((sign * own).max())
    is_worse = sign * best < sign * median
    return Underperforming(config_id, step, best, median, len(averages), catalogue.primary) if is_worse else None


def _curve(config: ConfigSource, loaded: Loaded, metric: Metric) -> pd.Series:
    """See `judge_configuration`; empty where a seed has no evaluation yet, unless it diverged."""
    parts = []
    for run in config.runs:
        rows = loaded.runs[run.config_id, run.seed].frames((metric.kind,), config.total_steps).get(metric.kind)
        if rows is not None and metric.name in rows and rows[metric.name].dtype != object:
            parts.append(rows.groupby("step")[metric.name].mean())
        elif run.state != DIVERGED:
            return pd.Series(dtype=float)
    wide = pd.concat(parts, axis=1) if parts else pd.DataFrame()
    return wide.dropna().mean(axis=1).sort_index()
