"""Questions of plans: what the packaged one asks, errors with their line, and the way to the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregate.inputs.plan_questions import Question
from jobs.planning import plan
from jobs.planning.expand import expand
from jobs.reports.inputs import sweep_sources
from jobs.results.records import SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.submit.submit import record_sweeps
from sweepwise.core.errors import JobsError


def loaded(tmp_path: Path, questions: str, rest: str = "    grid: {num_q: [1, 2], tau: [0.1, 0.2]}") -> plan.Plan:
    (tmp_path / "plan.yaml").write_text(f"sweeps:\n  s:\n    questions: {questions}\n{rest}\n")
    return plan.load(tmp_path / "plan.yaml")


def test_every_packaged_sweep_asks_something_that_its_own_keys_answer() -> None:
    for sweep in plan.load().sweeps:
        assert sweep.questions
        for question in sweep.questions:
            assert set(question.keys) <= set(sweep.factors)
            assert question.by


def test_the_packaged_plan_tells_rate_from_count_at_equal_product() -> None:
    (sweep,) = plan.load().select("update-freq.lr-vs-freq")
    question = sweep.questions[0]
    assert (question.by, question.alike) == (("pi_update_freq",), ("pi_lr_scale / pi_update_freq",))


def test_the_packaged_plan_compares_schedules_with_the_fixed_coefficients_of_another_sweep() -> None:
    question = plan.load().select("entropy")[0].questions[0]
    assert (question.beside, question.on[:2]) == (("entropy.fixed",), ("fall", "collapse"))


def test_a_text_alone_is_a_question_to_all_keys(tmp_path: Path) -> None:
    assert loaded(tmp_path, "Which?").sweeps[0].questions == (Question("Which?"),)
    assert loaded(tmp_path, "[Which, {ask: And why}]").sweeps[0].questions == (
        Question("Which"),
        Question("And why"),
    )


def test_options_inherit_what_they_can_answer(tmp_path: Path) -> None:
    rest = "    options:\n      a: {grid: {num_q: [1, 2]}}\n      b: {grid: {tau: [0.1, 0.2]}, questions: Own}\n"
    rest += "      c: {grid: {tau: [0.3, 0.4]}}"
    a, b, c = loaded(tmp_path, "[Any, {ask: A second head, by: num_q}]", rest).sweeps
    assert [[q.text for q in sweep.questions] for sweep in (a, b, c)] == [
        ["Any", "A second head"],
        ["Own"],
        ["Any"],
    ]


@pytest.mark.parametrize(
    ("questions", "words"),
    [
        ("[{by: num_q}]", "a question needs `ask:`"),
        ("[{ask: Q, of: num_q}]", "unknown 'of' in sweeps.s.questions; .*Legal: ask, by"),
        ("[{ask: Q, by: num_qq}]", "unknown hyperparameter 'num_qq'; did you mean num_q"),
        ("[{ask: Q, by: utd_ratio}]", "'Q': utd_ratio is not varied; num_q, tau are"),
        ("[{ask: Q, by: num_q + tau}]", "give a key, or two with / or"),
        ("[{ask: Q, by: num_q, alike: num_q / utd_ratio}]", "utd_ratio is not varied"),
        ("[{ask: Q, by: num_q, on: fal}]", "unknown endpoint 'fal'; did you mean fall"),
        ("[{ask: Q, by: num_q, on: speed}]", "unknown endpoint 'speed'; choose from final, area"),
        ("[{ask: Q, by: num_q, levels: [1, 3]}]", "3 is not a level of num_q"),
        ("[{ask: Q, by: num_q, levels: [1, 1]}]", "give the two levels"),
        ("[{ask: Q, by: num_q, levels: [1, x]}]", "num_q='x': not a whole number"),
        ("[{ask: Q, by: [num_q, tau], low: Yes}]", "needs `by:` with one hyperparameter"),
        ("[{ask: Q, high: Yes}]", "needs `by:` with one hyperparameter"),
        ("[{ask: Q, by: num_q, with: t}]", "unknown sweep 't'; choose from s"),
        ("[[Q]]", "give one value"),
        ("{ask: Q}", "give a list"),
    ],
)
def test_errors_are_one_line_with_file_line_and_fix(tmp_path: Path, questions: str, words: str) -> None:
    with pytest.raises(JobsError, match=words) as caught:
        loaded(tmp_path, questions)
    assert str(caught.value).startswith(f"{tmp_path / 'plan.yaml'}:3: ")
    assert "\n" not in str(caught.value)


def test_a_question_that_no_option_is_left_for_is_an_error(tmp_path: Path) -> None:
    rest = "    options: {a: {grid: {num_q: [1, 2]}, questions: Own}}"
    with pytest.raises(JobsError, match="all options have questions of their own"):
        loaded(tmp_path, "Which?", rest)


def test_questions_reach_the_report_with_the_configurations_they_need(tmp_path: Path) -> None:
    store, packaged = ResultsFolder(tmp_path / "results"), plan.load()
    store.prepare()
    record_sweeps(store, packaged, [expand(packaged, packaged.select("entropy")[0])])
    (alone,) = sweep_sources(store, ["entropy"])
    assert alone.questions == packaged.select("entropy")[0].questions
    assert alone.beside == {"entropy.fixed": ()}
    record_sweeps(store, packaged, [expand(packaged, packaged.select("entropy.fixed")[0])])
    (both,) = sweep_sources(store, ["entropy"])
    assert len(both.beside["entropy.fixed"]) == 3
    assert len(both.all_configs) == 9 + 3 - 1  # one of the fixed ones is part of the grid


def test_a_view_with_a_foreign_question_is_one_line(tmp_path: Path) -> None:
    store = ResultsFolder(tmp_path / "results")
    store.prepare()
    store.write_sweep(SubmittedSweep("s", "p", "", [{"text": "?", "on": ["speed"]}], [], [], 1.0))
    with pytest.raises(JobsError, match=r"s\.json: unknown endpoint 'speed'.*; submit the sweep again") as caught:
        sweep_sources(store, [])
    assert "\n" not in str(caught.value)
