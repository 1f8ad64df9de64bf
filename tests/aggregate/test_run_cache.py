"""The cache of merged rows: what it saves, when it is not believed, and that rows never depend on it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from aggregate.inputs import cache_file, parallel, run_cache
from aggregate.inputs.runs import ConfigSource, Loaded, RunSource, SweepSource, load
from sweepwise.core import shards
from sweepwise.core.shards import START_STEP, ShardWriter
from tdmpc.description import DESCRIPTION
from tdmpc.metrics import CATALOGUE

Opened = list[str]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Names of the shards that are opened from here on."""
    names: Opened = []
    read = shards.read_shard

    def noted(path: Path, content: bytes | None = None):  # type: ignore[no-untyped-def]
        names.append(path.name)
        return read(path, content)

    monkeypatch.setattr(shards, "read_shard", noted)
    return names


@pytest.fixture
def run(tmp_path: Path) -> RunSource:
    """A run with three shards: rows of every kind, lists, an absent number, one that is not finite, two attempts."""
    log(tmp_path / "run", "a001", 10, log_std_per_dim=[1.0, 2.0], pi_loss=1.0)
    log(tmp_path / "run", "a001", 20, pi_loss=float("nan"), log_std=-1.0)
    log(tmp_path / "run", "a002", 20, start=15, pi_loss=3.0)
    return RunSource("c", 1, tmp_path / "run", "running", 2, tmp_path / "cache" / "c" / "seed-1.rows")


def log(folder: Path, tag: str, step: int, start: int = 0, **metrics: object) -> None:
    writer = ShardWriter(folder, tag, {START_STEP: str(start), "code": tag}, lambda: True, CATALOGUE)
    writer.log("train", step, 2 * step, step, metrics)
    writer.log("event", step, 2 * step, step, {}, "encoder_freeze")
    writer.log("eval", step, 2 * step, step, {"eval_return_planner": float(step), "eval_is_final": 0.0})
    writer.log("eval", step, 2 * step, step, {"eval_return_planner": 0.0, "eval_is_final": 1.0})
    writer.flush()


def loaded(run: RunSource) -> Loaded:
    return load([SweepSource("s", "", (), (), (ConfigSource("c", "", {}, True, {}, 100, (run,)),), DESCRIPTION)])


def uncached(run: RunSource) -> pd.DataFrame:
    return loaded(dataclasses.replace(run, cache=None)).rows


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    pd.testing.assert_frame_equal(one, other)
    return True


def cache_of(run: RunSource) -> Path:
    assert run.cache is not None
    return run.cache


def test_a_second_look_opens_no_shard_and_sees_the_same(run: RunSource, opened: Opened) -> None:
    before = uncached(run)
    loaded(run)
    opened.clear()
    again = loaded(run)
    assert same(again.rows, before)
    assert again.origins["code"].tolist() == ["a001", "a002"]
    assert opened == []
    assert [path.name for path in cache_of(run).parent.iterdir()] == ["seed-1.rows"]


def test_only_new_shards_are_opened_and_join_as_if_all_were_read(run: RunSource, opened: Opened) -> None:
    loaded(run)
    log(run.folder, "a002", 40, start=15, pi_loss=4.0, grad_norm=1.0)
    log(run.folder, "a003", 30, start=20, pi_loss=5.0)  # step 40 of the second attempt was lost
    opened.clear()
    rows = loaded(run).rows
    assert sorted(opened) == ["a002-p00001.parquet", "a003-p00000.parquet"]
    assert same(rows, uncached(run))
    assert rows.loc[rows["kind"] == "train", "step"].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    "changed",
    [
        lambda metrics: (metrics / "a001-p00001.parquet").unlink(),
        lambda metrics: (metrics / "a002-p00000.parquet").unlink(),
        lambda metrics: os.replace(metrics / "a001-p00001.parquet", metrics / "a001-p00000.parquet"),
        lambda metrics: log(metrics.parent, "a001", 15, pi_loss=9.0),  # late, of the earlier attempt
    ],
    ids=["removed", "last removed", "replaced", "in between"],
)
def test_other_shards_are_read_anew(run: RunSource, changed: Callable[[Path], object]) -> None:
    loaded(run)
    changed(run.folder / "metrics")
    assert same(loaded(run).rows, uncached(run))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:30],
        lambda data: data[:-100],
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: data + b"more",
        lambda data: b"\0" * len(data),
    ],
    ids=["empty", "a piece of the head", "truncated", "one bit", "longer", "zeros"],
)
def test_a_damaged_cache_is_not_believed_and_made_anew(
    run: RunSource, opened: Opened, damage: Callable[[bytes], bytes]
) -> None:
    loaded(run)
    whole = cache_of(run).read_bytes()
    cache_of(run).write_bytes(damage(whole))
    assert same(loaded(run).rows, uncached(run))
    assert cache_of(run).read_bytes() == whole


def test_what_is_new_is_seen_without_reading_rows(
    run: RunSource, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no process is started where nothing is."""
    first, rows = loaded(run).runs["c", 1], uncached(run)
    path = cache_of(run)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    opened.clear()
    monkeypatch.setattr(parallel, "MANY", 1)
    monkeypatch.setattr(parallel, "MappingProcess", None)
    again = loaded(run)
    assert again.runs["c", 1] == first
    assert opened == []
    assert same(again.rows, rows)  # the damage is seen where rows are read


def test_a_head_longer_than_the_first_piece_is_read_whole(tmp_path: Path) -> None:
    head = [float(number) for number in range(10_000)]
    cache_file.write(tmp_path / "long", 3, head)
    assert cache_file.read_head(tmp_path / "long", 3) == head
    assert cache_file.read_head(tmp_path / "long", 4) is None
    data = (tmp_path / "long").read_bytes()
    for damaged in (data[:20], data[:60], data[:30_000], data[:30_000] + b"7" + data[30_001:]):
        (tmp_path / "long").write_bytes(damaged)
        assert cache_file.read_head(tmp_path / "long", 3) is None
        assert cache_file.read(tmp_path / "long", 3) is None


def test_no_byte_of_the_header_may_change(tmp_path: Path) -> None:
    """One of the header's was of no account: found by benchmarks/fuzz.py."""
    path = tmp_path / "x"
    cache_file.write(path, 7, {"key": "k"}, [pa.table({"a": [1]})])
    whole = path.read_bytes()
    assert cache_file.read(path, 7) is not None
    for place in range(64):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache_file.read(path, 7) is None, place


def test_a_cache_made_by_other_rules_is_made_anew(
    run: RunSource, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(run)
    monkeypatch.setattr(run_cache, "_MADE_BY", run_cache._MADE_BY ^ 1)
    opened.clear()
    loaded(run)
    assert len(opened) == 3


def test_where_nothing_can_be_written_all_is_read(run: RunSource, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert same(loaded(run).rows, uncached(run))


def test_a_folder_in_the_place_of_the_cache_leaves_nothing_behind(run: RunSource) -> None:
    cache_of(run).mkdir(parents=True)
    assert same(loaded(run).rows, uncached(run))
    assert [path.name for path in cache_of(run).parent.iterdir()] == ["seed-1.rows"]


def test_a_run_with_a_file_set_aside_is_not_cached(run: RunSource) -> None:
    bad = run.folder / "metrics" / "a002-p00001.parquet"
    bad.write_bytes(b"")
    assert loaded(run).quarantine["file"].tolist() == [bad.name]
    assert not cache_of(run).exists()


def test_a_metric_stays_a_number_or_a_list_whether_its_rows_were_cached_or_lost(run: RunSource) -> None:
    """The row that had the number is behind the step from which the third attempt went on."""
    log(run.folder, "a002", 90, start=15, grad_norm=1.0)
    log(run.folder, "a003", 50, start=40, pi_loss=1.0)
    loaded(run)
    table = shards.read_shard(run.folder / "metrics" / "a003-p00000.parquet")
    lists = pa.array([[1.0]] * table.num_rows)
    shards.write_table(table.append_column("grad_norm", lists), run.folder / "metrics" / "a003-p00001.parquet")
    for source in (run, dataclasses.replace(run, cache=None)):
        (reason,) = loaded(source).quarantine["reason"]
        assert reason == "column grad_norm is a list, a number in earlier shards of the run"


def test_another_aggregate_in_between_changes_nothing_for_the_first(run: RunSource) -> None:
    first = loaded(run)
    before = first.rows
    log(run.folder, "a002", 50, start=15, pi_loss=4.0)
    second = loaded(run)
    assert same(first.rows, before)
    assert second.count > first.count
    assert same(second.rows, uncached(run))


def test_a_run_that_logged_nothing_is_no_trouble(run: RunSource, tmp_path: Path) -> None:
    empty = RunSource("c", 2, tmp_path / "nowhere", "pending", 0, tmp_path / "cache" / "c" / "seed-2.rows")
    config = ConfigSource("c", "", {}, True, {}, 100, (run, empty))
    loaded = load([SweepSource("s", "", (), (), (config,), DESCRIPTION)])
    assert loaded.runs["c", 2].frames() == {}
    assert loaded.rows["seed"].unique().tolist() == [1]
