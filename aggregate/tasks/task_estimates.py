"""Aggregates over tasks with intervals. Pure functions of arrays.

Scores are arrays (..., tasks, seeds), padded with NaN where a task has fewer runs. The tasks are fixed: intervals are
over the seeds of these tasks. Every task has the same weight, whatever its number of runs. Point estimates are those of
Agarwal et al. 2021 (arXiv 2108.13264).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aggregate.statistics import estimates

TRIMMED = 0.25  # share of the runs that the interquartile mean leaves out at each end
OPTIMAL = 1.0  # normalised score from which nothing is missing
BAND_DRAWS = 500


@dataclass(frozen=True)
class TaskEstimate:
    """An estimate with its standard error and degrees of freedom (Satterthwaite); arrays of one shape. se is NaN
    without any spread."""

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Student-t interval; NaN without a standard error."""
        half = estimates.t_quantile(0.5 + level / 2, self.df) * self.se
        return self.estimate - half, self.estimate + half

    @property
    def p(self) -> np.ndarray:
        """Two-sided p that the estimate is 0."""
        p: np.ndarray = 2 * estimates.t_above(np.abs(self.estimate) / self.se, self.df)
        return p


def stack(samples: list[np.ndarray]) -> np.ndarray:
    """One sample per task -> (tasks, seeds), padded with NaN."""
    out = np.full((len(samples), max((sample.size for sample in samples), default=0)), np.nan)
    for row, sample in zip(out, samples, strict=True):
        row[: sample.size] = sample
    return out


def mean(scores: np.ndarray) -> TaskEstimate:
    """Mean over tasks of the mean over seeds, with the stratified variance."""
    counts, means, variances = _moments(scores)
    return _combine(means.mean(-1), [(variances, counts)])


def interquartile_mean(scores: np.ndarray) -> TaskEstimate:
    """Mean of the middle half of all runs, as rliable's: a quarter of the runs, rounded down, is left out at each end.

    A run weighs 1 / (runs of its task). The standard error is twice that of the mean of the scores winsorised at the
    ends of the middle half, its influence function.
    """
    low, high, middle = _middle(scores)
    winsorised = np.clip(scores, low[..., None, None], high[..., None, None])
    counts, _, variances = _moments(winsorised)
    spread = _combine(middle, [(variances, counts)])
    return TaskEstimate(middle, spread.se / (1 - 2 * TRIMMED), spread.df)


def optimality_gap(scores: np.ndarray) -> TaskEstimate:
    """How much of a score of 1 is missing on average; more than 1 counts as 1."""
    counted = mean(np.minimum(scores, OPTIMAL))
    return TaskEstimate(OPTIMAL - counted.estimate, counted.se, counted.df)


def median(scores: np.ndarray) -> np.ndarray:
    """Median over tasks of the mean over seeds. It has no interval: none that was tried holds its level."""
    return np.asarray(np.median(_moments(scores)[1], -1))


def difference(a: np.ndarray, b: np.ndarray) -> TaskEstimate:
    """Mean over the same tasks of the difference of means, `a` - `b`: differences are paired by task."""
    (counts_a, means_a, variances_a), (counts_b, means_b, variances_b) = _moments(a), _moments(b)
    return _combine((means_a - means_b).mean(-1), [(variances_a, counts_a), (variances_b, counts_b)])


def difference_on_similar_tasks(a: np.ndarray, b: np.ndarray) -> TaskEstimate:
    """The same for tasks like these: Student's t over the tasks' differences, which takes the tasks for a random
    sample."""
    by_task = _moments(a)[1] - _moments(b)[1]
    tasks = by_task.shape[-1]
    if tasks < 2:
        none = np.full(by_task.shape[:-1], np.nan)
        return TaskEstimate(by_task.mean(-1), none, none)
    spread = estimates.variance(by_task)
    se = np.sqrt(np.where(spread > 0, spread, np.nan) / tasks)
    return TaskEstimate(by_task.mean(-1), se, np.full(se.shape, tasks - 1.0))


def improvement(a: np.ndarray, b: np.ndarray) -> TaskEstimate:
    """Mean over tasks of the probability that a run of `a` is above one of `b`; ties count half.

    Variance by DeLong's placements within each task, Satterthwaite.
    """
    above = np.where(a[..., :, None] == b[..., None, :], 0.5, a[..., :, None] > b[..., None, :])
    above = np.where(np.isnan(a)[..., :, None] | np.isnan(b)[..., None, :], np.nan, above)
    placements = [_mean_of_finite(above, -1), _mean_of_finite(above, -2)]
    parts = [(variances, counts) for counts, _, variances in map(_moments, placements)]
    return _combine(_moments(placements[0])[1].mean(-1), parts)


def profile(scores: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(..., len(at)): share of runs with a score above each value, each task with the same weight."""
    return np.stack([_moments(_above(scores, value))[1].mean(-1) for value in at], -1)


def profile_band(scores: np.ndarray, at: np.ndarray, level: float = 0.95) -> float:
    """Half width of a band that holds the whole profile of (tasks, seeds): the quantile of the largest deviation over
    `at` where the deviations of runs from their task's share are multiplied by normal numbers; NaN where nothing
    deviates."""
    counts = np.isfinite(scores).sum(-1)
    above = np.stack([_above(scores, value) for value in at], -1)
    off = above - np.nanmean(above, -2, keepdims=True)
    correction = np.sqrt(counts / np.maximum(counts - 1, 1)) / counts / len(scores)
    weighted = np.nan_to_num(off * correction[:, None, None]).reshape(-1, len(at))
    if not weighted.any():
        return float("nan")
    drawn = np.random.default_rng(0).standard_normal((BAND_DRAWS, len(weighted)))
    return float(np.quantile(np.abs(drawn @ weighted).max(-1), level))


def _above(scores: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.isnan(scores), np.nan, scores > value)


def _mean_of_finite(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over an axis without NaN; NaN where nothing is left."""
    finite = np.isfinite(values)
    counts = finite.sum(axis)
    sums = np.where(finite, values, 0.0).sum(axis)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _moments(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(number, mean, unbiased variance) over seeds. A task with a single run has the mean variance of the other tasks,
    since its own is unknown; 0 where values differ by rounding alone."""
    finite = np.isfinite(scores)
    counts = finite.sum(-1)
    means = _mean_of_finite(scores, -1)
    off = np.where(finite, scores - means[..., None], 0.0)
    variances = (off**2).sum(-1) / np.maximum(counts - 1, 1)
    rounding = (1e-12 * np.where(finite, np.abs(scores), 0.0).max(-1, initial=0.0)) ** 2
    variances = np.where(variances > rounding, variances, 0.0)
    if (counts < 2).any():
        known = np.where(counts > 1, variances, np.nan)
        variances = np.where(counts > 1, variances, _mean_of_finite(known, -1)[..., None])
    return counts, means, variances


def _combine(estimate: np.ndarray, groups: list[tuple[np.ndarray, np.ndarray]]) -> TaskEstimate:
    """Standard error of a mean over tasks from the (variance, number) of independent groups of runs, (..., tasks)."""
    tasks = groups[0][0].shape[-1]
    total, weighted = np.zeros(estimate.shape), np.zeros(estimate.shape)
    for variances, counts in groups:
        parts = variances / counts / tasks**2
        total = total + parts.sum(-1)
        weighted = weighted + (parts**2 / np.maximum(counts - 1, 1)).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = total**2 / weighted
    return TaskEstimate(estimate, np.sqrt(np.where(total > 0, total, np.nan)), df)


def _middle(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lowest, highest, weighted mean) of the middle half of all runs, (...)."""
    counts = np.isfinite(scores).sum(-1, keepdims=True)
    weights = np.where(np.isfinite(scores), 1 / counts / scores.shape[-2], 0.0)
    flat, weights = (part.reshape(*scores.shape[:-2], -1) for part in (scores, weights))
    order = np.argsort(flat, axis=-1)  # NaN last
    flat, weights = np.take_along_axis(flat, order, -1), np.take_along_axis(weights, order, -1)
    upto = np.cumsum(weights, -1)
    rounding = 1e-9
    kept = (upto > TRIMMED + rounding) & (1 - upto + weights > TRIMMED + rounding) & (weights > 0)
    low = np.where(kept, flat, np.inf).min(-1)
    high = np.where(kept, flat, -np.inf).max(-1)
    share = np.where(kept, weights, 0.0)
    return low, high, np.where(kept, flat * share, 0.0).sum(-1) / share.sum(-1)
