"""Jobs that are held although they were released, and those that a user holds.

A controller that is killed within seconds of a submit forgets that the jobs were released, but not the jobs: they would
stay held for ever. `scontrol hold` leaves a job in the same state, so the start of the controller tells them apart: a
hold that appears while the controller goes on is the user's.

Such a controller may also start jobs again that had ended, and hold those that it cannot start. Where their runs are
done they are cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from jobs import process
from jobs.backends.base import NoResponse
from jobs.backends.formats import task_ids, task_list
from jobs.backends.slurm import cancelling, commands, programs
from jobs.backends.slurm.reasons import RELEASED_AGAIN, USERS_HOLD
from jobs.backends.slurm.squeue import HELD_BY_USER, LAUNCH_FAILED
from jobs.results.attempts import RunRef
from jobs.results.records import Chunk, QueueSnapshot, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

MOST_LAUNCHES = 3  # of a job that could not be started; then it stays held

Expected = Callable[[Chunk, int | None], bool]
Entries = dict[str, list[str]]  # job -> [state, reason, node], as in `QueueSnapshot`


def expected(store: ResultsFolder, submission: Submission) -> Expected:
    """Tells of a task whether it waits for a release, for its canary or after repeated failures. task: None for the
    report."""
    breaker = store.submissions.read_breaker(submission.id)
    if not submission.handed_over or (breaker is not None and not breaker.released):
        return lambda chunk, task: True
    released = store.submissions.released(submission.id)
    return lambda chunk, task: chunk.held and task is not None and submission.tasks[task].config_id not in released


def release_lost(
    store: ResultsFolder, chunks: Sequence[tuple[Submission, Chunk]], before: QueueSnapshot, answer: QueueSnapshot
) -> QueueSnapshot:
    """`answer` after the release of this user's jobs whose release was lost, or whose start failed; jobs whose runs are
    done are cancelled instead.

    before: the answer before that. Other commands that find a job held do the same; a second release does no harm.
    """
    answers = dict(answer.said)
    controller: str | None = None
    for submission in dict.fromkeys(submission.id for submission, _ in chunks):
        members = [(s, chunk) for s, chunk in chunks if s.id == submission]
        held = {chunk.job_name: _held(store, s, chunk, answer) for s, chunk in members}
        if not any(held.values()) or members[0][0].user != process.user():
            continue
        if controller is None:
            controller = commands.cluster_settings().get("BOOT_TIME", "")
        for _, chunk in members:
            if held[chunk.job_name]:
                entries = {**answer.tasks_of(chunk.job_name)}
                needless = _of_done_runs(store, members[0][0], chunk, held[chunk.job_name])
                needed = {job: entry for job, entry in held[chunk.job_name].items() if job not in needless}
                entries |= _cancelled(members[0][0], chunk, needless)
                entries |= _mended(members[0][0], needed, before.tasks_of(chunk.job_name), controller)
                answers[chunk.job_name] = {**answers[chunk.job_name], "tasks": entries}
        if controller and controller != members[0][0].controller:
            store.submissions.write(replace(members[0][0], controller=controller))
    return replace(answer, said=answers)


def _held(store: ResultsFolder, submission: Submission, chunk: Chunk, answer: QueueSnapshot) -> Entries:
    """The jobs of `chunk` that are held and should not be."""
    entries = answer.tasks_of(chunk.job_name)
    suspects = {job: e for job, e in entries.items() if e[0] == "PENDING" and e[1] in (HELD_BY_USER, LAUNCH_FAILED)}
    if not suspects:
        return {}
    tasks, waits = dict(zip(chunk.jobs, chunk.tasks or [None], strict=True)), expected(store, submission)
    return {job: entry for job, entry in suspects.items() if not waits(chunk, tasks[job])}


def _of_done_runs(store: ResultsFolder, submission: Submission, chunk: Chunk, held: Entries) -> list[str]:
    """The `held` jobs all of whose runs are done."""
    tasks = dict(zip(chunk.jobs, chunk.tasks or [None], strict=True))

    def is_done(task: TaskRuns) -> bool:
        if not store.config_path(task.config_id).exists():
            return False
        steps = store.run_length(task.config_id)
        return all(store.attempts.load(RunRef(task.config_id, seed), steps).done for seed in task.seeds)

    return [job for job in held if (task := tasks[job]) is not None and is_done(submission.tasks[task])]


def _cancelled(submission: Submission, chunk: Chunk, jobs: Sequence[str]) -> Entries:
    """New entries of `jobs`, which are cancelled; none where Slurm refuses."""
    if not jobs:
        return {}
    try:
        cancelling.scancel({(chunk.job_name, submission.user): jobs})
    except JobsError:
        return {}
    return {job: ["CANCELLED", "", ""] for job in jobs}


def _mended(submission: Submission, held: Entries, before: Entries, controller: str) -> Entries:
    """New entries of the `held` jobs: released, or left as they are."""
    entries: Entries = {}
    restarts = _restarts(job for job, entry in held.items() if entry[1] == LAUNCH_FAILED)
    ready = []
    for job, (state, reason, node) in held.items():
        if reason == LAUNCH_FAILED:
            ready += [job] if restarts.get(job, MOST_LAUNCHES + 1) <= MOST_LAUNCHES else []
        elif submission.exported or before.get(job, ["", "", ""])[1] == USERS_HOLD:
            entries[job] = [state, USERS_HOLD, node]
        elif controller in ("", submission.controller):
            entries[job] = [state, USERS_HOLD if controller else reason, node]
        else:
            ready.append(job)
    if ready:
        try:
            commands.release(task_list(ready))
        except NoResponse:
            return entries
        entries |= {job: ["PENDING", RELEASED_AGAIN, ""] for job in ready}
    return entries


def _restarts(jobs: Iterable[str]) -> dict[str, int]:
    """How often each of `jobs` was queued again, as far as Slurm says."""
    restarts: dict[str, int] = {}
    for array in dict.fromkeys(job.partition("_")[0] for job in jobs):
        for fields in programs.job_records(array):
            indices = fields.get("ArrayTaskId", "").partition("%")[0]
            count = fields.get("Restarts", "")
            if count.isdecimal():
                tasks = task_ids(f"{array}_[{indices}]") if indices else [array]
                restarts.update(dict.fromkeys(tasks, int(count)))
    return restarts
