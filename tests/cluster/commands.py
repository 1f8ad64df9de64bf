"""The command line against a throw-away Slurm, on runs that train in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
