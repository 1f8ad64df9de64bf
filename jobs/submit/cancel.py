"""Cancelling: what is to end, and only jobs of this cluster, these names and that user. Runs save their state first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs import process
from jobs.backends import local
from jobs.backends.slurm import commands, queue_state
from jobs.results.attempts import RunRef
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs.select import SelectedRun
from jobs.runs.status import load_statuses
from sweepwise.core.errors import JobsError

_SCANCEL_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Ending:
    """A task that is to end, and its runs that end with it."""

    submission: Submission
    task: int
    runs: tuple[RunRef, ...]


Kept = list[tuple[RunRef, str]]  # runs that go on, and why


def plan(store: ResultsFolder, picked: Sequence[SelectedRun]) -> tuple[list[Ending], Kept]:
    """What ends with the active ones of `picked`. A task goes on where it also trains a run that is not picked."""
    wanted = {p.run.record.ref: p.run for p in picked if p.run.state.state in ACTIVE}
    kept: Kept = []
    tasks: dict[tuple[str, int], tuple[Submission, list[RunRef]]] = {}
    for ref, run in wanted.items():
        if run.submission is None or run.task is None:
            kept.append((ref, "it trains in the foreground of another terminal"))
        else:
            tasks.setdefault((run.submission.id, run.task), (run.submission, []))[1].append(ref)
    endings = []
    for (_, task), (submission, runs) in tasks.items():
        others = _others(store, submission, task, runs)
        if others:
            kept += [(ref, f"it trains in one process with {', '.join(map(str, others))}") for ref in runs]
        else:
            endings.append(Ending(submission, task, tuple(runs)))
    return endings, kept


def _others(store: ResultsFolder, submission: Submission, task: int, wanted: Sequence[RunRef]) -> list[RunRef]:
    """Active runs of the task that are not wanted."""
    runs = submission.tasks[task]
    rest = {RunRef(runs.config_id, seed) for seed in runs.seeds} - set(wanted)
    if not rest:
        return []
    steps = store.check_config(runs.config_id).steps
    found = load_statuses(store, dict.fromkeys(sorted(rest), steps))
    return [
        ref
        for ref, run in found.items()
        if run.state.state in ACTIVE
        and run.submission is not None
        and (run.submission.id, run.task) == (submission.id, task)
    ]


def carry_out(store: ResultsFolder, endings: Sequence[Ending]) -> tuple[list[Ending], Kept]:
    """End those of `endings` that can be; raises `JobsError` where Slurm is silent, and nothing was cancelled then."""
    ended, kept = _on_slurm([e for e in endings if e.submission.backend == "slurm"])
    for ending in endings:
        submission = ending.submission
        if submission.backend == "local" and submission.host != process.host():
            kept += [(ref, f"it is a process of {submission.host}; cancel it there") for ref in ending.runs]
        elif submission.backend == "local":
            local.cancel(store, submission, [ending.task])
            ended.append(ending)
    return ended, kept


def _on_slurm(endings: Sequence[Ending]) -> tuple[list[Ending], Kept]:
    if not endings:
        return [], []
    here = commands.cluster_settings().get("ClusterName")
    names = {chunk.job_name for ending in endings for chunk in ending.submission.chunks}
    rows = queue_state.listed(names) if here is not None else None
    if rows is None:
        raise JobsError("Slurm does not answer; nothing was cancelled, try again later")
    listed = {(row.job, row.name, row.user) for row in rows}
    ended: list[Ending] = []
    kept: Kept = []
    jobs: dict[str, list[str]] = {}
    for ending in endings:
        submission, task = ending.submission, ending.task
        name = next((chunk.job_name for chunk in submission.chunks if task in chunk.tasks), "")
        job = submission.job_of(task) or ""
        if submission.cluster != here:
            kept += [(ref, f"it is on cluster {submission.cluster}, and this is {here}") for ref in ending.runs]
        elif (job, name, submission.user) not in listed:
            why = f"Slurm lists no job {job} of the name {name} and the user {submission.user}"
            kept += [(ref, why) for ref in ending.runs]
        else:
            jobs.setdefault(job.partition("_")[0], []).append(job)
            ended.append(ending)
    if jobs:
        code, _, errors = process.run(["scancel", *map(_compact, jobs.values())], _SCANCEL_TIMEOUT_S)
        if code != 0:
            raise JobsError(f"scancel failed: {' '.join(errors.split()) or 'no reason given'}")
    return ended, kept


def _compact(jobs: Sequence[str]) -> str:
    """Tasks of one array as `7_[0-3,5]`; a job that is no array as it is."""
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
