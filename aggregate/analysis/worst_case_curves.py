"""Curves of results in which a crash counts as the worst one, so that a configuration gains nothing from crashed
runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from aggregate.statistics import estimates
from sweepwise.core.metrics import RESULTS, Catalogue

COLUMNS = ["config_id", "kind", "metric", "step", "mean", "sd", "low", "high", "n"]
_RUN = ["config_id", "seed"]


def worst_curves(
    seeds: Mapping[str, pd.DataFrame], crashed: Collection[tuple[str, int]], floor: float, catalogue: Catalogue
) -> pd.DataFrame:
    """`COLUMNS`: the curves of results (`RESULTS`) of configurations with crashed runs. A crashed run continues at the
    worst value of any run at each step, or at `floor` (of random actions, NaN if unknown) where that is worse.

    seeds: kind -> config_id, seed, step and metrics, on the steps that runs share. crashed: (config_id, seed).
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for metric in (catalogue.roles[role] for role in RESULTS if role in catalogue.roles and crashed):
        wide = seeds.get(metric.kind, pd.DataFrame())
        if metric.name in wide:
            curves = wide[[*_RUN, "step", metric.name]].dropna()
            filled = _filled(curves, metric.name, crashed, floor, catalogue.sign)
            means = estimates.Interval()(filled, ["config_id", "step"], [metric.name])
            parts.append(means.assign(kind=metric.kind)[COLUMNS])
    return pd.concat(parts[1:], ignore_index=True) if len(parts) > 1 else parts[0]


def _filled(
    curves: pd.DataFrame, metric: str, crashed: Collection[tuple[str, int]], floor: float, sign: int
) -> pd.DataFrame:
    """The curves of configurations with crashed runs, with the crashed runs continued. sign: -1 where lower is
    better."""
    worst = sign * np.fmin((sign * curves[metric]).groupby(curves["step"]).min(), sign * floor)
    parts = [curves[curves["config_id"].isin({config_id for config_id, _ in crashed})].astype({"config_id": str})]
    for config_id, seed in sorted(crashed):
        own = curves.loc[(curves["config_id"] == config_id) & (curves["seed"] == seed), "step"]
        rest = worst[worst.index > (own.max() if len(own) else -np.inf)]
        parts.append(pd.DataFrame({"config_id": config_id, "seed": seed, "step": rest.index, metric: rest.to_numpy()}))
    return pd.concat(parts, ignore_index=True)
