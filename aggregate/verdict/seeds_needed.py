"""How many more seeds would tell a sweep's leader from one that is tied with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.factor_effects import PRIMARY
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates

AFFORDABLE_SEEDS = 30  # of a configuration; more are not advised


@dataclass(frozen=True)
class Ties:
    """configs: the leader, then those that cannot be told apart from it; none where all can. more: seeds for each of
    them; 0 where too many would be needed, or nothing is known of chance yet. of: the one that would be told apart."""

    configs: tuple[str, ...]
    more: int = 0
    of: str = ""


def ties(sweep: SweepSummary, most: int = AFFORDABLE_SEEDS) -> Ties:
    """The fewest seeds at which the next look would find, in 80 % of cases, a difference from the leader that is as
    large as one seen now. most: seeds of a configuration, all together."""
    others = sweep.contrasts.iloc[1:]
    tied = [str(config) for config in others.loc[~others["distinct"].astype(bool), "config_id"]]
    if not tied:
        return Ties(())
    samples = estimates.samples_of(sweep.scores, "config_id", PRIMARY)
    configs = (str(sweep.contrasts["config_id"].iloc[0]), *tied)
    sizes = [samples[config].size for config in configs]
    found = {config: estimates.welch(samples[configs[0]], samples[config]) for config in tied}
    for more, tests in _affordable(sweep, min(sizes), most - max(sizes)):
        for config, contrast in found.items():
            factor = 1 + more / samples[config].size
            if contrast.detectable(tests, factor) <= abs(contrast.estimate):
                return Ties(configs, more, config)
    return Ties(configs)


def _affordable(sweep: SweepSummary, seeds: int, most: int) -> Iterator[tuple[int, float]]:
    """(more seeds, tests that the smallest p must then stand): of the pairs that are not told apart, at that look."""
    known = int((sweep.ranking["final_planner_n"] > 1).sum())
    pairs = known * (known - 1) // 2 - int(np.sum(sweep.contrasts["first"] - 1))
    now = max(seeds, sweep.source.looks.seeds[-1])
    for more in range(1, most + 1):
        yield more, sweep.source.looks.next(now + more).tests(max(pairs, 1))
