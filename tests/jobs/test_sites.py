"""Clusters of other settings, on stand-in programs: failing nodes, holds, limits, a dead squeue, set-up that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_slurm import FakeSlurm

from jobs import process
from jobs.backends import profile
from jobs.backends.slurm import reasons
from jobs.doctor import checks
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt
from jobs.results.results_folder import ResultsFolder
from jobs.runs import logs

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, slurm: FakeSlurm, six_runs: Any) -> Any:
    """`sweeps ...` in this process, with the pretended Slurm; six tasks 100_0 to 100_5 were submitted."""
    monkeypatch.setenv("COLUMNS", "250")
    slurm.configure(AccountingStorageEnforce="none")
    slurm.answer("sinfo", "a-01|low\na-02|low\na-03|other\n", asked="%N|%R")
    invoke = six_runs
    invoke("submit", "q")
    return invoke


def begin(store: ResultsFolder, slurm: FakeSlurm, task: int, node: str) -> None:
    (submission,) = store.submissions.all()
    runs = submission.tasks[task]
    attempt = Attempt(0, "elsewhere", 1, "", 1.0, "cpu", submission.id, task, submission.job_of(task))
    store.attempts.claim(RunRef(runs.config_id, runs.seeds[0]), attempt)
    slurm.set(f"100_{task}", state="RUNNING", node=node)


def fail_to_start(slurm: FakeSlurm, task: int, node: str, reason: str = "JobLaunchFailure") -> None:
    slurm.set(f"100_{task}", state="FAILED", reason=reason, node=node)


# --- nodes ----------------------------------------------------------------------------------------------------


def test_the_rest_is_kept_off_a_node_where_a_task_ended_before_its_run_began(
    run: Any, slurm: FakeSlurm, store: ResultsFolder
) -> None:
    begin(store, slurm, 0, "a-02")
    for task in (1, 2, 3):
        fail_to_start(slurm, task, "a-01")
    told = run("status").stdout
    assert "q: node a-01 is excluded, 3 tasks ended there before the run began" in told
    assert "probably the node does not see the results folder" in told
    assert "`sweeps rerun q --failed`" in told
    assert [task["exclude"] for task in slurm.tasks()] == ["", "", "", "", "a-01", "a-01"]
    assert not any(task["held"] for task in slurm.tasks())  # it is one node, not the submission
    updates = [call for call in slurm.calls("scontrol") if call[0] == "update"]
    run("status")
    assert [call for call in slurm.calls("scontrol") if call[0] == "update"] == updates
    assert "3 runs are submitted again with not on a-01" in run("rerun", "q", "--failed").stdout
    assert "#SBATCH --exclude=a-01\n" in slurm.tasks()[-1]["script"]


def test_tasks_that_end_alike_on_every_node_are_no_nodes_fault(run: Any, slurm: FakeSlurm) -> None:
    for task, node in enumerate(("a-01", "a-02", "a-01")):
        fail_to_start(slurm, task, node)
    told = run("status").stdout
    assert "is left out" not in told
    assert "3 tasks are held, since the first 3 failed alike" in told
    assert [task["exclude"] for task in slurm.tasks()] == [""] * 6
    assert "exclude" not in run("rerun", "q", "--failed", "--dry-run").stdout


def test_the_last_node_of_a_partition_is_not_left_out(run: Any, slurm: FakeSlurm, store: ResultsFolder) -> None:
    slurm.answer("sinfo", "a-01|low\na-03|other\n", asked="%N|%R")
    begin(store, slurm, 0, "a-02")  # which has left the partition since
    fail_to_start(slurm, 1, "a-01")
    assert "is left out" not in run("status").stdout
    assert [task["exclude"] for task in slurm.tasks()] == [""] * 6


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sweeps: failed: module load cuda/99", "`module load cuda/99` failed"),
        ("slurmstepd: error: execve(): /env/bin/python: No such file or directory",
         "/env/bin/python: No such file or directory on its node"),
        ("OSError: [Errno 28] No space left on device", "No space left on device"),
    ],
)  # fmt: skip
def test_the_log_tells_what_was_missing_on_a_node(line: str, told: str) -> None:
    assert logs.last_sign(f"bash: noise\n{line}\nsrun: error: n1: task 0: Exited with exit code 2\n") == ("", told)


@pytest.mark.parametrize("profile_line", ["modules: [none-such]", "activate: source /none/such/activate"])
def test_a_setup_line_that_fails_ends_the_job_with_that_line(
    run: Any, slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile_line: str
) -> None:
    path = tmp_path / "ours.yaml"
    path.write_text(profile_line)
    run("submit", "q", "--seeds", "9", "--profile", str(path))
    script = tmp_path / "job.sh"
    script.write_text(slurm.tasks()[-1]["script"])
    code, output, errors = process.run(["/bin/bash", str(script)], 60)
    assert (code, output) == (1, "")
    assert errors.splitlines()[-1].startswith(("sweeps: failed: module load none-such", "sweeps: failed: source /none"))
    assert slurm.calls("srun") == []


# --- holds, cancel --------------------------------------------------------------------------------------------


def test_release_releases_whoever_held(run: Any, slurm: FakeSlurm) -> None:
    slurm.set("100_2", held=True, reason="JobHeldUser")
    slurm.set("100_4", held=True, reason="JobHeldAdmin")
    told = run("status").stdout
    assert "1 stuck: held by `scontrol hold`, not by this program; `sweeps release q` lets it run" in told
    assert "1 stuck: held by an administrator" in told
    assert "released the held tasks of 1" in run("release", "q").stdout
    assert not any(task["held"] for task in slurm.tasks())
    assert "no task of q is held" in run("release", "q").stdout


def test_cancel_goes_by_what_was_recorded_where_squeue_is_dead(
    run: Any, slurm: FakeSlurm, store: ResultsFolder
) -> None:
    slurm.set("100_3", name="recycled")
    slurm.fault("squeue", "before", times=9)
    assert "6 runs cancelled" in run("cancel", "q").stdout
    assert [task["state"] for task in slurm.tasks()] == ["CANCELLED"] * 3 + ["PENDING"] + ["CANCELLED"] * 2
    slurm.fault("squeue", "before", times=9)
    slurm.fault("scancel", "before")
    assert "nothing was cancelled" in run("cancel", "q", code=1).stderr


# --- reasons --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "state", "words"),
    [
        ("PartitionTimeLimit", "stuck", "more time than its partition allows; `sweeps cancel q`"),
        ("QOSMaxWallDurationPerJobLimit", "stuck", "more time than its QOS allows"),
        ("AssocMaxCpuPerJobLimit", "stuck", "more resources than its account allows"),
        ("QOSMinGRES", "stuck", "more resources than its QOS allows"),
        ("AssocGrpCPUMinutesLimit", "stuck", "is used up"),
        ("AssocGrpCpuLimit", "pending", "a limit of its account is reached (AssocGrpCpuLimit)"),
        ("QOSMaxJobsPerUserLimit", "pending", "a limit of its QOS is reached"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "pending", "are down or reserved (UnavailableNodes:n[1-2])"),
        ("DependencyNeverSatisfied", "stuck", "the job that it waits for failed"),
        ("SomethingNew", "pending", "SomethingNew"),
    ],
)
def test_what_a_job_waits_for_is_said_with_what_helps(reason: str, state: str, words: str) -> None:
    found = reasons.describe("s", "q", "7", "PENDING", reason, "", None, False)
    assert found.word == state
    assert words in found.reason
    assert found.cause == ("limit" if state == "pending" else "")


def test_plain_status_says_what_is_waited_for_but_a_turn(run: Any, slurm: FakeSlurm) -> None:
    waits = ("Priority", "Resources", "QOSMaxJobsPerUserLimit", "QOSMaxJobsPerUserLimit", "PartitionTimeLimit", "None")
    for task, reason in enumerate(waits):
        slurm.set(f"100_{task}", reason=reason)
    lines = run("status").stdout.splitlines()
    too_long = "1 stuck: it requests more time than its partition allows; `sweeps cancel q`"
    assert [line for line in lines if line.startswith(too_long)]
    assert [line for line in lines if line.startswith("2 pending: a limit of its QOS is reached")]
    assert not [line for line in lines if "jobs with higher priority go first" in line]


def test_the_probe_asks_for_no_more_time_than_its_partition_gives(slurm: FakeSlurm) -> None:
    slurm.answer("sinfo", "motd\nlow*|5:00|2|4|8000|(null)|up\nlong|infinite|2|4|8000|(null)|up\n")
    assert checks._within_limits(profile.load("cpu")).time_min == 5
    assert checks._within_limits(profile.load("cpu", ["partition=long"])).time_min == checks._PROBE_MIN
    assert checks._within_limits(profile.load("cpu", ["partition=long", "time=3"])).time_min == 3
