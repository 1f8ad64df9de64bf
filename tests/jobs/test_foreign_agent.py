"""Export, import, comparison and the terminal for agents with metrics of their own."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from aggregate.export import ExportedConfig, Folder
from aggregate.importers import CurveImportError, ImportOptions, collect
from aggregate.inputs.runs import SweepSource
from aggregate.verdict.compare_two import compare
from jobs.reports import compare as sides
from jobs.results.decision_records import Decision, Evidence, Measured
from jobs.results.results_folder import ResultsFolder
from jobs.terminal import decisions, tables
from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import JobsError
from sweepwise.core.hyperparameters import Hyperparameter
from sweepwise.core.metrics import Catalogue, Metric
from sweepwise.frames import Results

# Metrics that the made-up shards hold, in roles that they do not have in the packaged agent.
METRICS = (
    Metric("value_bias", "eval", "test set", "nat", "down", role="primary", title="test loss"),
    Metric("pi_loss", "train", "the loss"),
)
AGENT = AgentDescription(
    "net", (Hyperparameter("steps", 20_000),), Catalogue({metric.name: metric for metric in METRICS}, {})
)


def of_agent(sweep: SweepSource, name: str = "digits") -> SweepSource:
    return dataclasses.replace(sweep, name=name, agent=AGENT)


def test_runs_are_exported_with_the_metrics_of_their_agent(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep = synthetic.make_sweep(tmp_path / "runs", (600.0,), 1, points=4, evaluations=2)
    folder = Folder(tmp_path / "out", ["csv"], "")
    folder.export([ExportedConfig("digits", sweep.configs[0], AGENT)], live=False)
    (path,) = (tmp_path / "out").rglob("rows.csv")
    heading = path.read_text().partition("\n")[0].replace('"', "").split(",")
    assert heading == ["kind", "step", "frames", "update", "time", "event", "value_bias", "pi_loss", "nonfinite"]
    folder = Folder(tmp_path / "events", ["tensorboard"], "")
    folder.export([ExportedConfig("digits", sweep.configs[0], AGENT)], live=False)
    (path,) = (tmp_path / "events").rglob("events.out.*")
    content = path.read_bytes()
    assert b"test_set/value_bias" in content
    assert b"the_loss/pi_loss" in content
    assert b"return" not in content


@pytest.mark.parametrize("short", ["primary", "eval_return"])
def test_the_short_name_of_an_import_is_the_primary_metric(short: str, tmp_path: Path) -> None:
    path = tmp_path / "SGD.csv"
    path.write_text("step,nll\n10,0.5\n")
    options = ImportOptions.of([f"step=step,{short}=nll"], AGENT.catalogue, task="digits", algorithm="SGD")
    (curve,) = collect([path], options).curves
    assert curve.points == {("eval", 10): {"value_bias": 0.5}}


def test_a_metric_of_that_name_is_meant_first() -> None:
    named = Metric("primary", "train")
    catalogue = Catalogue({**AGENT.catalogue.metrics, "primary": named}, {})
    assert ImportOptions.of(["primary=x"], catalogue).metrics == {"primary": "x"}


def test_advice_names_what_the_agent_has(tmp_path: Path) -> None:
    path = tmp_path / "SGD.csv"
    path.write_text("step,nll\n10,0.5\n")
    with pytest.raises(CurveImportError, match=r"as in --map step=COLUMN,primary=COLUMN; it has step, nll$"):
        collect([path], ImportOptions.of(["step=step"], AGENT.catalogue, task="digits", algorithm="SGD"))


def test_configurations_of_two_agents_do_not_compare(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = synthetic.make_sweep(tmp_path / "a", (600.0, 500.0), 1, lean=True)
    ids = [dataclasses.replace(config, config_id=f"f{config.config_id[1:]}") for config in first.configs]
    other = of_agent(dataclasses.replace(first, configs=tuple(ids)))
    monkeypatch.setattr(sides, "sweep_sources", lambda store, names: [first, other])
    said = r"^ensemble:A is of agent tdmpc, {} of net; compare configurations of one agent$"
    for text in ("digits", "digits:B", "f000000001"):
        with pytest.raises(JobsError, match=said.format(text)):
            sides.sides(ResultsFolder(tmp_path), ("ensemble:A", text))
    a, b = sides.sides(ResultsFolder(tmp_path), ("digits:A", "digits:B"))
    assert sides.source(a, b).agent is AGENT


def test_results_of_different_tasks_are_named_by_the_agent(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = of_agent(synthetic.make_sweep(tmp_path / "a", (600.0, 500.0), 1, lean=True))
    one, two = sweep.configs
    sweep = dataclasses.replace(sweep, configs=(one, dataclasses.replace(two, config={"task": "letters"})))
    monkeypatch.setattr(sides, "sweep_sources", lambda store, names: [sweep])
    with pytest.raises(JobsError, match="test loss of different tasks cannot be compared"):
        sides.sides(ResultsFolder(tmp_path), ("digits:A", "digits:B"))


def test_the_table_of_a_comparison_is_in_the_words_of_the_agent(
    load_script: Callable[[str], ModuleType], tmp_path: Path, synthetic: ModuleType
) -> None:
    foreign = load_script("tests/aggregate/foreign.py")
    (sweep,) = foreign.make_summary(tmp_path, synthetic).sweeps
    a, b = (config.config_id for config in sweep.source.configs)
    made = [sides.Side(name, (config,), sweep.source.agent)
            for name, config in zip("ab", sweep.source.configs, strict=True)]  # fmt: skip
    file = io.StringIO()
    console = Console(file=file, width=160)
    for part in tables.comparison(sweep, compare(sweep, a, b), made, 160):
        console.print(part)
    lines = file.getvalue().splitlines()
    assert lines[2].split("  ")[-1] == "P(B below A)"
    assert lines[3].startswith("final test/loss   0.410 [0.385, 0.435]")
    assert "return" not in file.getvalue()


def decision(mean: float, low: float, high: float) -> Decision:
    measured = Measured("abc", "width=1", mean, low, high, 3)
    evidence = Evidence(measured, None, measured, [])
    return Decision("mine", "digits", "verdict", "abc", [], {}, evidence, "", "2026", "me")


def test_decisions_have_the_words_and_digits_of_the_agent() -> None:
    (loss,) = decisions.decision_lines([decision(0.41, 0.385, 0.435)], "test/loss")
    assert loss.plain.endswith("by me, verdict abc: final test/loss 0.41 [0.385, 0.435], n=3")
    (packaged,) = decisions.decision_lines([decision(812.4, 790.0, 833.0)], "return")
    assert packaged.plain.endswith("by me, verdict abc: final return 812 [790, 833], n=3")


def test_frames_repeat_the_primary_metric(tmp_path: Path, synthetic: ModuleType) -> None:
    packaged: Any = synthetic.make_sweep(tmp_path / "a", (600.0,), 1, points=4, evaluations=2)
    own = of_agent(synthetic.make_sweep(tmp_path / "b", (600.0,), 1, points=4, evaluations=2))
    alone = Results(tmp_path, (own,)).evaluations
    assert "eval_return" not in alone
    assert alone["primary"].tolist() == alone["value_bias"].tolist()
    assert alone["primary"].notna().all()
    renamed = dataclasses.replace(own.configs[0], config_id="f" * 10)
    run = dataclasses.replace(renamed.runs[0], config_id="f" * 10)
    own = dataclasses.replace(own, configs=(dataclasses.replace(renamed, runs=(run,)),))
    both = Results(tmp_path, (packaged, own)).evaluations
    returns, losses = both[both["sweep"] == "ensemble"], both[both["sweep"] == "digits"]
    assert returns["primary"].tolist() == returns["eval_return"].tolist() == returns["eval_return_planner"].tolist()
    assert losses["primary"].tolist() == losses["value_bias"].tolist()
    assert losses["eval_return"].isna().all()
