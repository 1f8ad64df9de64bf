"""The simulation, with few trials: what must hold for any sound interval and test."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

TRIALS = 300  # a share of 0.95 is within 0.05 in all but one case of 15,000


@pytest.fixture(scope="module")
def simulation(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/intervals.py")


def test_students_interval_holds_its_level_and_the_bootstrap_does_not(
    simulation: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "RESAMPLES", 100)
    monkeypatch.setattr(simulation, "SEEDS", (3, 6))
    found = simulation.coverage(TRIALS)
    assert found["normal", 6][0] == pytest.approx(0.95, abs=0.05)
    assert found["normal", 3][0] == pytest.approx(0.95, abs=0.05)
    assert found["normal", 3][1] < 0.85  # three seeds have ten different resamples
    assert found["collapsing", 6][0] < 0.92
    assert found["normal", 3][1] < found["normal", 6][1] < found["normal", 6][0]


def test_corrections_hold_five_percent_and_their_absence_does_not(
    simulation: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "RESAMPLES", 100)
    monkeypatch.setattr(simulation, "CONFIGURATIONS", (8,))
    uncorrected, holm, permutation, bootstrap, best, _ = simulation.false_positives(TRIALS, "normal")[8]
    assert max(holm, permutation, best) < 0.10
    assert uncorrected > 0.10
    assert bootstrap > uncorrected


def test_looking_again_is_paid_for(simulation: ModuleType) -> None:
    """Two equal configurations, six seeds, then six more, whatever was seen: 8 %, 5 % and 6.5 % with many trials."""
    shares = {judge: simulation.false_claims(TRIALS, "normal", 2, 2, judge, fixed=6) for judge in simulation.JUDGES}
    claimed = {judge: share for judge, (share, _) in shares.items()}
    assert claimed["planned"] < 0.09
    assert claimed["planned"] <= claimed["afterwards"] < claimed["uncorrected"]
    assert all(again > 0.9 for _, again in shares.values())
    assert simulation.false_claims(TRIALS, "normal", 2, 1, "uncorrected") == (pytest.approx(0.05, abs=0.04), 0.0)


def test_seeds_are_added_where_a_difference_is_in_reach(simulation: ModuleType) -> None:
    # the leader is 1.5 and .01 above the other, spread 1. With nine seeds se = sqrt(2 / 9) = .471, df 15:
    # (t(.975) + t(.8)) x .471 = (2.131 + .866) x .471 = 1.413 <= 1.5; with eight 1.512
    found = simulation.estimates.contrast(
        np.array([1.0, -1.0]),
        np.array([[[0.0, 0.0], [0.0, -1.5]], [[0.0, 0.0], [0.0, -0.01]]]),
        np.ones((2, 2, 2)),
        np.full(2, 6),
    )
    more = simulation._more(found, (6,), lambda had: simulation.InterimAnalyses(had[-1:]))
    assert more.tolist() == [3, 0]


def test_intervals_of_differences_hold_their_level(simulation: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "SEEDS", (6,))
    found = simulation.difference_coverage(TRIALS)
    assert found["normal", 6] == pytest.approx((0.95, 0.95, 0.95), abs=0.05)
    assert found["collapsing", 6][1] < 0.92  # a stable one from one that collapses now and then


def test_intervals_of_shares_by_hand(simulation: ModuleType) -> None:
    """Of one run: Wilson's interval is 0 to .79 or .21 to 1, and holds .5 always, .2 where the run did not collapse."""
    one, half, difference, ratio = simulation.share_coverage(1)
    assert (one, half) == (pytest.approx(0.8), pytest.approx(1.0))
    assert difference == pytest.approx(0.9)  # all but 1 of 1 against 0 of 1
    assert ratio == pytest.approx(1.0)


def test_no_question_is_answered_too_often(simulation: ModuleType) -> None:
    assert max(simulation.false_answers(TRIALS, "normal")) < 0.10
    assert simulation.fisher_false_positives(0.5, 6) < 0.05
    assert simulation.fisher_false_positives(0.5, 6) == pytest.approx(
        2 * (6 + 1 + 6) / 4**6
    )  # 0 of 6 against 5 or 6, 1 against 6


def test_main_effects_find_what_contrasts_do_not(simulation: ModuleType) -> None:
    assert simulation.detectable(TRIALS, 1) == pytest.approx(1.85, abs=0.2)
    assert simulation.detectable_effect(TRIALS) == pytest.approx(0.83, abs=0.1)


def test_the_correction_for_the_winner_is_the_simulated_one(simulation: ModuleType) -> None:
    assert simulation.curse(TRIALS, 12) == pytest.approx(simulation.winners_curse(12, 6), abs=0.1)


def test_the_best_of_equals_looks_too_good(simulation: ModuleType) -> None:
    assert simulation.winners_curse(2, 1) == pytest.approx(1 / math.sqrt(math.pi))
    assert simulation.winners_curse(12, 6) == pytest.approx(0.665, abs=1e-3)  # 1.629 / sqrt(6)
