"""How many more seeds would separate the best configuration of a sweep from one that is tied with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.factor_effects import PRIMARY
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates

AFFORDABLE_SEEDS = 30  # per configuration; more are not recommended


@dataclass(frozen=True)
class Ties:
    """configs: the best configuration, then those that do not differ from it significantly; empty where all differ.
    more: additional seeds for each of them; 0 where too many would be needed, or the variance is unknown. of: the
    configuration that would then differ significantly."""

    configs: tuple[str, ...]
    more: int = 0
    of: str = ""


def ties(sweep: SweepSummary, most: int = AFFORDABLE_SEEDS) -> Ties:
    """The fewest seeds with which the next interim analysis would detect, with 80 % power, a difference from the best
    configuration as large as one observed now. most: seeds per configuration in total."""
    others = sweep.contrasts.iloc[1:]
    tied = [str(config) for config in others.loc[~others["distinct"].astype(bool), "config_id"]]
    if not tied:
        return Ties(())
    samples = estimates.samples_of(sweep.scores, "config_id", PRIMARY)
    configs = (str(sweep.contrasts["config_id"].iloc[0]), *tied)
    sizes = [samples[config].size for config in configs]
    contrasts = {config: estimates.welch(samples[configs[0]], samples[config]) for config in tied}
    for more, tests in _affordable(sweep, min(sizes), most - max(sizes)):
        for config, contrast in contrasts.items():
            factor = 1 + more / samples[config].size
            if contrast.detectable(tests, factor) <= abs(contrast.estimate):
                return Ties(configs, more, config)
    return Ties(configs)


def _affordable(sweep: SweepSummary, seeds: int, most: int) -> Iterator[tuple[int, float]]:
    """(additional seeds, number of tests that the smallest p is then corrected for), of the pairs that do not
    differ."""
    known = int((sweep.ranking["final_primary_n"] > 1).sum())
    pairs = known * (known - 1) // 2 - int(np.sum(sweep.contrasts["first"] - 1))
    now = max(seeds, sweep.source.interim_analyses.seeds[-1])
    for more in range(1, most + 1):
        yield more, sweep.source.interim_analyses.next(now + more).tests(max(pairs, 1))
