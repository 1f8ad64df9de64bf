"""The verdict on an agent whose primary metric is a loss: its own words, and lower is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from aggregate import flags
from aggregate.analysis.summary import SweepSummary
from aggregate.flags import OK
from aggregate.inputs.plan_questions import endpoint
from aggregate.verdict.answers import ANSWERED, OPEN, answers
from aggregate.verdict.compare_two import compare
from aggregate.verdict.evaluation_noise import format_evaluation_noise
from aggregate.verdict.number_format import estimate, number, signed
from aggregate.verdict.verdict import verdict
from tdmpc.metrics import CATALOGUE


@pytest.fixture(scope="module")
def foreign(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("tests/aggregate/foreign.py")


@pytest.fixture(scope="module")
def sweep(foreign: ModuleType, tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> SweepSummary:
    summary: SweepSummary = foreign.make_summary(tmp_path_factory.mktemp("runs"), synthetic).sweeps[0]
    return summary


def test_the_lowest_loss_leads(sweep: SweepSummary) -> None:
    # below, the better side, its own standard error 0.00577 times t(0.975, 2) = 4.303: 0.0248. Above, as the better of
    # 2 was picked, the pooled one of sd sqrt((0.01^2 + 0.02^2) / 2), 0.00913, times t(1 - 0.025 / 2, 4) = 3.495: 0.0319
    assert (
        verdict(sweep).headline == "width=1 is best, with a final test/loss of 0.410 [0.385, 0.442], n=3; "
        "significantly better than the other"
    )


def test_the_other_is_worse_though_its_value_is_higher(sweep: SweepSummary) -> None:
    text = dict(verdict(sweep).points)["Other configurations"]
    assert text.startswith("The other is significantly worse (Welch test). ")
    assert "is corrected for its selection from 2" in text


def test_the_lower_level_answers(sweep: SweepSummary) -> None:
    first = answers(sweep)[0]
    # 0.62 - 0.41; standard error sqrt(0.01^2 / 3 + 0.02^2 / 3) = 0.01291, 2.941 degrees of freedom
    assert first.state == ANSWERED
    assert first.text.startswith(
        "width 1 does better than 2, very sure: final test/loss +0.210 [0.168, 0.252] from 1 to 2 "
    )


def test_an_endpoint_without_a_metric_says_which_role_is_missing(sweep: SweepSummary) -> None:
    second = answers(sweep)[1]
    assert (second.state, second.short) == (OPEN, "Not answered: no metric has the role policy_without_mpc")


def test_random_actions_are_beaten_from_below(foreign: ModuleType, sweep: SweepSummary) -> None:
    assert "Random actions" not in dict(verdict(sweep).points)
    text = dict(verdict(foreign.with_random_actions(sweep)).points)["Random actions"]
    # below the best random episode, 0.615, end three seeds of 0.4 and the one of 0.60; 2.3 - 0.41 = 1.89
    assert text == (
        "4 of 6 finished runs end below the best of 10 episodes of random actions (mean 2.30, best 0.615); "
        "the whole interval of the best configuration is below their mean, by 1.89 on average."
    )


def test_a_loss_no_better_than_chance_is_said(foreign: ModuleType, sweep: SweepSummary) -> None:
    random = dataclasses.replace(foreign.RANDOM, mean=0.42, best=0.39)  # within [0.385, 0.435]
    near = dataclasses.replace(foreign.with_random_actions(sweep), random=random)
    text = dict(verdict(near).points)["Random actions"]
    assert text.startswith("0 of 6 finished runs end below ")
    assert text.endswith("the interval of the best configuration over 3 seeds does not exclude their mean.")


def test_what_cannot_be_assessed_is_said_once(sweep: SweepSummary) -> None:
    assert dict(verdict(sweep).points)["Not assessed"] == (
        "No metric has the role log_std_per_dim (log_std at its floor), policy_entropy (entropy collapses early)."
    )
    one = (sweep.findings["flag"] == "entropy_collapse") & (sweep.findings["seed"] == 1)
    few = sweep.findings.assign(detail=sweep.findings["detail"].mask(one, "3 points"))
    for findings, more in (
        (few, " Too few values in every finished run: entropy collapses early."),
        (few.assign(state=few["state"].mask(one, OK)), ""),  # one run could be judged
    ):
        text = dict(verdict(dataclasses.replace(sweep, findings=findings)).points)["Not assessed"]
        assert text == f"No metric has the role log_std_per_dim (log_std at its floor).{more}"


def test_what_is_confounded_is_in_the_words_of_the_agent(sweep: SweepSummary) -> None:
    points = dict(verdict(sweep).points)
    assert points["Confounded"] == "width also changes the memory (wide): what it shows is the effect of both."
    configs = tuple(
        dataclasses.replace(config, config={**config.config, "wide": False}) for config in sweep.source.configs
    )
    off = dataclasses.replace(sweep, source=dataclasses.replace(sweep.source, configs=configs))
    assert "Confounded" not in dict(verdict(off).points)


def test_evaluation_without_planning_has_one_sentence(sweep: SweepSummary) -> None:
    assert format_evaluation_noise(sweep) == (
        "Of the variance in the second half of training, 36 % lies between episodes of one evaluation, 0 % over time, "
        "64 % between seeds."
    )


def test_no_text_is_of_another_agent(foreign: ModuleType, sweep: SweepSummary) -> None:
    said = verdict(foreign.with_random_actions(sweep))
    texts = [said.headline, *(text for point in said.points for text in point),
             *(text for answer in said.answers for text in (answer.text, answer.further))]  # fmt: skip
    for word in ("return", "planning", "policy without MPC", "MPC"):
        assert not any(word in text for text in texts)


def test_unfinished_runs_and_missing_ones_are_worded(sweep: SweepSummary) -> None:
    none = sweep.ranking.assign(final_primary_n=0)
    scores = sweep.scores.assign(complete=False, final_primary=np.nan, outcome="missing")
    asked = sweep.question_contrasts.iloc[:0]
    points = dict(verdict(dataclasses.replace(sweep, ranking=none, scores=scores, question_contrasts=asked)).points)
    assert "they are not final test/loss and runs" in points["So far"]
    assert points["Missing"].startswith("6 of 6 runs have no final test/loss: ")


def test_two_configurations_compare_on_the_endpoints_that_exist(sweep: SweepSummary) -> None:
    a, b = (config.config_id for config in sweep.source.configs)
    endpoints = compare(sweep, a, b).endpoints.set_index("outcome")
    assert list(endpoints.index) == ["final_primary", "auc_primary", "fall_primary"]
    assert endpoints.at["final_primary", "difference"] == pytest.approx(0.21)
    assert endpoints.at["final_primary", "better"] == 0.0  # no seed of b is below one of a
    assert np.isnan(endpoints.at["fall_primary", "difference"])


@pytest.mark.parametrize(
    ("name", "title", "better", "packaged"),
    [
        ("final", "final test/loss", "down", ("final return", "up")),
        ("area", "area under the curve", "down", ("area under the curve", "up")),
        ("fall", "rise at the end", "down", ("fall at the end", "down")),
        (
            "policy",
            "final test/loss of the policy without MPC",
            "down",
            ("final return of the policy without MPC", "up"),
        ),
        ("noise", "jumps of evaluation", "down", ("jumps of evaluation", "down")),
    ],
)
def test_endpoints_are_resolved_for_an_agent(
    foreign: ModuleType, name: str, title: str, better: str, packaged: tuple[str, str]
) -> None:
    own, known = endpoint(name, foreign.AGENT.catalogue), endpoint(name, CATALOGUE)
    assert (own.title, own.better) == (title, better)
    assert (known.title, known.better) == packaged


def test_small_numbers_keep_their_digits() -> None:
    assert [number(value) for value in (0.412, 0.0412, -0.00412)] == ["0.412", "0.0412", "−0.00412"]
    assert number(3.214e-7) == "3.21e−07"
    assert number(-3.214e-7, 1e-8) == "−3.21e−07"
    assert number(3e-13, 3e-13) == "0"  # what is left where equal numbers are subtracted
    assert number(0.5, 1e-9) == "0.500000"  # its uncertainty is small, not the number
    assert estimate(0.412, 0.4, 0.424) == "0.412 [0.400, 0.424]"
    assert signed({"estimate": 0.21, "ci_low": 0.168, "ci_high": 0.252}) == "+0.210 [0.168, 0.252]"


def test_all_titles_of_the_missing_flags_are_known(foreign: ModuleType) -> None:
    assert set(foreign.MISSING) <= set(flags.BY_NAME)
