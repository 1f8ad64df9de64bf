"""Detectors of the primary metric and of what has its unit, by `RunView.quality`, which rises as the agent improves."""

from __future__ import annotations

import numpy as np

from aggregate.flags.curve_features import (
    STANDARD_ERRORS,
    by_rows,
    error_of_mean,
    jitter,
    quarter,
    smooth,
    variances,
    window_of,
)
from aggregate.flags.detector import (
    Detector,
    Finding,
    Halves,
    RunView,
    Series,
    finding,
    paired,
    strongest,
    too_few,
    unknown,
)
from aggregate.inputs.metric_words import RETURN, value_text, with_unit
from aggregate.statistics.estimates import split_fall
from sweepwise.core.value_format import percent

NOISY = 0.15  # of the sweep's gain: threshold of noise from one evaluation to the next
END = 0.05  # share of a run at its end in which a fall is looked for by itself
# Values of a run -> standard errors from which a fall in that share counts. More with few values: one to three of them
# are then judged, and tails as heavy as those of Student's t with 3 degrees of freedom are assumed.
END_ERRORS = {20: 9.3, 40: 8.8, 200: 6.6, 1_000: 4.0}
FLAT = 0.1  # of the sweep's gain: a smaller change is none


def _fall(halves: Halves, series: Series, run: RunView, d: Detector) -> Finding:
    """Share of the gain lost at the end: in the last window (`estimates.split_fall`) or in the last 5 % of the run."""
    if halves.points < d.min_points:
        return too_few(halves.points, d)
    late, not_found = _fall_at_the_end(series, run, d)
    return strongest([_fall_of_the_last_window(halves, run, d), late], not_found)


def _fall_of_the_last_window(halves: Halves, run: RunView, d: Detector) -> Finding:
    decline = split_fall(halves.one, halves.other)
    if decline is None or not decline.gain > 0:
        return finding(0.0, d.threshold, np.nan, "nothing gained")
    noise = STANDARD_ERRORS * np.sqrt(2) * error_of_mean((halves.one + halves.other) / 2, decline.window)
    least = max(d.threshold, run.agent.diagnostics.smallest_change / decline.gain, noise / decline.gain)
    metric = run.agent.catalogue.metrics[d.metric]
    detail = f"{value_text(decline.fall, metric)} of {with_unit(decline.gain, metric)} gained lost at the end"
    return finding(decline.fall / decline.gain, least, halves.steps[decline.peak], detail)


def _fall_at_the_end(series: Series, run: RunView, d: Detector) -> tuple[Finding, str]:
    """(finding, what it cannot see): the mean of the last 5 % of the values, or of fewer where fewer lie in the last
    5 % of the steps as rows are missing, below the median of four times as many before."""
    if series.values.size < 2:
        return unknown("no value before the end"), ""
    in_steps = int(np.sum(series.steps > (1 - END) * series.steps[-1] * (1 + 1e-9)))  # but for rounding
    count = max(1, min(round(END * series.values.size), in_steps))
    earlier, last = series.values[:-count], float(series.values[-count:].mean())
    level, start = float(np.median(earlier[-max(4 * count, 5) :])), float(earlier[: max(3, earlier.size // 10)].mean())
    gain, fall = level - start, level - last
    if not gain > 0:
        return finding(0.0, d.threshold, np.nan, "nothing gained"), ""
    noise = by_rows(END_ERRORS, series.values.size) * error_of_mean(earlier, count)
    least = max(d.threshold, run.agent.diagnostics.smallest_change / gain, noise / gain)
    metric, of = run.agent.catalogue.metrics[d.metric], f"the last {count} of {series.values.size:,} values"
    detail = f"{value_text(fall, metric)} of {with_unit(gain, metric)} gained lost in {of}"
    not_found = f"a fall by less than {with_unit(least * gain, metric)} in {of}"
    return finding(fall / gain, least, series.steps[-count], detail), not_found


def evaluation_falls(run: RunView, d: Detector) -> Finding:
    return _fall(run.halves, run.quality(d.role), run, d)


def training_falls(run: RunView, d: Detector) -> Finding:
    series = run.quality(d.role)
    return _fall(paired(series), series, run, d)


def training_above(run: RunView, d: Detector) -> Finding:
    train, tested = run.quality(d.role), run.quality("primary")
    points = min(train.values.size, tested.values.size)
    if points < d.min_points:
        return too_few(points, d)
    late, below = quarter(train.values, 4), quarter(tested.values, 4)
    level = smooth(train.values, window_of(train.values.size, 0.1))
    gain = float(level.max() - level[0])
    if not gain > 0:
        return finding(0.0, d.threshold, np.nan, "nothing gained in training")
    gap = float(late.mean() - below.mean())
    noise = STANDARD_ERRORS * np.hypot(error_of_mean(train.values, late.size), error_of_mean(tested.values, below.size))
    diagnostics, metric = run.agent.diagnostics, run.agent.catalogue.primary
    least = max(d.threshold, diagnostics.smallest_change / gain, noise / gain)
    levels = [value_text(run.sign * float(values.mean()), metric) for values in (late, below)]
    differs = f" ({diagnostics.training_differs})" if diagnostics.training_differs else ""
    detail = f"training {levels[0]}, evaluation {levels[1]}{differs}"
    return finding(gap / gain, least, train.steps[-late.size], detail)


def _nothing_gained(run: RunView) -> Finding:
    if run.agent.catalogue.primary.unit == RETURN:
        return unknown("no return in the sweep rises")
    return unknown(f"{run.agent.catalogue.primary.words} improves nowhere in the sweep")


def evaluation_noise(run: RunView, d: Detector) -> Finding:
    series = run.series(d.role)
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    if not run.sweep_gain > 0:
        return _nothing_gained(run)
    late = series.values[series.values.size // 2 :]
    sd = jitter(late)
    detail = f"{with_unit(sd, run.agent.catalogue.metrics[d.metric])} from one evaluation to the next"
    if run.metric(f"{d.role}_episodes"):
        explained = percent(_sampling_share(run, f"{d.role}_episodes", late))
        detail += f"; variation between episodes explains {explained} of it"
    return finding(sd / run.sweep_gain, d.threshold, series.steps[-late.size], detail)


def _sampling_share(run: RunView, role: str, late: np.ndarray) -> float:
    """Share of the variance from one evaluation to the next, of the last ones, that finite episodes explain.

    That variance is half the mean square of successive differences (von Neumann et al. 1941): it varies less than a
    robust one.
    """
    _, episodes = run.lists(role)
    several = [e for e in episodes[-late.size :] if e.size > 1]
    sampling, total = variances(several) / [e.size for e in several], float(np.mean(np.diff(late) ** 2)) / 2
    return min(1.0, float(sampling.mean()) / total) if several and total else 0.0


def few_episodes(run: RunView, d: Detector) -> Finding:
    """Share of noisy evaluations that is due to too few episodes; only where `evaluation_noise` would be raised."""
    series = run.series("primary")
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    if not run.sweep_gain > 0:
        return _nothing_gained(run)
    if not any(e.size > 1 for e in run.lists("primary_episodes")[1]):
        return unknown("no evaluation has two episodes")
    late = series.values[series.values.size // 2 :]
    noise = jitter(late) / run.sweep_gain
    share = _sampling_share(run, "primary_episodes", late)
    noisy = noise > run.agent.diagnostics.thresholds.get("evaluation_noise", NOISY)
    detail = (
        f"{percent(share)} of the noise lies between the episodes of one evaluation; the noise is {percent(noise)} of "
        "the gain"
    )
    return finding(share, d.threshold, series.steps[-late.size], detail, noisy)


def plateau(run: RunView, d: Detector) -> Finding:
    series, metric = run.quality(d.role), run.agent.catalogue.primary
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    gain = run.sweep_gain
    if not gain > 0:
        return _nothing_gained(run)
    before, late = quarter(series.values, 2), quarter(series.values, 4)
    noise = STANDARD_ERRORS * error_of_mean(series.values, late.size)
    short = 1 - float(late.mean() - run.sign * run.reference.low) / gain
    risen = float(late.mean() - before.mean())
    level, since = value_text(run.sign * late.mean(), metric), value_text(run.sign * risen, metric, "+")
    best = value_text(run.reference.best, metric)
    detail = f"{level} at the end, {since} since the second quarter; sweep's best: {best}"
    flat = -FLAT * gain < risen < FLAT * gain - noise  # a falling curve is not a plateau
    # a run that has begun to rise within the last quarter is not stuck, were it with its very last value
    counts = {1, *(max(2, round(share * series.values.size)) for share in (END, 2 * END))}
    ends = [series.values[-count:].mean() for count in counts]
    still = max(ends) - before.mean() < FLAT * gain
    return finding(short, d.threshold + noise / gain, series.steps[-2 * late.size], detail, bool(flat and still))
