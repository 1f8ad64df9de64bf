"""Features of curves that detectors use. Values are finite, of shape (n,), evenly spaced unless stated otherwise."""

from __future__ import annotations

import functools
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
    """Indices where the direction reverses after a move of at least `swing` (zigzag), without the ends."""
    turns: list[int] = []
    low = high = 0
    direction = 0
    values = curve.tolist()  # a list is read element by element many times faster than an array
    for i, value in enumerate(values):
        if value > values[high]:
            high = i
        if value < values[low]:
            low = i
        if direction >= 0 and values[high] - value >= swing:
            turns += [high] if direction > 0 else []
            direction, low = -1, i
            high = i
        elif direction <= 0 and value - values[low] >= swing:
            turns += [low] if direction < 0 else []
            direction, high = 1, i
            low = i
    return turns


def largest_swing(values: np.ndarray, reversals: int) -> float:
    """The largest swing for which the curve has at least `reversals` turning points."""
    values = _corners(values)
    low, high = 0.0, float(np.ptp(values))
    for _ in range(10):
        middle = (low + high) / 2
        enough = len(turning_points(values, middle)) >= reversals
        low, high = (middle, high) if enough else (low, middle)
    return low


def _corners(values: np.ndarray) -> np.ndarray:
    """The ends and the points where the direction changes: all that turning points depend on."""
    moved = values[np.flatnonzero(np.diff(values, prepend=np.nan) != 0)]
    rises = np.diff(moved) > 0
    corners: np.ndarray = moved[[0, *(np.flatnonzero(rises[1:] != rises[:-1]) + 1), -1]]
    return corners


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve smoothed over 5 % of the run and subsampled to at most four points per window."""
    window = window_of(values.size)
    every = max(1, window // 4)
    return steps[::every], smooth(values, window)[::every]


def running_median(values: np.ndarray, rows: int) -> np.ndarray:
    """Centred running median over an odd number of rows, mirrored at the ends."""
    medians: np.ndarray = ndimage.median_filter(values, rows, mode="reflect")
    return medians


def departures(curve: np.ndarray, level: np.ndarray, distance: int) -> tuple[np.ndarray, float]:
    """(heights (n,), noise): how far `curve` lies off the nearer of the levels `distance` rows before and after it.

    The height is 0 where the curve lies between the two or these differ by more, so that trends, steps and steps in a
    trend have none, and near the ends, within half of `distance` and 3 rows. noise: robust standard deviation of the
    difference from the mean of both levels.
    """
    at = np.arange(curve.size)
    last = max(curve.size - distance, 0)
    before = curve - level[np.maximum(at - distance, 0)]
    after = curve - level[np.minimum(at + distance, curve.size - 1)]
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
    extended = np.pad(curve, half, mode="reflect", reflect_type="odd")
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
    return float(np.interp(np.log(rows), np.log(list(table)), list(table.values())))
