"""What is held: seeds behind a canary, and everything behind a series of deaths; the job of the report; exports."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_slurm import FakeSlurm

from jobs import process
from jobs.cli import cli
from jobs.results.results_folder import ResultsFolder
from jobs.runs import canary, status
from jobs.submit import watch
from jobs.worker.train_job import TrainJob
from tdmpc.description import SCHEMA

PLAN = """
plan: mine
base: {steps: 5000, seed_steps: 1000, eval_freq: 700}
seeds: 3
sweeps:
  q: {grid: {num_q: [1, 2]}}
"""

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def run(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, typed: Any) -> Any:
    """`sweeps ...` in this process, with the pretended Slurm."""
    monkeypatch.setattr(
        "jobs.results.code_snapshot.check", lambda store, submission: None
    )  # this process is its jobs as well
    return typed(PLAN)


def held(slurm: FakeSlurm) -> list[int]:
    """Tasks that are held, all jobs in a row."""
    return [number for number, task in enumerate(slurm.tasks()) if task["held"]]


def execute(store: ResultsFolder, slurm: FakeSlurm, task: int) -> None:
    """A task of the newest submission, as its job would."""
    submission = store.submissions.all()[-1]
    job = submission.job_of(task)
    assert job is not None
    slurm.set(job, state="RUNNING")
    try:
        TrainJob(str(store.root), submission.id, task)()
    except ValueError:
        slurm.set(job, state="FAILED")
    else:
        slurm.set(job, state="COMPLETED")


def is_blocked(store: ResultsFolder) -> bool:
    return canary.blocked(store, [found for sweep in status.sweeps(store) for found in sweep.runs])


def test_healthy_is_past_the_first_evaluation_with_trained_weights() -> None:
    config = SCHEMA.resolve({"steps": 5000, "seed_steps": 1000, "eval_freq": 700})
    assert config.healthy_step == 1401  # evaluations at 700, when nothing was trained, and at 1400
    assert SCHEMA.resolve({"steps": 1200, "seed_steps": 1000, "eval_freq": 700}).healthy_step == 1200


# --- the canary ---------------------------------------------------------------------------------------------


def test_a_healthy_canary_releases_the_seeds_of_its_configuration(
    run: Any, slurm: FakeSlurm, agent: Any, store: ResultsFolder
) -> None:
    run("submit", "q", "--canary", "--seeds-per-job", "2")
    (submission,) = store.submissions.all()
    assert [task.seeds for task in submission.tasks] == [[1], [1], [2, 3], [2, 3]]
    assert held(slurm) == [2, 3]
    assert "2 tasks are held until the first seeds of their 2 configurations are healthy" in run("status").stdout
    execute(store, slurm, 0)
    assert held(slurm) == [3]
    assert "1 tasks are held until the first seeds of their 1 config" in run("status").stdout
    assert "1 done, 5 pending; 0 to submit" in run("submit", "q").stdout


def test_a_canary_that_dies_keeps_its_seeds_held_until_they_are_released(
    run: Any, slurm: FakeSlurm, agent: Any, store: ResultsFolder
) -> None:
    agent.ends = {1: ValueError("too bad")}
    run("submit", "q", "--canary")
    execute(store, slurm, 1)
    assert held(slurm) == [2, 3, 4, 5]
    assert not is_blocked(store)  # the other canary may still be healthy
    execute(store, slurm, 0)
    assert held(slurm) == [2, 3, 4, 5]
    assert is_blocked(store)  # nobody would wait for an end
    assert "2 of these ended: ValueError: too bad; `sweeps release q`" in run("status").stdout
    assert "released the held tasks of 1" in run("release", "q").stdout
    assert held(slurm) == []
    assert "no task of q is held" in run("release", "q").stdout


def test_a_status_that_stays_tells_what_is_held_until_nothing_is_active(
    run: Any, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    def pause(seconds: float) -> None:
        if seconds == watch._WATCH_S:  # others wait for processes
            shown.append(seconds)
            for job in ("100", "101"):
                slurm.set(job, state="CANCELLED")

    monkeypatch.setattr("jobs.submit.watch.time.sleep", pause)
    monkeypatch.setattr(watch, "_ASK_SLURM_S", 0.0)
    run("submit", "q", "--canary")
    told = run("status", "--watch").stdout
    assert len(shown) == 1
    assert "4 tasks are held until the first seeds of their 2 configurations are healthy" in " ".join(told.split())


def test_status_releases_where_the_job_could_not(run: Any, slurm: FakeSlurm, agent: Any, store: ResultsFolder) -> None:
    run("submit", "q", "--canary")
    slurm.fault("scontrol", "before")
    execute(store, slurm, 0)
    assert held(slurm) == [2, 3, 4, 5]
    run("status")
    assert held(slurm) == [3, 5]


# --- deaths -------------------------------------------------------------------------------------------------


def test_the_third_that_dies_alike_holds_what_waits(
    run: Any, slurm: FakeSlurm, agent: Any, store: ResultsFolder
) -> None:
    agent.ends = {seed: ValueError(f"no CUDA on device {seed}") for seed in (1, 2, 3)}
    told_path = store.root.parent / "told"
    run("submit", "q", "--notify", f'echo "$SWEEPS_EVENT: $SWEEPS_MESSAGE" >> {told_path}')
    for task in (0, 1):
        execute(store, slurm, task)
        assert held(slurm) == []
    execute(store, slurm, 2)
    assert held(slurm) == [3, 4, 5]
    assert is_blocked(store)
    told = run("status").stdout
    assert told_path.read_text() == (
        "held: q: 3 waiting tasks are held, since the first 3 failed alike: ValueError: no CUDA on device 1\n"
    )
    assert (
        "3 tasks are held, since the first 3 failed alike (ValueError: no CUDA on device 1); `sweeps release q` "
        "releases them" in told
    )
    run("release", "q")
    execute(store, slurm, 3)
    assert held(slurm) == []  # the user knows


def test_the_notification_is_a_job_behind_all_others(
    run: Any, slurm: FakeSlurm, store: ResultsFolder, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text("notify: ~/bin/notify.sh\n")
    run("submit", "q", "--profile", str(tmp_path / "own.yaml"))
    task = slurm.tasks()[-1]
    assert (task["index"], task["held"]) == (None, False)
    (submission,) = store.submissions.all()
    assert f"-m jobs.reports.last_job {store.root} {submission.id}\n" in task["script"]
    assert submission.notify == "~/bin/notify.sh"
    again = run("submit", "q", "--seeds", "5", "--profile", str(tmp_path / "own.yaml"), "--notify", "")
    assert "last_job" not in slurm.tasks()[-1]["script"], again.stdout


@pytest.mark.parametrize("other", [ValueError("another"), None])
def test_different_deaths_hold_nothing(
    run: Any, slurm: FakeSlurm, agent: Any, store: ResultsFolder, other: Any
) -> None:
    agent.ends = {1: ValueError("one"), 2: other} if other else {1: ValueError("one")}
    run("submit", "q")
    for task in (0, 1, 2, 3):
        execute(store, slurm, task)
    assert held(slurm) == []


def test_status_sees_jobs_that_die_before_they_say_anything(run: Any, slurm: FakeSlurm, store: ResultsFolder) -> None:
    run("submit", "q")
    for task in (0, 1, 2):
        slurm.set(f"100_{task}", state="FAILED", exit="127:0")
    run("status")
    assert held(slurm) == [3, 4, 5]


# --- the report, and scripts to submit by hand --------------------------------------------------------------


def test_the_report_is_a_job_behind_all_others(run: Any, slurm: FakeSlurm, store: ResultsFolder) -> None:
    slurm.configure(MaxArraySize="4")
    run("submit", "q", "--then-aggregate")
    assert [word for word in slurm.calls("sbatch")[-1] if "dependency" in word] == ["--dependency=afterany:100:101"]
    task = slurm.tasks()[-1]
    assert (task["index"], task["held"]) == (None, False)
    path = store.root / "reports" / "q.html"
    assert f"-m jobs.cli --results {store.root} aggregate q --out {path}\n" in task["script"]
    assert "6 pending; 0 to submit" in run("submit", "q").stdout


def test_an_exported_script_is_left_to_the_user_and_found_when_it_was_submitted(
    run: Any, slurm: FakeSlurm, tmp_path: Path, store: ResultsFolder
) -> None:
    run("submit", "q", "--export", str(tmp_path / "q.sh"))
    assert slurm.tasks() == []
    assert "6 new" in run("status").stdout
    subprocess.run([str(slurm.bin / "sbatch"), str(tmp_path / "q.sh")], check=True)
    assert "6 pending" in run("status").stdout
    assert "6 pending; 0 to submit" in run("submit", "q").stdout
    assert len(slurm.tasks()) == 6


def test_what_needs_slurm_says_so(run: Any, tmp_path: Path) -> None:
    line = ["--results", str(tmp_path / "results"), "submit", "ensemble", "--cluster", "local", "--canary"]
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 1
    assert "--canary needs Slurm" in result.stderr
    assert not (tmp_path / "results").exists()


def test_no_more_is_submitted_than_the_limits_leave(run: Any, slurm: FakeSlurm) -> None:
    """The tightest of several: the user's in the account, the account's above, which others use too, and a QOS's."""
    slurm.answer("sacctmgr", "fake|lab\n", asked="withassoc")
    slurm.answer("sacctmgr", "lab|||9||\nlab|other|1|\n", asked="assoc cluster=fake user=")  # two banners
    slurm.answer("sacctmgr", "lab||8||\n", asked=f"user={process.user()} format=Account,Part")
    slurm.answer("sacctmgr", "lab|group|\ngroup||5\n", asked="user= format")
    slurm.add("somebody", tasks=1, user="other", account="group")
    slurm.add("somebody", tasks=3, user="other", account="elsewhere")
    assert "Slurm's queue takes 4 of 6 tasks now" in run("submit", "q").stdout
    assert "account group allows 5 tasks in Slurm's queue, which is full" in run("submit", "q", code=1).stderr
    slurm.answer("sacctmgr", "normal|5||\n", asked="qos where name=normal")
    slurm.set("100", state="COMPLETED")
    assert "account group" not in run("submit", "q", code=0).stderr
    assert len([task for task in slurm.tasks() if task["name"].startswith("q-")]) == 5
    slurm.configure(AccountingStorageEnforce="associations")  # limits are not enforced
    run("submit", "q")
    assert len([task for task in slurm.tasks() if task["name"].startswith("q-")]) == 6


LIMIT = (
    "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size "
    "and/or time limits)"
)  # as 22.05 says it


def test_what_a_limit_refuses_waits_for_the_next_command(run: Any, slurm: FakeSlurm, store: ResultsFolder) -> None:
    slurm.configure(MaxArraySize="4")
    refusing = refuse_after_one(slurm)
    told = run("submit", "q", code=1).stderr
    assert "4 of 6 tasks were submitted, then sbatch refused" in told
    assert "QOSMaxSubmitJobPerUserLimit; the others are submitted by the next `sweeps submit` or `status`" in told
    assert [task["held"] for task in slurm.tasks()] == [False] * 4
    assert "6 pending" in run("status").stdout
    refusing.unlink()
    assert "it is complete now" in run("status").stderr
    assert len(slurm.tasks()) == 6
    assert not any(task["held"] for task in slurm.tasks())


def test_what_waits_for_a_limit_can_be_cancelled(run: Any, slurm: FakeSlurm) -> None:
    slurm.configure(MaxArraySize="4")
    refuse_after_one(slurm)
    run("submit", "q", code=1)
    assert "6 runs cancelled" in run("cancel", "q").stdout
    assert "4 interrupted, 2 new" in run("status").stdout


def refuse_after_one(slurm: FakeSlurm) -> Path:
    """sbatch refuses for a limit after one call, while the file exists."""
    flag, real = slurm.folder / "refuse", slurm.bin / "real-sbatch"
    flag.write_text("")
    real.write_bytes((slurm.bin / "sbatch").read_bytes().replace(b"sys.argv)", b"['sbatch', *sys.argv[1:]])"))
    real.chmod(0o755)
    (slurm.bin / "sbatch").write_text(
        f"#!/bin/sh\nif [ -e {flag} ] && [ -s {flag} ]; then echo {shlex.quote(LIMIT)} >&2; exit 1; fi\n"
        f'[ -e {flag} ] && echo used > {flag}\nexec {real} "$@"\n'
    )
    return flag
