"""The command line in a folder of its own, here or on a throw-away Slurm; what must be true of runs that recovered."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from slurm_cluster import wait_until

from jobs.cli import cli
from jobs.worker.train_job import HEARTBEAT_S

STEPS = 240  # some seconds of training
BURST_S = 0.3  # see `Sweeps.hold_at`
# Episodes of ten agent steps, of the task whose physics take the least time.
PLAN = f"""\
plan: tiny
seeds: 1-1
base:
  task: pendulum-swingup
  action_repeat: 100
  steps: {STEPS}
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
  eval_freq: 1000
  eval_episodes: 1
  final_eval_episodes: 1
  log_freq: 5
sweeps:
  one: {{goal: see that it survives, grid: {{tau: [0.01]}}}}
  pair: {{goal: see that an array trains, grid: {{num_q: [1, 2]}}}}
"""
ROOT = Path(__file__).resolve().parents[2]
TIMINGS = {"steps_per_s", "updates_per_s"}  # the only columns that may differ between two runs of one seed
SUBMIT = ("--plan", "plan.yaml", "--cluster", "slurm", "--profile", "cpu")
PATIENCE_S = 600.0  # on a machine that does other things


class Sweeps:
    """The command line in a folder of its own, which holds files with the names of our packages, as a user's may.

    conf: slurm.conf of a cluster; without one only this machine is seen. user: who runs it; python: with which
    interpreter.
    """

    def __init__(
        self, folder: Path, conf: Path | None = None, user: str | None = None, python: str = sys.executable
    ) -> None:  # fmt: skip
        self.folder, self.conf, self.user, self.python = folder, conf, user, python
        (folder / "plan.yaml").write_text(PLAN)
        for name in ("plots", "jobs", "tdmpc", "submitit"):
            (folder / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")
        self.in_this_process = str(ROOT)  # the PYTHONPATH that leads to what this process has imported
        hidden = ("SLURM", "SBATCH", "SWEEPS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        self.path = os.environ["PATH"]
        self.environment = {**kept, "COLUMNS": "200", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        if conf is not None:
            self.environment["SLURM_CONF"] = str(conf)
        if user is not None:
            shutil.chown(folder, user)
            self.environment |= {"HOME": str(folder), "USER": user, "LOGNAME": user}

    @property
    def cluster(self) -> Path:
        """The folder of its cluster."""
        assert self.conf is not None
        return self.conf.parent

    def python_with(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, "-P", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            check=False, timeout=3600, user=self.user, extra_groups=None if self.user is None else [],
        )  # fmt: skip

    def __call__(self, *words: str, code: int = 0) -> str:
        done = self.python_with("-m", "jobs.cli", *words)
        assert done.returncode == code, done.stdout + done.stderr + self.logs()
        return done.stdout

    def here(self, *words: str) -> str:
        """The same in this process, which has imported everything already: for what is asked again and again."""
        if self.user is not None or self.environment["PYTHONPATH"] != self.in_this_process:
            return self(*words)
        unset = dict.fromkeys(os.environ.keys() - self.environment.keys())
        with contextlib.chdir(self.folder):
            done = CliRunner(env={**unset, **self.environment}).invoke(cli, words)
        assert done.exit_code == 0, done.output + self.logs()
        return done.stdout

    def refusal(self, *words: str) -> str:
        """The one line in which a command is refused, "" where it is not."""
        done = self.python_with("-m", "jobs.cli", *words)
        refused = (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert refused or done.returncode == 0, done.stdout + done.stderr
        return done.stderr if refused else ""

    def submit(self, sweep: str, *more: str, code: int = 0) -> str:
        return self("submit", sweep, *SUBMIT, *more, code=code)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The same, in the background."""
        command = [self.python, "-P", "-m", "jobs.cli", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, text=True, **pipes)

    def results(self, pattern: str) -> list[Path]:
        return sorted((self.folder / "results").glob(pattern))

    def submissions(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.results("submissions/*/submission.json")]

    def runs(self) -> list[dict[str, Any]]:
        found = json.loads(self.here("status", "--json"))["sweeps"]
        return [run for sweep in found for c in sweep["configurations"] for run in c["runs"]]

    def states(self) -> list[str]:
        return [run["state"] for run in self.runs()]

    def until(self, *states: str) -> list[str]:
        """Wait for these states; all those that were seen on the way, in order."""
        seen: list[str] = []

        def there() -> bool:
            found = self.states()
            seen.extend(state for state in found if not seen or seen[-1] != state)
            return found == list(states)

        wait_until(" ".join(states), there, PATIENCE_S, pause=0.3)
        return seen

    def hold_at(self, step: int) -> int:
        """The process of seed 1, stopped (SIGSTOP) at `step` or soon after: the fault hits it in mid-run.

        Until then it works in bursts, each of which ends in a heartbeat: on a fast machine it would be done between
        two of them.
        """
        wait_until("a first step", lambda: self.step() > 0, PATIENCE_S, pause=0.02)
        pid = int(json.loads(max(self.results("runs/*/seed-1/attempts/*.json")).read_text())["pid"])
        while (before := self.step()) < step:
            time.sleep(BURST_S)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(HEARTBEAT_S)  # the next step is told at once
            os.kill(pid, signal.SIGCONT)
            wait_until("a heartbeat", lambda: self.step() > before, PATIENCE_S, pause=0.02)
        os.kill(pid, signal.SIGSTOP)
        assert self.step() < STEPS, "this machine trains too fast to be held in mid-run: raise STEPS"
        return pid

    def step(self) -> int:
        found = self.results("runs/*/seed-1/status/*.json")
        return max((json.loads(path.read_text())["step"] for path in found), default=0)

    def attempts(self) -> int:
        return len(self.results("runs/*/seed-1/attempts/*.json"))

    def processes(self, words: str = "") -> list[int]:
        """Those of programs of its runs whose command line holds `words`."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment, command = (path / "environ").read_bytes(), (path / "cmdline").read_bytes()
            except OSError:
                continue
            if f"SWEEPS_RUN={self.folder}".encode() in environment and words in command.replace(b"\0", b" ").decode():
                found.append(int(path.name))
        return found

    def outcomes(self, count: int) -> list[dict[str, Any]]:
        """What the attempts of all runs recorded as their ends, once there are `count` of them: a run is done before
        its last checkpoint is written, and its attempt ends after that."""

        def recorded() -> list[Path]:
            return self.results("runs/*/seed-*/outcome/*.json")

        wait_until(f"{count} outcomes", lambda: len(recorded()) >= count, PATIENCE_S, pause=0.05)
        return [json.loads(path.read_text()) for path in recorded()]

    def job(self) -> str:
        return str(self.runs()[0]["job"])

    def logs(self) -> str:
        found = self.results("submissions/*/logs/*")
        return "".join(f"\n{path}\n{path.read_text(errors='replace')[-2000:]}" for path in found)


def interpreter_for(user: str, folder: Path) -> str | None:
    """One that `user` may run and that finds our packages: this one, or the system's in an environment in `folder`."""

    def works(python: str) -> bool:
        command = [python, "-P", "-c", "import torch, jobs.worker.train_job"]
        try:
            done = subprocess.run(command, cwd="/", user=user, extra_groups=[], capture_output=True, check=False)
        except PermissionError:
            return False
        return done.returncode == 0

    if works(sys.executable):
        return sys.executable
    made = folder / "environment"
    if subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(made)], check=False).returncode != 0:
        return None
    for site in made.glob("lib/python*/site-packages"):
        (site / "ours.pth").write_text(
            "\n".join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
        )
    python = str(made / "bin" / "python")
    return python if works(python) else None


# --- what must be true of every run that recovered ------------------------------------------------------------


def complete(sweeps: Sweeps, sweep: str = "one") -> None:
    """No row is missing and none is there twice, whatever the number of attempts; the report can be written."""
    found = rows(sweeps.folder / "results", sweep)
    for run, trained in found[found["kind"] == "train"].groupby(["config_id", "seed"], observed=True)["step"]:
        assert trained.tolist() == list(range(20, STEPS + 1, 5)), (run, trained.tolist())
    sweeps.here("aggregate", "--out", "report.html")


def rows(results: Path, sweep: str = "one") -> Any:
    """Every row of `sweep` in a results folder, as the report sees it."""
    from aggregate.inputs.runs import load
    from jobs.reports.inputs import sweep_sources
    from jobs.results.results_folder import ResultsFolder

    return load(sweep_sources(ResultsFolder(results), [sweep])).rows


def weights(folder: Path) -> dict[str, Any]:
    """Every weight of the newest checkpoint below `folder`."""
    import torch

    newest = max(folder.glob("runs/*/seed-1/checkpoints/*.pt"))
    modules = torch.load(newest, weights_only=True)["agent"]["modules"]
    return {f"{module}.{name}": value for module, values in modules.items() for name, value in values.items()}


@functools.cache
def trained_in_one_go() -> Path:
    """A results folder where sweep `one` is done, once for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="sweeps-in-one-go-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Sweeps(folder)("submit", "one", "--plan", "plan.yaml", "--cluster", "debug", "--profile", "cpu")
    return folder / "results"


def as_uninterrupted(sweeps: Sweeps) -> str:
    """Compares metrics and weights with those of the run trained in one go."""
    import torch

    ended = f"runs/*/seed-1/outcome/{sweeps.attempts():03d}.json"  # it is done before its last checkpoint is
    wait_until("its outcome", lambda: bool(sweeps.results(ended)), PATIENCE_S)
    whole, parts = weights(trained_in_one_go()), weights(sweeps.folder / "results")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    expected, found = (
        table.loc[table["kind"].isin(["train", "episode", "eval", "validation"])].drop(columns=["attempt", "time"])
        for table in (rows(trained_in_one_go()), rows(sweeps.folder / "results"))
    )
    assert len(expected) == len(found)
    numbers = [name for name in expected.columns if expected[name].dtype.kind in "if"]
    same = [
        name for name in numbers if expected[name].reset_index(drop=True).equals(found[name].reset_index(drop=True))
    ]
    assert set(numbers) - set(same) <= TIMINGS, set(numbers) - set(same)
    return f"{len(same)} columns of {len(found)} rows and {len(whole)} tensors as in one go"
