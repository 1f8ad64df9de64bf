"""A sweep of made-up runs from shards to ranking."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import pytest

from aggregate.analysis.summary import summarise
from aggregate.inputs.runs import ConfigSource, RunSource, SweepSource
from sweepwise.core.shards import ShardWriter
from tdmpc.description import DESCRIPTION
from tdmpc.metrics import CATALOGUE


def test_a_sweep_from_shards_to_ranking(tmp_path: Path, synthetic: ModuleType) -> None:
    states = {(0, 2): "failed", (1, 3): "running", (2, 1): "pending"}
    sweep = synthetic.make_sweep(tmp_path, (300.0, 600.0, 900.0), 3, states=states)
    (summary,) = summarise([sweep]).sweeps
    assert summary.ranking["config_id"].tolist() == ["0000000002", "0000000001", "0000000000"]
    assert summary.ranking["final_primary_n"].tolist() == [2, 2, 2]
    assert summary.ranking["planned"].tolist() == [3, 3, 3]
    assert dict(zip(summary.runs["state"], summary.runs["step"], strict=False))["pending"] == 0
    assert summary.scores["complete"].sum() == 6
    assert summary.random is not None
    assert summary.random.mean == pytest.approx(20, abs=2)
    assert summary.random.n == 8 * 5  # 8 runs with rows, random actions in the first 5 of 100 episodes
    stopped = summary.votes[summary.votes["flag"] == "stopped_early"].set_index("config_id")
    assert stopped.loc["0000000000", ["raised", "assessable", "seeds"]].tolist() == [1, 3, 3]
    assert stopped.loc["0000000001", ["raised", "assessable", "seeds"]].tolist() == [0, 2, 3]


def test_the_count_of_seeds_falls_where_a_run_ends(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0,), 3, states={(0, 1): "failed"})
    (summary,) = summarise([sweep]).sweeps
    curve = summary.curves[summary.curves["metric"] == "episode_return"].set_index("step")["n"]
    assert curve.loc[:10_000].eq(3).all()
    assert curve.loc[10_200:].eq(2).all()


def test_rows_beyond_the_steps_a_sweep_asks_for_are_no_part_of_it(tmp_path: Path, synthetic: ModuleType) -> None:
    long = synthetic.make_sweep(tmp_path, (600.0,), 1, total=20_000)
    (config,) = long.configs
    short = type(long)("short", "", (), (), (type(config)(**{**vars(config), "total_steps": 10_000}),), long.agent)
    of_long, of_short = summarise([long, short]).sweeps
    assert of_long.curves["step"].max() == 20_000
    assert of_short.curves["step"].max() == 10_000
    assert of_short.scores["complete"].all()
    assert of_short.scores["final_primary"].item() < of_long.scores["final_primary"].item()


def test_the_collapse_of_one_configuration_is_flagged_there_only(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0, 600.0), 3, special={1: {"collapse": True, "oscillate": True}})
    (summary,) = summarise([sweep]).sweeps
    raised = summary.votes[summary.votes["state"] == "flag"]
    assert set(raised["config_id"]) == {"0000000001"}
    assert set(raised["flag"]) == {"evaluation_collapse", "training_collapse", "log_std_oscillates"}


def test_a_run_of_random_actions_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    writer = ShardWriter(folder, "a001", {}, lambda: True, CATALOGUE)
    for step, value in ((5, 10.0), (10, 14.0)):
        writer.log("episode", step, step, 0, {"episode_return": value})
    writer.flush()
    # no event marks the end of the seed phase yet: nothing says these were random
    run = RunSource("c", 1, folder, "running", 1)
    sweep = SweepSource("s", "", (), (), (ConfigSource("c", "", {}, True, {}, 100, (run,)),), DESCRIPTION)
    (summary,) = summarise([sweep]).sweeps
    assert summary.random is None
    assert summary.ranking["label"].tolist() == ["the configuration"]


def test_random_episodes_that_configurations_share_count_once(tmp_path: Path) -> None:
    """Before training starts a seed plays the same episodes whatever the configuration says of training."""
    configs = []
    for name in ("c", "d"):
        writer = ShardWriter(tmp_path / name, "a001", {}, lambda: True, CATALOGUE)
        for step, value in ((5, 10.0), (10, 14.0), (15, 90.0)):
            writer.log("episode", step, step, 0, {"episode_return": value})
        writer.log("event", 10, 10, 0, {}, "seed_phase_end")
        writer.flush()
        run = RunSource(name, 1, tmp_path / name, "running", 1)
        configs.append(ConfigSource(name, name, {}, False, {}, 100, (run,)))
    (summary,) = summarise([SweepSource("s", "", (), (), tuple(configs), DESCRIPTION)]).sweeps
    assert summary.random is not None
    assert (summary.random.mean, summary.random.best, summary.random.n) == (12.0, 14.0, 2)


def test_collapsed_seeds_stand_apart_and_diverged_ones_count_as_random_actions(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    states, special = {(0, 2): "diverged"}, {1: {"collapse": True}}
    sweep = synthetic.make_sweep(tmp_path, (600.0, 600.0), 3, lean=True, special=special, states=states)
    (summary,) = summarise([sweep]).sweeps
    scores = summary.scores.set_index(["config_id", "seed"])
    diverged = scores.loc[("0000000000", 2)]
    assert math.isnan(diverged["final_primary"])
    assert summary.random is not None
    assert diverged["start_primary"] == summary.random.mean
    assert scores.loc["0000000001", "healthy_primary"].isna().all()
    assert scores.loc["0000000001", "outcome"].tolist() == ["collapsed"] * 3
    assert scores.loc["0000000001", "fall_primary"].between(200, 400).all()  # half of about 570
    assert scores.loc["0000000000", "fall_primary"].drop(2).abs().max() < 30
