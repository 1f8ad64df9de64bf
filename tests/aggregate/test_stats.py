"""Intervals and contrasts, with the numbers of a printed t table."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from aggregate.stats import AgainstBest, Interval, holm


def seeds(values: list[float], config_id: str = "c", step: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"config_id": config_id, "seed": range(len(values)), "step": step, "m": values})


def test_students_interval_by_hand() -> None:
    # mean 2, sd 1, t(0.975, 2) = 4.303, half width 4.303 / sqrt(3) = 2.484
    (line,) = Interval()(seeds([1.0, 2.0, 3.0]), ["config_id", "step"], ["m"]).to_dict("records")
    assert (line["mean"], line["sd"], line["n"]) == (2.0, 1.0, 3)
    assert line["low"] == pytest.approx(2 - 2.484, abs=1e-3)
    assert line["high"] == pytest.approx(2 + 2.484, abs=1e-3)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    (line,) = Interval()(seeds([5.0]), ["config_id"], ["m"]).to_dict("records")
    assert (line["mean"], line["n"]) == (5.0, 1)
    assert math.isnan(line["low"])
    assert math.isnan(line["high"])


def test_missing_and_infinite_seeds_do_not_count() -> None:
    (line,) = Interval()(seeds([1.0, math.nan, 3.0, math.inf]), ["config_id"], ["m"]).to_dict("records")
    assert (line["mean"], line["n"]) == (2.0, 2)


def test_groups_without_a_value_are_left_out() -> None:
    frame = pd.concat([seeds([1.0], step=1), seeds([math.nan], step=2)])
    assert Interval()(frame, ["step"], ["m"])["step"].tolist() == [1]


def test_holm_by_hand() -> None:
    # sorted .01 .03 .04 -> x3, x2, x1 = .03 .06 .04 -> made to ascend
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, np.nan, 0.03])), [0.03, 0.06, np.nan, 0.06])


def test_contrasts_against_the_best() -> None:
    frame = pd.concat([seeds([10.0, 11.0, 12.0], "near"), seeds([10.5, 11.5, 12.5], "best"), seeds([0.0, 1, 2], "far")])
    out = AgainstBest()(frame, "config_id", "m")
    assert out["config_id"].tolist() == ["best", "near", "far"]
    assert out["difference"].tolist() == [0.0, 0.5, 10.5]
    assert out["distinct"].tolist() == [False, False, True]
    assert math.isnan(out["p"][0])
    # equal variances of 1: se = sqrt(2/3), 4 degrees, t(0.975, 4) = 2.776
    assert out["high"][1] == pytest.approx(0.5 + 2.776 * math.sqrt(2 / 3), abs=1e-3)


@pytest.mark.parametrize("other", [[1.0], [1.0, 1.0]])
def test_too_few_seeds_or_no_spread_are_never_told_apart(other: list[float]) -> None:
    out = AgainstBest()(pd.concat([seeds([9.0, 9.0], "best"), seeds(other, "other")]), "config_id", "m")
    assert not out["distinct"].any()
    assert out["p"].isna().all()


def test_no_scores_no_contrasts() -> None:
    assert AgainstBest()(seeds([math.nan]), "config_id", "m").empty
