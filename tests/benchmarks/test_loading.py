"""The benchmark of loading: its files are what it says they are, and all that it times reads all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from aggregate.analysis.summary import summarise
from aggregate.inputs.runs import load

RUNS, ROWS, SHARD = 9, 40, 20


@pytest.fixture(scope="module")
def bench(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/loading.py")


@pytest.fixture(scope="module")
def root(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("many")
    for config in bench.sweep(root, RUNS, ROWS).configs:
        for run in config.runs:
            bench.write(run.folder, run.seed, 0, ROWS, SHARD)
    return root


def test_the_runs_are_as_many_and_as_large_as_asked(bench: ModuleType, root: Path) -> None:
    loaded = load([bench.sweep(root, RUNS, ROWS)])
    assert len(loaded.quarantine) == 0
    assert len(loaded.runs) == RUNS
    assert {run.count for run in loaded.runs.values()} == {ROWS}
    assert {len(run.files) for run in loaded.runs.values()} == {ROWS // SHARD}
    assert len(set(loaded.rows.columns) & {metric.name for metric in bench.metrics()}) == bench.METRIC_COUNT


def test_they_can_be_judged(bench: ModuleType, root: Path) -> None:
    (summary,) = summarise([bench.sweep(root, RUNS, ROWS)]).sweeps
    assert summary.scores["complete"].all()
    assert sorted(summary.ranking["final_primary_n"]) == [1, 8]


@pytest.mark.parametrize("work", ["look", "load", "pyarrow", "polars", "duckdb"])
def test_all_that_is_timed_reads_all_rows(bench: ModuleType, root: Path, work: str) -> None:
    if work in ("polars", "duckdb"):
        pytest.importorskip(work)
    bench.WORK[work](root, RUNS, ROWS)  # these check the number of rows
