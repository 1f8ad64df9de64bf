"""What Slurm says of a known set of jobs, and what is made of it: asked of a real Slurm, or read from what one said.

`test_slurm_says.py` asks the Slurm at hand. With SWEEPS_CAPTURE=FOLDER in the environment it writes every answer to
FOLDER/<version>.txt; `tests/jobs/test_slurm_versions.py` reads those in tests/jobs/slurm_says. Where a question of ours
changes, they are captured anew (`benchmarks/slurm_versions.py --capture`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.backends.profile import Profile
from jobs.backends.slurm import accounting, commands, limits, queue_state, squeue
from jobs.doctor import checks
from jobs.results.records import Chunk, Submission, TaskRuns
from sweepwise.core.errors import JobsError

Answer = tuple[int | None, str, str]
SINCE = 1_000_000_000.0
NAMES = ("done", "failed", "mixed", "held", "never", "waits", "runs", "big")
# What `scontrol show config` says of these alone is kept; the rest tells of the machine.
KEPT = re.compile(
    r"Configuration|ClusterName|Max|MinJobAge|JobRequeue|Preempt|KillWait|SLURM_VERSION|AccountingStorageType"
)


def prepare(ask: Callable[..., str]) -> None:
    """The jobs 1 to 8, on a fresh cluster with accounting. ask: a Slurm program with its arguments."""
    ask("sacctmgr", "-i", "add", "account", "group")
    ask("sacctmgr", "-i", "add", "user", "root", "account=group")
    ask("sacctmgr", "-i", "modify", "user", "root", "set", "maxsubmitjobs=300")
    ask("sacctmgr", "-i", "modify", "user", "root", "where", "cluster=sweeps", "set", "defaultaccount=group")
    ask("sacctmgr", "-i", "add", "cluster", "other")
    ask("sacctmgr", "-i", "add", "account", "lab", "parent=group", "cluster=sweeps")
    ask("sacctmgr", "-i", "add", "account", "lab", "cluster=other")
    ask("sacctmgr", "-i", "add", "user", "root", "account=lab")
    for cluster, limit in (("sweeps", "maxsubmitjobs=200"), ("other", "maxsubmitjobs=2")):
        ask("sacctmgr", "-i", "modify", "user", "root", "where", "account=lab", f"cluster={cluster}", "set", limit)
    ask("sacctmgr", "-i", "modify", "account", "group", "where", "cluster=sweeps", "set", "grpsubmitjobs=100")
    small = ("maxsubmitjobsperuser=50", "maxsubmitjobsperaccount=60", "grpsubmitjobs=70")
    ask("sacctmgr", "-i", "add", "qos", "small", "set", *small)

    def submit(name: str, command: str, *options: str) -> None:
        words = ["--output=/dev/null", "--mem=100", f"--job-name={name}", *options, "--wrap", command]
        ask("sbatch", *words)

    # nothing starts before all are submitted: a task of an array that starts takes the next job's number
    ask("scontrol", "update", "PartitionName=low", "State=DOWN")
    submit("done", "sleep 3", "--array=0-1")
    submit("failed", "exit 3")
    submit("mixed", "sleep 600", "--array=0-7%1", "--gpus-per-node=1")
    submit("held", "true", "--array=0-2", "--hold")
    submit("never", "true", "--dependency=afterok:2")
    submit("waits", "true", "--dependency=afterany:3")
    submit("runs", "sleep 600")
    submit("big", "true", "--mem=999999", "--hold")
    ask("scontrol", "update", "PartitionName=low", "State=UP")
    until(ask, "3_0", "RUNNING")
    ask("scontrol", "requeuehold", "3_0")
    until(ask, "3_1", "RUNNING")
    ask("scontrol", "uhold", "3_4")
    ask("scancel", "3_[1,3]")
    ask("scontrol", "release", "8")
    until(ask, "3_2", "RUNNING")
    until(ask, "5", "PENDING DependencyNeverSatisfied")
    until(ask, "8", "PENDING BadConstraints")
    for task in ("1_0", "1_1"):
        until(ask, task, "COMPLETED")
    time.sleep(3)  # until the accounts have it too


def until(ask: Callable[..., str], task: str, state: str) -> None:
    deadline = time.monotonic() + 600
    while not ask("squeue", "--noheader", "--states=all", f"--jobs={task}", "--format=%T %r").startswith(state):
        assert time.monotonic() < deadline, (task, state, ask("squeue", "--states=all"))
        time.sleep(0.2)


# --- what is made of it ---------------------------------------------------------------------------------------


def check(folder: Path) -> None:
    """Asks every question that the product asks, through its own functions. folder: the working directory."""
    _queue()
    _accounts()
    _cluster()
    _refusals(folder)


def _queue() -> None:
    listed = squeue.listed(NAMES)
    assert listed is not None
    assert {row.job: (row.state, row.reason) for row in listed} == {
        "1_0": ("COMPLETED", "None"), "1_1": ("COMPLETED", "None"), "2": ("FAILED", "NonZeroExitCode"),
        "3_0": ("PENDING", "job requeued in held state"), "3_1": ("CANCELLED", "None"),
        "3_2": ("RUNNING", "None"), "3_4": ("PENDING", "JobHeldUser"),
        **{f"3_{index}": ("PENDING", "JobArrayTaskLimit") for index in (5, 6, 7)},
        **{f"4_{index}": ("PENDING", "JobHeldUser") for index in range(3)},
        "5": ("PENDING", "DependencyNeverSatisfied"), "6": ("PENDING", "Dependency"), "7": ("RUNNING", "None"),
        "8": ("PENDING", "BadConstraints"),
    }  # fmt: skip
    for row in listed:
        assert (row.user, row.name) == ("root", NAMES[int(row.job.partition("_")[0]) - 1])
        assert row.node in (("",) if row.state == "PENDING" else ("n1", "n2")), row
    mine = squeue.mine()
    assert mine is not None
    assert {row.job for row in mine} == {row.job for row in listed if row.state in ("PENDING", "RUNNING")}
    assert len(limits._queued()) == len(mine)


def _accounts() -> None:
    jobs = ["1_0", "1_1", "2", "3_1", "3_5", "7", "99"]
    names = {"1": "done", "2": "failed", "3": "mixed", "7": "runs", "99": "none"}
    asked = [(names[job.partition("_")[0]], "root", job) for job in jobs]
    ended = queue_state._query_sacct([*asked, ("another", "root", "2"), ("failed", "other", "2")])
    assert ended is not None
    assert {job: row[:2] for (_, _, job), row in ended.items()} == {
        "1_0": ["COMPLETED", ""], "1_1": ["COMPLETED", ""], "2": ["FAILED", ""], "3_1": ["CANCELLED", "by 0"],
    }  # fmt: skip
    assert {row[2] for row in ended.values()} <= {"n1", "n2"}
    chunk = Chunk("done", 0, 2, job_id="1")
    runs = [TaskRuns("0" * 10, [1])] * 2
    found = accounting.usage(Submission("s", "s", "slurm", "h", "root", 1.0, runs, 0, 1, "s", {}, [chunk]))
    assert len(found) == 2
    for usage in found:
        assert 2 <= usage.seconds <= 60, usage
        assert 0 < usage.cpu_s < 10, usage
        assert 0.0005 < usage.memory_gb < 0.1, usage
    _limits()
    assert commands.find("mixed", SINCE) == "3"
    assert commands.find("none-such", SINCE) is None


def _limits() -> None:
    """Of the account on this cluster, of the one above it, which counts the tasks of both, and of the QOS."""
    in_lab = limits.submit_limits(Profile("p", account="lab", qos="small"), "sweeps")
    assert [(limit.what, limit.tasks, limit.accounts) for limit in in_lab] == [
        ("account lab", 200, {"lab"}), ("account group", 100, {"group", "lab"}), ("QOS small", 50, None),
        ("QOS small", 70, None), ("QOS small", 60, {"lab"}),
    ]  # fmt: skip
    assert [limit.user for limit in in_lab] == ["root", None, "root", None, None]
    assert [limit.tasks for limit in limits.submit_limits(Profile("p"), "sweeps")] == [300, 100]  # the default account
    assert [limit.tasks for limit in limits.submit_limits(Profile("p", account="lab"), "other")] == [2]


def _cluster() -> None:
    settings = commands.cluster_settings()
    assert (settings["ClusterName"], settings["MaxArraySize"]) == ("sweeps", "1001")
    rows = {result.what: result for result in checks.cluster()}
    assert re.fullmatch(r"'?sweeps'?, version \d\d\.\d\d\.\d+", rows["Slurm"].result)
    assert rows["limits"].result == "MaxArraySize 1001, MaxJobCount 10000, MinJobAge 300 sec"
    assert rows["requeue"].result == "on"
    assert rows["preemption"].result == "PreemptMode REQUEUE, PreemptType preempt/partition_prio, KillWait 30 sec"
    assert rows["grace time"].result == "low 0 s, high 0 s"
    assert rows["accounting"].result == "sacct answers"
    assert rows["account group"].result == "qos normal, in the queue 300"
    assert rows["partition low (default)"].result == "2 nodes of 4 CPUs, 31 GB, 4 GPUs; no time limit"
    assert "partition: low\n" in checks.first_profile(checks.partitions())


def _refusals(folder: Path) -> None:
    assert commands.release(["1"]) is False  # it has ended
    assert commands.release(["4", "99"]) is False
    told = {}
    for option in ("partition=none", "gres=tpu:1", "constraint=none", "array=0-5000", "nodelist=none"):
        script = folder / f"{option.partition('=')[0]}.sh"
        script.write_text(f"#!/bin/sh\n#SBATCH --{option}\n#SBATCH --job-name=refused\ntrue\n")
        try:
            commands.sbatch(Path(script.name), [])
        except JobsError as error:
            told[option] = str(error)
    assert len(told) == 5, told
    assert all(text.startswith("sbatch refused: sbatch: error: ") for text in told.values()), told


# --- answers in a file ----------------------------------------------------------------------------------------


def question(command: list[str]) -> str:
    """A command as a line, without what differs from one day to the next."""
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "TIME", " ".join(command))


def written(command: list[str], answer: Answer) -> str:
    code, out, errors = answer
    if command[:3] == ["scontrol", "show", "config"]:
        out = "".join(line for line in out.splitlines(keepends=True) if KEPT.match(line))
    lines = [f"$ {question(command)} -> {code}", *(f"| {line}" for line in out.splitlines())]
    return "\n".join([*lines, *(f"! {line}" for line in errors.splitlines())]) + "\n"


def read(text: str) -> Iterator[tuple[str, Answer]]:
    for block in re.split(r"^\$ ", text, flags=re.M)[1:]:
        head, *lines = block.splitlines()
        asked, _, code = head.rpartition(" -> ")
        parts = ["".join(f"{line[2:]}\n" for line in lines if line.startswith(mark)) for mark in "|!"]
        yield asked, (None if code == "None" else int(code), parts[0], parts[1])
