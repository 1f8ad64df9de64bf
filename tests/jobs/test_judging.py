"""`sweeps aggregate`, `compare` and `plots` at the terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from aggregate.inputs.runs import SweepSource
from jobs.cli import cli
from jobs.reports import report
from jobs.results.attempts import RunRef
from jobs.results.records import SubmittedConfiguration, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.runs import status
from jobs.terminal import tables
from sweepwise.core.errors import AggregateError
from tdmpc.config import TrainConfig, config_id
from tdmpc.description import SCHEMA

Sweeps = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path, synthetic: ModuleType) -> ResultsFolder:
    """num_q 1 and 2 with three seeds each, done."""
    made: ResultsFolder = synthetic.submitted(tmp_path / "results")
    return made


@pytest.fixture
def sweeps(store: ResultsFolder) -> Sweeps:
    def invoke(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["--results", str(store.root), *map(str, words)])
        assert result.exit_code == code, result.output
        assert code == 0 or result.stderr.count("\n") == 1
        return result

    return invoke


def test_aggregate_says_the_verdict(sweeps: Sweeps, tmp_path: Path) -> None:
    lines = sweeps("aggregate", "--out", tmp_path / "report.html").stdout.splitlines()
    assert lines[0] == f"wrote {tmp_path / 'report.html'}"
    assert lines[2].startswith("ensemble: num_q=1 is best, with a final return of ")
    assert "  Missing: Nothing: all 6 runs finished." in lines
    assert [line for line in lines if line != line.rstrip()] == []


def test_status_shows_the_scores_that_a_report_ranked_by(
    sweeps: Sweeps, store: ResultsFolder, synthetic: ModuleType, tmp_path: Path
) -> None:
    def finals() -> list[float | None]:
        (sweep,) = json.loads(sweeps("status", "--json").stdout)["sweeps"]
        return [config["final"] for config in sweep["configurations"]]

    assert finals() == [None, None]
    assert "final" not in sweeps("status").stdout
    sweeps("aggregate", "--out", tmp_path / "report.html", "--format", "csv")
    with (tmp_path / "report-runs.csv").open() as file:
        scores = [(line["label"], float(line["final_primary"])) for line in csv.DictReader(file)]
    means = [statistics.mean(score for label, score in scores if label == f"num_q={q}") for q in (1, 2)]
    assert finals() == pytest.approx(means, rel=1e-6)
    lines = sweeps("status").stdout.splitlines()
    assert lines[1].split()[-1] == "final"
    assert [line.split()[-1] for line in lines[2:4]] == [f"{mean:.0f}" for mean in means]
    run = RunRef(store.read_sweep("ensemble").configs[0].config_id, 1)  # type: ignore[union-attr]
    synthetic.write_run(store.attempts.folder(run), 1, tag="a002", lean=True)
    assert finals() == [None, pytest.approx(means[1], rel=1e-6)]


def test_status_with_scores_fits_80_columns(store: ResultsFolder) -> None:
    console = Console(file=io.StringIO(), width=80)
    (sweep,) = status.sweeps(store)
    long = dataclasses.replace(sweep, rows=tuple((dataclasses.replace(c, label=60 * "x"), r) for c, r in sweep.rows))
    finals = {config.config_id: 123456.0 for config, _ in sweep.rows}
    console.print(tables.configuration_table(long, "return", finals))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert sum(line.endswith("123456") for line in lines) == 2


# --- while runs go on -----------------------------------------------------------------------------------


def keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: list[list[SweepSource]]
) -> tuple[list[str], list[float]]:
    """What is told, and how long is slept, where the sweeps look so from round to round."""
    told: list[str] = []
    slept: list[float] = []
    monkeypatch.setattr(report, "sources", lambda store, names, warn: rounds.pop(0))
    report.keep_reporting(
        ResultsFolder(tmp_path), (), tmp_path / "r.html", ["csv"], 7.0, told.append, told.append, slept.append
    )
    return told, slept


def test_a_report_is_written_again_until_no_run_is_active(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = synthetic.make_sweep(
        tmp_path / "a", (600.0,), 2, lean=True, states={(0, 1): "pending", (0, 2): "pending"}
    )
    half = synthetic.make_sweep(tmp_path / "b", (600.0,), 2, lean=True, states={(0, 2): "running"})
    done = synthetic.make_sweep(tmp_path / "b", (600.0,), 2, lean=True, states={(0, 2): "failed"})
    told, slept = keep(tmp_path, monkeypatch, [[waiting], [half], [done]])
    assert slept == [7.0, 7.0]
    assert "nothing to report yet: no readable metric shards in 2 runs" in told[0]
    assert [line[9:] for line in told[1:]] == [
        f"wrote {tmp_path / 'r.html'} (1 done, 1 {s})" for s in ("running", "failed")
    ]
    assert (tmp_path / "r-runs.csv").is_file()


def test_where_nothing_was_logged_and_nothing_runs_that_is_an_error(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = synthetic.make_sweep(tmp_path / "a", (600.0,), 1, lean=True, states={(0, 1): "new"})
    with pytest.raises(AggregateError, match="no readable metric shards"):
        keep(tmp_path, monkeypatch, [[never]])


# --- two configurations ---------------------------------------------------------------------------------


def test_two_configurations_are_compared(sweeps: Sweeps, store: ResultsFolder, tmp_path: Path) -> None:
    a, b = (config.config_id for config in store.read_sweep("ensemble").configs)  # type: ignore[union-attr]
    by_letter = sweeps("compare", "ensemble:A", "ensemble:B").stdout
    assert by_letter == sweeps("compare", a[:6], b).stdout
    assert by_letter.splitlines()[:2] == [f"A  {a}  num_q=1", f"B  {b}  num_q=2"]
    assert sum(line.startswith("final return, planning") for line in by_letter.splitlines()) == 1
    assert "They differ in: num_q 1 / 2." in by_letter
    told = sweeps("compare", b, "ensemble", "--out", tmp_path / "two.html").stdout
    assert "num_q=1, best of ensemble (selected by its mean, which has selection bias)" in " ".join(told.split())
    text = (tmp_path / "two.html").read_text()
    assert "num_q=1" in text
    assert "num_q=2" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ensemble", "ensemble"), "are the same; name two"),
        (("ensemble", "ensemble:A"), "is the best of ensemble and of ensemble:A; name two configurations"),
        (("ensemble:C", "ensemble"), "has no configuration 'C'; it has A, B"),
        (("ensembel", "ensemble:A"), "did you mean ensemble?"),
        (("ensemble:A", "ensemble:B", "--out", "/nowhere/x.html"), "there is no folder"),
    ],
)
def test_what_cannot_be_compared_is_one_line(sweeps: Sweeps, words: tuple[str, ...], message: str) -> None:
    assert message in sweeps("compare", *words, code=1).stderr


def test_different_tasks_do_not_compare(
    sweeps: Sweeps, store: ResultsFolder, tmp_path: Path, synthetic: ModuleType
) -> None:
    other = TrainConfig(task="walker-walk", steps=20_000)
    store.write_config(SCHEMA.resolve(vars(other)))
    asked = SubmittedConfiguration(config_id(other), "walker", {}, True, [1])
    view = store.read_sweep("ensemble")
    assert isinstance(view, SubmittedSweep)
    store.write_sweep(dataclasses.replace(view, name="walk", configs=[asked], factors=[]))
    told = sweeps("compare", "ensemble", "walk", code=1).stderr
    assert (
        "ensemble is of quadruped-walk and walk is of walker-walk: returns of different tasks cannot be compared"
        in told
    )


# --- figures --------------------------------------------------------------------------------------------


def test_figures_are_written_as_files(sweeps: Sweeps, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    told = sweeps("plots", "ensemble", "--out", out, "--format", "svg, png", "--columns", "2", "--only", "final").stdout
    assert told.splitlines() == [f"wrote {out / f'ensemble-final.{ending}'}" for ending in ("svg", "png")]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--format", "svg,xls"), 2, "'xls' is not one of 'svg', 'pdf', 'png'"),
        (("--only", "final,nope"), 1, "--only nope: sweep ensemble has evaluation-with-planning"),
    ],
)
def test_wrong_options_of_plots_are_one_line(
    sweeps: Sweeps, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    assert message in sweeps("plots", "--out", tmp_path / "figures", *words, code=code).stderr
    assert not (tmp_path / "figures").exists()
