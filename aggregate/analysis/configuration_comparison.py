"""Which configuration is ahead, and what may be claimed of the others.

Configurations are ordered by the expected result of one start: a diverged run counts as random actions, a collapsed one
with its own final result. Claims are two: the share of unstable seeds (diverged or collapsed) by Fisher's exact test,
and the mean of the seeds that finished by Welch's, or by the paired t test where the plan declares it. A configuration
is better where its mean is higher and no more of its seeds are unstable; where the two disagree it is a trade-off. A
difference that is significant and shown to be smaller than the margin does not matter.

Rules, corrections and their measured error rates: docs/verdict.md.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from aggregate.analysis.run_outcomes import DIVERGED, UNKNOWN, Outcomes, outcomes_of
from aggregate.statistics import estimates
from aggregate.statistics.alpha_spending import ALPHA, ONE_ANALYSIS, InterimAnalyses

# How a configuration compares with the leading one.
BEHIND = "behind"  # a lower mean, and no fewer unstable seeds than the leader
LESS_STABLE = "less stable"  # more unstable seeds, means not significantly different
TRADE_OFF = "trade-off"  # the higher mean and the fewer unstable seeds are not on one side
ALIKE = "alike"  # means within the margin of each other
OPEN = "open"  # nothing is claimed
APART = (BEHIND, LESS_STABLE)

COLUMNS = [
    "config_id", "expected", "mean", "n", "starts", "unstable", "unknown", "rest_starts", "rest_unstable", "p_unstable",
    "difference", "low", "high", "p", "p_alike", "relation", "distinct", "first", "last", "pairs", "rho",
]  # fmt: skip


@dataclass(frozen=True)
class ConfigurationComparison:
    """Compares every configuration with the leading one, that of the best expected result of one start.

    Called with a frame of one line per run (`run_outcomes.with_outcomes`); returns `COLUMNS`, one line per
    configuration with a started run, the leader first. expected: of one start. mean, n: of finished runs. rest_starts,
    rest_unstable: of all other configurations; p_unstable: of the share against these (Fisher, Holm over
    configurations). difference (leader - configuration) of means with low and high (Student-t, uncorrected); p: of the
    difference (Welch, or paired where `paired` and possible; Holm over all pairs, as the leader is selected from the
    same data). pairs, rho: see `estimates.Differences`. p_alike: of two one-sided
    tests that the means of runs that did not collapse differ by less than `margin` (Bonferroni over all pairs). All p
    values are doubled where shares and means could both be claimed, and corrected for interim `analyses`. relation:
    `BEHIND` ... `OPEN`, "" for the leader. distinct: whether it is one of `APART`.
    first, last: the ranks that it can have.

    margin: in the unit of the metric, NaN where unknown. sign: -1 where lower is better. paired: whether the plan
    declares that configurations are compared seed by seed.
    """

    analyses: InterimAnalyses = ONE_ANALYSIS
    sign: int = 1
    margin: float = np.nan
    paired: bool = False

    def __call__(self, scores: pd.DataFrame) -> pd.DataFrame:
        starts = estimates.samples_of(scores, "config_id", "start_primary")
        if not starts:
            return pd.DataFrame(columns=COLUMNS)
        ranked = sorted(starts, key=lambda name: (-self.sign * starts[name].mean(), name))
        finals, healthy = (_samples(scores, column, ranked) for column in ("final_primary", "healthy_primary"))
        outcomes = outcomes_of(scores, ranked)
        p_unstable, shared = unstable_against_rest(outcomes, self.analyses)
        pairs = list(itertools.combinations(range(len(ranked)), 2))
        pairing = pairing_of(scores) if self.paired else None
        means = estimates.differences(scores, "config_id", "final_primary", ranked, pairs, pairing)
        alike = estimates.welch_pairs(healthy, pairs).within(self.margin)
        p = _by_pair(np.minimum((1 + shared) * estimates.holm(self.analyses(means.contrast.p)), 1), pairs, len(ranked))
        p_alike = _by_pair(np.minimum((1 + shared) * len(pairs) * self.analyses(alike), 1), pairs, len(ranked))
        relations = {
            (i, j): self._relation(difference, outcomes[i], outcomes[j], p[i, j], p_unstable[j], p_alike[i, j])
            for (i, j), difference in zip(pairs, means.contrast.estimate.tolist(), strict=True)
        }
        distinct = _by_pair(np.array([relations[pair] in APART for pair in pairs]), pairs, len(ranked)) == 1
        # the pairs with the leader come first
        difference = np.array([0.0 if finals[0].size else np.nan, *means.contrast.estimate[: len(ranked) - 1]])
        half = np.array([np.nan, *means.contrast.half_width()[: len(ranked) - 1]])
        lines = []
        for j, name in enumerate(ranked):
            rest = [other for i, other in enumerate(outcomes) if i != j]
            lines.append((
                name, starts[name].mean(), finals[j].mean() if finals[j].size else np.nan, finals[j].size, *outcomes[j],
                sum(other.starts for other in rest), sum(other.unstable for other in rest), p_unstable[j],
                difference[j], difference[j] - half[j], difference[j] + half[j], p[0, j], p_alike[0, j],
                relations.get((0, j), ""), bool(distinct[0, j]),
                1 + int(distinct[:, j].sum()), len(ranked) - int(distinct[j].sum()),
                int(means.pairs[j - 1]) if j else 0, float(means.rho[j - 1]) if j else np.nan,
            ))  # fmt: skip
        return pd.DataFrame(lines, columns=COLUMNS)

    def _relation(
        self, difference: float, leads: Outcomes, others: Outcomes, p: float, p_unstable: float, p_alike: float
    ) -> str:
        """How a configuration compares with one of a better expected result. difference: of their means."""
        if p_alike < ALPHA and not leads.shares[1] and not others.shares[1]:  # else it is of other runs than p
            return ALIKE
        if p < ALPHA:
            return BEHIND if self.sign * difference > 0 and not is_trade_off(leads, others) else TRADE_OFF
        if p_unstable < ALPHA and others.shares[0] > leads.shares[1] and _fisher(leads, others) < ALPHA:
            return LESS_STABLE
        return ALIKE if p_alike < ALPHA else OPEN


def pairing_of(scores: pd.DataFrame) -> estimates.Pairing:
    """For a plan that declares it: not of configurations with a seed that diverged, or may have."""
    lost = scores.loc[scores["outcome"].isin((DIVERGED, UNKNOWN)), "config_id"]
    return estimates.Pairing(frozenset(map(str, lost)))


def is_trade_off(better: Outcomes, worse: Outcomes) -> bool:
    """Whether the configuration of the significantly better mean, `better`, may have the larger share of unstable
    seeds."""
    return better.shares[1] > worse.shares[0]


def unstable_against_rest(
    outcomes: Sequence[Outcomes], analyses: InterimAnalyses = ONE_ANALYSIS
) -> tuple[np.ndarray, bool]:
    """(p of the share of unstable seeds of each configuration against all others, whether any of these tests could
    claim something).

    p: Fisher's exact test, Holm over configurations, doubled where a claim is possible: then shares and means are two
    families at half the level each. Where too few seeds are unstable for any claim, the means have the whole level.
    Runs that ended for an unknown cause are counted as unstable and left out; the larger p counts.
    """
    p, possible = zip(*(_against_rest(known, analyses) for known in _both_ways(outcomes)), strict=True)
    shared = any(possible)
    return np.minimum((1 + shared) * np.fmax(*p), 1), shared


def _both_ways(outcomes: Sequence[Outcomes]) -> list[list[Outcomes]]:
    """The counts with unknown runs left out, and with these counted as unstable."""
    counted = [Outcomes(o.starts + o.unknown, o.unstable + o.unknown, 0) for o in outcomes]
    return [list(outcomes), counted]


def _against_rest(outcomes: Sequence[Outcomes], analyses: InterimAnalyses) -> tuple[np.ndarray, bool]:
    starts, unstable = (np.array([getattr(o, name) for o in outcomes]) for name in ("starts", "unstable"))
    tests = len(outcomes) if len(outcomes) > 2 else 1  # of two configurations both tests are one
    raw, smallest = np.full(len(outcomes), np.nan), np.ones(len(outcomes))
    for i in range(len(outcomes)):
        rest, all_unstable = int(starts.sum() - starts[i]), int(unstable.sum())
        if not rest or not starts[i]:
            continue
        raw[i] = share_test(unstable[i], starts[i], all_unstable - unstable[i], rest)
        smallest[i] = smallest_p(int(starts[i]), rest, all_unstable)
    possible = bool((analyses(smallest) * tests < ALPHA / 2).any())
    return estimates.holm(analyses(raw)) if tests > 1 else analyses(raw), possible


@functools.lru_cache(maxsize=10_000)
def share_test(k: int, n: int, other_k: int, other_n: int) -> float:
    """Two-sided p of Fisher's exact test of k of n against other_k of other_n."""
    return float(stats.fisher_exact([[k, n - k], [other_k, other_n - other_k]]).pvalue)


def smallest_p(n: int, other_n: int, both: int) -> float:
    """The smallest p that `share_test` can give where `both` of n + other_n are counted: all or none on one side."""
    return min(share_test(k, n, both - k, other_n) for k in {min(n, both), max(0, both - other_n)})


def _fisher(one: Outcomes, other: Outcomes) -> float:
    return share_test(one.unstable, one.starts, other.unstable, other.starts)


def _samples(scores: pd.DataFrame, column: str, ranked: Sequence[str]) -> list[np.ndarray]:
    samples = estimates.samples_of(scores, "config_id", column)
    return [samples.get(name, np.empty(0)) for name in ranked]


def _by_pair(values: np.ndarray, pairs: Sequence[tuple[int, int]], count: int) -> np.ndarray:
    """(count, count) with the value of each pair, NaN elsewhere."""
    out = np.full((count, count), np.nan)
    out[tuple(np.array(pairs, dtype=int).reshape(-1, 2).T)] = values
    return out
