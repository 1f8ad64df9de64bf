"""Curves of results over all starts: a diverged run counts as random actions from where it ended, so that a
configuration gains nothing from runs that diverge."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from aggregate.statistics import estimates
from sweepwise.core.metrics import RESULTS, Catalogue

COLUMNS = ["config_id", "kind", "metric", "step", "mean", "sd", "low", "high", "n"]
_RUN = ["config_id", "seed"]


def start_curves(
    seeds: Mapping[str, pd.DataFrame], diverged: Collection[tuple[str, int]], floor: float, catalogue: Catalogue
) -> pd.DataFrame:
    """`COLUMNS`: the curves of results (`RESULTS`) of configurations with diverged runs. A diverged run continues at
    `floor` (the mean of random actions), at the worst value of any run at each step where that is NaN.

    seeds: kind -> config_id, seed, step and metrics, on the steps that runs share. diverged: (config_id, seed).
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for metric in (catalogue.roles[role] for role in RESULTS if role in catalogue.roles and diverged):
        wide = seeds.get(metric.kind, pd.DataFrame())
        if metric.name in wide:
            curves = wide[[*_RUN, "step", metric.name]].dropna()
            filled = _filled(curves, metric.name, diverged, floor, catalogue.sign)
            means = estimates.Interval()(filled, ["config_id", "step"], [metric.name])
            parts.append(means.assign(kind=metric.kind)[COLUMNS])
    return pd.concat(parts[1:], ignore_index=True) if len(parts) > 1 else parts[0]


def _filled(
    curves: pd.DataFrame, metric: str, diverged: Collection[tuple[str, int]], floor: float, sign: int
) -> pd.DataFrame:
    """The curves of configurations with diverged runs, with these continued. sign: -1 where lower is better."""
    worst = sign * (sign * curves[metric]).groupby(curves["step"]).min()
    if np.isfinite(floor):
        worst[:] = floor
    parts = [curves[curves["config_id"].isin({config_id for config_id, _ in diverged})].astype({"config_id": str})]
    for config_id, seed in sorted(diverged):
        own = curves.loc[(curves["config_id"] == config_id) & (curves["seed"] == seed), "step"]
        rest = worst[worst.index > (own.max() if len(own) else -np.inf)]
        parts.append(pd.DataFrame({"config_id": config_id, "seed": seed, "step": rest.index, metric: rest.to_numpy()}))
    return pd.concat(parts, ignore_index=True)
