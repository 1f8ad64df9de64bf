"""Flags: what a careful eye would see in one run's curves, with the evidence, then votes over seeds.

A finding is `flag`, `ok` or `not assessable` (too few points, or the metric is absent): never ok by silence.
Losses are compared on a log scale (asinh where they change sign) relative to the run's own range, so their
thresholds hold at any scale; metrics with a unit (nats, return points) keep it. Every number a detector
judges by stands in `DETECTORS`, the one table of thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate import load

FLAG, WARN, OK, NOT_ASSESSABLE = "flag", "warn", "ok", "not assessable"
WARN_SHARE, FLAG_SHARE = 1 / 3, 1 / 2  # of the seeds that could be judged

# Judged beside the threshold of the table.
MIN_REVERSALS = 2  # a swing there and back is an oscillation, one way is learning
SPIKE_SIGMAS = 8.0  # robust sigmas off the rolling median
SPIKE_WARM_UP = 0.1  # share of points at the start, where losses fall from their initial value
MIN_FALL = 50.0  # return points
SAME_SIGN = 0.8  # share of the last quarter on one side of zero


@dataclass(frozen=True)
class Series:
    """Finite values of one metric over the steps of one run; both of shape (n,), steps ascending."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class RunView:
    """What detectors see of one run: its rows by kind, where it should end and how it stands."""

    rows: Mapping[str, pd.DataFrame]
    total_steps: int
    state: str

    def series(self, kind: str, metric: str) -> Series:
        """The metric's finite values; empty where the run never logged it."""
        rows = self.rows.get(kind)
        if rows is None or metric not in rows:
            return Series(np.empty(0), np.empty(0))
        values = rows[metric].to_numpy(dtype=float)
        finite = np.isfinite(values)
        return Series(rows["step"].to_numpy(dtype=float)[finite], values[finite])

    def lists(self, kind: str, metric: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """(steps, values) of a list metric, rows without it left out."""
        rows = self.rows.get(kind)
        if rows is None or metric not in rows:
            return np.empty(0), []
        there = rows[rows[metric].notna()]
        return there["step"].to_numpy(dtype=float), [np.asarray(v, dtype=float) for v in there[metric]]

    @property
    def last_step(self) -> int:
        return max((int(rows["step"].max()) for rows in self.rows.values() if len(rows)), default=0)


@dataclass(frozen=True)
class Finding:
    """A detector's judgement of one run. `measured` and `onset` (a step) are NaN where there is none."""

    state: str
    measured: float = np.nan
    onset: float = np.nan
    detail: str = ""


@dataclass(frozen=True)
class Detector:
    """`judge` looks at `metric`; `measured > threshold` (in `unit`) raises the flag.

    `min_points`: with fewer values of the metric the run is not assessable.
    """

    name: str
    title: str
    group: str
    metric: str
    threshold: float
    unit: str
    min_points: int
    help: str
    judge: Callable[[RunView, Detector], Finding]


def _unassessable(points: int, detector: Detector) -> Finding:
    return Finding(NOT_ASSESSABLE, detail=f"{points} points, needs {detector.min_points}")


def _finding(raised: bool, measured: float, onset: float, detail: str) -> Finding:
    return Finding(FLAG if raised else OK, float(measured), float(onset) if raised else np.nan, detail)


# --- pieces ---------------------------------------------------------------------------------------------


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean; at the ends over what there is."""
    return pd.Series(values).rolling(window, center=True, min_periods=1).mean().to_numpy()


def turning_points(values: np.ndarray, swing: float) -> list[int]:
    """Indices where the direction turns after having moved at least `swing` (zigzag), the ends left out."""
    turns: list[int] = []
    low = high = 0
    direction = 0
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


def spread(values: np.ndarray) -> float:
    """p95 - p5, the range a run's curve covers."""
    low, high = np.percentile(values, [5, 95])
    return float(high - low)


def spikes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(height, raised), both (n,): distance from the rolling median in units of the range, and whether it is
    also beyond `SPIKE_SIGMAS` robust sigmas."""
    scaled = np.log(values) if (values > 0).all() else np.arcsinh((values - np.median(values)) / (spread(values) or 1))
    level = pd.Series(scaled).rolling(11, center=True, min_periods=6).median().to_numpy()
    off = np.abs(scaled - level)
    sigma = 1.4826 * np.median(off)
    height = off / (spread(scaled) or np.inf)
    raised = off > SPIKE_SIGMAS * sigma
    warm_up = int(np.ceil(SPIKE_WARM_UP * values.size))
    height[:warm_up] = 0.0
    return height, raised


# --- detectors ------------------------------------------------------------------------------------------


def _oscillates(run: RunView, d: Detector) -> Finding:
    steps, values = run.lists("train", "log_std_per_dim")
    dims = np.stack(values, axis=1) if values and len({v.shape for v in values}) == 1 else np.empty((0, 0))
    if not dims.size:
        mean = run.series("train", "log_std")
        steps, dims = mean.steps, mean.values[None]
    if steps.size < d.min_points:
        return _unassessable(steps.size, d)
    window = max(3, round(steps.size / 20))
    finite = [smooth(dim, window) for dim in dims if np.isfinite(dim).all()]
    turns = [turning_points(dim, d.threshold) for dim in finite]
    worst = max(range(len(turns)), key=lambda i: len(turns[i]), default=None)
    if worst is None:
        return Finding(NOT_ASSESSABLE, detail="no dimension is finite throughout")
    reversals = len(turns[worst])
    swings = np.abs(np.diff(finite[worst][turns[worst]])) if reversals > 1 else np.zeros(1)
    raised = reversals >= MIN_REVERSALS
    detail = f"{reversals} reversals in the busiest of {len(dims)} dimensions"
    return _finding(raised, swings.max() if raised else 0.0, steps[turns[worst][0]] if raised else np.nan, detail)


def _spikes(kind: str) -> Callable[[RunView, Detector], Finding]:
    def judge(run: RunView, d: Detector) -> Finding:
        series = run.series(kind, d.metric)
        if series.values.size < d.min_points:
            return _unassessable(series.values.size, d)
        height, beyond = spikes(series.values)
        hits = np.flatnonzero(beyond & (height > d.threshold))
        measured = np.where(beyond, height, 0.0).max()
        return _finding(hits.size > 0, measured, series.steps[hits[0]] if hits.size else np.nan, f"{hits.size} spikes")

    return judge


def _fall(steps: np.ndarray, half_a: np.ndarray, half_b: np.ndarray, d: Detector) -> Finding:
    """Share of the gain lost at the end. The best window is found on one half of the episodes and measured
    on the other, and the other way round: a best found and measured on the same noise always falls."""
    window = max(3, round(steps.size / 10))
    falls, gains, peaks = [], [], []
    for found_on, measured_on in ((half_a, half_b), (half_b, half_a)):
        trace = pd.Series(found_on).rolling(window).mean().to_numpy()[window - 1 :]
        other = pd.Series(measured_on).rolling(window).mean().to_numpy()[window - 1 :]
        peak = int(np.argmax(trace))
        falls.append(other[peak] - other[-1])
        gains.append(other[peak] - other[0])
        peaks.append(steps[peak + window - 1])
    fall, gain = float(np.mean(falls)), float(np.mean(gains))
    share = fall / gain if gain > 0 else 0.0
    raised = share >= d.threshold and fall >= MIN_FALL
    return _finding(raised, share, max(peaks), f"{fall:.0f} of {gain:.0f} return points gained lost at the end")


def _evaluation_falls(run: RunView, d: Detector) -> Finding:
    steps, episodes = run.lists("eval", f"{d.metric}_episodes")
    pairs = [(s, e[::2].mean(), e[1::2].mean()) for s, e in zip(steps, episodes, strict=True) if e.size > 1]
    pairs = [pair for pair in pairs if np.isfinite(pair).all()]
    if len(pairs) < d.min_points:
        return _unassessable(len(pairs), d)
    at, half_a, half_b = np.array(pairs).T
    return _fall(at, half_a, half_b, d)


def _training_falls(run: RunView, d: Detector) -> Finding:
    series = run.series("episode", d.metric)
    if series.values.size < d.min_points:
        return _unassessable(series.values.size, d)
    even = series.values.size // 2 * 2
    pairs = series.values[-even:].reshape(-1, 2)
    return _fall(series.steps[-even:].reshape(-1, 2)[:, 1], pairs[:, 0], pairs[:, 1], d)


def _biased(run: RunView, d: Detector) -> Finding:
    bias, target = run.series("eval", d.metric), run.series("train", "td_target_mean")
    if bias.values.size < d.min_points or not target.values.size:
        return _unassessable(bias.values.size, d)
    last = bias.values[-(bias.values.size // 4) :]
    scale = np.abs(target.values[-(target.values.size // 4 or 1) :]).mean() + spread(target.values)
    relative = float(last.mean() / scale) if scale else 0.0
    one_sided = float(np.mean(np.sign(last) == np.sign(last.mean())))
    raised = abs(relative) > d.threshold and one_sided >= SAME_SIGN
    onset = bias.steps[-last.size]
    word = "optimistic" if relative > 0 else "pessimistic"
    return _finding(raised, abs(relative), onset, f"{word}: {last.mean():+.3g} return, one sign for {one_sided:.0%}")


def _disagree(run: RunView, d: Detector) -> Finding:
    target = run.series("train", "td_target_mean")
    if target.values.size < d.min_points:
        return _unassessable(target.values.size, d)
    scale = np.abs(target.values[-(target.values.size // 4) :]).mean() + spread(target.values)
    worst = Finding(NOT_ASSESSABLE, detail=f"{d.metric}: absent")
    for metric in (d.metric, "value_std_across_q_heads"):
        series = run.series("train", metric)
        if series.values.size < d.min_points or not scale:
            continue
        quarter = series.values.size // 4
        late, early = series.values[-quarter:].mean(), series.values[quarter : 2 * quarter].mean()
        relative = late / scale
        raised = relative > d.threshold and late > early
        over = np.flatnonzero(series.values / scale > d.threshold)
        onset = series.steps[over[0]] if over.size else np.nan
        found = _finding(raised, relative, onset, f"{metric}, {'rising' if late > early else 'not rising'}")
        if worst.state == NOT_ASSESSABLE or (raised, relative) > (worst.state == FLAG, worst.measured):
            worst = found
    return worst


def _diverged(run: RunView, d: Detector) -> Finding:
    events, train = run.rows.get("event"), run.rows.get("train")
    if events is not None:
        marked = events[events["event"] == "diverged"]
        if len(marked):
            return Finding(FLAG, 1.0, float(marked["step"].iloc[0]), "the run stopped itself")
    if train is None or train.empty:
        return Finding(FLAG, 1.0, 0.0, "the run stopped itself") if run.state == load.DIVERGED else _unassessable(0, d)
    bad = train[train["nonfinite"].notna()]
    if len(bad):
        return Finding(FLAG, float(len(bad)), float(bad["step"].iloc[0]), f"{bad['nonfinite'].iloc[0]} is not finite")
    if run.state == load.DIVERGED:
        return Finding(FLAG, 1.0, float(run.last_step), "the run stopped itself")
    return Finding(OK, 0.0)


def _stopped(run: RunView, d: Detector) -> Finding:
    missing = 1 - run.last_step / run.total_steps
    if run.state in load.BROKEN:
        detail = f"{run.state} at step {run.last_step:,} of {run.total_steps:,}"
        return Finding(FLAG, missing, float(run.last_step), detail)
    if run.state == load.DONE:
        return Finding(OK, 0.0)
    return Finding(NOT_ASSESSABLE, detail=f"the run is {run.state}")


DETECTORS: tuple[Detector, ...] = (
    Detector("diverged", "NaN or diverged", "run", "nonfinite", 0, "rows", 1,
             "a training metric became NaN or infinite, or the run recorded that it diverged", _diverged),
    Detector("stopped_early", "stopped early", "run", "step", 0, "share of steps missing", 1,
             "failed, interrupted, stalled or diverged before its last step", _stopped),
    Detector("evaluation_collapse", "evaluation collapses late", "return", "eval_return_planner", 0.3,
             "share of the gain", 12,
             "fall from the best window to the last of at least 30 % of the gain and 50 return points; the "
             "best window is found on one half of the episodes and measured on the other", _evaluation_falls),
    Detector("training_collapse", "training collapses late", "return", "episode_return", 0.3,
             "share of the gain", 30, "the same fall, on training episodes", _training_falls),
    Detector("log_std_oscillates", "log_std oscillates", "policy", "log_std_per_dim", 0.25, "nat", 40,
             "at least two reversals of at least 0.25 nat in one action dimension, smoothed over 5 % of the "
             "run; no direction is expected", _oscillates),
    Detector("pi_loss_spikes", "policy loss spikes", "policy", "pi_loss", 0.5, "of the run's range", 40,
             "further than 8 robust sigmas and half the run's range from the rolling median, after the first "
             "tenth", _spikes("train")),
    Detector("value_bias", "value biased", "value", "value_bias", 0.2, "of the value scale", 16,
             "true bias of the value keeps one sign for 80 % of the last quarter and exceeds 20 % of the "
             "value scale; positive is optimism", _biased),
    Detector("heads_disagree", "value heads disagree", "value", "td_target_std_across_heads", 0.2,
             "of the value scale", 20,
             "spread over dynamics heads, or over value heads, above 20 % of the value scale and rising", _disagree),
    Detector("consistency_spikes", "consistency loss spikes", "world model", "consistency_loss", 0.5,
             "of the run's range", 40, "as the policy loss, on the latent prediction error", _spikes("train")),
    Detector("validation_spikes", "validation consistency spikes", "world model", "validation/consistency_loss", 0.5,
             "of the run's range", 20, "the same on evaluation episodes never trained on", _spikes("validation")),
)  # fmt: skip


# --- judging --------------------------------------------------------------------------------------------


def judge(runs: Iterable[tuple[str, int, RunView]]) -> pd.DataFrame:
    """One line per (config_id, seed, flag): state, measured, threshold, unit, metric, onset, detail."""
    lines = [
        (config_id, seed, d.name, f.state, d.metric, f.onset, f.measured, d.threshold, d.unit, f.detail)
        for config_id, seed, view in runs
        for d in DETECTORS
        for f in [d.judge(view, d)]
    ]
    names = ["config_id", "seed", "flag", "state", "metric", "onset", "measured", "threshold", "unit", "detail"]
    return pd.DataFrame(lines, columns=names)


def vote(findings: pd.DataFrame) -> pd.DataFrame:
    """Findings -> one line per (config_id, flag): raised of assessable of seeds, and the vote's state.

    flag from half, warn from a third of the seeds that could be judged; not assessable where none could.
    """
    keys = ["config_id", "flag"]
    counted = findings.assign(raised=findings["state"] == FLAG, assessable=findings["state"] != NOT_ASSESSABLE, seeds=1)
    votes = counted.groupby(keys, sort=False, observed=True)[["raised", "assessable", "seeds"]].sum().reset_index()
    share = votes["raised"] / votes["assessable"].where(votes["assessable"] > 0)
    states = np.select([share.isna(), share >= FLAG_SHARE, share >= WARN_SHARE], [NOT_ASSESSABLE, FLAG, WARN], OK)
    return votes.assign(state=states)
