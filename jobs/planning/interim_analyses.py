"""The looks at a sweep: results/looks/<sweep>.json says when seeds were added after its results could be seen.

Adding seeds after seeing results and testing again raises the rate of false positives.
`aggregate.statistics.alpha_spending` corrects for it and reads these records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs import process
from jobs.planning.decisions import stamp
from jobs.results.attempts import RunRef
from jobs.results.records import InterimAnalysis, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import SweepStatus

if TYPE_CHECKING:
    from aggregate.statistics.alpha_spending import InterimAnalyses


def before(
    store: ResultsFolder, old: SubmittedSweep | None, new: SubmittedSweep, command: str
) -> InterimAnalysis | None:
    """What is noted before `new` is asked for; None where it adds no seeds, or to runs that could not yet be compared:
    that takes two configurations with two finished seeds."""
    asked = {config.config_id: set(config.seeds) for config in old.configs} if old is not None else {}
    more = {
        config.config_id: sorted(set(config.seeds) - asked[config.config_id])
        for config in new.configs
        if set(config.seeds) - asked.get(config.config_id, set(config.seeds))
    }
    finished = [_finished(store, config, seeds) for config, seeds in asked.items()] if more else []
    if sum(count > 1 for count in finished) < 2:
        return None
    return InterimAnalysis(stamp(), process.user(), command, max(finished), more)


def _finished(store: ResultsFolder, config: str, seeds: set[int]) -> int:
    stored = store.read_config(config)
    return (
        sum(store.attempts.load(RunRef(config, seed), stored.steps).done for seed in seeds) if stored is not None else 0
    )


def note(store: ResultsFolder, sweep: str, look: InterimAnalysis) -> None:
    """Record `look`, by whoever holds the lock. One at the very results of the last is no other one."""
    known = store.read_interim_analyses(sweep)
    if known and known[-1].seeds == look.seeds:
        known[-1:] = []
    store.write_interim_analyses(sweep, [*known, look])


def format_interim_analysis(store: ResultsFolder, sweep: str, planned: int, look: InterimAnalysis) -> str:
    """`this is look 2 at ensemble (2 planned): ...`."""
    number = 2 + len({known.seeds for known in store.read_interim_analyses(sweep) if known.seeds < look.seeds})
    return (
        f"more seeds after a look at {look.seeds}: the next report of {sweep} is look {number} ({planned} planned), "
        "and corrects for that"
    )


def of(store: ResultsFolder, sweep: SweepStatus) -> InterimAnalyses:
    """The looks so far, the one at what has finished now included."""
    from aggregate.statistics.alpha_spending import InterimAnalyses

    now = max((sum(run.record.done for run in runs) for _, runs in sweep.rows), default=0)
    earlier = {look.seeds for look in store.read_interim_analyses(sweep.view.name) if look.seeds < now}
    return InterimAnalyses((*sorted(earlier), max(now, 1)), sweep.view.looks)
