"""Runs that are excluded with a reason, notes and tags: what they change, where they are shown, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

import sweepwise
from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.verdict.verdict import verdict
from jobs.cli import cli
from jobs.reports import live
from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder

Typed = Callable[..., Result]
PLAN = """
plan: mine
base: {task: quadruped-walk, steps: 20000}
sweeps:
  ensemble: {grid: {num_q: [1, 2, 3]}, seeds: 4}
"""
FINALS = (600.0, 620.0, 300.0)  # by num_q from 1
HERE = ("--cluster", "local")
HOSTILE = "<script>alert(1)</script>"

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def results(tmp_path: Path, synthetic: ModuleType) -> ResultsFolder:
    store: ResultsFolder = synthetic.submitted(tmp_path / "results", FINALS, 4)
    return store


@pytest.fixture
def typed(results: ResultsFolder) -> Typed:
    def run(*command: str, fails: bool = False) -> Result:
        done = CliRunner().invoke(cli, ["--results", str(results.root), *command])
        assert (done.exit_code != 0) == fails, done.output
        return done

    return run


def ids(store: ResultsFolder) -> list[str]:
    sweep = store.read_sweep("ensemble")
    assert sweep is not None
    return [config.config_id for config in sweep.configs]


def judged(store: ResultsFolder) -> SweepSummary:
    return summarise(sweep_sources(store, ["ensemble"])).sweeps[0]


def test_an_excluded_run_is_part_of_no_number(typed: Typed, results: ResultsFolder) -> None:
    first = ids(results)[0]
    before = judged(results)
    typed("exclude", f"{first}/seed-2", "--why", "bad node")
    after = judged(results)
    own = before.scores[before.scores["config_id"] == first].set_index("seed")["final_primary"]
    line = after.ranking.set_index("config_id").loc[first]
    assert line["final_primary_mean"] == pytest.approx(own.drop(2).mean())
    assert (line["planned"], line["final_primary_n"]) == (3, 3)
    for frame in (after.scores, after.runs, after.findings):
        assert (first, 2) not in set(zip(frame["config_id"], frame["seed"], strict=True))
    (excluded,) = after.excluded.runs.to_dict("records")
    assert (excluded["seed"], excluded["state"], excluded["reason"]) == (2, "done", "bad node")
    assert excluded["final_primary"] == own[2]
    typed("exclude", first, "--undo")
    assert judged(results).ranking.equals(before.ranking)


def test_the_headline_says_that_another_configuration_is_best_with_the_excluded_runs(
    typed: Typed, results: ResultsFolder
) -> None:
    before = judged(results)
    best = before.contrasts["config_id"].iloc[0]
    values = before.scores[before.scores["config_id"] == best].sort_values("final_primary")
    other = before.config(before.contrasts["config_id"].iloc[1])
    runs = [f"{best}/seed-{seed}" for seed in values["seed"].iloc[1:]]  # its worst seed is left
    typed("exclude", *runs, "--why", "bad node")
    after = judged(results)
    name = before.config(best).name
    assert after.contrasts["config_id"].iloc[0] == other.config_id
    headline, points = verdict(after).headline, dict(verdict(after).points)
    assert headline.endswith(f"; this leaves out 3 excluded runs, with which {name} is best")
    seeds = ", ".join(map(str, sorted(values["seed"].iloc[1:])))
    assert points["Excluded"] == (
        f"3 runs were excluded by hand: seeds {seeds} of {name} (bad node). With them, {name} is the best "
        "configuration."
    )
    typed("exclude", *runs, "--undo")
    typed("exclude", f"{other.config_id}/seed-1", "--why", "bad node")
    headline, points = verdict(judged(results)).headline, dict(verdict(judged(results)).points)
    assert headline.endswith("; this leaves out 1 excluded run")
    assert points["Excluded"].endswith("With it, the best configuration is the same.")


def test_an_excluded_run_stays_visible(typed: Typed, results: ResultsFolder, tmp_path: Path) -> None:
    first = ids(results)[0]
    typed("exclude", f"{first}/seed-2", f"{first}/seed-3", "--why", f"bad node {HOSTILE}")
    assert f"2 excluded: bad node {HOSTILE}: {first}/seed-2, {first}/seed-3" in typed("status").stdout
    runs = json.loads(typed("status", "--json").stdout)["sweeps"][0]["configurations"][0]["runs"]
    assert [run["excluded"] for run in runs] == [None, f"bad node {HOSTILE}", f"bad node {HOSTILE}", None]
    out = tmp_path / "report.html"
    typed("aggregate", "--out", str(out), "--format", "json")
    page = out.read_text()
    assert "bad node &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert HOSTILE not in page
    assert page.count("excluded 0, seed 2") == 0
    assert "10 done, 2 excluded" in page
    assert [run["seed"] for run in json.loads((tmp_path / "report-excluded.json").read_text())] == [2, 3]
    assert "2 runs were excluded by hand" in typed("compare", first, ids(results)[1]).stdout
    frames = sweepwise.load(results.root)
    assert list(frames.excluded["seed"]) == [2, 3]
    for frame in (frames.rows, frames.evaluations, frames.runs):
        assert set(frame.loc[frame["config_id"] == first, "seed"]) == {1, 4}


def test_a_configuration_whose_runs_are_all_excluded_has_no_result(typed: Typed, results: ResultsFolder) -> None:
    one, two, three = ids(results)
    typed("exclude", one, "--why", "wrong data")
    summary = judged(results)
    assert summary.ranking["config_id"].to_list() == [two, three, one]
    assert summary.ranking["final_primary_n"].to_list() == [4, 4, 0]
    typed("exclude", two, three, "--why", "wrong data")
    assert verdict(judged(results)).headline.startswith("No run has finished yet")


def test_excluded_runs_are_awaited_by_nothing_and_not_trained(typed: Typed, results: ResultsFolder) -> None:
    first, plan = ids(results)[0], ("--plan", str(results.root.parent / "mine.yaml"))
    (results.root.parent / "mine.yaml").write_text(PLAN)
    folder = results.attempts.folder(RunRef(first, 2))
    for path in folder.glob("outcome/*"):
        path.write_text(json.dumps({"format": 1, "state": "failed", "step": 5, "message": "bad", "time": 0.0}))
    for path in folder.glob("metrics/*end*"):
        path.unlink()
    assert "1 to submit" in typed("rerun", "ensemble", "--failed", "--dry-run", *HERE).output
    assert "have not ended (1 failed)" in typed("adopt", "ensemble", "--config", first, *plan, fails=True).output
    assert "have not ended (1 failed)" in typed("more", "ensemble", "--dry-run", fails=True).output
    typed("exclude", f"{first}/seed-2", "--why", "bad node")
    assert "0 to submit" in typed("rerun", "ensemble", "--failed", "--dry-run", *HERE).output
    assert "have not ended" not in CliRunner().invoke(cli, ["--results", str(results.root), "more", "ensemble",
                                                            "--dry-run"]).output  # fmt: skip
    typed("adopt", "ensemble", "--config", first, *plan)


def test_notes_and_tags_are_shown_and_select_runs(typed: Typed, results: ResultsFolder, tmp_path: Path) -> None:
    first, second, _ = ids(results)
    run = f"{first}/seed-2"
    typed("annotate", run, "ensemble", "--note", f"restarted\n by hand {HOSTILE}", "--tag", "paper", "--tag", "old")
    told = typed("annotate", run, f"{second}/seed-1", "--remove-tag", "old", fails=True).output
    assert told == f"Error: {second}/seed-1 has no tag 'old'; its tags: none\n"
    typed("annotate", run, "--remove-tag", "old", "--tag", "paper")
    assert f"{run} tags: paper\n{run} note: restarted by hand {HOSTILE} (" in typed("annotate", run).stdout
    status = typed("status").stdout
    assert "ensemble tags: paper, old" in status
    assert run not in status
    assert f"{run} note: restarted by hand" in typed("status", "--runs").stdout
    chosen = json.loads(typed("status", "--json").stdout)["sweeps"][0]["configurations"][0]["runs"][1]
    assert (chosen["tags"], chosen["notes"]) == (["paper"], [f"restarted by hand {HOSTILE}"])
    assert "1 runs requested" in typed("rerun", "ensemble", "--where", "tag=paper", "--dry-run", *HERE).output
    assert "no run of ensemble matches" in typed("rerun", "ensemble", "--where", "tag=old", *HERE, fails=True).output
    typed("aggregate", "--out", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert page.count("restarted by hand &lt;script&gt;") == 2
    assert page.count('<span class="tag">paper</span>') == 2
    typed("annotate", run, "--clear-notes", "--remove-tag", "paper")
    assert typed("annotate", run).stdout == f"{run} has no notes or tags\n"


def test_annotations_go_with_an_archive(typed: Typed, results: ResultsFolder, tmp_path: Path) -> None:
    run = f"{ids(results)[0]}/seed-2"
    typed("exclude", run, "--why", "bad node")
    typed("annotate", run, "ensemble", "--tag", "paper")
    typed("archive", "--out", str(tmp_path / "all.tar"))
    other = ResultsFolder(tmp_path / "other")
    assert (
        CliRunner().invoke(cli, ["--results", str(other.root), "unarchive", str(tmp_path / "all.tar")]).exit_code == 0
    )
    assert other.annotated_runs() == results.annotated_runs() != {}
    assert other.read_annotations("ensemble").tags == ["paper"]
    assert judged(other).ranking.equals(judged(results).ranking)


def test_the_live_report_notices_an_exclusion(typed: Typed, results: ResultsFolder) -> None:
    before = live.report_update(live.ReportRequest(results.root)).version
    typed("exclude", f"{ids(results)[0]}/seed-2", "--why", "bad node")
    excluded = live.report_update(live.ReportRequest(results.root)).version
    typed("annotate", "ensemble", "--note", "see the paper")
    assert len({before, excluded, live.report_update(live.ReportRequest(results.root)).version}) == 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("exclude", "RUN"), "give --why TEXT, or --undo to analyse the runs again. See `"),
        (("exclude", "RUN", "--undo", "--why", "x"), "give --why TEXT, or --undo"),
        (("exclude", "RUN", "--why", " \n"), "--why: 0 characters; 1 to 1000 are legal"),
        (("exclude", "RUN", "--why", "x" * 1001), "--why: 1001 characters; 1 to 1000 are legal"),
        (("exclude", "0123456789/seed-1", "--why", "x"), "is missing; submit the sweep again"),
        (("exclude", "../x", "--why", "x"), "run '../x': give ID/seed-N"),
        (("annotate", "../x", "--note", "x"), "run '../x': give ID/seed-N"),
        (("annotate", "other", "--note", "x"), "sweep 'other' was not submitted to"),
        (("annotate", "RUN", "--tag", "a b"), "tag 'a b': 1 to 40 letters, digits, '_', '.' and '-' are legal"),
        (("annotate", "RUN", "--note", "good", "--tag", ""), "tag '': 1 to 40 letters"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    typed: Typed, results: ResultsFolder, command: tuple[str, ...], message: str
) -> None:
    run = f"{ids(results)[0]}/seed-1"
    told = typed(*(run if word == "RUN" else word for word in command), fails=True).output
    assert message in told
    assert told.count("\n") == 1
    assert not (results.root / "annotations").exists()


def test_a_damaged_file_is_refused_instead_of_analysing_the_run(typed: Typed, results: ResultsFolder) -> None:
    run = f"{ids(results)[0]}/seed-1"
    typed("exclude", run, "--why", "bad node")
    (path,) = (results.root / "annotations").rglob("*.json")
    path.write_text("{")
    for command in ("status", "aggregate"):
        told = typed(command, fails=True).output
        assert told == f"Error: {path}: not a whole JSON file; move it away to analyse all runs\n"
