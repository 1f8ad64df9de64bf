"""What more episodes of evaluation change in the smallest difference that a sweep can detect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.analysis.factor_effects import PRIMARY
from aggregate.analysis.run_scores import EVALUATION, evaluation_kind, format_kind
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates
from aggregate.verdict.evaluation_noise import ALONE
from aggregate.verdict.number_format import number
from aggregate.verdict.words import words
from sweepwise.core.value_format import percent

EPISODES = 100  # of a suggested evaluation
DOMINANT = 0.5  # share of the variance from which the episodes are the place to begin
WORTH = 0.9  # of the detectable difference that is left


@dataclass(frozen=True)
class Expected:
    """detected: the smallest difference that is detected now, over `seeds` seeds. with_episodes: the one expected after
    the evaluation. shares: of the variance, by episodes, time, seeds."""

    detected: float
    seeds: int
    with_episodes: float
    shares: Mapping[str, float]


def _expected(sweep: SweepSummary, episodes: int, snapshots: int = 1) -> Expected | None:
    """What evaluating the last `snapshots` for `episodes` episodes in all is expected to change; None where the
    variance is not known.

    From the variance between seeds, over time and between episodes (`flags.variance_split`). The final result of now is
    a mean over several evaluations, which makes the last two smaller. The variance over time is divided by the number
    of snapshots: weights of one time keep all of it. The ratio is applied to the difference that is detected now.
    """
    own = sweep.variance[sweep.variance["mode"] != ALONE]
    parts, before = own[["episodes", "time", "seeds"]].pow(2).mean(), _pooled(sweep.scores, PRIMARY)
    points = float(sweep.scores.loc[sweep.scores["complete"].astype(bool), "final_points"].median())
    if parts.isna().any() or before is None or not parts.sum() > 0 or not points > 0:
        return None
    now = parts["seeds"] + (parts["time"] + parts["episodes"] / own["per_evaluation"].mean()) / points
    then = parts["seeds"] + parts["time"] / snapshots + parts["episodes"] / episodes
    detected = _detectable(*before)
    if not np.isfinite(detected):
        return None
    return Expected(detected, before[1], detected * float(np.sqrt(then / now)), dict(parts / parts.sum()))


def format_expected(sweep: SweepSummary, episodes: int, snapshots: int = 1) -> str:
    """What such an evaluation is expected to change; "" where the variance is not known."""
    gain = _expected(sweep, episodes, snapshots)
    if gain is None:
        return ""
    expected, shares = number(gain.with_episodes), gain.shares
    split = (
        f"of the variance, {percent(shares['episodes'])} lies between episodes of one evaluation, "
        f"{percent(shares['time'])} over time, {percent(shares['seeds'])} between seeds"
    )
    start = f"so far a difference of {number(gain.detected)} is detected in 4 of 5 cases ({gain.seeds} seeds)"
    if gain.with_episodes < gain.detected:
        return f"{start}; {format_kind(episodes, snapshots)} are expected to bring that to {expected}: {split}"
    one = ", and the last weights are those of one time (`--last-snapshots` takes several)" if snapshots == 1 else ""
    of = format_kind(episodes, snapshots)
    return f"{start}; {of} are not expected to bring that down ({expected}): {split}{one}"


def suggest_evaluation(sweep: SweepSummary) -> str:
    """The command that evaluates a sweep, with its reason, where most of the variance lies between the episodes of one
    evaluation and more episodes would help more cheaply than seeds; else "", and where it was done."""
    if not sweep.source.agent.capabilities.evaluate or evaluation_kind(sweep.source).episodes:
        return ""
    gain = _expected(sweep, EPISODES)
    if gain is None or gain.shares["episodes"] < DOMINANT or gain.with_episodes > WORTH * gain.detected:
        return ""
    command, share = f"sweeps evaluate {sweep.source.name} --episodes {EPISODES}", percent(gain.shares["episodes"])
    return (
        f"{command}, before more seeds: {share} of the variance lies between episodes of one evaluation, so the "
        f"detectable difference is expected to fall from {number(gain.detected)} to {number(gain.with_episodes)}"
    )


def format_measured(sweep: SweepSummary, episodes: int = 0, snapshots: int = 1) -> str:
    """What the evaluation after training has changed, over the same runs; "" where it is not complete, or is another
    than that of `episodes` and `snapshots`, where these are given."""
    evaluated = sweep.scores[sweep.scores["complete"].astype(bool)]
    kind = evaluation_kind(sweep.source)
    if not kind.episodes or evaluated[EVALUATION].isna().any():
        return ""
    if episodes and (episodes, snapshots) != (kind.episodes, kind.weights):
        return ""
    before, after = _pooled(evaluated, PRIMARY), _pooled(evaluated, EVALUATION)
    if before is None or after is None:
        return ""
    return (
        f"with {kind} a difference of {number(_detectable(*after))} between their mean "
        f"{words(sweep).primaries} is detected in 4 of 5 cases, with the evaluations during training one of "
        f"{number(_detectable(*before))} ({after[1]} seeds)"
    )


def _pooled(scores: pd.DataFrame, column: str) -> tuple[float, int] | None:
    """(standard deviation of the seeds within configurations, median number of seeds); None below two seeds."""
    samples = [sample for sample in estimates.samples_of(scores, "config_id", column).values() if sample.size > 1]
    if not samples:
        return None
    variance, _ = estimates.pooled_variance(samples)
    return float(np.sqrt(variance)), int(np.median([sample.size for sample in samples]))


def _detectable(sd: float, seeds: int) -> float:
    """The smallest difference of two configurations that one Welch test at 5 % detects with 80 % power."""
    df = 2 * (seeds - 1)
    quantiles = estimates.t_quantile(1 - estimates.ALPHA / 2, df) + estimates.t_quantile(estimates.POWER, df)
    return float(quantiles * sd * np.sqrt(2 / seeds))
