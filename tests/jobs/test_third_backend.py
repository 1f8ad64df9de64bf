"""A third backend, written against `jobs.backends.base.Backend` alone: a small PBS that runs real batch scripts.

The first part of this file is installed as a package whose entry point names the backend. The scheduler is a folder
with a file for each job; every qstat starts what is due. `python pbs_backend.py SERVER ID` runs a job.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs import process
from jobs.backends.base import Allocation, Backend, ExecutionOptions, Request, Target, Task, TaskKey, Usage
from jobs.backends.job_command import last_command, task_command
from jobs.results import code_snapshot
from jobs.results.lock import Lock
from jobs.results.records import Chunk, Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState
from sweepwise.core import atomic

SLOTS = 2
DIES_AFTER = "PBS_TEST_DIES_AFTER"  # qsub kills the submitting process when it has taken so many jobs


# --- the scheduler ----------------------------------------------------------------------------------------


def server() -> Path:
    return Path(os.environ["PBS_SERVER"])


def jobs() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(server().glob("*.json"))}


def write_job(job_id: str, job: dict[str, Any]) -> None:
    atomic.write_json(server() / f"{job_id}.json", job)


def qsub(script: Path, name: str, after: Sequence[str], held: bool) -> str:
    """Takes a job that begins when those of `after` have ended, and it is not held; its ID."""
    job_id = f"{len(jobs()) + 1:03d}"
    write_job(job_id, {"name": name, "script": str(script), "state": "H" if held else "Q", "after": list(after)})
    if len(jobs()) == int(os.environ.get(DIES_AFTER, "0")):
        os.kill(os.getpid(), signal.SIGKILL)
    return job_id


def qstat() -> dict[str, dict[str, Any]]:
    """All jobs; starts those that are due."""
    known = jobs()
    running = sum(job["state"] == "R" for job in known.values())
    for job_id, job in known.items():
        due = job["state"] == "Q" and all(known[other]["state"] == "F" for other in job["after"])
        if due and running < SLOTS:
            running += 1
            write_job(job_id, {**job, "state": "R"})
            none = subprocess.DEVNULL
            command = [sys.executable, __file__, str(server()), job_id]
            subprocess.Popen(command, stdin=none, stdout=none, stderr=none, start_new_session=True)
    return jobs()


def run_job(job_id: str) -> None:
    """Runs the script of a job, again as often as it was queued again; writes down how it ended and what it used."""
    job = jobs()[job_id]
    began = time.time()
    with Path(f"{job['script']}.o{job_id}").open("ab") as log:
        child = subprocess.Popen(["sh", job["script"]], stdout=log, stderr=log, env={**os.environ, "PBS_JOBID": job_id})
        write_job(job_id, {**job, "state": "R", "pid": child.pid})
        code = child.wait()
    if jobs()[job_id].get("again"):
        write_job(job_id, {**job, "state": "Q"})
        return
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    usage = [time.time() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024**2]
    write_job(job_id, {**jobs()[job_id], "state": "F", "code": code, "usage": usage})


# --- the backend ------------------------------------------------------------------------------------------


class PbsBackend(Backend):
    name = "pbs"
    poll_s = 0.2
    can_hold = True
    can_export = True
    enforces_limits = True

    def target(self, options: ExecutionOptions) -> Target:
        profile = options.load_profile()
        return Target(self.name, profile, profile.gpus, options.max_parallel or profile.max_parallel, cluster="pbs")

    def width(self, tasks: int, options: ExecutionOptions, target: Target) -> int:
        return SLOTS

    def allocate(self, request: Request, job_name: str) -> Allocation:
        tasks = range(len(request.tasks))
        chunks = [Chunk(f"{job_name}.{task}", task, 1, held=task >= request.canaries) for task in tasks]
        if request.has_last_job:
            chunks.append(Chunk(f"{job_name}.report", len(chunks), 0, list(range(len(chunks)))))
        return Allocation(1, chunks)

    def scripts(self, store: ResultsFolder, submission: Submission, target: Target) -> list[str]:
        variables = process.job_variables(code_snapshot.folder(store, submission))
        variables["PYTHONPATH"] += os.pathsep + os.environ["PBS_PLUGIN"]  # where this backend is installed
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        folder = store.submissions.folder(submission.id)
        commands = [[*task_command(folder), str(chunk.start)] for chunk in submission.chunks if chunk.count]
        if last := last_command(store, submission):
            commands.append(last)
        return [f"#PBS -N {submission.job_name}\n{exports}exec {shlex.join(command)}\n" for command in commands]

    def preview(self, store: ResultsFolder, submission: Submission, target: Target) -> str:
        return "\n".join(self.scripts(store, submission, target))

    def submit(self, store: ResultsFolder, submission: Submission, lock: Lock) -> Submission:
        taken = {job["name"]: job_id for job_id, job in jobs().items()}
        for position, chunk in enumerate(submission.chunks):
            script = store.submissions.script_path(submission.id, position)
            after = [submission.chunks[other].job_id for other in chunk.after]
            job_id = taken.get(chunk.job_name) or qsub(script, chunk.job_name, after, chunk.held)
            chunks = list(submission.chunks)
            chunks[position] = dataclasses.replace(chunk, job_id=job_id)
            submission = dataclasses.replace(submission, chunks=chunks)
            store.submissions.write(submission)
        submission = dataclasses.replace(submission, handed_over=True)
        store.submissions.write(submission)
        return submission

    def can_recover(self, submission: Submission) -> bool:
        return True

    def recover(self, store: ResultsFolder, submissions: Sequence[Submission], lock: Lock) -> Iterator[str]:
        for submission in submissions:
            self.submit(store, submission, lock)
            yield f"{submission.id} is complete now"

    def task_states(
        self, store: ResultsFolder, submissions: Sequence[Submission], now: float, max_age_s: float
    ) -> dict[TaskKey, TaskState]:
        known = qstat()
        return {
            (submission.id, chunk.start): _state(submission.id, chunk.job_id, known.get(chunk.job_id))
            for submission in submissions
            for chunk in submission.chunks
        }

    def cancel(self, store: ResultsFolder, tasks: Sequence[Task]) -> dict[TaskKey, str]:
        for submission, task in tasks:
            job_id = submission.job_of(task) or ""
            job = jobs()[job_id]
            write_job(job_id, {**job, "cancelled": True, **({"state": "F"} if job["state"] in "QH" else {})})
            if "pid" in job:
                os.kill(job["pid"], signal.SIGTERM)
        return {}

    def hold_pending(self, submission: Submission) -> int:
        waiting = [chunk.job_id for chunk in submission.chunks if jobs()[chunk.job_id]["state"] == "Q"]
        for job_id in waiting:
            write_job(job_id, {**jobs()[job_id], "state": "H"})
        return len(waiting)

    def release(self, jobs_held: Sequence[str]) -> None:
        for job_id in jobs_held:
            if jobs()[job_id]["state"] == "H":
                write_job(job_id, {**jobs()[job_id], "state": "Q"})

    def log_paths(self, store: ResultsFolder, submission: Submission, task: int) -> list[Path]:
        script = store.submissions.script_path(submission.id, task)
        return [Path(f"{script}.o{submission.job_of(task)}")]

    def accounted_usage(self, submission: Submission) -> list[Usage]:
        used = [jobs()[chunk.job_id].get("usage") for chunk in submission.chunks if chunk.count]
        return [Usage(*values) for values in used if values]

    def current_task(self) -> str | None:
        return os.environ.get("PBS_JOBID")

    def requeue(self, task: str) -> bool:
        write_job(task, {**jobs()[task], "again": True})
        return True


def _state(submission: str, job_id: str, job: dict[str, Any] | None) -> TaskState:
    if job is None:
        return TaskState(submission, "gone", "PBS does not know its job")
    if job["state"] == "F" and job.get("cancelled"):
        return TaskState(submission, "ended", "cancelled", "cancelled", "node1", job_id)
    if job["state"] == "F":
        return TaskState(submission, "ended", f"exit code {job['code']}" if job["code"] else "", "", "node1", job_id)
    return TaskState(
        submission, {"Q": "pending", "H": "pending", "R": "running"}[job["state"]], "", "", "node1", job_id
    )


if __name__ == "__main__":
    os.environ["PBS_SERVER"] = sys.argv[1]
    run_job(sys.argv[2])
    sys.exit()


# --- a sweep with it --------------------------------------------------------------------------------------

from collections.abc import Callable  # noqa: E402

import pytest  # noqa: E402 - what stands above is a module of its own
from driver import PATIENCE_S, Sweeps  # noqa: E402
from slurm_cluster import wait_until  # noqa: E402

from jobs.backends import registry  # noqa: E402

SUBMIT = ("--plan", "plan.yaml", "--cluster", "pbs", "--profile", "cpu")
SHORT = (*SUBMIT, "--steps", "40", "--set", "eval_freq=10")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Installs a package into this process, too, until the test ends."""

    def forget() -> None:
        for cached in (registry._installed, registry.get):
            cached.cache_clear()
        sys.modules.pop("pbs_backend", None)

    def install(package: Path) -> None:
        monkeypatch.syspath_prepend(package)
        forget()

    yield install
    forget()


@pytest.fixture
def pbs(tmp_path: Path, installed: Callable[[Path], None]) -> Sweeps:
    """`sweeps ...` where a package with the backend is installed."""
    package = tmp_path / "site"
    (package / "pbs_backend-1.0.dist-info").mkdir(parents=True)
    (package / "pbs_backend-1.0.dist-info" / "METADATA").write_text("Name: pbs-backend\nVersion: 1.0\n")
    entry = "[sweepwise.backends]\npbs = pbs_backend:PbsBackend\n"
    (package / "pbs_backend-1.0.dist-info" / "entry_points.txt").write_text(entry)
    (package / "pbs_backend.py").write_text(Path(__file__).read_text().partition("# --- a sweep with it")[0])
    (tmp_path / "server").mkdir()
    sweeps = Sweeps(tmp_path)
    sweeps.environment |= {"PBS_SERVER": str(tmp_path / "server"), "PBS_PLUGIN": str(package)}
    sweeps.environment["PYTHONPATH"] += os.pathsep + str(package)
    installed(package)
    sweeps.in_this_process = sweeps.environment["PYTHONPATH"]
    return sweeps


def pbs_jobs(pbs: Sweeps) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((pbs.folder / "server").glob("*.json"))]


def hold(pbs: Sweeps) -> int:
    """The process of the only run, stopped after its first step."""
    wait_until("a first step", lambda: pbs.step() > 0, PATIENCE_S, pause=0.02)
    (attempt,) = pbs.results("runs/*/seed-1/attempts/*.json")
    pid = int(json.loads(attempt.read_text())["pid"])
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_submit_status_logs_usage_and_report_and_without_its_package_the_runs_are_still_shown(pbs: Sweeps) -> None:
    assert "auto|slurm|pbs|local|debug" in pbs("submit", "--help")
    assert "#PBS -N pair-" in pbs("submit", "pair", *SHORT, "--dry-run")
    assert not pbs_jobs(pbs)
    told = pbs("submit", "pair", *SHORT, "--then-aggregate", "--wait")
    assert "submitted 2 tasks to pbs" in told
    assert pbs.states() == ["done", "done"]
    assert pbs.job() == "001"
    identity = pbs.results("runs/*/seed-1")[0].parent.name
    assert "finished at step 40" in pbs("logs", f"{identity}/seed-1")
    assert "done" in pbs("status", "--runs")
    # Two tasks whose usage the accounting knows, a moment after their end.
    wait_until("two tasks in usage", lambda: re.search(r"-pair +2 ", pbs("usage")) is not None, PATIENCE_S)
    wait_until("the end of both jobs", lambda: [j["state"] for j in pbs_jobs(pbs)[:2]] == ["F", "F"], PATIENCE_S)
    pbs.python_with("-c", "import pbs_backend; pbs_backend.qstat()")  # starts the report, which waited for both
    wait_until("the report", (pbs.folder / "results" / "reports" / "pair.html").exists, PATIENCE_S, pause=0.2)
    assert "0 to submit" in pbs("submit", "pair", *SHORT)
    assert len(pbs_jobs(pbs)) == 3
    pbs.environment["PYTHONPATH"] = pbs.environment["PYTHONPATH"].partition(os.pathsep)[0]
    pbs.in_this_process = ""
    assert pbs.states() == ["done", "done"]
    assert "'pbs' is not one of 'auto', 'slurm', 'local', 'debug'" in (
        pbs.python_with("-m", "jobs.cli", "submit", "pair", *SHORT).stderr
    )


def test_the_other_seeds_wait_until_the_first_is_healthy(pbs: Sweeps) -> None:
    pbs("submit", "one", *SHORT, "--seeds", "3", "--canary")
    assert [job["state"] for job in pbs_jobs(pbs)] == ["Q", "H", "H"]
    assert "2 tasks are held" in pbs("status")
    pbs.until("done", "done", "done")  # the first seed's own job releases the others


def test_a_cancelled_run_goes_on_with_rerun(pbs: Sweeps) -> None:
    pbs("submit", "one", *SUBMIT)
    assert pbs.states() == ["pending"]
    training = hold(pbs)
    assert "1 run" in pbs("cancel", "one")
    os.kill(training, signal.SIGCONT)
    pbs.until("interrupted")
    pbs("rerun", "one", "--interrupted", "--wait")
    assert pbs.states() == ["done"]
    assert pbs.attempts() == 2


def test_a_job_that_is_told_of_its_time_limit_is_queued_again(pbs: Sweeps) -> None:
    pbs("submit", "one", *SUBMIT)
    assert pbs.states() == ["pending"]
    training = hold(pbs)
    os.kill(training, signal.SIGUSR2)
    os.kill(training, signal.SIGCONT)
    pbs.until("done")
    assert pbs.attempts() == 2
    assert len(pbs_jobs(pbs)) == 1


@pytest.mark.parametrize("taken", [1, 2])
def test_a_submit_that_was_killed_is_completed_by_status(pbs: Sweeps, taken: int) -> None:
    pbs.environment[DIES_AFTER] = str(taken)
    killed = pbs.python_with("-m", "jobs.cli", "submit", "pair", *SHORT)
    assert killed.returncode == -signal.SIGKILL
    assert len(pbs_jobs(pbs)) == taken
    del pbs.environment[DIES_AFTER]
    assert "is complete now" in pbs.python_with("-m", "jobs.cli", "status").stderr
    pbs.until("done", "done")
    assert len(pbs_jobs(pbs)) == 2
