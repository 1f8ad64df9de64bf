"""Bins by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from aggregate.statistics.step_bins import LONGEST_FILL, bin_count, binned, fill_short_gaps, own_points, spacing

NAN = np.nan


def rows(steps: list[int], values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"step": steps, "m": values})


@pytest.mark.parametrize(
    ("apart", "total", "bins"),
    [(500, 100_000, 200), (100, 100_000, 200), (1000, 100_000, 100), (500, 4000, 8), (5000, 4000, 1)],
)
def test_bins_are_no_narrower_than_rows_stand_apart_and_at_most_200(apart: int, total: int, bins: int) -> None:
    assert bin_count([spacing(np.arange(1, 9) * apart)], total) == bins


def test_the_median_run_says_how_far_rows_stand_apart() -> None:
    assert spacing(np.array([10, 20, 20, 30, 90])) == 10
    assert bin_count([10.0, 20.0, 500.0], 1000) == 50


def test_a_single_row_stands_where_it_is() -> None:
    assert spacing(np.array([500])) == 500
    assert binned(rows([500], [1.0]), 2000, bin_count([500], 2000), ["m"])["step"].tolist() == [500.0]
    assert bin_count([spacing(np.array([1]))], 100_000) == 200
    assert bin_count([spacing(np.array([0]))], 100) == 100


def test_rows_of_a_bin_are_averaged_and_drawn_at_its_right_edge() -> None:
    # 4 bins over 40 steps: (0, 10] holds 5 and 10, (20, 30] holds 30 alone
    out = binned(rows([5, 10, 20, 30, 40], [1.0, 3.0, 5.0, 7.0, 9.0]), 40, 4, ["m"])
    assert out["step"].tolist() == [10.0, 20.0, 30.0, 40.0]
    assert out["m"].tolist() == [2.0, 5.0, 7.0, 9.0]


def test_what_is_absent_does_not_count_in_a_mean_and_infinity_does() -> None:
    out = binned(rows([5, 10, 15, 20, 30], [1.0, NAN, math.inf, 0.0, 4.0]), 40, 4, ["m"])
    assert out["m"].tolist() == [1.0, math.inf, 4.0]


def test_nothing_is_drawn_before_a_runs_first_row_or_past_its_last() -> None:
    assert binned(rows([20, 30], [2.0] * 2), 40, 4, ["m"])["step"].tolist() == [20.0, 30.0]


def test_gaps_of_two_bins_are_filled_and_of_three_are_not() -> None:
    # bins 1 2 . . 5 6 7 . . . 11 12
    steps = [10, 20, 50, 60, 70, 110, 120]
    out = binned(rows(steps, [1.0, 2.0, 5.0, 6.0, 7.0, 11.0, 12.0]), 120, 12, ["m"])
    np.testing.assert_allclose(out["m"], [1, 2, 3, 4, 5, 6, 7, NAN, NAN, NAN, 11, 12])


def test_fill_short_gaps_leaves_the_ends_alone() -> None:
    np.testing.assert_allclose(fill_short_gaps(np.array([NAN, 1.0, NAN, 3.0, NAN])), [NAN, 1, 2, 3, NAN])


def test_gaps_of_many_curves_are_filled_as_each_by_itself() -> None:
    rng = np.random.default_rng(0)
    curves = np.where(rng.random((60, 30)) < 0.5, NAN, rng.choice([1.5, -2.0, 0.1, math.inf], (60, 30)))

    def alone(values: np.ndarray) -> np.ndarray:
        there, out = np.flatnonzero(~np.isnan(values)), values.copy()
        for left, right in itertools.pairwise(there):
            if 1 < right - left <= LONGEST_FILL + 1:
                out[left : right + 1] = np.linspace(values[left], values[right], right - left + 1)
        return out

    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(fill_short_gaps(curves), np.apply_along_axis(alone, 0, curves))


def test_evaluations_stand_at_their_own_steps() -> None:
    out = own_points(rows([7, 13, 13], [1.0, 2.0, 4.0]), ["m"])
    assert out["step"].tolist() == [7, 13]
    assert out["m"].tolist() == [1.0, 3.0]
