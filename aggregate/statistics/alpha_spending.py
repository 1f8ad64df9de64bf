"""Corrections for interim analyses, where seeds are added after results were seen.

Group-sequential tests with alpha spending (Lan & DeMets 1983): a sweep spends its 5 % over its analyses. A hypothesis
that is tested at every analysis has for each p value the smallest overall level at which it would be rejected (a
sequential p value, Liu & Anderson 2008); Holm's correction takes these in place of p values (Maurer & Bretz 2013).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(101)
_LEVELS = np.geomspace(1e-9, 0.5, 25)  # interpolated in between, to within 1 % of the level


@dataclass(frozen=True)
class InterimAnalyses:
    """The interim analyses of a sweep, the current one included.

    seeds: per configuration at each analysis, ascending. planned: number of analyses planned at the first one; if there
    are more, their number counts. The level of an analysis depends on its number only, not on the data.
    """

    seeds: tuple[int, ...] = (1,)
    planned: int = 1

    @property
    def number(self) -> int:
        return len(self.seeds)

    @property
    def count(self) -> int:
        """Number of analyses over which the 5 % are spent."""
        return max(self.planned, self.number)

    def level(self, alpha: float = ALPHA) -> float:
        """Nominal level of the current analysis, where all of them share `alpha`."""
        return _level(self, alpha)

    def tests(self, count: int) -> float:
        """Number of tests without interim analyses that `count` jointly corrected tests are equivalent to."""
        return count if self.count == 1 else ALPHA / self.level(ALPHA / count)

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """p values of the current analysis -> the smallest `alpha` at which each would be rejected; NaN stays NaN."""
        if self.count == 1:
            return p
        nominal, alphas = _table(self)
        with np.errstate(divide="ignore"):
            ratio = np.exp(np.interp(np.log(p), np.log(nominal), np.log(alphas / nominal)))
        return np.minimum(p * ratio, 1.0)

    def next(self, seeds: int) -> InterimAnalyses:
        """With one more analysis, at so many seeds."""
        return InterimAnalyses((*self.seeds, seeds), self.planned)


ONE_ANALYSIS = InterimAnalyses()


@functools.lru_cache(maxsize=100_000)
def _level(analyses: InterimAnalyses, alpha: float) -> float:
    if analyses.count == 1:
        return alpha
    spent = [alpha * pocock_type(number / analyses.count) for number in range(1, analyses.number + 1)]
    return nominal_levels(spent, analyses.seeds)[-1]


@functools.lru_cache(maxsize=1000)
def _table(analyses: InterimAnalyses) -> tuple[np.ndarray, np.ndarray]:
    """(nominal levels of the current analysis, the overall levels they correspond to)."""
    return np.array([_level(analyses, float(alpha)) for alpha in _LEVELS]), _LEVELS


def pocock_type(share: float) -> float:
    """Part of alpha spent after a share of the analyses (Lan & DeMets 1983, their second function): about equal parts,
    so that the first report loses little power."""
    return math.log(1 + (math.e - 1) * share)


def nominal_levels(spent: Sequence[float], information: Sequence[float]) -> list[float]:
    """Two-sided nominal level of each analysis, such that under the null hypothesis a share `spent[k]` of cases is
    rejected by analysis k.

    spent: ascending. information: at each analysis, ascending, in any unit; seeds, where all analyses have one
    variance. The statistics are joint normal with correlations sqrt(information_j / information_k); integrated as by
    Armitage, McPherson & Rowe (1969).
    """
    from scipy import optimize, special  # only here: processes that read runs need neither

    levels, before = [], 0.0
    # distribution of the sum so far, where nothing was rejected yet
    points, masses, size = np.zeros(1), np.ones(1), 0.0
    for total, now in zip(spent, information, strict=True):
        spread = math.sqrt(now - size)
        border = optimize.brentq(_excess, 0.0, 12 * math.sqrt(now), (points, masses, spread, total - before), 1e-12)
        levels.append(float(2 * special.ndtr(-border / math.sqrt(now))))
        inside = border * _NODES
        density = np.exp(-(((inside[:, None] - points) / spread) ** 2) / 2) @ masses / (spread * math.sqrt(2 * math.pi))
        points, masses, size, before = inside, density * border * _WEIGHTS, now, total
    return levels


def _excess(border: float, points: np.ndarray, masses: np.ndarray, spread: float, share: float) -> float:
    """Probability beyond +-`border` after a step of standard deviation `spread` from `points`, minus `share`."""
    from scipy import special

    tails = special.ndtr((points - border) / spread) + special.ndtr((-border - points) / spread)
    return float(masses @ tails) - share
