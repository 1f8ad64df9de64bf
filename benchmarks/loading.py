"""How long the rows of many runs take to read and to judge, and how much memory, beside a bare scan of the same files.

    pip install polars duckdb               not needed by the package; one that is missing is left out
    python benchmarks/loading.py            1,000 runs of 1,000 rows and 50 metrics in shards of 500 rows, as the
                                            trainer writes them: 2,000 files
    python benchmarks/loading.py --runs 48 --shard 100

Each line is a fresh process; the files are in the page cache for all of them. Seconds and memory are counted from
after the imports, the processor's seconds over all threads and processes. Memory is the most that the process ever
held; those that it started count in full, though they share most of it with the first. "cold" finds no cache of
merged rows and of results, "cached" the ones that "cold" wrote, "one new shard" the same after one more shard. The
table is for docs/loading.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from aggregate.inputs import parallel  # noqa: E402
from aggregate.inputs.runs import ConfigSource, RunSource, SweepSource, load  # noqa: E402
from sweepwise.core import shard_name, shards  # noqa: E402
from sweepwise.core.metrics import Metric  # noqa: E402
from tdmpc.description import DESCRIPTION  # noqa: E402
from tdmpc.metrics import METRICS  # noqa: E402

METRIC_COUNT = 50
SEEDS, LEVELS = 8, (1, 2, 3, 4, 5)  # three factors of five levels: 125 configurations
PATTERN = ["train"] * 16 + ["episode"] * 3 + ["eval"]  # kinds of row, over and over
SPACING = 100  # agent steps from row to row


# --- what is read ---------------------------------------------------------------------------------------


def metrics() -> list[Metric]:
    """Those that the rows have: of every kind in `PATTERN`, lists among them."""
    of_kind = [m for m in METRICS.values() if m.kind in PATTERN]
    lists = [m for m in of_kind if m.is_list]
    return [*lists, *(m for m in of_kind if not m.is_list)][:METRIC_COUNT]


def shard(rng: np.random.Generator, first: int, rows: int) -> pa.Table:
    """`rows` rows of noise from row number `first` of a run."""
    number = np.arange(first, first + rows)
    kinds = np.array(PATTERN)[number % len(PATTERN)]
    steps = (number + 1) * SPACING
    columns = {"kind": kinds, "step": steps, "frames": 2 * steps, "update": steps, "time": 1.7e9 + steps / 10,
               "event": pa.nulls(rows, pa.string())}  # fmt: skip
    for metric in metrics():
        there = kinds == metric.kind
        if metric.is_list:
            columns[metric.name] = pa.array([rng.normal(size=5).tolist() if t else None for t in there])
        else:
            columns[metric.name] = pa.array(rng.lognormal(size=rows), mask=~there)
    table = pa.table(columns)
    fields = [shards.INDEX_SCHEMA.field(f.name) if f.name in shards.INDEX_SCHEMA.names else f for f in table.schema]
    return table.cast(pa.schema(fields, metadata={"schema_version": str(shards.SCHEMA_VERSION)}))


def write(folder: Path, seed: int, first: int, last: int, per_shard: int) -> None:
    """The shards of a run from row `first` to `last`."""
    rng = np.random.default_rng([seed, first])
    into = folder / shard_name.FOLDER
    into.mkdir(parents=True, exist_ok=True)
    for at in range(first, last, per_shard):
        table = shard(rng, at, min(per_shard, last - at))
        shards.write_table(table, into / str(shard_name.ShardName("a001", at // per_shard)))


def sweep(root: Path, runs: int, rows: int) -> SweepSource:
    """What `sweeps aggregate` would be given of the runs below `root`."""
    levels = itertools.islice(itertools.product(LEVELS, LEVELS, LEVELS), -(-runs // SEEDS))
    configs = []
    for number, chosen in enumerate(levels):
        identity = f"{number:010x}"
        seeds = range(min(SEEDS, runs - number * SEEDS))
        own = tuple(RunSource(identity, seed, root / "runs" / identity / str(seed), "done", 1,
                              root / "cache" / identity / f"{seed}.rows") for seed in seeds)  # fmt: skip
        factors = dict(zip(("tau", "lr", "utd_ratio"), chosen, strict=True))
        label = ", ".join(f"{key}={value}" for key, value in factors.items())
        configs.append(ConfigSource(identity, label, factors, number == 0, {}, rows * SPACING, own))
    return SweepSource("many", "", (), ("tau", "lr", "utd_ratio"), tuple(configs), DESCRIPTION)


# --- what is timed --------------------------------------------------------------------------------------


def _files(root: Path) -> list[str]:
    return sorted(map(str, root.glob(f"runs/*/*/{shard_name.FOLDER}/*.parquet")))


def _look(root: Path, runs: int, rows: int) -> None:
    for path in _files(root):
        Path(path).stat()


def _load(root: Path, runs: int, rows: int) -> None:
    load([sweep(root, runs, rows)])


def _summarise(root: Path, runs: int, rows: int) -> None:
    from aggregate.analysis.summary import summarise

    summarise([sweep(root, runs, rows)])


def _pyarrow(root: Path, runs: int, rows: int) -> None:
    tables = [shards.read_shard(Path(path)) for path in _files(root)]
    assert len(pa.concat_tables(tables)) == runs * rows


def _polars(root: Path, runs: int, rows: int) -> None:
    import polars

    assert len(polars.scan_parquet(_files(root)).collect()) == runs * rows


def _duckdb(root: Path, runs: int, rows: int) -> None:
    import duckdb

    assert len(duckdb.read_parquet(_files(root)).to_arrow_table()) == runs * rows


WORK: dict[str, Callable[[Path, int, int], None]] = {
    "look": _look, "load": _load, "summarise": _summarise, "pyarrow": _pyarrow, "polars": _polars, "duckdb": _duckdb,
}  # fmt: skip
NEEDED = {"polars": "polars", "duckdb": "duckdb", "summarise": "aggregate.analysis.summary"}


def _measure(work: str, root: Path, runs: int, rows: int) -> None:
    """In a fresh process: print seconds, processor seconds and MiB as JSON."""
    if work in NEEDED:
        importlib.import_module(NEEDED[work])
    before, wall, cpu = _peak(resource.RUSAGE_SELF), time.perf_counter(), _processor_seconds()
    WORK[work](root, runs, rows)
    seconds, cpu = time.perf_counter() - wall, _processor_seconds() - cpu
    children = _peak(resource.RUSAGE_CHILDREN) * min(parallel.MOST, os.cpu_count() or 1)
    print(json.dumps([seconds, cpu, _peak(resource.RUSAGE_SELF) - before + children]))


def _processor_seconds() -> float:
    return sum(os.times()[:4])  # with those of processes that ended


def _peak(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / 1024  # MiB on Linux


def _line(title: str, work: str, root: Path, runs: int, rows: int, times: int = 1) -> list[float]:
    """Print the line of the quickest of `times` processes; its figures."""
    command = [
        sys.executable,
        __file__,
        "--measure",
        work,
        "--root",
        str(root),
        "--runs",
        str(runs),
        "--rows",
        str(rows),
    ]
    outputs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(times)]
    best: list[float] = min(map(json.loads, outputs))
    print(f"| {title} | {best[0]:.1f} | {best[1]:.1f} | {best[2]:,.0f} |", flush=True)
    return best


def _compare(root: Path, runs: int, rows: int, per_shard: int, times: int) -> None:
    every = sweep(root, runs, rows)
    folders = [(run.folder, number) for number, run in enumerate(r for c in every.configs for r in c.runs)]
    for folder, number in folders:
        write(folder, number, 0, rows, per_shard)
    size = sum(map(os.path.getsize, _files(root))) / 2**20
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{len(_files(root)):,} files of {runs:,} runs, {size:,.0f} MiB; {machine}\n")
    print("| | seconds | processor seconds | MiB |\n|---|---|---|---|")
    _line("stat of all files", "look", root, runs, rows, times)
    _line("pyarrow, bare, one thread", "pyarrow", root, runs, rows, times)
    scans = [_line(f"{name}, bare scan", name, root, runs, rows, times)
             for name in ("polars", "duckdb") if importlib.util.find_spec(name)]  # fmt: skip
    cold = [_cold("load, cold", "load", root, runs, rows) for _ in range(times)]
    _line("load, cached", "load", root, runs, rows, times)
    _cold("load and summarise, cold", "summarise", root, runs, rows)
    _line("load and summarise, cached", "summarise", root, runs, rows, times)
    write(*folders[0], rows, rows + per_shard, per_shard)
    _line("load and summarise, one new shard", "summarise", root, runs, rows)
    for folder, number in folders[10::10]:
        write(folder, number, rows, rows + per_shard, per_shard)
    _line("load, a new shard in every tenth run", "load", root, runs, rows)
    if scans:
        print(f"\nload, cold: {min(cold)[0] / min(scans)[0]:.1f} times the faster scan")


def _cold(title: str, work: str, root: Path, runs: int, rows: int) -> list[float]:
    shutil.rmtree(root / "cache", ignore_errors=True)
    return _line(title, work, root, runs, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000, help="of a run (default: %(default)s)")
    parser.add_argument("--shard", type=int, default=500, help="rows of a shard (default: %(default)s)")
    parser.add_argument("--times", type=int, default=3, help="processes per line, of which the quickest counts")
    parser.add_argument("--measure", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help="folder for the files, which stay there; a temporary one otherwise")
    args = parser.parse_args()
    if args.measure:
        _measure(args.measure, args.root, args.runs, args.rows)
    elif args.root:
        _compare(args.root, args.runs, args.rows, args.shard, args.times)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _compare(Path(folder), args.runs, args.rows, args.shard, args.times)


if __name__ == "__main__":
    main()
