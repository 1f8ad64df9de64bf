"""Intervals and contrasts, with the numbers of a printed t table."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from aggregate.statistics.estimates import (
    AgainstBaseline,
    Contrast,
    Interval,
    contrast,
    false_discovery,
    holm,
    improvement,
    most_share,
    permutation,
    runs_needed,
    seeds_needed,
    share_difference,
    share_interval,
    split_fall,
    variance,
    welch,
)


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


def test_false_discovery_by_hand() -> None:
    # sorted .01 .02 .04 -> x3/1, x3/2, x3/3 = .03 .03 .04
    np.testing.assert_allclose(false_discovery(np.array([0.02, np.nan, 0.04, 0.01])), [0.03, np.nan, 0.04, 0.03])


def test_a_contrast_of_four_groups_by_hand() -> None:
    # half of (2 - 1) + (6 - 3) = 2; var = .25 * (4 * 3 / 3) = 1; equal parts, two degrees each: df 8
    quarter = np.array([-0.5, 0.5, -0.5, 0.5])
    slope = contrast(quarter, np.array([1.0, 2, 3, 6]), np.full(4, 3.0), np.full(4, 3))
    assert (slope.estimate, slope.se, slope.df) == (2.0, 1.0, 8.0)
    assert slope.half_width() == pytest.approx(2.306, abs=1e-3)
    assert slope.p == pytest.approx(0.0805, abs=1e-4)
    assert slope.detectable() == pytest.approx(2.306 + 0.889, abs=1e-3)
    assert seeds_needed(slope, 3) == 7  # t(.975, 18.7) + t(.8, 18.7) = 2.957, x sqrt(3 / 7) = 1.936; with 6: 2.119


def test_welch_is_scipys_on_unequal_groups() -> None:
    a, b = np.array([1.0, 5.0, 4.0]), np.array([7.0, 9.0, 20.0, 6.0])
    expected = scipy.stats.ttest_ind(a, b, equal_var=False)
    difference = welch(a, b)
    assert (difference.p, difference.df) == (pytest.approx(expected.pvalue), pytest.approx(expected.df))


def test_permutation_counts_the_splits() -> None:
    # of the 20 splits of 1..6 into threes only {1,2,3} and {4,5,6} differ by as much
    assert permutation(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == pytest.approx(0.1)
    assert permutation(np.array([5.0, 5.0]), np.array([5.0, 5.0])) == 1.0
    rows = np.arange(24.0).reshape(2, 12)
    assert permutation(rows[:, :6], rows[:, 6:]) == pytest.approx([2 / 924, 2 / 924])


def test_probability_of_improvement_counts_pairs() -> None:
    rows = np.array([[2.0, 3.0], [1.0, 0.0]])
    assert improvement(rows, np.array([[1.0, 3.0]])).tolist() == [2.5 / 4, 0.5 / 4]


def test_seeds_needed_are_the_fewest_that_are_enough() -> None:
    sizes, seeds, more = np.array([0.01, 0.5, 1.0, 40.0]), np.array([3, 3, 5, 8]), np.arange(2, 201)
    observed = Contrast(sizes, np.array([1.0, 0.4, 0.6, 1.0]), np.array([1.5, 4.0, 8.0, 14.0]), sizes)
    one_by_one = []
    for place in range(4):
        alone = Contrast(*(values[place] for values in (sizes, observed.se, observed.df, sizes)))
        enough = alone.detectable(10, more / seeds[place]) <= sizes[place]
        one_by_one.append(more[enough][0] if enough.any() else np.inf)
    assert seeds_needed(observed, seeds, 10).tolist() == one_by_one
    assert np.inf in one_by_one
    assert 2 in one_by_one


def test_values_that_are_not_finite_have_no_part_in_an_interval() -> None:
    frame = pd.DataFrame({"c": list("aabb"), "m": [1.0, 3.0, np.inf, np.nan], "o": [np.nan, 2.0, 5.0, 7.0]})
    out = Interval()(frame, ["c"], ["m", "o"])
    lines = out[["c", "metric", "mean", "n"]].to_numpy().tolist()
    assert lines == [["a", "m", 2.0, 2], ["a", "o", 2.0, 1], ["b", "o", 6.0, 2]]
    assert out["low"].isna().tolist() == [False, True, False]


def test_the_fall_is_found_on_one_half_and_measured_on_the_other() -> None:
    # windows of three: a peaks at points 1-3 with b 9 there, b at 2-4 with a 9; last 1 and 3
    a = np.array([0.0, 12, 12, 12, 3, 0, 1, 2])
    b = np.array([0.0, 3, 12, 12, 12, 6, 3, 0])
    decline = split_fall(a, b)
    assert decline is not None
    assert decline.fall == pytest.approx(((9 - 3) + (9 - 1)) / 2)
    assert decline.gain == pytest.approx(((9 - 5) + (9 - 8)) / 2)
    assert (decline.window, decline.peak) == (3, 4)
    assert split_fall(a[:5], b[:5]) is None


def test_equal_seeds_whose_mean_is_rounded_do_not_spread() -> None:
    equal = np.array([0.7] * 6)
    assert 0 < equal.var(ddof=1) < 1e-30  # what rounding makes of it
    assert variance(equal) == 0
    assert variance(np.array([[0.7, 0.7, 0.7], [1.0, 2.0, 3.0]])).tolist() == [0.0, 1.0]
    assert math.isnan(welch(equal, np.array([0.3] * 6)).p)


def test_contrasts_with_the_baseline_by_hand() -> None:
    parts = [seeds([1.0, 2, 3], "base"), seeds([3.0, 4, 5], "up"), seeds([1.0, 2, 3], "same")]
    up, same = AgainstBaseline()(pd.concat(parts), "config_id", "m", "base").to_dict("records")
    assert (up["config_id"], up["difference"]) == ("up", 2.0)
    assert up["better"] == 8.5 / 9  # of nine pairs one is a tie, 3 with 3
    raw = scipy.stats.ttest_ind([3.0, 4, 5], [1.0, 2, 3], equal_var=False).pvalue
    assert up["p"] == pytest.approx(2 * raw)  # the smaller of two
    assert up["permutation"] == pytest.approx(4 / 20)  # 3 occurs twice, so two splits a side are as far apart
    assert (same["difference"], same["better"], same["needed"]) == (0.0, 0.5, math.inf)
    assert AgainstBaseline()(pd.concat(parts), "config_id", "m", "absent").empty


@pytest.mark.parametrize(("k", "n", "interval"), [(0, 6, (0.0, 0.390)), (3, 6, (0.188, 0.812)), (0, 0, (0.0, 1.0))])
def test_wilsons_interval(k: int, n: int, interval: tuple[float, float]) -> None:
    assert share_interval(k, n) == pytest.approx(interval, abs=1e-3)


def test_newcombes_interval_of_a_difference() -> None:
    """56 of 70 against 48 of 80: Newcombe (1998), method 10, has .0524 to .3339."""
    assert share_difference(48, 80, 56, 70) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_runs_needed_find_shares_in_four_of_five_trials() -> None:
    needed = runs_needed(0.2, 0.8)
    n = math.ceil(needed)
    rng = np.random.default_rng(0)
    low, high = rng.binomial(n, 0.2, 2000), rng.binomial(n, 0.8, 2000)
    p = {pair: scipy.stats.fisher_exact([[pair[0], n - pair[0]], [pair[1], n - pair[1]]]).pvalue
         for pair in set(zip(low.tolist(), high.tolist(), strict=True))}  # fmt: skip
    power = np.mean([p[pair] < 0.05 for pair in zip(low.tolist(), high.tolist(), strict=True)])
    assert 0.75 < power < 0.9
    assert runs_needed(0.5, 0.5) == math.inf
    assert runs_needed(0.2, 0.8, tests=5) > needed


SIX = np.array([-5.0, -3.0, -1.0, 1.0, 3.0, 5.0]) / np.sqrt(14)  # mean 0, variance 1


@pytest.mark.parametrize(("sd", "power"), [(0.3, 1.0), (0.4, 0.98), (0.5, 0.88), (0.7, 0.48), (1.0, 0.10)])
def test_the_power_to_show_that_two_are_alike_by_the_spread_of_seeds_in_margins(sd: float, power: float) -> None:
    assert float(welch(sd * SIX, sd * SIX).power_within(1.0, 1)) == pytest.approx(power, abs=0.02)


@pytest.mark.parametrize("tests", [1, 3])
@pytest.mark.parametrize("sd", [0.4, 0.7, 1.0])
def test_the_power_to_show_that_two_are_alike_is_the_simulated_one(sd: float, tests: int) -> None:
    a, b = np.random.default_rng(1).normal(0, sd, (2, 4000, 6))
    simulated = float((tests * welch(a, b).within(1.0) < 0.05).mean())
    assert float(welch(sd * SIX, sd * SIX).power_within(1.0, tests)) == pytest.approx(simulated, abs=0.03)


@pytest.mark.parametrize("seeds", [1, 3, 6, 10])
def test_the_rate_that_no_unstable_seed_does_not_exclude(seeds: int) -> None:
    """0 of 6 leave up to 39 %: the rate at which so many stable seeds have a chance of 5 %."""
    assert (1 - most_share(seeds)) ** seeds == pytest.approx(0.05)
    assert seeds != 6 or most_share(seeds) == pytest.approx(0.39, abs=0.005)
