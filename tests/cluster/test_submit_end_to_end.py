"""Submitting to a real Slurm whose arrays hold four tasks: chunks, the report's job, canaries, packs, early deaths."""

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
    conf = slurm_cluster.start(settings=slurm_cluster.Settings(max_array_size=4))
    yield conf
    slurm_cluster.stop(conf.parent)


@pytest.fixture
def sweeps(tmp_path: Path, slurm_conf: Path) -> Sweeps:
    return Sweeps(tmp_path, slurm_conf)


def submission(sweeps: Sweeps) -> dict[str, object]:
    """The newest one."""
    found: dict[str, object] = json.loads(sweeps.results("submissions/*/submission.json")[-1].read_text())
    return found


def test_more_tasks_than_an_array_holds_end_in_a_report(sweeps: Sweeps) -> None:
    sweeps.submit("pair", "--seeds", "3", "--then-aggregate", "--max-parallel", "5")
    scripts = [path.read_text() for path in sweeps.results("submissions/*/*.sh")]
    arrays = [line for script in scripts for line in script.splitlines() if "--array" in line]
    assert arrays == ["#SBATCH --array=0-3%4", "#SBATCH --array=0-1%1"]
    report = sweeps.folder / "results" / "reports" / "pair.html"
    slurm_cluster.wait_until("the report", report.exists, seconds=600, pause=0.5)
    assert sweeps.states("pair") == ["done"] * 6
    assert len(sweeps.results("runs/*/seed-*/attempts/*.json")) == 6
    assert "pi_lr_scale=0.3" in report.read_text()


def test_seeds_wait_for_their_canary_and_one_of_a_pack_is_resumed_alone(sweeps: Sweeps) -> None:
    sweeps.submit("single", "--seeds", "3", "--seeds-per-job", "2", "--canary")
    assert [chunk["held"] for chunk in submission(sweeps)["chunks"]] == [False, True]  # type: ignore[attr-defined]
    assert "1 tasks are held until the first seeds of their 1 configurations" in sweeps("status")
    packed = "runs/*/seed-[23]/"
    slurm_cluster.wait_until("the pack", lambda: len(sweeps.results(f"{packed}status/001.json")) == 2, 300, pause=0.05)
    (canary,) = sweeps.results("runs/*/seed-1/status/001.json")
    assert json.loads(canary.read_text())["step"] >= 560  # its only evaluation with trained weights is the last
    os.kill(int(json.loads(sweeps.results(f"{packed}attempts/001.json")[0].read_text())["pid"]), signal.SIGKILL)
    failed = ["done", "failed", "failed"]
    slurm_cluster.wait_until("the failure", lambda: sweeps.states("single") == failed, pause=0.5)
    sweeps("rerun", "single", "--failed", "--indices", "3", "--wait")
    assert sweeps.states("single") == ["done", "failed", "done"]


def test_what_waits_is_held_when_the_first_tasks_die_alike(sweeps: Sweeps) -> None:
    """The nodes' GPUs are pretended: torch sees none."""
    small = [word for value in ("mem_gb=1", "cpus=1") for word in ("--option", value)]
    sweeps.submit("pair", "--seeds", "6", "--profile", "gpu", *small, "--max-parallel", "3")
    slurm_cluster.wait_until("the hold", lambda: sweeps.results("submissions/*/trip.json") != [], 300, pause=0.2)
    told = sweeps("status")
    assert "died alike (tdmpc.run.DeviceError: this job asked for a GPU and torch sees none" in told
    states = sweeps.states("pair")
    assert states.count("failed") >= 3
    assert states.count("pending") >= 3
    sweeps("cancel", "pair")
