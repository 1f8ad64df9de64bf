"""What more episodes of evaluation change in the smallest difference that a sweep can detect."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from aggregate.analysis.factor_effects import PRIMARY
from aggregate.analysis.run_scores import EVALUATION, episodes_of
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates
from aggregate.verdict.evaluation_noise import ALONE
from aggregate.verdict.number_format import number
from aggregate.verdict.words import words


def format_expected(sweep: SweepSummary, episodes: int) -> str:
    """What evaluating the last weights for `episodes` episodes is expected to change; "" where the variance is not
    known.

    From the variance between seeds, over time and between episodes (`flags.variance_split`). The final result of now is
    a mean over several evaluations, which makes the last two smaller; the last weights are those of one time, so all of
    the variance over time remains. The ratio of both is applied to the difference that is detected now.
    """
    own = sweep.variance[sweep.variance["mode"] != ALONE]
    parts, before = own[["episodes", "time", "seeds"]].pow(2).mean(), _pooled(sweep.scores, PRIMARY)
    points = float(sweep.scores.loc[sweep.scores["complete"].astype(bool), "final_points"].median())
    if parts.isna().any() or before is None or not parts.sum() > 0 or not points > 0:
        return ""
    now = parts["seeds"] + (parts["time"] + parts["episodes"] / own["per_evaluation"].mean()) / points
    then = parts["seeds"] + parts["time"] + parts["episodes"] / episodes
    detected = _detectable(*before)
    if not np.isfinite(detected):
        return ""
    expected = number(detected * float(np.sqrt(then / now)))
    shares = parts / parts.sum()
    split = (
        f"of the variance {shares['episodes']:.0%} lies between episodes of one evaluation, {shares['time']:.0%} over "
        f"time, {shares['seeds']:.0%} between seeds"
    )
    start = f"so far a difference of {number(detected)} is detected in 4 of 5 cases ({before[1]} seeds)"
    if then < now:
        return f"{start}; {episodes} episodes of the last weights are expected to bring that to {expected}: {split}"
    return (
        f"{start}; {episodes} episodes of the last weights are not expected to bring that down ({expected}): {split}, "
        "and the last weights are those of one time"
    )


def format_measured(sweep: SweepSummary, episodes: int = 0) -> str:
    """What the evaluation after training has changed, over the same runs; "" where it is not complete, or is over
    another number than `episodes`, where that is given."""
    evaluated = sweep.scores[sweep.scores["complete"].astype(bool)]
    there = episodes_of(sweep.source)
    if not there or evaluated[EVALUATION].isna().any() or episodes not in (0, there):
        return ""
    before, after = _pooled(evaluated, PRIMARY), _pooled(evaluated, EVALUATION)
    if before is None or after is None:
        return ""
    return (
        f"with {there} episodes of the last weights a difference of {number(_detectable(*after))} between their mean "
        f"{words(sweep).primaries} is detected in 4 of 5 cases, with the evaluations during training one of "
        f"{number(_detectable(*before))} ({after[1]} seeds)"
    )


def _pooled(scores: pd.DataFrame, column: str) -> tuple[float, int] | None:
    """(standard deviation of the seeds within configurations, median number of seeds); None below two seeds."""
    samples = [sample for sample in estimates.samples_of(scores, "config_id", column).values() if sample.size > 1]
    if not samples:
        return None
    weights = [sample.size - 1 for sample in samples]
    variance = np.average([estimates.variance(sample) for sample in samples], weights=weights)
    return float(np.sqrt(variance)), int(np.median([sample.size for sample in samples]))


def _detectable(sd: float, seeds: int) -> float:
    """The smallest difference of two configurations that one Welch test at 5 % detects with 80 % power."""
    df = 2 * (seeds - 1)
    quantiles = stats.t.ppf(1 - estimates.ALPHA / 2, df) + stats.t.ppf(estimates.POWER, df)
    return float(quantiles * sd * np.sqrt(2 / seeds))
