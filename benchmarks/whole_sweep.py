"""The packaged plan's `ensemble` with six seeds, 48 runs of seconds each, from submit to report on a throw-away Slurm.

    python benchmarks/whole_sweep.py [NAME ...]

As one array, in chunks under MaxArraySize, six seeds a job, with accounting, and as another user. Writes what came of
each to docs/slurm.md. Needs Linux and root; about a quarter of an hour on an idle machine with two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

import rows  # noqa: E402 - found on the path that was set above
import slurm_cluster  # noqa: E402
from driver import PLAN, Sweeps, interpreter_for  # noqa: E402
from slurm_cluster import Settings  # noqa: E402

SWEEP, RUNS = "ensemble", 48


@dataclass(frozen=True)
class Way:
    """How the sweep is submitted, and into how many tasks and arrays that must make."""

    tasks: int
    arrays: int
    settings: Settings = field(default_factory=Settings)
    words: tuple[str, ...] = ()
    user: str | None = None


WAYS = {
    "array": Way(48, 1),
    "chunks": Way(48, 5, Settings(max_array_size=10)),
    "packed": Way(8, 1, words=("--seeds-per-job", "6")),
    "accounting": Way(48, 1, Settings(accounting=True)),
    "another-user": Way(8, 1, words=("--seeds-per-job", "6"), user="nobody"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = rows.chosen(parser, WAYS).names
    return rows.try_each(names, lambda name: _try(WAYS[name]), "whole sweeps", WAYS)


def _try(way: Way) -> str:
    conf = slurm_cluster.start(settings=way.settings)
    try:
        with tempfile.TemporaryDirectory(prefix="sweeps-whole-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            python = interpreter_for(way.user, folder) if way.user else sys.executable
            if python is None:
                return "skipped: no interpreter that this user may run"
            (folder / "work").mkdir()
            return _whole(Sweeps(folder / "work", conf, way.user, python), way)
    finally:
        slurm_cluster.stop(conf.parent)


def _whole(sweeps: Sweeps, way: Way) -> str:
    small = [f"--set={key}={value}" for key, value in yaml.safe_load(PLAN)["base"].items()]
    sweeps("submit", SWEEP, "--seeds", "6", "--cluster", "slurm", "--profile", "cpu", *small, *way.words, "--wait")
    runs = sweeps.runs()
    assert [run["state"] for run in runs] == ["done"] * RUNS, sweeps("status", "--runs")
    assert {run["attempts"] for run in runs} == {1}
    (record,) = sweeps.folder.glob("results/submissions/*/submission.json")
    submission = json.loads(record.read_text())
    tasks, arrays = len(submission["tasks"]), len(submission["chunks"])
    assert (tasks, arrays) == (way.tasks, way.arrays), (tasks, arrays)
    said = sweeps("aggregate", "--out", "report.html")
    assert f"{RUNS} done" in (sweeps.folder / "report.html").read_text(), said
    nodes = sorted({run["node"] or "?" for run in runs})
    return f"{RUNS} runs done once in {tasks} tasks of {arrays} arrays on {', '.join(nodes)}; report written"


if __name__ == "__main__":
    sys.exit(main())
