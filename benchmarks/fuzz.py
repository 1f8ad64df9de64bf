"""Hostile and damaged input by family: each is refused in one line, or taken, and harms nothing.

`nice -n 10 python benchmarks/fuzz.py [--minutes M] [--seed N] [FAMILY]...`, 15 minutes otherwise, prints how many
inputs were tried and how many of them were taken. A hit ends its family with the smallest input that shows it; mend it,
and keep the input as a test. tests/test_fuzz.py tries a few of each family at every run of the tests.
"""

from __future__ import annotations

import argparse
import csv
import functools
import io
import json
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from mutations import TEXTS, json_files, mutated, replaced
from rich.console import Console
from rich.text import Text

from aggregate import importers
from aggregate.export import frames
from aggregate.importers import ImportOptions
from aggregate.inputs import cache_file, merge_shards, run_cache
from jobs.cli import cli
from jobs.planning import expand, plan
from jobs.reports import archive
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome, Status, SubmittedConfiguration, SubmittedSweep
from jobs.results.results_folder import ResultsFolder, archivable
from jobs.terminal import tables
from sweepwise.core import shards
from sweepwise.core.errors import SweepsError
from sweepwise.core.trainable import NoWeights
from sweepwise.core.value_format import cell, shown
from tdmpc import description
from tdmpc.training import checkpoint

Check = Callable[[Any, Path], bool]  # whether the input was taken; raises for what must not happen
_CONFIG = plan.registry.PACKAGED_SCHEMA.resolve({"task": "walker-walk", "steps": 3000})
_RUN = RunRef(_CONFIG.config_id, 1)
_CATALOGUE = description.DESCRIPTION.catalogue
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


# --- what must hold -------------------------------------------------------------------------------------


def refused(error: SweepsError, *names: str) -> bool:
    """False, for a message that has one of these names in it."""
    assert str(error).strip(), "an empty message"
    assert not names or any(name in str(error) for name in names), str(error)
    return False


def command(root: Path, *words: str) -> bool:
    """Whether `sweeps` took these words. Whatever they are, no traceback, and no control character on the terminal."""
    result = CliRunner().invoke(cli, ["--results", str(root), *words])
    output = result.stdout + result.stderr
    assert result.exit_code in (0, 1, 2), result.output
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "internal error" not in output, output
    assert shown(output) == output, repr(output)
    if result.exit_code:
        assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1, output
    return result.exit_code == 0


# --- plans and options ----------------------------------------------------------------------------------

_PLAN = {
    "plan": "p", "title": "t", "seeds": "1-3", "looks": 2, "margin": 5, "names": {"num_q": "q"}, "issues": {"a": "why"},
    "base": {"task": "walker-walk", "steps": 3000, "lr": 1e-3, "multi_gamma_gammas": [0.9, 0.99]},
    "sweeps": {
        "s": {"goal": "g", "priority": 1, "grid": {"num_q": [1, 2], "utd_ratio": [1, 2]}, "issues": ["a"],
              "questions": [{"ask": "better?", "by": "num_q", "low": 1, "high": 2}]},
        "o": {"parallel": True, "fixed": {"tau": 0.01}, "options": {"x": {"zip": {"num_q": [1, 2], "lr": [1, 2]}}}},
    },
}  # fmt: skip


def _plans() -> st.SearchStrategy[bytes]:
    text = yaml.safe_dump(_PLAN, sort_keys=False)
    return st.one_of(
        mutated(text.encode()),
        replaced(_PLAN).map(lambda value: yaml.safe_dump(value, sort_keys=False).encode("utf-8", "replace")),
    )


def check_plan(content: bytes, folder: Path) -> bool:
    (folder / "plan.yaml").write_bytes(content)
    try:
        loaded = plan.load(folder / "plan.yaml")
        for sweep in loaded.sweeps:
            expand.expand(loaded, sweep)
    except SweepsError as error:
        return refused(error, "plan.yaml", "sweep")
    return True


_USUAL = st.one_of(
    TEXTS, st.sampled_from(["s", "ensemble", "3", "1-3", "seed=1", "num_q=2", "small", str(_RUN), "best"])
)


def _words(*words: str | list[str] | None) -> st.SearchStrategy[tuple[str, ...]]:
    """Words of a command line: given ones, one of a list, and usual words or any text for None."""
    drawn = (_USUAL if w is None else st.sampled_from(w) if isinstance(w, list) else st.just(w) for w in words)
    return st.tuples(*drawn)


_COMMANDS = st.one_of(
    _words("plan", None),
    _words("plan", ["--seeds", "--preset", "--task", "--steps", "--set", "--plan"], None),
    _words(["status", "usage", "cancel", "release", "next", "aggregate", "more", "keys", "reread", "unarchive"], None),
    _words(["status", "rerun", "cancel", "prune"], "s", ["--indices", "--where", "--all"], None),
    _words("logs", None, "-n", None),
    _words(["compare", "adopt"], None, None),
    _words("evaluate", None, ["--at", "--episodes", "--planner", "--video"], None),
    _words("import", None, "--name", None, "--map", None),
)


def check_options(words: tuple[str, ...], folder: Path) -> bool:
    # No command line holds a NUL; bytes that are no UTF-8 reach Python as surrogates from U+DC80 on.
    return command(_store(folder).root, *(re.sub("[\ud800-\udfff]", "\udcff", w.replace("\0", "")) for w in words))


# --- records --------------------------------------------------------------------------------------------


def _store(folder: Path) -> ResultsFolder:
    """A results folder with a sweep of one run, which is done, made anew where an earlier input damaged it."""
    store = ResultsFolder(folder / "results")
    store.prepare()
    configuration = SubmittedConfiguration(_RUN.config_id, "base", {}, True, [1])
    if not store.config_path(_RUN.config_id).exists():
        store.write_config(_CONFIG)
        store.attempts.claim(_RUN, Attempt(0, "here", 1, "1", 0.0, "cpu"))
        store.attempts.write_outcome(_RUN, 1, AttemptOutcome("finished", 3000, "", 0.0))
        store.attempts.write_status(_RUN, Status(1, 3000, 3000, 12.5, None, 0.0))
        store.write_sweep(SubmittedSweep("s", "p", "g", [], [], [configuration], 0.0))
        store.write_decisions([])
    return store


_READING = ("status --runs", "status --json", "next", "rerun s --all --dry-run")


@functools.cache
def _records() -> dict[str, Any]:
    """Path of a record in the folder of `_store` -> its value."""
    with tempfile.TemporaryDirectory() as folder:
        root = _store(Path(folder)).root
        return {
            path.relative_to(root).as_posix(): json.loads(path.read_bytes())
            for path in sorted(root.rglob("*.json"))
            if path.parent.name != "locks"
        }


def _damaged_records() -> st.SearchStrategy[tuple[str, bytes]]:
    return st.sampled_from(sorted(_records())).flatmap(
        lambda name: st.tuples(st.just(name), json_files(_records()[name]))
    )


def check_records(damaged: tuple[str, bytes], folder: Path) -> bool:
    """Every command that reads says what is wrong, or goes on; what was there is put back for the next input."""
    root = _store(folder).root
    name, content = damaged
    (root / name).write_bytes(content)
    try:
        taken = [command(root, *line.split()) for line in _READING]
    finally:
        (root / name).write_bytes(json.dumps(_records()[name]).encode())
    return all(taken)


# --- files of others ------------------------------------------------------------------------------------

_ROWS = [{"step": n, "reward": n / 2, "seed": 1, "x": None} for n in range(5)]


@functools.cache
def _tables() -> dict[str, bytes]:
    parquet, text = io.BytesIO(), "step,reward,seed\n" + "".join(f"{n},{n / 2},1\n" for n in range(5))
    pq.write_table(pa.Table.from_pylist(_ROWS), parquet)
    lines = "\n".join(map(json.dumps, _ROWS))
    scalar = b"\x0a\x08\x0a\x06reward\x15\x00\x00\x80?"  # a summary with the tag and 1.0, in protobuf
    record = b"\x09" + bytes(8) + b"\x10\x05\x2a" + bytes([len(scalar)]) + scalar
    return {"t.csv": text.encode(), "t.tsv": text.replace(",", "\t").encode(),
            "t.json": json.dumps(_ROWS).encode(), "t.jsonl": lines.encode(), "t.parquet": parquet.getvalue(),
            "events.out.tfevents.1": _event(record)}  # fmt: skip


def _event(record: bytes) -> bytes:
    length = len(record).to_bytes(8, "little")
    sums = (importers.event_files.checksum(part).to_bytes(4, "little") for part in (length, record))
    return length + next(sums) + record + next(sums)


def _imports() -> st.SearchStrategy[tuple[str, bytes]]:
    return st.sampled_from(sorted(_tables())).flatmap(lambda name: st.tuples(st.just(name), mutated(_tables()[name])))


def check_import(file: tuple[str, bytes], folder: Path) -> bool:
    name, content = file
    for other in folder.iterdir():
        other.unlink()
    (folder / name).write_bytes(content)
    pairs = "eval_return=reward" if "tfevents" in name else "step=step,seed=seed,eval_return=reward"
    try:
        importers.collect([folder / name], ImportOptions.of([pairs], _CATALOGUE, task="a-b", algorithm="x"))
    except SweepsError as error:
        return refused(error, str(folder))
    return True


@functools.cache
def _tar() -> bytes:
    """An archive of the records of `_store` and of a small copy of code."""
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}
        code = {"code/0123456789abcdef.json": {"format": 1, "hash": "x", "root": "x", "time": 1.0}}
        for name, value in {**_records(), **code}.items():
            path = Path(folder) / str(len(files))
            path.write_text(json.dumps(value))
            files[name] = path
        archive._write(Path(folder) / "x.tar", archive.Archive(["s"], [], 1, {}), files)
        return (Path(folder) / "x.tar").read_bytes()


def check_archive(content: bytes, folder: Path) -> bool:
    """Refused and nothing is left, or taken and only what may be in an archive is there."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path, store = Path(place) / "x.tar", ResultsFolder(Path(place) / "r")
        path.write_bytes(content)
        try:
            archive.unpack(store, path)
            taken = True
        except SweepsError as error:
            taken = refused(error)
        names = {p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file()}
        left = {name for name in names if not name.startswith("locks/")}
        assert all(map(archivable, left)), left
        assert taken or not left, left
        assert sorted(p.name for p in Path(place).iterdir()) == ["r", "x.tar"]
    return taken


# --- files of this program ------------------------------------------------------------------------------


@functools.cache
def _shard() -> bytes:
    rows = [{"kind": "train", "step": n, "frames": n, "update": n, "time": 1.0, "pi_loss": n / 3} for n in range(20)]
    buffer = io.BytesIO()
    pq.write_table(shards.rows_to_table(rows, {"start_step": "0"}, _CATALOGUE), buffer, **shards._ENCODING)
    return buffer.getvalue()


def check_shard(content: bytes, folder: Path) -> bool:
    """Read, or set aside with a reason; never an error, since the other shards of the run are whole."""
    metrics = folder / "metrics"
    metrics.mkdir(exist_ok=True)
    (metrics / "a001-p00000.parquet").write_bytes(content)
    files, foreign = run_cache.list_shards(folder)
    merged = run_cache.load_merged(folder, files, None)
    assert not foreign
    assert all(bad.reason.strip() for bad in merged.rejected)
    for table in merged.kinds.values():
        merge_shards.frame(table)
    return not merged.rejected


@functools.cache
def _cache() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        cache_file.write(Path(folder) / "x", 7, {"key": "k"}, [pa.table({"a": list(range(50))})])
        return (Path(folder) / "x").read_bytes()


def check_cache(content: bytes, folder: Path) -> bool:
    """A damaged cache counts as absent."""
    (folder / "x").write_bytes(content)
    found = cache_file.read(folder / "x", 7)
    assert (found is not None) == (content == _cache())
    return found is not None


@functools.cache
def _snapshot() -> bytes:
    weights = {"encoder": {"w": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(3)}, "policy": {"w": torch.ones(2)}}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save_weights(Path(folder), weights, 5, lambda: True)
        (path,) = (Path(folder) / checkpoint.SNAPSHOTS).iterdir()
        return path.read_bytes()


def check_snapshot(content: bytes, folder: Path) -> bool:
    """Weights that are read are those that were written."""
    (folder / checkpoint.SNAPSHOTS).mkdir(exist_ok=True)
    (folder / checkpoint.SNAPSHOTS / "step-000000005.pt").write_bytes(content)
    try:
        _, weights = checkpoint.weights_at(folder, None)
    except NoWeights as error:
        return refused(error, "step-000000005.pt")
    assert torch.equal(weights["encoder"]["w"], torch.arange(12.0).reshape(3, 4))
    return True


# --- output ---------------------------------------------------------------------------------------------


def check_terminal(text: str, folder: Path) -> bool:
    """Tables, consoles and CSV files hold any text, and send none of it."""
    file = io.StringIO()
    console = tables.EscapingConsole(file=file, width=100)
    table = tables.table("name", "x")
    table.add_row(text, Text(text))
    console.print(table)
    console.print(Text(text), soft_wrap=True)
    console.print(text, markup=False)
    Console(file=file).print(shown(text), markup=False, highlight=False)
    assert shown(file.getvalue()) == file.getvalue()
    data = pa.table({cell(text) or "a": pa.array([text.encode("utf-8", "replace").decode()])})
    frames.write_csv(data, folder / "x.csv")
    with (folder / "x.csv").open(encoding="utf-8", newline="") as lines:
        ((name,), (value,)) = csv.reader(lines)
    for written in (name, value):
        assert not written.lstrip(" ").startswith(_FORMULAS) or re.fullmatch(r"[-+\s]*[\w.+-]+\s*", written), written
    return shown(text) == text


FAMILIES: dict[str, tuple[Callable[[], st.SearchStrategy[Any]], Check]] = {
    "plans": (_plans, check_plan),
    "options": (lambda: _COMMANDS, check_options),
    "records": (_damaged_records, check_records),
    "imports": (_imports, check_import),
    "archives": (lambda: mutated(_tar()), check_archive),
    "shards": (lambda: mutated(_shard()), check_shard),
    "caches": (lambda: mutated(_cache()), check_cache),
    "snapshots": (lambda: mutated(_snapshot()), check_snapshot),
    "terminal": (lambda: TEXTS.filter(lambda text: "\ud800" not in text), check_terminal),
}


def attempt(family: str, count: int, number: int, folder: Path) -> Counter[str]:
    """Try `count` inputs of a family, drawn by `number`: how many were tried and taken. Raises at a hit."""
    strategy, check = FAMILIES[family]
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy())
    def tried(value: Any) -> None:
        counts["tried"] += 1
        counts["taken"] += check(value, folder)

    tried()
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = options.families or list(FAMILIES)
    totals: dict[str, Counter[str]] = {name: Counter() for name in names}
    hits: dict[str, str] = {}
    ends, number = time.monotonic() + options.minutes * 60, options.seed
    while time.monotonic() < ends and len(hits) < len(names):
        for name in [name for name in names if name not in hits]:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    totals[name] += attempt(name, 50, number, Path(folder))
                except Exception:  # noqa: BLE001 - whatever it is, it is a hit
                    hits[name] = traceback.format_exc()
        number += 1
    print("| family | inputs | taken | hits |\n|---|---|---|---|")
    for name, counts in totals.items():
        print(f"| {name} | {counts['tried']:,} | {counts['taken']:,} | {int(name in hits)} |")
    for name, text in hits.items():
        print(f"\n{name}:\n{text}")
    return len(hits)


if __name__ == "__main__":
    sys.exit(main())
