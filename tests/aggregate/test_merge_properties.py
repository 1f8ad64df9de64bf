"""What must not matter to rows and curves: how rows were spread over shards, in which order, and how often."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aggregate.inputs import merge_shards, run_cache
from aggregate.statistics.step_bins import MAX_BINS, bin_count, binned, spacing
from sweepwise.core import shards
from sweepwise.core.metrics import IS_FINAL
from sweepwise.core.shard_name import FOLDER, ShardName
from tdmpc.metrics import CATALOGUE

LOSS = st.floats(allow_nan=True, allow_infinity=True, width=32)
STEPS = st.integers(0, 10_000)


def row(kind: str, step: int, **metrics: float) -> dict[str, object]:
    dims = {"log_std_per_dim": [float(step), 1.0]} if kind == "train" and step % 2 else {}
    index = {"kind": kind, "step": step, "frames": 2 * step, "update": 0, "time": 1e9 + step, "event": None}
    return {**index, **metrics, **dims}


@st.composite
def runs(draw: st.DrawFn) -> list[dict[str, object]]:
    """Rows of a run, no two of one kind at a step, some metrics absent."""
    rows = []
    for kind, names in (("train", ("pi_loss", "grad_norm")), ("episode", ("episode_return",))):
        for step in draw(st.lists(STEPS, unique=True, max_size=12)):
            rows.append(row(kind, step, **{name: draw(LOSS) for name in names if draw(st.booleans())}))
    return rows


def shard(rows: Sequence[dict[str, object]], attempt: int = 0) -> merge_shards.Shard:
    return merge_shards.Shard(attempt, *merge_shards.conform(shards.rows_to_table(rows, {}, CATALOGUE)))


def pieces(rows: Sequence[dict[str, object]], cuts: Sequence[int]) -> Iterator[Sequence[dict[str, object]]]:
    """`rows` cut at some of their places."""
    for start, end in itertools.pairwise([0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]):
        if start < end:
            yield rows[start:end]


def merged(parts: Sequence[merge_shards.Shard]) -> dict[str, pd.DataFrame]:
    kinds = merge_shards.merge({}, parts, {0: 0})
    return {kind: merge_shards.frame(table) for kind, table in kinds.items()}


def cell_by_cell(rows: Sequence[dict[str, object]]) -> dict[str, pd.DataFrame]:
    """What `merged` makes of rows without duplicates, in the plainest way."""
    kinds = {}
    for kind in {str(row["kind"]) for row in rows}:
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: int(str(row["step"])))
        named = [next((name for name in CATALOGUE.metrics if isinstance(row.get(name), float)
                       and not math.isfinite(row[name])), None) for row in own]  # type: ignore[arg-type]  # fmt: skip
        columns = {"attempt": np.zeros(len(own), np.int32)}
        for name in [*shards.INDEX_SCHEMA.names[1:], *CATALOGUE.metrics]:
            cells = [row.get(name) for row in own]
            if name in named or any(
                cell is not None and not (isinstance(cell, float) and math.isnan(cell)) for cell in cells
            ):
                columns[name] = cells
        if any(named):
            columns["nonfinite"] = named
        kinds[kind] = pd.DataFrame(columns)
    return kinds


def same(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> bool:
    assert one.keys() == other.keys()
    for kind in one:
        pd.testing.assert_frame_equal(one[kind], other[kind], check_like=True)
    return True


@given(runs(), st.lists(st.integers(0, 24), max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_neither_the_split_into_shards_nor_the_order_of_rows_matters(rows, cuts, random) -> None:  # type: ignore[no-untyped-def]
    whole = merged([shard(rows)])
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert same(merged([shard(piece) for piece in pieces(shuffled, cuts)]), whole)


@given(runs(), st.lists(st.integers(0, 24), max_size=3))
@example([row("train", 4, grad_norm=0.0), row("train", 1)], [1])  # the catalogue has them in another order
@settings(max_examples=100)
def test_each_value_is_where_it_was_logged(rows, cuts) -> None:  # type: ignore[no-untyped-def]
    expected, found = cell_by_cell(rows), merged([shard(piece) for piece in pieces(rows, cuts)])
    assert found.keys() == expected.keys()
    for kind, frame in found.items():
        frame = frame.drop(columns=IS_FINAL, errors="ignore")
        assert set(frame) == set(expected[kind])  # their order is that in which the shards have them
        frame = frame[list(expected[kind])]
        assert [[plain(cell) for cell in cells] for cells in frame.to_numpy(dtype=object)] == [
            [plain(cell) for cell in cells] for cells in expected[kind].to_numpy(dtype=object)]  # fmt: skip


def plain(cell: object) -> object:
    """A cell that compares equal; None where it is empty."""
    if isinstance(cell, (list, np.ndarray)):
        return list(cell)
    return None if cell is None or cell != cell else cell


@given(runs(), st.lists(st.integers(0, 24), max_size=3), st.data())
@settings(max_examples=40)
def test_a_duplicated_shard_changes_nothing(rows, cuts, data) -> None:  # type: ignore[no-untyped-def]
    parts = [shard(piece) for piece in pieces(rows, cuts)]
    again = data.draw(st.lists(st.sampled_from(parts), max_size=3)) if parts else []
    assert same(merged([*parts, *again]), merged(parts))


@given(runs(), runs(), st.integers(0, 10_000))
@settings(max_examples=40)
def test_a_later_attempt_wins_from_where_it_went_on(first, second, start) -> None:  # type: ignore[no-untyped-def]
    second = [row for row in second if row["step"] > start]
    shards_of = [shard(rows, rank) for rank, rows in enumerate((first, second))]
    tables = merge_shards.merge({}, shards_of, {0: 0, 1: start})
    expected = merged([shard([row for row in first if row["step"] <= start] + second)])
    assert {kind: rows.drop_columns("attempt").num_rows for kind, rows in tables.items()} == {
        kind: len(rows) for kind, rows in expected.items()
    }
    for kind, rows in tables.items():
        steps, attempts = rows["step"].to_numpy(), rows["attempt"].to_numpy()
        assert (attempts == (steps > start)).all()
        pd.testing.assert_series_equal(merge_shards.frame(rows)["step"], expected[kind]["step"])


@given(runs(), runs(), st.integers(0, 10_000), st.integers(1, 5))
@example(
    # the only value of a metric lies in a row that the second attempt drops
    [row("train", 0), row("episode", 1), row("episode", 2, episode_return=0.0), row("episode", 3)],
    [*(row("train", step) for step in range(5)), row("episode", 0)],
    0,
    3,
)
@settings(max_examples=15)
def test_what_was_cached_before_the_last_shards_came_is_brought_to_the_same(first, second, start, known) -> None:  # type: ignore[no-untyped-def]
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / FOLDER
        metrics.mkdir()
        parts = [("a001", 0, piece) for piece in pieces(first, [3, 7])]
        parts += [("a002", start, piece) for piece in pieces(second, [5])]
        for number, (tag, begun, piece) in enumerate(parts):
            table = shards.rows_to_table(piece, {shards.START_STEP: str(begun)}, CATALOGUE)
            shards.write_table(table, metrics / str(ShardName(tag, number)))
        files, _ = run_cache.list_shards(Path(folder))
        cache = Path(folder) / "run.rows"
        run_cache.load_merged(Path(folder), files[:known], cache)
        stepwise, at_once = (
            run_cache.load_merged(Path(folder), files, cache),
            run_cache.load_merged(Path(folder), files, None),
        )
        assert stepwise.attempts == at_once.attempts
        frames = [{kind: merge_shards.frame(rows) for kind, rows in of.kinds.items()} for of in (stepwise, at_once)]
        assert same(*frames)


@given(st.lists(STEPS, min_size=1, max_size=60, unique=True), st.integers(1, 20_000), st.data())
@settings(max_examples=60)
def test_bins_hold_the_mean_of_their_rows_whatever_these_are(steps, total, data) -> None:  # type: ignore[no-untyped-def]
    values = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(steps), max_size=len(steps)))
    rows = pd.DataFrame({"step": sorted(steps), "m": values}).query("step <= @total")
    if rows.empty:
        return
    bins = bin_count([spacing(rows["step"].to_numpy())], total)
    curve = pd.DataFrame(binned(rows, total, bins, ["m"]))
    width = total / bins
    assert 1 <= bins <= MAX_BINS
    assert len(curve) <= bins
    assert curve["step"].iloc[-1] - width < max(rows["step"].max(), 1) <= curve["step"].iloc[-1] * (1 + 1e-12)
    assert np.nanmin(curve["m"]) >= rows["m"].min() - 1e-6
    assert np.nanmax(curve["m"]) <= rows["m"].max() + 1e-6
    counts = np.bincount(np.maximum(np.ceil(rows["step"] / width).astype(int) - 1, 0))
    means = curve.set_index((curve["step"] / width).round().astype(int) - 1)["m"]
    sums = math.fsum(means[place] * count for place, count in enumerate(counts) if count)
    assert math.isclose(sums, math.fsum(rows["m"]), rel_tol=1e-9, abs_tol=1e-3)
