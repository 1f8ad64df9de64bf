"""Where the variance of evaluations comes from, and whether planning adds to it."""

from __future__ import annotations

import numpy as np

from aggregate import flags
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates
from aggregate.verdict.number_format import signed
from aggregate.verdict.words import points, sentence, words
from sweepwise.core.value_format import percent

# Role -> the flag for noise of its metric, and how evaluation acts there.
MODES = {
    "primary": ("evaluation_noise", "with planning"),
    "policy_without_mpc": ("policy_without_mpc_noise", "policy without MPC"),
}
ALONE = "policy"  # name of the mode without planning in `SweepSummary.variance`
PARTS = {"episodes": "lies between episodes of one evaluation", "time": "over time", "seeds": "between seeds"}


def format_evaluation_noise(sweep: SweepSummary) -> str:
    """Sentences about the variance of evaluation, with and without planning if the agent plans; "" with too few
    evaluations."""
    roles = sweep.source.agent.catalogue.roles
    sentences = [text for role in MODES if role in roles and (text := _format_variance(sweep, role))]
    return " ".join([*sentences, _format_planning_noise(sweep)]).strip() if sentences else ""


def _format_variance(sweep: SweepSummary, role: str) -> str:
    flag, how = MODES[role]
    alone = sweep.variance["mode"] == ALONE
    own = sweep.variance[alone if role == "policy_without_mpc" else ~alone]
    variances = own[list(PARTS)].pow(2).mean()
    if variances.isna().any() or not variances.sum() > 0:
        return ""
    shares = variances / variances.sum()
    split = ", ".join(f"{percent(shares[part])} {of}" for part, of in PARTS.items())
    votes = sweep.votes[(sweep.votes["flag"] == flag) & (sweep.votes["state"] != flags.NOT_ASSESSABLE)]
    noisy = int((votes["state"] == flags.FLAG).sum())
    which = f"{noisy or 'none'} of {len(votes)} configurations" if len(votes) > 1 else "" if noisy else "not"
    judged = f"{which} flagged as noisy; ".lstrip() if len(votes) else ""
    text = f"{judged}of the variance in the second half of training, {split}."
    return sentence(f"{how}: {text}" if words(sweep).plans else text)


def _format_planning_noise(sweep: SweepSummary) -> str:
    """Noise of evaluation with planning less that without planning, compared within runs."""
    if not words(sweep).plans:
        return ""
    pairs = sweep.scores[["config_id", "noise_primary", "noise_policy"]].dropna()
    difference = pairs["noise_primary"] - pairs["noise_policy"]
    # runs of one configuration are not independent: average within configurations first
    by_config = difference.groupby(pairs["config_id"]).mean() if pairs["config_id"].nunique() > 1 else difference
    if len(by_config) < 2:
        return ""
    mean = float(by_config.mean())
    half = float(estimates.Interval().half_width(by_config.std(ddof=1), np.array(len(by_config))))
    effect = (
        "Planning increases it"
        if mean > half
        else "Planning reduces it"
        if mean < -half
        else "No significant effect of planning"
    )
    shown = signed({"estimate": mean, "ci_low": mean - half, "ci_high": mean + half})
    unit = points(sweep.source.agent.catalogue.primary)
    return f"{effect}: jumps from one evaluation to the next are {shown}{unit} compared with the policy without MPC."
