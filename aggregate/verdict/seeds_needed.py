"""Which rivals of the best configuration are worth more seeds, and how many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.configuration_comparison import ALIKE, APART, TRADE_OFF, pairing_of
from aggregate.analysis.factor_effects import PRIMARY
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates
from aggregate.verdict.leader import Rival, rivals, worth_seeds
from aggregate.verdict.number_format import number
from aggregate.verdict.significance import format_margin
from aggregate.verdict.words import points
from sweepwise.core.value_format import listed

MOST_NAMED = 6  # configurations that are listed one by one
AFFORDABLE_SEEDS = 30  # per configuration; more are not recommended


@dataclass(frozen=True)
class Ties:
    """configs: the best configuration, then the rivals that are worth seeds; empty where there are none. more:
    additional seeds for each of them; 0 where too many would be needed, or the variance is unknown. of: the rival that
    would then differ significantly from the best. difference: the true difference for which that holds, in the unit of
    the primary metric. left: the open rivals that get no seeds."""

    configs: tuple[str, ...]
    more: int = 0
    of: str = ""
    difference: float = np.nan
    left: tuple[Rival, ...] = ()


def ties(sweep: SweepSummary, most: int = AFFORDABLE_SEEDS) -> Ties:
    """The fewest seeds with which the next interim analysis would detect, with 80 % power, a difference between the
    best configuration and a rival: as large as the one observed, or the relevant margin where that is larger. most:
    seeds per configuration in total."""
    others = rivals(sweep)
    worth = [rival for rival in others if worth_seeds(rival, sweep.margin.value)]
    left = tuple(rival for rival in others if rival not in worth and rival.relation not in (*APART, ALIKE))
    if not worth:
        return Ties((), left=left)
    samples = estimates.samples_of(sweep.scores, "config_id", PRIMARY)
    none = np.empty(0)
    leader = str(sweep.contrasts["config_id"].iloc[0])
    configs = (leader, *(rival.config_id for rival in worth))
    sizes = [samples.get(config, none).size for config in configs]
    if min(sizes) < 2:
        return Ties(configs, left=left)
    pairing = pairing_of(sweep.scores) if sweep.source.paired else None
    places = [(0, place) for place in range(1, len(configs))]
    compared = estimates.differences(sweep.scores, "config_id", PRIMARY, configs, places, pairing)
    true_differences = np.fmax(np.abs(compared.contrast.estimate), sweep.margin.value)
    seeds = np.where(compared.pairs, compared.pairs, sizes[1:])
    for more, tests in _affordable(sweep, min(sizes), most - max(sizes)):
        enough = compared.contrast.detectable(tests, 1 + more / seeds) <= true_differences
        if enough.any():
            first = int(np.argmax(enough))
            return Ties(configs, more, configs[1 + first], float(true_differences[first]), left)
    return Ties(configs, left=left)


def _affordable(sweep: SweepSummary, seeds: int, most: int) -> Iterator[tuple[int, float]]:
    """(additional seeds, number of tests that the smallest p is then corrected for), of the pairs that do not
    differ."""
    known = int((sweep.ranking["final_primary_n"] > 1).sum())
    pairs = known * (known - 1) // 2 - int(np.sum(sweep.contrasts["first"] - 1))
    now = max(seeds, sweep.source.interim_analyses.seeds[-1])
    for more in range(1, most + 1):
        yield more, sweep.source.interim_analyses.next(now + more).tests(max(pairs, 1))


def format_more(sweep: SweepSummary, tied: Ties) -> str:
    """Which configurations get seeds, what these would show, and which get none."""
    labels = {config.config_id: config.name for config in sweep.source.configs}
    seeds = "1 more seed" if tied.more == 1 else f"{tied.more} more seeds"
    named = listed([labels[name] for name in tied.configs], MOST_NAMED, "; ")
    difference = f"{number(tied.difference)}{points(sweep.source.agent.catalogue.primary)}"
    detected = f"between the best configuration and {labels[tied.of]} would be detected with 80 % power"
    return f"{seeds} for each of {named}: a true difference of {difference} {detected}{format_left(sweep, tied)}"


def format_left(sweep: SweepSummary, tied: Ties) -> str:
    """The open rivals that get no seeds, by reason; "" for none."""
    by_reason: dict[str, list[str]] = {}
    for rival in tied.left:
        by_reason.setdefault(_reason(rival, sweep), []).append(rival.label)
    texts = [f"{listed(labels, MOST_NAMED, '; ')} ({reason})" for reason, labels in by_reason.items()]
    return f"; no seeds for {'; '.join(texts)}" if texts else ""


def _reason(rival: Rival, sweep: SweepSummary) -> str:
    if rival.relation == TRADE_OFF:
        return "a trade-off that more seeds do not resolve"
    if 2 * rival.unstable >= max(rival.starts, 1):
        return f"{rival.unstable} of {rival.starts} seeds diverged or collapsed"
    margin = format_margin(sweep)
    return f"not better by more than {margin}" if margin else "not better"
