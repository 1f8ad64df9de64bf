"""Whether a seed does alike under all configurations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggregate.statistics.seed_effect import seed_effect


@given(st.integers(0, 2**32 - 1), st.integers(3, 8))
def test_of_two_configurations_it_is_their_correlation(key: int, seeds: int) -> None:
    """Where both spread alike."""
    one = np.random.default_rng(key).normal(size=seeds)
    other = np.random.default_rng(key + 1).normal(size=seeds)
    one, other = ((side - side.mean()) / side.std() for side in (one, other))
    assert seed_effect(np.stack([10 + one, other])).rho == pytest.approx(stats.pearsonr(one, other).statistic)


def test_it_is_found_where_there_is_one_and_at_its_level_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(400, 4, 6))
    with_effect = own + rng.normal(size=(400, 1, 6))  # rho is 1/2
    none, some = ([seed_effect(values) for values in drawn] for drawn in (own, with_effect))
    assert np.mean([found.p < 0.05 for found in none]) == pytest.approx(0.05, abs=0.03)
    assert np.mean([found.rho for found in none]) == pytest.approx(0, abs=0.04)
    assert np.mean([found.p < 0.05 for found in some]) > 0.7
    assert np.median([found.rho for found in some]) == pytest.approx(0.5, abs=0.06)


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3))
def test_levels_of_configurations_do_not_matter(key: int, levels: list[float]) -> None:
    values = np.random.default_rng(key).normal(size=(3, 5))
    assert seed_effect(values + np.array(levels)[:, None]) == pytest.approx(seed_effect(values), abs=1e-6)


def test_without_any_other_spread_nothing_is_said() -> None:
    assert np.isnan(seed_effect(np.array([[1.0, 2, 3], [1.0, 2, 3]])).p)
