"""Return curves in which a crash counts as the worst return, so that a configuration gains nothing from crashed
runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from aggregate.statistics import estimates

RETURNS = {"eval": ("eval_return_planner", "eval_return_policy"), "episode": ("episode_return",)}
COLUMNS = ["config_id", "kind", "metric", "step", "mean", "sd", "low", "high", "n"]
_RUN = ["config_id", "seed"]


def worst_curves(seeds: Mapping[str, pd.DataFrame], crashed: Collection[tuple[str, int]], floor: float) -> pd.DataFrame:
    """`COLUMNS`: the return curves of configurations with crashed runs. A crashed run continues at the lowest return of
    any run at each step, or at `floor` (return of random actions, NaN if unknown) where that is lower.

    seeds: kind -> config_id, seed, step and metrics, on the steps that runs share. crashed: (config_id, seed).
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for kind, metrics in RETURNS.items():
        wide = seeds.get(kind, pd.DataFrame())
        for metric in metrics if crashed else ():
            if metric in wide:
                filled = _filled(wide[[*_RUN, "step", metric]].dropna(), metric, crashed, floor)
                parts.append(estimates.Interval()(filled, ["config_id", "step"], [metric]).assign(kind=kind)[COLUMNS])
    return pd.concat(parts[1:], ignore_index=True) if len(parts) > 1 else parts[0]


def _filled(curves: pd.DataFrame, metric: str, crashed: Collection[tuple[str, int]], floor: float) -> pd.DataFrame:
    """The curves of configurations with crashed runs, with the crashed runs continued."""
    lowest = np.fmin(curves.groupby("step")[metric].min(), floor)
    parts = [curves[curves["config_id"].isin({config_id for config_id, _ in crashed})].astype({"config_id": str})]
    for config_id, seed in sorted(crashed):
        own = curves.loc[(curves["config_id"] == config_id) & (curves["seed"] == seed), "step"]
        rest = lowest[lowest.index > (own.max() if len(own) else -np.inf)]
        parts.append(pd.DataFrame({"config_id": config_id, "seed": seed, "step": rest.index, metric: rest.to_numpy()}))
    return pd.concat(parts, ignore_index=True)
