"""The status of evaluations of sweeps, which `sweeps evaluate SWEEP` submitted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jobs.backends import registry
from jobs.results.attempts import RunRef
from jobs.results.evaluations import EvaluationFolder, EvaluationSpec, parse
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import State
from jobs.runs.status import RunStatus, counts, failures, load_statuses

# What the same command submits again: unlike training it costs little, and nothing else repeats a failure.
REPEATED: frozenset[State] = frozenset({"new", "interrupted", "lost", "failed"})


@dataclass(frozen=True)
class EvaluationStatus:
    """An evaluation of a sweep: its runs with the state of their evaluation, by submission."""

    sweep: str
    folder: EvaluationFolder
    runs: tuple[RunStatus, ...]


def evaluations(store: ResultsFolder, sweeps: Collection[str], max_age_s: float = 0.0) -> list[EvaluationStatus]:
    """The evaluations of `sweeps` that were submitted, the oldest first. max_age_s: see `load_statuses`."""
    members: dict[tuple[str, EvaluationSpec], dict[RunRef, None]] = {}
    for submission in store.submissions.all():
        if submission.evaluation and submission.sweep in sweeps:
            runs = [RunRef(task.config_id, seed) for task in submission.tasks for seed in task.seeds]
            members.setdefault((submission.sweep, parse(submission.evaluation)), {}).update(dict.fromkeys(runs))
    listed = []
    for (sweep, spec), runs_of_sweep in members.items():
        folder = EvaluationFolder(store.root, spec)
        statuses = load_statuses(folder, dict.fromkeys(runs_of_sweep, spec.episodes), max_age_s=max_age_s)
        listed.append(EvaluationStatus(sweep, folder, tuple(statuses.values())))
    return listed


def of_run(store: ResultsFolder, run: RunRef) -> list[EvaluationFolder]:
    """The evaluations of `run` that were submitted, the one that was submitted last at the end."""
    specs: dict[EvaluationSpec, None] = {}
    for submission in store.submissions.all():
        if submission.evaluation and any(
            run.config_id == task.config_id and run.seed in task.seeds and submission.holds(index)
            for index, task in enumerate(submission.tasks)
        ):
            spec = parse(submission.evaluation)
            specs.pop(spec, None)
            specs[spec] = None
    return [EvaluationFolder(store.root, spec) for spec in specs]


def format_evaluation(evaluation: EvaluationStatus) -> Iterator[str]:
    """A line with the counts of its states, and one for each reason of a failure with the log of one task."""
    states = counts(evaluation.runs)
    by_state = ", ".join(f"{count} {state}" for state, count in states.items())
    rest = f"; again: `{command(evaluation)}`" if REPEATED & set(states) else ""
    yield f"evaluation ({evaluation.folder.spec}): {by_state}{rest}"
    for reason, runs in failures(evaluation.runs):
        first = runs[0]
        path = ""
        if first.submission is not None and first.task is not None and registry.is_known(first.submission.backend):
            paths = registry.get(first.submission.backend).log_paths(evaluation.folder, first.submission, first.task)
            path = f"; log: {paths[-1]}"
        yield f"  {len(runs)} failed: {reason or 'no reason'}, as {first.record.ref}{path}"


def command(evaluation: EvaluationStatus) -> str:
    """The command that submits what is missing of it."""
    spec = evaluation.folder.spec
    at = f" --at {spec.at}" if spec.at else ""
    planner = f" --planner {spec.planner}" if spec.planner != "eval" else ""
    several = f" --last-snapshots {spec.snapshots}" if spec.snapshots > 1 else ""
    return f"sweeps evaluate {evaluation.sweep} --episodes {spec.episodes}{several}{at}{planner}"


def to_json(listed: Iterable[EvaluationStatus]) -> list[dict[str, Any]]:
    """Their part of `status --json`: plain values with stable keys."""
    return [
        {
            "sweep": evaluation.sweep,
            **evaluation.folder.spec.to_json(),
            "runs": [
                {"run": str(run.record.ref), "state": run.state.state, "reason": run.state.reason, "job": run.job}
                for run in evaluation.runs
            ],
        }
        for evaluation in listed
    ]
