"""The best configuration and the baseline on fresh seeds: what is trained, what stays apart, what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from scipy import stats

from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.inputs.plan_questions import question
from aggregate.verdict.verdict import verdict
from jobs.cli import cli
from jobs.decide import confirm
from jobs.planning import confirmations
from jobs.reports import compare
from jobs.reports.inputs import sweep_sources
from jobs.results.records import Import, ImportedConfig, SubmittedConfiguration, SubmittedSweep, TaskRuns
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from sweepwise.core.trainable import Outcome

Typed = Callable[..., Result]
FINALS = (600.0, 900.0, 200.0)  # by num_q from 1, the baseline; a spread of 6 % over seeds
DEBUG = ("--cluster", "debug")
PLAN = """
plan: mine
base: {task: quadruped-walk, steps: 20000}
sweeps:
  ensemble: {grid: {num_q: [1, 2, 3]}, seeds: 4}
  ensemble-confirm: {grid: {num_q: [1, 2]}, seeds: 2}
"""

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture(scope="module")
def judged(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one sweep of four seeds that have finished; the caches are there."""
    root: Path = tmp_path_factory.mktemp("confirm") / "results"
    synthetic.submitted(root, FINALS, 4)
    return root


@pytest.fixture
def store(judged: Path, tmp_path: Path) -> ResultsFolder:
    shutil.copytree(judged, tmp_path / "results")
    (tmp_path / "mine.yaml").write_text(PLAN)
    return ResultsFolder(tmp_path / "results")


@pytest.fixture
def trains(agent: Any, synthetic: ModuleType) -> Any:
    """An agent whose runs come to `FINALS`."""

    def train(handles: Sequence[Any], stop: Callable[[], bool]) -> None:
        for handle in handles:
            final = FINALS[handle.config["num_q"] - 1]
            synthetic.write_run(handle.folder, handle.seed, final=final, rng_key=9, lean=True, tag=handle.tag)

    agent.before = train
    return agent


def ids(store: ResultsFolder) -> list[str]:
    return [config.config_id for config in store.read_sweep("ensemble").configs]


def seeds_of(store: ResultsFolder, sweep: str) -> dict[str, list[int]]:
    return {config.config_id: config.seeds for config in store.read_sweep(sweep).configs}


def summary_of(store: ResultsFolder, sweep: str) -> SweepSummary:
    (summary,) = summarise(sweep_sources(store, [sweep])).sweeps
    return summary


def finals(summary: SweepSummary) -> dict[str, list[float]]:
    """config_id -> the final results of its runs, by seed."""
    scores = summary.scores.sort_values("seed")
    return {str(name): part["final_primary"].tolist() for name, part in scores.groupby("config_id")}


def test_it_trains_and_compares_these_two_on_these_seeds_alone(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    base, best, _ = ids(store)
    before = finals(summary_of(store, "ensemble"))
    told = " ".join(typed_in_store("confirm", "ensemble", *DEBUG).stdout.split())
    assert f"num_q=2 ({best}), best of ensemble, is compared with the baseline num_q=1 ({base}), on seeds 5-8" in told
    assert "an overestimate on average" in told
    assert "8 runs requested: 8 new; 8 to submit expected cost" in told
    assert "`sweeps aggregate ensemble-confirm` shows the result" in told
    assert sorted((r, c["steps"]) for c in trains.calls for r, _ in c["runs"]) == [
        (s, 20_000) for s in (5, 5, 6, 6, 7, 7, 8, 8)
    ]
    assert seeds_of(store, "ensemble-confirm") == {base: [5, 6, 7, 8], best: [5, 6, 7, 8]}

    fresh = summary_of(store, "ensemble-confirm")
    runs = finals(fresh)
    assert {config: len(values) for config, values in runs.items()} == {base: 4, best: 4}
    by_hand = stats.ttest_ind(runs[best], runs[base], equal_var=False)
    (line,) = fresh.question_contrasts.to_dict("records")
    assert (line["low"], line["high"], line["deciding"]) == ("1", "2", True)
    assert line["estimate"] == pytest.approx(sum(runs[best]) / 4 - sum(runs[base]) / 4)
    assert line["p"] == line["p_raw"] == pytest.approx(by_hand.pvalue)
    assert finals(summary_of(store, "ensemble")) == before
    assert [len(c.runs) for c in sweep_sources(store, ["ensemble"])[0].configs] == [4, 4, 4]


def test_its_verdict_has_no_selection_and_leads_to_the_decision(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    typed_in_store("confirm", "ensemble", *DEBUG)
    said = verdict(summary_of(store, "ensemble-confirm"))
    (answer,) = said.answers
    assert answer.question == "Is num_q=2 better than the baseline num_q=1 on fresh seeds?"
    assert answer.short.startswith("Yes, ")
    points = dict(said.points)
    assert "is corrected for its selection" not in points["Other configurations"]
    assert "Interim analyses" not in points
    assert points["Next"].startswith(f"sweeps adopt ensemble --config {ids(store)[1]}")
    assert (
        "is corrected for its selection" in dict(verdict(summary_of(store, "ensemble")).points)["Other configurations"]
    )


def test_a_difference_that_does_not_last_is_not_claimed(
    typed_in_store: Typed, store: ResultsFolder, agent: Any, synthetic: ModuleType
) -> None:
    agent.before = lambda handles, stop: [
        synthetic.write_run(h.folder, h.seed, final=600.0, rng_key=h.config["num_q"], lean=True, tag=h.tag)
        for h in handles
    ]
    typed_in_store("confirm", "ensemble", *DEBUG)
    said = verdict(summary_of(store, "ensemble-confirm"))
    assert said.answers[0].short.startswith("Not answered")
    assert "no significant difference" in dict(said.points)["Next"]
    assert "sweeps more" not in dict(said.points)["Next"]


def test_a_dry_run_changes_nothing(typed_in_store: Typed, store: ResultsFolder) -> None:
    told = typed_in_store("confirm", "ensemble", "--cluster", "local", "--dry-run", "--seeds", "3").stdout
    assert "6 to submit" in told
    assert "on seeds 5-7" in told
    assert store.sweep_names() == ["ensemble"]
    assert not store.submissions.all()


def test_it_is_not_paired_although_its_sweep_is(typed_in_store: Typed, store: ResultsFolder, trains: Any) -> None:
    """It answers a question, and questions do not pair seeds."""
    store.write_sweep(dataclasses.replace(store.read_sweep("ensemble"), paired=True))
    typed_in_store("confirm", "ensemble", *DEBUG)
    assert not store.read_sweep("ensemble-confirm").paired


def test_where_the_baseline_leads_it_is_compared_with_the_second_best(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    one, two, three = ids(store)
    view = store.read_sweep("ensemble")
    configs = [dataclasses.replace(c, is_baseline=c.config_id == two) for c in view.configs]
    store.write_sweep(dataclasses.replace(view, configs=configs))
    told = " ".join(typed_in_store("confirm", "ensemble", *DEBUG, "--seeds", "2").stdout.split())
    assert f"num_q=2 ({two}), best of ensemble, is the baseline: it is compared with the best other" in told
    assert list(seeds_of(store, "ensemble-confirm")) == [one, two]
    (answer,) = verdict(summary_of(store, "ensemble-confirm")).answers
    assert answer.question == "Is the baseline num_q=2 better than num_q=1 on fresh seeds?"
    assert answer.text.startswith("Yes, ")
    assert three not in seeds_of(store, "ensemble-confirm")


def test_another_configuration_against_another(typed_in_store: Typed, store: ResultsFolder, trains: Any) -> None:
    one, two, three = ids(store)
    told = typed_in_store("confirm", "ensemble", *DEBUG, "--config", three, "--against", two, "--seeds", "2").stdout
    assert f"num_q=3 ({three}) is compared with num_q=2 ({two})" in " ".join(told.split())
    assert "overestimate" not in told
    (answer,) = verdict(summary_of(store, "ensemble-confirm")).answers
    assert answer.short.startswith("No, num_q=2 does better")
    assert one not in seeds_of(store, "ensemble-confirm")


def test_without_a_baseline_it_has_to_be_said(typed_in_store: Typed, store: ResultsFolder, trains: Any) -> None:
    view = store.read_sweep("ensemble")
    configs = [dataclasses.replace(c, is_baseline=False) for c in view.configs]
    store.write_sweep(dataclasses.replace(view, configs=configs))
    assert (
        "none of the configurations of ensemble is its baseline" in typed_in_store("confirm", "ensemble", code=1).stderr
    )
    typed_in_store("confirm", "ensemble", *DEBUG, "--against", ids(store)[0], "--seeds", "2")
    (answer,) = verdict(summary_of(store, "ensemble-confirm")).answers
    assert answer.short.startswith("Yes, ")


def test_what_is_missing_is_submitted_by_the_same_command(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    trains.ends[6] = Outcome("interrupted", 100, "told to stop")
    ended = CliRunner().invoke(cli, ["--results", str(store.root), "confirm", "ensemble", *DEBUG])
    assert (ended.exit_code, "6 of 8 runs done" in ended.stdout) == (1, True)
    del trains.ends[6]
    assert (
        "ensemble-confirm is running with 4 seeds"
        in typed_in_store("confirm", "ensemble", "--seeds", "5", code=1).stderr
    )
    trains.calls.clear()
    told = typed_in_store("confirm", "ensemble", *DEBUG).stdout
    assert "ensemble-confirm is running on seeds 5-8" in told
    assert [seed for call in trains.calls for seed, _ in call["runs"]] == [6, 6]
    assert store.sweep_names() == ["ensemble", "ensemble-confirm"]


def test_once_it_has_ended_another_one_has_to_be_asked_for(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    typed_in_store("confirm", "ensemble", *DEBUG, "--seeds", "2")
    told = typed_in_store("confirm", "ensemble", *DEBUG, code=1).stderr
    assert "ensemble-confirm has compared num_q=2 with num_q=1 on seeds 5-6" in told
    typed_in_store("confirm", "ensemble", *DEBUG, "--seeds", "2", "--again")
    assert set(map(tuple, seeds_of(store, "ensemble-confirm-2").values())) == {(7, 8)}
    assert "(confirmation 2)" in store.read_sweep("ensemble-confirm-2").goal
    assert set(map(tuple, seeds_of(store, "ensemble-confirm").values())) == {(5, 6)}


def test_seeds_are_fresh_whoever_used_them(store: ResultsFolder) -> None:
    base, *_ = ids(store)
    view = store.read_sweep("ensemble")
    other = dataclasses.replace(view.configs[1], seeds=[1, 9])
    store.write_sweep(dataclasses.replace(view, name="elsewhere", configs=[other]))
    assert confirm.confirm(store, "ensemble").view.configs[0].seeds == [10, 11, 12, 13]
    (store.root / "runs" / base / "seed-11").mkdir()
    assert confirm.confirm(store, "ensemble").view.configs[0].seeds == [12, 13, 14, 15]


def test_a_submission_that_has_not_begun_uses_its_seeds(
    store: ResultsFolder, typed_in_store: Typed, trains: Any
) -> None:
    typed_in_store("confirm", "ensemble", *DEBUG, "--seeds", "2")
    base = ids(store)[0]
    (submission,) = store.submissions.all()
    waiting = dataclasses.replace(submission, tasks=[TaskRuns(base, [20])])
    store.submissions.write(waiting)
    assert max(confirmations.seeds_in_use(store, [base])) == 20


def test_the_sweep_never_gets_seeds_of_its_confirmation(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    typed_in_store("confirm", "ensemble", *DEBUG)
    plan = ("--plan", str(store.root.parent / "mine.yaml"))
    told = typed_in_store("submit", "ensemble", *plan, *DEBUG, "--seeds", "6", code=1).stderr
    assert "seeds 5-6 of ensemble belong to its confirmation ensemble-confirm" in told
    assert "such as --seeds 1-4,9-10" in told
    assert typed_in_store("submit", "ensemble", *plan, *DEBUG, "--seeds", "6", "--dry-run", code=1)
    trains.calls.clear()
    typed_in_store("submit", "ensemble", *plan, *DEBUG, "--seeds", "1-4,9-10")
    assert seeds_of(store, "ensemble")[ids(store)[1]] == [1, 2, 3, 4, 9, 10]
    assert {seed for call in trains.calls for seed, _ in call["runs"]} == {9, 10}
    told = typed_in_store("submit", "ensemble-confirm", *plan, *DEBUG, code=1).stderr
    assert "ensemble-confirm is a confirmation of ensemble" in told


def test_more_seeds_leave_those_of_the_confirmation_out(
    synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trains: Any
) -> None:
    tied = synthetic.submitted(tmp_path / "tied", (615.0, 640.0, 200.0), 4, margin=5.0)
    monkeypatch.setattr("jobs.process.gpus", lambda: [])
    for words in (("confirm", "ensemble", *DEBUG), ("more", "ensemble", *DEBUG)):
        result = CliRunner().invoke(cli, ["--results", str(tied.root), *words])
        assert result.exit_code == 0, result.output
    one, two, three = ids(tied)
    assert seeds_of(tied, "ensemble-confirm") == {one: [5, 6, 7, 8], two: [5, 6, 7, 8]}
    assert seeds_of(tied, "ensemble")[two][:6] == [1, 2, 3, 4, 9, 10]
    assert seeds_of(tied, "ensemble")[three] == [1, 2, 3, 4]


def test_decisions_are_of_the_sweep_and_not_of_its_confirmation(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    typed_in_store("confirm", "ensemble", *DEBUG)
    plan = ("--plan", str(store.root.parent / "mine.yaml"))
    told = typed_in_store("adopt", "ensemble-confirm", "--from-verdict", *plan, code=1).stderr
    assert "ensemble-confirm confirms a configuration of ensemble" in told
    assert (
        "is a confirmation, whose number of seeds was fixed"
        in typed_in_store("more", "ensemble-confirm", code=1).stderr
    )
    assert "is a confirmation itself" in typed_in_store("confirm", "ensemble-confirm", code=1).stderr
    (store.root.parent / "one.yaml").write_text(PLAN.rpartition("  ensemble-confirm")[0])
    plan = ("--plan", str(store.root.parent / "one.yaml"))
    assert "ensemble-confirm" not in typed_in_store("next", *plan).stdout
    typed_in_store("adopt", "ensemble", "--config", ids(store)[1], *plan)


def test_configurations_are_compared_by_the_runs_of_their_sweep(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    typed_in_store("confirm", "ensemble", *DEBUG, "--seeds", "2")
    base, best, _ = ids(store)
    sides = compare.sides(store, (base, best))
    assert [len(config.runs) for side in sides for config in side.configs] == [4, 4]


def test_what_cannot_be_confirmed_is_refused_in_one_line(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    base, best, _ = ids(store)
    refused = {
        ("nope",): "sweep 'nope' was not submitted",
        ("ensemble", "--config", "0123456789"): f"'0123456789' is not in ensemble: {best} (num_q=2)",
        ("ensemble", "--against", "0123456789"): "'0123456789' is not in ensemble",
        ("ensemble", "--config", base, "--against", base): "that is the configuration to confirm",
        ("published",): "published holds imported curves",
        ("published.walker-walk",): "published.walker-walk holds imported curves",
        ("alone",): "alone has one configuration",
    }
    store.write_import(
        Import("published", "0" * 16, [], None, [ImportedConfig(base, "sac", "walker-walk", [1], 1)], 0.0)
    )
    view = store.read_sweep("ensemble")
    store.write_sweep(dataclasses.replace(view, name="alone", configs=view.configs[:1]))
    for words, told in refused.items():
        refusal = typed_in_store("confirm", *words, code=1).stderr
        assert told in refusal
        assert refusal.count("\n") == 1
    assert store.sweep_names() == ["alone", "ensemble"]


def test_runs_that_have_not_ended_may_change_what_leads(
    typed_in_store: Typed, store: ResultsFolder, trains: Any
) -> None:
    base, best, last = ids(store)
    shutil.rmtree(store.root / "runs" / last / "seed-1")
    told = typed_in_store("confirm", "ensemble", code=1).stderr
    assert "ensemble: 1 of 12 runs have not ended (1 new)" in told
    assert "--config ID" in told
    assert "on seeds 5-8" in typed_in_store("confirm", "ensemble", *DEBUG, "--config", best, "--dry-run").stdout
    for config in (base, best, last):
        for seed in range(1, 5):
            shutil.rmtree(store.root / "runs" / config / f"seed-{seed}", ignore_errors=True)
    assert "no readable metric shards" in typed_in_store("confirm", "ensemble", "--config", best, code=1).stderr


def test_what_was_changed_meanwhile_is_not_recorded(store: ResultsFolder) -> None:
    planned = confirm.confirm(store, "ensemble")
    view = store.read_sweep("ensemble")
    taken = dataclasses.replace(view, name="elsewhere", configs=[dataclasses.replace(view.configs[0], seeds=[8])])
    store.write_sweep(taken)
    with pytest.raises(JobsError, match="seeds 8-8 were taken in the meantime"):
        planned.record(store)
    store.sweep_path("elsewhere").unlink()
    planned.record(store)
    with pytest.raises(JobsError, match="was changed in the meantime"):
        planned.record(store)
    assert store.read_sweep("ensemble-confirm").configs == planned.view.configs


def test_the_question_names_a_hyperparameter_that_both_have() -> None:
    base = SubmittedConfiguration("a" * 10, "num_q=1", {"reduce": None, "num_q": 1, "algo/lr": 1e-3}, True, [1])
    best = SubmittedConfiguration("b" * 10, "num_q=2", {"reduce": "min", "num_q": 2, "algo/lr": 1e-2}, False, [1])
    asked = question(confirm._question(best, base))
    assert (asked.by, asked.levels, asked.alike) == (("num_q",), (1, 2), ())
    quoted = question(confirm._question(
        dataclasses.replace(best, factors={"algo/lr": 1e-2}), dataclasses.replace(base, factors={"algo/lr": 1e-3})
    ))  # fmt: skip
    assert quoted.keys == ("algo/lr",)


def test_a_record_of_before_is_no_confirmation(store: ResultsFolder) -> None:
    assert not store.read_sweep("ensemble").confirms
    assert confirmations.of(store, "ensemble") == []
    assert isinstance(store.read_sweep("ensemble"), SubmittedSweep)
    assert [confirmations.format_seeds(seeds) for seeds in ([7], [1, 2, 3, 7], [1, 2])] == ["7-7", "1-3,7", "1-2"]
