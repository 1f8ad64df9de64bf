"""Statistics over seeds: intervals, Welch contrasts, corrections for multiple testing, power."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from aggregate.statistics.alpha_spending import ALPHA as ALPHA
from aggregate.statistics.alpha_spending import ONE_ANALYSIS, InterimAnalyses

POWER = 0.8
MOST_SPLITS = 20_000  # enough for all splits of up to eight seeds against eight
SPLITS_AT_ONCE = 50  # what a processor's cache holds
MOST_SEEDS = 200
FEWEST_PAIRS = 3  # seeds that two configurations share; with fewer the variance of differences is hardly known
_PLACES, _WEIGHTS = np.polynomial.legendre.leggauss(32)  # of a mean over -1 to 1, where weights sum to 2


def t_quantile(p: npt.ArrayLike, df: npt.ArrayLike) -> np.ndarray:
    """Quantiles of Student's t, 0 < p < 1: `scipy.stats.t.ppf` without its checks, which take far longer."""
    quantiles: np.ndarray = special.stdtrit(df, p)
    return quantiles


def t_above(values: npt.ArrayLike, df: npt.ArrayLike) -> np.ndarray:
    """Probability that Student's t is above each of the values: `scipy.stats.t.sf`."""
    p: np.ndarray = special.stdtr(df, np.negative(values))
    return p


@dataclass(frozen=True)
class Interval:
    """Mean over seeds with its Student-t interval (n - 1 degrees of freedom).

    Called with a frame of one line per seed; returns `by`, metric, mean, sd, low, high, n, one line per
    group and metric. NaN and infinite values are left out; a single seed has a mean and no interval.
    """

    level: float = 0.95

    def __call__(self, frame: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
        keys = list(by)
        values = frame[list(metrics)].to_numpy(dtype=float)
        finite = pd.DataFrame(np.where(np.isfinite(values), values, np.nan), frame.index, list(metrics))
        grouped = finite.groupby([frame[key] for key in keys], observed=True)
        means = grouped.mean()
        mean, sd = means.to_numpy(dtype=float), grouped.std(ddof=1).to_numpy(dtype=float)
        n = grouped.count().to_numpy(dtype=int)
        group, metric = np.nonzero(n)  # a line for each group and metric with values
        mean, sd, n = (table[group, metric] for table in (mean, sd, n))
        half = self.half_width(sd, n)
        statistics = {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half, "n": n}
        owners = {key: means.index.get_level_values(key).take(group) for key in keys}
        return pd.DataFrame({**owners, "metric": means.columns.take(metric), **statistics})

    def half_width(self, sd: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Half the interval's width; NaN for n < 2."""
        degrees = np.arange(n.max(initial=0) + 1) - 1.0
        quantiles = t_quantile(0.5 + self.level / 2, np.where(degrees > 0, degrees, np.nan))
        half: np.ndarray = quantiles[n] * sd / np.sqrt(n)
        return half


@dataclass(frozen=True)
class AgainstBaseline:
    """Contrasts of every other group with a prespecified one, corrected by Holm and for interim `analyses`: Welch's, or
    paired by seed where `pairing` allows it (`differences`).

    Called with a frame of one line per seed; returns group, n, difference (group - baseline), low, high (Student-t
    interval, uncorrected), p (corrected), distinct (significant), permutation (exact p, uncorrected, as a check),
    better (probability that a seed of the group is above one of the baseline; below for `sign` -1), detectable
    (minimum detectable difference at 80 % power) and needed (seeds with which one as large as the difference would be
    detected), pairs and rho as of `Differences`, in the frame's order of groups.
    """

    analyses: InterimAnalyses = ONE_ANALYSIS
    sign: int = 1
    pairing: Pairing | None = None

    def __call__(self, frame: pd.DataFrame, group: str, value: str, baseline: str) -> pd.DataFrame:
        samples = samples_of(frame, group, value)
        base = samples.pop(baseline, np.empty(0))
        tests = self.analyses.tests(max(1, len(samples)))
        own = list(samples.values()) if base.size else []
        names = [baseline, *list(samples)[: len(own)]]
        compared = differences(frame, group, value, names, [(place, 0) for place in range(1, len(names))], self.pairing)
        less_baseline = compared.contrast
        difference, half = less_baseline.estimate, less_baseline.half_width()
        n = np.array([sample.size for sample in own], dtype=int)
        p = holm(self.analyses(less_baseline.p))
        seeds = np.where(compared.pairs, compared.pairs, np.minimum(n, base.size))
        return pd.DataFrame({
            group: list(samples)[: len(own)], "n": n, "difference": difference, "low": difference - half,
            "high": difference + half, "p": p, "permutation": _against(permutation, own, base),
            "better": _against(improvement, [self.sign * sample for sample in own], self.sign * base),
            "detectable": less_baseline.detectable(tests),
            "needed": seeds_needed(less_baseline, seeds, tests),
            "distinct": p < ALPHA, "pairs": compared.pairs, "rho": compared.rho,
        })  # fmt: skip


def _against(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray], samples: Sequence[np.ndarray], base: np.ndarray
) -> np.ndarray:
    """`function` of each sample and `base`, (samples,), with all samples of one size at once."""
    shares = np.empty(len(samples))
    for size in {sample.size for sample in samples}:
        places = [place for place, sample in enumerate(samples) if sample.size == size]
        rows = np.stack([samples[place] for place in places])
        shares[places] = function(rows, np.broadcast_to(base, (len(places), base.size)))
    return shares


def samples_of(frame: pd.DataFrame, group: str, value: str) -> dict[str, np.ndarray]:
    """Group -> its finite values, in the frame's order of groups; groups without any are omitted."""
    values = frame[value].to_numpy(dtype=float)
    finite = np.isfinite(values)
    codes, names = pd.factorize(frame[group].to_numpy()[finite])
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    parts = np.split(values[finite][np.argsort(codes, kind="stable")], ends[:-1])
    return {str(name): part for name, part in zip(names, parts, strict=False)}


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of group means with unequal variances (Welch).

    estimate, se, df, p: arrays of one shape. p is two-sided; NaN where all weighted groups have zero variance, or
    one has fewer than two values. df: Welch-Satterthwaite.
    """

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    p: np.ndarray

    def half_width(self, level: float = 0.95) -> np.ndarray:
        """Half the width of the Student-t interval."""
        return t_quantile(0.5 + level / 2, self.df) * self.se

    def detectable(self, tests: float = 1, factor: float | np.ndarray = 1.0) -> np.ndarray:
        """Minimum detectable value: the true value detected with 80 % power where the smallest of `tests` p values is
        corrected by Holm. factor: for so many times the values in every group."""
        df = self.df * factor
        quantiles = t_quantile(1 - ALPHA / 2 / tests, df) + t_quantile(POWER, df)
        return quantiles * self.se / np.sqrt(factor)

    def within(self, margin: float) -> np.ndarray:
        """p of equivalence: the larger p of two one-sided t tests that the value lies above -margin and below margin
        (Schuirmann 1987); NaN where `margin` or `p` is NaN."""
        return t_above((margin - np.abs(self.estimate)) / self.se, self.df)

    def power_within(self, margin: float, tests: float = 1) -> np.ndarray:
        """Probability that `within` shows equivalence where the true value is 0, with `tests` corrected by Bonferroni:
        the mean over the distribution of the standard error's estimate, chi with `df` degrees (Owen 1965). Takes `se`
        for the true standard error."""
        critical, reach = t_quantile(1 - ALPHA / tests, self.df), np.divide(margin, self.se)
        df = np.asarray(self.df)[..., None]
        # with a larger estimate, relative to the true one, no value is within the margin
        enough = special.chdtr(df, df * (reach / critical)[..., None] ** 2)
        relative = np.sqrt(special.chdtri(df, 1 - enough * (1 + _PLACES) / 2) / df)
        shown = 2 * special.ndtr(reach[..., None] - critical[..., None] * relative) - 1
        power: np.ndarray = enough[..., 0] * (shown @ _WEIGHTS) / 2
        return power


def contrast(weights: np.ndarray, means: np.ndarray, variances: np.ndarray, counts: np.ndarray) -> Contrast:
    """The contrast over the last axis, the groups. Two groups with weights (1, -1) give Welch's test."""
    used = weights != 0
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(used, weights**2 * variances / counts, 0.0)
        total = parts.sum(-1)
        df = total**2 / np.where(used, parts**2 / (counts - 1), 0.0).sum(-1)
    estimate = np.where(used, weights * means, 0.0).sum(-1)
    se = np.sqrt(np.where(total > 0, total, np.nan))
    return Contrast(estimate, se, df, 2 * t_above(np.abs(estimate) / se, df))


def variance(values: np.ndarray) -> np.ndarray:
    """Unbiased variance over the last axis, of two values or more; 0 where they differ by rounding alone, as a variance
    of rounding errors would make any difference significant."""
    unbiased = values.var(-1, ddof=1)
    return np.where(unbiased > (1e-12 * np.abs(values).max(-1)) ** 2, unbiased, 0.0)


def pooled_variance(samples: Sequence[np.ndarray]) -> tuple[float, int]:
    """(variance within the samples of two values or more, its degrees of freedom); (NaN, 0) without such a sample."""
    known = [sample for sample in samples if sample.size > 1]
    degrees = [sample.size - 1 for sample in known]
    if not known:
        return math.nan, 0
    return float(np.average([float(variance(sample)) for sample in known], weights=degrees)), sum(degrees)


def welch(a: np.ndarray, b: np.ndarray) -> Contrast:
    """Mean of `a` minus mean of `b`, over their last axes: (..., n) and (..., m)."""
    sides = (a, b)
    counts = np.array([side.shape[-1] for side in sides])
    if counts.min() < 1:
        none = np.full(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), np.nan)
        return Contrast(none, none, none, none)
    means = np.stack([side.mean(-1) for side in sides], -1)
    if counts.min() < 2:
        none = np.full(means.shape[:-1], np.nan)
        return Contrast(means[..., 0] - means[..., 1], none, none, none)
    variances = np.stack([variance(side) for side in sides], -1)
    return contrast(np.array([1.0, -1.0]), means, variances, counts)


def welch_pairs(samples: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]]) -> Contrast:
    """`welch` of the samples at both places of each pair; arrays of (pairs,)."""
    places = np.array(pairs, dtype=int).reshape(-1, 2)
    means, variances, counts = moments(samples)
    return contrast(np.array([1.0, -1.0]), means[places], variances[places], counts[places])


@dataclass(frozen=True)
class Pairing:
    """That groups are compared seed by seed. without: groups for which this is not possible, as a seed of theirs
    diverged."""

    without: frozenset[str] = frozenset()


class Differences(NamedTuple):
    """Means of one group less those of another. contrast: arrays of (pairs,). pairs: seeds by which each was paired, 0
    for Welch's test. rho: correlation of their values, NaN without one."""

    contrast: Contrast
    pairs: np.ndarray
    rho: np.ndarray


def differences(
    frame: pd.DataFrame, group: str, value: str, names: Sequence[str], pairs: Sequence[tuple[int, int]],
    pairing: Pairing | None = None,
) -> Differences:  # fmt: skip
    """The mean of the first group of each pair less that of the second, places in `names`.

    By Welch's test; with `pairing` by the paired t test over the seeds that both have values for, where these are
    `FEWEST_PAIRS` or more. frame: one line per seed, with the column seed.
    """
    samples = samples_of(frame, group, value)
    unpaired = welch_pairs([samples.get(name, np.empty(0)) for name in names], pairs)
    counts, rho = np.zeros(len(pairs), dtype=int), np.full(len(pairs), np.nan)
    if pairing is None or not pairs:
        return Differences(unpaired, counts, rho)
    table = frame.pivot(index=group, columns="seed", values=value).reindex(names).to_numpy(dtype=float)
    usable = np.isfinite(table) & ~np.isin(names, list(pairing.without))[:, None]
    parts = [np.array(part, dtype=float) for part in (unpaired.estimate, unpaired.se, unpaired.df, unpaired.p)]
    for place, (one, other) in enumerate(pairs):
        common = usable[one] & usable[other]
        if common.sum() >= FEWEST_PAIRS:
            a, b = table[one, common], table[other, common]
            own = paired_t(a, b)
            for part, of_pair in zip(parts, (own.estimate, own.se, own.df, own.p), strict=True):
                part[place] = of_pair
            counts[place], rho[place] = common.sum(), _correlation(a, b)
    return Differences(Contrast(*parts), counts, rho)


def paired_t(a: np.ndarray, b: np.ndarray) -> Contrast:
    """Mean of `a` minus mean of `b`, whose last axes are the same seeds: (..., n), n of 2 or more. p is NaN where the
    differences vary by rounding alone."""
    size = a.shape[-1]
    differences = a - b
    spread = differences.var(-1, ddof=1)
    limit = 1e-12 * np.maximum(np.abs(a).max(-1), np.abs(b).max(-1))
    se = np.sqrt(np.where(spread > limit**2, spread, np.nan) / size)
    estimate, df = differences.mean(-1), np.full(se.shape, size - 1.0)
    return Contrast(estimate, se, df, 2 * t_above(np.abs(estimate) / se, df))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of Pearson; NaN where one of the two does not vary."""
    if not variance(a) > 0 or not variance(b) > 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def moments(samples: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(means, variances as in `variance`, sizes), each (samples,), with all samples of one size at once; NaN with too
    few values."""
    counts = np.array([sample.size for sample in samples], dtype=int)
    means, variances = np.full(counts.size, np.nan), np.full(counts.size, np.nan)
    for size in {sample.size for sample in samples if sample.size}:
        places = [place for place, sample in enumerate(samples) if sample.size == size]
        rows = np.stack([samples[place] for place in places])
        means[places] = rows.mean(-1)
        if size > 1:
            variances[places] = variance(rows)
    return means, variances, counts


def permutation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two-sided p of the difference of means over all splits of (..., n) and (..., m) values into two groups of n and
    m; over `MOST_SPLITS` of them, drawn with a fixed seed, where there are more. NaN for a group of one."""
    if min(a.shape[-1], b.shape[-1]) < 2:
        return np.full(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), np.nan)
    result = stats.permutation_test(
        (a, b), _distance_of_means, vectorized=True, axis=-1, alternative="greater", n_resamples=MOST_SPLITS,
        batch=SPLITS_AT_ONCE, rng=np.random.default_rng(0),
    )  # fmt: skip
    p: np.ndarray = np.asarray(result.pvalue)
    return p


def _distance_of_means(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    distance: np.ndarray = np.abs(a.mean(axis) - b.mean(axis))
    return distance


def improvement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Probability of improvement: share of pairs in which the value of `a` is above that of `b`, over the last axes;
    ties count half. NaN for an empty one."""
    if not a.size or not b.size:
        return np.full(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), np.nan)
    above = stats.mannwhitneyu(a, b, axis=-1, method="asymptotic").statistic
    share: np.ndarray = np.asarray(above) / (a.shape[-1] * b.shape[-1])
    return share


def seeds_needed(observed: Contrast, seeds: int | np.ndarray, tests: float = 1) -> np.ndarray:
    """Seeds per configuration with which a difference as large as the observed one, which is over `seeds` seeds, would
    be detected with 80 % power; infinite beyond `MOST_SEEDS`, NaN where the contrast has no standard error."""
    size = np.abs(observed.estimate)
    fewest, most = np.full(size.shape, 2), np.full(size.shape, MOST_SEEDS + 1)
    while (fewest < most).any():  # what can be detected shrinks with every seed
        middle = (fewest + most) // 2
        enough = observed.detectable(tests, factor=middle / seeds) <= size
        fewest, most = np.where(enough, fewest, np.minimum(middle + 1, most)), np.where(enough, middle, most)
    return np.where(observed.se > 0, np.where(fewest > MOST_SEEDS, np.inf, fewest), np.nan)


def share_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion with `k` of `n` observed; (0, 1) for n = 0."""
    if not n:
        return 0.0, 1.0
    interval = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def most_share(n: int, level: float = 0.95) -> float:
    """The largest proportion that 0 of `n` does not exclude: one-sided exact limit (Clopper & Pearson 1934)."""
    return 1 - (1 - level) ** (1 / n) if n else 1.0


def share_difference(k0: int, n0: int, k1: int, n1: int) -> tuple[float, float]:
    """Newcombe's 95 % interval of the difference of proportions k1/n1 - k0/n0."""
    (low0, high0), (low1, high1) = share_interval(k0, n0), share_interval(k1, n1)
    p0, p1 = k0 / n0, k1 / n1
    return p1 - p0 - math.hypot(p1 - low1, high0 - p0), p1 - p0 + math.hypot(high1 - p1, p0 - low0)


def runs_needed(p0: float, p1: float, tests: float = 1) -> float:
    """Approximate number of runs per side with which proportions p0 and p1 would differ significantly with 80 % power
    (Casagrande's correction for Fisher's test); infinite where they are equal."""
    if p0 == p1:
        return math.inf
    alpha, beta = stats.norm.ppf(1 - ALPHA / 2 / tests), stats.norm.ppf(POWER)
    mean = (p0 + p1) / 2
    spread = alpha * math.sqrt(2 * mean * (1 - mean)) + beta * math.sqrt(p0 * (1 - p0) + p1 * (1 - p1))
    plain = (spread / (p1 - p0)) ** 2
    return plain / 4 * (1 + math.sqrt(1 + 4 / (plain * abs(p1 - p0)))) ** 2


class Fall(NamedTuple):
    """Decline from the best window of a curve to its last. peak: last point of the later of the two best windows."""

    fall: float
    gain: float  # from the first window to the best
    window: int
    peak: int


def split_fall(half_a: np.ndarray, half_b: np.ndarray) -> Fall | None:
    """Decline of a curve from its best window, from (n,) values of two halves of the data at the same points.

    The best window (a tenth of the points, at least three) is selected on one half and measured on the other, and the
    other way round: selected and measured on the same noise it would always decline. None below two windows.
    """
    window = max(3, round(half_a.size / 10))
    if half_a.size < 2 * window:
        return None
    a, b = (np.convolve(half, np.full(window, 1 / window), "valid") for half in (half_a, half_b))
    best_a, best_b = int(a.argmax()), int(b.argmax())
    best = b[best_a] + a[best_b]
    return Fall(
        float((best - b[-1] - a[-1]) / 2), float((best - b[0] - a[0]) / 2), window, max(best_a, best_b) + window - 1
    )


def holm(p: np.ndarray) -> np.ndarray:
    """Holm-adjusted p values over the last axis; NaN stays NaN and does not count as a test."""
    order = np.argsort(p, axis=-1, kind="stable")  # NaN last
    left = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True) - np.arange(p.shape[-1])
    steps = np.maximum.accumulate(np.take_along_axis(p, order, -1) * left, axis=-1)
    out = np.empty(p.shape)
    np.put_along_axis(out, order, np.minimum(steps, 1.0), axis=-1)
    return out


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg-adjusted p values (n,); NaN stays NaN and does not count as a test."""
    out = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        out[known] = stats.false_discovery_control(p[known])
    return out
