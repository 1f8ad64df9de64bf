"""Submitted sweeps and runs as input for `aggregate`, which gets its folders and labels from here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.planning import interim_analyses
from jobs.results.attempts import RunRef
from jobs.results.decision_records import Annotations
from jobs.results.evaluations import complete_evaluations
from jobs.results.records import SubmittedConfiguration
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import RunStatus, SweepStatus, load_statuses, sweeps
from sweepwise.core.errors import JobsError
from sweepwise.core.schema import ResolvedConfig

if TYPE_CHECKING:
    from aggregate.inputs.plan_questions import Question
    from aggregate.inputs.runs import ConfigSource, RunNotes, RunSource, SweepSource

ENDPOINT_PLANNER = "eval"  # of the evaluations that enter the endpoint `evaluation`


def sweep_sources(store: ResultsFolder, names: Sequence[str], max_age_s: float = 0.0) -> list[SweepSource]:
    """The sweeps under `names`, or all, with the configurations of other sweeps that their questions need.

    max_age_s: see `jobs.runs.status.load_statuses`. Raises `JobsError` if nothing was submitted.
    """
    from aggregate.inputs.runs import SweepSource

    statuses = sweeps(store, names, max_age_s)
    if not statuses:
        raise nothing_submitted(store)
    known = {sweep.view.name: _configs(store, sweep) for sweep in statuses}
    questions = {sweep.view.name: _questions(store, sweep) for sweep in statuses}
    needed = {
        name for sweep_questions in questions.values() for question in sweep_questions for name in question.beside
    } - set(known)
    if other_names := needed & set(store.sweep_names()):
        others = sweeps(store, sorted(other_names), max_age_s)
        known |= {sweep.view.name: _configs(store, sweep) for sweep in others}
    sources = []
    for sweep in statuses:
        view = sweep.view
        beside = {name: known.get(name, ()) for question in questions[view.name] for name in question.beside}
        sources.append(
            SweepSource(
                name=view.name,
                goal=view.goal,
                questions=questions[view.name],
                factors=tuple(view.factors),
                configs=known[view.name],
                agent=store.agents.description(view.agent),
                beside=beside,
                interim_analyses=interim_analyses.of(store, sweep),
                margin=math.nan if view.margin is None else view.margin,
                confirms=view.confirms,
                tasks_of=view.tasks_of,
                notes=_notes(store.read_annotations(view.name)),
                paired=view.paired,
            )
        )
    return sources


def nothing_submitted(store: ResultsFolder) -> JobsError:
    return JobsError(f"nothing was submitted to {store.root}; `sweeps submit SWEEP`, or another --results")


def _questions(store: ResultsFolder, sweep: SweepStatus) -> tuple[Question, ...]:
    from aggregate.inputs.plan_questions import question

    try:
        return tuple(question(stored) for stored in sweep.view.questions)
    except ValueError as error:
        path = store.sweep_path(sweep.view.name)
        raise JobsError(f"{path}: {error}; submit the sweep again to write it") from error


def run_sources(store: ResultsFolder, runs: Sequence[RunRef]) -> list[ConfigSource]:
    """`runs` grouped by configuration, without a sweep. Raises `JobsError` for a damaged configuration."""
    steps = {run: store.check_config(run.config_id).steps for run in runs}
    statuses = load_statuses(store, steps)
    configs = []
    for config_id in dict.fromkeys(run.config_id for run in runs):
        config_runs = [statuses[run] for run in runs if run.config_id == config_id]
        as_submitted = SubmittedConfiguration(config_id, "", {}, False, [run.record.ref.seed for run in config_runs])
        configs.append(_config(store, as_submitted, store.check_config(config_id), config_runs, statuses.values()))
    return configs


def _configs(store: ResultsFolder, sweep: SweepStatus) -> tuple[ConfigSource, ...]:
    """The readable configurations of a sweep; unreadable ones are listed in the store's problems."""
    stored = ((config, store.read_config(config.config_id), runs) for config, runs in sweep.rows)
    reference = tuple(sweep.view.reference)
    return tuple(
        replace(
            _config(store, config, loaded, runs, sweep.runs),
            reference=(reference[0], reference[1]) if len(reference) == 2 else None,
        )
        for config, loaded, runs in stored
        if loaded is not None
    )


def _config(
    store: ResultsFolder,
    config: SubmittedConfiguration,
    stored: ResolvedConfig,
    runs: Sequence[RunStatus],
    beside: Iterable[RunStatus],
) -> ConfigSource:
    """beside: all runs that are compared; without a number of steps, training ends where the longest of them ended."""
    from aggregate.inputs.runs import ConfigSource

    total_steps = stored.steps
    if not store.agents.description(stored.agent).steps:
        ended = [run.record.finished_step for run in beside if run.record.done]
        total_steps = max([1, *(ended or (run.record.step for run in beside))])
    return ConfigSource(
        config_id=config.config_id,
        label=config.label,
        factors={key: _to_hashable(value) for key, value in config.factors.items()},
        is_baseline=config.is_baseline,
        config=stored.to_dict(),
        total_steps=total_steps,
        version=stored.version,
        runs=tuple(_run(store, run, stored.steps) for run in runs if not run.is_excluded),
        excluded=tuple(_run(store, run, stored.steps) for run in runs if run.is_excluded),
        notes={run.record.ref.seed: _notes(run.annotations) for run in runs if run.annotations is not None},
    )


def _run(store: ResultsFolder, run: RunStatus, steps: int) -> RunSource:
    from aggregate.inputs.runs import Evaluated, RunSource

    ref, exclusion = run.record.ref, run.annotations.exclusion if run.annotations is not None else None
    stopped = run.state.reason if run.state.state == "stopped" else ""
    return RunSource(
        ref.config_id,
        ref.seed,
        store.attempts.folder(ref),
        run.state.state,
        run.record.attempts,
        store.attempts.cache_path(ref),
        exclusion.reason if exclusion is not None else stopped,
        run.state.cause,
        tuple(
            Evaluated(tuple(record.returns), tuple(record.snapshots))
            for record in complete_evaluations(store, ref, ENDPOINT_PLANNER, steps)
        ),
    )


def _notes(annotations: Annotations) -> RunNotes:
    from aggregate.inputs.runs import RunNotes

    return RunNotes(tuple(note.text for note in annotations.notes), tuple(annotations.tags))


def _to_hashable(value: object) -> object:
    """Lists become tuples, since factors are used as dictionary keys."""
    return tuple(value) if isinstance(value, list) else value
