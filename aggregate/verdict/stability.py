"""Sentences about seeds that diverged or collapsed, and about runs without a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from aggregate import flags
from aggregate.analysis import run_outcomes
from aggregate.analysis.run_outcomes import COLLAPSED, CRASHED, DIVERGED, MISSING, PRUNED, UNKNOWN
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates
from aggregate.verdict.number_format import probability
from aggregate.verdict.words import words

MOST_NAMED = 3  # configurations that are listed one by one


def format_stability(sweep: SweepSummary) -> str:
    """Which seeds diverged or collapsed, what no such seed excludes, and where a collapse could not be judged."""
    return " ".join([*_unstable(sweep), *_none_unstable(sweep), *_not_judged(sweep)])


def count_unstable(sweep: SweepSummary, config_id: str) -> str:
    """As in "2 of 6 seeds diverged", "1 of 6 diverged and 2 collapsed"; "" where none did."""
    counted = run_outcomes.counts(sweep.scores)[config_id]
    starts = sum(counted.get(outcome, 0) for outcome in run_outcomes.STARTS)
    diverged, collapsed = counted.get(DIVERGED, 0), counted.get(COLLAPSED, 0)
    if not diverged or not collapsed:
        verb = "diverged" if diverged else "collapsed"
        return f"{diverged + collapsed} of {starts} seeds {verb}" if diverged + collapsed else ""
    return f"{diverged} of {starts} seeds diverged and {collapsed} collapsed"


def with_unstable_seeds(sweep: SweepSummary) -> list[dict[str, Any]]:
    """The lines of `contrasts` with seeds that diverged or collapsed, the largest share first."""
    lines = sweep.contrasts[sweep.contrasts["unstable"] > 0].to_dict("records")
    return sorted(lines, key=lambda line: float(line["unstable"] / line["starts"]), reverse=True)


def _unstable(sweep: SweepSummary) -> Iterator[str]:
    lines = with_unstable_seeds(sweep)
    for line in lines[:MOST_NAMED]:
        yield f"{_label(sweep, line)}: {count_unstable(sweep, line['config_id'])}{_seeds(sweep, line)}{_rest(line)}."
    if rest := lines[MOST_NAMED:]:
        seeds, starts = (int(sum(line[name] for line in rest)) for name in ("unstable", "starts"))
        yield f"{len(rest)} more configurations: {seeds} of {starts} seeds."


def _label(sweep: SweepSummary, line: Mapping[str, Any]) -> str:
    return sweep.config(line["config_id"]).name


def _seeds(sweep: SweepSummary, line: Mapping[str, Any]) -> str:
    own = sweep.scores[(sweep.scores["config_id"] == line["config_id"])]
    seeds = own.loc[own["outcome"].isin(run_outcomes.UNSTABLE), "seed"]
    if len(seeds) == len(own) > 1:
        return ""
    return f" ({'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, sorted(seeds)))})"


def _rest(line: Mapping[str, Any]) -> str:
    """How many seeds of the other configurations are unstable."""
    if not line["rest_starts"]:
        return ""
    tested = f" ({probability(line['p_unstable'])})" if line["p_unstable"] < 1 else ""
    return f", against {line['rest_unstable']} of {line['rest_starts']} of the others{tested}"


def _none_unstable(sweep: SweepSummary) -> Iterator[str]:
    """What the seeds of the best configuration do not exclude if none of them is unstable."""
    for leader in sweep.contrasts.head(1).to_dict("records"):
        if not leader["unstable"] and leader["starts"]:
            most = estimates.most_share(int(leader["starts"]))
            who = " of the best configuration" if len(sweep.contrasts) > 1 else ""
            what = "diverged" if unjudged(sweep, leader["config_id"]) else "diverged or collapsed"
            excluded = f"that does not exclude a rate of up to {100 * most:.0f} %"
            yield f"None of the {leader['starts']} seeds{who} {what}; {excluded}."


def _not_judged(sweep: SweepSummary) -> Iterator[str]:
    """The finished runs whose collapse could not be assessed, with the reason."""
    runs = _unjudged(sweep)
    if len(runs):
        finished = int(sweep.scores["final_primary"].notna().sum())
        reason = str(runs["detail"].mode().iloc[0]).rstrip(".").removeprefix("not assessed: ")
        yield f"Collapse: not assessed for {len(runs)} of {finished} finished runs ({reason})."


def unjudged(sweep: SweepSummary, config_id: str) -> bool:
    """Whether the collapse of any finished run of a configuration could not be assessed."""
    return bool((_unjudged(sweep)["config_id"] == config_id).any())


def _unjudged(sweep: SweepSummary) -> pd.DataFrame:
    """The findings of finished runs whose collapse could not be assessed."""
    own = sweep.findings[(sweep.findings["flag"] == flags.COLLAPSE) & (sweep.findings["state"] == flags.NOT_ASSESSABLE)]
    return own.merge(
        sweep.scores.loc[sweep.scores["final_primary"].notna(), ["config_id", "seed"]], on=["config_id", "seed"]
    )


def format_missing(sweep: SweepSummary) -> str:
    """The runs without a final result, by what ended them, and how each kind is counted."""
    finished, planned = int(sweep.scores["final_primary"].notna().sum()), len(sweep.runs)
    if finished == planned:
        return f"Nothing: all {planned} runs finished." if planned > 1 else "Nothing: the run finished."
    merged = sweep.runs.merge(sweep.scores[["config_id", "seed", "final_primary", "outcome"]], on=["config_id", "seed"])
    rest = merged[merged["final_primary"].isna()]
    named = [text for outcome in _COUNTED for text in _kind(sweep, rest[rest["outcome"] == outcome], outcome)]
    return f"{planned - finished} of {planned} runs have no {words(sweep).final}: {'; '.join(named)}."


# How a run without a final result is counted, by its outcome.
_COUNTED = {
    DIVERGED: "counted as random actions in the expected result of one run",
    CRASHED: "ended by the program's own error, left out",
    UNKNOWN: "cause unknown, so claims must hold with and without counting them as diverged",
    MISSING: "left out",
    PRUNED: "left out",
}


def _kind(sweep: SweepSummary, runs: pd.DataFrame, outcome: str) -> Iterator[str]:
    if len(runs):
        texts = [
            f"{state} by {cause}" if cause not in ("", "unknown", state) else state
            for state, cause in zip(runs["state"], runs["cause"], strict=True)
        ]
        counted = ", ".join(f"{texts.count(text)} {text}" for text in sorted(set(texts)))
        rates = f": {_crash_rates(sweep, runs)}" if outcome == CRASHED else ""
        yield f"{counted} ({_COUNTED[outcome]}{rates})"


def _crash_rates(sweep: SweepSummary, runs: pd.DataFrame) -> str:
    """Crashed runs of the planned ones, of the configurations with most of them."""
    crashed = runs["config_id"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    configs = [sweep.config(str(config_id)) for config_id in crashed.index]
    named = [f"{n} of {len(c.runs)} seeds of {c.name}" for n, c in zip(crashed, configs, strict=True)]
    rest = len(named) - MOST_NAMED
    return ", ".join(named[:MOST_NAMED]) + (f" and some of {rest} more configurations" if rest > 0 else "")
