"""What is said with the effect of a factor, from made-up sweeps of num_q (1, 2) x reduce (min, mean)."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.inputs.plan_questions import Question
from aggregate.verdict.answers import ANSWERED, OPEN, Answer, answers

SECOND = Question("A second head?", ("num_q",), low="No", high="Yes")


def factorial(
    synthetic: ModuleType, root: Path, finals: tuple[float, ...], seeds: int = 3, **options: Any
) -> tuple[SweepSummary, Answer]:
    """finals: of (1, min), (1, mean), (2, min), (2, mean)."""
    sweep = synthetic.make_sweep(root, finals, seeds, lean=True, **options)
    configs = tuple(
        dataclasses.replace(c, factors={"num_q": i // 2 + 1, "reduce": ("min", "mean")[i % 2]}, label=f"cell {i}")
        for i, c in enumerate(sweep.configs)
    )
    asked = dataclasses.replace(sweep, factors=("num_q", "reduce"), configs=configs, questions=(SECOND,))
    (sweep,) = summarise([asked]).sweeps
    return sweep, answers(sweep)[0]


def means(sweep: SweepSummary) -> list[float]:
    finals = sweep.scores.groupby("config_id")["final_primary"].mean()
    return [float(finals[config.config_id]) for config in sweep.source.configs]


def test_an_effect_that_depends_on_another_factor_is_said_at_each_of_its_levels(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    sweep, answer = factorial(synthetic, tmp_path, (300.0, 310.0, 300.0, 900.0))
    assert answer.state == ANSWERED
    match = re.search(r"; it depends on reduce \((\S+) \[.*\] at min, (\S+) \[.*\] at mean\)", answer.short)
    assert match is not None
    a, b, c, d = means(sweep)
    assert [float(shown.replace("−", "-")) for shown in match.groups()] == [round(c - a), round(d - b)]
    assert answer.short.startswith("Yes on average, ")
    assert match[0] in answer.text


def test_an_interaction_is_compared_at_what_the_question_holds_equal(tmp_path: Path, synthetic: ModuleType) -> None:
    """At an equal ratio lr and freq change together, so no level of freq has two values of lr to compare."""
    sweep = synthetic.make_sweep(tmp_path, (300.0, 310.0, 300.0, 800.0, 310.0, 300.0, 300.0, 310.0), 3, lean=True)
    cells = [(lr, freq, mode) for lr, freq in ((1, 1), (2, 2), (1, 2), (2, 1)) for mode in ("a", "b")]
    configs = tuple(
        dataclasses.replace(config, factors=dict(zip(("lr", "freq", "mode"), cell, strict=True)))
        for config, cell in zip(sweep.configs, cells, strict=True)
    )
    question = Question("Rate or count?", ("lr",), alike=("lr / freq", "mode"))
    asked = dataclasses.replace(sweep, factors=("lr", "freq", "mode"), configs=configs, questions=(question,))
    (sweep,) = summarise([asked]).sweeps
    interactions = sweep.effects.interactions.set_index(["factor", "outcome"])
    assert interactions.at[("lr × freq", "final_primary"), "distinct"]
    one_a, one_b, two_a, two_b = means(sweep)[:4]
    match = re.search(r"; it depends on mode \((\S+) \[.*\] at a, (\S+) \[.*\] at b\)", answers(sweep)[0].short)
    assert match is not None
    assert [float(shown.replace("−", "-")) for shown in match.groups()] == [round(two_a - one_a), round(two_b - one_b)]


def test_effects_that_cancel_are_said_though_there_is_none_on_average(tmp_path: Path, synthetic: ModuleType) -> None:
    _, answer = factorial(synthetic, tmp_path, (300.0, 800.0, 800.0, 300.0))
    assert answer.state == OPEN
    assert re.search(r"it depends on reduce \(\+.* at min, −.* at mean\)", answer.short)


def test_a_configuration_that_collapses_is_left_out_beside_it(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep, answer = factorial(synthetic, tmp_path, (600.0, 600.0, 600.0, 700.0), special={2: {"collapse": True}})
    a, b, c, d = means(sweep)
    assert (c - a + d - b) / 2 < 0 < d - b
    assert answer.short.startswith("No on average, ")
    match = re.search(r"; excluding collapsed configurations \(cell 2\) (\S+) \[", answer.short)
    assert match is not None
    assert float(match[1].replace("−", "-")) == round(d - b)
    assert answer.short.endswith("; but the best configuration has num_q 2")


def test_nothing_is_added_where_nothing_is_hidden(tmp_path: Path, synthetic: ModuleType) -> None:
    _, answer = factorial(synthetic, tmp_path, (300.0, 320.0, 600.0, 620.0))
    assert re.fullmatch(r"Yes, (very |fairly )?sure", answer.short)
