"""Numbers with sensible digits, and the sentences of the first screen."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aggregate.analysis.summary import summarise
from aggregate.inputs.plan_questions import Question
from aggregate.verdict.number_format import estimate, number, probability, short_probability
from aggregate.verdict.verdict import Verdict, verdict


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (620.84, 24.9, "621"),
        (1234.5, 6.0, "1,234"),
        (139.64, 4.9, "139.6"),
        (0.12345, 0.02, "0.123"),
        (-54.2, 70, "−54"),
        (-0.004, 1.0, "0.0"),
        (19.96, math.nan, "20.0"),
        (0.0, math.nan, "0"),
        (math.nan, 1.0, "-"),
    ],
)
def test_digits_follow_the_uncertainty(value: float, half: float, text: str) -> None:
    assert number(value, half) == text


@pytest.mark.parametrize(
    ("p", "text", "cell"),
    [
        (0.00099, "p < 0.001", "< 0.001"),
        (0.001, "p = 0.001", "0.001"),
        (0.0123, "p = 0.012", "0.012"),
        (0.0496, "p = 0.0496", "0.0496"),  # not 0.05, which is not below the level
        (0.0504, "p = 0.0504", "0.0504"),
        (0.42, "p = 0.42", "0.42"),
    ],
)
def test_a_probability_is_rounded_on_its_side_of_the_level(p: float, text: str, cell: str) -> None:
    assert probability(p) == text
    assert short_probability(p) == cell
    assert short_probability(math.nan) == "-"


def test_an_estimate_without_an_interval_is_the_mean_alone() -> None:
    assert estimate(569.2, math.nan, math.nan) == "569"
    assert estimate(620.84, 595.9, 645.7) == "621 [596, 646]"


def verdict_of(synthetic: ModuleType, root: Path, finals: tuple[float, ...], seeds: int, **options: object) -> Verdict:
    (summary,) = summarise([synthetic.make_sweep(root, finals, seeds, **options)]).sweeps
    return verdict(summary)


def test_a_clear_leader_is_named_with_its_interval(tmp_path: Path, synthetic: ModuleType) -> None:
    result = verdict_of(synthetic, tmp_path, (800.0, 100.0), 4, labels=("tau=0.01", "tau=0.02"))
    points = dict(result.points)
    assert result.headline.startswith("tau=0.01 is best, with a final return of ")
    assert result.headline.endswith(", n=4; significantly better than the other")
    assert points["Other configurations"].startswith("The other is significantly worse (Welch test). ")
    assert "None of the 4 seeds of the best configuration diverged or collapsed" in points["Stability"]
    assert points["Random actions"].startswith("8 of 8 finished runs end above the best of 40 episodes of random")
    assert "whole interval of the best configuration is above their mean" in points["Random actions"]
    assert points["Missing"] == "Nothing: all 8 runs finished."
    assert points["Next"] == "sweeps adopt ensemble --from-verdict, then `sweeps next`"


def test_sentences_do_not_grow_with_the_number_of_configurations(tmp_path: Path, synthetic: ModuleType) -> None:
    texts = {}
    for count in (8, 40):
        finals = tuple(500.0 + 20 * (7 * i % count) / count for i in range(count))
        labels = tuple(f"width={i}" for i in range(count))
        result = verdict_of(synthetic, tmp_path / str(count), finals, 3, labels=labels, lean=True)
        texts[count] = {
            **dict(result.points), "headline": result.headline,
            **{answer.question: f"{answer.text} {answer.further}" for answer in result.answers},
        }  # fmt: skip
    assert "and 33 more." in texts[40]["Other configurations"]
    for name, text in texts[40].items():
        # a longer number or label here and there
        assert len(text) < 1.5 * len(texts[8].get(name, "")) + 150, (name, text)


@pytest.mark.parametrize(
    ("finals", "claim"),
    [
        ((800.0, 100.0), "; significantly better than the other"),
        ((800.0, 100.0, 120.0), "; significantly better than both others"),
        ((800.0, 100.0, 120.0, 140.0), "; significantly better than all 3 others"),
        ((500.0, 501.0, 502.0, 503.0), "; not significantly better than any other"),
        ((500.0, 501.0, 502.0, 503.0, 100.0), "; not significantly better than 3 of the 4 others"),
    ],
)
def test_the_headline_says_than_how_many_the_best_is_better(
    tmp_path: Path, synthetic: ModuleType, finals: tuple[float, ...], claim: str
) -> None:
    made = synthetic.make_sweep(tmp_path, finals, 4, lean=True)
    (summary,) = summarise([dataclasses.replace(made, margin=0.001)]).sweeps  # nothing is alike
    assert verdict(summary).headline.endswith(f"n=4{claim}")


def test_what_is_significant_only_beside_the_baseline_is_said_with_both_corrections(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    """The baseline leads; p of two comparisons is below 0.05 over three comparisons, above over six pairs."""
    labels = ("a", "b", "c", "d")
    made = synthetic.make_sweep(tmp_path, (550.0, 500.0, 501.0, 502.0), 4, lean=True, labels=labels)
    (summary,) = summarise([dataclasses.replace(made, margin=0.001)]).sweeps
    text = dict(verdict(summary).points)["Other configurations"]
    assert "Not significantly different from the best configuration: c; d." in text
    expected = (
        "Compared with the baseline alone, c; d are significantly worse (largest p = 0.03, Holm over 3); the ranking, "
        "where the best configuration was selected by its results, corrects for all 6 pairs."
    )
    assert expected in text
    far = verdict_of(synthetic, tmp_path / "far", (800.0, 100.0, 101.0), 4, labels=labels[:3])
    assert "Compared with the baseline alone" not in dict(far.points)["Other configurations"]


def test_the_indistinct_are_listed(tmp_path: Path, synthetic: ModuleType) -> None:
    result = verdict_of(synthetic, tmp_path, (600.0, 605.0, 100.0), 4, labels=("a", "b", "c"))
    leader, other = ("b", "a") if result.headline.startswith("b") else ("a", "b")
    assert result.headline.startswith(leader)
    points = dict(result.points)
    text = points["Other configurations"]
    assert text.startswith("1 of the 2 others is significantly worse (Welch test, Holm over all pairs). ")
    assert f"Alike within ±53.7 return points, of seeds that did not collapse: {other}." in text
    assert points["Relevant difference"].startswith("53.7 return points: 10 % of the baseline's gain over random")
    sweep = synthetic.make_sweep(tmp_path / "near", (600.0, 605.0, 100.0), 4, labels=("a", "b", "c"))
    (summary,) = summarise([dataclasses.replace(sweep, margin=5.0)]).sweeps
    points = dict(verdict(summary).points)
    assert f"Not significantly different from the best configuration: {other}." in points["Other configurations"]
    assert verdict(summary).headline.endswith(f", n=4; not significantly better than {other}")
    assert points["Relevant difference"] == "5.00 return points, set by the plan (`margin`)."


def test_runs_of_another_version_of_the_agent_are_named(tmp_path: Path, synthetic: ModuleType) -> None:
    """As runs of version 1 of the packaged agent, beside a sweep that was submitted again since."""
    sweep = synthetic.make_sweep(tmp_path, (600.0, 500.0), 3)
    now = sweep.agent.version

    def origin(own: int, other: int) -> str:
        versions = [tuple(dataclasses.replace(c, version=v) for c in sweep.configs) for v in (own, other)]
        source = dataclasses.replace(sweep, configs=versions[0], beside={"entropy": versions[1]})
        return dict(verdict(summarise([source]).sweeps[0]).points).get("Origin", "")

    assert origin(now, now) == ""
    assert origin(1, 1) == (
        f"The runs were trained by version 1 of the agent tdmpc, which is now at version {now}: the same "
        "hyperparameters give other results there."
    )
    assert origin(now, 1) == (
        f"The questions that also use entropy compare runs of version {now} with runs of version 1."
    )


def test_one_seed_claims_nothing(tmp_path: Path, synthetic: ModuleType) -> None:
    points = dict(verdict_of(synthetic, tmp_path, (600.0, 100.0), 1).points)
    assert points["Other configurations"] == "Nothing: a difference needs at least two finished seeds on both sides."
    assert points["Random actions"].endswith("on one seed.")


def test_no_learning_is_said(tmp_path: Path, synthetic: ModuleType) -> None:
    text = dict(verdict_of(synthetic, tmp_path, (21.0,), 3).points)["Random actions"]
    assert text.startswith("0 of 3 finished runs end above")
    assert text.endswith("over 3 seeds does not exclude their mean.")


def test_nothing_finished_is_said(tmp_path: Path, synthetic: ModuleType) -> None:
    result = verdict_of(synthetic, tmp_path, (600.0,), 2, states={(0, 1): "running", (0, 2): "failed"})
    assert result.headline == "No run has finished yet: the furthest is at step 10,000 of 20,000"
    assert dict(result.points)["Missing"] == (
        "2 of 2 runs have no final return: 1 failed (cause unknown, so claims must hold with and without counting them "
        "as diverged); 1 running (left out)."
    )


def test_what_went_wrong_is_said_of_each_configuration_with_what_it_points_to(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0, 600.0), 3, special={1: {"oscillate": True}})
    summary = summarise([sweep])
    assert dict(verdict(summary.sweeps[0]).points)["What went wrong"] == (
        "num_q=2, reduce=min: log_std oscillates (is its policy updated too fast? 1 of 4 signs; lower pi_lr_scale, or "
        "raise pi_update_freq). Each in at least half of the seeds."
    )
    monkeypatch.setattr("aggregate.verdict.verdict.MOST_NAMED", 0)
    assert dict(verdict(summary.sweeps[0]).points)["What went wrong"].endswith(": log_std oscillates (1).")


def test_where_all_is_answered_but_some_tie_the_leader_may_be_adopted(tmp_path: Path, synthetic: ModuleType) -> None:
    points = factorial(synthetic, tmp_path, (300.0, 480.0, 600.0, 700.0))
    adopt, more = points["Next"].split("; or ")
    assert adopt == "sweeps adopt ensemble --config 0000000003, then `sweeps next`: all questions are answered"
    assert more.startswith(
        "sweeps more ensemble: 8 more seeds for each of num_q=2, reduce=mean; num_q=1, reduce=mean: a"
    )


@pytest.mark.parametrize(
    ("key", "levels", "scaling", "said"),
    [
        ("num_q", (1, 2), True, "num_q also scales the value learning rate (ensemble_lr_scaling)"),
        ("num_q", (1, 2), False, None),
        ("multi_gamma_gammas", ([0.9, 0.95], [0.9, 0.97]), True, None),  # two each
        ("multi_gamma_gammas", ([0.9], [0.9, 0.97]), True, "multi_gamma_gammas also scales the auxiliary value"),
        ("tau", (0.01, 0.02), True, None),
    ],
)
def test_a_swept_key_that_changes_a_learning_rate_is_named(
    tmp_path: Path, synthetic: ModuleType, key: str, levels: tuple[Any, ...], scaling: bool, said: str | None
) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0, 605.0), 2)
    configs = tuple(
        dataclasses.replace(config, config={**config.config, "ensemble_lr_scaling": scaling, key: level})
        for config, level in zip(sweep.configs, levels, strict=True)
    )
    (summary,) = summarise([dataclasses.replace(sweep, configs=configs, factors=(key,))]).sweeps
    text = dict(verdict(summary).points).get("Learning rates")
    assert (text is None) if said is None else (text or "").startswith(said)


def factorial(synthetic: ModuleType, root: Path, finals: tuple[float, ...], **options: Any) -> dict[str, str]:
    """Answers and points of the verdict on num_q (1, 2) x reduce (min, mean), three seeds each."""
    sweep = synthetic.make_sweep(root, finals, 3, lean=True, **options)
    configs = tuple(
        dataclasses.replace(config, factors={"num_q": i // 2 + 1, "reduce": ("min", "mean")[i % 2]})
        for i, config in enumerate(sweep.configs)
    )
    asked = (Question("A second head?", ("num_q",), high="Yes", low="No"), Question("Which one?", ("reduce",)))
    asked_of = dataclasses.replace(sweep, factors=("num_q", "reduce"), configs=configs, questions=asked)
    (summary,) = summarise([asked_of]).sweeps
    result = verdict(summary)
    return {**{a.question: f"{a.text} {a.further}" for a in result.answers}, **dict(result.points)}


def test_what_factors_do_is_answered_or_said_to_need_more(tmp_path: Path, synthetic: ModuleType) -> None:
    points = factorial(synthetic, tmp_path, (300.0, 345.0, 600.0, 645.0))
    assert re.match(
        r"Yes, (very |fairly )?sure: final return \+\d+ \[\d+, \d+\] from 1 to 2 \(p ", points["A second head?"]
    )
    assert points["Which one?"].startswith("Not answered: final return +")
    needed = re.search(
        r"needs (\d+) more seeds for a difference of this size; minimum detectable", points["Which one?"]
    )
    assert needed is not None
    assert points["Next"].startswith(f"sweeps submit ensemble --seeds {int(needed[1]) + 3}, ")


def test_a_question_that_is_too_dear_is_said_to_be(tmp_path: Path, synthetic: ModuleType) -> None:
    points = factorial(synthetic, tmp_path, (300.0, 330.0, 600.0, 640.0))
    assert points["Next"].startswith("More than 30 seeds a configuration (35) ")


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("failed", "sweeps rerun ensemble --failed"),
        ("new", "sweeps rerun ensemble --missing"),
        ("running", "sweeps status ensemble"),
    ],
)
def test_what_is_missing_comes_first(tmp_path: Path, synthetic: ModuleType, state: str, command: str) -> None:
    points = factorial(synthetic, tmp_path, (300.0, 310.0, 600.0, 620.0), states={(0, 1): state})
    assert points["Next"].startswith(command)
