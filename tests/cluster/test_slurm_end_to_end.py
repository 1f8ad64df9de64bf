"""`sweeps` on a real Slurm: submit an array, watch, aggregate; kill a worker, run again what failed.

Everything is called from a folder that holds files with the names of our packages, as a user's may.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)

# Seconds of training: the least that has random steps, updates, evaluations and a report.
PLAN = """\
plan: tiny
title: Configurations that train in seconds
seeds: 1
base:
  task: cartpole-balance
  steps: 560
  seed_steps: 500
  utd_ratio: 1
  batch_size: 16
  mlp_dim: 16
  enc_dim: 16
  latent_dim: 16
  num_rollouts: 1
  iterations: 1
  num_samples: 8
  num_pi_trajs: 4
  num_elites: 4
  eval_freq: 300
  eval_episodes: 1
  final_eval_episodes: 1
  log_freq: 20
sweeps:
  pair:
    goal: see that an array trains
    priority: 1
    grid:
      pi_lr_scale: [0.3, 1.0]
  single:
    goal: see that one task with two seeds trains
    priority: 2
    grid:
      pi_lr_scale: [0.5]
"""


@pytest.fixture(scope="module")
def slurm_conf() -> Iterator[Path]:
    conf = slurm_cluster.start()  # in a folder with a short name: the path of a socket is limited
    yield conf
    slurm_cluster.stop(conf.parent)


class Sweeps:
    """The command line, in a folder of its own, against the cluster."""

    def __init__(self, folder: Path, slurm_conf: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(slurm_conf), "COLUMNS": "200"}
        (folder / "plan.yaml").write_text(PLAN)
        for name in ("plots", "jobs", "tdmpc", "submitit"):
            (folder / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")

    def __call__(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-P", "-m", "jobs.cli", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == code, done.stdout + done.stderr + self.logs()
        return done.stdout

    def submit(self, sweep: str, *more: str) -> str:
        return self("submit", sweep, "--plan", "plan.yaml", "--cluster", "slurm", "--profile", "cpu", *more)

    def states(self, sweep: str) -> list[str]:
        """The state of every run, as `status --json` has it."""
        (found,) = json.loads(self("status", sweep, "--json"))["sweeps"]
        return [run["state"] for configuration in found["configurations"] for run in configuration["runs"]]

    def results(self, pattern: str) -> list[Path]:
        return sorted((self.folder / "results").glob(pattern))

    def logs(self) -> str:
        return "".join(f"\n{path}\n{path.read_text()[-2000:]}" for path in self.results("submissions/*/logs/*.err"))


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
    if not sweeps.results("runs/*/seed-1/status.json"):
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
