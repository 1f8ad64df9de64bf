"""Detectors of the policy: its log standard deviation, entropy, and the noise of its loss."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from aggregate.flags.curve_features import (
    WARM_UP,
    by_rows,
    jitter_growth,
    largest_swing,
    quarter,
    running_median_of_5,
    smooth,
    thinned,
    turning_points,
    window_of,
)
from aggregate.flags.detector import Detector, Finding, RunView, finding, first_step, strongest, too_few, unknown
from sweepwise.core.value_format import percent

MIN_REVERSALS = 2  # turning points of a slow oscillation; a monotonic change has none
FEWEST_FOR_SWINGS = 30  # rows
ROWS_PER_REVERSAL, FEWEST_REVERSALS = 50, 6  # of a fast oscillation: at least one turning point in 50 rows
# Rows -> 70 % quantile of |difference of neighbouring rows| / sqrt 2, in nat, that noise with a standard deviation of
# 0.05 nat exceeds in 0.08 % of runs with six dimensions. It holds where the threshold of swings is SWING nat.
JUMPS, JUMP_QUANTILE, SWING = {20: 0.145, 40: 0.095, 200: 0.068, 1_000: 0.06}, 0.7, 0.25
ONSET_ROWS = 21  # neighbouring rows of which the quantile is compared to find the first jumps
MIN_ENTROPY_FALL = 1.0  # nat
EARLY = 0.25  # share of training
HALF = 0.5  # of the sweep's best, counted from its worst start
BASELINE_GROWTH = 3.0  # times the baseline's
# Standard errors from which a growth of noise is none by chance: with 40 rows the error is itself uncertain.
GROWTH_ERRORS = 4.0


def log_std_oscillates(run: RunView, d: Detector) -> Finding:
    """The strongest of slow swings, fast swings and jumps from row to row, each in its busiest dimension."""
    steps, dims = run.log_std
    if steps.size < d.min_points:
        return too_few(steps.size, d)
    if not len(dims):
        return unknown("no dimension is finite throughout")
    kinds = [_jumps(steps, dims, d)]
    if steps.size >= FEWEST_FOR_SWINGS:
        fast = max(FEWEST_REVERSALS, steps.size // ROWS_PER_REVERSAL)
        slow_curves = [thinned(steps, dim)[1] for dim in dims]
        kinds.append(_swings(thinned(steps, dims[0])[0], slow_curves, MIN_REVERSALS, "slow", d))
        kinds.append(_swings(steps, list(running_median_of_5(dims)), fast, "fast", d))
    jumps = f"jumps from row to row below {np.sqrt(2) * kinds[0].least:.2f} nat, changes between two rows"
    slower = f"swings below {d.threshold:g} nat" if len(kinds) > 1 else "oscillations with a period of more than 6 rows"
    return strongest(kinds, f"with {steps.size:,} rows, {jumps}, and {slower}")


def _swings(steps: np.ndarray, curves: list[np.ndarray], reversals: int, kind: str, d: Detector) -> Finding:
    """Largest swing with at least `reversals` turning points, of the dimension with most turning points."""
    ranges = [float(np.ptp(curve)) for curve in curves]
    turns = [
        turning_points(curve, d.threshold) if size > d.threshold else []
        for curve, size in zip(curves, ranges, strict=True)
    ]
    worst = max(range(len(curves)), key=lambda i: (len(turns[i]), ranges[i]))
    detail = f"{kind} swings: {len(turns[worst])} reversals in the busiest of {len(curves)} dimensions"
    onset = steps[turns[worst][0]] if turns[worst] else np.nan
    return finding(largest_swing(curves[worst], reversals), d.threshold, onset, detail)


def _jumps(steps: np.ndarray, dims: np.ndarray, d: Detector) -> Finding:
    """Jumps from row to row: for independent noise the measured value is about its standard deviation."""
    jumps = np.abs(np.diff(dims, axis=1)) / np.sqrt(2)
    sizes = np.quantile(jumps, JUMP_QUANTILE, axis=1)
    worst = int(np.argmax(sizes))
    least = by_rows(JUMPS, steps.size) * d.threshold / SWING
    detail = f"jumps from row to row in the busiest of {len(dims)} dimensions"
    # single rows of noise jump as far: the onset is where many of them do
    local = ndimage.percentile_filter(jumps[worst], 100 * JUMP_QUANTILE, min(ONSET_ROWS, jumps.shape[1]))
    return finding(sizes[worst], least, first_step(steps[1:], local > least), detail)


def _log_std_limits(run: RunView) -> tuple[float, float] | None:
    """The lower and the upper end in this run; None where the agent declares none."""
    defaults = {parameter.name: parameter.default for parameter in run.agent.hyperparameters}
    values = [run.config.get(key, defaults.get(key)) for key in run.agent.diagnostics.log_std_limits or ()]
    return (float(values[0]), float(values[1])) if values and None not in values else None


def log_std_at_floor(run: RunView, d: Detector) -> Finding:
    if (limits := _log_std_limits(run)) is None:
        return unknown("not assessed: the agent declares no limits of log_std")
    steps, dims = run.log_std
    if steps.size < d.min_points or not len(dims):
        return too_few(steps.size if len(dims) else 0, d)
    low, high = limits
    late = np.array([quarter(dim, 4).mean() for dim in dims])
    depth = (high - dims[np.argmin(late)]) / (high - low)
    detail = f"lowest of {len(dims)} dimensions at {late.min():.2f}, allowed from {low:g} to {high:g}"
    return finding((high - late.min()) / (high - low), d.threshold, first_step(steps, depth > d.threshold), detail)


def entropy_collapses(run: RunView, d: Detector) -> Finding:
    series, tested, words = run.series(d.role), run.series("primary"), run.agent.catalogue.primary.words
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    trace = smooth(series.values, window_of(series.values.size))
    fallen, early = trace[0] - trace, series.steps <= EARLY * run.total_steps
    if fallen.max() < MIN_ENTROPY_FALL or not early.any():
        return finding(0.0, d.threshold, np.nan, f"falls by {max(fallen.max(), 0):.1f} nat in all")
    share = fallen / fallen.max()
    onset = first_step(series.steps, share > d.threshold)
    known = tested.values[tested.steps <= max(onset, tested.steps[0])] if tested.values.size else tested.values
    if not known.size or not run.sweep_gain > 0:
        return unknown(f"no evaluation {words} to compare with")
    reached = (known[-1] - run.reference.low) / (run.reference.best - run.reference.low)
    detail = f"fell by {fallen.max():.1f} nat in all; the {words} was then at {percent(reached)} of the sweep's best"
    return finding(share[early].max(), d.threshold, onset, detail, bool(reached < HALF))


def pi_loss_variance(run: RunView, d: Detector) -> Finding:
    """Growth of the noise from the first to the second half, by itself and beside the growth of the baseline's.

    Ratios of one loss to itself: sweeps compare configurations whose losses differ in scale.
    """
    series = run.series(d.role)
    count = series.values.size
    if count < d.min_points:
        return too_few(count, d)
    ratio = jitter_growth(series.values)
    if not np.isfinite(ratio):
        return unknown(f"{d.metric} does not move")
    # standard error of the log of a ratio of median absolute deviations
    error = GROWTH_ERRORS * np.sqrt(2 / (0.37 * 2 * (0.5 - WARM_UP) * count))
    onset, detail = series.steps[-(count // 2)], f"{ratio:.1f} x its first half"
    kinds = [finding(ratio, max(d.threshold, float(np.exp(error))), onset, detail)]
    if run.reference.jitter_growth > 0:
        beside = ratio / run.reference.jitter_growth
        detail = f"{detail}, a growth {beside:.1f} x the baseline's"
        least = max(BASELINE_GROWTH, float(np.exp(np.sqrt(2) * error)))
        kinds = [*(finding(f.measured, f.least, onset, detail) for f in kinds),
                 finding(beside, least, onset, detail, also=ratio > 1)]  # fmt: skip
    return strongest(kinds)
