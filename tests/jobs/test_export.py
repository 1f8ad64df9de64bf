"""`sweeps export`: to files that `sweeps import` reads back, once and while runs go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from aggregate.export import ExportedConfig
from aggregate.inputs.runs import SweepSource, load
from jobs.cli import cli
from jobs.reports import export, imported_curves
from jobs.results.file_lock import try_lock
from jobs.results.results_folder import ResultsFolder

Sweeps = Callable[..., Result]
TOTAL = 20_000
MAPS = {
    "tensorboard": ["--map", "eval_return=return/eval_return_planner,episode_return=return/episode_return"],
    "csv": ["--map", "step=step,eval_return=eval_return_planner,episode_return=episode_return",
            "--path", "{algorithm}/{task}/{seed}/rows.csv"],
}  # fmt: skip


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> ResultsFolder:
    """num_q 1 and 2 with two seeds each, done."""
    made: ResultsFolder = synthetic.submitted(tmp_path_factory.mktemp("submitted") / "results", seeds=2, total=TOTAL)
    return made


@pytest.fixture
def sweeps(submitted: ResultsFolder) -> Sweeps:
    def invoke(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["--results", str(submitted.root), *map(str, words)])
        assert result.exit_code == code, result.output
        assert code == 0 or result.stderr.count("\n") == 1
        return result

    return invoke


def curves(sources: list[SweepSource]) -> dict[tuple[str, int, str], dict[int, float]]:
    """(configuration's label, seed, metric) -> step -> value."""
    labels = {config.config_id: config.label for source in sources for config in source.configs}
    found = {}
    for (config_id, seed), run in load(sources).runs.items():
        for kind, metric in (("eval", "eval_return_planner"), ("episode", "episode_return")):
            rows = run.frames()[kind]
            found[labels[config_id], seed, metric] = dict(zip(rows["step"], rows[metric], strict=True))
    return found


@pytest.mark.parametrize("form", ["tensorboard", "csv"])
def test_what_is_exported_can_be_imported(form: str, submitted: ResultsFolder, sweeps: Sweeps, tmp_path: Path) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    told = sweeps("export", "ensemble", "--format", form, "--out", out).stdout
    assert told.endswith(f"new rows of 4 runs to {out} (4 done)\n")
    sweeps("--results", back, "import", out, "--name", "again", *MAPS[form])
    before = curves(imported_curves.sources(submitted, ["ensemble"])[0])
    after = curves(imported_curves.sources(ResultsFolder(back), ["again"])[0])
    assert len(before) == 8
    kept: Any = np.float32 if form == "tensorboard" else float  # four bytes are all that a scalar of TensorBoard has
    assert {key: {step: float(kept(value)) for step, value in curve.items()} for key, curve in before.items()} == after
    assert sweeps("export", "--format", form, "--out", out).stdout.startswith("wrote 0 new rows of 0 runs")


def test_several_formats_go_into_one_folder(submitted: ResultsFolder, sweeps: Sweeps, tmp_path: Path) -> None:
    both, one = tmp_path / "both", tmp_path / "one"
    told = sweeps("export", "ensemble", "--format", "csv,tensorboard", "--out", both).stdout
    assert told.replace(str(both), str(one)) == sweeps("export", "ensemble", "--out", one).stdout
    assert {path.name for path in one.rglob("*.csv")} == {path.name for path in both.rglob("*.csv")} != set()
    assert len(list(both.rglob("*tfevents*"))) == len(list(both.rglob("rows.csv")))
    for form in ("csv", "tensorboard", "tensorboard,csv"):
        assert sweeps("export", "--format", form, "--out", both).stdout.startswith("wrote 0 new rows of 0 runs")


def test_single_runs_are_exported_by_name(submitted: ResultsFolder, sweeps: Sweeps, tmp_path: Path) -> None:
    first, second = submitted.config_ids()
    sweeps("export", f"{first}/seed-2", second, "--out", tmp_path / "out")
    found = {path.parent.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("rows.csv")}
    assert found == {f"{c}/quadruped-walk/seed-{s}" for c, s in [(first, 2), (second, 1), (second, 2)]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ensembel"], "did you mean ensemble?"),
        (["0123456789"], "0123456789/config.json is missing"),
        (["ensemble", "--format", "wandb", "--out", "/proc/nowhere"], "--out /proc/nowhere"),
    ],
)
def test_what_cannot_be_exported_is_one_line(words: list[str], told: str, sweeps: Sweeps) -> None:
    assert told in sweeps("export", *words, code=1).stderr


def test_two_at_once_do_not_write_to_one_folder(sweeps: Sweeps, tmp_path: Path) -> None:
    assert try_lock(tmp_path / ".lock") is not None
    assert "another `sweeps export` writes there" in sweeps("export", "--out", tmp_path, code=1).stderr
    assert list(tmp_path.iterdir()) == [tmp_path / ".lock"]


def test_it_stays_until_no_run_is_active(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        synthetic.make_sweep(tmp_path / str(index), (600.0,), 1, lean=True, total=TOTAL, states={(0, 1): state})
        for index, state in enumerate(("pending", "running", "done"))
    ]
    rounds = [[ExportedConfig("tried", config, sweep.agent) for config in sweep.configs] for sweep in made]
    told: list[str] = []
    slept: list[float] = []
    monkeypatch.setattr(export, "chosen", lambda store, names: rounds.pop(0))
    out = tmp_path / "out"
    export.export(ResultsFolder(tmp_path), (), out, ["csv"], "", 7.0, told.append, told.append, slept.append)
    assert slept == [7.0, 7.0]
    assert "nothing was exported: no readable metric shards in 1 runs" in told[0]
    assert [line.rpartition("(")[2] for line in told] == ["1 pending)", "1 running)", "1 done)"]
    (path,) = out.rglob("rows.csv")
    assert f'"eval",{TOTAL},' in path.read_text()


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = synthetic.submitted(tmp_path / "results", (600.0,), 1, total=TOTAL)
    (config,) = store.config_ids()
    (store.root / "runs" / config / "seed-1" / "metrics" / "a001-p00009.parquet").write_bytes(b"PAR1")
    result = CliRunner().invoke(cli, ["--results", str(store.root), "export", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert f"warning: {config}/seed-1: a001-p00009.parquet: " in result.stderr
