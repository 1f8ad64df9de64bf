"""`sweeps` from submit to report on this machine, with the real agent: in the background, killed, run again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from jobs import video
from jobs.errors import JobsError

# Episodes of ten agent steps; a run takes seconds, most of them imports.
PLAN = """\
plan: tiny
seeds: 2
base:
  task: cartpole-swingup
  action_repeat: 100
  steps: 40
  seed_steps: 20
  utd_ratio: 1
  batch_size: 8
  mlp_dim: 32
  enc_dim: 32
  latent_dim: 32
  num_rollouts: 1
  iterations: 1
  num_samples: 8
  num_pi_trajs: 4
  num_elites: 4
  eval_freq: 10
  eval_episodes: 1
  final_eval_episodes: 1
  log_freq: 5
sweeps:
  pair:
    goal: see that it trains
    grid:
      num_q: [1, 2]
  one:
    goal: see that it survives
    grid:
      tau: [0.01]
"""

# When the `count`th file whose path holds `word` is about to be moved to its name, only half of it is there, and
# SIGKILL: nothing of Python runs after that.
KILLED_IN_MID_WRITE = """
import os, signal
word, left, replace = {word!r}, {count}, os.replace
def half(part, path):
    global left
    left -= word in str(path)
    if left:
        return replace(part, path)
    os.truncate(part, os.path.getsize(part) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = half
from jobs.cli import main
main()
"""
CLOCKED = ("time", "steps_per_s", "updates_per_s")


class Sweeps:
    """The command line in a folder of its own; its runs see neither Slurm nor a GPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "plan.yaml").write_text(PLAN)
        hidden = ("SLURM", "SBATCH", "SWEEPS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        self.environment = {**kept, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}

    def start(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", *command],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = self.start("-m", "jobs.cli", *arguments)
        logs = "".join(path.read_text()[-2000:] for path in self.folder.glob("results/submissions/*/logs/*"))
        assert done.returncode == code, done.stdout + done.stderr + logs
        return done.stdout

    def killed(self, word: str, count: int, *arguments: str) -> None:
        """The command, killed when it has written half of the `count`th file whose path holds `word`."""
        script = KILLED_IN_MID_WRITE.format(word=word, count=count)
        assert self.start("-c", script, *arguments).returncode == -signal.SIGKILL

    def rows(self, attempt: str = "a*") -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows of the only run, of one attempt or of each row the last; nothing left out but what a clock says."""
        found = {}
        for path in sorted(self.folder.glob(f"results/runs/*/seed-1/metrics/{attempt}-*.parquet")):
            for row in pq.read_table(path).to_pylist():
                kept = {name: value for name, value in row.items() if name not in CLOCKED and value is not None}
                found[row["kind"], row["step"], row["event"]] = kept
        return found

    def states(self) -> list[str]:
        found = json.loads(self("status", "--json"))["sweeps"]
        return [run["state"] for sweep in found for c in sweep["configurations"] for run in c["runs"]]


ONE = ("submit", "one", "--plan", "plan.yaml", "--seeds", "1-1")


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    """The one run of sweep `one`, which nothing interrupted."""
    made = Sweeps(tmp_path_factory.mktemp("whole"))
    made(*ONE, "--cluster", "debug")
    return made


def test_a_sweep_from_submit_to_report(sweeps: Sweeps) -> None:
    sweeps("submit", "pair", "--plan", "plan.yaml", "--cluster", "local", "--seeds-per-job", "2", "--wait")
    assert sweeps.states() == ["done"] * 4
    again = sweeps("submit", "pair", "--plan", "plan.yaml", "--cluster", "local", "--seeds", "3", "--wait")
    assert "4 done, 2 new; 2 to submit" in again
    assert sweeps.states() == ["done"] * 6
    sweeps("aggregate", "--out", "report.html")
    first = (sweeps.folder / "report.html").read_bytes()
    assert b"num_q=1" in first
    assert b"num_q=2" in first
    run = next(path.parent.name for path in sweeps.folder.glob("results/runs/*/seed-1"))
    played = json.loads(sweeps("evaluate", f"{run}/seed-1", "--at", "20", "--episodes", "2", "--json"))
    assert [(p["step"], p["planner"], len(p["returns"])) for p in played] == [
        (20, "eval", 2), (20, "train", 2), (20, "policy", 2),
    ]  # fmt: skip
    assert "5 % CI" in sweeps("evaluate", run, "--planner", "policy", "--episodes", "3")
    assert "there are 10, 20, 30, 40" in sweeps.start("-m", "jobs.cli", "evaluate", run, "--at", "25").stderr
    sweeps("aggregate", "--out", "again.html")
    assert (sweeps.folder / "again.html").read_bytes() == first


def test_killed_in_mid_write_it_goes_on_from_the_last_checkpoint_to_the_very_same_rows(
    sweeps: Sweeps, whole: Sweeps
) -> None:
    """Twice: publishing a shard, and publishing a checkpoint. One is taken at every update."""
    sweeps.killed("/metrics/", 2, *ONE, "--cluster", "debug", "--checkpoint-minutes", "0")
    (run,) = sweeps.folder.glob("results/runs/*/seed-1")
    assert [len(list((run / "metrics").glob(name))) for name in (".*.part", "*.parquet")] == [1, 1]
    assert sweeps.states() == ["failed"]
    sweeps("aggregate", "--out", "report.html")  # what there is can be read
    sweeps.killed("step-000000030-u000000030-a002.pt", 1, "rerun", "one", "--failed")
    assert max((run / "checkpoints").glob("*.json")).name == "step-000000030-u000000029-a002.json"
    sweeps("rerun", "one", "--failed", "--cluster", "local", "--wait")
    assert sweeps.states() == ["done"]
    first, second, third = (sweeps.rows(f"a00{n}") for n in (1, 2, 3))
    assert first.keys() & second.keys() == set()  # what is published with a checkpoint is never computed again
    again = second.keys() & third.keys()
    assert {(kind, step) for kind, step, _ in again} == {("train", 30), ("eval", 30), ("validation", 30)}
    assert [second[key] for key in again] == [third[key] for key in again]
    assert sweeps.rows() == whole.rows()
    sweeps("aggregate", "--out", "report.html")
    assert "3 attempts" in (sweeps.folder / "report.html").read_text()


def test_an_episode_is_filmed_without_a_display(whole: Sweeps) -> None:
    try:
        video.renderer()
    except JobsError as error:
        pytest.skip(str(error))
    (run,) = whole.folder.glob("results/runs/*/seed-1")
    told = whole("evaluate", f"{run.parent.name}/seed-1", "--video", "film.gif")
    assert told.splitlines()[-1] == f"wrote {whole.folder / 'film.gif'}"
    with Image.open(whole.folder / "film.gif") as found:
        assert (found.size, found.n_frames) == ((video.WIDTH, video.HEIGHT), 11)  # ten steps and where they began
        assert len(found.convert("RGB").getcolors(1 << 17) or []) > 100  # a scene, not an empty picture


def wait_until(holds: Callable[[], bool]) -> None:
    """Poll what other processes do, for two minutes at most."""
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail("it never came")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every weight of the newest checkpoint below `folder`."""
    newest = max(folder.glob("runs/*/seed-1/checkpoints/*.pt"))
    modules = torch.load(newest, weights_only=True)["agent"]["modules"]
    return {f"{module}.{name}": value for module, values in modules.items() for name, value in values.items()}


def test_an_edit_after_submit_does_not_leak_into_what_runs(sweeps: Sweeps, repository: Path) -> None:
    live = sweeps.folder / "live"
    for package in ("tdmpc", "jobs", "aggregate", "plots", "slurm_templates"):
        shutil.copytree(repository / package, live / package)
    sweeps.environment["PYTHONPATH"] = str(live)
    sweeps("submit", "one", "--plan", "plan.yaml", "--seeds", "1-1", "--cluster", "local")
    for name in ("jobs/local.py", "jobs/entry.py", "tdmpc/agent.py"):
        (live / name).write_text("raise SystemExit('the edit leaked')\n")
    sweeps.environment["PYTHONPATH"] = str(repository)
    wait_until(lambda: set(sweeps.states()) <= {"done", "failed", "interrupted"})
    assert sweeps.states() == ["done"]
    (attempt,) = sweeps.folder.glob("results/runs/*/seed-1/attempts/001.json")
    code = json.loads(attempt.read_text())["code"]
    assert (sweeps.folder / "results" / "code" / code / "tdmpc" / "agent.py").is_file()
    shard = next(sweeps.folder.glob("results/runs/*/seed-1/metrics/*.parquet"))
    assert len(pq.read_schema(shard).metadata[b"code"]) == 16


def test_told_to_stop_it_saves_and_the_next_submit_ends_as_if_it_had_not_been(sweeps: Sweeps) -> None:
    submit = (*ONE, "--steps", "300", "--set", "eval_freq=1000")
    sweeps("--results", "whole", *submit, "--cluster", "debug")
    sweeps(*submit, "--cluster", "local")
    wait_until(lambda: any(sweeps.folder.glob("results/runs/*/seed-1/status/001.json")))
    (attempt,) = sweeps.folder.glob("results/runs/*/seed-1/attempts/001.json")
    os.kill(json.loads(attempt.read_text())["pid"], signal.SIGTERM)
    wait_until(lambda: sweeps.states() == ["interrupted"])  # first its attempt ends, then its process
    sweeps(*submit, "--cluster", "local", "--wait")
    assert sweeps.states() == ["done"]
    whole, parts = weights(sweeps.folder / "whole"), weights(sweeps.folder / "results")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
