"""The simulation across tasks, with few trials: what must hold for any sound interval and test."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def simulation(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/tasks.py")


def test_intervals_hold_their_level_and_the_bootstrap_of_three_seeds_does_not(
    simulation: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "RESAMPLES", 60)
    monkeypatch.setattr(simulation, "FEWER", 2)
    mean, bootstrap, iqm, *_ = simulation.coverage("normal", 3, 10, 500)
    assert mean == pytest.approx(0.95, abs=0.035)
    assert iqm == pytest.approx(0.95, abs=0.035)
    assert bootstrap < 0.91


def test_claims_about_these_tasks_do_not_hold_for_tasks_like_these(simulation: ModuleType) -> None:
    over_tasks, of_these = simulation.similar_tasks(5, 10, 500)
    assert over_tasks == pytest.approx(0.95, abs=0.035)
    assert of_these < 0.85
    claimed, single = simulation.false_claims("normal", 5, 10, 500)
    assert claimed < 0.08 < single
