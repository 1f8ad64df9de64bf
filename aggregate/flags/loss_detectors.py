"""Detectors of losses: spikes, excursions and rises.

Losses that cannot be negative are judged by their logarithm, others as they are. Heights are relative to the
run's own row-to-row noise, so that nothing depends on the scale of a loss. The thresholds are quantiles over white,
autocorrelated (.95 from row to row), heavy-tailed (Student's t with 3 degrees of freedom) and heteroscedastic noise,
the largest of the four; `benchmarks/flags.py` measures the rates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aggregate.flags.curve_features import (
    STANDARD_ERRORS,
    WARM_UP,
    by_rows,
    departures,
    error_of_mean,
    jitter,
    off_longer_median,
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
from sweepwise.core.value_format import percent

# Number of spikes k -> rows -> the k-th largest height, in units of the noise, that noise without a fault exceeds in
# 0.04 % of runs. From 1,000 rows on it grows with the cube root of the rows, as tails of t(3) do.
SPIKE_HEIGHTS = {
    1: {20: 45.0, 40: 55.0, 200: 95.0, 1_000: 160.0, 10_000: 345.0},
    3: {20: 4.0, 40: 5.0, 200: 10.4, 1_000: 19.0, 10_000: 41.0},
    5: {20: 2.8, 40: 2.8, 200: 6.5, 1_000: 12.3, 10_000: 26.0},
    10: {20: 2.5, 40: 2.5, 200: 3.7, 1_000: 7.2, 10_000: 15.5},
    15: {20: 2.5, 40: 2.5, 200: 2.9, 1_000: 5.4, 10_000: 11.6},
    20: {20: 2.5, 40: 2.5, 200: 2.5, 1_000: 4.6, 10_000: 10.0},
}
MOST_SPIKES = 0.25  # share of rows; the noise of a curve with more spikes is not known
# (rows of the running median, rows between the levels that are compared) -> rows -> height, as for spikes. The pairs
# find excursions of about 3 to 11, 5 to 23 and 8 to 39 rows.
EXCURSION_HEIGHTS = {
    (5, 6): {20: 4.2, 40: 5.3, 99: 7.0, 100: 4.3, 200: 5.2, 1_000: 6.6, 10_000: 9.5},
    (9, 12): {40: 7.4, 99: 9.8, 100: 4.2, 200: 4.4, 1_000: 5.5, 10_000: 8.0},
    (15, 20): {60: 9.3, 99: 10.0, 100: 4.6, 200: 4.4, 1_000: 5.4, 10_000: 7.5},
}
# The same for a running median (its rows first) off a far longer one (its rows second), which follows steps and steep
# trends but no excursion: beside these two the levels before and after an excursion differ too much. The pairs find
# excursions of about 5 to 12 and 8 to 20 rows.
LONG_LEVEL_HEIGHTS = {
    (9, 25): {40: 5.3, 99: 6.0, 200: 7.2, 1_000: 8.5, 10_000: 9.5},
    (15, 41): {100: 6.9, 200: 8.2, 1_000: 9.1, 10_000: 10.0},
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
    levels = {width: running_median(curve, width) for width in {5, *(width for width, _ in EXCURSION_HEIGHTS)}}
    height, noise = departures(curve, levels[5], 3)
    height[: int(np.ceil(WARM_UP * curve.size))] = 0.0
    noise = noise or float(np.abs(height).mean()) * np.sqrt(np.pi / 2)
    kinds = _single_rows(height, noise, series.steps, d)
    if noise > 0:
        kinds += _excursions(curve, levels, noise, series.steps, d)
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


def _excursions(
    curve: np.ndarray, levels: Mapping[int, np.ndarray], noise: float, steps: np.ndarray, d: Detector
) -> list[Finding]:
    """One finding for each pair of the tables that so many rows suffice for. levels: running medians by their rows."""
    by_difference, findings = jitter(curve), []
    for table, measure in ((EXCURSION_HEIGHTS, departures), (LONG_LEVEL_HEIGHTS, off_longer_median)):
        for (width, other), heights in table.items():
            if curve.size < min(heights):
                continue
            level = levels[width]
            height, of_levels = measure(level if measure is departures else curve, level, other)
            # an excursion changes two differences of rows, but many differences from medians
            scale = max(by_difference, of_levels if curve.size >= FEWEST_FOR_LEVELS else 0.0) or noise
            least = max(d.threshold, by_rows(heights, curve.size))
            findings.append(_excursion(height / scale, least, steps))
    return findings


def _excursion(relative: np.ndarray, least: float, steps: np.ndarray) -> Finding:
    """relative: heights in units of the noise."""
    relative[: int(np.ceil(WARM_UP * relative.size))] = 0.0
    over = relative > least
    text = f"excursion of about {over.sum()} rows" if over.any() else "no excursion"
    return finding(relative.max(), least, first_step(steps, over), text)


def _not_found(rows: int, d: Detector) -> str:
    one, three = (max(d.threshold, by_rows(SPIKE_HEIGHTS[count], rows)) for count in (1, 3))
    return (f"with {rows:,} rows, one or two spikes below {one:.3g} x the noise, three below {three:.3g} x, and all in "
            f"the first {percent(WARM_UP)} and the last 3 rows")  # fmt: skip


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
