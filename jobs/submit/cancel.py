"""Cancelling: which tasks end with the selected runs. Running runs save a checkpoint first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.backends import registry
from jobs.results.attempts import RunRef
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs.evaluations import evaluations
from jobs.runs.select import SelectedRun
from jobs.runs.status import load_statuses


@dataclass(frozen=True)
class Ending:
    """A task to cancel, and its runs."""

    submission: Submission
    task: int
    runs: tuple[RunRef, ...]


Kept = list[tuple[RunRef, str]]  # runs that are not cancelled, and why


def plan(store: ResultsFolder, picked: Sequence[SelectedRun]) -> tuple[list[Ending], Kept]:
    """The tasks to cancel for the active `picked` runs. A task that also trains other runs is not cancelled."""
    to_cancel = {p.run.record.ref: p.run for p in picked if p.run.state.state in ACTIVE}
    kept: Kept = []
    tasks: dict[tuple[str, int], tuple[Submission, list[RunRef]]] = {}
    for ref, run in to_cancel.items():
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


def plan_evaluations(store: ResultsFolder, sweeps: Sequence[str]) -> tuple[list[Ending], Kept]:
    """The same for all active tasks that evaluate runs of `sweeps`."""
    endings: list[Ending] = []
    kept: Kept = []
    for evaluation in evaluations(store, sweeps):
        tasks, going_on = plan(evaluation.folder, [SelectedRun(0, "", run) for run in evaluation.runs])
        endings += tasks
        kept += going_on
    return endings, kept


def _others(store: ResultsFolder, submission: Submission, task: int, to_cancel: Sequence[RunRef]) -> list[RunRef]:
    """Active runs of the task that are not wanted."""
    runs = submission.tasks[task]
    rest = {RunRef(runs.config_id, seed) for seed in runs.seeds} - set(to_cancel)
    if not rest:
        return []
    steps = store.run_length(runs.config_id)
    statuses = load_statuses(store, dict.fromkeys(sorted(rest), steps))
    return [
        ref
        for ref, run in statuses.items()
        if run.state.state in ACTIVE
        and run.submission is not None
        and (run.submission.id, run.task) == (submission.id, task)
    ]


def carry_out(store: ResultsFolder, endings: Sequence[Ending]) -> tuple[list[Ending], Kept]:
    """Cancel `endings`. Returns the cancelled ones and the rest. Raises `JobsError` if a backend does not respond."""
    ended: list[Ending] = []
    kept: Kept = []
    for name in registry.names():  # clusters first: if one does not respond, nothing has been cancelled yet
        members = [ending for ending in endings if ending.submission.backend == name]
        if not members:
            continue
        going_on = registry.get(name).cancel(store, [(ending.submission, ending.task) for ending in members])
        for ending in members:
            reason = going_on.get((ending.submission.id, ending.task))
            if reason is None:
                ended.append(ending)
            else:
                kept += [(ref, reason) for ref in ending.runs]
    return ended, kept
