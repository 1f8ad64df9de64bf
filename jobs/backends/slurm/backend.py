"""The Slurm backend: job arrays, submitted held, recorded, then released."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.backends import formats, profile
from jobs.backends.base import (
    Allocation,
    Backend,
    ExecutionOptions,
    NoResponse,
    Request,
    Target,
    Task,
    TaskKey,
    Usage,
)
from jobs.backends.job_command import last_command
from jobs.backends.slurm import (
    accounting,
    batch_script,
    cancelling,
    commands,
    handover,
    job_environment,
    limits,
    programs,
    queue_state,
    squeue,
)
from jobs.results import code_snapshot
from jobs.results.lock import Lock
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState
from sweepwise.core.errors import JobsError

# Seconds between the end of a program's grace and that of its job: to end its processes and to publish what it logged.
_MARGIN_S, _CANCEL_MARGIN_S = 15, 5


class SlurmBackend(Backend):
    name = "slurm"
    title = "Slurm"
    can_hold = True
    can_export = True
    enforces_limits = True

    # --- before a submit ----------------------------------------------------------------------------------

    def detect(self) -> str | None:
        if shutil.which("sbatch") is not None:
            cluster = commands.cluster_settings().get("ClusterName")
            if cluster is None:
                raise JobsError(
                    "sbatch is on PATH, but Slurm's controller does not answer (`scontrol show config`); "
                    "try again later, or train on this machine with --cluster local"
                )
            return f"submits to the Slurm cluster {cluster!r}, since sbatch is on PATH"
        trace = commands.trace()
        if trace is not None:
            raise JobsError(
                f"{trace} indicates a Slurm cluster, but sbatch is not on PATH; load its module, "
                "or train on this machine with --cluster local"
            )
        return None

    def target(self, options: ExecutionOptions) -> Target:
        chosen = options.load_profile()
        settings = commands.cluster_settings()
        size = int(settings.get("MaxArraySize", commands.ARRAY_SIZE))
        throttle = options.max_parallel or chosen.max_parallel
        return Target(
            self.name, chosen, chosen.gpus, throttle, size, settings.get("ClusterName", ""), settings=settings
        )

    def check(self) -> None:
        commands.check()

    def grace_note(self, grace_s: float, target: Target) -> str:
        before = target.profile.checkpoint_signal_s if target.profile else 0
        if target.profile and grace_s + _MARGIN_S > before:
            raise JobsError(
                f"the program may take {grace_s:g} s to save its state (resume.grace), and a task is warned {before} s "
                f"before its time limit: give --option checkpoint_signal_s={int(grace_s + _MARGIN_S + 1)}, or lower "
                "resume.grace"
            )
        seconds = commands.cluster_settings().get("KillWait", "").partition(" ")[0]
        if seconds.isdecimal() and grace_s > int(seconds) - _CANCEL_MARGIN_S:
            return (
                f"a cancelled task is killed after {seconds} s on this cluster (KillWait), and the program has "
                f"{grace_s:g} s to save its state: what it trained since its last checkpoint may be lost"
            )
        return ""

    def remaining_tasks(self, target: Target) -> int | None:
        if target.profile is None:
            return None
        return limits.remaining(target.profile, target.settings)

    def width(self, tasks: int, options: ExecutionOptions, target: Target) -> int:
        return target.throttle

    def allocate(self, request: Request, job_name: str) -> Allocation:
        target, canaries = request.target, request.canaries
        counts = handover.split([canaries, len(request.tasks) - canaries], target.array_size)
        chunks = handover.chunks(job_name, counts, canaries, target.throttle, request.has_last_job)
        if target.profile is None:
            return Allocation(1, chunks)
        recorded: dict[str, Any] = {"checkpoint_signal_s": target.profile.checkpoint_signal_s}
        variables = {name: value for name, value in target.profile.env.items() if programs.is_dropped(name)}
        if variables:
            recorded["slurm_environment"] = variables
        return Allocation(target.profile.cpus, chunks, recorded)

    def scripts(self, store: ResultsFolder, submission: Submission, target: Target) -> list[str]:
        if target.profile is None or not submission.chunks:
            return []
        folder, logs = store.submissions.folder(submission.id), store.submissions.log_folder(submission.id)
        code = code_snapshot.folder(store, submission)
        arrays = [chunk for chunk in submission.chunks if chunk.count]
        throttles = handover.shares([chunk.count for chunk in arrays], target.throttle)
        scripts = []
        for chunk, throttle in zip(arrays, throttles, strict=True):
            command = batch_script.chunk_command(folder, chunk)
            scripts.append(
                batch_script.script(
                    target.profile,
                    chunk.job_name,
                    command,
                    throttle,
                    chunk.count,
                    code=code,
                    folder=logs,
                    keep_environment=bool(submission.program),
                )
            )
        if last := last_command(store, submission):
            command = shlex.join(last)
            report_profile, job_name = profile.for_report(target.profile), submission.chunks[-1].job_name
            scripts.append(batch_script.script(report_profile, job_name, command, code=code, folder=logs))
        return scripts

    def preview(self, store: ResultsFolder, submission: Submission, target: Target) -> str:
        return "\n".join(self.scripts(store, submission, target))

    # --- hand-over ----------------------------------------------------------------------------------------

    def submit(self, store: ResultsFolder, submission: Submission, lock: Lock) -> Submission:
        return handover.proceed(store, submission, lock, may_exist=False)

    def can_recover(self, submission: Submission) -> bool:
        return True

    def recover(self, store: ResultsFolder, submissions: Sequence[Submission], lock: Lock) -> Iterator[str]:
        cluster = commands.cluster_settings().get("ClusterName")
        on_this_cluster = [
            submission for submission in submissions if cluster is not None and submission.cluster == cluster
        ]
        yield from handover.recover(store, on_this_cluster, lock)

    # --- while tasks wait and run ---------------------------------------------------------------------------

    def task_states(
        self, store: ResultsFolder, submissions: Sequence[Submission], now: float, max_age_s: float
    ) -> dict[TaskKey, TaskState]:
        return queue_state.task_states(store, submissions, now, max_age_s)

    def unsettled(self, store: ResultsFolder, submissions: Sequence[Submission], now: float) -> set[str]:
        return queue_state.unsettled(store, submissions, now)

    def cancel(self, store: ResultsFolder, tasks: Sequence[Task]) -> dict[TaskKey, str]:
        return cancelling.cancel(store, tasks)

    def hold_pending(self, submission: Submission) -> int:
        rows = squeue.listed(chunk.job_name for chunk in submission.chunks if chunk.count) or []
        pending = [row.job for row in rows if row.state == "PENDING" and row.user == submission.user]
        if pending:
            commands.hold(formats.task_list(pending))
        return len(pending)

    def held(self, submission: Submission) -> list[str]:
        rows = squeue.listed(chunk.job_name for chunk in submission.chunks)
        if rows is None:
            raise NoResponse("no answer from squeue; try again later")
        return [row.job for row in rows if row.is_held and row.user == submission.user]

    def release(self, jobs: Sequence[str]) -> None:
        commands.release(formats.task_list(jobs))

    def exclude(self, submission: Submission, nodes: Sequence[str]) -> bool:
        rows = squeue.listed(chunk.job_name for chunk in submission.chunks if chunk.count) or []
        return commands.exclude([row.job for row in rows if row.state == "PENDING"], nodes)

    def log_paths(self, store: ResultsFolder, submission: Submission, task: int) -> list[Path]:
        job, folder = submission.job_of(task), store.submissions.log_folder(submission.id)
        if job is None:
            return [store.submissions.log_path(submission.id, task)]
        return [folder / f"{job}_0_log.{ending}" for ending in ("out", "err")]

    def accounted_usage(self, submission: Submission) -> list[Usage]:
        return accounting.usage(submission)

    # --- inside a job ---------------------------------------------------------------------------------------

    def current_task(self) -> str | None:
        return job_environment.current_job()

    def current_cluster(self) -> str:
        return job_environment.cluster_name()

    def end_time(self) -> float | None:
        return job_environment.end_time()

    def requeue(self, task: str) -> bool:
        return job_environment.requeue(task)
