"""Reading shards: what is taken, what is set aside, who wins."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aggregate.inputs.runs import ConfigSource, Loaded, RunSource, SweepSource, config_letter, load
from sweepwise.core.errors import AggregateError
from sweepwise.core.shards import SCHEMA_VERSION, START_STEP, ShardWriter
from tdmpc.description import DESCRIPTION
from tdmpc.metrics import CATALOGUE


def sweep_of(*runs: RunSource, name: str = "s") -> SweepSource:
    ids = sorted({run.config_id for run in runs})
    configs = tuple(
        ConfigSource(i, i, {}, False, {}, 100, tuple(run for run in runs if run.config_id == i)) for i in ids
    )
    return SweepSource(name, "", (), (), configs, DESCRIPTION)


def run_at(folder: Path, seed: int = 1) -> RunSource:
    return RunSource("c", seed, folder, "done", 1)


def write(
    folder: Path,
    tag: str,
    rows: list[tuple],  # type: ignore[type-arg]
    flush_each: bool = False,
    start: int = 0,
) -> None:
    """rows: (kind, step, metrics[, event]). start: the step from which the attempt went on."""
    writer = ShardWriter(folder, tag, {START_STEP: str(start)}, lambda: True, CATALOGUE)
    for kind, step, metrics, *event in rows:
        writer.log(kind, step, 2 * step, step, metrics, *event)
        if flush_each:
            writer.flush()
    writer.flush()


def column(loaded: Loaded, kind: str, name: str) -> dict[int, float]:
    rows = loaded.rows[loaded.rows["kind"] == kind]
    return dict(zip(rows["step"].tolist(), rows[name].tolist(), strict=True))


def test_columns_of_all_shards_are_united(tmp_path: Path) -> None:
    write(tmp_path, "a001", [("train", 1, {"pi_loss": 1.0}), ("train", 2, {"log_std": -2.0})], flush_each=True)
    loaded = load([sweep_of(run_at(tmp_path))])
    assert column(loaded, "train", "log_std")[2] == -2.0
    assert math.isnan(column(loaded, "train", "log_std")[1])
    assert column(loaded, "train", "pi_loss")[1] == 1.0


def test_the_later_attempt_wins_and_rows_are_sorted(tmp_path: Path) -> None:
    # the thousandth attempt comes after the 999th, which plain sorting of names would turn round
    write(tmp_path, "a1000", [("train", 3, {"pi_loss": 30.0}), ("train", 2, {"pi_loss": 20.0})], start=2)
    write(tmp_path, "a999", [("train", 1, {"pi_loss": 1.0}), ("train", 2, {"pi_loss": 2.0})])
    loaded = load([sweep_of(run_at(tmp_path))])
    assert loaded.rows["step"].tolist() == [1, 2, 3]
    assert column(loaded, "train", "pi_loss") == {1: 1.0, 2: 20.0, 3: 30.0}


def test_what_an_attempt_did_beyond_the_step_a_later_one_went_on_from_is_lost(tmp_path: Path) -> None:
    write(tmp_path, "a001", [("episode", step, {"episode_return": 1.0}) for step in (10, 20, 29)])
    write(tmp_path, "a002", [("episode", step, {"episode_return": 2.0}) for step in (25, 35)], start=20)
    write(tmp_path, "a003", [("episode", 33, {"episode_return": 3.0})], start=30)
    loaded = load([sweep_of(run_at(tmp_path))])
    assert column(loaded, "episode", "episode_return") == {10: 1.0, 20: 1.0, 25: 2.0, 33: 3.0}


def test_the_origin_of_a_row_is_that_of_the_shard_it_came_from(tmp_path: Path) -> None:
    """Attempts 1 and 3 give rows; what the second did is lost, and so is where it was done."""
    for tag, start, step, code in (("a001", 0, 10, "one"), ("a002", 20, 30, "two"), ("a003", 20, 40, "three")):
        writer = ShardWriter(tmp_path, tag, {START_STEP: str(start), "code": code}, lambda: True, CATALOGUE)
        writer.log("episode", step, 2 * step, step, {"episode_return": 1.0})
        writer.flush()
    origins = load([sweep_of(run_at(tmp_path))]).origins
    assert origins[["config_id", "seed", "code", "device"]].to_numpy().tolist() == [
        ["c", 1, "one", ""], ["c", 1, "three", ""],
    ]  # fmt: skip


def test_a_row_in_two_pieces_is_put_together(tmp_path: Path) -> None:
    write(tmp_path, "a001", [("train", 5, {"pi_loss": 1.0}), ("train", 5, {"log_std": -3.0})])
    loaded = load([sweep_of(run_at(tmp_path))])
    assert len(loaded.rows) == 1
    assert column(loaded, "train", "pi_loss") == {5: 1.0}
    assert column(loaded, "train", "log_std") == {5: -3.0}


def test_events_and_evaluations_may_share_a_step(tmp_path: Path) -> None:
    write(tmp_path, "a001", [
        ("event", 50, {}, "encoder_freeze"), ("event", 50, {}, "entropy_start"),
        ("eval", 100, {"eval_return_planner": 1.0, "eval_is_final": 0.0}),
        ("eval", 100, {"eval_return_planner": 2.0, "eval_is_final": 1.0}),
    ])  # fmt: skip
    rows = load([sweep_of(run_at(tmp_path))]).rows
    assert sorted(rows.loc[rows["kind"] == "event", "event"]) == ["encoder_freeze", "entropy_start"]
    assert sorted(rows.loc[rows["kind"] == "eval", "eval_return_planner"]) == [1.0, 2.0]


def test_not_finite_is_told_from_absent(tmp_path: Path) -> None:
    write(tmp_path, "a001", [("train", 1, {"pi_loss": 1.0}), ("train", 2, {"log_std": float("nan")}),
                             ("train", 3, {"pi_loss": math.inf, "log_std": 0.0})])  # fmt: skip
    named = load([sweep_of(run_at(tmp_path))]).rows["nonfinite"].tolist()
    assert named[1:] == ["log_std", "pi_loss"]
    assert named[0] is None or math.isnan(named[0])


def _good_bytes(tmp_path: Path) -> bytes:
    write(tmp_path / "other", "a001", [("train", 9, {"pi_loss": 1.0})])
    return (tmp_path / "other" / "metrics" / "a001-p00000.parquet").read_bytes()


def _foreign(path: Path, columns: dict[str, list], metadata: dict[str, str] | None = None) -> None:  # type: ignore[type-arg]
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


def test_bad_files_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(folder, "a001", [("train", 1, {"pi_loss": 1.0})])
    metrics, good = folder / "metrics", _good_bytes(tmp_path)
    index = {"kind": ["train"], "step": [7], "frames": [7], "update": [7], "time": [0.0], "event": [None]}
    version = {"schema_version": "1"}
    (metrics / "a001-p00001.parquet").write_bytes(good[: len(good) // 2])
    (metrics / "a001-p00002.parquet").write_bytes(b"")
    _foreign(metrics / "a001-p00003.parquet", {"x": [1]})
    _foreign(metrics / "a001-p00004.parquet", index, {"schema_version": str(SCHEMA_VERSION + 1)})
    _foreign(metrics / "a001-p00005.parquet", index, {"schema_version": "soon"})
    _foreign(metrics / "a001-p00006.parquet", {**index, "pi_loss": [[1.0]]}, version)
    _foreign(metrics / "a001-p00007.parquet", {**index, "step": [None]}, version)
    _foreign(metrics / "a001-p00008.parquet", {**index, "step": [-5]}, version)
    (metrics / "notes.txt").write_text("mine")
    (metrics / ".a001-p00009.parquet.17.part").write_bytes(good[:10])
    loaded = load([sweep_of(run_at(folder))])
    assert loaded.rows["step"].tolist() == [1]
    reasons = dict(zip(loaded.quarantine["file"], loaded.quarantine["reason"], strict=True))
    assert sorted(reasons) == [*(f"a001-p{i:05d}.parquet" for i in range(1, 9)), "notes.txt"]
    assert reasons["a001-p00003.parquet"] == "not a metric shard of this project"
    assert f"schema version {SCHEMA_VERSION + 1}" in reasons["a001-p00004.parquet"]
    assert "step has empty cells" in reasons["a001-p00007.parquet"]
    assert reasons["a001-p00006.parquet"] == "column pi_loss is a list, a number in earlier shards of the run"
    assert reasons["a001-p00008.parquet"] == "step -5 is negative"
    assert all(reason and "\n" not in reason for reason in reasons.values())


def test_a_shard_describes_itself(tmp_path: Path) -> None:
    """Numbers and lists of numbers are metrics of the kinds of row that have them, declared or not; text is none."""
    (tmp_path / "metrics").mkdir()
    index = {"kind": ["train", "eval"], "step": [1, 2], "frames": [1, 2], "update": [1, 2], "time": [0.0, 0.0],
             "event": [None, None]}  # fmt: skip
    columns = {"whole": [3, None], "lists": [[1, 2], None], "both": [1.5, 2.5], "none": [None, None],
               "text": ["a", "b"], "seed": [9, 9], "attempt": [9, 9]}  # fmt: skip
    _foreign(tmp_path / "metrics" / "a001-p00000.parquet", {**index, **columns}, {"schema_version": "1"})
    train, evaluation = (load([sweep_of(run_at(tmp_path))]).runs["c", 1].frames()[kind] for kind in ("train", "eval"))
    added = {"attempt", "step", "frames", "update", "time", "eval_is_final"}
    assert (set(train) - added, set(evaluation) - added) == ({"whole", "lists", "both"}, {"both"})
    assert train.loc[0, ["whole", "both", "attempt"]].tolist() == [3.0, 1.5, 0.0]
    np.testing.assert_array_equal(train["lists"][0], [1.0, 2.0])


def test_a_run_in_two_sweeps_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "a001", [("train", 1, {"pi_loss": 1.0})])
    run = run_at(tmp_path)
    assert len(load([sweep_of(run, name="s"), sweep_of(run, name="t")]).rows) == 1


def test_seeds_keep_their_rows(tmp_path: Path) -> None:
    for seed in (1, 2):
        write(tmp_path / str(seed), "a001", [("train", 1, {"pi_loss": float(seed)})])
    rows = load([sweep_of(*(run_at(tmp_path / str(seed), seed) for seed in (2, 1)))]).rows
    assert dict(zip(rows["seed"].tolist(), rows["pi_loss"].tolist(), strict=True)) == {1: 1.0, 2: 2.0}


def test_list_metrics_come_through(tmp_path: Path) -> None:
    write(tmp_path, "a001", [("train", 1, {"log_std_per_dim": [-1.0, -2.0]})])
    np.testing.assert_array_equal(load([sweep_of(run_at(tmp_path))]).rows["log_std_per_dim"][0], [-1.0, -2.0])


def test_nothing_submitted_is_one_line() -> None:
    with pytest.raises(AggregateError, match="nothing was submitted"):
        load([])


def test_no_shards_yet_is_one_line_and_names_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(AggregateError, match=r"no readable metric shards in 1 runs: wait"):
        load([sweep_of(run_at(tmp_path))])
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "a001-p00000.parquet").write_bytes(b"")
    with pytest.raises(AggregateError, match=r"1 bad files \(first: a001-p00000.parquet: ") as caught:
        load([sweep_of(run_at(tmp_path))])
    assert "\n" not in str(caught.value)


def test_no_rows_stay_in_memory(tmp_path: Path) -> None:
    write(tmp_path, "a001", [("train", step, {"pi_loss": 1.0}) for step in range(1000)])
    before = pa.total_allocated_bytes()
    loaded = load([sweep_of(run_at(tmp_path))])
    assert loaded.count == 1000
    assert pa.total_allocated_bytes() - before < 8 * 1000  # not even one column


def test_what_a_user_hears_of(tmp_path: Path) -> None:
    write(tmp_path, "a001", [("train", 1, {"pi_loss": 1.0})])
    assert load([sweep_of(run_at(tmp_path))]).warnings == []
    for part in (1, 2):
        (tmp_path / "metrics" / f"a001-p{part:05d}.parquet").write_bytes(b"")
    (line,) = load([sweep_of(run_at(tmp_path))]).warnings
    assert line.startswith("files set aside: 2, the first in c/seed-1: a001-p00001.parquet: ")
    assert line.endswith("; the report lists them under Methods")


def test_letters_of_configurations_go_on_after_z() -> None:
    assert [config_letter(place) for place in (0, 25, 26, 27, 52)] == ["A", "Z", "AA", "AB", "BA"]
