"""Detectors of value estimates, relative to the value scale of the run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aggregate.flags.curve_features import (
    STANDARD_ERRORS,
    error_of_mean,
    largest_swing,
    quarter,
    smooth,
    thinned,
    turning_points,
    window_of,
)
from aggregate.flags.detector import Detector, Finding, Judge, RunView, Series, finding, first_step, too_few, unknown
from aggregate.inputs.metric_words import unit_text
from sweepwise.core.value_format import percent

SAME_SIGN = 0.8  # share of the last quarter on one side of zero
MIN_ERROR = 0.1  # of the value scale; a smaller value error need not fall
MIN_REVERSALS = 2  # turning points of a swing; a monotonic change has none


def _with_scale(judge: Callable[[Series, float, RunView, Detector], Finding]) -> Judge:
    """A detector function for a metric relative to the value scale."""

    def scaled(run: RunView, d: Detector) -> Finding:
        series = run.series(d.role)
        if series.values.size < d.min_points:
            return too_few(series.values.size, d)
        if not run.value_scale:
            return unknown("no TD target gives the value scale")
        return judge(series, run.value_scale, run, d)

    return scaled


def _biased(bias: Series, scale: float, run: RunView, d: Detector) -> Finding:
    last = quarter(bias.values, 4)
    relative = float(last.mean() / scale)
    one_sided = float(np.mean(np.sign(last) == np.sign(last.mean())))
    least = max(d.threshold, STANDARD_ERRORS * error_of_mean(bias.values, last.size) / scale)
    gap, unit = run.series("value_lag").values, unit_text(run.agent.catalogue.metrics[d.metric])
    lag = f"; prediction minus TD target, its lag: {quarter(gap, 4).mean():+.3g}" if gap.size >= 4 else ""
    word = "optimistic" if relative > 0 else "pessimistic"
    detail = f"{word}: {last.mean():+.3g}{unit}, one sign for {percent(one_sided)}{lag}"
    return finding(abs(relative), least, bias.steps[-last.size], detail, one_sided >= SAME_SIGN)


def _off_target(gap: Series, scale: float, run: RunView, d: Detector) -> Finding:
    last = quarter(gap.values, 4)
    one_sided = float(np.mean(np.sign(last) == np.sign(last.mean())))
    least = max(d.threshold, STANDARD_ERRORS * error_of_mean(gap.values, last.size) / scale)
    word, unit = "above" if last.mean() > 0 else "below", unit_text(run.agent.catalogue.metrics[d.metric])
    detail = f"{word} its target by {abs(last.mean()):.3g}{unit}, one sign for {percent(one_sided)}"
    return finding(abs(last.mean()) / scale, least, gap.steps[-last.size], detail, one_sided >= SAME_SIGN)


def _disagree(series: Series, scale: float, run: RunView, d: Detector) -> Finding:
    late, early = quarter(series.values, 4).mean(), quarter(series.values, 2).mean()
    over = smooth(series.values, window_of(series.values.size)) / scale > d.threshold
    detail = f"{late:.3g} at the end, {early:.3g} in the second quarter"
    return finding(late / scale, d.threshold, first_step(series.steps, over), detail, bool(late > early))


def _targets_swing(series: Series, scale: float, run: RunView, d: Detector) -> Finding:
    at, curve = thinned(series.steps, series.values)
    turns = turning_points(curve, d.threshold * scale)
    swing = largest_swing(curve, MIN_REVERSALS) / scale
    return finding(swing, d.threshold, at[turns[0]] if turns else np.nan, f"{len(turns)} reversals")


def _overshoots(series: Series, scale: float, run: RunView, d: Detector) -> Finding:
    window = window_of(series.values.size)
    trace, late = smooth(series.values, window), float(quarter(series.values, 4).mean())
    peak = int(np.argmax(trace))
    least = max(d.threshold, STANDARD_ERRORS * np.sqrt(2) * error_of_mean(series.values, window) / scale)
    return finding((trace[peak] - late) / scale, least, series.steps[peak], f"peak {trace[peak]:.3g}, then {late:.3g}")


def _stays(series: Series, scale: float, run: RunView, d: Detector) -> Finding:
    early, late = float(quarter(series.values, 2).mean()), float(quarter(series.values, 4).mean())
    if not early > 0:
        return unknown(f"{d.metric} is zero")
    noise = STANDARD_ERRORS * np.sqrt(2) * error_of_mean(series.values, series.values.size // 4) / early
    detail = f"{percent(late / scale)} of the value scale at the end, {percent(early / scale)} in the second quarter"
    large = late > MIN_ERROR * scale
    return finding(late / early, d.threshold + noise, series.steps[-(series.values.size // 2)], detail, large)


value_bias = _with_scale(_biased)
value_off_target = _with_scale(_off_target)
heads_disagree = _with_scale(_disagree)
targets_swing = _with_scale(_targets_swing)
value_overshoots = _with_scale(_overshoots)
value_error_stays = _with_scale(_stays)
