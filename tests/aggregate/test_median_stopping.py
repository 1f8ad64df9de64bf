"""The median stopping rule by hand: whose best is below what the others did on average."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from aggregate.analysis.median_stopping import Underperforming, judge_configuration, underperforming
from tdmpc.metrics import CATALOGUE

STEPS = [1000, 2000, 3000, 4000]


def curve(*values: float) -> pd.Series:
    return pd.Series(values, index=STEPS[: len(values)], dtype=float)


# averages up to step 3000 of b, c and d: 20, 30, 50, so the median is 30
OTHERS = {"b": curve(10, 20, 30, 900), "c": curve(10, 30, 50), "d": curve(30, 50, 70)}


@pytest.mark.parametrize(("values", "given_up"), [((29, 5, 7), True), ((5, 7, 29.9), True), ((30, 0, 0), False)])
def test_the_best_is_set_against_the_median_of_averages(values: tuple[float, ...], given_up: bool) -> None:
    judgement = judge_configuration("a", {"a": curve(*values), **OTHERS}, 3000, CATALOGUE)
    assert judgement == (Underperforming("a", 3000, max(values), 30.0, 3, CATALOGUE.primary) if given_up else None)


def test_nothing_is_given_up_early_or_beside_few() -> None:
    hopeless_one = {"a": curve(1, 1, 1)}
    assert judge_configuration("a", {**hopeless_one, **OTHERS}, 3001, CATALOGUE) is None
    assert judge_configuration("a", {**hopeless_one, "b": OTHERS["b"], "c": OTHERS["c"]}, 0, CATALOGUE) is None
    behind = {**OTHERS, "d": curve(30, 50)}  # one that did not come as far says nothing of that step
    assert judge_configuration("a", {**hopeless_one, **behind}, 0, CATALOGUE) is None
    assert judge_configuration("a", {"a": curve(), **OTHERS}, 0, CATALOGUE) is None


def test_whole_configurations_are_judged_as_far_as_all_their_seeds_came(synthetic: ModuleType, tmp_path: Path) -> None:
    states = {(3, 1): "running", (3, 2): "running"}
    sweep = synthetic.make_sweep(tmp_path, (600.0, 610.0, 590.0, 100.0), 2, states=states, lean=True)
    (worst,) = underperforming(sweep, 0.5)
    assert (worst.config_id, worst.step, worst.others) == ("0000000003", 10_000, 3)
    assert 50 < worst.best < 120 < worst.median < 600
    assert underperforming(sweep, 0.6) == []
