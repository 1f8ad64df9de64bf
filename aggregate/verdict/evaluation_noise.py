"""Where the variance of evaluation returns comes from, and whether planning adds to it."""

from __future__ import annotations

import numpy as np

from aggregate import flags
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates
from aggregate.verdict.number_format import signed

MODES = (("planner", "evaluation_noise", "with planning"), ("policy", "policy_alone_noise", "with the policy alone"))
PARTS = {"episodes": "between episodes of one evaluation", "time": "over time", "seeds": "between seeds"}


def format_evaluation_noise(sweep: SweepSummary) -> str:
    """Sentences about the variance with and without planning; "" with too few evaluations."""
    sentences = [text for mode in MODES if (text := _format_variance(sweep, *mode))]
    return " ".join([*sentences, _format_planning_noise(sweep)]).strip() if sentences else ""


def _format_variance(sweep: SweepSummary, mode: str, flag: str, name: str) -> str:
    variances = sweep.variance.loc[sweep.variance["mode"] == mode, list(PARTS)].pow(2).mean()
    if variances.isna().any() or not variances.sum() > 0:
        return ""
    shares = variances / variances.sum()
    split = ", ".join(f"{shares[part]:.0%} {words}" for part, words in PARTS.items())
    votes = sweep.votes[(sweep.votes["flag"] == flag) & (sweep.votes["state"] != flags.NOT_ASSESSABLE)]
    noisy = int((votes["state"] == flags.FLAG).sum())
    judged = f"{noisy or 'none'} of {len(votes)} configurations flagged as noise; " if len(votes) else ""
    return f"{name[0].upper()}{name[1:]}: {judged}of the variance in the second half of training {split}."


def _format_planning_noise(sweep: SweepSummary) -> str:
    """Noise of evaluation with planning less that without planning, compared within runs."""
    pairs = sweep.scores[["config_id", "noise_primary", "noise_policy"]].dropna()
    difference = pairs["noise_primary"] - pairs["noise_policy"]
    # runs of one configuration are not independent: average within configurations first
    by_config = difference.groupby(pairs["config_id"]).mean() if pairs["config_id"].nunique() > 1 else difference
    if len(by_config) < 2:
        return ""
    mean = float(by_config.mean())
    half = float(estimates.Interval().half_width(by_config.std(ddof=1), np.array(len(by_config))))
    effect = (
        "Planning adds to it" if mean > half else "Planning calms it" if mean < -half else "Planning seems no cause"
    )
    shown = signed({"estimate": mean, "ci_low": mean - half, "ci_high": mean + half})
    return f"{effect}: jumps from one evaluation to the next are {shown} return points against the policy alone."
