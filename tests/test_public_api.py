"""`sweepwise.load`: its frames by hand, what it warns of and refuses, what it imports."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import pytest

import sweepwise
from sweepwise.core.shards import ShardWriter
from tdmpc.metrics import CATALOGUE

TOTAL = 20_000  # agent steps that the sweep asks for
# (configuration, seed) -> evaluation returns at steps 10,000, 20,000 and 30,000.
RETURNS = {(0, 1): (10.0, 30.0, 99.0), (0, 2): (20.0, 50.0, 99.0), (1, 1): (1.0, 2.0, 99.0), (1, 2): (3.0, 6.0, 99.0)}
HEAVY = {"pandas", "numpy", "torch", "pyarrow", "matplotlib", "seaborn", "scipy", "click", "mujoco"}


def run_folders(results: Path) -> dict[tuple[int, int], Path]:
    """(place of the configuration in its sweep, seed) -> folder."""
    configs = json.loads((results / "sweeps" / "ensemble.json").read_text())["configs"]
    ids = [config["config_id"] for config in configs]
    return {(i, seed): results / "runs" / name / f"seed-{seed}" for i, name in enumerate(ids) for seed in (1, 2)}


@pytest.fixture
def results(tmp_path: Path, synthetic: ModuleType) -> Path:
    """num_q=1 and num_q=2, two seeds each, with the evaluations of `RETURNS`."""
    root = tmp_path / "results"
    synthetic.submitted(root, (600.0, 300.0), 2, total=TOTAL)
    for key, folder in run_folders(root).items():
        shutil.rmtree(folder / "metrics")
        writer = ShardWriter(folder, "a001", {}, lambda: True, CATALOGUE)
        for step, value in zip((10_000, 20_000, 30_000), RETURNS[key], strict=True):
            final = float(step == TOTAL)
            writer.log("train", step, 2 * step, step, {"pi_loss": -value, "log_std_per_dim": [value, 0.0]})
            writer.log("episode", step, 2 * step, step, {"episode_return": value / 2, "episode_length": 5.0})
            writer.log("eval", step, 2 * step, step, {"eval_return_planner": value, "eval_is_final": final})
        writer.flush()
    return root


def test_evaluations_have_one_row_per_run_and_evaluation(results: Path) -> None:
    frame = sweepwise.load(results).evaluations
    columns = ["sweep", "label", "num_q", "seed", "step", "frames", "eval_return", "eval_is_final"]
    assert frame[columns].to_numpy().tolist() == [
        ["ensemble", "num_q=1", 1, 1, 10_000, 20_000, 10.0, 0.0],
        ["ensemble", "num_q=1", 1, 1, 20_000, 40_000, 30.0, 1.0],
        ["ensemble", "num_q=1", 1, 2, 10_000, 20_000, 20.0, 0.0],
        ["ensemble", "num_q=1", 1, 2, 20_000, 40_000, 50.0, 1.0],
        ["ensemble", "num_q=2", 2, 1, 10_000, 20_000, 1.0, 0.0],
        ["ensemble", "num_q=2", 2, 1, 20_000, 40_000, 2.0, 1.0],
        ["ensemble", "num_q=2", 2, 2, 10_000, 20_000, 3.0, 0.0],
        ["ensemble", "num_q=2", 2, 2, 20_000, 40_000, 6.0, 1.0],
    ]
    assert frame["eval_return_planner"].equals(frame["eval_return"].rename("eval_return_planner"))
    assert frame["is_baseline"].tolist() == [True] * 4 + [False] * 4


def test_training_and_episodes_have_the_same_columns_of_their_configuration(results: Path) -> None:
    loaded = sweepwise.load(results)
    names = [*loaded.evaluations.columns[: loaded.evaluations.columns.get_loc("eval_return")]]
    assert loaded.training.columns.tolist() == [*names, "log_std_per_dim", "pi_loss"]
    assert loaded.training["pi_loss"].tolist() == [-10.0, -30.0, -20.0, -50.0, -1.0, -2.0, -3.0, -6.0]
    assert loaded.training["log_std_per_dim"].tolist()[0].tolist() == [10.0, 0.0]
    assert loaded.episodes.columns.tolist() == [*names, "episode_return", "episode_length"]
    assert loaded.episodes["episode_return"].tolist() == [5.0, 15.0, 10.0, 25.0, 0.5, 1.0, 1.5, 3.0]


def test_seaborn_draws_the_mean_over_seeds_and_a_band(results: Path) -> None:
    import seaborn as sns

    mpl.use("agg")
    import matplotlib.pyplot as plt

    loaded = sweepwise.load(results)
    _, axes = plt.subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sns.lineplot(data=loaded.evaluations, x="step", y="eval_return", hue="label", ax=axes)
    drawn = [line.get_xydata().tolist() for line in axes.get_lines() if len(line.get_xydata())]
    assert drawn == [[[10_000.0, 15.0], [20_000.0, 40.0]], [[10_000.0, 2.0], [20_000.0, 4.0]]]
    assert len(axes.collections) == 2  # the bands
    # The bootstrap interval of two seeds is their range.
    assert axes.collections[0].get_datalim(axes.transData).extents.tolist() == [10_000.0, 10.0, 20_000.0, 50.0]
    plt.close("all")


def test_frames_of_the_report_are_the_same_as_before(results: Path) -> None:
    from aggregate.analysis.summary import summarise
    from aggregate.export.frames import LEVELS, frames
    from jobs.reports import imported_curves
    from jobs.results.results_folder import ResultsFolder

    sources, _ = imported_curves.sources(ResultsFolder(results), ())
    expected = frames(summarise(sources))
    loaded = sweepwise.load(results)
    for level in LEVELS:
        assert getattr(loaded, level).equals(getattr(expected, level)), level
    assert loaded.runs["final_primary"].tolist() == [20.0, 35.0, 1.5, 4.5]  # the mean of the two evaluations


def test_a_run_of_two_sweeps_has_rows_for_both(results: Path) -> None:
    view = json.loads((results / "sweeps" / "ensemble.json").read_text())
    view |= {"name": "rates", "factors": ["tau"]}
    view["configs"] = [{**view["configs"][0], "label": "tau=0.5", "factors": {"tau": 0.5}}]
    (results / "sweeps" / "rates.json").write_text(json.dumps(view))
    both = sweepwise.load(results).evaluations
    assert both.groupby("sweep")["eval_return"].sum().to_dict() == {"ensemble": 122.0, "rates": 110.0}
    assert both["num_q"].isna().tolist() == [False] * 8 + [True] * 4
    assert both["tau"].tolist()[8:] == [0.5] * 4
    one = sweepwise.load(results, "rates").evaluations
    assert "num_q" not in one
    assert one["label"].unique().tolist() == ["tau=0.5"]
    assert len(sweepwise.load(results, ["rates", "ensemble"]).evaluations) == 12


def test_a_swept_hyperparameter_with_the_name_of_a_metric_keeps_its_column(results: Path) -> None:
    path = results / "sweeps" / "ensemble.json"
    path.write_text(path.read_text().replace('"num_q": ', '"pi_loss": '))
    frame = sweepwise.load(results).training
    assert frame["pi_loss"].tolist() == [1] * 4 + [2] * 4
    assert frame["pi_loss_logged"].tolist()[:2] == [-10.0, -30.0]


def test_runs_without_evaluations_give_an_empty_frame(results: Path) -> None:
    for folder in run_folders(results).values():
        shutil.rmtree(folder / "metrics")
        writer = ShardWriter(folder, "a001", {}, lambda: True, CATALOGUE)
        writer.log("train", 5, 10, 5, {"pi_loss": 1.0})
        writer.flush()
    loaded = sweepwise.load(results)
    assert len(loaded.training) == 4
    assert len(loaded.evaluations) == 0
    assert {"sweep", "label", "num_q", "seed", "step", "eval_return"} <= set(loaded.evaluations)


def test_the_default_folder(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEPS_RESULTS", raising=False)
    monkeypatch.chdir(results.parent)
    assert len(sweepwise.load().runs) == 4
    monkeypatch.chdir("/")
    monkeypatch.setenv("SWEEPS_RESULTS", str(results))
    assert len(sweepwise.load().runs) == 4


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_sweeps_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(sweepwise.SweepsError, match=rf"^nothing was submitted to {tmp_path / name};.*$"):
        sweepwise.load(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_unknown_sweep_is_an_error_that_names_the_known_ones(results: Path) -> None:
    with pytest.raises(sweepwise.SweepsError, match=r"ensembel.*ensemble") as raised:
        sweepwise.load(results, "ensembel")
    assert "\n" not in str(raised.value)


def test_a_damaged_record_is_left_out_with_a_warning(results: Path) -> None:
    (results / "sweeps" / "broken.json").write_text("{")
    with pytest.warns(UserWarning, match=r"broken\.json: not a whole JSON file") as seen:
        loaded = sweepwise.load(results)
    assert seen[0].filename == __file__
    assert len(loaded.evaluations) == 8


def test_a_damaged_shard_is_left_out_with_one_warning(results: Path) -> None:
    (shard,) = (run_folders(results)[1, 2] / "metrics").iterdir()
    shard.write_bytes(shard.read_bytes()[:100])
    loaded = sweepwise.load(results)
    with pytest.warns(UserWarning, match="files set aside: 1, ") as seen:
        frame = loaded.evaluations
    assert (len(seen), len(frame)) == (1, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loaded.runs["quarantined"].tolist() == [0, 0, 0, 1]


def wrapped(text: str) -> int:
    """Lines on a terminal of 80 columns."""
    return sum(max(1, -(-len(line) // 80)) for line in text.splitlines())


def test_the_representation_is_short(results: Path) -> None:
    view = json.loads((results / "sweeps" / "ensemble.json").read_text())
    for number in range(10, 20):
        (results / "sweeps" / f"copy-{number}.json").write_text(json.dumps({**view, "name": f"copy-{number}"}))
    loaded = sweepwise.load(results, "ensemble")
    first = repr(loaded)
    assert "1 sweep: ensemble\n2 configurations, 4 runs: 4 done\nframes: evaluations, training, " in first
    assert "is computed when it is first used" in first
    assert len(loaded.evaluations) == 8
    assert "frames: evaluations (8 rows), training, " in repr(loaded)
    many = sweepwise.load(results)
    assert "11 sweeps: copy-10, copy-11, " in repr(many)
    for name in sweepwise.frames.FRAMES:
        getattr(many, name)
    assert "first used" not in repr(many)
    assert max(map(wrapped, (first, repr(loaded), repr(many)))) < 10


PROBE = """
import json, sys
import sweepwise
first = set(sys.modules)
results = sweepwise.load(sys.argv[1])
results.evaluations, results.runs
print(json.dumps([sorted(first), sorted(sys.modules)]))
"""


def test_what_is_imported_and_when(results: Path, repository: Path) -> None:
    command = [sys.executable, "-P", "-c", PROBE, str(results)]
    done = subprocess.run(command, env={"PYTHONPATH": str(repository)}, capture_output=True, text=True, check=True)
    first, last = (set(names) for names in json.loads(done.stdout))
    assert first & HEAVY == set()
    assert {name for name in first if name.split(".")[0] == "sweepwise"} == {"sweepwise"}
    assert {"jobs", "aggregate"} & first == set()
    assert last & {"torch", "mujoco", "matplotlib", "seaborn"} == set()


@pytest.mark.parametrize("name", ["jobs", "aggregate", "tdmpc"])
def test_a_file_of_the_user_that_hides_a_package_is_named(tmp_path: Path, repository: Path, name: str) -> None:
    """A notebook's folder comes first on the path, and may well hold a TD-MPC2 of its own."""
    (tmp_path / f"{name}.py").write_text("")
    command = [sys.executable, "-c", "import sweepwise; sweepwise.load('.')"]
    environment = {"PYTHONPATH": str(repository)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"import {name} finds {tmp_path / name}.py, which hides the package of sweepwise" in done.stderr


def test_an_unknown_name_is_an_attribute_error_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="'frame'; it has Results, SweepsError, load"):
        sweepwise.frame  # noqa: B018
    assert {"Results", "SweepsError", "load"} <= set(dir(sweepwise))


def imported_names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_packages_import_nothing_of_sweepwise_but_its_contracts(repository: Path) -> None:
    found = [
        f"{path.relative_to(repository)} imports {name}"
        for package in ("jobs", "aggregate", "plots", "tdmpc", "slurm_templates", "sweepwise/core")
        for path in (repository / package).rglob("*.py")
        for name in imported_names(path.read_text())
        if name.split(".")[0] == "sweepwise" and name.split(".")[1:2] != ["core"]
    ]
    assert found == []
