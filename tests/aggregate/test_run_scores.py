"""Scores of one run by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from aggregate.analysis.run_scores import run_scores
from aggregate.flags import RunView
from tdmpc.description import DESCRIPTION


def evaluated(steps: list[int], returns: list[float], state: str = "done", **columns: list[float]) -> RunView:
    final = columns.pop("eval_is_final", [0.0] * len(steps))
    frame = pd.DataFrame({"step": steps, "eval_return_planner": returns, "eval_is_final": final, **columns})
    return RunView({"eval": frame}, 100, state, DESCRIPTION)


def test_final_is_the_mean_over_the_last_tenth_where_four_evaluations_fall_in_it() -> None:
    scores = run_scores(evaluated([90, 92, 94, 96, 98, 100], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (scores["final_primary"], scores["final_points"]) == (3.0, 5)  # 90 itself is not in the last tenth


def test_final_falls_back_on_the_last_four_evaluations() -> None:
    scores = run_scores(evaluated([20, 40, 60, 80, 100], [100.0, 1.0, 2.0, 3.0, 6.0]))
    assert (scores["final_primary"], scores["final_points"]) == (3.0, 4)


def test_fewer_than_four_evaluations_all_enter() -> None:
    scores = run_scores(evaluated([50, 100], [1.0, 3.0]))
    assert (scores["final_primary"], scores["final_points"]) == (2.0, 2)


def test_area_is_the_mean_height_between_first_and_last_evaluation() -> None:
    # (0 + 10) / 2 * 40 + 10 * 40 = 600 over 80 steps
    assert run_scores(evaluated([20, 60, 100], [0.0, 10.0, 10.0]))["auc_primary"] == 7.5


def test_the_large_evaluation_is_the_newest_marked_one() -> None:
    """An extended run has one at its former end too."""
    scores = run_scores(evaluated([50, 100, 100], [1.0, 2.0, 8.0], eval_is_final=[1.0, 0.0, 1.0]))
    assert scores["large_primary"] == 8.0


def test_policy_alone_has_its_own_scores() -> None:
    scores = run_scores(evaluated([50, 100], [1.0, 3.0], eval_return_policy=[0.0, 1.0]))
    assert (scores["final_policy"], scores["auc_policy"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("last", "state", "complete"),
    [(100, "running", True), (95, "done", True), (95, "failed", False), (50, "done", False), (50, "running", False)],
)
def test_only_a_run_that_came_to_its_end_has_a_final_return(last: int, state: str, complete: bool) -> None:
    scores = run_scores(evaluated([10, last], [1.0, 3.0], state=state))
    assert scores["complete"] is complete
    assert math.isnan(scores["final_primary"]) is not complete
    assert scores["so_far"] == 2.0


def test_a_run_without_rows_scores_nothing() -> None:
    scores = run_scores(RunView({}, 100, "pending", DESCRIPTION))
    assert not scores["complete"]
    assert math.isnan(scores["so_far"])


def test_jumps_are_of_the_second_half_and_blind_to_its_trend() -> None:
    steps = list(range(1, 101, 3))
    wild_then_straight = [float(s) + (900 if s < 50 and s % 2 else 0) for s in steps]
    assert run_scores(evaluated([*steps, 100], [*wild_then_straight, 100.0]))["noise_primary"] < 1.0
    noisy = np.random.default_rng(1).normal(0, 20, 100).tolist()
    assert run_scores(evaluated(list(range(1, 101)), noisy))["noise_primary"] == pytest.approx(20, rel=0.25)


def test_three_evaluations_jump_too_seldom_to_say() -> None:
    assert math.isnan(run_scores(evaluated([60, 80, 100], [1.0, 2.0, 3.0]))["noise_primary"])
