"""Underperforming configurations are stopped when somebody asks for it, never count as finished, and stay stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_slurm import FakeSlurm

from jobs.reports import inputs
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import RunState, given_up

PLAN = """
plan: mine
base: {task: quadruped-walk, steps: 20000}
seeds: 2
sweeps:
  q: {grid: {num_q: [1, 2, 3, 4]}}
"""
FINALS = (600.0, 610.0, 590.0, 100.0)

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, typed: Any, store: ResultsFolder, synthetic: ModuleType) -> Any:
    """`sweeps ...` in this process; eight runs stand at 60 % of their steps, of which the last two are far behind."""
    monkeypatch.setenv("COLUMNS", "250")
    invoke = typed(PLAN)
    invoke("submit", "q")
    for ref, index in runs(store):
        synthetic.write_run(
            store.attempts.folder(ref), ref.seed, final=FINALS[index], rng_key=index, stop_at=0.6, lean=True
        )
    return invoke


def runs(store: ResultsFolder) -> list[tuple[RunRef, int]]:
    configs = store.read_sweep("q").configs
    return [(RunRef(config.config_id, seed), i) for i, config in enumerate(configs) for seed in config.seeds]


def states(run: Any) -> list[str]:
    (sweep,) = json.loads(run("status", "--json").stdout)["sweeps"]
    return [r["state"] for c in sweep["configurations"] for r in c["runs"]]


def test_what_is_stopped_stays_stopped_until_it_is_asked_for(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    told = run("prune", "q", "--dry-run").stdout
    assert "2 runs would be stopped" in told
    assert slurm.calls("scancel") == []
    assert states(run) == ["pending"] * 8

    (first, _), *_ = (pair for pair in runs(store) if pair[1] == 3)
    (submission,) = store.submissions.all()
    place = next(i for i, task in enumerate(submission.tasks) if (task.config_id, task.seeds) == (first.config_id, [1]))
    attempt = Attempt(0, "elsewhere", 1, "", time.time(), "cpu", submission.id, place, submission.job_of(place))
    store.attempts.claim(first, attempt)
    slurm.set(submission.job_of(place), state="RUNNING")
    told = run("prune", "q").stdout
    assert f"num_q=4 ({first.config_id}): underperforming at step 12,000: its best evaluation return was " in told
    assert "of the averages of 3 others until then was" in told
    assert "2 runs stopped" in told
    store.attempts.write_outcome(first, 1, AttemptOutcome("interrupted", 12_000, "told to stop", time.time()))
    assert states(run) == ["pending"] * 6 + ["stopped"] * 2
    assert "underperforming at step 12,000" in run("status", "--runs").stdout
    assert f"runs/{first.config_id}/seed-1/stopped.json" in store.archived(["q"], [first], [], [])
    found = store.attempts.load(first, 20_000)
    assert given_up(found, None, RunState("interrupted")).state == "stopped"  # where no submission was unpacked
    assert given_up(found, "a later one", RunState("interrupted")).state == "interrupted"
    assert "nothing to stop" in run("prune", "q").stdout

    assert "2 stopped are not run again; `sweeps rerun q --stopped` runs them again" in run("submit", "q").stdout
    assert "0 to submit" in run("rerun", "q", "--all", "--cluster", "slurm").stdout
    assert len(store.submissions.all()) == 1
    run("rerun", "q", "--stopped")
    assert [task.seeds for task in store.submissions.all()[-1].tasks] == [[1], [2]]
    assert states(run) == ["pending"] * 8


def test_the_report_says_what_was_stopped_and_how_it_is_scored(
    run: Any, store: ResultsFolder, slurm: FakeSlurm, tmp_path: Path, synthetic: ModuleType
) -> None:
    from aggregate.analysis.summary import summarise
    from aggregate.verdict.verdict import verdict
    from plots.report import render

    run("prune", "q")
    for ref, index in runs(store)[:6]:
        attempt = store.attempts.claim(ref, Attempt(0, "here", 1, "1", 0.0, "cpu"))
        synthetic.write_run(
            store.attempts.folder(ref), ref.seed, final=FINALS[index], rng_key=index, tag="a002", lean=True
        )
        store.attempts.write_outcome(ref, attempt.number, AttemptOutcome("finished", 20_000, "", 0.0))
    summary = summarise(inputs.sweep_sources(store, ["q"]))
    (sweep,) = summary.sweeps
    own = sweep.scores[sweep.scores["config_id"] == runs(store)[-1][0].config_id]
    assert own["final_primary"].isna().all()
    assert own["start_primary"].isna().all()
    points = dict(verdict(sweep).points)
    assert points["Missing"].startswith("2 of 8 runs have no final return: 2 stopped (left out).")
    assert points["Stopped"].startswith("2 of 2 seeds of num_q=4, as underperforming (median stopping rule)")
    assert not points["Next"].startswith("sweeps status")
    page = render(summary)
    assert "2 seeds of" in page
    assert "underperforming at step 12,000" in page


def test_a_stop_that_could_not_be_carried_out_is_none(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    slurm.set("100_3", user="somebody")  # a recycled id: not ours to cancel
    run("prune", "q")
    left = [ref for ref, index in runs(store) if index == 3 and store.attempts.load(ref, 20_000).stopped is None]
    assert len(left) == 1
    assert states(run).count("stopped") == 1
