"""Seeds for what is tied with the leader and for nothing else, and the looks that are recorded for it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.cli import cli
from jobs.planning import interim_analyses, plan
from jobs.reports.inputs import sweep_sources
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import sweeps
from sweepwise.core.errors import JobsError

Typed = Callable[..., Result]
FINALS = (615.0, 640.0, 200.0)  # by num_q from 1; a spread of about 36 over seeds
PLAN = """
plan: mine
base: {task: quadruped-walk, steps: 20000}
sweeps: {ensemble: {grid: {num_q: [1, 2, 3]}, SEEDS}}
"""

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture(scope="module")
def judged(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one sweep of four seeds that have finished; the caches are there."""
    root: Path = tmp_path_factory.mktemp("more") / "results"
    synthetic.submitted(root, FINALS, 4, margin=5.0)
    return root


@pytest.fixture
def store(judged: Path, tmp_path: Path) -> ResultsFolder:
    shutil.copytree(judged, tmp_path / "results")
    return ResultsFolder(tmp_path / "results")


def seeds_of(store: ResultsFolder) -> list[list[int]]:
    return [config.seeds for config in store.read_sweep("ensemble").configs]


def recorded(store: ResultsFolder) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((store.root / "looks" / "ensemble.json").read_text())["looks"]
    return found


def test_only_what_is_tied_gets_more_seeds_and_the_next_report_knows(
    typed_in_store: Typed, store: ResultsFolder, agent: Any, synthetic: ModuleType
) -> None:
    one, two, three = (config.config_id for config in store.read_sweep("ensemble").configs)

    def trains(handles: Sequence[Any], stop: Callable[[], bool]) -> None:
        for handle in handles:
            final = FINALS[handle.config["num_q"] - 1]
            synthetic.write_run(handle.folder, handle.seed, final=final, rng_key=9, lean=True, tag=handle.tag)

    agent.before = trains
    told = typed_in_store("more", "ensemble", "--cluster", "debug").stdout
    first, more, _ = seeds_of(store)
    added = len(first) - 4
    assert first == more == list(range(1, 5 + added))
    assert seeds_of(store)[2] == [1, 2, 3, 4]
    assert f"{added} more seeds for each of num_q=2; num_q=1: a true difference of " in " ".join(told.split())
    assert "more seeds after a report at 4 seeds: the next report of ensemble is interim analysis 2 (1 planned)" in told
    assert {run for call in agent.calls for run, _ in call["runs"]} == set(first[4:])
    assert {call["steps"] for call in agent.calls} == {20_000}
    (look,) = recorded(store)
    assert (look["command"], look["seeds"], look["more"]) == ("more", 4, {one: first[4:], two: first[4:]})
    (source,) = sweep_sources(store, ["ensemble"])
    analyses = source.interim_analyses
    assert (analyses.seeds, analyses.planned, analyses.count) == ((4, 4 + added), 1, 2)
    assert [len(config.runs) for config in source.configs] == [4 + added, 4 + added, 4]
    assert three not in look["more"]
    assert "looks/ensemble.json" in store.archived(["ensemble"], [], [], [])


def test_a_dry_run_changes_nothing(typed_in_store: Typed, store: ResultsFolder) -> None:
    before = store.read_sweep("ensemble")
    told = typed_in_store("more", "ensemble", "--cluster", "local", "--dry-run").stdout
    assert "more seeds for each of num_q=2; num_q=1" in told
    assert "interim analysis 2 (1 planned)" in told
    assert store.read_sweep("ensemble") == before
    assert not (store.root / "looks").exists()


def test_what_would_not_help_is_refused_in_one_line(typed_in_store: Typed, store: ResultsFolder) -> None:
    told = typed_in_store("more", "ensemble", "--at-most", "5", code=1).stderr
    assert told.count("\n") == 1
    assert "num_q=2; num_q=1 are not significantly different, and 5 seeds each would not show a difference" in told
    shutil.rmtree(store.attempts.folder(store.attempts.load(_first(store), 0).ref))
    told = typed_in_store("more", "ensemble", code=1).stderr
    assert "ensemble: 1 of 12 runs have not ended (1 new); `sweeps rerun ensemble --all` trains them" in told
    assert "was not submitted" in typed_in_store("more", "nope", code=1).stderr
    assert seeds_of(store) == [[1, 2, 3, 4]] * 3


def test_no_seeds_are_spent_on_what_cannot_win_by_more_than_the_margin(
    typed_in_store: Typed, store: ResultsFolder, synthetic: ModuleType
) -> None:
    synthetic.submitted(store.root.parent / "wide", FINALS, 4, margin=200.0)
    told = CliRunner().invoke(cli, ["--results", str(store.root.parent / "wide"), "more", "ensemble"])
    assert told.exit_code == 1
    assert "no configuration is worth more seeds" in told.output
    assert "`sweeps adopt ensemble --from-verdict` adopts the best configuration" in told.output


def _first(store: ResultsFolder) -> Any:
    (sweep,) = sweeps(store, ["ensemble"])
    return sweep.runs[0].record.ref


def test_seeds_that_submit_adds_after_a_look_are_a_look_too(
    typed_in_store: Typed, store: ResultsFolder, agent: Any
) -> None:
    file = store.root.parent / "mine.yaml"
    file.write_text(PLAN.replace("SEEDS", "seeds: 5, interim_analyses: 3"))
    words = ("submit", "ensemble", "--plan", str(file), "--cluster", "debug")
    agent.ends[5] = RuntimeError("broken")
    assert "interim analysis 2 (3 planned)" in typed_in_store(*words, code=1).stdout
    (look,) = recorded(store)
    assert (look["command"], look["seeds"], list(look["more"].values())) == ("submit", 4, [[5]] * 3)
    again = typed_in_store(*words, "--seeds", "6", code=0).stdout  # nothing has finished since: the same look
    assert "interim analysis 2 (3 planned)" in again
    (look,) = recorded(store)
    assert (look["seeds"], list(look["more"].values())) == (4, [[6]] * 3)
    assert store.read_sweep("ensemble").looks == 3
    assert "interim analysis 3 (3 planned)" in typed_in_store(*words, "--seeds", "7").stdout
    assert [look["seeds"] for look in recorded(store)] == [4, 5]  # 1 to 4, and 6
    assert "look" not in typed_in_store(*words, "--seeds", "7").stdout


def test_the_first_submit_is_no_look(tmp_path: Path, agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.process.gpus", lambda: [])
    (tmp_path / "mine.yaml").write_text(PLAN.replace("SEEDS", "seeds: 1"))
    line = ["--results", str(tmp_path / "r"), "submit", "ensemble", "--plan", str(tmp_path / "mine.yaml")]
    for seeds in ("1", "3"):  # of one seed nothing can be claimed
        result = CliRunner().invoke(cli, [*line, "--cluster", "debug", "--seeds", seeds])
        assert result.exit_code == 0, result.output
    assert not (tmp_path / "r" / "looks").exists()


def test_a_damaged_record_is_an_error_and_not_a_first_look(typed_in_store: Typed, store: ResultsFolder) -> None:
    store.write_interim_analyses("ensemble", [])
    store.interim_analyses_path("ensemble").write_text("{")
    for command in (["more", "ensemble"], ["aggregate", "ensemble"]):
        told = typed_in_store(*command, code=1).stderr
        assert "looks/ensemble.json: not a whole JSON file; move it away to forget earlier interim analyses" in told


def test_looks_that_saw_the_same_seeds_count_once(store: ResultsFolder) -> None:
    interim_analyses.note(
        store, "ensemble", interim_analyses.InterimAnalysis("2026-11-25T10:00:00Z", "me", "more", 2, {})
    )
    interim_analyses.note(
        store, "ensemble", interim_analyses.InterimAnalysis("2026-11-25T11:00:00Z", "me", "more", 4, {})
    )
    (sweep,) = sweeps(store, ["ensemble"])
    assert interim_analyses.of(store, sweep).seeds == (2, 4)  # nothing has finished since the newest


@pytest.mark.parametrize("value", ["0", "6", "two"])
def test_a_plan_says_how_many_looks_it_means(tmp_path: Path, value: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(PLAN.replace("SEEDS", f"interim_analyses: {value}"))
    with pytest.raises(JobsError, match=r"mine\.yaml:4: .*interim_analyses: "):
        plan.load(file)
    file.write_text(PLAN.replace("SEEDS", "seeds: 3") + "interim_analyses: 2\n")
    assert plan.load(file).sweeps[0].interim_analyses == 2
    assert {sweep.interim_analyses for sweep in plan.load().sweeps} == {2}


@pytest.mark.parametrize("declared", [False, True])
def test_a_test_is_not_chosen_after_results_can_be_seen(
    typed_in_store: Typed, store: ResultsFolder, agent: Any, tmp_path: Path, declared: bool
) -> None:
    old = dataclasses.replace(store.read_sweep("ensemble"), paired=declared)
    store.write_sweep(old)
    now, was = (str(value).lower() for value in (not declared, declared))
    (tmp_path / "other.yaml").write_text(f"sweeps: {{ensemble: {{paired: {now}, grid: {{tau: [0.01, 0.02]}}}}}}")
    command = ("submit", "ensemble", "--plan", str(tmp_path / "other.yaml"), "--cluster", "debug")
    told = typed_in_store(*command, code=1).stderr
    assert f"`paired: {now}`: ensemble was submitted with `paired: {was}` and has results" in told
    assert told.count("\n") == 1
    assert store.read_sweep("ensemble") == old
    (tmp_path / "other.yaml").write_text(f"sweeps: {{ensemble: {{paired: {was}, grid: {{tau: [0.01, 0.02]}}}}}}")
    typed_in_store(*command, "--dry-run")


def test_before_there_are_results_the_declaration_of_the_newest_submit_counts(
    typed_in_store: Typed, store: ResultsFolder, agent: Any, tmp_path: Path
) -> None:
    plan = tmp_path / "other.yaml"
    for declared in ("false", "true"):
        plan.write_text(f"sweeps: {{rates: {{paired: {declared}, seeds: 1, grid: {{tau: [0.01, 0.02]}}}}}}")
        typed_in_store("submit", "rates", "--plan", str(plan), "--cluster", "debug")
    assert store.read_sweep("rates").paired
    (source,) = sweep_sources(store, ["rates"])
    assert source.paired
