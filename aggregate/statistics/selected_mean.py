"""Interval of the mean of the best of several configurations, which was selected by that mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from aggregate.statistics.estimates import ALPHA, pooled_variance, t_quantile, variance

_SMALLEST_SHARE = 1e-5  # of the median variance: what a variance of 0 counts as


class _Variance(NamedTuple):
    value: float
    degrees: float  # of freedom


def selected_interval(best: np.ndarray, others: Sequence[np.ndarray], sign: int = 1) -> tuple[float, float]:
    """95 % interval of the mean of the best of k samples, which is selected by its mean.

    The end towards better values is Student's, at level alpha / 2. The end towards worse values is the furthest of
    Student's, and of two at level alpha / 2k: by the pooled variance and by the moderated one. sign: -1 where lower is
    better. NaN below two values.
    """
    if best.size < 2:
        return math.nan, math.nan
    own = _Variance(float(variance(best)), best.size - 1)
    above = _half_width(own, best.size, ALPHA / 2)
    level = ALPHA / 2 / (1 + len(others))
    corrected = [_half_width(spread, best.size, level) for spread in _of_all(own, [best, *others])]
    below = max(above, *corrected)
    low, high = (below, above) if sign > 0 else (above, below)
    return float(best.mean()) - low, float(best.mean()) + high


def _half_width(spread: _Variance, size: int, level: float) -> float:
    return float(-t_quantile(level, spread.degrees)) * math.sqrt(spread.value / size)


def _of_all(own: _Variance, samples: Sequence[np.ndarray]) -> tuple[_Variance, _Variance]:
    """(pooled variance, moderated variance of the first sample)."""
    pooled = _Variance(*pooled_variance(samples))
    known = [sample for sample in samples if sample.size > 1]
    values = np.array([float(variance(sample)) for sample in known])
    degrees = np.array([sample.size - 1.0 for sample in known])
    return pooled, _moderated(own, pooled, values, degrees)


def _moderated(own: _Variance, pooled: _Variance, values: np.ndarray, degrees: np.ndarray) -> _Variance:
    """`own` drawn towards all variances, the more so the less these differ beyond chance: the empirical Bayes estimate
    of Smyth 2004, section 6.2, Linear models and empirical Bayes methods for assessing differential expression.

    values, degrees: (samples,), of all variances. Its degrees of freedom are at most those of all samples.
    """
    if len(values) < 2 or not np.median(values) > 0:
        return own
    logs = np.log(np.maximum(values, _SMALLEST_SHARE * np.median(values)))
    centred = logs - special.digamma(degrees / 2) + np.log(degrees / 2)
    beyond_chance = float(centred.var(ddof=1) - special.polygamma(1, degrees / 2).mean())
    if beyond_chance <= 1e-6:  # no more than by chance: one variance for all
        return pooled
    prior = 2 * optimize.brentq(lambda half: float(special.polygamma(1, half)) - beyond_chance, 1e-9, 1e9)
    centre = math.exp(centred.mean() + special.digamma(prior / 2) - math.log(prior / 2))
    value = (prior * centre + own.degrees * own.value) / (prior + own.degrees)
    return _Variance(value, min(prior + own.degrees, pooled.degrees))
