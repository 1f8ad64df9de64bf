"""Looking again: what a claim is worth where more seeds were added after an earlier look at the data.

Group-sequential tests with alpha spending (Lan & DeMets 1983): a sweep spends its 5 % over its looks. A hypothesis that
is tested at every look has for each p value the smallest overall level at which it would be claimed (a sequential
p value, Liu & Anderson 2008); Holm's correction takes these in place of p values (Maurer & Bretz 2013).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

ALPHA = 0.05
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(101)
_LEVELS = np.geomspace(1e-9, 0.5, 25)  # between them is interpolated, to within 1 % of the level


@dataclass(frozen=True)
class Looks:
    """The looks that a sweep had, this one included.

    seeds: of a configuration at each of them, rising. planned: how many were meant when the first one was taken; where
    there were more, as many as there were. What a look spends depends on its number alone, not on what was seen.
    """

    seeds: tuple[int, ...] = (1,)
    planned: int = 1

    @property
    def number(self) -> int:
        return len(self.seeds)

    @property
    def count(self) -> int:
        """Looks over which the 5 % are spread."""
        return max(self.planned, self.number)

    def level(self, alpha: float = ALPHA) -> float:
        """Below which a p value of this look is claimed, where `alpha` is shared by all of them."""
        return _level(self, alpha)

    def tests(self, count: int) -> float:
        """As how many tests of a single look so many count, which are corrected together."""
        return count if self.count == 1 else ALPHA / self.level(ALPHA / count)

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """p values of this look -> the smallest `alpha` at which each is claimed; NaN stays NaN."""
        if self.count == 1:
            return p
        nominal, alphas = _table(self)
        with np.errstate(divide="ignore"):
            ratio = np.exp(np.interp(np.log(p), np.log(nominal), np.log(alphas / nominal)))
        return np.minimum(p * ratio, 1.0)

    def next(self, seeds: int) -> Looks:
        """With one more look, at so many seeds."""
        return Looks((*self.seeds, seeds), self.planned)


ONE_LOOK = Looks()


@functools.lru_cache(maxsize=100_000)
def _level(looks: Looks, alpha: float) -> float:
    if looks.count == 1:
        return alpha
    spent = [alpha * pocock_type(look / looks.count) for look in range(1, looks.number + 1)]
    return nominal_levels(spent, looks.seeds)[-1]


@functools.lru_cache(maxsize=1000)
def _table(looks: Looks) -> tuple[np.ndarray, np.ndarray]:
    """(nominal levels of this look, the overall levels they belong to)."""
    return np.array([_level(looks, float(alpha)) for alpha in _LEVELS]), _LEVELS


def pocock_type(share: float) -> float:
    """Part of alpha that is spent by a share of the looks (Lan & DeMets 1983, their second function): about as much at
    each, so that the first report is nearly worth what it would be alone."""
    return math.log(1 + (math.e - 1) * share)


def nominal_levels(spent: Sequence[float], information: Sequence[float]) -> list[float]:
    """Two-sided p level of each look, such that equal means are told apart by look k in a share `spent[k]` of cases.

    spent: rising. information: at each look, rising, in any unit; seeds, where all looks have one spread. The looks'
    statistics are joint normal with correlations sqrt(information_j / information_k); integrated as by Armitage,
    McPherson & Rowe (1969).
    """
    levels, before = [], 0.0
    points, masses, size = np.zeros(1), np.ones(1), 0.0  # of the sum so far, where nothing was told apart yet
    for total, now in zip(spent, information, strict=True):
        spread = math.sqrt(now - size)

        border = optimize.brentq(_excess, 0.0, 12 * math.sqrt(now), (points, masses, spread, total - before), 1e-12)
        levels.append(float(2 * special.ndtr(-border / math.sqrt(now))))
        inside = border * _NODES
        density = np.exp(-(((inside[:, None] - points) / spread) ** 2) / 2) @ masses / (spread * math.sqrt(2 * math.pi))
        points, masses, size, before = inside, density * border * _WEIGHTS, now, total
    return levels


def _excess(border: float, points: np.ndarray, masses: np.ndarray, spread: float, share: float) -> float:
    """How much more than `share` lies beyond +-`border` after one more step of so much spread from `points`."""
    tails = special.ndtr((points - border) / spread) + special.ndtr((-border - points) / spread)
    return float(masses @ tails) - share
