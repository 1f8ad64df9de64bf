"""`sweeps` on a real Slurm: submit an array, watch, aggregate; kill a worker, run again what failed.

Everything is called from a folder that holds files with the names of our packages, as a user's may.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
from commands import Sweeps

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)


@pytest.fixture(scope="module")
def slurm_conf() -> Iterator[Path]:
    conf = slurm_cluster.start()  # in a folder with a short name: the path of a socket is limited
    yield conf
    slurm_cluster.stop(conf.parent)


@pytest.fixture
def sweeps(tmp_path: Path, slurm_conf: Path) -> Sweeps:
    return Sweeps(tmp_path, slurm_conf)


def test_an_array_trains_and_is_reported(sweeps: Sweeps) -> None:
    assert "submitted 2 tasks to slurm" in sweeps.submit("pair")
    (script,) = sweeps.results("submissions/*/*.sh")
    assert "#SBATCH --array=0-1%" in script.read_text()
    assert set(sweeps.states("pair")) <= {"pending", "running"}
    again = sweeps.submit("pair", "--wait")  # twice trains nothing twice
    assert "0 to submit" in again
    assert sweeps.states("pair") == ["done", "done"]
    assert len(sweeps.results("runs/*/seed-1/attempts/*.json")) == 2
    sweeps("aggregate", "--out", "report.html")
    report = (sweeps.folder / "report.html").read_text()
    assert "pi_lr_scale=0.3" in report
    assert "pi_lr_scale=1" in report


def worker(sweeps: Sweeps) -> int | None:
    """The process that trains, once it has reported a step."""
    if not sweeps.results("runs/*/seed-1/status/001.json"):
        return None
    (attempt,) = sweeps.results("runs/*/seed-1/attempts/001.json")
    return int(json.loads(attempt.read_text())["pid"])


def test_a_killed_worker_is_seen_and_run_again(sweeps: Sweeps) -> None:
    sweeps.submit("single", "--seeds", "2", "--seeds-per-job", "2")
    slurm_cluster.wait_until("a first step", lambda: worker(sweeps) is not None, pause=0.02)
    pid = worker(sweeps)
    assert pid is not None
    assert sweeps.results("runs/*/*/outcome/*.json") == []
    os.kill(pid, signal.SIGKILL)
    slurm_cluster.wait_until("the failure", lambda: sweeps.states("single") == ["failed", "failed"], pause=0.5)
    assert "0 to submit" in sweeps.submit("single", "--seeds", "2")  # a failure is not repeated unasked
    sweeps("rerun", "single", "--failed", "--wait")
    assert sweeps.states("single") == ["done", "done"]
    assert len(sweeps.results("runs/*/seed-*/attempts/002.json")) == 2
    sweeps("aggregate", "--out", "report.html")
    assert "single" in (sweeps.folder / "report.html").read_text()
