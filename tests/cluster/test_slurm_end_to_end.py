"""`sweeps` on a real Slurm: submit an array, watch, aggregate; kill a worker, run again what failed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from driver import PATIENCE_S, Sweeps, complete
from slurm_cluster import Settings

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)


@pytest.fixture
def sweeps(tmp_path: Path, cluster: Callable[[Settings], Path]) -> Sweeps:
    return Sweeps(tmp_path, cluster(Settings(max_array_size=4)))


def test_an_array_trains_and_is_reported(sweeps: Sweeps) -> None:
    short = ("--steps", "60")
    assert "submitted 2 tasks to slurm" in sweeps.submit("pair", *short)
    (script,) = sweeps.results("submissions/*/*.sh")
    assert "#SBATCH --array=0-1%" in script.read_text()
    assert set(sweeps.states()) <= {"pending", "running", "done"}
    again = sweeps.submit("pair", *short, "--wait")  # twice trains nothing twice
    assert "0 to submit" in again
    assert sweeps.states() == ["done", "done"]
    assert sweeps.attempts() == 2
    sweeps.here("aggregate", "--out", "report.html")
    report = (sweeps.folder / "report.html").read_text()
    assert "num_q=1" in report
    assert "num_q=2" in report


def test_a_killed_worker_is_seen_and_run_again(sweeps: Sweeps) -> None:
    sweeps.submit("one", "--seeds", "2", "--seeds-per-job", "2")
    os.kill(sweeps.hold_at(30), signal.SIGKILL)
    sweeps.until("failed", "failed")
    assert "0 to submit" in sweeps.submit("one", "--seeds", "2")  # a failure is not repeated unasked
    sweeps("rerun", "one", "--failed", "--wait")
    assert sweeps.states() == ["done", "done"]
    assert len(sweeps.results("runs/*/seed-*/attempts/002.json")) == 2
    complete(sweeps)
    assert "one" in (sweeps.folder / "report.html").read_text()


def test_the_doctor_finds_nothing_wrong(sweeps: Sweeps) -> None:
    """Its job begins, is signalled and queued again, and what Slurm says of itself makes a profile."""
    told = sweeps("doctor", "--option", "mem_gb=1", "--patience", str(PATIENCE_S), "--write", "mine.yaml")
    assert "signals" in told
    assert "arrive" in told
    assert "a requeued job started again" in told
    assert "partition: low" in (sweeps.folder / "mine.yaml").read_text()
