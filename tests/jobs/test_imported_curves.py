"""`sweeps import`, and what it does to `aggregate`: nothing but set curves beside a sweep."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from aggregate.analysis.summary import Summary, summarise
from jobs.cli import cli
from jobs.reports import imported_curves
from jobs.results.results_folder import ResultsFolder
from plots.report import render
from sweepwise.core import atomic

MAP = ("--map", "step=step,eval_return=reward,seed=seed")
TOTAL = 20_000  # agent steps


def publish(folder: Path, heights: dict[str, float], task: str = "quadruped-walk", seeds: int = 3) -> Path:
    """A folder per algorithm with a file for the task, in frames: columns and rows as TD-MPC2 publishes them."""
    rng = random.Random(0)
    for algorithm, height in heights.items():
        lines = ["step,reward,seed"]
        for seed in range(1, seeds + 1):
            lines += [f"{x},{height * (1 - math.exp(-x / TOTAL)) + rng.gauss(0, 9):.1f},{seed}"
                      for x in range(0, 4 * TOTAL + 1, TOTAL // 4)]  # fmt: skip
        (folder / algorithm).mkdir(parents=True, exist_ok=True)
        (folder / algorithm / f"{task}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def sweeps(tmp_path: Path) -> Callable[..., Result]:
    def invoke(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["--results", str(tmp_path / "results"), *map(str, words)])
        assert result.exit_code == code, result.output
        assert code == 0 or result.stderr.count("\n") == 1
        return result

    return invoke


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> ResultsFolder:
    """A sweep of two configurations, trained, with an import beside it."""
    folder = tmp_path_factory.mktemp("submitted")
    store = synthetic.submitted(folder / "results", total=TOTAL)
    publish(folder / "pub", {"TDMPC2": 900, "SAC": 300})
    publish(folder / "pub", {"SAC": 500}, task="walker-walk")
    imported_curves.take(store, "published", [folder / "pub"], MAP[1:], frames_per_step=2)
    return store


@pytest.fixture(scope="module")
def both(submitted: ResultsFolder) -> Summary:
    sources, told = imported_curves.sources(submitted, [])
    assert told == []
    return summarise(sources)


def test_an_import_changes_nothing_that_is_said_of_the_sweep(submitted: ResultsFolder, both: Summary) -> None:
    (alone,) = summarise(imported_curves.sources(submitted, ["ensemble"])[0]).sweeps
    (beside,) = both.sweeps
    for name in ("runs", "curves", "events", "scores", "ranking", "contrasts", "baseline", "findings", "votes"):
        # of the categories, all identities that were read, only those that occur say something of the sweep
        one, other = getattr(alone, name), getattr(beside, name)
        pd.testing.assert_frame_equal(one, other, check_categorical=False, obj=name)
    for name in ("returns", "interactions", "diagnostics", "odds"):
        pd.testing.assert_frame_equal(getattr(alone.effects, name), getattr(beside.effects, name), obj=name)
    assert (alone.random, alone.total_steps) == (beside.random, beside.total_steps)
    assert alone.imported is None


def test_imported_curves_are_cut_at_the_sweeps_last_step_and_set_against_its_baseline(both: Summary) -> None:
    (sweep,) = both.sweeps
    found = sweep.imported
    assert found is not None
    assert [config.label for config in sweep.source.imported] == ["SAC", "TDMPC2"]
    assert found.curves["step"].max() == TOTAL
    assert found.ranking["label"].tolist() == ["TDMPC2", "SAC"]
    assert found.ranking["final_primary_n"].tolist() == [3, 3]
    assert found.scores["final_points"].tolist() == [1] * 6  # published every 2,500 steps: one in the last 2,000
    last = found.seeds["eval"].set_index(["config_id", "seed", "step"])["eval_return_planner"]
    for line in found.scores.to_dict("records"):
        assert line["final_primary"] == last[line["config_id"], line["seed"], TOTAL]
    contrasts = found.baseline.set_index("config_id")
    base = sweep.ranking.loc[sweep.ranking["is_baseline"], "final_primary_mean"].item()
    for line in found.ranking.to_dict("records"):
        assert contrasts.at[line["config_id"], "difference"] == pytest.approx(line["final_primary_mean"] - base)


def test_the_report_marks_what_is_imported(both: Summary) -> None:
    text = render(both)
    assert text.count("imported: published") > 4
    assert "TDMPC2" in text
    assert "Imported curves have no rank" in text
    ranking = text.partition('<table class="ranking">')[2].partition("</table>")[0]
    own, _, imported = ranking.partition("Imported curves, not ranked</th>")
    assert ("imported: published" in own, imported.count("imported: published")) == (False, 2)
    assert imported.index("TDMPC2") < imported.index("SAC")  # the best mean first
    assert "6 done." in text  # the sweep's own runs


def test_imports_by_themselves_are_a_sweep_per_task(submitted: ResultsFolder, sweeps: Callable[..., Result]) -> None:
    sources, _ = imported_curves.sources(submitted, ["published"])
    assert [source.name for source in sources] == ["published.quadruped-walk", "published.walker-walk"]
    (one,), _ = imported_curves.sources(submitted, ["published.quadruped-walk"])
    summary = summarise([one])
    assert summary.sweeps[0].total_steps == 2 * TOTAL
    assert summary.sweeps[0].contrasts["distinct"].tolist() == [False, True]
    text = render(summary)
    assert "TDMPC2 is best, with a final return" in text
    assert "<dt>Logged between</dt><dd>unknown</dd>" in text


def test_algorithms_of_unequal_length_are_judged_where_all_are(tmp_path: Path, store: ResultsFolder) -> None:
    publish(tmp_path / "pub", {"A": 100, "B": 100})
    short = tmp_path / "pub" / "B" / "quadruped-walk.csv"
    short.write_text("".join(line for line in short.open() if not line.startswith("80000,")))
    imported_curves.take(store, "x", [tmp_path / "pub"], MAP[1:])
    (source,), _ = imported_curves.sources(store, [])
    assert {config.total_steps for config in source.configs} == {75_000}
    assert source.goal == "Imported curves, up to the last step that all of them reach (75,000)"


def test_names_that_fit_nothing_are_told(
    submitted: ResultsFolder, tmp_path: Path, sweeps: Callable[..., Result]
) -> None:
    root = ("--results", str(submitted.root))
    out = ("--out", tmp_path / "x.html")
    for words, told in [
        (["aggregate", "publshed"], "'publshed' was neither submitted"),
        (["aggregate", "published.walker-run"], "has no task 'walker-run'; did you mean walker-walk"),
        (["import", tmp_path, "--name", "ensemble", *MAP], "a sweep of"),
        (["import", tmp_path, "--name", "../x", *MAP], "name '../x': letters"),
        (["import", tmp_path, *MAP], "give the curves a name"),
        (["import", "--name", "x"], "no FILE to import"),
    ]:
        result = CliRunner().invoke(cli, [*root, *map(str, words)])
        assert result.exit_code == 1
        assert told in result.stderr
        assert result.stderr.count("\n") == 1
    warned = CliRunner().invoke(cli, [*root, "aggregate", "ensemble", "published.walker-walk", *map(str, out)])
    assert warned.exit_code == 0, warned.output
    assert "warning: published has no curves for tasks of these sweeps, only for walker-walk" in warned.stderr


def test_frames_of_another_length_are_not_set_beside(submitted: ResultsFolder, tmp_path: Path) -> None:
    publish(tmp_path / "pub", {"A": 100})
    imported_curves.take(submitted, "other", [tmp_path / "pub"], MAP[1:], frames_per_step=4)
    (source,), told = imported_curves.sources(submitted, ["ensemble", "other"])
    assert source.imported == ()
    assert told[0] == "other has 4 frames per step and ensemble 2: not shown next to it"
    (submitted.import_path("other")).unlink()


def test_what_is_imported_is_listed_and_nobody_elses(tmp_path: Path, sweeps: Callable[..., Result]) -> None:
    publish(tmp_path / "pub", {"A": 100, "B": 100})
    sweeps("import", tmp_path / "pub", "--name", "mine", *MAP)
    listed = sweeps("import").stdout
    assert [line.split()[:6] for line in listed.splitlines()[1:]] == [
        ["mine", name, "quadruped-walk", "3", "3", "80,000"] for name in "AB"
    ]
    assert "mine" not in sweeps("status").stdout
    assert "was not submitted" in sweeps("rerun", "mine", "--all", code=1).stderr
    sweeps("aggregate", "mine", "--out", tmp_path / "x.html")


def test_importing_again_replaces_whole(tmp_path: Path, store: ResultsFolder) -> None:
    first, _ = imported_curves.take(store, "x", [publish(tmp_path / "one", {"A": 100, "B": 100})], MAP[1:])
    second, _ = imported_curves.take(store, "x", [publish(tmp_path / "two", {"B": 200})], MAP[1:])
    assert store.read_import("x") == second
    assert {config.algorithm for config in second.configs} == {"B"}
    assert second.configs[0].config_id == first.configs[1].config_id  # the same curve, wherever it was imported from
    assert sorted(path.name for path in store.import_path("x").parent.iterdir()) == [second.data, "import.json"]


def test_a_faulty_file_or_a_full_disk_leaves_what_was_there(
    tmp_path: Path, store: ResultsFolder, monkeypatch: pytest.MonkeyPatch, sweeps: Callable[..., Result]
) -> None:
    good = publish(tmp_path / "pub", {"A": 100})
    before, _ = imported_curves.take(store, "x", [good], MAP[1:])
    (good / "A" / "walker-walk.csv").write_text("step,reward,seed\n1,2,3\n1,nope,3\n")
    told = sweeps("import", good, "--name", "x", *MAP, code=1).stderr
    assert "walker-walk.csv, line 3, column 'reward': 'nope' is no number" in told
    (good / "A" / "walker-walk.csv").unlink()

    written: list[Path] = []

    write = atomic.write

    def full(path: Path, *arguments: Any, **named: Any) -> None:
        if path.suffix != ".parquet":
            write(path, *arguments, **named)
            return
        written.append(path)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(atomic, "write", full)
    assert "No space left on device" in sweeps("import", good, "--name", "x", *MAP, code=1).stderr
    assert written
    assert store.read_import("x") == before
    assert sorted(path.name for path in store.import_path("x").parent.iterdir()) == sorted([before.data, "import.json"])


def test_a_foreign_record_is_a_problem_and_no_crash(tmp_path: Path, store: ResultsFolder) -> None:
    made, _ = imported_curves.take(store, "x", [publish(tmp_path / "pub", {"A": 100})], MAP[1:])
    path = store.import_path("x")
    path.write_text(path.read_text().replace(made.data, "../../../etc"))
    assert store.read_import("x") is None
    assert "not an import of this program" in store.problems[path]


def test_a_hundred_tasks_of_four_algorithms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweeps: Callable[..., Result]
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    for task in range(100):
        for algorithm in ("TDMPC2", "SAC", "DreamerV3", "TDMPC"):
            path = tmp_path / "pub" / algorithm / f"task-{task}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"step,reward,seed\n0,1,1\n100,{task},1\n0,2,2\n100,{task + 1},2\n")
    told = sweeps("import", tmp_path / "pub", "--name", "all", "--frames-per-step", 2, *MAP).stdout
    assert [line.split()[:6] for line in told.splitlines()[1:5]] == [
        ["all", name, "100", "2", "200", "50"] for name in ("DreamerV3", "SAC", "TDMPC", "TDMPC2")
    ]
    assert told.splitlines()[-2:] == [
        "`sweeps aggregate SWEEP all` shows them next to a sweep of their task",
        "`sweeps aggregate all` compares them over all tasks",
    ]


def test_a_dry_run_says_what_is_recognised_and_refused_and_writes_nothing(
    sweeps: Callable[..., Result], tmp_path: Path
) -> None:
    publish(tmp_path / "pub", {"TDMPC2": 900, "SAC": 300})
    said = sweeps("import", tmp_path / "pub", "--dry-run", "--frames-per-step", 2).output
    assert "TD-MPC2 results" in said
    assert "environment frames, 2 to a step" in said
    assert not (tmp_path / "results").exists()
    (tmp_path / "pub" / "SAC" / "broken.csv").write_text("step,reward,seed\n0,x,1\n")
    words = ["--results", tmp_path / "results", "import", tmp_path / "pub", "--dry-run", "--frames-per-step", 2]
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code != 0
    assert "line 2, column 'reward': 'x' is no number" in result.stderr
    assert "Error: 1 of the files would be refused; nothing was written" in result.stderr
    assert "TD-MPC2 results" in result.stdout


def test_the_command_offers_the_faults_that_an_import_knows() -> None:
    from aggregate.importers import KINDS
    from jobs.cli.imports import ACCEPTED

    assert tuple(KINDS) == ACCEPTED
