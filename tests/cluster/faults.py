"""Faults on a real Slurm, one function each: what is broken, what must come of it, and what did, in a line.

`test_faults.py` holds the quick ones; `benchmarks/faults.py` tries all and writes the table of docs/slurm.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import site_faults
import slurm_cluster
import submit_faults
from driver import PATIENCE_S, Sweeps, as_uninterrupted, complete, interpreter_for
from slurm_cluster import ask, wait_until


@dataclass(frozen=True)
class Fault:
    """what: broken. try_it: breaks it and asserts what must come of it; says what came. in_tests: in every test run.
    settings: of its cluster."""

    what: str
    try_it: Callable[[Sweeps], str]
    in_tests: bool = False
    settings: slurm_cluster.Settings = field(default_factory=slurm_cluster.Settings)


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
        assert [outcome["state"] for outcome in sweeps.outcomes(2)] == ["superseded", "finished"]
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
    """The signal comes up to a minute early, and a run that made no step until then is not queued again."""
    sweeps.submit("one", "--option", "time=2", "--option", "checkpoint_signal_s=30", "--steps", "20000")
    sweeps.until("running")
    wait_until("a second attempt", lambda: sweeps.attempts() >= 2, PATIENCE_S, pause=1)
    (run,) = sweeps.runs()
    assert run["state"] in ("pending", "running"), run
    sweeps("cancel", "one")
    return "saved its state at the signal, queued itself again, and went on"


def full_disk(sweeps: Sweeps, *more: str) -> str:
    """The results folder is a file system of its own that something else fills up in mid-run."""
    place = sweeps.folder / "results"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "none", str(place)], check=True)
    try:
        sweeps.submit("one", *more)
        pid = sweeps.hold_at(60)
        fill(place / "ballast")
        os.kill(pid, signal.SIGCONT)
        sweeps.until("failed")
        reason = sweeps.runs()[0]["reason"].partition(";")[0]
        (place / "ballast").unlink()
        sweeps("rerun", "one", "--failed", "--wait")
        assert (sweeps.states(), sweeps.attempts()) == (["done"], 2)
        complete(sweeps)
        same = as_uninterrupted(sweeps)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    return f"failed ({reason}); done after `rerun --failed` with room again, {same}"


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(65536)):
            pass


def full_at_a_checkpoint(sweeps: Sweeps) -> str:
    return full_disk(sweeps, "--checkpoint-minutes", "0")


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
        theirs = Sweeps(folder / "work", sweeps.conf, "nobody", python)
        short = ("--steps", "120")
        theirs.submit("one", *short)  # which is one of the pair
        said = theirs("cancel", "one")
        assert "1 runs cancelled" in said, said
        wait_until("its end", lambda: not {"pending", "running"} & set(theirs.states()), PATIENCE_S)
        theirs.submit("pair", *short, "--wait")
        assert theirs.states() == ["done"] * 3, theirs("status", "--runs")
        theirs("aggregate", "--out", "report.html")
        owners = {path.owner() for path in theirs.folder.glob("results/runs/*/seed-1/*")}
        assert owners == {"nobody"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return "cancelled, trained and reported"


FAULTS = {
    "worker": Fault("the worker is killed (SIGKILL)", killed_worker),
    "slurmd": Fault("a node's slurmd is killed and the node given up for dead", killed_slurmd, in_tests=True),
    "slurmctld": Fault("slurmctld is killed and started again in mid-run", restarted_slurmctld, in_tests=True),
    "requeue": Fault("an administrator queues the job again", requeued),
    "preemption": Fault("an urgent job takes the node", preempted, in_tests=True),
    "cancel": Fault("`sweeps cancel`, then a submit", cancelled),
    "user": Fault("submitted by another user than root", as_another_user, in_tests=True),
    "time": Fault("the time limit is reached", over_its_time),
    "disk": Fault("the disk is full when a shard is due", full_disk),
    "disk-checkpoint": Fault("the disk is full when a checkpoint is due", full_at_a_checkpoint),
    "purged": Fault("the controller has forgotten the job", purged),
    "submitter": Fault(
        "the submitting process is killed at every step",
        submit_faults.killed_submitter,
        settings=slurm_cluster.Settings(accounting=True, enforce=True),  # so that sacctmgr is asked, under the lock
    ),
    "mid-submit": Fault(
        "slurmctld is killed and started again at every step of a submit", submit_faults.restarted_controller
    ),
    "behind-submit": Fault("slurmctld is killed and started again behind a submit", submit_faults.forgotten_release),
    "blind-node": Fault(
        "a node does not see the results folder",
        site_faults.blind_node,
        in_tests=True,
        settings=slurm_cluster.Settings(accounting=True, nodes=site_faults.PADDED),
    ),
    "limits": Fault(
        "limits of an account, of the account above and of a QOS, and others of a second cluster",
        site_faults.limits,
        settings=slurm_cluster.Settings(accounting=True, enforce=True),
    ),
}
