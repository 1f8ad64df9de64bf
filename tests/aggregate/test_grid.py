"""Bins by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aggregate.grid import bin_count, binned, fill_short_gaps, own_points

NAN = np.nan


def rows(steps: list[int], values: list[float], seed: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"config_id": "c", "seed": seed, "step": steps, "m": values})


@pytest.mark.parametrize(
    ("spacing", "total", "bins"),
    [(500, 100_000, 200), (100, 100_000, 200), (1000, 100_000, 100), (500, 4000, 8), (5000, 4000, 1)],
)
def test_bins_are_no_narrower_than_rows_stand_apart_and_at_most_200(spacing: int, total: int, bins: int) -> None:
    steps = list(range(spacing, max(total, 3 * spacing) + 1, spacing))
    assert bin_count(rows(steps, [0.0] * len(steps)), total) == bins


def test_a_single_row_stands_where_it_is() -> None:
    assert binned(rows([500], [1.0]), 2000, ["m"])["step"].tolist() == [500.0]
    assert bin_count(rows([1], [1.0]), 100_000) == 200


def test_rows_of_a_bin_are_averaged_and_drawn_at_its_right_edge() -> None:
    # spacing 10 over 40 steps: 4 bins, (0, 10] holds 5 and 10, (20, 30] holds 30 alone
    frame = rows([5, 10, 20, 30, 40], [1.0, 3.0, 5.0, 7.0, 9.0])
    out = binned(frame, 40, ["m"])
    assert out["step"].tolist() == [10.0, 20.0, 30.0, 40.0]
    assert out["m"].tolist() == [2.0, 5.0, 7.0, 9.0]


def test_nothing_is_drawn_past_a_runs_end() -> None:
    frame = pd.concat([rows([10, 20, 30, 40], [1.0] * 4), rows([10, 20], [2.0] * 2, seed=2)])
    out = binned(frame, 40, ["m"])
    assert out.loc[out["seed"] == 2, "step"].tolist() == [10.0, 20.0]


def test_gaps_of_two_bins_are_filled_and_of_three_are_not() -> None:
    # spacing 10: bins 1 2 . . 5 6 7 . . . 11 12
    steps = [10, 20, 50, 60, 70, 110, 120]
    out = binned(rows(steps, [1.0, 2.0, 5.0, 6.0, 7.0, 11.0, 12.0]), 120, ["m"])
    np.testing.assert_allclose(out["m"], [1, 2, 3, 4, 5, 6, 7, NAN, NAN, NAN, 11, 12])


def test_fill_short_gaps_leaves_the_ends_alone() -> None:
    np.testing.assert_allclose(fill_short_gaps(np.array([NAN, 1.0, NAN, 3.0, NAN])), [NAN, 1, 2, 3, NAN])


def test_evaluations_stand_at_their_own_steps() -> None:
    out = own_points(rows([7, 13, 13], [1.0, 2.0, 4.0]), ["m"])
    assert out["step"].tolist() == [7, 13]
    assert out["m"].tolist() == [1.0, 3.0]
