"""An agent whose primary metric is a loss: lower is better in ranking, worst case, decisions. Numbers by hand.

It trains nothing: the loss of a run is known from its configuration and its seed, 0.01 apart from seed to seed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from aggregate.analysis.summary import SweepSummary, summarise
from aggregate.verdict.verdict import verdict
from jobs import process
from jobs.decide import prune
from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt
from jobs.results.results_folder import ResultsFolder

AGENT = """
import os

from sweepwise.core.agent import AgentDescription
from sweepwise.core.hyperparameters import Hyperparameter
from sweepwise.core.metrics import Catalogue, Metric
from sweepwise.core.shards import ShardWriter
from sweepwise.core.trainable import Outcome, Progress

LOSSES = {0.1: 0.50, 0.2: 0.30, 0.3: 0.90, 0.4: 0.70, 0.5: 0.31}
LOSS = Metric("valid/loss", "eval", "fit", "nat", "down", "loss on held-out data", role="primary", title="loss")


class Fit:
    description = AgentDescription(
        name="fit",
        hyperparameters=(Hyperparameter("rate", 0.1), Hyperparameter("steps", 1000), Hyperparameter("fragile", False)),
        catalogue=Catalogue({LOSS.name: LOSS}, {}),
    )

    def train(self, handles, *, device, threads, settings, should_stop):
        return [self.one(handle) for handle in handles]

    def one(self, handle):
        rate, last = handle.config["rate"], handle.config["steps"]
        if os.environ.get("FIT_HALF"):
            last //= 2
        breaks = handle.config["fragile"] and rate == 0.1 and handle.seed == 3
        log = ShardWriter.of_run(handle)
        for step in range(100, (last // 2 if breaks else last) + 1, 100):
            log.log("eval", step, step, step, {LOSS.name: LOSSES[rate] + 0.01 * (handle.seed - 2)})
            handle.on_progress(Progress(step, last, 1.0, None))
        log.flush(None if breaks or os.environ.get("FIT_HALF") else last)
        if os.environ.get("FIT_HALF"):
            return Outcome("interrupted", last, "told to stop")
        return Outcome("diverged", step, "the loss is NaN") if breaks else Outcome("finished", last, "")
"""
PLAN = """
plan: mine
agent: fitting:Fit
seeds: 3
sweeps:
  rate: {goal: which rate, questions: [{ask: "Which rate?", by: rate}], grid: {rate: [0.1, 0.2, 0.3, 0.4]}}
  fragile: {goal: crashes, grid: {rate: [0.1, 0.2, 0.3]}, fixed: {fragile: yes}}
  close: {goal: a tie, grid: {rate: [0.2, 0.3, 0.5]}}
"""
Typed = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> ResultsFolder:
    (tmp_path / "fitting.py").write_text(AGENT)
    (tmp_path / "mine.yaml").write_text(PLAN)
    return ResultsFolder(tmp_path / "results")


def trained(typed_in_store: Typed, store: ResultsFolder, sweep: str, code: int = 0) -> SweepSummary:
    typed_in_store("submit", sweep, "--plan", str(store.root.parent / "mine.yaml"), "--cluster", "debug", code=code)
    (summary,) = summarise(sweep_sources(store, [sweep])).sweeps
    return summary


def test_the_lowest_loss_leads_and_is_adopted(typed_in_store: Typed, store: ResultsFolder) -> None:
    summary = trained(typed_in_store, store, "rate")
    assert summary.ranking["label"].tolist() == ["rate=0.2", "rate=0.1", "rate=0.4", "rate=0.3"]
    best = summary.ranking.iloc[0]
    half = 4.302653 * 0.01 / 3**0.5  # Student's t with two degrees of freedom, over seeds 0.29, 0.30, 0.31
    assert best["final_primary_mean"] == pytest.approx(0.30)
    assert (best["final_primary_low"], best["final_primary_high"]) == pytest.approx(
        (0.30 - half, 0.30 + half), abs=1e-6
    )
    said = verdict(summary)
    assert said.headline.startswith("rate=0.2 is best, with a final loss of 0.3")
    assert "All of the 3 others are significantly worse" in dict(said.points)["Other configurations"]
    (answer,) = said.answers
    assert "0.2" in answer.short
    plan = str(store.root.parent / "mine.yaml")
    typed_in_store("adopt", "rate", "--plan", plan, "--from-verdict")
    (decision,) = store.read_decisions()
    assert [(settled.key, settled.new) for settled in decision.settled] == [("rate", 0.2)]
    assert decision.evidence is not None
    assert decision.evidence.chosen.mean == pytest.approx(0.30)
    shown = typed_in_store("plan", "--plan", plan).stdout
    assert "final loss" in " ".join(shown.split())


def test_a_diverged_run_counts_as_the_highest_loss(typed_in_store: Typed, store: ResultsFolder) -> None:
    summary = trained(typed_in_store, store, "fragile", code=1)
    ranking = summary.ranking.set_index("label")
    assert ranking.at["rate=0.1", "final_primary_mean"] == pytest.approx((0.49 + 0.50) / 2)
    assert ranking.at["rate=0.1", "start_primary_mean"] == pytest.approx((0.49 + 0.50 + 0.91) / 3)
    curve = summary.start_curves[summary.start_curves["step"] > 500]
    assert curve["mean"].tolist() == pytest.approx([(0.49 + 0.50 + 0.91) / 3] * 5)


def test_more_seeds_are_for_what_is_tied_with_the_lowest(typed_in_store: Typed, store: ResultsFolder) -> None:
    summary = trained(typed_in_store, store, "close")
    assert summary.ranking["label"].tolist() == ["rate=0.2", "rate=0.5", "rate=0.3"]
    said = " ".join(typed_in_store("more", "close", "--cluster", "debug", "--dry-run").stdout.split())
    added = [word for word in said.split() if word.startswith("rate=")]
    assert {"rate=0.2", "rate=0.5"} <= {word.strip(";:,") for word in added}
    assert "rate=0.3" not in said


def test_prune_stops_what_stays_above_the_median(
    typed_in_store: Typed, store: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best of rate 0.3 is 0.9 (mean over seeds); the others' averages are 0.5, 0.3 and 0.7: median 0.5.

    Rate 0.4 has 0.7 against 0.5, 0.3 and 0.9: median 0.5 too. Rate 0.1 has 0.5 against 0.7.
    """
    monkeypatch.setenv("FIT_HALF", "1")
    trained(typed_in_store, store, "rate", code=1)
    (source,) = sweep_sources(store, ["rate"])
    labels = {config.config_id: config.label for config in source.configs}
    pid = os.getpid()
    for config in source.configs:  # a new attempt of each first seed, in this process: they are active
        attempt = Attempt(0, process.host(), pid, process.start_time(pid), time.time(), "cpu")
        store.attempts.claim(RunRef(config.config_id, 1), attempt)
    found = {labels[line.config_id]: line for line in prune.underperforming(store, "rate", 0.25)}
    assert {label: (line.best, line.median) for label, line in found.items()} == {
        "rate=0.3": (pytest.approx(0.9), pytest.approx(0.5)),
        "rate=0.4": (pytest.approx(0.7), pytest.approx(0.5)),
    }
    assert "0.9" in prune.format_pruned(found["rate=0.3"])


def test_runs_that_were_not_evaluated_at_the_end_have_no_final_value(
    typed_in_store: Typed, store: ResultsFolder
) -> None:
    agent = store.root.parent / "fitting.py"
    agent.write_text(
        agent.read_text().replace("// 2 if breaks else last) + 1, 100)", "// 2 if breaks else last) - 99, 100)")
    )
    assert "last) - 99" in agent.read_text()
    summary = trained(typed_in_store, store, "rate")
    said = verdict(summary)
    assert said.headline == "No run has a final loss: no run was evaluated in the last 10 % of training"
    assert said.answers[0].text == "Not answered: no run was evaluated in the last 10 % of training."
    assert "still training" not in dict(said.points)["So far"]


def test_the_report_and_its_tables_are_written(typed_in_store: Typed, store: ResultsFolder, tmp_path: Path) -> None:
    trained(typed_in_store, store, "rate")
    typed_in_store("aggregate", "rate", "--out", str(tmp_path / "report.html"), "--format", "json")
    page = (tmp_path / "report.html").read_text()
    assert "final loss" in page
    assert "final return" not in page
    typed_in_store("plots", "rate", "--out", str(tmp_path / "figures"))
    assert list((tmp_path / "figures").rglob("*.*"))
    assert json.loads(typed_in_store("status", "--json").stdout)["sweeps"][0]["name"] == "rate"
