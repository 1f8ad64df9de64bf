"""The detectors: how each fault is measured in the curves of one run.

Losses are compared on a log scale (asinh where they change sign) relative to the run's own range, so that thresholds
do not depend on their magnitude; metrics with a unit (nats, return points) keep it. The primary metric and what has its
unit are judged by `RunView.quality`, which rises as the agent gets better. A difference of means of a noisy curve
counts from `STANDARD_ERRORS` standard errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from aggregate.flags.curve_features import (
    error_of_mean,
    jitter,
    largest_swing,
    log_or_asinh,
    quarter,
    smooth,
    spikes,
    spread,
    thinned,
    turning_points,
    variances,
    window_of,
)
from aggregate.flags.detector import (
    Detector,
    Finding,
    Halves,
    RunView,
    Series,
    SweepReference,
    finding,
    paired,
    too_few,
    unknown,
)
from aggregate.inputs import runs
from aggregate.inputs.metric_words import RETURN, unit_text, value_text, with_unit
from aggregate.statistics.estimates import split_fall

# Constants in addition to the thresholds of `registry.DETECTORS`.
STANDARD_ERRORS = 3.0  # from which a difference is not attributed to noise
MIN_REVERSALS = 2  # turning points of an oscillation; a monotonic change has none
SPIKE_CHANCE = 0.001  # probability that a curve without a fault but with heavy tails has a spike
WARM_UP = 0.1  # share of points at the start, where losses fall from their initial value
SAME_SIGN = 0.8  # share of the last quarter on one side of zero
MIN_ERROR = 0.1  # of the value scale; a smaller value error need not fall
MIN_ENTROPY_FALL = 1.0  # nat
EARLY = 0.25  # share of training
BASELINE_JITTER = 3.0  # times the baseline's
HALF = 0.5  # of the sweep's best, counted from its worst start

Judge = Callable[[RunView, Detector], Finding]


def _onset(steps: np.ndarray, over: np.ndarray) -> float:
    """First step where `over` is True; the last step if it never is."""
    return float(steps[np.argmax(over)] if over.any() else steps[-1])


# --- run ------------------------------------------------------------------------------------------------


def diverged(run: RunView, d: Detector) -> Finding:
    marked = [step for step, event in _texts(run.rows.get("event", {}), "event") if event == "diverged"]
    if marked:
        return finding(1.0, 0.0, marked[0], "the run stopped itself")
    known = run.agent.catalogue.metrics
    bad = [row for rows in run.rows.values() for row in _texts(rows, "nonfinite") if row[1] in known]
    if bad:
        step, metric = min(bad, key=lambda row: row[0])
        return finding(len(bad), 0.0, step, f"{metric} is not finite")
    if run.state == runs.DIVERGED:
        return finding(1.0, 0.0, run.last_step, "the run stopped itself")
    # an agent that logs its updates can diverge from the first of these on
    kinds = ["train"] if any(metric.kind == "train" for metric in known.values()) else list(run.rows)
    logged = sum(len(run.rows.get(kind, {}).get("step", ())) for kind in kinds)
    return finding(0.0, 0.0, np.nan, "") if logged else too_few(0, d)


def _texts(rows: Mapping[str, Any], column: str) -> list[tuple[float, str]]:
    """(step, text) of the rows with a text in `column`."""
    if column not in rows:
        return []
    texts = np.asarray(rows[column], dtype=object)
    there = np.flatnonzero(pd.notna(texts))
    return [(float(step), str(text)) for step, text in zip(np.asarray(rows["step"])[there], texts[there], strict=True)]


def stopped(run: RunView, d: Detector) -> Finding:
    if run.state in runs.BROKEN:
        missing = 1 - run.last_step / run.total_steps
        detail = f"{run.state} at step {run.last_step:,} of {run.total_steps:,}, {missing:.0%} missing"
        return finding(1.0, 0.0, run.last_step, detail)
    return finding(0.0, 0.0, np.nan, "") if run.state == runs.DONE else unknown(f"the run is {run.state}")


# --- the primary metric and what has its unit -----------------------------------------------------------


def _fall(halves: Halves, run: RunView, d: Detector) -> Finding:
    """Share of the gain lost at the end (`estimates.split_fall`)."""
    if halves.points < d.min_points:
        return too_few(halves.points, d)
    decline = split_fall(halves.one, halves.other)
    if decline is None or not decline.gain > 0:
        return finding(0.0, d.threshold, np.nan, "nothing gained")
    noise = STANDARD_ERRORS * np.sqrt(2) * error_of_mean((halves.one + halves.other) / 2, decline.window)
    least = max(d.threshold, run.agent.diagnostics.smallest_change / decline.gain, noise / decline.gain)
    metric = run.agent.catalogue.metrics[d.metric]
    detail = f"{value_text(decline.fall, metric)} of {with_unit(decline.gain, metric)} gained lost at the end"
    return finding(decline.fall / decline.gain, least, halves.steps[decline.peak], detail)


def evaluation_falls(run: RunView, d: Detector) -> Finding:
    return _fall(run.halves(), run, d)


def training_falls(run: RunView, d: Detector) -> Finding:
    return _fall(paired(run.quality(d.role)), run, d)


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


def _sweep_gain(run: RunView) -> float:
    """What the sweep's best run gained on its worst start, NaN where unknown."""
    return run.sign * (run.reference.best - run.reference.low)


def _nothing_gained(run: RunView) -> Finding:
    if run.agent.catalogue.primary.unit == RETURN:
        return unknown("the sweep's returns rise nowhere")
    return unknown(f"{run.agent.catalogue.primary.words} gets better nowhere in the sweep")


def evaluation_noise(run: RunView, d: Detector) -> Finding:
    series = run.series(d.role)
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    gain = _sweep_gain(run)
    if not gain > 0:
        return _nothing_gained(run)
    late = series.values[series.values.size // 2 :]
    sd = jitter(late)
    detail = f"{with_unit(sd, run.agent.catalogue.metrics[d.metric])} from one evaluation to the next"
    if run.metric(f"{d.role}_episodes"):
        _, episodes = run.lists(f"{d.role}_episodes")
        several = [e for e in episodes[-late.size :] if e.size > 1]
        sampling = variances(several) / [e.size for e in several]
        share = min(1.0, float(sampling.mean()) / sd**2) if several and sd else 0.0
        detail += f"; luck of the episodes explains {share:.0%} of it"
    return finding(sd / gain, d.threshold, series.steps[-late.size], detail)


def plateau(run: RunView, d: Detector) -> Finding:
    series, metric = run.quality(d.role), run.agent.catalogue.primary
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    gain = _sweep_gain(run)
    if not gain > 0:
        return _nothing_gained(run)
    before, late = quarter(series.values, 2), quarter(series.values, 4)
    noise = STANDARD_ERRORS * error_of_mean(series.values, late.size)
    short = 1 - float(late.mean() - run.sign * run.reference.low) / gain
    risen = float(late.mean() - before.mean())
    level, since = value_text(run.sign * late.mean(), metric), value_text(run.sign * risen, metric, "+")
    best = value_text(run.reference.best, metric)
    detail = f"{level} at the end, {since} since the second quarter; sweep's best: {best}"
    flat = -gain / 10 < risen < gain / 10 - noise  # a falling curve is not a plateau
    return finding(short, d.threshold + noise / gain, series.steps[-2 * late.size], detail, bool(flat))


# --- policy ---------------------------------------------------------------------------------------------


def _log_std(run: RunView) -> tuple[np.ndarray, np.ndarray]:
    """(steps (n,), values (dimensions, n)): the dimensions that are finite throughout, else the mean over
    dimensions."""
    steps, values = run.lists("log_std_per_dim")
    if values and len({v.shape for v in values}) == 1:
        dims = np.stack(values, axis=1)
        return steps, dims[np.isfinite(dims).all(axis=1)]
    mean = run.series("log_std")
    return mean.steps, mean.values[None]


def log_std_oscillates(run: RunView, d: Detector) -> Finding:
    steps, dims = _log_std(run)
    if steps.size < d.min_points:
        return too_few(steps.size, d)
    if not len(dims):
        return unknown("no dimension is finite throughout")
    swings = [largest_swing(thinned(steps, dim)[1], MIN_REVERSALS) for dim in dims]
    worst = int(np.argmax(swings))
    at, curve = thinned(steps, dims[worst])
    turns = turning_points(curve, d.threshold)
    detail = f"{len(turns)} reversals in the busiest of {len(dims)} dimensions"
    return finding(swings[worst], d.threshold, at[turns[0]] if turns else np.nan, detail)


def _log_std_limits(run: RunView) -> tuple[float, float] | None:
    """The lower and the upper end in this run; None where the agent declares none."""
    defaults = {parameter.name: parameter.default for parameter in run.agent.hyperparameters}
    values = [run.config.get(key, defaults.get(key)) for key in run.agent.diagnostics.log_std_limits or ()]
    return (float(values[0]), float(values[1])) if values and None not in values else None


def log_std_at_floor(run: RunView, d: Detector) -> Finding:
    if (limits := _log_std_limits(run)) is None:
        return unknown("not assessed: the agent declares no limits of log_std")
    steps, dims = _log_std(run)
    if steps.size < d.min_points or not len(dims):
        return too_few(steps.size if len(dims) else 0, d)
    low, high = limits
    late = np.array([quarter(dim, 4).mean() for dim in dims])
    depth = (high - dims[np.argmin(late)]) / (high - low)
    detail = f"lowest of {len(dims)} dimensions at {late.min():.2f}, allowed from {low:g} to {high:g}"
    return finding((high - late.min()) / (high - low), d.threshold, _onset(steps, depth > d.threshold), detail)


def entropy_collapses(run: RunView, d: Detector) -> Finding:
    series, tested, words = run.series(d.role), run.series("primary"), run.agent.catalogue.primary.words
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    trace = smooth(series.values, window_of(series.values.size))
    fallen, early = trace[0] - trace, series.steps <= EARLY * run.total_steps
    if fallen.max() < MIN_ENTROPY_FALL or not early.any():
        return finding(0.0, d.threshold, np.nan, f"falls by {max(fallen.max(), 0):.1f} nat in all")
    share = fallen / fallen.max()
    onset = _onset(series.steps, share > d.threshold)
    known = tested.values[tested.steps <= max(onset, tested.steps[0])] if tested.values.size else tested.values
    if not known.size or not _sweep_gain(run) > 0:
        return unknown(f"no evaluation {words} to compare with")
    reached = (known[-1] - run.reference.low) / (run.reference.best - run.reference.low)
    detail = f"fell by {fallen.max():.1f} nat in all; the {words} then stood at {reached:.0%} of the sweep's best"
    return finding(share[early].max(), d.threshold, onset, detail, bool(reached < HALF))


def pi_loss_variance(run: RunView, d: Detector) -> Finding:
    series = run.series(d.role)
    if series.values.size < d.min_points:
        return too_few(series.values.size, d)
    half = series.values.size // 2
    first, second = jitter(series.values[int(WARM_UP * series.values.size) : half]), jitter(series.values[half:])
    if not first > 0:
        return unknown(f"{d.metric} does not move")
    # standard error of the log of a ratio of median absolute deviations
    error = np.sqrt(2 / (0.37 * 2 * (0.5 - WARM_UP) * series.values.size))
    ratio, least = second / first, max(d.threshold, float(np.exp(STANDARD_ERRORS * error)))
    detail = f"{ratio:.1f} x its first half"
    if run.reference.jitter > 0:
        beside = second / run.reference.jitter
        detail += f", {beside:.1f} x the baseline's"
        if beside / BASELINE_JITTER > ratio / least:
            ratio, least = beside, BASELINE_JITTER
    return finding(ratio, least, series.steps[-half], detail)


# --- value ----------------------------------------------------------------------------------------------


def _scale(target: Series) -> float:
    """The value scale: level of the target at the end plus the range it covered."""
    return float(abs(quarter(target.values, 4).mean()) + spread(target.values))


def _with_scale(judge: Callable[[Series, float, RunView, Detector], Finding]) -> Judge:
    """A detector function for a metric relative to the value scale."""

    def scaled(run: RunView, d: Detector) -> Finding:
        series, target = run.series(d.role), run.series("value_target")
        if series.values.size < d.min_points:
            return too_few(series.values.size, d)
        if target.values.size < 4 or not (scale := _scale(target)):
            return unknown("no TD target gives the value scale")
        return judge(series, scale, run, d)

    return scaled


def _biased(bias: Series, scale: float, run: RunView, d: Detector) -> Finding:
    last = quarter(bias.values, 4)
    relative = float(last.mean() / scale)
    one_sided = float(np.mean(np.sign(last) == np.sign(last.mean())))
    least = max(d.threshold, STANDARD_ERRORS * error_of_mean(bias.values, last.size) / scale)
    gap, unit = run.series("value_lag").values, unit_text(run.agent.catalogue.metrics[d.metric])
    lag = f"; prediction minus TD target, its lag: {quarter(gap, 4).mean():+.3g}" if gap.size >= 4 else ""
    word = "optimistic" if relative > 0 else "pessimistic"
    detail = f"{word}: {last.mean():+.3g}{unit}, one sign for {one_sided:.0%}{lag}"
    return finding(abs(relative), least, bias.steps[-last.size], detail, one_sided >= SAME_SIGN)


def _off_target(gap: Series, scale: float, run: RunView, d: Detector) -> Finding:
    last = quarter(gap.values, 4)
    one_sided = float(np.mean(np.sign(last) == np.sign(last.mean())))
    least = max(d.threshold, STANDARD_ERRORS * error_of_mean(gap.values, last.size) / scale)
    word, unit = "above" if last.mean() > 0 else "below", unit_text(run.agent.catalogue.metrics[d.metric])
    detail = f"{word} its target by {abs(last.mean()):.3g}{unit}, one sign for {one_sided:.0%}"
    return finding(abs(last.mean()) / scale, least, gap.steps[-last.size], detail, one_sided >= SAME_SIGN)


def _disagree(series: Series, scale: float, run: RunView, d: Detector) -> Finding:
    late, early = quarter(series.values, 4).mean(), quarter(series.values, 2).mean()
    over = smooth(series.values, window_of(series.values.size)) / scale > d.threshold
    detail = f"{late:.3g} at the end, {early:.3g} in the second quarter"
    return finding(late / scale, d.threshold, _onset(series.steps, over), detail, bool(late > early))


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
    detail = f"{late / scale:.0%} of the value scale at the end, {early / scale:.0%} in the second quarter"
    large = late > MIN_ERROR * scale
    return finding(late / early, d.threshold + noise, series.steps[-(series.values.size // 2)], detail, large)


value_bias = _with_scale(_biased)
value_off_target = _with_scale(_off_target)
heads_disagree = _with_scale(_disagree)
targets_swing = _with_scale(_targets_swing)
value_overshoots = _with_scale(_overshoots)
value_error_stays = _with_scale(_stays)


# --- losses ---------------------------------------------------------------------------------------------


def spiky(positive: bool = True) -> Judge:
    """A detector function for spikes of a loss that is always `positive`, or may have any sign."""

    def judge(run: RunView, d: Detector) -> Finding:
        series = run.series(d.role)
        if series.values.size < d.min_points:
            return too_few(series.values.size, d)
        height, tail = spikes(log_or_asinh(series.values, positive), SPIKE_CHANCE)
        height[: int(np.ceil(WARM_UP * height.size))] = 0.0
        least = max(d.threshold, tail)
        hits = np.flatnonzero(height > least)
        return finding(height.max(), least, series.steps[hits[0]] if hits.size else np.nan, f"{hits.size} spikes")

    return judge


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
    return finding(np.exp(risen), least, _onset(series.steps[half:], over), detail)


# --- reference values of a sweep -----------------------------------------------------------------------


def sweep_reference(tested: Iterable[Series], losses: Iterable[Series], sign: int) -> SweepReference:
    """The values that all runs of a sweep are compared with. tested: the primary metric of every run. losses: the
    policy loss of the baseline's runs. sign: of the primary metric, see `RunView`."""
    traces = [smooth(sign * s.values, window_of(s.values.size, 0.1)) for s in tested if s.values.size]
    late = [s.values[s.values.size // 2 :] for s in losses if s.values.size >= 8]
    return SweepReference(
        low=sign * min((float(trace[0]) for trace in traces), default=np.nan),
        best=sign * max((float(trace.max()) for trace in traces), default=np.nan),
        jitter=float(np.median([jitter(loss) for loss in late])) if late else np.nan,
    )
