"""Curves in which a crash counts as the starts, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aggregate.analysis.start_curves import start_curves
from tdmpc.metrics import CATALOGUE


def curves(**runs: list[float]) -> dict[str, pd.DataFrame]:
    """Evaluations of runs named by configuration and seed (a1, a2, b1), at steps 10, 20, ..."""
    lines = [(name[0], int(name[1]), 10 * (i + 1), v) for name, values in runs.items() for i, v in enumerate(values)]
    return {"eval": pd.DataFrame(lines, columns=["config_id", "seed", "step", "eval_return_planner"])}


def means(starts: pd.DataFrame) -> dict[int, float]:
    return dict(zip(starts["step"], starts["mean"], strict=True))


def test_a_diverged_run_goes_on_at_the_lowest_of_all() -> None:
    seeds = curves(a1=[10.0, 20.0, 30.0], a2=[12.0], b1=[11.0, 4.0, 50.0])
    starts = start_curves(seeds, {("a", 2)}, np.nan, CATALOGUE)
    assert set(starts["config_id"]) == {"a"}  # the others have no other curve
    assert means(starts) == {10: 11.0, 20: (20 + 4) / 2, 30: (30 + 30) / 2}
    assert starts["n"].tolist() == [2, 2, 2]


def test_it_goes_on_at_random_actions_where_these_are_known() -> None:
    seeds = curves(a1=[10.0, 20.0, 30.0], a2=[12.0])
    assert means(start_curves(seeds, {("a", 2)}, 6.0, CATALOGUE)) == {
        10: 11.0,
        20: 13.0,
        30: 18.0,
    }  # (20 + 6) / 2, (30 + 6) / 2


def test_a_run_that_diverged_before_its_first_evaluation_counts_from_the_start() -> None:
    starts = start_curves(curves(a1=[10.0, 20.0]), {("a", 2)}, 0.0, CATALOGUE)
    assert means(starts) == {10: 5.0, 20: 10.0}


def test_a_configuration_of_which_all_diverged_has_a_curve_too() -> None:
    starts = start_curves(curves(a1=[10.0], b1=[8.0, 9.0]), {("a", 1), ("a", 2)}, np.nan, CATALOGUE)
    assert means(starts) == {10: (10 + 8) / 2, 20: 9.0}


@pytest.mark.parametrize("diverged", [set(), {("a", 2)}])
def test_without_crashes_or_without_returns_there_is_none(diverged: set[tuple[str, int]]) -> None:
    assert start_curves(curves(a1=[10.0]) if not diverged else {}, diverged, 0.0, CATALOGUE).empty
