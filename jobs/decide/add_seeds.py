"""More seeds for what is tied with a sweep's leader, and for nothing else."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from jobs.backends.base import ExecutionOptions
from jobs.decide.adopt import ENDED
from jobs.planning import interim_analyses
from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.records import SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs.status import SweepStatus, counts, sweeps
from jobs.submit.rerun import changed_options
from jobs.submit.submit import MISSING, PlannedRun, choose
from sweepwise.core.errors import JobsError


@dataclass(frozen=True)
class More:
    """before, view: the sweep as it was, and as it is asked for with more seeds. told: of what and why."""

    before: SubmittedSweep
    view: SubmittedSweep
    told: str

    def choices(self, store: ResultsFolder) -> list[PlannedRun]:
        """The runs that are added; those that another sweep has trained are done."""
        asked = {config.config_id: set(config.seeds) for config in self.before.configs}
        added = {
            RunRef(config.config_id, seed): config.label
            for config in self.view.configs
            for seed in config.seeds
            if seed not in asked[config.config_id]
        }
        steps = {run: store.check_config(run.config_id).steps for run in added}
        return choose(store, added, steps, MISSING)

    def notes(self, store: ResultsFolder) -> list[str]:
        """What is said before it is submitted."""
        look = interim_analyses.before(store, self.before, self.view, "more")
        said = (
            interim_analyses.format_interim_analysis(store, self.view.name, self.view.looks, look)
            if look is not None
            else ""
        )
        return [self.told, *([said] if said else [])]

    def record(self, store: ResultsFolder) -> None:
        """By whoever holds the lock. Raises `JobsError` where the sweep was changed since it was judged."""
        name = self.view.name
        if store.read_sweep(name) != self.before:
            raise JobsError(f"{name} was changed at this moment; look at `sweeps status {name}`")
        look = interim_analyses.before(store, self.before, self.view, "more")
        if look is not None:  # first: seeds without their look would be judged as if they had always been asked for
            interim_analyses.note(store, name, look)
        store.write_sweep(self.view)


def more(store: ResultsFolder, name: str, most: int) -> More:
    """What is to be added to the sweep of that name. most: seeds of a configuration, all together.

    Raises `JobsError` where runs have not ended, nothing is tied, or no more seeds than `most` would help.
    """
    from aggregate.analysis.summary import summarise
    from aggregate.verdict.seeds_needed import ties

    found = sweeps(store, [name])
    if len(found) > 1:
        raise JobsError(f"{name} is several sweeps, each judged by itself: {', '.join(s.view.name for s in found)}")
    (sweep,) = found
    _check_ended(sweep)
    (summary,) = summarise(sweep_sources(store, [sweep.view.name])).sweeps
    tied = ties(summary, most)
    if not tied.configs:
        raise JobsError(f"{name}: nothing is tied with the leader; `sweeps adopt {name} --from-verdict` takes it")
    labels = {config.config_id: config.label for config in sweep.view.configs}
    if not tied.more:
        raise JobsError(
            f"{name}: {'; '.join(labels[c] for c in tied.configs)} cannot be told apart, and {most} seeds each would "
            "not do it either, so small are the differences; take any of them, or allow more with --at-most"
        )
    configs = [_extended(c.seeds, tied.more) if c.config_id in tied.configs else c.seeds for c in sweep.view.configs]
    view = dataclasses.replace(
        sweep.view,
        configs=[dataclasses.replace(c, seeds=s) for c, s in zip(sweep.view.configs, configs, strict=True)],
        time=time.time(),
    )
    told = (
        f"{tied.more} more seeds for each of {'; '.join(labels[c] for c in tied.configs)}: they would tell "
        f"{labels[tied.of]} from {labels[tied.configs[0]]} in 4 of 5 cases, if they differ as much as they seem to"
    )
    return More(sweep.view, view, told)


def _extended(seeds: list[int], more: int) -> list[int]:
    return [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + more)]


def _check_ended(sweep: SweepStatus) -> None:
    name, rest = sweep.view.name, [run for run in sweep.runs if run.state.state not in ENDED]
    if not rest:
        return
    told = ", ".join(f"{count} {state}" for state, count in counts(rest).items())
    way = f"wait for `sweeps status {name}`"
    if not any(run.state.state in ACTIVE for run in rest):
        way = f"`sweeps rerun {name} --all` trains them"
    raise JobsError(f"{name}: {len(rest)} of {len(sweep.runs)} runs have not ended ({told}); {way}, then look again")


def options(store: ResultsFolder, name: str, changes: dict[str, object]) -> ExecutionOptions:
    """Those of the newest submit of the sweep's runs, with `changes` of the command line."""
    (sweep,) = sweeps(store, [name])
    known = [run.submission for run in sweep.runs if run.submission is not None]
    return changed_options(max(known, key=lambda s: s.id, default=None), changes)
