"""What became of each run, for the comparison of configurations.

A run that diverges or collapses says something about its configuration; one that a node lost says nothing and is
missing; one that its own program ended did not run. So failures are classified by their cause before configurations are
compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.inputs.runs import DIVERGED as DIVERGED_STATE
from aggregate.inputs.runs import FAILED, STOPPED, RunSource

FINISHED, COLLAPSED, DIVERGED = "finished", "collapsed", "diverged"
CRASHED = "crashed"  # its own program ended it: an error, too little memory, no metrics
UNKNOWN = "unknown"  # its process ended, and nothing says why
PRUNED = "stopped"  # by `sweeps prune`
MISSING = "missing"  # not ended yet, or ended from outside: a node, a time limit, preemption, cancelled
UNSTABLE = (COLLAPSED, DIVERGED)
STARTS = (FINISHED, COLLAPSED, DIVERGED)  # outcomes that say what a start of the configuration leads to

_CRASHES = ("error", "no-metrics", "oom")  # causes, see `jobs.results.run_state.Cause`
# The final result without collapsed runs, and of every start: a diverged run counts as random actions.
OUTCOME_SCORES = ("healthy_primary", "start_primary")


def with_outcomes(
    scores: pd.DataFrame, runs: Iterable[RunSource], findings: pd.DataFrame, floor: float, sign: int = 1
) -> pd.DataFrame:
    """scores with three columns. outcome: one of the words above. healthy_primary: the final result of a run that did
    not collapse. start_primary: the final result, and `random_level` for a run that diverged; NaN for other outcomes.

    scores: one line per run with config_id, seed and final_primary. runs: the same runs. findings: `flags.judge`.
    floor: mean result of random actions, NaN where unknown. sign: -1 where lower is better.
    """
    sources = {(run.config_id, run.seed): run for run in runs}
    fallen, not_finite = (_raising(findings, flag) for flag in (flags.COLLAPSE, "diverged"))
    final = scores["final_primary"]
    pairs = list(zip(scores["config_id"], scores["seed"], strict=True))
    outcomes = pd.Series(
        [_outcome(sources[pair], np.isfinite(value), pair in fallen, pair in not_finite)
         for pair, value in zip(pairs, final, strict=True)],
        index=scores.index, dtype=object,
    )  # fmt: skip
    return scores.assign(
        outcome=outcomes,
        healthy_primary=final.mask(outcomes == COLLAPSED),
        start_primary=final.mask(outcomes == DIVERGED, random_level(final, floor, sign)),
    )


def random_level(final: pd.Series, floor: float, sign: int = 1) -> float:
    """The result that a diverged run counts as: that of random actions, the worst that was reached where it is
    unknown."""
    if np.isfinite(floor):
        return floor
    return float(sign * (sign * final).min()) if final.notna().any() else np.nan


def _outcome(run: RunSource, finished: bool, collapsed: bool, not_finite: bool) -> str:
    """finished: it has a final result."""
    if finished:
        return COLLAPSED if collapsed else FINISHED
    if run.state == DIVERGED_STATE or (run.state == FAILED and not_finite):
        return DIVERGED
    if run.state == STOPPED:
        return PRUNED
    if run.state != FAILED:
        return MISSING
    if run.cause in _CRASHES:
        return CRASHED
    return UNKNOWN if run.cause in ("", "unknown") else MISSING


def _raising(findings: pd.DataFrame, flag: str) -> set[tuple[str, int]]:
    """(config_id, seed) of the runs that raise a flag."""
    raised = findings[(findings["flag"] == flag) & (findings["state"] == flags.FLAG)]
    return set(zip(raised["config_id"], raised["seed"], strict=True))


class Outcomes(NamedTuple):
    """Seeds of one configuration. starts: finished or diverged. unstable: of these, diverged or collapsed. unknown:
    further runs that ended for an unknown cause."""

    starts: int
    unstable: int
    unknown: int

    @property
    def shares(self) -> tuple[float, float]:
        """The smallest and the largest share of unstable seeds, with unknown ones left out or counted as unstable."""
        most = (self.unstable + self.unknown) / max(self.starts + self.unknown, 1)
        known = self.unstable / max(self.starts, 1)
        return min(known, most), max(known, most)


def outcomes_of(scores: pd.DataFrame, ids: Sequence[str]) -> list[Outcomes]:
    """Of the configurations `ids`, in order; zeros for one without runs. scores: with the column outcome."""
    known = counts(scores)
    return [
        Outcomes(
            sum(own.get(name, 0) for name in STARTS), sum(own.get(name, 0) for name in UNSTABLE), own.get(UNKNOWN, 0)
        )
        for own in (known.get(config_id, {}) for config_id in ids)
    ]


def counts(scores: pd.DataFrame) -> Mapping[str, Mapping[str, int]]:
    """config_id -> outcome -> number of runs. scores: with the column outcome."""
    by_config: dict[str, Counter[str]] = {}
    for config_id, outcome in zip(scores["config_id"], scores["outcome"], strict=True):
        by_config.setdefault(str(config_id), Counter())[outcome] += 1
    return by_config
