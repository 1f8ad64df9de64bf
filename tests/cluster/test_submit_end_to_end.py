"""Submitting to a real Slurm whose arrays hold four tasks: chunks, the report's job, canaries, packs, early deaths."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from driver import PATIENCE_S, STEPS, Sweeps
from slurm_cluster import Settings, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)


@pytest.fixture
def sweeps(tmp_path: Path, cluster: Callable[[Settings], Path]) -> Sweeps:
    return Sweeps(tmp_path, cluster(Settings(max_array_size=4)))


def test_more_tasks_than_an_array_holds_end_in_a_report(sweeps: Sweeps) -> None:
    told = sweeps.folder / "told"
    sweeps.submit("pair", "--steps", "60", "--seeds", "3", "--then-aggregate", "--max-parallel", "5",
                  "--notify", f'echo "$SWEEPS_EVENT: $SWEEPS_MESSAGE" >> {told}')  # fmt: skip
    scripts = [path.read_text() for path in sweeps.results("submissions/*/*.sh")]
    arrays = [line for script in scripts for line in script.splitlines() if "--array" in line]
    assert arrays == ["#SBATCH --array=0-3%4", "#SBATCH --array=0-1%1"]
    report = sweeps.folder / "results" / "reports" / "pair.html"
    wait_until("the report", report.exists, PATIENCE_S, pause=0.5)
    assert sweeps.states() == ["done"] * 6
    assert len(sweeps.results("runs/*/seed-*/attempts/*.json")) == 6
    assert "num_q=1" in report.read_text()
    wait_until("the notification", told.exists, PATIENCE_S, pause=0.5)
    assert told.read_text().startswith("ended: pair has ended: 6 done. ")


def test_seeds_wait_for_their_canary_and_one_of_a_pack_is_resumed_alone(sweeps: Sweeps) -> None:
    sweeps.submit("one", "--seeds", "3", "--seeds-per-job", "2", "--canary")
    assert [chunk["held"] for chunk in sweeps.submissions()[-1]["chunks"]] == [False, True]
    canary = sweeps.hold_at(30)
    assert "1 tasks are held until the first seeds of their 1 configurations" in sweeps("status")
    os.kill(canary, signal.SIGCONT)
    packed = "runs/*/seed-[23]/"
    wait_until("the pack", lambda: len(sweeps.results(f"{packed}status/001.json")) == 2, PATIENCE_S, pause=0.02)
    os.kill(int(json.loads(sweeps.results(f"{packed}attempts/001.json")[0].read_text())["pid"]), signal.SIGKILL)
    assert sweeps.step() == STEPS  # the canary's only evaluation with trained weights is the last
    sweeps.until("done", "failed", "failed")
    sweeps("rerun", "one", "--failed", "--indices", "3", "--wait")
    assert sweeps.states() == ["done", "failed", "done"]


def test_what_waits_is_held_when_the_first_tasks_die_alike(sweeps: Sweeps) -> None:
    """The nodes' GPUs are pretended: torch sees none."""
    small = [word for value in ("mem_gb=1", "cpus=1") for word in ("--option", value)]
    sweeps.submit("pair", "--seeds", "10", "--profile", "gpu", *small, "--max-parallel", "3")
    wait_until("the hold", lambda: sweeps.results("submissions/*/trip.json") != [], PATIENCE_S, pause=0.2)
    told = sweeps("status")
    assert "failed alike (tdmpc.api.DeviceError: this job requested a GPU and torch finds none" in told
    states = sweeps.states()
    assert states.count("failed") >= 3
    assert states.count("pending") >= 3
    sweeps("cancel", "pair")
