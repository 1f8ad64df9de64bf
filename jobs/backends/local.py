"""The local backend: tasks run on this machine, in processes that continue after the terminal is closed.

A scheduler in its own session (`jobs.backends.local_scheduler`) runs N tasks at a time. A slot is a lock file in the
results folder. The task itself holds the lock, so that submissions share the slots, and a slot stays taken if the
scheduler ends before the task.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs import process
from jobs.backends import profile
from jobs.backends.base import Allocation, Backend, ExecutionOptions, Request, Target, Task, TaskKey
from jobs.backends.job_command import task_command
from jobs.backends.profile import Profile
from jobs.results import code_snapshot
from jobs.results.lock import Lock
from jobs.results.records import Submission, Worker
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState
from jobs.submitter_environment import kept
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import shown

_LONGEST = 300  # characters of a line of a log
SILENT_S = 600.0  # after which the scheduler of another host is taken for dead


@dataclass(frozen=True)
class Slots:
    """How many tasks run at a time, with threads and GPUs of each. gpus: slot i uses gpus[i % len], which may be
    several, as in "0,1"; empty: CPU only."""

    count: int
    threads: int
    gpus: tuple[str, ...] = ()

    def gpu(self, slot: int) -> str | None:
        return self.gpus[slot % len(self.gpus)] if self.gpus else None


def plan_slots(tasks: int, max_parallel: int | None, gpus_per_task: int, cpus: int | None = None) -> Slots:
    """The slots: `max_parallel` of them, else as many as the GPUs allow, else as many as the cores allow.

    cpus: cores per task, if a profile sets them. Otherwise the tasks share all cores; without GPUs, fewer
    tasks than slots get one slot each, since another submission's task would compete for the same cores.
    """
    gpus = _shares(gpus_per_task)
    cores = process.cores()
    count = max(1, max_parallel or len(gpus) or cores // (cpus or 1))
    at_once = min(tasks, count)
    return Slots(count if gpus or cpus else at_once, cpus or max(1, cores // at_once), gpus)


def slots_of(submission: Submission) -> Slots:
    """The slots that were planned when `submission` was recorded."""
    return Slots(int(submission.options["slots"]), submission.threads, _shares(submission.gpus))


def _shares(gpus_per_task: int) -> tuple[str, ...]:
    """The GPUs of this machine, so many to each; what remains is left alone."""
    if not gpus_per_task:
        return ()
    gpus = process.gpus()
    firsts = range(0, len(gpus) - gpus_per_task + 1, gpus_per_task)
    return tuple(",".join(gpus[first : first + gpus_per_task]) for first in firsts)


def command(store: ResultsFolder, submission: str, task: int) -> list[str]:
    """The command that trains a task."""
    return [*task_command(store.submissions.folder(submission)), str(task)]


def environment(code: Path, slots: Slots, slot: int) -> dict[str, str]:
    """Variables of a task that imports from `code`, added to the user's. Without GPUs, CUDA devices are hidden."""
    return {
        **process.job_variables(code),
        "OMP_NUM_THREADS": str(slots.threads),
        "CUDA_VISIBLE_DEVICES": slots.gpu(slot) or "",
    }


def shell_line(store: ResultsFolder, code: Path, submission: str, task: int, slots: Slots) -> str:
    """The exact command of a task, for `--dry-run`."""
    values = environment(code, slots, task % slots.count)
    variables = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    return " ".join([*variables, shlex.join(command(store, submission, task))])


class LocalBackend(Backend):
    name = "local"
    poll_s = 1.0

    def detect(self) -> str | None:
        return "submits to this machine, since sbatch is not on PATH"

    def target(self, options: ExecutionOptions) -> Target:
        if options.option and not options.profile:
            raise JobsError(
                "--option changes a profile, and this machine uses none by default; give one with --profile"
            )
        chosen = profile.load(options.profile, options.option) if options.profile else None
        gpu_count = len(process.gpus())
        if chosen is not None:
            _check_fits(chosen, gpu_count)
        return Target(self.name, chosen, chosen.gpus if chosen is not None else min(1, gpu_count))

    def at_once(self, options: ExecutionOptions) -> int | None:
        """The largest number of tasks at a time; None to choose it from the hardware."""
        return options.max_parallel

    def _slots(self, tasks: int, options: ExecutionOptions, target: Target) -> Slots:
        cpus = target.profile.cpus if target.profile else None
        return plan_slots(tasks, self.at_once(options), target.gpus, cpus)

    def width(self, tasks: int, options: ExecutionOptions, target: Target) -> int:
        return self._slots(tasks, options, target).count

    def allocate(self, request: Request, job_name: str) -> Allocation:
        slots = self._slots(len(request.tasks), request.options, request.target)
        return Allocation(slots.threads, recorded={"slots": slots.count})

    def preview(self, store: ResultsFolder, submission: Submission, target: Target) -> str:
        code, slots = code_snapshot.folder(store, submission), slots_of(submission)
        tasks = range(len(submission.tasks))
        return "\n".join(shell_line(store, code, submission.id, task, slots) for task in tasks)

    def submit(self, store: ResultsFolder, submission: Submission, lock: Lock) -> Submission:
        launch(store, submission)
        submission = replace(submission, handed_over=True)
        store.submissions.write(submission)
        return submission

    def can_recover(self, submission: Submission) -> bool:
        return submission.host == process.host()

    def recover(self, store: ResultsFolder, submissions: Sequence[Submission], lock: Lock) -> Iterator[str]:
        for submission in submissions:
            started = store.submissions.read_worker(submission.id, None) is not None
            problem = "" if started else "its submission was interrupted"
            store.submissions.write(replace(submission, handed_over=True, problem=problem))
        yield from ()

    def task_states(
        self, store: ResultsFolder, submissions: Sequence[Submission], now: float, max_age_s: float
    ) -> dict[TaskKey, TaskState]:
        states: dict[TaskKey, TaskState] = {}
        full = f"the disk of {store.root} is full: make room" if process.is_full_disk(store.root) else ""
        for submission in submissions:
            if submission.host != process.host():
                states |= _states_elsewhere(store, submission)
                continue
            scheduler = store.submissions.read_worker(submission.id, None)
            cancelled = store.submissions.cancelled(submission.id)
            for task in range(len(submission.tasks)):
                states[submission.id, task] = _task_state(store, submission, scheduler, task, task in cancelled, full)
        return states

    def cancel(self, store: ResultsFolder, tasks: Sequence[Task]) -> dict[TaskKey, str]:
        going_on = {}
        for submission, task in tasks:
            if submission.host != process.host():
                going_on[submission.id, task] = f"it is a process of {submission.host}; cancel it there"
            else:
                _cancel(store, submission, task)
        return going_on


def _check_fits(chosen: Profile, gpus: int) -> None:
    """Raises `JobsError` for a profile that asks for more than this machine has, as Slurm refuses what no node has."""
    if chosen.gpus and not gpus:
        raise JobsError(f"profile {chosen.name!r} requests a GPU and this machine has none; use --profile cpu")
    memory, cores = process.memory_gb(), process.cores()
    for key, requested, available, unit in (
        ("gpus", chosen.gpus, gpus, "GPUs"), ("cpus", chosen.cpus, cores, "cores"),
        ("mem_gb", chosen.mem_gb or 0, memory, "GB of memory"),
    ):  # fmt: skip
        if available is not None and requested > available:
            raise JobsError(
                f"profile {chosen.name!r} requests {requested:g} {unit} per task and this machine has {available:g}; "
                f"give --option {key}={available:g}, or another profile"
            )


# --- control of the scheduler and its tasks ---------------------------------------------------------------


def launch(store: ResultsFolder, submission: Submission) -> int:
    """Start the scheduler of `submission` in a new session. Returns its process id."""
    with store.submissions.scheduler_log_path(submission.id).open("ab") as log:
        scheduler = process.start_recorded(
            [*process.python(), "-m", "jobs.backends.local_scheduler", str(store.submissions.folder(submission.id))],
            lambda pid: store.submissions.write_worker(submission.id, None, worker(pid)),
            {**os.environ, **kept(os.environ), **process.job_variables(code_snapshot.folder(store, submission))},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=store.root,
        )
    return scheduler.pid


def worker(pid: int, gpu: str | None = None) -> Worker:
    """The record of a process on this machine."""
    return Worker(process.host(), pid, process.start_time(pid), time.time(), gpu=gpu)


def _cancel(store: ResultsFolder, submission: Submission, task: int) -> None:
    """Mark the task as cancelled for the scheduler; without a live scheduler, terminate the task directly."""
    store.submissions.mark_cancelled(submission.id, task)
    if _alive(store.submissions.read_worker(submission.id, None)):
        return
    running = store.submissions.read_worker(submission.id, task)
    if running is not None and running.exit_code is None and _alive(running):
        os.kill(running.pid, signal.SIGTERM)


def _alive(running: Worker | None) -> bool:
    return running is not None and process.alive(running.pid, running.pid_start)


def _states_elsewhere(store: ResultsFolder, submission: Submission) -> dict[TaskKey, TaskState]:
    """The states of the tasks of another host, whose processes cannot be seen. Where its scheduler was silent for too
    long, the heartbeat of a run tells whether it still trains; nothing that waits begins."""
    name, silent = submission.id, store.submissions.silent_s(submission.id) or 0.0
    reason = f"its scheduler on {submission.host} has been silent for {silent / 60:.0f} min"
    unseen = TaskState(name, "unknown") if silent < SILENT_S else TaskState(name, "gone", reason)
    workers = (store.submissions.read_worker(name, task) for task in range(len(submission.tasks)))
    return {
        (name, task): unseen if worker is None or worker.exit_code is None else TaskState(name, "ended")
        for task, worker in enumerate(workers)
    }


def _task_state(
    store: ResultsFolder, submission: Submission, scheduler: Worker | None, task: int, cancelled: bool,
    full: str,
) -> TaskState:  # fmt: skip
    """full: says that the disk is full, "" else; its scheduler starts no task then."""
    name = submission.id
    running = store.submissions.read_worker(name, task)
    if running is None:
        if cancelled:
            return TaskState(name, "ended", "cancelled", "cancelled")
        if _alive(scheduler):
            return TaskState(name, "stuck" if full else "pending", full)
        return TaskState(name, "gone", f"its scheduler on this machine ended{_last_words(store, name)}")
    if running.exit_code is None and _alive(running):
        return TaskState(name, "running")
    return TaskState(name, "ended", "cancelled", "cancelled") if cancelled else _ended(name, running.exit_code, full)


def _last_words(store: ResultsFolder, submission: str) -> str:
    """The last line of the scheduler's log, where it wrote one: the error that ended it."""
    try:
        with store.submissions.scheduler_log_path(submission).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LONGEST))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f": {shown(lines[-1])[:_LONGEST]}" if lines else ""


def _ended(submission: str, code: int | None, full: str) -> TaskState:
    if code is None:
        return TaskState(submission, "ended", "; ".join(filter(None, ("its process ended without an outcome", full))))
    if code < 0:
        cause = "cancelled" if -code in (signal.SIGTERM, signal.SIGINT) else ""
        return TaskState(submission, "ended", f"killed by {process.signal_name(-code)}", cause)
    return TaskState(submission, "ended", f"exit code {code}" if code else "")
