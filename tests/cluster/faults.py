"""Faults on a real Slurm, one function each: what is broken, what must come of it, and what did, in a line.

`test_faults.py` holds the quick ones; `benchmarks/faults.py` tries all and prints the table.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slurm_cluster
from slurm_cluster import ask, wait_until

# Episodes of ten agent steps; seconds of training, most of them imports.
PLAN = """\
plan: tiny
seeds: 1-1
base:
  task: cartpole-swingup
  action_repeat: 100
  steps: 120
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
  one: {goal: see that it survives, grid: {tau: [0.01]}}
  pair: {goal: see that an array trains, grid: {num_q: [1, 2]}}
"""
ROOT = Path(__file__).resolve().parents[2]
TIMINGS = {"steps_per_s", "updates_per_s"}  # the only columns that may differ between two runs of one seed
PATIENCE_S = 600.0  # on a machine that does other things


class Sweeps:
    """The command line in a folder of its own, against a cluster. user: who runs it; python: with which interpreter."""

    def __init__(self, folder: Path, conf: Path, user: str | None = None, python: str = sys.executable) -> None:
        self.folder, self.cluster, self.user, self.python = folder, conf.parent, user, python
        (folder / "plan.yaml").write_text(PLAN)
        hidden = ("SLURM", "SBATCH", "SWEEPS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        ours = {"SLURM_CONF": str(conf), "COLUMNS": "200", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.environment = {**kept, **ours}
        if user is not None:
            shutil.chown(folder, user)
            self.environment |= {"HOME": str(folder), "USER": user, "LOGNAME": user}

    def __call__(self, *words: str, code: int = 0) -> str:
        command = [self.python, "-P", "-m", "jobs.cli", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=900,
            user=self.user, extra_groups=None if self.user is None else [],
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr + self.logs()
        return done.stdout

    def submit(self, sweep: str, *more: str) -> None:
        self("submit", sweep, "--plan", "plan.yaml", "--cluster", "slurm", "--profile", "cpu", *more)

    def runs(self) -> list[dict[str, Any]]:
        found = json.loads(self("status", "--json"))["sweeps"]
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

        wait_until(" ".join(states), there, PATIENCE_S, pause=0.5)
        return seen

    def train_to(self, step: int) -> dict[str, Any]:
        """Wait until the run of sweep `one` has reached `step`; its newest attempt."""
        wait_until(f"step {step}", lambda: self.step() >= step, PATIENCE_S, pause=0.05)
        newest = max(self.folder.glob("results/runs/*/seed-1/attempts/*.json"))
        found: dict[str, Any] = json.loads(newest.read_text())
        return found

    def hold_at(self, step: int) -> int:
        """Its process, stopped there (SIGSTOP): however fast the machine, the fault hits it in mid-run."""
        pid = int(self.train_to(step)["pid"])
        os.kill(pid, signal.SIGSTOP)
        assert self.step() < 120
        return pid

    def step(self) -> int:
        found = list(self.folder.glob("results/runs/*/seed-1/status/*.json"))
        return max((json.loads(path.read_text())["step"] for path in found), default=0)

    def attempts(self) -> int:
        return len(list(self.folder.glob("results/runs/*/seed-1/attempts/*.json")))

    def job(self) -> str:
        return str(self.runs()[0]["job"])

    def logs(self) -> str:
        found = sorted(self.folder.glob("results/submissions/*/logs/*"))
        return "".join(f"\n{path}\n{path.read_text(errors='replace')[-2000:]}" for path in found)


@dataclass(frozen=True)
class Fault:
    """what: broken. try_it: breaks it and asserts what must come of it; says what came. in_tests: in every test run."""

    what: str
    try_it: Callable[[Sweeps], str]
    in_tests: bool = False


# --- what must be true of every run that recovered ------------------------------------------------------------


def complete(sweeps: Sweeps) -> None:
    """No row is missing and none is there twice, whatever the number of attempts; the report can be written."""
    found = rows(sweeps, "results")
    trained = found.loc[found["kind"] == "train", "step"].tolist()
    assert trained == list(range(20, 121, 5)), trained
    sweeps("aggregate", "--out", "report.html")


def rows(sweeps: Sweeps, results: str) -> Any:
    """Every row of sweep `one` as the report sees it."""
    from aggregate.load import load
    from jobs.sources import sweep_sources
    from jobs.store import Store

    return load(sweep_sources(Store(sweeps.folder / results), ["one"])).rows


def weights(folder: Path) -> dict[str, Any]:
    """Every weight of the newest checkpoint below `folder`."""
    import torch

    newest = max(folder.glob("runs/*/seed-1/checkpoints/*.pt"))
    modules = torch.load(newest, weights_only=True)["agent"]["modules"]
    return {f"{module}.{name}": value for module, values in modules.items() for name, value in values.items()}


def as_uninterrupted(sweeps: Sweeps) -> str:
    """Trains the run again in one go, and compares metrics and weights."""
    import torch

    sweeps("--results", "whole", "submit", "one", "--plan", "plan.yaml", "--cluster", "debug", "--profile", "cpu")
    whole, parts = weights(sweeps.folder / "whole"), weights(sweeps.folder / "results")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    expected, found = (
        table.loc[table["kind"].isin(["train", "episode", "eval", "validation"])].drop(columns=["attempt", "time"])
        for table in (rows(sweeps, "whole"), rows(sweeps, "results"))
    )
    assert len(expected) == len(found)
    numbers = [name for name in expected.columns if expected[name].dtype.kind in "if"]
    same = [
        name for name in numbers if expected[name].reset_index(drop=True).equals(found[name].reset_index(drop=True))
    ]
    assert set(numbers) - set(same) <= TIMINGS, set(numbers) - set(same)
    return f"{len(same)} columns of {len(found)} rows and {len(whole)} tensors as in one go"


# --- the faults -----------------------------------------------------------------------------------------------


def killed_worker(sweeps: Sweeps) -> str:
    sweeps.submit("one")
    os.kill(sweeps.hold_at(30), signal.SIGKILL)
    sweeps.until("failed")
    reason = sweeps.runs()[0]["reason"]
    assert "; see " in reason, reason
    sweeps("rerun", "one", "--failed", "--wait")
    assert (sweeps.states(), sweeps.attempts()) == (["done"], 2)
    complete(sweeps)
    return "shown as failed with its log named; done after `rerun --failed`"


def killed_slurmd(sweeps: Sweeps) -> str:
    """The node's daemon dies, and its worker goes on when the next attempt has begun elsewhere: two at once."""
    sweeps.submit("one")
    pid = sweeps.hold_at(30)
    node = sweeps.runs()[0]["node"]
    slurm_cluster.kill_daemon(sweeps.cluster, node)
    try:
        # what slurmctld does by itself after SlurmdTimeout
        ask(sweeps.cluster, "scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=killed")
        wait_until("a second attempt", lambda: sweeps.attempts() == 2, PATIENCE_S)
        os.kill(pid, signal.SIGCONT)
        seen = sweeps.until("done")
        assert "failed" not in seen, seen
        assert sweeps.runs()[0]["node"] != node
        (outcome,) = sweeps.folder.glob("results/runs/*/seed-1/outcome/001.json")
        assert json.loads(outcome.read_text())["state"] == "superseded"
        complete(sweeps)
    finally:
        slurm_cluster.start_daemon(sweeps.cluster, node)
        ask(sweeps.cluster, "scontrol", "update", f"NodeName={node}", "State=RESUME")
    return f"done on the other node, the first worker stopped when it came back; states: {', '.join(seen)}"


def restarted_slurmctld(sweeps: Sweeps) -> str:
    sweeps.submit("one")
    pid = sweeps.hold_at(30)
    assert sweeps.states() == ["running"]
    slurm_cluster.kill_daemon(sweeps.cluster, "slurmctld")
    (silent,) = sweeps.runs()
    assert silent["state"] == "running", silent
    assert silent["as_of"] is not None
    slurm_cluster.start_daemon(sweeps.cluster, "slurmctld")
    os.kill(pid, signal.SIGCONT)
    seen = sweeps.until("done")
    assert not {"failed", "lost"} & set(seen), seen
    complete(sweeps)
    return f"running, marked as of before, while it was silent; then {', '.join(seen)}"


def requeued(sweeps: Sweeps) -> str:
    sweeps.submit("one")
    sweeps.hold_at(30)
    ask(sweeps.cluster, "scontrol", "requeue", sweeps.job())
    seen = sweeps.until("done")
    assert "failed" not in seen, seen
    assert sweeps.attempts() == 2
    complete(sweeps)
    return f"done by itself; states on the way: {', '.join(seen)}"


def preempted(sweeps: Sweeps) -> str:
    sweeps.submit("one")
    sweeps.hold_at(60)  # Slurm's signals wake it
    node = sweeps.runs()[0]["node"]
    urgent = f"--partition=high --nodelist={node} --exclusive --output=/dev/null".split()
    ask(sweeps.cluster, "sbatch", *urgent, "--wrap", "sleep 2")
    seen = sweeps.until("done")
    assert "failed" not in seen, seen
    assert sweeps.attempts() == 2
    (outcome,) = sweeps.folder.glob("results/runs/*/seed-1/outcome/001.json")
    assert json.loads(outcome.read_text())["state"] == "interrupted"
    complete(sweeps)
    return f"saved its state, done by itself, {as_uninterrupted(sweeps)}"


def cancelled(sweeps: Sweeps) -> str:
    sweeps.submit("one")
    sweeps.hold_at(30)
    assert "1 runs cancelled" in sweeps("cancel", "one")
    sweeps.until("interrupted")
    reason = sweeps.runs()[0]["reason"]
    sweeps.submit("one", "--wait")
    assert (sweeps.states(), sweeps.attempts()) == (["done"], 2)
    complete(sweeps)
    return f"interrupted ({reason}); done after the next submit"


def over_its_time(sweeps: Sweeps) -> str:
    """Slurm's shortest limit is a minute; the signal comes up to a minute early."""
    sweeps.submit("one", "--option", "time=1", "--option", "checkpoint_signal_s=30", "--steps", "20000")
    sweeps.until("running")
    wait_until("a second attempt", lambda: sweeps.attempts() >= 2, PATIENCE_S, pause=1)
    (run,) = sweeps.runs()
    assert run["state"] in ("pending", "running"), run
    sweeps("cancel", "one")
    return "saved its state at the signal, queued itself again, and went on"


def full_disk(sweeps: Sweeps) -> str:
    """The runs' folder is a file system of a megabyte, and later of more."""
    place = sweeps.folder / "results"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    try:
        sweeps.submit("one")
        sweeps.until("failed")
        reason = sweeps.runs()[0]["reason"]
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        sweeps("rerun", "one", "--failed", "--wait")
        assert sweeps.states() == ["done"]
        complete(sweeps)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    return f"failed ({reason.partition(';')[0]}); done after `rerun --failed` with more room"


def purged(sweeps: Sweeps) -> str:
    """Slurm has forgotten how the job ended (MinJobAge)."""
    sweeps.submit("one")
    os.kill(sweeps.hold_at(30), signal.SIGKILL)
    wait_until("the end of the job", lambda: "RUNNING" not in ask(sweeps.cluster, "squeue", "-h", "-o", "%T"))
    slurm_cluster.kill_daemon(sweeps.cluster, "slurmctld")
    shutil.rmtree(sweeps.cluster / "state")
    (sweeps.cluster / "state").mkdir()
    slurm_cluster.start_daemon(sweeps.cluster, "slurmctld")
    sweeps.until("failed")
    reason = sweeps.runs()[0]["reason"]
    sweeps("rerun", "one", "--failed", "--wait")
    complete(sweeps)
    return f"failed ({reason.partition(';')[0]}); done after `rerun --failed`"


def as_another_user(sweeps: Sweeps) -> str:
    """Everything as `nobody`; no fault, but what root can do proves little."""
    folder = Path(tempfile.mkdtemp(prefix="sweeps-nobody-"))
    try:
        folder.chmod(0o755)
        python = interpreter_for("nobody", folder)
        if python is None:
            return "skipped: no interpreter that this user may run"
        (folder / "work").mkdir()
        theirs = Sweeps(folder / "work", sweeps.cluster / "slurm.conf", "nobody", python)
        theirs.submit("one")  # which is one of the pair
        said = theirs("cancel", "one")
        assert "1 runs cancelled" in said, said
        wait_until("its end", lambda: not {"pending", "running"} & set(theirs.states()), PATIENCE_S)
        theirs.submit("pair", "--wait")
        assert theirs.states() == ["done"] * 3, theirs("status", "--runs")
        theirs("aggregate", "--out", "report.html")
        owners = {path.owner() for path in theirs.folder.glob("results/runs/*/seed-1/*")}
        assert owners == {"nobody"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return "cancelled, trained and reported"


def interpreter_for(user: str, folder: Path) -> str | None:
    """One that `user` may run and that finds our packages: this one, or the system's in an environment in `folder`."""

    def works(python: str) -> bool:
        command = [python, "-P", "-c", "import torch, jobs.entry"]
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


FAULTS = {
    "worker": Fault("the worker is killed (SIGKILL)", killed_worker),
    "slurmd": Fault("a node's slurmd is killed and the node given up for dead", killed_slurmd, in_tests=True),
    "slurmctld": Fault("slurmctld is killed and started again in mid-run", restarted_slurmctld, in_tests=True),
    "requeue": Fault("an administrator queues the job again", requeued),
    "preemption": Fault("an urgent job takes the node", preempted, in_tests=True),
    "cancel": Fault("`sweeps cancel`, then a submit", cancelled),
    "user": Fault("submitted by another user than root", as_another_user, in_tests=True),
    "time": Fault("the time limit is reached", over_its_time),
    "disk": Fault("the disk is full", full_disk),
    "purged": Fault("the controller has forgotten the job", purged),
}
