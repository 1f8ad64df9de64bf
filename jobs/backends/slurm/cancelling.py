"""Cancel tasks: only jobs on this cluster with the recorded name and user."""

from __future__ import annotations

from collections.abc import Sequence

from jobs import process
from jobs.backends.base import Task, TaskKey
from jobs.backends.slurm import commands, queue_state
from sweepwise.core.errors import JobsError

_SCANCEL_TIMEOUT_S = 60.0


def cancel(tasks: Sequence[Task]) -> dict[TaskKey, str]:
    """As `Backend.cancel`."""
    cluster = commands.cluster_settings().get("ClusterName")
    names = {chunk.job_name for submission, _ in tasks for chunk in submission.chunks}
    rows = queue_state.listed(names) if cluster is not None else None
    if rows is None:
        raise JobsError("Slurm does not answer; nothing was cancelled, try again later")
    listed = {(row.job, row.name, row.user) for row in rows}
    going_on: dict[TaskKey, str] = {}
    jobs: dict[str, list[str]] = {}
    for submission, task in tasks:
        name = next((chunk.job_name for chunk in submission.chunks if task in chunk.tasks), "")
        job = submission.job_of(task) or ""
        if submission.cluster != cluster:
            going_on[submission.id, task] = f"it is on cluster {submission.cluster}, and this is {cluster}"
        elif (job, name, submission.user) not in listed:
            reason = f"Slurm lists no job {job} of the name {name} and the user {submission.user}"
            going_on[submission.id, task] = reason
        else:
            jobs.setdefault(job.partition("_")[0], []).append(job)
    if jobs:
        code, _, errors = process.run(["scancel", *map(_compact, jobs.values())], _SCANCEL_TIMEOUT_S)
        if code != 0:
            raise JobsError(f"scancel failed: {' '.join(errors.split()) or 'no reason given'}")
    return going_on


def _compact(jobs: Sequence[str]) -> str:
    """The tasks of one array as `7_[0-3,5]`; a job that is not an array is unchanged."""
    array, _, first = jobs[0].partition("_")
    if not first:
        return jobs[0]
    spans: list[list[int]] = []
    for index in sorted(int(job.partition("_")[2]) for job in jobs):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return f"{array}_[{','.join(str(low) if low == high else f'{low}-{high}' for low, high in spans)}]"
