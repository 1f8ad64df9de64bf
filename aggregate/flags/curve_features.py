"""Features of curves that detectors use. Values are finite, of shape (n,), evenly spaced unless stated otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

TREND_DEGREE = 5  # of the polynomial whose residuals are taken as noise
# Beyond this quantile, tails as heavy as those of Student's t with 4 degrees of freedom are assumed.
TAIL_FROM, TAIL_EXPONENT = 0.9, 4.0


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


def robust_sd(values: np.ndarray) -> float:
    """The median absolute deviation, scaled to the standard deviation of a normal distribution."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def jitter(values: np.ndarray) -> float:
    """Robust standard deviation of point-to-point noise, independent of level and trend."""
    return float(robust_sd(np.diff(values)) / np.sqrt(2))


def error_of_mean(values: np.ndarray, count: int) -> float:
    """Standard error of a mean over `count` neighbouring points, from the residuals about a polynomial.

    Corrected for autocorrelation: correlated points reduce the error less than independent ones.
    """
    n = values.size
    degree = min(TREND_DEGREE, n // 6)
    basis = np.polynomial.chebyshev.chebvander(np.linspace(-1, 1, n), degree)
    rest = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    sigma = robust_sd(rest) * np.sqrt(n / (n - degree - 1))
    if not sigma > 0:
        return 0.0
    near = np.clip(rest / sigma, -3, 3)
    rho = float(near[1:] @ near[:-1] / (near @ near))
    # the fitted trend removes correlation: correct for this bias
    rho = min(max(rho + (1 + 4 * rho + degree) / n, 0.0), 0.95)
    return float(sigma * np.sqrt(min(1.0, (1 + rho) / (1 - rho) / count)))


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
    low, high = 0.0, float(np.ptp(values))
    for _ in range(10):
        middle = (low + high) / 2
        enough = len(turning_points(values, middle)) >= reversals
        low, high = (middle, high) if enough else (low, middle)
    return low


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve smoothed over 5 % of the run and subsampled to at most four points per window."""
    window = window_of(values.size)
    every = max(1, window // 4)
    return steps[::every], smooth(values, window)[::every]


def log_or_asinh(values: np.ndarray, positive: bool) -> np.ndarray:
    """A loss on a scale on which thresholds do not depend on its magnitude: the log of a `positive` loss, else asinh of
    the deviation from the median in units of the range."""
    logs = positive and (values > 0).all()
    scaled: np.ndarray = np.log(values) if logs else np.arcsinh((values - np.median(values)) / (spread(values) or 1.0))
    return scaled


def spikes(scaled: np.ndarray, chance: float) -> tuple[np.ndarray, float]:
    """(height (n,), least): distance from the rolling median of 11 points, and the height that a spike must exceed.

    least: the height that noise with tails of Student's t with 4 degrees of freedom exceeds anywhere in the curve with
    probability `chance`, extrapolated from the heights' 90 % quantile; both in units of the range.
    """
    level = pd.Series(scaled).rolling(11, center=True, min_periods=6).median().to_numpy()
    height = np.abs(scaled - level)
    beyond = (1 - TAIL_FROM) * scaled.size / chance
    least = float(np.quantile(height, TAIL_FROM)) * beyond ** (1 / TAIL_EXPONENT)
    size = spread(scaled) or np.inf
    return height / size, least / size
