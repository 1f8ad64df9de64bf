"""Which configuration is ahead and what is claimed of the others, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aggregate import flags
from aggregate.analysis.configuration_comparison import (
    ALIKE,
    APART,
    BEHIND,
    LESS_STABLE,
    OPEN,
    TRADE_OFF,
    ConfigurationComparison,
    Outcomes,
    share_test,
    unstable_against_rest,
)
from aggregate.analysis.run_outcomes import (
    COLLAPSED,
    CRASHED,
    DIVERGED,
    FINISHED,
    MISSING,
    PRUNED,
    UNKNOWN,
    random_level,
    with_outcomes,
)
from aggregate.inputs.runs import RunSource

RANDOM = 20.0
SIX = (-5.0, -3.0, -1.0, 1.0, 3.0, 5.0)  # of six seeds: mean 0, variance 14


def runs(*configurations: tuple[str, list[float | str]], floor: float = RANDOM) -> pd.DataFrame:
    """Scores of configurations: a number is a final result, "c40" one of 40 that collapsed, a word another outcome."""
    lines = []
    for name, values in configurations:
        for seed, value in enumerate(values, 1):
            outcome, final = FINISHED, math.nan
            if isinstance(value, float):
                final = value
            elif value[1:].isdigit():
                outcome, final = COLLAPSED, float(value[1:])
            else:
                outcome = value
            lines.append((name, seed, final, outcome))
    frame = pd.DataFrame(lines, columns=["config_id", "seed", "final_primary", "outcome"])
    final = frame["final_primary"]
    return frame.assign(
        healthy_primary=final.mask(frame["outcome"] == COLLAPSED),
        start_primary=final.mask(frame["outcome"] == DIVERGED, random_level(final, floor)),
    )


def around(mean: float, scale: float = 1.0) -> list[float | str]:
    return [mean + scale * off for off in SIX]


def relation_of(scores: pd.DataFrame, name: str, **options: float) -> str:
    return str(ConfigurationComparison(**options)(scores).set_index("config_id").at[name, "relation"])


@pytest.mark.parametrize(
    ("state", "cause", "raises", "outcome"),
    [
        ("done", "", [], FINISHED),
        ("done", "", [flags.COLLAPSE], COLLAPSED),
        ("diverged", "diverged", [], DIVERGED),
        ("failed", "error", ["diverged"], DIVERGED),  # its metrics were not finite before it failed
        ("failed", "error", [], CRASHED),
        ("failed", "oom", [], CRASHED),
        ("failed", "no-metrics", [], CRASHED),
        ("failed", "unknown", [], UNKNOWN),
        ("failed", "", [], UNKNOWN),
        ("failed", "timeout", [], MISSING),
        ("interrupted", "node-fail", [], MISSING),
        ("lost", "preempted", [], MISSING),
        ("running", "", [], MISSING),
        ("stopped", "stopped", [], PRUNED),
    ],
)
def test_failures_are_classified_by_their_cause(state: str, cause: str, raises: list[str], outcome: str) -> None:
    final = 100.0 if state == "done" else math.nan
    scores = pd.DataFrame({"config_id": ["c", "c"], "seed": [1, 2], "final_primary": [50.0, final]})
    sources = [RunSource("c", 1, Path(), "done", 1), RunSource("c", 2, Path(), state, 1, cause=cause)]
    findings = pd.DataFrame(
        [("c", 2, flag, flags.FLAG) for flag in raises], columns=["config_id", "seed", "flag", "state"]
    )
    out = with_outcomes(scores, sources, findings, RANDOM).set_index("seed")
    assert out.at[2, "outcome"] == outcome
    expected = {FINISHED: 100.0, COLLAPSED: 100.0, DIVERGED: RANDOM}.get(outcome, math.nan)
    assert out.at[2, "start_primary"] == pytest.approx(expected, nan_ok=True)


def test_by_hand_where_nothing_is_unstable() -> None:
    scores = runs(("near", [10.0, 11.0, 12.0]), ("best", [10.5, 11.5, 12.5]), ("far", [0.0, 1.0, 2.0]))
    out = ConfigurationComparison()(scores)
    assert out["config_id"].tolist() == ["best", "near", "far"]
    assert out["relation"].tolist() == ["", OPEN, BEHIND]
    assert out["difference"].tolist() == [0.0, 0.5, 10.5]
    assert out[["first", "last"]].to_numpy().tolist() == [[1, 2], [1, 2], [3, 3]]
    # equal variances of 1: se = sqrt(2/3), 4 degrees, t(0.975, 4) = 2.776
    assert out["high"][1] == pytest.approx(0.5 + 2.776 * math.sqrt(2 / 3), abs=1e-3)
    # the means have the whole level, as no share of unstable seeds could be claimed: Holm over three pairs, not doubled
    raw = stats.ttest_ind([10.5, 11.5, 12.5], [0.0, 1.0, 2.0], equal_var=False).pvalue
    assert out["p"][2] == pytest.approx(3 * raw)


def test_a_diverged_seed_counts_as_random_actions_in_the_order() -> None:
    """700 in four of six seeds is not ahead of 600 in all: (4 * 700 + 2 * 20) / 6 = 473."""
    scores = runs(("high", [*around(700.0)[:4], DIVERGED, DIVERGED]), ("steady", around(600.0)))
    out = ConfigurationComparison()(scores)
    assert out["config_id"].tolist() == ["steady", "high"]
    assert out["expected"].tolist() == pytest.approx([600.0, (4 * 698.0 + 2 * RANDOM) / 6])
    assert out["relation"].tolist() == ["", TRADE_OFF]  # what finishes is higher, but two of six diverge
    assert not out["distinct"].any()


def test_a_higher_mean_with_more_unstable_seeds_is_no_better() -> None:
    scores = runs(("a", [*around(900.0)[:5], DIVERGED]), ("b", around(500.0)))
    out = ConfigurationComparison()(scores)
    assert out["config_id"].tolist() == ["a", "b"]  # (5 * 899 + 20) / 6 = 753
    assert out["relation"].tolist() == ["", TRADE_OFF]


def test_a_configuration_of_which_most_seeds_collapse_is_less_stable() -> None:
    """320 with five of six seeds collapsed is not tied with 579: 5 of 6 against 0 of 6 is p = 0.015, of 42 far less."""
    steady = [(f"s{i}", around(579.0 - i, 12.0)) for i in range(7)]
    scores = runs(("fallen", [550.0, "c190", "c260", "c310", "c400", "c210"]), *steady)
    out = ConfigurationComparison()(scores).set_index("config_id")
    assert out.at["fallen", "relation"] in APART
    exact = stats.fisher_exact([[5, 1], [0, 42]]).pvalue
    assert out.at["fallen", "p_unstable"] == pytest.approx(
        min(1, 2 * 8 * exact)
    )  # Holm over eight, both claims possible
    noisy = runs(("fallen", [900.0, "c190", "c260", "c310", "c900", "c210"]), *steady)
    assert relation_of(noisy, "fallen") == LESS_STABLE  # by Welch's test alone it would be open


def test_both_claims_share_the_level_where_both_are_possible() -> None:
    """Three of six unstable seeds could be claimed against 18 others (p = 0.04 to 0.005 by where they fall)."""
    calm = [("a", around(100.0)), ("b", around(108.0)), ("c", around(90.0))]
    alone, beside = (
        ConfigurationComparison()(runs(*calm)),
        ConfigurationComparison()(runs(*calm, ("d", [*around(50.0)[:1], *[DIVERGED] * 5]))),
    )
    pair = stats.ttest_ind(around(108.0), around(90.0), equal_var=False).pvalue
    assert alone.set_index("config_id").at["c", "p"] == pytest.approx(3 * pair)
    assert beside.set_index("config_id").at["c", "p"] == pytest.approx(2 * 3 * pair)  # d has one finished seed: no pair


@pytest.mark.parametrize(("gone", "share"), [(0, 1), (5, 2)])
def test_that_means_are_alike_has_the_level_of_means(gone: int, share: int) -> None:
    """Half of it where shares of unstable seeds could be claimed too: a difference and "alike" are never both false,
    but "alike" and "less stable" can be."""
    other: list[float | str] = [*around(100.0)[: 6 - gone], *[DIVERGED] * gone]
    scores = runs(("a", around(100.0)), ("b", around(101.0)), ("c", other))
    out = ConfigurationComparison(margin=10.0)(scores).set_index("config_id")
    raw = max(stats.ttest_ind(around(101.0), np.array(around(100.0)) + shift, equal_var=False, alternative=side).pvalue
              for shift, side in ((10.0, "less"), (-10.0, "greater")))  # fmt: skip
    pairs = 3
    assert out.at["a", "p_alike"] == pytest.approx(share * pairs * raw)


def test_unknown_causes_are_scored_both_ways() -> None:
    """Left out, 0 of 3 are unstable; counted, 3 of 6 are: neither may be claimed."""
    known, shared = unstable_against_rest([Outcomes(3, 0, 3), Outcomes(6, 3, 0), Outcomes(6, 0, 0)])
    left = stats.fisher_exact([[0, 3], [3, 9]]).pvalue
    counted = stats.fisher_exact([[3, 3], [3, 9]]).pvalue
    assert known[0] == pytest.approx(min(1.0, (1 + shared) * 3 * max(left, counted)))
    scores = runs(("a", [900.0, 905.0, 895.0, UNKNOWN, UNKNOWN, UNKNOWN]), ("b", around(500.0)))
    assert relation_of(scores, "b") == TRADE_OFF  # better only if the unknown ones did not diverge


def test_runs_that_a_node_lost_count_for_nothing() -> None:
    lost = runs(("a", [*around(600.0)[:5], MISSING]), ("b", around(500.0)))
    assert relation_of(lost, "b") == BEHIND
    assert ConfigurationComparison()(lost)["starts"].tolist() == [5, 6]


def test_alike_needs_both_one_sided_tests() -> None:
    scores = runs(("a", around(501.0)), ("b", around(500.0)))
    # difference 1, se sqrt(2 * 14 / 6) = 2.160, df 10: alike within M from t(.95, 10) = 1.812 standard errors off 1
    least = 1 + 1.8125 * math.sqrt(28 / 6)
    assert relation_of(scores, "b", margin=least + 0.01) == ALIKE
    assert relation_of(scores, "b", margin=least - 0.01) == OPEN
    assert relation_of(scores, "b") == OPEN  # without a margin nothing is alike
    line = ConfigurationComparison(margin=10.0)(scores).iloc[1]
    tests = [stats.ttest_ind(around(501.0), np.array(around(500.0)) + shift, equal_var=False, alternative=side).pvalue
             for shift, side in ((10.0, "less"), (-10.0, "greater"))]  # fmt: skip
    assert line["p_alike"] == pytest.approx(max(tests))


@pytest.mark.parametrize(
    ("worse", "margin", "relation"),
    [
        (around(497.0, 0.2), 10.0, ALIKE),  # a difference of 3 is significant and shown to be below 10
        (around(497.0, 0.2), 2.0, BEHIND),
        ([*around(497.0, 0.2)[:5], DIVERGED], 10.0, BEHIND),  # what finishes is alike, what a start gives is not
        ([*around(497.0, 0.2)[:5], UNKNOWN], 10.0, BEHIND),
    ],
)
def test_a_significant_difference_below_the_margin_does_not_matter(
    worse: list[float | str], margin: float, relation: str
) -> None:
    assert relation_of(runs(("a", around(500.0, 0.2)), ("b", worse)), "b", margin=margin) == relation


def test_alike_is_judged_on_seeds_that_did_not_collapse() -> None:
    scores = runs(("a", around(501.0)), ("b", [*around(500.0)[:5], "c100"]))
    assert relation_of(scores, "b", margin=20.0) == ALIKE


@pytest.mark.parametrize("other", [[1.0], [1.0, 1.0]])
def test_too_few_seeds_or_no_spread_are_never_significantly_different(other: list[float | str]) -> None:
    out = ConfigurationComparison(margin=5.0)(runs(("best", [9.0, 9.0]), ("other", other)))
    assert out["relation"].tolist() == ["", OPEN]
    assert out["p"].isna().all()


def test_a_configuration_of_which_all_seeds_diverged_is_last_and_less_stable() -> None:
    out = ConfigurationComparison()(runs(("gone", [DIVERGED] * 6), ("there", around(100.0))))
    assert out["config_id"].tolist() == ["there", "gone"]
    assert out["relation"].tolist() == ["", LESS_STABLE]  # 6 of 6 against 0 of 6: p = 0.0022
    assert math.isnan(out["mean"][1])


def test_no_started_run_no_comparison() -> None:
    assert ConfigurationComparison()(runs(("a", [MISSING, CRASHED]))).empty


@given(st.integers(0, 6), st.integers(0, 6), st.floats(-200, 200))
def test_better_is_never_claimed_of_more_unstable_seeds(a: int, b: int, shift: float) -> None:
    """Whatever the counts and the difference: worse means no fewer unstable seeds than the other."""
    one: list[float | str] = [*around(500.0 + shift)[: 6 - a], *[DIVERGED] * a]
    other: list[float | str] = [*around(500.0)[: 6 - b], *[DIVERGED] * b]
    out = ConfigurationComparison(margin=30.0)(runs(("one", one), ("other", other)))
    leader, rival = out.iloc[0], out.iloc[1]
    if rival["distinct"]:
        assert leader["unstable"] <= rival["unstable"]
        assert leader["expected"] >= rival["expected"]


VALUES = st.lists(
    st.one_of(st.floats(-500, 900), st.integers(1, 900).map("c{}".format), st.sampled_from([DIVERGED, UNKNOWN])),
    min_size=1, max_size=7,
)  # fmt: skip


@given(st.lists(VALUES, min_size=1, max_size=5), st.data())
@settings(max_examples=60)
def test_the_order_is_by_the_expected_result_of_one_start_and_lost_runs_count_for_nothing(
    values: list[list[float | str]], data: st.DataObject
) -> None:
    """A lost, crashed or stopped run changes no number of any configuration."""
    named = [(f"c{i}", own) for i, own in enumerate(values)]
    lost = data.draw(st.lists(st.tuples(st.integers(0, len(values) - 1), st.sampled_from([MISSING, CRASHED, PRUNED]))))
    with_lost = [(name, [*own, *(word for at, word in lost if at == i)]) for i, (name, own) in enumerate(named)]
    out, beside = (ConfigurationComparison(margin=50.0)(runs(*these)) for these in (named, with_lost))
    pd.testing.assert_frame_equal(out, beside)
    for line in out.to_dict("records"):
        own = dict(named)[line["config_id"]]
        counted = [v if isinstance(v, float) else float(v[1:]) if v[0] == "c" else RANDOM for v in own if v != UNKNOWN]
        assert line["expected"] == pytest.approx(np.mean(counted))
    assert out["expected"].is_monotonic_decreasing


@given(VALUES, VALUES)
@settings(max_examples=60)
def test_what_is_claimed_holds_whether_unknown_runs_diverged_or_not(
    one: list[float | str], other: list[float | str]
) -> None:
    out = ConfigurationComparison(margin=50.0)(runs(("one", one), ("other", other)))
    if len(out) < 2 or not out["distinct"].any():
        return
    leader, rival = out["config_id"]
    for instead in (MISSING, DIVERGED):
        counted = [
            (name, [instead if value == UNKNOWN else value for value in own])
            for name, own in (("one", one), ("other", other))
        ]
        known = ConfigurationComparison(margin=50.0)(runs(*counted)).set_index("config_id")
        shares = known["unstable"] / known["starts"]
        assert shares[leader] <= shares[rival]


def test_one_diverged_seed_of_the_worse_one_does_not_hide_that_it_is_worse() -> None:
    """Scored at random actions it would: Welch's test of all starts has p = 0.06."""
    better, worse = around(600.0, 10.0), [*around(495.0, 10.0)[:5], DIVERGED]
    assert relation_of(runs(("a", better), ("b", worse)), "b") == BEHIND
    starts = [RANDOM if value == DIVERGED else value for value in worse]
    assert stats.ttest_ind(better, starts, equal_var=False).pvalue > 0.05


@given(st.integers(1, 6), st.integers(1, 80))
def test_unstable_seeds_of_one_configuration_alone_by_hand(unstable: int, others: int) -> None:
    """Of all ways to choose the unstable seeds, those within its six; 2 of 6 against 0 of 66 is p = 0.006."""
    chance = math.comb(6, unstable) / math.comb(6 + others, unstable)
    opposite = math.comb(others, unstable) / math.comb(6 + others, unstable)  # as unlikely, on the other side
    expected = chance + (opposite if opposite <= chance * (1 + 1e-9) else 0)
    if others >= 6 * unstable:  # then all in between are likelier
        assert share_test(unstable, 6, 0, others) == pytest.approx(expected, rel=1e-6)
    assert share_test(2, 6, 0, 66) == pytest.approx(0.006, abs=5e-4)
