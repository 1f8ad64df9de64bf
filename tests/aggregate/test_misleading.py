"""Verdicts that would mislead: what a survivor, a trend, a shortened axis or a missing judgement must not say.

Every number is worked out from the scores of the runs.
"""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from aggregate import flags
from aggregate.analysis.configuration_comparison import BEHIND, LESS_STABLE, ConfigurationComparison
from aggregate.analysis.configuration_comparison import OPEN as OPEN_RIVAL
from aggregate.analysis.factor_contrasts import Axis
from aggregate.analysis.factor_effects import Cells, effect
from aggregate.analysis.question_claims import ALIKE, BETTER, OPEN, STABLE, TRADE_OFF, claim
from aggregate.analysis.question_contrasts import contrasts_by_question
from aggregate.analysis.run_outcomes import COLLAPSED, DIVERGED, FINISHED
from aggregate.analysis.summary import Margin, SweepSummary, summarise
from aggregate.inputs.plan_questions import Question
from aggregate.inputs.runs import ConfigSource, SweepSource
from aggregate.statistics import estimates
from aggregate.statistics.seed_effect import seed_effect
from aggregate.verdict.answers import ANSWERED, PART, answers
from aggregate.verdict.answers import OPEN as NOT_ANSWERED
from aggregate.verdict.leader import leaderboard
from aggregate.verdict.number_format import number, probability
from aggregate.verdict.seeds_needed import format_left, ties
from aggregate.verdict.significance import format_relations, format_seed_effect
from aggregate.verdict.stability import format_missing, format_stability
from aggregate.verdict.verdict import verdict
from tdmpc.description import DESCRIPTION

SIX = np.array([-5.0, -3.0, -1.0, 1.0, 3.0, 5.0])


@pytest.fixture(scope="module")
def base(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> SweepSummary:
    """Three configurations of six seeds, whose scores the tests replace."""
    sweep = synthetic.make_sweep(tmp_path_factory.mktemp("runs"), (600.0, 600.0, 600.0), 6, lean=True)
    return summarise([sweep]).sweeps[0]


def judged(
    synthetic: ModuleType, root: Path, finals: tuple[float, ...], values: tuple[Any, ...], asked: Question, **how: Any
) -> SweepSummary:
    """Six seeds of configurations with these values of a key `tau`. causes: (configuration, seed) -> cause."""
    causes = how.pop("causes", {})
    sweep = synthetic.make_sweep(root, finals, 6, lean=True, labels=[f"tau={value}" for value in values], **how)
    configs = tuple(
        dataclasses.replace(
            config, factors={"tau": value},
            runs=tuple(dataclasses.replace(run, cause=causes.get((i, run.seed), "")) for run in config.runs),
        )
        for i, (config, value) in enumerate(zip(sweep.configs, values, strict=True))
    )  # fmt: skip
    asked_of = dataclasses.replace(sweep, factors=("tau",), configs=configs, questions=(asked,))
    return summarise([asked_of]).sweeps[0]


TAU = Question("Which rate of the target value is best?", ("tau",), on=("final", "fall", "collapse"))


# --- stability before the headline ----------------------------------------------------------------------


def test_a_level_whose_seeds_diverge_is_a_trade_off_and_not_adopted(tmp_path: Path, synthetic: ModuleType) -> None:
    states = {(1, 2): "diverged", (1, 5): "diverged"}
    sweep = judged(synthetic, tmp_path, (600.0, 660.0), (0.01, 0.02), TAU, states=states)
    (answer,) = answers(sweep)
    assert answer.state == PART
    assert answer.short.startswith("Trade-off: tau 0.02 does better than 0.01, ")
    assert "0 of 6 seeds diverged or collapsed at 0.01, 2 of 6 at 0.02" in answer.short
    said = verdict(sweep)
    assert said.headline.startswith("tau=0.01 is best, with ")
    assert re.search(
        r"; a trade-off with tau=0.02 \(its finished runs reach 6\d\d, but 2 of 6 seeds diverged\)$", said.headline
    )
    assert "adopt" not in dict(said.points)["Next"] or "--config ID" in dict(said.points)["Next"]
    assert not leaderboard(sweep).clear
    stability = dict(said.points)["Stability"]
    assert "tau=0.02: 2 of 6 seeds diverged (seeds 2, 5), against 0 of 6 of the others" in stability
    # the largest rate that 0 of 6 does not exclude: (1 - rate)^6 = 0.05
    assert f"a rate of up to {100 * (1 - 0.05 ** (1 / 6)):.0f} %" in stability
    assert "up to 39 %" in stability


def test_the_expected_result_of_one_run_is_in_the_headline_of_an_unstable_leader(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    states = {(1, 2): "diverged", (1, 5): "diverged"}
    sweep = judged(synthetic, tmp_path, (400.0, 900.0), (0.01, 0.02), TAU, states=states)
    finals = sweep.scores[sweep.scores["config_id"] == "0000000001"]["final_primary"].dropna()
    assert sweep.random is not None
    expected = (finals.sum() + 2 * sweep.random.mean) / 6
    headline = verdict(sweep).headline
    found = re.match(r"tau=0.02 is best, with an expected return of (\d+) for one run: 2 of 6 seeds diverged", headline)
    assert found is not None
    assert int(found[1]) == round(expected)
    assert re.search(r", n=4; a trade-off with tau=0.01$", headline), headline


def test_failures_are_counted_by_cause(tmp_path: Path, synthetic: ModuleType) -> None:
    states = {(0, 2): "interrupted", (0, 5): "failed", (1, 1): "failed", (1, 4): "failed"}
    causes = {(0, 2): "node-fail", (0, 5): "timeout", (1, 1): "oom", (1, 4): "unknown"}
    sweep = judged(synthetic, tmp_path, (600.0, 500.0), (0.01, 0.02), TAU, states=states, causes=causes)
    assert format_missing(sweep) == (
        "4 of 12 runs have no final return: 1 failed by oom (ended by the program's own error, left out: 1 of 6 seeds "
        "of tau=0.02); 1 failed (cause unknown, so claims must hold with and without counting them as diverged); "
        "1 failed by timeout, 1 interrupted by node-fail (left out)."
    )
    assert sweep.contrasts["unstable"].tolist() == [0, 0]
    assert sweep.contrasts["unknown"].tolist() == [0, 1]


@pytest.mark.parametrize(("spread", "relation"), [(12.0, BEHIND), (40.0, LESS_STABLE)])
def test_no_seeds_are_spent_on_a_rival_that_mostly_collapses(base: SweepSummary, spread: float, relation: str) -> None:
    """320 with five of six collapsed is not tied with 579, whether or not its mean differs significantly."""
    fallen = np.array([579.0, 190, 260, 310, 400, 210])
    sweep = with_scores(base, (579 + spread * SIX, 570 + spread * SIX, fallen), {2: range(1, 6)})
    assert sweep.contrasts.set_index("config_id").at["0000000002", "relation"] == relation
    tied = ties(sweep)
    assert tied.configs == ("0000000000", "0000000001")
    assert tied.left == ()  # nothing is open about it


def test_an_open_rival_of_which_half_collapses_gets_no_seeds_and_the_reason(base: SweepSummary) -> None:
    half = np.array([579.0, 190, 600, 210, 570, 200])
    sweep = with_scores(base, (579 + 40 * SIX, 570 + 40 * SIX, half), {2: range(1, 6, 2)})
    tied = ties(sweep)
    assert [rival.relation for rival in tied.left] == [OPEN_RIVAL]
    assert format_left(sweep, tied).endswith("(3 of 6 seeds diverged or collapsed)")


def test_a_significant_difference_below_the_margin_is_said_to_be_one(base: SweepSummary) -> None:
    sweep = with_scores(base, (600 + SIX, 590 + SIX, 300 + SIX), {}, margin=50.0)
    text = format_relations(sweep)
    assert text.startswith(
        "All of the 2 others are significantly worse (Welch test, Holm over all pairs). Alike within "
    )
    named = sweep.config("0000000001").name
    assert text.endswith(f" collapse: {named}. Significantly worse, but by less than that: {named}.")


def with_scores(
    base: SweepSummary, finals: tuple[np.ndarray, ...], unstable: dict[int, range], margin: float = np.nan
) -> SweepSummary:
    """The summary with these final results; of unstable configurations the seeds at these places collapsed."""
    values = np.concatenate(finals)
    fallen = np.array([place in unstable.get(i, ()) for i in range(3) for place in range(6)])
    scores = base.scores.assign(
        final_primary=values, start_primary=values, outcome=np.where(fallen, COLLAPSED, FINISHED),
        healthy_primary=np.where(fallen, np.nan, values),
    )  # fmt: skip
    contrasts = ConfigurationComparison(margin=margin)(scores)
    return dataclasses.replace(base, scores=scores, contrasts=contrasts, margin=Margin(margin, declared=True))


def test_the_effect_of_seeds_is_of_those_that_are_sound_everywhere(base: SweepSummary) -> None:
    alike = (600 + 10 * SIX, 590 + 10 * SIX[::-1], 500 + 10 * SIX)
    found = seed_effect(np.stack(alike)[:, 1:])
    text = format_seed_effect(with_scores(base, alike, {2: range(1)}))
    assert text == (
        f"Results of one seed correlate by {number(found.rho, 0.05)} (F test of the seeds {probability(found.p)}; "
        "5 seeds in 3 configurations). No test pairs runs by seed."
    )
    imported = tuple(dataclasses.replace(config, imported="curves") for config in base.source.configs)
    foreign = dataclasses.replace(base, source=dataclasses.replace(base.source, configs=imported))
    assert format_seed_effect(base)
    assert not format_seed_effect(foreign)


# --- numbers and sentences agree ------------------------------------------------------------------------


def cells(means: list[float], counts: list[int] | None = None) -> Cells:
    return Cells(np.array(means), np.full(len(means), 16.0), np.array(counts or [6] * len(means)))


def axis(positions: list[float], names: tuple[str, ...]) -> Axis:
    return Axis("k", names, np.array(positions), (np.zeros(len(positions), dtype=int),))


def test_without_its_last_level_an_effect_ends_where_the_runs_do() -> None:
    """629, 600, 536 at 0.1, 0.3, 0.5 and no runs at 1.0: from 0.1 to 0.5 it is -93, not -140 over the whole axis."""
    one = axis([0, 1 / 3, 2 / 3, 1], ("0.1", "0.3", "0.5", "1.0"))
    measured = cells([629.0, 600.0, 536.0, 0.0], [6, 6, 6, 0])
    line = effect(one, one.weights(measured.counts > 1), measured, 1)
    assert (line["low"], line["high"]) == ("0.1", "0.5")
    assert line["estimate"] == pytest.approx(536 - 629)


@given(st.lists(st.floats(-1000, 1000), min_size=3, max_size=6), st.data())
def test_an_effect_is_the_least_squares_slope_between_the_levels_that_have_runs(means: list[float], data: Any) -> None:
    levels = len(means)
    there = data.draw(st.lists(st.booleans(), min_size=levels, max_size=levels).filter(lambda kept: sum(kept) > 1))
    one = axis([i / (levels - 1) for i in range(levels)], tuple(map(str, range(levels))))
    measured = cells(means, [6 if kept else 0 for kept in there])
    line = effect(one, one.weights(np.array(there)), measured, 1)
    at = np.flatnonzero(there)
    slope = np.polyfit(at, np.array(means)[at], 1)[0]
    assert (line["low"], line["high"]) == (str(at[0]), str(at[-1]))
    assert line["estimate"] == pytest.approx(slope * (at[-1] - at[0]), abs=1e-6)


def test_a_trend_is_called_one_with_the_means_beside_it(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep = judged(synthetic, tmp_path, (629.0, 640.0, 560.0, 397.0), (0.1, 0.3, 0.5, 1.0), TAU)
    finals = sweep.scores.groupby("config_id")["final_primary"].mean().to_numpy()
    slope = 3 * np.polyfit(np.arange(4), finals, 1)[0]
    (answer,) = answers(sweep)
    assert answer.short.startswith("Lower tau does better")
    found = re.search(
        r"final return −(\d+) \[.*?\] along the trend from 0.1 to 1, means 0.1: (\d+), 0.3: (\d+), ", answer.text
    )
    assert found is not None
    assert [int(number) for number in found.groups()] == [round(-slope), round(finals[0]), round(finals[1])]


def test_a_baseline_that_collapses_stands_in_the_answer(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep = judged(synthetic, tmp_path, (600.0, 600.0), (0.01, 0.02), TAU, special={0: {"collapse": True}})
    (answer,) = answers(sweep)
    assert "; the baseline collapses (6 of 6 seeds collapsed), so this may only reflect its collapse" in answer.short
    assert "6 of 6 seeds diverged or collapsed at 0.01, 0 of 6 at 0.02" in answer.text
    assert dict(verdict(sweep).points)["Relevant difference"] == (
        "Unknown: fewer than two runs of the baseline finished without a collapse; set `margin` in the plan."
    )


def test_a_confounded_key_stands_in_the_answer(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0, 605.0), 2, lean=True)
    levels = ({"num_q": 1}, {"num_q": 2})
    configs = tuple(
        dataclasses.replace(config, factors=level, config={**config.config, "ensemble_lr_scaling": True, **level})
        for config, level in zip(sweep.configs, levels, strict=True)
    )
    asked = dataclasses.replace(sweep, configs=configs, questions=(Question("Two heads?", ("num_q",)),))
    (answer,) = answers(summarise([asked]).sweeps[0])
    assert "num_q also scales the value learning rate: this is the effect of both" in answer.short


# --- alike, and what could not be judged ----------------------------------------------------------------


def test_either_is_an_answer(tmp_path: Path, synthetic: ModuleType) -> None:
    asked = Question("Which knob?", ("tau",), either="Either: only their product matters")
    sweep = judged(synthetic, tmp_path, (600.0, 601.0), (0.01, 0.02), asked)
    (answer,) = answers(sweep)
    assert answer.state == ANSWERED
    assert answer.short.startswith("Either: only their product matters, ")
    samples = [own["healthy_primary"].to_numpy() for _, own in sweep.scores.groupby("config_id")]
    tests = [stats.ttest_ind(samples[0] + shift, samples[1], equal_var=False, alternative=side).pvalue
             for shift, side in ((sweep.margin.value, "greater"), (-sweep.margin.value, "less"))]  # fmt: skip
    line = sweep.question_contrasts.iloc[0]
    assert line["p_alike"] == pytest.approx(max(tests))
    assert sweep.random is not None
    assert sweep.margin.value == pytest.approx(0.1 * (samples[0].mean() - sweep.random.mean))


def test_that_means_are_alike_does_not_hide_a_collapse(tmp_path: Path, synthetic: ModuleType) -> None:
    """In the short answer of the report too."""
    sweep = judged(synthetic, tmp_path, (600.0, 601.0), (0.01, 0.02), TAU, states={(1, 2): "diverged"})
    (answer,) = answers(sweep)
    says = (
        "of seeds that did not collapse; 0 of 6 seeds diverged or collapsed at 0.01, 1 of 6 at 0.02, which is not shown"
    )
    assert says in answer.short
    assert says in answer.text


def test_not_significant_is_not_alike(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep = judged(synthetic, tmp_path, (600.0, 612.0), (0.01, 0.02), TAU)
    wide = dataclasses.replace(sweep.source, margin=8.0)
    (answer,) = answers(summarise([wide]).sweeps[0])
    assert answer.state == NOT_ANSWERED
    assert re.search(
        r"equal ones would be shown to be alike within ±8.00 return points in (\d+|less than 1) % of cases", answer.text
    )


def test_a_collapse_that_was_not_assessed_is_said(base: SweepSummary) -> None:
    """Never "none collapsed" where nobody could tell."""
    few = base.findings["flag"] == flags.COLLAPSE
    findings = base.findings.assign(
        state=base.findings["state"].mask(few, flags.NOT_ASSESSABLE),
        detail=base.findings["detail"].mask(few, "10 points, needs 12"),
    )
    sweep = dataclasses.replace(base, findings=findings)
    points, text = dict(verdict(sweep).points), format_stability(sweep)
    assert points["What went wrong"].startswith("No flag of those that were assessed ")
    assert points["Not assessed"].startswith("Too few values in every finished run: evaluation collapses late, ")
    assert "Collapse: not assessed for 18 of 18 finished runs (10 points, needs 12)." in text
    assert "None of the 6 seeds of the best configuration diverged; " in text
    assert "diverged or collapsed" not in text


# --- claims, whatever the numbers -----------------------------------------------------------------------

CONFIGS = tuple(ConfigSource(f"c{i}", f"k={i}", {"k": i}, i == 0, {}, 100, ()) for i in range(2))
ASKED = SweepSource("s", "", (Question("?", ("k",)),), ("k",), CONFIGS, DESCRIPTION)


@settings(max_examples=100)
@example(shift=10.0, sd=1.0, low=0, high=0, margin=100.0, random=random.Random(0))
@example(shift=10.0, sd=1.0, low=0, high=1, margin=100.0, random=random.Random(0))
@given(st.floats(-300, 300), st.floats(1, 60), st.integers(0, 5), st.integers(0, 5), st.floats(1, 200), st.randoms())
def test_no_claim_contradicts_its_numbers(
    shift: float, sd: float, low: int, high: int, margin: float, random: random.Random
) -> None:
    """A better level has the better mean and no more unstable seeds; a more stable one has fewer of them; levels that
    are alike have their 90 % interval within the margin, and such levels without an unstable seed are alike."""
    rng = np.random.default_rng(random.randrange(2**32))
    lines = []
    for i, gone in enumerate((low, high)):
        for seed, value in enumerate(500 + i * shift + rng.normal(0, sd, 6), 1):
            lines.append((f"c{i}", seed, np.nan if seed <= gone else value, DIVERGED if seed <= gone else FINISHED))
    scores = pd.DataFrame(lines, columns=["config_id", "seed", "final_primary", "outcome"])
    scores = scores.assign(healthy_primary=scores["final_primary"])
    none = pd.DataFrame(columns=["config_id", "seed", "flag", "state"])
    table = contrasts_by_question(ASKED, scores, none, margin)
    for slope in table.to_dict("records"):
        made = claim(slope, [], up=True)
        a, b = (scores.loc[scores["config_id"] == f"c{i}", "final_primary"].dropna().to_numpy() for i in (0, 1))
        unstable = {"0": low, "1": high}
        other = "1" if made.level == "0" else "0"
        inside = slope["p_alike"] < estimates.ALPHA
        assert made.kind == ALIKE or not inside or low or high
        if made.kind in (BETTER, TRADE_OFF):
            assert (b.mean() > a.mean()) == (made.level == "1")
            assert (unstable[made.level] > unstable[other]) == (made.kind == TRADE_OFF)
        elif made.kind == STABLE:
            assert unstable[made.level] < unstable[other]
        elif made.kind == ALIKE:
            contrast = estimates.welch(b, a)
            assert abs(float(contrast.estimate)) + float(contrast.half_width(0.9)) <= margin * (1 + 1e-9)
        else:
            assert made.kind == OPEN
