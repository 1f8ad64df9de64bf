"""Features of curves that detectors use. Values are finite, of shape (n,), evenly spaced unless stated otherwise."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

TREND_DEGREE = 5  # of the polynomial whose residuals are taken as noise
STANDARD_ERRORS = 3.0  # from which a difference is not attributed to noise
WARM_UP = 0.1  # share of rows at the start, where losses fall from their initial value


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean; at the ends over the points inside the curve."""
    ones, ahead = np.ones(window), (window - 1) // 2
    sums, counts = (np.convolve(v, ones)[ahead : ahead + values.size] for v in (values, np.ones(values.size)))
    means: np.ndarray = sums / counts  # ten times as fast as a rolling mean of pandas, with the same result
    return means


def window_of(count: int, share: float = 0.05) -> int:
    """Points in `share` of a run, at least three."""
    return max(3, round(share * count))


def quarter(values: np.ndarray, which: int) -> np.ndarray:
    """The quarter number `which` (1 to 4) of a curve."""
    n = values.size
    return values[(which - 1) * n // 4 : which * n // 4]


def variances(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Unbiased variance of each sample of two or more values, in one pass over all of them."""
    if not samples:
        return np.empty(0)
    sizes = np.array([sample.size for sample in samples])
    starts, values = np.cumsum(sizes) - sizes, np.concatenate(samples)
    rest = values - np.repeat(np.add.reduceat(values, starts) / sizes, sizes)
    unbiased: np.ndarray = np.add.reduceat(rest**2, starts) / (sizes - 1)
    return unbiased


def complete(samples: Sequence[np.ndarray]) -> list[int]:
    """Places of the samples of two or more values that are all finite, in one pass over all of them."""
    places = [place for place, sample in enumerate(samples) if sample.size > 1]
    if not places:
        return []
    sizes = np.array([samples[place].size for place in places])
    finite = np.isfinite(np.concatenate([samples[place] for place in places]))
    whole = np.logical_and.reduceat(finite, np.cumsum(sizes) - sizes)
    return list(itertools.compress(places, whole.tolist()))


def means(samples: Sequence[np.ndarray], start: int = 0, every: int = 1) -> np.ndarray:
    """The mean of each sample, or of each `every`-th value from `start`; in one pass where all have one size."""
    if len({sample.size for sample in samples}) == 1:
        rows = np.concatenate(samples).reshape(len(samples), -1)
        return np.asarray(rows[:, start::every].mean(axis=1))
    return np.array([sample[start::every].mean() for sample in samples])


def spread(values: np.ndarray) -> float:
    """p95 - p5, the range a run's curve covers."""
    low, high = np.percentile(values, [5, 95])
    return float(high - low)


def median(values: np.ndarray) -> float:
    """As `np.median`, which takes several times as long for a curve."""
    half, odd = divmod(values.size, 2)
    if not half:
        return float(np.median(values))
    parts = np.partition(values, [half, -1] if odd else [half - 1, half, -1])  # NaN comes last
    if np.isnan(parts[-1]):
        return math.nan
    return float(parts[half] if odd else (parts[half - 1] + parts[half]) / 2)


def robust_sd(values: np.ndarray) -> float:
    """The median absolute deviation, scaled to the standard deviation of a normal distribution."""
    return 1.4826 * median(np.abs(values - median(values)))


def jitter(values: np.ndarray) -> float:
    """Robust standard deviation of point-to-point noise, independent of level and trend."""
    return float(robust_sd(np.diff(values)) / np.sqrt(2))


def error_of_mean(values: np.ndarray, count: int) -> float:
    """Standard error of a mean over `count` neighbouring points, from the residuals about a polynomial.

    Corrected for autocorrelation: correlated points reduce the error less than independent ones.
    """
    n = values.size
    degree = min(TREND_DEGREE, n // 6)
    basis = _polynomials(n, degree)
    rest = values - basis @ (basis.T @ values)
    sigma = robust_sd(rest) * np.sqrt(n / (n - degree - 1))
    if not sigma > 0:
        return 0.0
    near = np.clip(rest / sigma, -3, 3)
    rho = float(near[1:] @ near[:-1] / (near @ near))
    # the fitted trend removes correlation: correct for this bias
    rho = min(max(rho + (1 + 4 * rho + degree) / n, 0.0), 0.95)
    return float(sigma * np.sqrt(min(1.0, (1 + rho) / (1 - rho) / count)))


@functools.lru_cache(maxsize=64)  # a run has a few numbers of rows, each used by many detectors
def _polynomials(points: int, degree: int) -> np.ndarray:
    """(points, degree + 1): orthonormal polynomials at evenly spaced points."""
    return np.linalg.qr(np.polynomial.chebyshev.chebvander(np.linspace(-1, 1, points), degree))[0]


def turning_points(curve: np.ndarray, swing: float) -> list[int]:
    """Indices where the direction reverses after a move of at least `swing` > 0 (zigzag), without the ends."""
    corners = _corners(curve)
    turns: list[int] = corners[_turns(curve[corners].tolist(), swing, corners.size)].tolist()
    return turns


def largest_swing(curve: np.ndarray, reversals: int) -> float:
    """The largest swing for which the curve has at least `reversals` turning points."""
    values = curve[_corners(curve)].tolist()
    low, high = 0.0, max(values) - min(values)
    for _ in range(10):
        middle = (low + high) / 2
        enough = len(_turns(values, middle, reversals)) >= reversals
        low, high = (middle, high) if enough else (low, middle)
    return low


def _corners(values: np.ndarray) -> np.ndarray:
    """Indices of the ends and of the points where the direction changes: all that turning points depend on."""
    moved = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    rises = np.diff(values[moved]) > 0
    turned = np.flatnonzero(rises[1:] != rises[:-1]) + 1
    corners: np.ndarray = moved[np.concatenate(([0], turned, [-1]))]
    return corners


def _turns(values: Sequence[float], swing: float, most: int) -> list[int]:
    """The first turning points, `most` of them. values: a list, which is read many times faster than an array."""
    turns: list[int] = []
    low = high = direction = 0
    bottom = top = values[0]
    for i, value in enumerate(values):
        if direction <= 0:
            if value < bottom:
                low, bottom = i, value
            elif value - bottom >= swing:
                turns += [low] if direction else []
                direction, high, top = 1, i, value
                if len(turns) == most:
                    break
                continue
        if direction >= 0:
            if value > top:
                high, top = i, value
            elif top - value >= swing:
                turns += [high] if direction else []
                direction, low, bottom = -1, i, value
                if len(turns) == most:
                    break
    return turns


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve smoothed over 5 % of the run and subsampled to at most four points per window."""
    window = window_of(values.size)
    every = max(1, window // 4)
    return steps[::every], smooth(values, window)[::every]


def running_median(values: np.ndarray, rows: int) -> np.ndarray:
    """Centred running median over an odd number of rows, mirrored at the ends."""
    if rows == 5 and values.size > 1:
        return running_median_of_5(values)
    medians: np.ndarray = ndimage.median_filter(values, rows, mode="reflect")
    return medians


def running_median_of_5(values: np.ndarray) -> np.ndarray:
    """The same over 5 rows, along the last axis of two values or more: comparisons of whole curves take a fifth of the
    time."""
    count = values.shape[-1]
    extended = np.concatenate((values[..., 1::-1], values, values[..., :-3:-1]), axis=-1)
    a, b, c, d, e = (extended[..., shift : shift + count] for shift in range(5))
    low = np.maximum(np.minimum(a, b), np.minimum(c, d))
    high = np.minimum(np.maximum(a, b), np.maximum(c, d))
    medians: np.ndarray = np.maximum(np.minimum(e, low), np.minimum(np.maximum(e, low), high))
    return medians


def departures(curve: np.ndarray, level: np.ndarray, distance: int) -> tuple[np.ndarray, float]:
    """(heights (n,), noise): how far `curve` lies off the nearer of the levels `distance` rows before and after it.

    The height is 0 where the curve lies between the two or these differ by more, so that trends, steps and steps in a
    trend have none, and near the ends, within half of `distance` and 3 rows. noise: robust standard deviation of the
    difference from the mean of both levels.
    """
    last = max(curve.size - distance, 0)
    ends = np.concatenate((np.repeat(level[:1], distance), level, np.repeat(level[-1:], distance)))
    before, after = curve - ends[: curve.size], curve - ends[2 * distance :]
    nearer = np.minimum(np.abs(before), np.abs(after))
    heights = np.where((before * after > 0) & (np.abs(before - after) < nearer), nearer, 0.0)
    edge = max(distance // 2, 3)
    heights[:edge] = heights[-edge:] = 0.0
    inside = ((before + after) / 2)[distance:last]
    return heights, robust_sd(inside) if inside.size else 0.0


def off_longer_median(curve: np.ndarray, level: np.ndarray, rows: int) -> tuple[np.ndarray, float]:
    """(heights (n,), noise): how far `level` lies off a running median of `curve` over an odd number of rows.

    For that median the curve goes on beyond its ends mirrored at them, in step and in value, so that of a trend or a
    step it is the curve itself. The height is 0 in the last 3 rows. noise: robust standard deviation of the difference.
    """
    half = min(rows // 2, curve.size - 1)
    extended = np.concatenate((2 * curve[0] - curve[half:0:-1], curve, 2 * curve[-1] - curve[-2 : -half - 2 : -1]))
    difference = level - ndimage.median_filter(extended, 2 * half + 1)[half:-half]
    heights = np.abs(difference)
    heights[-3:] = 0.0
    return heights, robust_sd(difference)


def jitter_growth(values: np.ndarray) -> float:
    """`jitter` of the second half over that of the first without the warm-up; NaN where the first does not move."""
    half = values.size // 2
    first, second = jitter(values[int(WARM_UP * values.size) : half]), jitter(values[half:])
    return second / first if first > 0 else np.nan


def by_rows(table: Mapping[int, float], rows: int) -> float:
    """A threshold from a table by number of rows, interpolated in their logarithm; constant beyond its ends."""
    return _by_rows(tuple(table.items()), rows)


@functools.lru_cache(maxsize=1024)  # runs of a sweep have the same few numbers of rows
def _by_rows(table: tuple[tuple[int, float], ...], rows: int) -> float:
    known, values = zip(*table, strict=True)
    return float(np.interp(np.log(rows), np.log(known), values))
