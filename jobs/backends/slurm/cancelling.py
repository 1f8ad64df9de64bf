"""Cancel tasks: only jobs on this cluster with the recorded name and user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.backends.base import Task, TaskKey
from jobs.backends.formats import task_list
from jobs.backends.slurm import commands, programs, squeue
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import shown

_SCANCEL_TIMEOUT_S = 60.0

Owner = tuple[str, str]  # name of the job, user


def cancel(store: ResultsFolder, tasks: Sequence[Task]) -> dict[TaskKey, str]:
    """As `Backend.cancel`. While squeue does not respond, by what was recorded: scancel compares name and user too."""
    withdrawn = _withdraw(store, tasks)
    tasks = [(submission, task) for submission, task in tasks if (submission.id, task) not in withdrawn]
    cluster = commands.cluster_settings().get("ClusterName")
    names = {chunk.job_name for submission, _ in tasks for chunk in submission.chunks}
    rows = squeue.listed(names)
    listed = {(row.job, row.name, row.user) for row in rows or ()}
    going_on: dict[TaskKey, str] = {}
    jobs: dict[Owner, list[str]] = {}
    for submission, task in tasks:
        name = next((chunk.job_name for chunk in submission.chunks if task in chunk.tasks), "")
        job = submission.job_of(task) or ""
        if cluster is not None and submission.cluster != cluster:
            going_on[submission.id, task] = f"it is on cluster {submission.cluster}, and this is {cluster}"
        elif not job or (rows is not None and (job, name, submission.user) not in listed):
            reason = f"Slurm lists no job {job} with name {name} and user {submission.user}"
            going_on[submission.id, task] = reason
        else:
            jobs.setdefault((name, submission.user), []).append(job)
    scancel(jobs)
    return going_on


def _withdraw(store: ResultsFolder, tasks: Sequence[Task]) -> set[TaskKey]:
    """The tasks that Slurm has not got yet, where all such tasks of a submission are among `tasks`: they are not handed
    over any more."""
    withdrawn: set[TaskKey] = set()
    for submission in {submission.id: submission for submission, _ in tasks}.values():
        waiting = {task for task in range(len(submission.tasks)) if submission.job_of(task) is None}
        asked_for = {task for other, task in tasks if other.id == submission.id}
        if submission.handed_over or submission.exported or not waiting or waiting - asked_for:
            continue
        store.submissions.write(
            replace(submission, handed_over=True, problem="cancelled before it was submitted to Slurm")
        )
        withdrawn |= {(submission.id, task) for task in waiting}
    return withdrawn


def scancel(jobs: Mapping[Owner, Sequence[str]]) -> None:
    """Cancel jobs, by their name and user too. Raises `JobsError` if scancel fails."""
    for position, ((name, user), members) in enumerate(jobs.items()):
        command = ["scancel", f"--name={name}", f"--user={user}", *task_list(members)]
        code, _, errors = programs.run(command, _SCANCEL_TIMEOUT_S)
        if code != 0:
            reason = shown(" ".join(errors.split())) or "no reason given"
            before = f"{position} of {len(jobs)} arrays were cancelled" if position else "nothing was cancelled"
            raise JobsError(f"scancel failed, {before}; try again later: {reason}")
