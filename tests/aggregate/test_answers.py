"""Answers in words, from made-up replies."""

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
from aggregate.verdict import answers as answers_module
from aggregate.verdict.answers import ANSWERED, OPEN, PART, Answer, answers
from aggregate.verdict.verdict import verdict
from sweepwise.core.agent import AgentDescription
from tdmpc.description import DESCRIPTION


def answered(
    synthetic: ModuleType,
    root: Path,
    finals: tuple[float, ...],
    question: Question,
    values: tuple[Any, ...],
    margin: float = math.nan,
    agent: AgentDescription = DESCRIPTION,
    **how: Any,
) -> Answer:
    """The answer about a key `k` with these values, in four seeds each. margin: the smallest relevant difference."""
    sweep = synthetic.make_sweep(root, finals, 4, lean=True, **how)
    configs = tuple(dataclasses.replace(c, factors={"k": v}) for c, v in zip(sweep.configs, values, strict=True))
    asked = dataclasses.replace(
        sweep, factors=("k",), configs=configs, questions=(question,), margin=margin, agent=agent
    )
    (summary,) = summarise([asked]).sweeps
    return answers(summary)[0]


WORDED = Question("Does it help?", ("k",), on=("final", "fall", "collapse"), low="No", high="Yes")


def test_the_better_end_has_the_word(tmp_path: Path, synthetic: ModuleType) -> None:
    up = answered(synthetic, tmp_path / "up", (100.0, 800.0), WORDED, (1, 2))
    down = answered(synthetic, tmp_path / "down", (800.0, 100.0), WORDED, (1, 2))
    assert (up.state, down.state) == (ANSWERED, ANSWERED)
    assert up.text.startswith("Yes, very sure: final return +")
    assert up.short == "Yes, very sure"
    assert down.text.startswith("No, very sure: final return −")
    assert up.further.startswith("Secondary: fall at the end ")
    assert "; runs that collapse: none of 8. " in up.further


def test_a_fall_is_better_where_it_is_smaller(tmp_path: Path, synthetic: ModuleType) -> None:
    question = dataclasses.replace(WORDED, on=("fall", "collapse"))
    answer = answered(synthetic, tmp_path, (600.0, 600.0), question, (1, 2), special={0: {"collapse": True}})
    assert answer.text.startswith("Yes, very sure: fall at the end −")
    assert "runs that collapse: 4 of 4 at 1, 0 of 4 at 2, −100 [" in answer.further


def test_without_words_of_its_own_the_level_is_named(tmp_path: Path, synthetic: ModuleType) -> None:
    answer = answered(synthetic, tmp_path, (100.0, 800.0), Question("Which?", ("k",)), ("min", "mean"))
    assert answer.text.startswith("k mean does better than min, very sure: ")


def test_a_level_in_between_is_named_with_the_means_of_all(tmp_path: Path, synthetic: ModuleType) -> None:
    answer = answered(synthetic, tmp_path, (100.0, 800.0, 300.0), Question("Which?", ("k",)), (1, 2, 3))
    assert answer.text.startswith("k 2 does better than 1 and 3, ")
    assert re.search(r", means 1: \d+, 2: \d+, 3: \d+ ", answer.text)


@pytest.mark.parametrize(
    ("finals", "start"),
    [
        ((300.0, 500.0, 700.0, 900.0), "Higher k does better, very sure: "),
        ((100.0, 500.0, 505.0, 500.0), "Higher k does better, mostly from 1 to 2, very sure: "),
        ((500.0, 505.0, 500.0, 100.0), "Lower k does better, mostly from 4 to 3, very sure: "),
    ],
)
def test_a_trend_that_one_step_makes_says_so(
    tmp_path: Path, synthetic: ModuleType, finals: tuple[float, ...], start: str
) -> None:
    """The same of a metric where lower is better."""
    question = Question("Which?", ("k",))
    assert answered(synthetic, tmp_path / "up", finals, question, (1, 2, 3, 4)).text.startswith(start)
    metrics = {**DESCRIPTION.catalogue.metrics}
    primary = DESCRIPTION.catalogue.primary.name
    metrics[primary] = dataclasses.replace(metrics[primary], better="down")
    down = dataclasses.replace(DESCRIPTION, catalogue=dataclasses.replace(DESCRIPTION.catalogue, metrics=metrics))
    losses = tuple(1000 - final for final in finals)
    answer = answered(synthetic, tmp_path / "down", losses, question, (1, 2, 3, 4), agent=down)
    assert answer.text.startswith(start)


def test_unstable_seeds_of_many_levels_are_summed(tmp_path: Path, synthetic: ModuleType) -> None:
    """Of twelve levels the last one diverges, and one seed of the one before."""
    finals, values = tuple(500.0 + 10 * i for i in range(12)), tuple(range(12))
    states = {(10, seed): "diverged" for seed in (1, 2, 3, 4)} | {(11, 2): "diverged"}
    answer = answered(synthetic, tmp_path, finals, Question("Which?", ("k",)), values, states=states)
    assert "5 of 48 seeds diverged or collapsed (0 of 4 at 0, 1 of 4 at 11, most, 4 of 4, at 10)" in answer.text


def test_means_of_levels_have_digits_that_tell_them_apart() -> None:
    """Their interval alone would round them to 0.3."""
    line = {"by_level": [("1", 0.298), ("2", 0.333), ("3", 0.31)], "levels": 3, "ci_low": -0.4, "ci_high": 0.4}
    assert answers_module._format_levels(line) == ", means 1: 0.298, 2: 0.333, 3: 0.310"


def test_what_is_open_says_what_it_needs(tmp_path: Path, synthetic: ModuleType) -> None:
    answer = answered(synthetic, tmp_path, (600.0, 630.0), WORDED, (1, 2), margin=20.0)
    assert answer.state == OPEN
    assert answer.text.startswith("Not answered: final return ")
    assert answer.short == f"Not answered: needs {answer.needed - 4:.0f} more seeds for a difference of this size"
    assert f"needs {answer.needed - 4:.0f} more seeds for a difference of this size; " in answer.text


def test_some_of_several_keys_may_be_answered(tmp_path: Path, synthetic: ModuleType) -> None:
    question = Question("Which?", ("k",))
    sweep = synthetic.make_sweep(tmp_path, (300.0, 310.0, 700.0, 705.0), 4, lean=True)
    configs = tuple(
        dataclasses.replace(c, factors={"a": i // 2, "b": i % 2}, label=f"a={i // 2}, b={i % 2}")
        for i, c in enumerate(sweep.configs)
    )
    question = Question("Which?", ("a", "b"))
    asked = dataclasses.replace(sweep, factors=("a", "b"), configs=configs, questions=(question,))
    (answer,) = answers(summarise([asked]).sweeps[0])
    assert answer.state == PART
    assert answer.text.startswith("a 1 does better than 0, very sure: ")
    assert " b not answered: " in answer.text


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"states": {(0, seed): "running" for seed in (1, 2, 3, 4)} | {(1, s): "new" for s in (1, 2, 3, 4)}},
         "no run has finished"),
        ({"states": {(1, seed): "running" for seed in (1, 2, 3)}}, "needs at least two finished seeds on both sides"),
    ],
)  # fmt: skip
def test_why_nothing_can_be_said(tmp_path: Path, synthetic: ModuleType, how: dict[str, Any], words: str) -> None:
    answer = answered(synthetic, tmp_path, (600.0, 630.0), WORDED, (1, 2), **how)
    assert (answer.state, answer.text.startswith(f"Not answered: {words}")) == (OPEN, True)


def test_too_few_evaluations_are_told_from_too_few_seeds(tmp_path: Path, synthetic: ModuleType) -> None:
    """Jumps want four evaluations in the second half."""
    question = dataclasses.replace(WORDED, on=("noise",))
    few, enough = (
        answered(synthetic, tmp_path / str(n), (600.0, 630.0), question, (1, 2), evaluations=n) for n in (6, 8)
    )
    assert few.text == "Not answered: no finished run has enough evaluations for jumps of evaluation."
    assert re.search(r": jumps of evaluation [+−]", enough.text)


def test_a_sweep_that_was_not_submitted_is_the_next_command(tmp_path: Path, synthetic: ModuleType) -> None:
    question = Question("Schedule?", ("k == l",), ("k",), beside=("entropy.fixed",))
    sweep = synthetic.make_sweep(tmp_path, (600.0, 630.0), 2, lean=True)
    configs = tuple(dataclasses.replace(c, factors={"k": 1, "l": 2 + i}) for i, c in enumerate(sweep.configs))
    asked = dataclasses.replace(sweep, factors=("k", "l"), configs=configs, questions=(question,),
                                beside={"entropy.fixed": ()})  # fmt: skip
    result = verdict(summarise([asked]).sweeps[0])
    assert result.answers[0].text == "Not answered: needs the runs of entropy.fixed, which was not submitted."
    assert dict(result.points)["Next"].startswith("sweeps submit entropy.fixed --seeds 2, ")
