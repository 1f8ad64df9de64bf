"""Interim analyses: results/looks/<sweep>.json records when seeds were added to a sweep that already had results.

Adding seeds after seeing results and testing again raises the false positive rate.
`aggregate.statistics.alpha_spending` corrects for it and reads these records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jobs import process
from jobs.results.attempts import RunRef
from jobs.results.records import InterimAnalysis, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import SweepStatus

if TYPE_CHECKING:
    from aggregate.statistics.alpha_spending import InterimAnalyses


def before(
    store: ResultsFolder, old: SubmittedSweep | None, new: SubmittedSweep, command: str
) -> InterimAnalysis | None:
    """The interim analysis to record before `new` replaces `old`.

    None if `new` adds no seeds, or if nothing could be compared yet: a comparison needs two configurations with at
    least two finished seeds each.
    """
    seeds_before = {config.config_id: set(config.seeds) for config in old.configs} if old is not None else {}
    added_seeds = {
        config.config_id: sorted(set(config.seeds) - seeds_before[config.config_id])
        for config in new.configs
        if set(config.seeds) - seeds_before.get(config.config_id, set(config.seeds))
    }
    finished_counts = _count_finished(store, seeds_before) if added_seeds else []
    if not _can_compare(finished_counts):
        return None
    return InterimAnalysis(process.utc_now(), process.user(), command, max(finished_counts), added_seeds)


def has_results(store: ResultsFolder, sweep: SubmittedSweep) -> bool:
    """Whether configurations of the sweep could be compared: two of them have two finished seeds or more."""
    return _can_compare(_count_finished(store, {config.config_id: set(config.seeds) for config in sweep.configs}))


def _can_compare(finished_counts: Sequence[int]) -> bool:
    return sum(count > 1 for count in finished_counts) > 1


def _count_finished(store: ResultsFolder, seeds: Mapping[str, set[int]]) -> list[int]:
    """By configuration, how many of its `seeds` are done."""
    steps = {config: stored.steps for config in seeds if (stored := store.read_config(config)) is not None}
    return [
        sum(store.attempts.load(RunRef(config, seed), steps[config]).done for seed in own) if config in steps else 0
        for config, own in seeds.items()
    ]


def note(store: ResultsFolder, sweep: str, analysis: InterimAnalysis) -> None:
    """Record `analysis`; the caller holds the lock. It replaces the last one if both have the same number of seeds."""
    recorded = store.read_interim_analyses(sweep)
    if recorded and recorded[-1].seeds == analysis.seeds:
        recorded[-1:] = []
    store.write_interim_analyses(sweep, [*recorded, analysis])


def format_interim_analysis(store: ResultsFolder, sweep: str, planned: int, analysis: InterimAnalysis) -> str:
    """The message shown when seeds are added: the number of the next analysis and how many were planned."""
    number = 2 + len(
        {recorded.seeds for recorded in store.read_interim_analyses(sweep) if recorded.seeds < analysis.seeds}
    )
    return (
        f"more seeds after a report at {analysis.seeds} seeds: the next report of {sweep} is interim analysis {number} "
        f"({planned} planned), and is corrected for that"
    )


def of(store: ResultsFolder, sweep: SweepStatus) -> InterimAnalyses:
    """The interim analyses so far, including the one of the runs that have finished now."""
    from aggregate.statistics.alpha_spending import InterimAnalyses

    finished_now = max((sum(run.record.done for run in runs) for _, runs in sweep.rows), default=0)
    earlier_seeds = {
        analysis.seeds for analysis in store.read_interim_analyses(sweep.view.name) if analysis.seeds < finished_now
    }
    return InterimAnalyses((*sorted(earlier_seeds), max(finished_now, 1)), sweep.view.looks)
