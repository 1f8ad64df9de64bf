"""`sweeps compare` of two sweeps as wholes, of two results folders, and of two runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from jobs.cli import cli
from jobs.programs import agent_code
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, CodeFile
from jobs.results.results_folder import ResultsFolder

Compared = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def compared(tmp_path: Path, synthetic: ModuleType) -> Compared:
    """`sweeps compare ...` here, where `ensemble` has configurations that `before` lacks."""
    synthetic.submitted(tmp_path / "before", (600.0, 500.0), 3)
    synthetic.submitted(tmp_path / "results", (650.0, 500.0, 300.0), 3)

    def run(*words: object, code: int = 0) -> Result:
        done = CliRunner(env={"COLUMNS": "200"}).invoke(
            cli, ["--results", str(tmp_path / "results"), "compare", *map(str, words)]
        )
        assert done.exit_code == code, done.output
        return done

    return run


def stores(tmp_path: Path) -> tuple[ResultsFolder, ResultsFolder]:
    return ResultsFolder(tmp_path / "before"), ResultsFolder(tmp_path / "results")


def test_two_results_folders_are_compared_as_wholes(compared: Compared, tmp_path: Path) -> None:
    told = compared("ensemble", "--other-results", tmp_path / "before").stdout
    told_words = " ".join(told.split())
    assert f"A ensemble in {tmp_path}/before, 2 configurations, 6 runs" in told_words
    assert f"B ensemble in {tmp_path}/results, 3 configurations, 9 runs" in told_words
    assert "On average over 2 configurations, the final return of B is +" in told
    assert "3 of 6 results are exactly the same." in told
    assert "Only in B: num_q=3." in told
    document = json.loads(compared("ensemble", "--other-results", tmp_path / "before", "--json").stdout)
    assert [pair["identical"] for pair in document["pairs"]] == [0, 3]
    assert document["b"]["only"] == ["num_q=3"]
    turned = json.loads(
        CliRunner().invoke(cli, ["--results", str(tmp_path / "before"), "compare", "ensemble", "ensemble",
                                 "--other-results", str(tmp_path / "results"), "--json"]).stdout
    )  # fmt: skip
    assert turned["mean"]["estimate"] == pytest.approx(-document["mean"]["estimate"])


def test_excluded_runs_are_counted(compared: Compared, tmp_path: Path) -> None:
    before, _ = stores(tmp_path)
    run = f"{before.config_ids()[0]}/seed-1"
    words = ["--results", str(before.root), "exclude", run, "--why", "bad node"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    told = compared("ensemble", "--other-results", before.root).stdout
    assert "A leaves out 1 excluded run." in told
    assert "of 5 results are exactly the same" in told


def copy_code(store: ResultsFolder, text: str, folder: Path) -> str:
    folder.mkdir()
    (folder / "train.py").write_text(text)
    (folder / "same.py").write_text("x = 1\n")
    paths = [Path("train.py"), Path("same.py")]
    code = agent_code.copy(folder, paths, store.code_folder)
    store.write_code(CodeFile(code, "/r", 0.0, f"commit-{text[:2]}", files=[path.as_posix() for path in paths]))
    return code


def test_two_runs_differ_in_configuration_code_and_versions(compared: Compared, tmp_path: Path) -> None:
    _, store = stores(tmp_path)
    sweep = store.read_sweep("ensemble")
    assert sweep is not None
    runs = [RunRef(config.config_id, 1) for config in sweep.configs[:2]]
    for run, text, torch in zip(runs, ("lr = 1\n", "lr = 2\n"), ("2.12", "2.13"), strict=True):
        code = copy_code(store, text, tmp_path / torch)
        store.attempts.claim(
            run, Attempt(0, f"node-{torch}", 1, "1", 0.0, "cpu", versions={"torch": torch, "numpy": "2"}, code=code,
                         commit=f"c{torch}")
        )  # fmt: skip
    told = compared(*runs).stdout
    assert "hyperparameters: num_q 1 / 2\n" in told
    assert "(commit c2.12) / " in told
    assert "; 1 file differs: train.py\n" in told
    assert "versions: torch 2.12 / 2.13\n" in told
    assert "host: node-2.12 / node-2.13\n" in told
    assert "numpy" not in told
    lines = compared(*runs, "--code-diff").stdout.splitlines()
    assert lines[-5:] == [f"--- {runs[0]}/train.py", f"+++ {runs[1]}/train.py", "@@ -1 +1 @@", "-lr = 1", "+lr = 2"]
    document = json.loads(compared(*runs, "--code-diff", "--json").stdout)
    assert document["changed_files"] == ["train.py"]
    assert document["code_difference"][-1] == "+lr = 2"


def test_the_same_run_in_two_folders(compared: Compared, tmp_path: Path) -> None:
    before, store = stores(tmp_path)
    run = RunRef(store.config_ids()[0], 2)
    if run.config_id not in before.config_ids():
        run = RunRef(before.config_ids()[0], 2)
    told = compared(run, "--other-results", before.root).stdout
    assert told.endswith("no difference in configuration, code, versions or machine\n")
    told = compared(run, "--other-results", before.root, "--code-diff", code=1).stderr
    assert told.startswith("Error: the copy of the code of one of the runs is missing")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ensemble",), "only ensemble is given; name two to compare, or give --other-results FOLDER"),
        (("ensemble", "ensemble", "--whole"), "ensemble is compared with itself; name two sweeps, or another folder"),
        (("ensemble", "other", "--whole"), "sweep 'other' was not submitted to"),
        (("ensemble", "--other-results", "nowhere"), "nothing was submitted to"),
        (
            ("ensemble", "ensemble", "--code-diff"),
            "--code-diff compares two runs (ID/seed-N), and ensemble is not a run",
        ),
        (("ensemble", "x", "--whole", "--out", "x.html"), "--out writes the report of two configurations"),
        (("0123456789/seed-1", "ensemble"), "0123456789/config.json is missing"),
    ],
)
def test_bad_input_is_one_line(compared: Compared, words: tuple[str, ...], message: str) -> None:
    told = compared(*words, code=1).stderr
    assert message in told
    assert told.count("\n") == 1
