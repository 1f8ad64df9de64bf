"""Statistics over seeds: small dataclasses, frame in, frame out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """Mean over seeds with its Student-t interval (n - 1 degrees of freedom).

    Called with a frame of one line per seed; returns `by`, metric, mean, sd, low, high, n, one line per
    group and metric. Values that are NaN or infinite do not count; one seed has a mean and no interval.
    """

    level: float = 0.95

    def __call__(self, frame: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
        keys = list(by)
        values = frame[list(metrics)].replace([np.inf, -np.inf], np.nan)
        grouped = pd.concat([frame[keys], values], axis=1).groupby(keys, observed=True)
        parts = {"mean": grouped.mean(), "sd": grouped.std(ddof=1), "n": grouped.count()}
        long = pd.concat({name: part.stack() for name, part in parts.items()}, axis=1)
        out = long.rename_axis([*keys, "metric"]).reset_index()
        out["n"] = out["n"].fillna(0).astype(int)
        out = out[out["n"] > 0]
        half = self.half_width(out["sd"].to_numpy(), out["n"].to_numpy())
        out = out.assign(low=out["mean"] - half, high=out["mean"] + half)
        return out[[*keys, "metric", "mean", "sd", "low", "high", "n"]].reset_index(drop=True)

    def half_width(self, sd: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Half the interval's width; NaN for n < 2."""
        degrees = np.where(n > 1, n - 1, np.nan)
        return stats.t.ppf(0.5 + self.level / 2, degrees) * sd / np.sqrt(n)


@dataclass(frozen=True)
class AgainstBest:
    """Welch contrasts of every group with the one of the highest mean, Holm-corrected.

    Called with a frame of one line per seed; returns group, mean, n, difference (best - group), low, high
    (Student-t interval, uncorrected), p (corrected), distinct. The best group's own line has difference 0
    and p NaN; a group with fewer than two seeds, or without any spread, is never `distinct`.
    """

    alpha: float = 0.05

    def __call__(self, frame: pd.DataFrame, group: str, value: str) -> pd.DataFrame:
        samples = {
            str(name): part[value].to_numpy(dtype=float)
            for name, part in frame[np.isfinite(frame[value])].groupby(group, observed=True)
        }
        columns = [group, "mean", "n", "difference", "low", "high", "p"]
        if not samples:
            return pd.DataFrame(columns=[*columns, "distinct"])
        ranked = sorted(samples, key=lambda name: (-samples[name].mean(), name))
        best = samples[ranked[0]]
        lines = [(n, samples[n].mean(), len(samples[n]), *self._contrast(best, samples[n])) for n in ranked]
        out = pd.DataFrame(lines, columns=columns)
        out.loc[0, ["low", "high", "p"]] = np.nan
        out["p"] = holm(out["p"].to_numpy(dtype=float))
        return out.assign(distinct=out["p"] < self.alpha)

    def _contrast(self, best: np.ndarray, other: np.ndarray) -> tuple[float, float, float, float]:
        difference = float(best.mean() - other.mean())
        if min(len(best), len(other)) < 2 or best.std() + other.std() == 0:
            return difference, np.nan, np.nan, np.nan
        test = stats.ttest_ind(best, other, equal_var=False)
        interval = test.confidence_interval(1 - self.alpha)
        return difference, float(interval.low), float(interval.high), float(test.pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm-adjusted p values; NaN stays NaN and is not counted."""
    out = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(order.size, 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return out
