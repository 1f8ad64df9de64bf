"""The values of a sweep that its runs are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from aggregate.flags.curve_features import jitter_growth, smooth, window_of
from aggregate.flags.detector import RunView, Series, SweepReference

FEWEST_ROWS = 8  # of a policy loss; with fewer the noise of a half is not estimated


class RunLevels(NamedTuple):
    """What a run adds to the reference values of its sweep; NaN where unknown. start, best: first and highest level of
    the primary metric, times its sign. jitter_growth: of the policy loss."""

    start: float
    best: float
    jitter_growth: float


def run_levels(view: RunView) -> RunLevels:
    return levels_of(view.quality("primary"), view.series("policy_loss"))


def levels_of(quality: Series, loss: Series) -> RunLevels:
    """quality: the primary metric times its sign. loss: the policy loss."""
    start = best = np.nan
    if quality.values.size:
        trace = smooth(quality.values, window_of(quality.values.size, 0.1))
        start, best = float(trace[0]), float(trace.max())
    growth = jitter_growth(loss.values) if loss.values.size >= FEWEST_ROWS else np.nan
    return RunLevels(start, best, float(growth))


def sweep_reference(runs: Iterable[RunLevels], baseline: Iterable[RunLevels], sign: int) -> SweepReference:
    """runs: of all runs of the sweep. baseline: of the baseline's. sign: of the primary metric, see `RunView`."""
    listed = list(runs)
    growths = [run.jitter_growth for run in baseline if np.isfinite(run.jitter_growth)]
    return SweepReference(
        low=sign * min((run.start for run in listed if not np.isnan(run.start)), default=np.nan),
        best=sign * max((run.best for run in listed if not np.isnan(run.best)), default=np.nan),
        jitter_growth=float(np.median(growths)) if growths else np.nan,
    )
