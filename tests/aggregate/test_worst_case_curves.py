"""Curves in which a crash counts as the worst, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aggregate.analysis.worst_case_curves import worst_curves
from tdmpc.metrics import CATALOGUE


def curves(**runs: list[float]) -> dict[str, pd.DataFrame]:
    """Evaluations of runs named by configuration and seed (a1, a2, b1), at steps 10, 20, ..."""
    lines = [(name[0], int(name[1]), 10 * (i + 1), v) for name, values in runs.items() for i, v in enumerate(values)]
    return {"eval": pd.DataFrame(lines, columns=["config_id", "seed", "step", "eval_return_planner"])}


def means(worst: pd.DataFrame) -> dict[int, float]:
    return dict(zip(worst["step"], worst["mean"], strict=True))


def test_a_crashed_run_goes_on_at_the_lowest_of_all() -> None:
    seeds = curves(a1=[10.0, 20.0, 30.0], a2=[12.0], b1=[11.0, 4.0, 50.0])
    worst = worst_curves(seeds, {("a", 2)}, np.nan, CATALOGUE)
    assert set(worst["config_id"]) == {"a"}  # the others have no other curve
    assert means(worst) == {10: 11.0, 20: (20 + 4) / 2, 30: (30 + 30) / 2}
    assert worst["n"].tolist() == [2, 2, 2]


def test_where_random_actions_do_worse_it_is_as_bad_as_they() -> None:
    seeds = curves(a1=[10.0, 20.0, 30.0], a2=[12.0])
    assert means(worst_curves(seeds, {("a", 2)}, 6.0, CATALOGUE)) == {10: 11.0, 20: 13.0, 30: 18.0}


def test_a_run_that_crashed_before_its_first_evaluation_counts_from_the_start() -> None:
    worst = worst_curves(curves(a1=[10.0, 20.0]), {("a", 2)}, 0.0, CATALOGUE)
    assert means(worst) == {10: 5.0, 20: 10.0}


def test_a_configuration_of_which_all_crashed_has_a_curve_too() -> None:
    worst = worst_curves(curves(a1=[10.0], b1=[8.0, 9.0]), {("a", 1), ("a", 2)}, np.nan, CATALOGUE)
    assert means(worst) == {10: (10 + 8) / 2, 20: 9.0}


@pytest.mark.parametrize("crashed", [set(), {("a", 2)}])
def test_without_crashes_or_without_returns_there_is_none(crashed: set[tuple[str, int]]) -> None:
    assert worst_curves(curves(a1=[10.0]) if not crashed else {}, crashed, 0.0, CATALOGUE).empty
