"""What may be claimed of a factor: that a level is better or more stable, that a higher mean comes with more unstable
seeds, that all levels are alike, or nothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aggregate.analysis import run_outcomes
from aggregate.analysis.configuration_comparison import share_test, smallest_p
from aggregate.analysis.factor_contrasts import Axis
from aggregate.analysis.factor_effects import Cells
from aggregate.statistics import estimates


class Starts(NamedTuple):
    """Seeds by configuration, each (configurations,): that finished or diverged, and of these the unstable ones."""

    starts: np.ndarray
    unstable: np.ndarray

    @classmethod
    def of(cls, scores: pd.DataFrame, ids: Sequence[str]) -> Starts:
        """scores: one line per run with config_id and outcome. ids: the configurations, in order."""
        known = run_outcomes.outcomes_of(scores, ids)
        return cls(np.array([own.starts for own in known]), np.array([own.unstable for own in known]))


class Stability(NamedTuple):
    """levels: (level, unstable seeds, seeds) of each. p: of Fisher's exact test of the two ends, NaN without seeds at
    both. smallest: the smallest p that so many unstable seeds could give."""

    levels: list[tuple[str, int, int]]
    p: float
    smallest: float


def stability(axis: Axis, seeds: Starts) -> Stability:
    """The unstable seeds at each level, of the configurations that the contrast compares."""
    used = axis.weights(seeds.starts > 0) != 0
    compared = np.isin(axis.alike[0], axis.alike[0][used]) & np.isfinite(axis.position)
    levels = [
        (name, int(seeds.unstable[at_level].sum()), int(seeds.starts[at_level].sum()))
        for name in axis.names
        for at_level in [compared & axis.at(name)]
    ]
    (_, k0, n0), (_, k1, n1) = levels[0], levels[-1]
    if not used.any() or not n0 or not n1:
        return Stability(levels, np.nan, 1.0)
    return Stability(levels, share_test(k0, n0, k1, n1), smallest_p(n0, n1, k0 + k1))


class Equivalence(NamedTuple):
    """p: that no two levels differ by the margin or more, NaN where two of them cannot be compared. power: the chance
    to show it where all are equal."""

    p: float
    power: float


def equivalence(axis: Axis, cells: Cells, margin: float, tests: float) -> Equivalence:
    """Of all pairs of levels, each by two one-sided tests; the largest p needs no further correction. cells: of seeds
    that did not collapse. tests: corrected together by Bonferroni."""
    available, pairs = cells.counts > 1, list(itertools.combinations(axis.names, 2))
    contrasts = []
    for one, other in pairs:
        weights = axis.between(one, other).weights(available)
        if weights.any():
            contrasts.append(estimates.contrast(weights, cells.means, cells.variances, cells.counts))
    if len(contrasts) < len(pairs) or not np.isfinite(margin):
        return Equivalence(np.nan, np.nan)
    p = max(float(contrast.within(margin)) for contrast in contrasts)
    return Equivalence(p, min(float(contrast.power_within(margin, tests)) for contrast in contrasts))


BETTER, TRADE_OFF, STABLE, ALIKE, OPEN = "better", "trade-off", "more stable", "alike", "open"


class Claim(NamedTuple):
    """kind: one of the words above. level: the one that is better or more stable, "" for none. inner: the line of an
    inner level that is better than both ends, None for other claims."""

    kind: str
    level: str = ""
    inner: Mapping[str, Any] | None = None


def claim(slope: Mapping[str, Any], inner: Sequence[Mapping[str, Any]], *, up: bool) -> Claim:
    """What the lines of one factor claim. slope, inner: of `question_contrasts.contrasts_by_question`. up: whether
    higher values of the endpoint are better. A difference that is shown to be smaller than the margin is no claim."""
    ends = (slope["low"], slope["high"])
    alike = slope["p_alike"] < estimates.ALPHA
    if alike and not any(unstable for _, unstable, _ in slope["stability"]):  # else it is of other runs
        return Claim(ALIKE)
    for line in sorted((line for line in inner if line["distinct"]), key=lambda line: float(line["p"])):
        return Claim(_unless_less_stable(slope, line["high"], ends), line["high"], line)
    if slope["distinct"]:
        level = ends[(slope["estimate"] > 0) == up]
        return Claim(_unless_less_stable(slope, level, ends), level)
    if slope["p_unstable"] < estimates.ALPHA:
        (_, k0, n0), *_, (_, k1, n1) = slope["stability"]
        return Claim(STABLE, ends[k1 * n0 < k0 * n1])
    return Claim(ALIKE if alike else OPEN)


def _unless_less_stable(slope: Mapping[str, Any], level: str, others: Sequence[str]) -> str:
    """`BETTER`, or `TRADE_OFF` where a larger share of the level's seeds is unstable than of another's."""
    known = slope["stability"] if isinstance(slope["stability"], list) else []
    shares = {name: unstable / seeds for name, unstable, seeds in known if seeds}
    return TRADE_OFF if any(shares.get(level, 0) > shares.get(other, 1) for other in others) else BETTER
