"""Comparison of two configurations: every endpoint, and the flags."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pandas as pd

from aggregate import flags
from aggregate.analysis.configuration_comparison import ConfigurationComparison
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates
from aggregate.statistics.alpha_spending import ONE_ANALYSIS
from aggregate.verdict.significance import format_relations
from aggregate.verdict.stability import format_stability
from aggregate.verdict.words import words

_SIDES = [f"{side}_{part}" for side in "ab" for part in ("mean", "low", "high", "n")]
_COLUMNS = ["outcome", *_SIDES, "difference", "d_low", "d_high", "p", "permutation", "better"]


@dataclass(frozen=True)
class Comparison:
    """a, b: config_ids.

    endpoints: outcome, mean, low, high and n of both (`a_mean` ...), difference (b - a) with its interval (d_low,
    d_high), p (Welch), permutation (exact p) and better (probability that a seed of b is above one of a, or below where
    a lower primary metric is better); the first line is the primary endpoint, the others are secondary. flags: flag,
    then raised and assessable seeds of both, for flags that at least one seed raises. claims: what may be claimed of
    the two, in sentences.
    """

    a: str
    b: str
    endpoints: pd.DataFrame
    flags: pd.DataFrame
    claims: str


def leader(sweep: SweepSummary, among: tuple[str, ...]) -> str:
    """The best of several configurations: by its final result, or by the result so far where no run has finished."""
    ranking = sweep.ranking[sweep.ranking["config_id"].isin(among)]
    return str(ranking["config_id"].iloc[0])


def compare(sweep: SweepSummary, a: str, b: str) -> Comparison:
    """Both are configurations of the sweep."""
    votes = sweep.votes.set_index(["flag", "config_id"])[["raised", "assessable"]]
    sides = [votes.xs(side, level="config_id").add_prefix(f"{name}_") for name, side in (("a", a), ("b", b))]
    both = pd.concat(sides, axis=1).reindex([d.name for d in flags.DETECTORS]).dropna().astype(int)
    both = both[(both["a_raised"] + both["b_raised"]) > 0].rename_axis("flag").reset_index()
    endpoints = pd.DataFrame([_endpoint(sweep, name, a, b) for name in words(sweep).outcomes], columns=_COLUMNS)
    return Comparison(a, b, endpoints, both, _claims(sweep, a, b))


def _claims(sweep: SweepSummary, a: str, b: str) -> str:
    """Which of the two is ahead, and how surely: one comparison, without correction for others."""
    scores = sweep.scores[sweep.scores["config_id"].isin((a, b))]
    compared = ConfigurationComparison(ONE_ANALYSIS, sweep.source.agent.catalogue.sign, sweep.margin.value)(scores)
    if len(compared) < 2:
        return ""
    two = dataclasses.replace(sweep, contrasts=compared, scores=scores)
    ahead = two.config(compared["config_id"].iloc[0]).name
    return f"Ahead: {ahead}. {format_relations(two)} {format_stability(two)}".rstrip()


def _endpoint(sweep: SweepSummary, outcome: str, a: str, b: str) -> dict[str, str | float]:
    line: dict[str, str | float] = {"outcome": outcome}
    ranking = sweep.ranking.set_index("config_id")
    for name, side in (("a", a), ("b", b)):
        line |= {f"{name}_{part}": ranking.at[side, f"{outcome}_{part}"] for part in ("mean", "low", "high", "n")}
    samples = estimates.samples_of(sweep.scores, "config_id", outcome)
    if a not in samples or b not in samples:
        return line
    b_less_a = estimates.welch(samples[b], samples[a])
    difference, half = float(b_less_a.estimate), float(b_less_a.half_width())
    line |= {"difference": difference, "d_low": difference - half, "d_high": difference + half, "p": float(b_less_a.p)}
    line |= {"permutation": float(estimates.permutation(samples[b], samples[a]))}
    sign = sweep.source.agent.catalogue.sign
    return line | {"better": float(estimates.improvement(sign * samples[b], sign * samples[a]))}
