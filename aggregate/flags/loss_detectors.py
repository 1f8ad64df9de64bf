"""Detectors of losses: spikes, excursions and rises.

Losses that cannot be negative are judged by their logarithm, others as they are. Heights are relative to the
run's own row-to-row noise, so that nothing depends on the scale of a loss. The thresholds are quantiles over white,
autocorrelated (.95 from row to row), heavy-tailed (Student's t with 3 degrees of freedom) and heteroscedastic noise,
the largest of the four; `benchmarks/flags.py` measures the rates.
"""

from __future__ import annotations

import numpy as np

from aggregate.flags.curve_features import (
    STANDARD_ERRORS,
    WARM_UP,
    by_rows,
    departures,
    error_of_mean,
    jitter,
    quarter,
    running_median,
    smooth,
    window_of,
)
from aggregate.flags.detector import (
    Detector,
    Finding,
    RunView,
    finding,
    first_step,
    strongest,
    too_few,
    unknown,
)

# Number of spikes k -> rows -> the k-th largest height, in units of the noise, that noise without a fault exceeds in
# 0.04 % of runs. From 1,000 rows on it grows with the cube root of the rows, as tails of t(3) do.
SPIKE_HEIGHTS = {
    1: {20: 45.0, 40: 55.0, 200: 95.0, 1_000: 160.0, 10_000: 345.0},
    3: {20: 4.0, 40: 5.2, 200: 11.5, 1_000: 19.5, 10_000: 42.0},
    5: {20: 3.0, 40: 3.0, 200: 6.6, 1_000: 13.0, 10_000: 28.0},
    10: {20: 3.0, 40: 3.0, 200: 4.1, 1_000: 8.0, 10_000: 17.0},
    20: {20: 3.0, 40: 3.0, 200: 3.0, 1_000: 5.0, 10_000: 11.0},
}
MOST_SPIKES = 0.25  # share of rows; the noise of a curve with more spikes is not known
# (rows of the running median, rows between the levels that are compared) -> rows -> height, as for spikes. The pairs
# find excursions of about 3 to 11, 5 to 23 and 8 to 39 rows.
EXCURSION_HEIGHTS = {
    (5, 6): {20: 4.2, 40: 5.3, 99: 7.0, 100: 4.3, 200: 5.2, 1_000: 6.6, 10_000: 9.5},
    (9, 12): {40: 7.4, 99: 9.8, 100: 4.2, 200: 4.4, 1_000: 5.5, 10_000: 8.0},
    (15, 20): {60: 9.3, 99: 10.0, 100: 4.6, 200: 4.4, 1_000: 5.4, 10_000: 7.5},
}
FEWEST_FOR_LEVELS = 100  # rows from which the noise of the levels is estimated too, without one excursion biasing it


def spikes_of_positive(run: RunView, d: Detector) -> Finding:
    """Of a loss that cannot be negative."""
    return _spikes(run, d, logs=True)


def spikes_of_signed(run: RunView, d: Detector) -> Finding:
    """Of a loss that may have any sign, as it is: its logarithm would depend on its level."""
    return _spikes(run, d, logs=False)


def _spikes(run: RunView, d: Detector, logs: bool) -> Finding:
    """Single rows or stretches of rows that lie off the level before and after them."""
    series = run.series(d.role)
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    curve = np.log(series.values) if logs and (series.values > 0).all() else series.values
    height, noise = departures(curve, running_median(curve, 5), 3)
    height[: int(np.ceil(WARM_UP * curve.size))] = 0.0
    noise = noise or float(np.abs(height).mean()) * np.sqrt(np.pi / 2)
    kinds = _single_rows(height, noise, series.steps, d)
    if noise > 0:
        kinds += [_excursion(curve, noise, series.steps, d, *shape) for shape in EXCURSION_HEIGHTS
                  if curve.size >= min(EXCURSION_HEIGHTS[shape])]  # fmt: skip
    return strongest(kinds, _not_found(curve.size, d))


def _single_rows(height: np.ndarray, noise: float, steps: np.ndarray, d: Detector) -> list[Finding]:
    """One finding for each number of spikes that is tried; noise 0: a curve that is constant, which has none.

    Where more than half of a curve is constant its median absolute deviation is 0. The caller then takes the mean
    absolute deviation times sqrt(pi / 2) (Iglewicz & Hoaglin 1993).
    """
    relative = height / noise if noise > 0 else np.zeros(height.size)
    ordered = np.sort(relative)[::-1]
    findings = []
    for count, heights in SPIKE_HEIGHTS.items():
        if count > max(1, MOST_SPIKES * height.size):
            continue
        least = max(d.threshold, by_rows(heights, height.size))
        hits = np.flatnonzero(relative > least)
        onset = steps[hits[0]] if hits.size else np.nan
        text = f"{hits.size} {'spike' if hits.size == 1 else 'spikes'} of single rows"
        findings.append(finding(ordered[count - 1], least, onset, text))
    return findings


def _excursion(curve: np.ndarray, noise: float, steps: np.ndarray, d: Detector, width: int, distance: int) -> Finding:
    level = running_median(curve, width)
    height, of_levels = departures(level, level, distance)
    height[: int(np.ceil(WARM_UP * curve.size))] = 0.0
    # an excursion changes two differences of rows, but many differences from medians
    scale = max(jitter(curve), of_levels if curve.size >= FEWEST_FOR_LEVELS else 0.0) or noise
    least = max(d.threshold, by_rows(EXCURSION_HEIGHTS[width, distance], curve.size))
    over = height / scale > least
    return finding(
        height.max() / scale,
        least,
        first_step(steps, over),
        f"excursion of about {over.sum()} rows" if over.any() else "no excursion",
    )


def _not_found(rows: int, d: Detector) -> str:
    one, three = (max(d.threshold, by_rows(SPIKE_HEIGHTS[count], rows)) for count in (1, 3))
    return (f"with {rows:,} rows, one or two spikes below {one:.3g} x the noise, three below {three:.3g} x, and all in "
            f"the first {WARM_UP:.0%} and the last 3 rows")  # fmt: skip


def rises(run: RunView, d: Detector) -> Finding:
    """Ratio of a loss's last quarter to the lower of its second and third."""
    series = run.series(d.role)
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    if not (series.values > 0).all():
        return unknown(f"{d.metric} is not positive throughout")
    logs = np.log(series.values)
    low = min(float(quarter(logs, 2).mean()), float(quarter(logs, 3).mean()))
    risen = float(quarter(logs, 4).mean()) - low
    noise = STANDARD_ERRORS * np.sqrt(2) * error_of_mean(logs, logs.size // 4)
    least = max(d.threshold, float(np.exp(noise)))
    half = logs.size // 2
    over = smooth(logs, window_of(logs.size))[half:] > low + np.log(d.threshold)
    detail = f"{np.exp(low):.3g}, then {np.exp(low + risen):.3g}"
    return finding(np.exp(risen), least, first_step(series.steps[half:], over), detail)
