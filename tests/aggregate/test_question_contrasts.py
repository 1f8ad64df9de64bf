"""The plan's questions as contrasts: every expected number is in the arrangement."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate import flags
from aggregate.analysis.question_contrasts import all_questions, contrasts_by_question
from aggregate.inputs.plan_questions import Question
from aggregate.inputs.runs import ConfigSource, RunSource, SweepSource
from aggregate.statistics.alpha_spending import InterimAnalyses
from aggregate.statistics.estimates import welch
from tdmpc.description import DESCRIPTION

NOISE = (-1.0, 0.0, 1.0)  # of three seeds: variance 1


def configs_of(*settings: dict[str, Any], prefix: str = "c") -> tuple[ConfigSource, ...]:
    """A configuration per setting, named c0, c1, ...; the first is the baseline."""
    names = [f"{prefix}{i}" for i in range(len(settings))]
    runs = [tuple(RunSource(name, seed, Path(), "done", 1) for seed in (1, 2, 3)) for name in names]
    return tuple(
        ConfigSource(name, "", {k: v for k, v in setting.items() if k != "steps"}, i == 0, setting, 100, runs[i])
        for i, (name, setting) in enumerate(zip(names, settings, strict=True))
    )


def sweep_of(question: Question, *settings: dict[str, Any]) -> SweepSource:
    return SweepSource("s", "", (question,), tuple(settings[0]), configs_of(*settings), DESCRIPTION)


def runs_of(**means: float) -> pd.DataFrame:
    lines = [(name, seed, mean + off) for name, mean in means.items() for seed, off in enumerate(NOISE, 1)]
    scores = pd.DataFrame(lines, columns=["config_id", "seed", "final_primary"])
    final = scores["final_primary"]
    return scores.assign(
        auc_primary=np.nan, fall_primary=-final, final_policy=0.0, noise_primary=0.0, healthy_primary=final,
        outcome="finished",
    )  # fmt: skip


def findings_of(**raised: int) -> pd.DataFrame:
    """The collapse in so many of three seeds."""
    lines = [(n, s, "evaluation_collapse", flags.FLAG if s <= k else flags.OK)
             for n, k in raised.items() for s in (1, 2, 3)]  # fmt: skip
    return pd.DataFrame(lines, columns=["config_id", "seed", "flag", "state"])


NONE = findings_of()
PAIRS = [{"rate": rate, "every": every} for rate in (0.15, 0.3, 0.6) for every in (1, 2)]


def test_rate_and_count_are_compared_at_equal_product() -> None:
    """0.15 every update against 0.3 every second one, and 0.3 against 0.6: the others have no partner."""
    question = Question("Which knob?", ("every",), ("rate / every",))
    means = {"c0": 10.0, "c1": 99.0, "c2": 20.0, "c3": 4.0, "c4": 50.0, "c5": 16.0}
    (line,) = contrasts_by_question(sweep_of(question, *PAIRS), runs_of(**means), NONE).to_dict("records")
    assert line["estimate"] == pytest.approx(((4 - 10) + (16 - 20)) / 2)
    assert (line["low"], line["high"], line["runs"], line["deciding"]) == ("1", "2", 12, True)


def test_everything_else_is_alike_unless_the_question_says_so() -> None:
    means = {"c0": 10.0, "c1": 12.0, "c2": 20.0, "c3": 24.0, "c4": 30.0, "c5": 36.0}
    line, *_ = contrasts_by_question(sweep_of(Question("?", ("every",)), *PAIRS), runs_of(**means), NONE).to_dict(
        "records"
    )
    assert line["estimate"] == pytest.approx((2 + 4 + 6) / 3)


def test_two_levels_of_more_are_compared_in_the_order_of_the_question() -> None:
    gammas = [{"g": g} for g in ((0.9, 0.95), (0.9, 0.97), (0.8, 0.97))]
    question = Question("?", ("g",), levels=((0.9, 0.97), (0.8, 0.97)))
    (line,) = contrasts_by_question(sweep_of(question, *gammas), runs_of(c0=0.0, c1=5.0, c2=3.0), NONE).to_dict(
        "records"
    )
    assert (line["low"], line["high"]) == ("[0.9, 0.97]", "[0.8, 0.97]")
    assert line["estimate"] == pytest.approx(-2.0)


def test_a_level_between_the_ends_is_set_against_the_better_of_them() -> None:
    taus = [{"tau": tau} for tau in (0.01, 0.005, 0.02)]
    table = contrasts_by_question(sweep_of(Question("?", ("tau",)), *taus), runs_of(c0=20.0, c1=8.0, c2=2.0), NONE)
    slope, inner = table.to_dict("records")
    assert (slope["inner"], slope["estimate"]) == ("", pytest.approx(2 - 8))
    assert slope["by_level"] == [("0.005", 8.0), ("0.01", 20.0), ("0.02", 2.0)]
    assert (inner["low"], inner["high"], inner["estimate"]) == ("0.005", "0.01", pytest.approx(12.0))
    # the larger p of both comparisons, of 12 and of 18; Holm over two
    assert inner["p_raw"] == pytest.approx(0.000124, rel=0.01)
    assert inner["distinct"]


def test_a_level_between_the_ends_that_is_not_better_than_both_has_no_case() -> None:
    taus = [{"tau": tau} for tau in (0.01, 0.005, 0.02)]
    table = contrasts_by_question(sweep_of(Question("?", ("tau",)), *taus), runs_of(c0=20.0, c1=8.0, c2=90.0), NONE)
    assert table.set_index("inner").loc["0.01", "p_raw"] == 1.0
    worse = contrasts_by_question(
        sweep_of(Question("?", ("tau",), on=("fall",)), *taus), runs_of(c0=20.0, c1=8.0, c2=2.0), NONE
    )
    assert worse.set_index("inner").loc["0.01", "estimate"] == pytest.approx(-12.0)  # falls less than both


def test_what_decides_is_corrected_together_and_what_stands_beside_by_endpoint() -> None:
    questions = (Question("?", ("rate",)), Question("?", ("every",), on=("final", "fall")))
    settings = [{"rate": rate, "every": every} for rate in (1, 2) for every in (1, 2)]
    sweep = dataclasses.replace(sweep_of(questions[0], *settings), questions=questions)
    table = contrasts_by_question(sweep, runs_of(c0=0.0, c1=1.0, c2=1.0, c3=2.5), NONE).set_index(
        ["question", "endpoint"]
    )
    raw, p = table["p_raw"], table["p"]
    assert p[0, "final"] == pytest.approx(2 * min(raw[0, "final"], raw[1, "final"]))
    assert p[1, "fall"] == pytest.approx(raw[1, "fall"])
    assert table["deciding"].tolist() == [True, True, False]


@given(st.integers(3, 12), st.integers(1, 12), st.integers(1, 4), st.floats(2.0, 6.0))
@settings(max_examples=20)
def test_that_levels_are_alike_is_corrected_for_interim_analyses(
    first: int, more: int, planned: int, margin: float
) -> None:
    """As the differences are: each look at the same data would be another chance to claim it."""
    once = sweep_of(Question("?", ("rate",)), {"rate": 1}, {"rate": 2})
    analyses = InterimAnalyses((first, first + more), planned)
    twice = dataclasses.replace(once, interim_analyses=analyses)
    scores = runs_of(c0=0.0, c1=0.5)
    plain, looked = (contrasts_by_question(sweep, scores, NONE, margin).iloc[0] for sweep in (once, twice))
    assert looked["p_alike"] == pytest.approx(float(analyses(np.array(plain["p_alike"]))))
    assert looked["p_alike"] > plain["p_alike"]
    assert looked["alike_power"] <= plain["alike_power"]


def test_that_levels_are_alike_has_half_of_the_level_where_stability_can_be_claimed() -> None:
    """All seeds of every=2 diverged; of rate are compared c0 and c2. Both questions are one family."""
    questions = (Question("?", ("rate",)), Question("?", ("every",)))
    settings = [{"rate": rate, "every": every} for rate in (1, 2) for every in (1, 2)]
    sweep = dataclasses.replace(sweep_of(questions[0], *settings), questions=questions)
    scores = runs_of(c0=0.0, c1=0.0, c2=0.5, c3=0.0)
    gone = scores["config_id"].isin(["c1", "c3"])
    scores = scores.assign(outcome=scores["outcome"].mask(gone, "diverged"))
    scores.loc[gone, ["final_primary", "healthy_primary"]] = np.nan
    line = contrasts_by_question(sweep, scores, NONE, 5.0).iloc[0]
    raw = float(welch(np.array(NOISE), 0.5 + np.array(NOISE)).within(5.0))
    assert line["p_alike"] == pytest.approx(2 * 2 * raw)


def test_shares_of_runs_by_hand() -> None:
    question = Question("?", ("tau",), on=("collapse",))
    taus = [{"tau": tau} for tau in (0.1, 0.2, 0.3)]
    (line,) = contrasts_by_question(sweep_of(question, *taus), runs_of(c0=1.0), findings_of(c0=0, c1=1, c2=3)).to_dict(
        "records"
    )
    assert (line["k_low"], line["n_low"], line["k_high"], line["n_high"]) == (0, 3, 3, 3)
    assert line["estimate"] == 1.0
    assert line["p_raw"] == pytest.approx(0.1)  # two of 20 arrangements are as far apart


def test_configurations_of_another_sweep_take_part_where_they_are_asked_for() -> None:
    """A fixed coefficient stands in another sweep; only the question that names it sees it."""
    with_fixed = Question("?", ("start == end",), ("start",), beside=("fixed",))
    without = Question("?", ("end",))
    own = [{"start": 3, "end": 1}, {"start": 3, "end": 2}]
    sweep = dataclasses.replace(sweep_of(with_fixed, *own), questions=(with_fixed, without))
    fixed = configs_of({"start": 3, "end": 3}, {"start": 9, "end": 9}, prefix="d")
    scores = runs_of(c0=10.0, c1=14.0, d0=2.0, d1=99.0)
    for beside in ({"fixed": fixed}, {"fixed": ()}):
        table = contrasts_by_question(dataclasses.replace(sweep, beside=beside), scores, NONE).set_index("question")
        assert table.loc[1, ["low", "high", "estimate"]].tolist() == ["1", "2", pytest.approx(4.0)]
        assert (0 in table.index) == bool(beside["fixed"])
    table = contrasts_by_question(dataclasses.replace(sweep, beside={"fixed": fixed}), scores, NONE).set_index(
        "question"
    )
    assert table.loc[0, ["low", "high"]].tolist() == ["different", "equal"]
    assert table.loc[0, "estimate"] == pytest.approx(2 - 12)  # start 9 has no partner


def test_configurations_that_differ_in_what_no_sweep_varies_are_not_compared() -> None:
    own = [{"tau": 1, "steps": 5}, {"tau": 2, "steps": 6}]
    assert contrasts_by_question(sweep_of(Question("?", ("tau",)), *own), runs_of(c0=1.0, c1=2.0), NONE).empty


def test_what_the_plan_does_not_ask_is_asked_in_its_own_family() -> None:
    sweep = sweep_of(Question("Rate?", ("rate",)), *PAIRS)
    assert [question.text for question in all_questions(sweep)] == ["Rate?", "What does every do?"]
    table = contrasts_by_question(sweep, runs_of(c0=0.0, c1=1.0, c2=0.0, c3=1.0, c4=0.0, c5=1.5), NONE)
    assert table[table["deciding"]].groupby("question")["family"].first().nunique() == 2
    assert [q.text for q in all_questions(dataclasses.replace(sweep, questions=()))] == [
        "What do the swept hyperparameters do?"
    ]
    assert len(all_questions(dataclasses.replace(sweep, questions=(Question("Which?"),)))) == 1


def test_a_key_that_never_changes_alone_is_not_asked_about() -> None:
    pairs = [{"start": 1, "end": 1}, {"start": 2, "end": 2}]
    sweep = sweep_of(Question("How high?", ("start",), ()), *pairs)
    assert len(all_questions(sweep)) == 1
    (line,) = contrasts_by_question(sweep, runs_of(c0=0.0, c1=7.0), NONE).to_dict("records")
    assert line["estimate"] == pytest.approx(7.0)


def test_a_level_between_the_ends_without_a_pair_at_one_of_them_is_not_compared() -> None:
    """b = 1 and b = 2 never differ alone: with another b goes another a."""
    zipped = [{"a": a, "b": b} for a, b in (("x", 1.0), ("y", 2.0), ("y", 3.0))]
    question = Question("?", ("b",), ())
    table = contrasts_by_question(sweep_of(question, *zipped), runs_of(c0=20.0, c1=8.0, c2=2.0), NONE)
    assert set(table["inner"]) <= {"", "2"}
    held = contrasts_by_question(sweep_of(Question("?", ("b",)), *zipped), runs_of(c0=20.0, c1=8.0, c2=2.0), NONE)
    assert "2" not in set(held["inner"])
