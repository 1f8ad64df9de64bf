"""Evaluations after training: equal numbers of episodes, the endpoint, and what they change in power, by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aggregate.analysis.run_scores import EVALUATION, EvaluationKind, evaluation_kind, with_evaluations
from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.export import frames
from aggregate.inputs.plan_questions import Question, endpoint
from aggregate.inputs.runs import Evaluated, SweepSource
from aggregate.verdict.answers import answers
from aggregate.verdict.evaluation_gain import format_expected, format_measured, suggest_evaluation
from aggregate.verdict.verdict import verdict
from sweepwise.core.agent import Capabilities
from tdmpc.metrics import CATALOGUE

ASKED = Question("Which?", ("num_q",), on=("evaluation",))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> SweepSource:
    made = synthetic.make_sweep(tmp_path_factory.mktemp("runs"), (600.0, 500.0), 3, lean=True)
    return dataclasses.replace(made, questions=(ASKED,))  # type: ignore[no-any-return]


def evaluated(sweep: SweepSource, returns: Mapping[tuple[int, int], Sequence[Sequence[float]]]) -> SweepSource:
    """(place of the configuration, seed) -> returns of each evaluation."""
    configs = [
        dataclasses.replace(config, runs=tuple(
            dataclasses.replace(run, evaluations=tuple(
                Evaluated(tuple(one)) for one in returns.get((place, run.seed), ())))
            for run in config.runs
        ))
        for place, config in enumerate(sweep.configs)
    ]  # fmt: skip
    return dataclasses.replace(sweep, configs=tuple(configs))


def means(sweep: SweepSource) -> list[float]:
    scores = pd.DataFrame([(c.config_id, r.seed) for c in sweep.configs for r in c.runs], columns=["config_id", "seed"])
    return [float(value) for value in with_evaluations(scores, sweep)[EVALUATION]]


def test_runs_count_with_exactly_as_many_episodes_as_most(sweep: SweepSource) -> None:
    of_two, of_three = [1.0, 3.0], [1.0, 2.0, 9.0]
    mixed = evaluated(sweep, {(0, 1): [of_two, of_three], (0, 2): [of_three], (1, 1): [of_two], (1, 2): [of_three]})
    assert evaluation_kind(mixed) == EvaluationKind(3)
    assert means(mixed) == pytest.approx([4.0, 4.0, np.nan, np.nan, 4.0, np.nan], nan_ok=True)
    apart = evaluated(sweep, {(0, 1): [of_two], (1, 1): [of_three]})
    assert evaluation_kind(apart).episodes == 3, "equally frequent: the larger"
    assert evaluation_kind(sweep).episodes == 0
    assert means(sweep) == pytest.approx([np.nan] * 6, nan_ok=True)


def test_a_configuration_that_a_question_needs_has_to_have_as_many(sweep: SweepSource) -> None:
    (config, other) = evaluated(sweep, {(0, 1): [[1.0]], (1, 1): [[5.0, 7.0]], (1, 2): [[5.0, 7.0]]}).configs
    apart = dataclasses.replace(sweep, configs=(config,), beside={"other": (other,)})
    assert evaluation_kind(apart).episodes == 2
    assert means(apart) == pytest.approx([np.nan] * 3, nan_ok=True)


@pytest.fixture(scope="module")
def summary(sweep: SweepSource) -> SweepSummary:
    plays = {(c, s): [[500.0 - 100 * c + 4 * s + e for e in (-1, 0, 1)]] for c in (0, 1) for s in (1, 2, 3)}
    (made,) = summarise([evaluated(sweep, plays)]).sweeps
    return made


def test_it_is_an_endpoint_of_questions(summary: SweepSummary) -> None:
    (line,) = summary.question_contrasts.to_dict("records")
    by_hand = stats.ttest_ind([404.0, 408.0, 412.0], [504.0, 508.0, 512.0], equal_var=False)
    assert line["estimate"] == pytest.approx(-100)
    assert line["p"] == pytest.approx(by_hand.pvalue)
    (answer,) = answers(summary)
    assert "return evaluated after training −100" in answer.text
    assert endpoint("evaluation", CATALOGUE).better == "up"


def test_it_is_a_column_of_runs_where_there_is_one(summary: SweepSummary, sweep: SweepSource) -> None:
    def columns(made: SweepSummary) -> set[str]:
        return set(frames._runs(made).columns)

    assert columns(summary) - columns(summarise([sweep]).sweeps[0]) == {EVALUATION}


def test_without_evaluations_the_answer_says_what_makes_them(sweep: SweepSource) -> None:
    (answer,) = answers(summarise([sweep]).sweeps[0])
    assert "no run was evaluated after training; `sweeps evaluate ensemble --episodes 100` does it" in answer.text


def detectable(sd: float, seeds: int) -> float:
    df = 2 * (seeds - 1)
    return float((stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df)) * sd * np.sqrt(2 / seeds))


def split(summary: SweepSummary, episodes: float, time: float, seeds: float) -> SweepSummary:
    """With these standard deviations, and finals of each configuration that lie 20 apart, over 4 evaluations of 5
    episodes."""
    columns = ["config_id", "mode", "episodes", "time", "seeds", "per_evaluation"]
    lines = [("c", "planner", episodes, time, seeds, 5.0), ("c", "policy", 900.0, 900.0, 900.0, 5.0)]
    scores = summary.scores.assign(final_primary=[0.0, 20.0, 40.0, 100.0, 120.0, 140.0], final_points=4)
    return dataclasses.replace(summary, variance=pd.DataFrame(lines, columns=columns), scores=scores)


def test_the_gain_is_expected_from_the_split_of_the_variance(summary: SweepSummary) -> None:
    text = format_expected(split(summary, 30.0, 0.0, 4.0), 100)
    now = detectable(20.0, 3)
    then = now * np.sqrt((4.0**2 + 30.0**2 / 100) / (4.0**2 + 30.0**2 / (4 * 5)))
    assert text.startswith(f"so far a difference of {now:.1f} is detected in 4 of 5 cases (3 seeds)")
    assert f"100 episodes of the last weights are expected to bring that to {then:.1f}" in text
    assert "98 % lies between episodes of one evaluation, 0 % over time, 2 % between seeds" in text


def test_no_gain_is_expected_where_the_weights_vary_over_time(summary: SweepSummary) -> None:
    text = format_expected(split(summary, 1.0, 40.0, 1.0), 100)
    then = detectable(20.0, 3) * np.sqrt((1 + 1600 + 0.01) / (1 + 1600 / 4 + 1 / (4 * 5)))
    assert f"are not expected to bring that down ({then:.0f})" in text
    assert format_expected(split(summary, np.nan, 1.0, 1.0), 100) == ""


def test_several_snapshots_divide_the_variance_over_time(summary: SweepSummary) -> None:
    text = format_expected(split(summary, 1.0, 40.0, 1.0), 100, 8)
    then = detectable(20.0, 3) * np.sqrt((1 + 1600 / 8 + 0.01) / (1 + 1600 / 4 + 1 / (4 * 5)))
    assert f"100 episodes of the last 8 snapshots are expected to bring that to {then:.0f}" in text
    assert "one time" not in format_expected(split(summary, 1.0, 40.0, 1.0), 100, 2)


def test_runs_count_with_the_same_snapshots_as_most(sweep: SweepSource) -> None:
    early, late = (Evaluated((1.0, 3.0), steps) for steps in ((50, 100), (75, 100)))
    last = Evaluated((5.0, 7.0))
    (first, *others) = sweep.configs
    kept = [(early, last), (late, last), (late,)]
    runs = [dataclasses.replace(run, evaluations=own) for run, own in zip(first.runs, kept, strict=True)]
    mixed = dataclasses.replace(sweep, configs=(dataclasses.replace(first, runs=tuple(runs)), *others))
    assert evaluation_kind(mixed) == EvaluationKind(2, (75, 100)), "equally frequent: more snapshots"
    assert means(mixed)[:3] == pytest.approx([np.nan, 2.0, 2.0], nan_ok=True)


def test_evaluation_is_suggested_before_seeds_where_episodes_are_most_of_the_variance(sweep: SweepSource) -> None:
    (plain,) = summarise([sweep]).sweeps
    now = detectable(20.0, 3)
    then = now * np.sqrt((4.0**2 + 30.0**2 / 100) / (4.0**2 + 30.0**2 / (4 * 5)))
    text = suggest_evaluation(split(plain, 30.0, 0.0, 4.0))
    assert text.startswith(
        "sweeps evaluate ensemble --episodes 100, before more seeds: 98 % of the variance lies between"
    )
    assert text.endswith(f"is expected to fall from {now:.1f} to {then:.1f}")
    assert suggest_evaluation(split(plain, 10.0, 0.0, 30.0)) == "", "seeds are most of the variance"
    assert suggest_evaluation(split(plain, 30.0, 29.0, 0.0)) == "", "the last weights are those of one time"
    programs = dataclasses.replace(sweep.agent, capabilities=Capabilities())
    foreign = dataclasses.replace(plain, source=dataclasses.replace(sweep, agent=programs))
    assert suggest_evaluation(split(foreign, 30.0, 0.0, 4.0)) == "", "no weights are kept"


def test_the_gain_is_measured_over_the_same_runs(summary: SweepSummary, sweep: SweepSource) -> None:
    text = format_measured(split(summary, 1.0, 1.0, 1.0))
    assert f"with 3 episodes of the last weights a difference of {detectable(4.0, 3):.1f} between" in text
    assert f"with the evaluations during training one of {detectable(20.0, 3):.1f} (3 seeds)" in text
    assert dict(verdict(summary).points)["Evaluation"].startswith("With 3 episodes of the last weights")
    assert format_measured(summary, 4) == "", "another number of episodes"
    partly = summarise([evaluated(sweep, {(0, 1): [[1.0, 2.0]]})]).sweeps[0]
    assert format_measured(partly) == "", "not complete"
    assert "Evaluation" not in dict(verdict(partly).points)
