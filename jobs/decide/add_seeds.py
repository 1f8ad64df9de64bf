"""Add seeds to the configurations that are not significantly different from a sweep's best configuration."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Collection
from dataclasses import dataclass

from jobs.backends.base import ExecutionOptions
from jobs.decide.adopt import has_ended
from jobs.planning import confirmations, interim_analyses
from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.records import SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs.status import SweepStatus, counts, only_sweep, sweeps
from jobs.submit.rerun import changed_options
from jobs.submit.submit import MISSING, PlannedRun, choose
from sweepwise.core.errors import JobsError


@dataclass(frozen=True)
class More:
    """Added seeds. before, view: the sweep before and after. message: the text that explains
    which configurations get seeds and why."""

    before: SubmittedSweep
    view: SubmittedSweep
    message: str

    def choices(self, store: ResultsFolder) -> list[PlannedRun]:
        """The added runs; runs that another sweep has trained already are done."""
        seeds_before = {config.config_id: set(config.seeds) for config in self.before.configs}
        added = {
            RunRef(config.config_id, seed): config.label
            for config in self.view.configs
            for seed in config.seeds
            if seed not in seeds_before[config.config_id]
        }
        steps = {run: store.check_config(run.config_id).steps for run in added}
        return choose(store, added, steps, MISSING)

    def notes(self, store: ResultsFolder) -> list[str]:
        """Messages to show before the submit."""
        analysis = interim_analyses.before(store, self.before, self.view, "more")
        analysis_note = (
            interim_analyses.format_interim_analysis(store, self.view.name, self.view.looks, analysis)
            if analysis is not None
            else ""
        )
        return [self.message, *([analysis_note] if analysis_note else [])]

    def record(self, store: ResultsFolder) -> None:
        """Record the added seeds; the caller holds the lock. Raises `JobsError` if the sweep has changed meanwhile."""
        name = self.view.name
        if store.read_sweep(name) != self.before:
            raise JobsError(f"{name} was changed in the meantime; see `sweeps status {name}`")
        analysis = interim_analyses.before(store, self.before, self.view, "more")
        if analysis is not None:  # first: without this record a crash in between would leave the test uncorrected
            interim_analyses.note(store, name, analysis)
        store.write_sweep(self.view)


def more(store: ResultsFolder, name: str, max_seeds: int) -> More:
    """The seeds to add to the sweep `name`. max_seeds: limit on the total seeds of a configuration.

    Seeds of the sweep's confirmations are left out. Raises `JobsError` if runs have not ended, if no configuration is
    worth more seeds (`leader.worth_seeds`), if `max_seeds` seeds would not be enough for a significant difference, or
    for a confirmation, whose number of seeds was fixed beforehand.
    """
    from aggregate.analysis.summary import summarise
    from aggregate.verdict.evaluation_gain import suggest_evaluation
    from aggregate.verdict.leader import clear_leader
    from aggregate.verdict.seeds_needed import format_left, format_more, ties

    sweep = _check_sweep(store, name)
    (summary,) = summarise(sweep_sources(store, [sweep.view.name])).sweeps
    tied = ties(summary, max_seeds)
    if not tied.configs:
        raise JobsError(
            f"{name}: no configuration is worth more seeds{format_left(summary, tied)}; `sweeps adopt {name} "
            f"{'--from-verdict` adopts the best configuration' if clear_leader(summary) else '--config ID` adopts one'}"
        )
    labels = {config.config_id: config.label for config in sweep.view.configs}
    if not tied.more:
        raise JobsError(
            f"{name}: {'; '.join(labels[c] for c in tied.configs)} are not significantly different, and {max_seeds} "
            "seeds each would not show a difference either; adopt any of them, or allow more with --at-most"
        )
    reserved = confirmations.seeds_of(store, sweep.view.name)
    seeds_by_config = [
        _extend_seeds(c.seeds, tied.more, reserved) if c.config_id in tied.configs else c.seeds
        for c in sweep.view.configs
    ]
    view = dataclasses.replace(
        sweep.view,
        configs=[dataclasses.replace(c, seeds=s) for c, s in zip(sweep.view.configs, seeds_by_config, strict=True)],
        time=time.time(),
    )
    cheaper = suggest_evaluation(summary)
    return More(sweep.view, view, f"{format_more(summary, tied)}{f'; cheaper: {cheaper}' if cheaper else ''}")


def _check_sweep(store: ResultsFolder, name: str) -> SweepStatus:
    """The sweep `name`. Raises `JobsError` for several sweeps, a confirmation, and runs that have not ended."""
    sweep = only_sweep(store, name, "judged")
    if sweep.view.confirms:
        raise JobsError(
            f"{name} is a confirmation, whose number of seeds was fixed beforehand; `sweeps confirm "
            f"{sweep.view.confirms} --again` trains another one with fresh seeds"
        )
    _check_ended(sweep)
    return sweep


def _extend_seeds(seeds: list[int], count: int, reserved: Collection[int]) -> list[int]:
    """`seeds` and the next `count` that are not `reserved`."""
    free = (seed for seed in itertools.count(max(seeds) + 1) if seed not in reserved)
    return [*seeds, *itertools.islice(free, count)]


def _check_ended(sweep: SweepStatus) -> None:
    name, unfinished = sweep.view.name, [run for run in sweep.runs if not has_ended(run)]
    if not unfinished:
        return
    states_text = ", ".join(f"{count} {state}" for state, count in counts(unfinished).items())
    advice = f"wait for `sweeps status {name}`"
    if not any(run.state.state in ACTIVE for run in unfinished):
        advice = f"`sweeps rerun {name} --all` trains them"
    raise JobsError(
        f"{name}: {len(unfinished)} of {len(sweep.runs)} runs have not ended ({states_text}); {advice}, then try again"
    )


def options(store: ResultsFolder, name: str, changes: dict[str, object]) -> ExecutionOptions:
    """The options of the newest submission of the sweep's runs, with `changes` from the command line."""
    (sweep,) = sweeps(store, [name])
    submissions = [run.submission for run in sweep.runs if run.submission is not None]
    return changed_options(max(submissions, key=lambda s: s.id, default=None), changes)
