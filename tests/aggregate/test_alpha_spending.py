"""What a claim of several looks is worth: published boundaries, and what must hold of any of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from aggregate.statistics.alpha_spending import ONE_ANALYSIS, InterimAnalyses, nominal_levels, pocock_type

EQUAL = (1, 2, 3, 4, 5)


def borders(spent: list[float], information: tuple[int, ...]) -> list[float]:
    """In standard deviations."""
    return [float(stats.norm.isf(level / 2)) for level in nominal_levels(spent, information)]


def obrien_fleming_type(share: float) -> float:
    """Lan & DeMets' first function at 5 %, 2.5 % to either side."""
    return float(4 * stats.norm.sf(stats.norm.isf(0.0125) / math.sqrt(share)))


def test_lan_and_demets_boundaries_are_the_published_ones() -> None:
    """Two and five looks at equal steps, as in Reboussin, DeMets, Kim & Lan (2000)."""
    two = borders([obrien_fleming_type(k / 2) for k in (1, 2)], (1, 2))
    assert two == pytest.approx([2.963, 1.969], abs=1e-3)
    five = borders([0.05 * pocock_type(k / 5) for k in EQUAL], EQUAL)
    assert five == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=1e-3)
    assert borders([0.05 * pocock_type(0.5), 0.05], (1, 2)) == pytest.approx([2.157, 2.201], abs=1e-3)


@pytest.mark.parametrize(("first", "last"), [(2.797, 1.977), (2.178, 2.178)])
def test_the_classic_boundaries_spend_five_percent(first: float, last: float) -> None:
    """O'Brien & Fleming's 2.797 and 1.977, Pocock's 2.178 twice."""
    spent = [float(2 * stats.norm.sf(first)), 0.05]
    assert borders(spent, (1, 2)) == pytest.approx([first, last], abs=2e-3)


def test_one_look_changes_nothing() -> None:
    p = np.array([1e-9, 0.04, 0.9, np.nan])
    assert ONE_ANALYSIS(p) is p
    assert (ONE_ANALYSIS.level(), ONE_ANALYSIS.tests(28)) == (0.05, 28)


def test_the_first_of_two_planned_looks_by_hand() -> None:
    # spends ln(1 + (e - 1) / 2) = .62011 of alpha, whatever alpha is
    analyses = InterimAnalyses((6,), planned=2)
    assert analyses.level() == pytest.approx(0.05 * 0.62011, rel=1e-4)
    assert analyses(np.array([0.031, 0.01])) == pytest.approx([0.031 / 0.62011, 0.01 / 0.62011], rel=1e-4)
    assert analyses.tests(10) == pytest.approx(10 / 0.62011, rel=1e-4)


def test_a_p_value_becomes_the_level_that_would_claim_it() -> None:
    analyses = InterimAnalyses((6, 10, 17), planned=2)  # one more than planned
    p = np.array([1e-6, 0.001, 0.02, 0.15])
    alphas = analyses(p)
    assert [analyses.level(alpha) for alpha in alphas] == pytest.approx(p, rel=1e-2)
    assert np.isnan(analyses(np.array([np.nan])))
    assert analyses(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]
    assert (analyses.number, analyses.count) == (3, 3)


def test_equal_means_are_told_apart_in_five_percent_of_cases() -> None:
    """All three looks together, by drawing: 0.05 +- 0.004 in all but one of 15,000 cases."""
    draws = np.random.default_rng(0).normal(size=(50_000, 17)).cumsum(-1)
    claimed = np.zeros(len(draws), dtype=bool)
    for had in ((6,), (6, 10), (6, 10, 17)):
        p = 2 * stats.norm.sf(np.abs(draws[:, had[-1] - 1]) / math.sqrt(had[-1]))
        claimed |= p < InterimAnalyses(had, planned=3).level()
    assert claimed.mean() == pytest.approx(0.05, abs=0.004)
