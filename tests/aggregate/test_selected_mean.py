"""Interval of the mean of the best of several configurations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from aggregate.statistics.selected_mean import selected_interval

SIX = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]) * np.sqrt(5 / 6)  # standard deviation 1


def plain(sample: np.ndarray) -> float:
    return float(scipy.stats.t.isf(0.025, sample.size - 1) * sample.std(ddof=1) / np.sqrt(sample.size))


@given(st.integers(0, 10), st.floats(0.1, 10), st.sampled_from([1, -1]))
def test_it_is_students_alone_and_reaches_further_to_worse_values_with_others(
    others: int, spread: float, sign: int
) -> None:
    best, rest = 7 + SIX, [spread * SIX] * others
    low, high = selected_interval(best, rest, sign)
    worse, better = (7 - low, high - 7) if sign > 0 else (high - 7, 7 - low)
    assert better == pytest.approx(plain(best))
    assert worse >= better - 1e-12
    if not others:
        assert worse == pytest.approx(better)
    mirrored = selected_interval(-best, [-one for one in rest], -sign)
    assert mirrored == (pytest.approx(-high), pytest.approx(-low))


def test_equal_spreads_are_pooled() -> None:
    """Ten samples of variance 1: one variance with 50 degrees of freedom, at level 0.05 / 20."""
    low, _ = selected_interval(7 + SIX, [SIX] * 9)
    assert 7 - low == pytest.approx(scipy.stats.t.isf(0.0025, 50) / np.sqrt(6))


def test_three_seeds_of_200_configurations_give_a_usable_interval() -> None:
    """The best one's own variance has two degrees of freedom, whose quantile at 0.05 / 400 is 63."""
    samples = np.random.default_rng(0).normal(0, 1, (200, 3))
    order = samples.mean(1).argsort()
    low, high = selected_interval(samples[order[-1]], list(samples[order[:-1]]))
    assert high - low < 6
    assert low < 0 < high


def test_a_collapse_elsewhere_widens_only_the_end_towards_worse_values() -> None:
    """One that all configurations may have, and that the best one had by luck not."""
    best, collapsed = 0.9 + 0.01 * SIX, np.array([0.9, 0.9, 0.9, 0.9, 0.9, 0.0])
    low, high = selected_interval(best, [collapsed, 0.9 + 0.01 * SIX])
    assert high == pytest.approx(0.9 + plain(best))
    assert 0.2 < 0.9 - low < 0.4


@pytest.mark.parametrize("shape", ["normal", "collapse", "unequal"])
def test_it_holds_the_true_mean(shape: str) -> None:
    """In about 95 % of 400 sweeps of eight configurations with equal means, where plain intervals do less often."""
    rng, held, held_plain = np.random.default_rng(1), 0, 0
    for _ in range(400):
        x = rng.normal(0, 1, (8, 6))
        if shape == "collapse":
            x = 0.1 * x + (rng.random((8, 6)) < 0.8) - 0.8
        if shape == "unequal":
            x[::2] *= 3
        best = int(x.mean(1).argmax())
        low, high = selected_interval(x[best], list(np.delete(x, best, axis=0)))
        held += low <= 0 <= high
        held_plain += abs(x[best].mean()) <= plain(x[best])
    assert held >= 0.93 * 400
    assert held_plain < 0.93 * 400


@pytest.mark.parametrize("sizes", [(1, 3), (0, 2)])
def test_too_few_values_have_no_interval(sizes: tuple[int, int]) -> None:
    assert np.isnan(selected_interval(SIX[: sizes[0]], [SIX[: sizes[1]]])).all()


def test_values_without_spread() -> None:
    """An interval of one point, among others without spread, and a finite one among others with one."""
    best = np.full(3, 5.0)
    assert selected_interval(best, [np.zeros(3), np.ones(3)]) == (5.0, 5.0)
    low, high = selected_interval(best, [SIX, SIX - 1])
    assert np.isfinite(low)
    assert low < 5.0 == high
