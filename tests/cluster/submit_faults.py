"""Faults in mid-submit on a real Slurm: the submitting process, or the controller, dies at one step after another.

A trap, a program of Slurm's name that is first on PATH, fires once at its step and is gone.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import slurm_cluster
from driver import PATIENCE_S, SUBMIT, Sweeps, complete
from slurm_cluster import ask, wait_until

from jobs.backends.slurm.squeue import LAUNCH_FAILED

SILENT = "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1"


@dataclass(frozen=True)
class Step:
    """A step of `submit`: before `program` does what it is asked, or after. words: of the calls that are meant."""

    name: str
    program: str
    after: bool = False
    words: str = ""


STEPS = (
    Step("locked", "sacctmgr"),
    Step("written", "sbatch"),
    Step("accepted", "sbatch", after=True),
    Step("recorded", "scontrol", words="release"),
    Step("released", "scontrol", after=True, words="release"),
)


def trap(sweeps: Sweeps, step: Step, act: str) -> None:
    """Have shell lines `act` run at `step`, once; those of a step after the call may look at its exit code, $code."""
    folder = sweeps.folder / "traps"
    folder.mkdir(exist_ok=True)
    real = shlex.quote(str(shutil.which(step.program)))
    call = f'{real} "$@"; code=$?' if step.after else f'{act}\nexec {real} "$@"'
    lines = [
        "#!/bin/sh",
        f'case "$*" in *{step.words}*) ;; *) exec {real} "$@";; esac',
        'rm "$0"',
        call,
        *([act, "exit $code"] if step.after else []),
    ]
    path = folder / step.program
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    sweeps.environment["PATH"] = f"{folder}:{sweeps.path}"


def killed_submitter(sweeps: Sweeps) -> str:
    """SIGKILL at every step; whichever command comes next completes the submit."""
    told = []
    for step in STEPS:
        place = Sweeps(_folder(sweeps, step.name), sweeps.conf)
        trap(place, step, "kill -9 $PPID")
        place.submit("pair", code=-signal.SIGKILL)
        if step.name == "locked":
            assert place.submissions() == []
            place.submit("pair")
        else:
            place("status")
        told.append(_done_once(place, step.name))
    return "; ".join(told)


def restarted_controller(sweeps: Sweeps) -> str:
    """slurmctld is killed and started again while a step of the submit waits; its answer is lost, too."""
    told = []
    for step in STEPS[1:]:
        place = Sweeps(_folder(sweeps, step.name), sweeps.conf)
        reached, go = place.folder / "reached", place.folder / "go"
        wait = f"touch {reached}; while [ ! -e {go} ]; do sleep 0.1; done"
        trap(place, step, f"{wait}; {SILENT}" if step.after else wait)
        submit = place.start("submit", "pair", *SUBMIT)
        wait_until(step.name, reached.exists, PATIENCE_S)
        slurm_cluster.kill_daemon(sweeps.cluster, "slurmctld")
        go.touch()
        slurm_cluster.start_daemon(sweeps.cluster, "slurmctld")
        said = submit.communicate(timeout=PATIENCE_S)[1].strip()
        assert submit.returncode in (0, 1), said
        how = "by itself" if submit.returncode == 0 else "by the next command"
        wait_until("the controller", lambda: "is UP" in ask(sweeps.cluster, "scontrol", "ping"), PATIENCE_S)
        if step.name == "released" and place.states() == ["lost", "lost"]:  # it died before it had saved the jobs
            place.submit("pair")
            how = "lost with the controller's memory, done by the next submit"
        told.append(_done_once(place, step.name, how))
    return "; ".join(told)


def _folder(sweeps: Sweeps, name: str) -> Path:
    folder = sweeps.folder / name
    folder.mkdir()
    return folder


def _done_once(sweeps: Sweeps, step: str, how: str = "") -> str:
    """Both runs are done in one attempt each, in one array that Slurm got once."""
    sweeps.until("done", "done")
    submission = sweeps.submissions()[-1]
    (chunk,) = submission["chunks"]
    listed = ask(sweeps.cluster, "squeue", "-h", "--states=all", f"--name={chunk['job_name']}", "-o", "%F").split()
    assert set(listed) == {chunk["job_id"]}, listed
    assert [run["attempts"] for run in sweeps.runs()] == [1, 1]
    complete(sweeps, "pair")
    return f"{step}: {how or 'completed by the next command'}"


DELAYS_S = (0.1, 0.3, 1.0, 2.0, 4.0, 6.0)
WALKER = Path(__file__).parents[1] / "jobs" / "programs" / "walker.py"
# two runs of a program that takes two seconds: the trials are many
WALKS = """
plan: walks
program:
  name: walker
  command: {python} walker.py --out {{run}} {{overrides}}
  hyperparameters: {{lr: 1e-3, steps: 10, pause: 0.2, trouble: ""}}
  seed: seed
  steps: steps
  metrics: {{primary: eval/return}}
seeds: 1
sweeps:
  pair: {{goal: see that both run once, grid: {{lr: [1e-3, 2e-3]}}}}
"""


@dataclass(frozen=True)
class Trial:
    """held, lost: whether jobs were, when the controller came back. left: jobs that it started again although they had
    ended, and that it holds since it could not."""

    held: bool
    lost: bool
    left: int


def forgotten_release(sweeps: Sweeps, delays_s: Sequence[float] = DELAYS_S, times: int = 5) -> str:
    """slurmctld is killed some time behind a submit. What it forgot comes back by looking, or by the next submit."""
    told = []
    for delay_s in delays_s:
        trials = [_forget(Sweeps(_folder(sweeps, f"{delay_s}-{number}"), sweeps.conf), delay_s)
                  for number in range(times)]  # fmt: skip
        held, lost, left = (sum(getattr(trial, name) for trial in trials) for name in ("held", "lost", "left"))
        also = f"; {left} jobs of runs that were done were left held" if left else ""
        told.append(f"{delay_s:g} s: {times} done once ({held} were held, {lost} were lost{also})")
    return "; ".join(told)


def _forget(sweeps: Sweeps, delay_s: float) -> Trial:
    """Both runs are done once."""
    shutil.copy(WALKER, sweeps.folder)
    (sweeps.folder / "plan.yaml").write_text(WALKS.format(python=sys.executable))
    sweeps.here("submit", "pair", *SUBMIT)
    time.sleep(delay_s)
    slurm_cluster.kill_daemon(sweeps.cluster, "slurmctld")
    slurm_cluster.start_daemon(sweeps.cluster, "slurmctld")
    wait_until("the controller", lambda: "is UP" in ask(sweeps.cluster, "scontrol", "ping"), PATIENCE_S)
    held = "JobHeldUser" in ask(sweeps.cluster, "squeue", "-h", "-o", "%r")
    seen: set[str] = set()

    def done() -> bool:
        states = sweeps.states()
        seen.update(states)
        if "lost" in states:
            sweeps.here("submit", "pair", *SUBMIT)
        _resume_nodes(sweeps)
        return states == ["done", "done"]

    wait_until("the end of both runs", done, PATIENCE_S, pause=0.3)
    left = _left_in_the_queue(sweeps)
    ended = [outcome["state"] for outcome in sweeps.outcomes(2)]
    assert ended.count("finished") == 2, ended
    return Trial(held, "lost" in seen, left)


def _resume_nodes(sweeps: Sweeps) -> None:
    """One that ran a job of which the controller no longer knows is drained."""
    for node in slurm_cluster.NODES:
        ask(sweeps.cluster, "scontrol", "update", f"NodeName={node}", "State=RESUME")


def _left_in_the_queue(sweeps: Sweeps) -> int:
    """A controller that went back in time starts jobs again that had ended; they find their runs done, or cannot be
    started and are held by it until the next look cancels them."""

    def reasons() -> list[str]:
        _resume_nodes(sweeps)
        sweeps.states()
        return ask(sweeps.cluster, "squeue", "-h", "--array", "-t", "PD", "-o", "%r").splitlines()

    wait_until("a queue in which nothing else waits", lambda: set(reasons()) <= {LAUNCH_FAILED}, 600, pause=1)
    left = len(reasons())  # 0, unless a job was held since the last look
    for job in ask(sweeps.cluster, "squeue", "-h", "-o", "%A").split():  # the next trial begins with an empty queue
        ask(sweeps.cluster, "scancel", job)
    return left
