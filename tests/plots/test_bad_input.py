"""From bad shards to the page: what is readable is read, what is doubtful is said, nothing falls over."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aggregate import flags
from aggregate.analysis.summary import Summary, summarise
from aggregate.inputs.runs import SweepSource
from plots.report import render
from sweepwise.core import shards
from tdmpc.metrics import METRICS

pytestmark = pytest.mark.filterwarnings("error")  # numpy's, too: they would end up on the user's terminal

Change = Callable[[pa.Table], pa.Table]
SEED = re.compile(r"seed-(\d+)")


@pytest.fixture
def make(tmp_path: Path, synthetic: ModuleType) -> Callable[..., SweepSource]:
    """A small sweep below `tmp_path`: finals and seeds as in `synthetic.make_sweep`."""

    def made(finals: tuple[float, ...] = (600.0,), seeds: int = 3) -> SweepSource:
        sweep: SweepSource = synthetic.make_sweep(tmp_path, finals, seeds, points=40, evaluations=12, lean=True)
        return sweep

    return made


def rewrite(sweep: SweepSource, change: Change, seeds: tuple[int, ...] = (1,)) -> SweepSource:
    for config in sweep.configs:
        for run in config.runs:
            for path in (run.folder / "metrics").iterdir() if run.seed in seeds else ():
                shards.write_table(change(shards.read_shard(path)), path)
    return sweep


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.column_names.index(name), field, pa.chunked_array([pa.array(values, field.type)]))


def page(sweep: SweepSource) -> tuple[Summary, str]:
    """(summary, text of the page)."""
    summary = summarise([sweep])
    html = render(summary)
    assert not re.search(r"\b(nan|inf)\b", html)
    return summary, re.sub(r"<[^>]+>", " ", html)


def scores(summary: Summary, *seeds: int) -> pd.DataFrame:
    (sweep,) = summary.sweeps
    return sweep.scores[sweep.scores["seed"].isin(seeds)].drop(columns="start_primary")  # may look at the other seeds


def test_bad_files_change_nothing_and_are_named_with_the_reason(make: Callable[..., SweepSource]) -> None:
    sweep = make(seeds=6)
    clean = summarise([sweep])
    folders = [run.folder / "metrics" for run in sweep.configs[0].runs]
    (good,) = folders[0].iterdir()
    new = [folder / "a001-p00001.parquet" for folder in folders]
    new[0].write_bytes(good.read_bytes()[:-1000])
    new[1].write_bytes(b"")
    new[2].write_text("step,return\n1,2\n")
    pq.write_table(pa.table({"x": [1.0]}), new[3])
    table = shards.read_shard(good)
    shards.write_table(table.replace_schema_metadata({"schema_version": "99"}), new[4])
    shutil.copy(next(folders[5].iterdir()), new[5])  # a duplicate, which is no fault
    summary, text = page(sweep)
    pd.testing.assert_frame_equal(summary.sweeps[0].scores, clean.sweeps[0].scores)
    pd.testing.assert_frame_equal(summary.sweeps[0].curves, clean.sweeps[0].curves)
    reasons = dict(zip(summary.loaded.quarantine["seed"], summary.loaded.quarantine["reason"], strict=True))
    assert sorted(reasons) == [1, 2, 3, 4, 5]
    assert "not a metric shard" in reasons[4]
    assert "schema version 99" in reasons[5]
    assert "Files set aside 5" in " ".join(text.split())
    assert text.count("1 bad file") == 5
    assert text.count("a001-p00001.parquet") == 5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_are_none_are_flagged_and_leave_the_other_seeds_alone(
    make: Callable[..., SweepSource], value: float
) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        for name in set(table.column_names) & set(METRICS) - {"eval_is_final"}:
            values = table[name].to_pylist()
            spoilt = [[value] * len(v) if isinstance(v, list) else v and value for v in values]
            table = with_column(
                table, name, [s if i % 3 else v for i, (v, s) in enumerate(zip(values, spoilt, strict=True))]
            )
        return table

    sweep = make()
    clean = summarise([sweep])
    summary, text = page(rewrite(sweep, spoil))
    pd.testing.assert_frame_equal(scores(summary, 2, 3), scores(clean, 2, 3))
    diverged = summary.sweeps[0].findings.query("flag == 'diverged'").set_index("seed")
    assert diverged["state"].tolist() == [flags.OK if value == 3e38 else flags.FLAG, flags.OK, flags.OK]
    assert ("is not finite" in text) == (value != 3e38)


def test_metrics_without_one_finite_number_are_left_out(make: Callable[..., SweepSource]) -> None:
    summary, text = page(rewrite(make(seeds=1), lambda table: with_column(table, "pi_loss", [np.inf] * len(table))))
    assert "pi_loss" not in set(summary.sweeps[0].curves["metric"])
    assert "pi_loss is not finite" in text


@pytest.mark.parametrize("kind", ["train", "episode", "eval", "event"])
def test_one_row_of_one_seed_of_one_configuration(make: Callable[..., SweepSource], kind: str) -> None:
    summary, text = page(rewrite(make(seeds=1), lambda table: table.filter(pc.equal(table["kind"], kind)).slice(0, 1)))
    (sweep,) = summary.sweeps
    assert summary.loaded.count == 1
    assert not sweep.scores["complete"].any()
    assert set(sweep.findings["state"]) <= {flags.OK, flags.NOT_ASSESSABLE}
    assert "Rows read 1 " in " ".join(text.split())


def test_the_order_of_rows_in_a_file_does_not_matter(make: Callable[..., SweepSource]) -> None:
    sweep = make((600.0, 500.0), 2)
    clean = summarise([sweep])
    order = np.random.default_rng(1).permutation
    (shuffled,) = summarise([rewrite(sweep, lambda table: table.take(order(len(table))), (1, 2))]).sweeps
    pd.testing.assert_frame_equal(shuffled.scores, clean.sweeps[0].scores)
    pd.testing.assert_frame_equal(shuffled.curves, clean.sweeps[0].curves)
    pd.testing.assert_frame_equal(shuffled.findings, clean.sweeps[0].findings)


def back(times: np.ndarray) -> np.ndarray:
    return np.where(np.arange(times.size) < times.size // 2, times, times - 7200)


@pytest.mark.parametrize(
    ("clock", "doubt"),
    [
        (back, "the clock went back by 7,200 s before step"),
        (np.zeros_like, "rows bear a time before 2000 or after 2100, or none"),
        (
            lambda times: np.where(times > times[0], times, np.nan),
            "rows bear a time before 2000 or after 2100, or none",
        ),
        (lambda times: np.full_like(times, 1e300), "rows bear a time before 2000 or after 2100, or none"),
    ],
    ids=["back", "zero", "nan", "far"],
)
def test_clocks_that_jump_are_told_and_change_nothing_else(
    make: Callable[..., SweepSource], clock: Callable[[np.ndarray], np.ndarray], doubt: str
) -> None:
    sweep = make(seeds=2)
    clean = summarise([sweep])
    rewrite(sweep, lambda table: with_column(table, "time", clock(table["time"].to_numpy())))
    summary = summarise([sweep])
    pd.testing.assert_frame_equal(summary.sweeps[0].scores, clean.sweeps[0].scores)
    (line,) = summary.loaded.doubts.to_dict("records")
    assert line["seed"] == 1
    assert doubt in line["note"]


def test_a_page_without_any_clock(make: Callable[..., SweepSource]) -> None:
    _, text = page(rewrite(make(seeds=1), lambda table: with_column(table, "time", [0.0] * len(table))))
    assert re.search(r"Logged between\s+unknown", text)
    assert "rows bear a time before 2000" in text


def test_rows_of_an_unknown_kind_are_told(make: Callable[..., SweepSource]) -> None:
    summary, text = page(rewrite(make(seeds=2), lambda table: with_column(table, "kind", ["dream"] * len(table))))
    assert not scores(summary, 1)["complete"].any()
    assert "rows of kinds that this program does not know: dream" in text
