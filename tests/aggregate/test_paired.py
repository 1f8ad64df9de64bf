"""Comparisons that a plan declares to be paired by seed: the test, where it is not possible, its rates, its words."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aggregate.analysis import baseline_contrasts
from aggregate.analysis.configuration_comparison import BEHIND, OPEN, ConfigurationComparison
from aggregate.analysis.run_outcomes import DIVERGED, FINISHED, UNKNOWN
from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.statistics import estimates
from aggregate.statistics.alpha_spending import ONE_ANALYSIS, InterimAnalyses
from aggregate.verdict.seeds_needed import ties
from aggregate.verdict.significance import format_relations, format_seed_effect
from aggregate.verdict.verdict import verdict
from plots import report

SEEDS = np.array([40.0, -25.0, 10.0, -60.0, 30.0, 5.0])  # what a seed does to every configuration
NOISE = np.array([3.0, -2.0, 1.0, -4.0, 0.5, 1.5])


def runs(*configurations: tuple[str, dict[int, float | str]]) -> pd.DataFrame:
    """Scores of configurations: seed -> final result, or the outcome of a run without one."""
    lines = [
        (name, seed, value if isinstance(value, float) else math.nan, FINISHED if isinstance(value, float) else value)
        for name, values in configurations
        for seed, value in values.items()
    ]
    frame = pd.DataFrame(lines, columns=["config_id", "seed", "final_primary", "outcome"])
    final = frame["final_primary"]
    return frame.assign(healthy_primary=final, start_primary=final.mask(frame["outcome"] == DIVERGED, 0.0))


def by_seed(values: np.ndarray, first: int = 1) -> dict[int, float | str]:
    return {seed: float(value) for seed, value in enumerate(values, first)}


ONE, OTHER = 500 + SEEDS, 480 + SEEDS + NOISE


def test_it_is_scipys_paired_test() -> None:
    found, expected = estimates.paired_t(ONE, OTHER), stats.ttest_rel(ONE, OTHER)
    assert float(found.p) == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    half = float(found.half_width())
    assert (found.estimate - half, found.estimate + half) == pytest.approx((interval.low, interval.high))
    assert math.isnan(estimates.paired_t(ONE, ONE - 0.3).p), "the differences vary by rounding alone"


def test_a_declared_comparison_is_paired_and_finds_what_seeds_hide() -> None:
    scores = runs(("one", by_seed(ONE)), ("other", by_seed(OTHER)))
    plain, paired = (ConfigurationComparison(paired=how)(scores).iloc[1] for how in (False, True))
    assert (plain["relation"], plain["pairs"], paired["relation"], paired["pairs"]) == (OPEN, 0, BEHIND, 6)
    assert plain["p"] == pytest.approx(stats.ttest_ind(ONE, OTHER, equal_var=False).pvalue)
    assert paired["p"] == pytest.approx(stats.ttest_rel(ONE, OTHER).pvalue)
    assert paired["rho"] == pytest.approx(np.corrcoef(ONE, OTHER)[0, 1])
    assert math.isnan(plain["rho"])
    interval = stats.ttest_rel(ONE, OTHER).confidence_interval()
    assert (paired["low"], paired["high"]) == pytest.approx((interval.low, interval.high))


def test_holm_and_interim_analyses_are_as_for_other_tests() -> None:
    scores = runs(("one", by_seed(ONE)), ("two", by_seed(OTHER)), ("three", by_seed(ONE - 1 + NOISE[::-1])))
    analyses = InterimAnalyses((4, 6), 2)
    values = {"one": ONE, "two": OTHER, "three": ONE - 1 + NOISE[::-1]}
    pairs = [("one", "two"), ("one", "three"), ("two", "three")]
    raw = np.array([stats.ttest_rel(values[a], values[b]).pvalue for a, b in pairs])
    found = ConfigurationComparison(analyses, paired=True)(scores).set_index("config_id")
    corrected = estimates.holm(analyses(raw))
    assert found.index[0] == "one"
    assert [found.at["two", "p"], found.at["three", "p"]] == pytest.approx(corrected[:2])


@pytest.mark.parametrize(
    ("other", "pairs"),
    [
        (by_seed(OTHER) | {4: DIVERGED}, 0),
        (by_seed(OTHER) | {4: UNKNOWN}, 0),
        (by_seed(OTHER) | {4: "missing"}, 5),
        (by_seed(OTHER, 4), 3),  # seeds 4 to 9
        (by_seed(OTHER, 5), 0),
        (by_seed(OTHER) | {7: 480.0, 8: 470.0}, 6),
    ],
)
def test_where_seeds_cannot_be_paired_welchs_test_is_used(other: dict[int, float | str], pairs: int) -> None:
    scores = runs(("one", by_seed(ONE)), ("other", other))
    line = ConfigurationComparison(paired=True)(scores).set_index("config_id").loc["other"]
    ours = {seed: value for seed, value in by_seed(ONE).items() if isinstance(other.get(seed), float)}
    theirs = {seed: value for seed, value in other.items() if isinstance(value, float)}
    shared = list(ours)
    raw = (
        stats.ttest_rel([ours[seed] for seed in shared], [theirs[seed] for seed in shared]).pvalue
        if pairs
        else stats.ttest_ind(ONE, list(theirs.values()), equal_var=False).pvalue
    )
    assert line["pairs"] == pairs
    assert line["p"] == pytest.approx(raw)
    baseline = baseline_contrasts.primary(scores, "one", ONE_ANALYSIS, paired=True).iloc[0]
    assert (baseline["pairs"], baseline["p"]) == (pairs, pytest.approx(raw))


def test_the_sign_of_a_claim_is_that_of_the_difference_it_is_about() -> None:
    """Three more seeds of the first configuration turn the means round, not the difference over common seeds."""
    scores = runs(("one", by_seed(OTHER) | {7: 900.0, 8: 900.0, 9: 900.0}), ("other", by_seed(ONE)))
    line = ConfigurationComparison(paired=True)(scores).iloc[1]
    assert line["difference"] < 0
    assert line["relation"] != BEHIND


def test_without_a_difference_one_in_twenty_is_claimed_and_intervals_hold_the_truth() -> None:
    """And a high correlation finds more than Welch's test."""
    rng, trials = np.random.default_rng(3), 4000
    for rho in (0.0, 0.6, 0.9):
        shared = np.sqrt(rho) * rng.normal(size=(trials, 1, 6))
        one, other = np.moveaxis(shared + np.sqrt(1 - rho) * rng.normal(size=(trials, 2, 6)), 1, 0)
        found = estimates.paired_t(one, other)
        assert np.mean(found.p < 0.05) == pytest.approx(0.05, abs=0.011)
        assert np.mean(np.abs(found.estimate) < found.half_width()) == pytest.approx(0.95, abs=0.011)
        power, welch = (np.mean(test(one + 1, other).p < 0.05) for test in (estimates.paired_t, estimates.welch))
        assert (power > welch) == (rho > 0.3)


def test_families_of_paired_tests_claim_one_in_twenty_falsely() -> None:
    rng, claims = np.random.default_rng(5), 0
    for _ in range(300):
        drawn = rng.normal(size=(1, 6)) + rng.normal(size=(4, 6))
        scores = runs(*((name, by_seed(values)) for name, values in zip("abcd", drawn, strict=True)))
        claims += bool((ConfigurationComparison(paired=True)(scores)["p"] < 0.05).any())
    assert claims / 300 < 0.05 + 0.035


# --- words ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> SweepSummary:
    sweep = synthetic.make_sweep(
        tmp_path_factory.mktemp("runs"), (600.0, 500.0, 400.0), 6, lean=True, labels=["lr=1", "lr=2", "lr=3"]
    )
    (made,) = summarise([dataclasses.replace(sweep, paired=True)]).sweeps
    return made  # type: ignore[no-any-return]


def with_finals(base: SweepSummary, *finals: np.ndarray, lost: tuple[int, ...] = ()) -> SweepSummary:
    """lost: places of configurations of which the first seed diverged."""
    values = np.concatenate(finals)
    gone = np.array([i in lost and seed == 0 for i in range(3) for seed in range(6)])
    values = np.where(gone, np.nan, values)
    scores = base.scores.assign(
        final_primary=values, healthy_primary=values, start_primary=np.where(gone, 0.0, values),
        outcome=np.where(gone, DIVERGED, FINISHED),
    )  # fmt: skip
    baseline = baseline_contrasts.primary(scores, base.source.baseline, ONE_ANALYSIS, paired=True)
    return dataclasses.replace(
        base, scores=scores, contrasts=ConfigurationComparison(paired=True)(scores), baseline=baseline
    )


def test_the_verdict_says_which_comparisons_are_paired(base: SweepSummary) -> None:
    sweep = with_finals(base, ONE, OTHER, ONE - 100 + NOISE[::-1])
    assert "significantly worse (paired t test, Holm over all pairs)" in format_relations(sweep)
    text = format_seed_effect(sweep)
    assert "No test pairs runs" not in text
    assert "Paired by seed, as the plan declares: 2 of 2 comparisons with the best configuration" in text
    assert "(paired t test, 6 common seeds, correlation " in text
    assert dict(verdict(sweep).points)["Seeds"] == text
    plain = dataclasses.replace(sweep, source=dataclasses.replace(base.source, paired=False))
    assert format_seed_effect(plain).endswith("No test pairs runs by seed.")


def test_it_says_where_welchs_test_is_used_instead(base: SweepSummary) -> None:
    sweep = with_finals(base, ONE, OTHER, ONE - 100 + NOISE[::-1], lost=(1,))
    assert "(paired t test or Welch test, Holm over all pairs)" in format_relations(sweep)
    text = format_seed_effect(sweep)
    assert "1 of 2 comparisons with the best configuration (paired t test, 6 common seeds" in text
    assert text.endswith("Welch's test for lr=2 (a seed diverged or may have).")
    leads = format_seed_effect(with_finals(base, ONE + 900, OTHER, ONE, lost=(0,)))
    assert "0 of 2 comparisons with the best configuration. Welch's test for" in leads
    assert "(a seed of the best configuration diverged or may have)" in leads


def test_more_seeds_are_counted_for_the_paired_test(base: SweepSummary) -> None:
    close = with_finals(base, ONE, ONE - 2 + 3 * NOISE, ONE - 300 + NOISE)
    plain = dataclasses.replace(
        close,
        source=dataclasses.replace(base.source, paired=False),
        contrasts=ConfigurationComparison()(close.scores),
    )
    margin = dataclasses.replace(base.margin, value=4.0)
    paired, welch = (ties(dataclasses.replace(one, margin=margin), most=200) for one in (close, plain))
    assert 0 < paired.more < welch.more or welch.more == 0 < paired.more


def test_the_report_says_how_the_baseline_is_compared(
    base: SweepSummary, tmp_path: Path, synthetic: ModuleType
) -> None:
    sweep = synthetic.make_sweep(tmp_path / "runs", (600.0, 500.0), 4, lean=True, labels=["lr=1", "lr=2"])
    page = report.render(summarise([dataclasses.replace(sweep, paired=True)]))
    text = page.decode() if isinstance(page, bytes) else page
    assert "Paired by seed, as the plan declares: 1 of 1 comparisons with the baseline (paired t test, 4 common" in text
