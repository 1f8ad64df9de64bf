"""Manual early stopping: stop the runs of underperforming configurations and record the reason for each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs import process
from jobs.reports.inputs import sweep_sources
from jobs.results.records import PrunedRun
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs.select import SelectedRun, select_runs
from jobs.runs.status import only_sweep, sweeps
from jobs.submit import cancel

if TYPE_CHECKING:
    from aggregate.analysis.median_stopping import Underperforming


def underperforming(store: ResultsFolder, name: str, after: float) -> list[Underperforming]:
    """Configurations with active runs that fail the median stopping rule (`aggregate.analysis.median_stopping`).

    Raises `JobsError` for a name that stands for several sweeps.
    """
    from aggregate.analysis.median_stopping import underperforming as apply_rule

    sweep = only_sweep(store, name, "judged")
    active = {c.config_id for c, runs in sweep.rows if any(run.state.state in ACTIVE for run in runs)}
    if not active:
        return []
    (source,) = sweep_sources(store, [sweep.view.name])
    return [line for line in apply_rule(source, after) if line.config_id in active]


def format_pruned(line: Underperforming) -> str:
    """The reason as text, for the record and the terminal."""
    from aggregate.inputs.metric_words import value_text

    best, median = (value_text(value, line.metric) for value in (line.best, line.median))
    return (
        f"underperforming at step {line.step:,}: its best evaluation {line.metric.words} was {best}, the median of "
        f"the averages of {line.others} others until then was {median}"
    )


def runs_of(store: ResultsFolder, name: str, lines: Sequence[Underperforming]) -> list[SelectedRun]:
    """All runs of these configurations."""
    config_ids = {line.config_id for line in lines}
    return [
        selected
        for selected in select_runs(store, sweeps(store, [name]))
        if selected.run.record.ref.config_id in config_ids
    ]


def carry_out(
    store: ResultsFolder, name: str, endings: Sequence[cancel.Ending], lines: Sequence[Underperforming]
) -> tuple[list[cancel.Ending], cancel.Kept]:
    """Stop the runs; the caller holds the lock. See `cancel.carry_out`."""
    reasons = {line.config_id: format_pruned(line) for line in lines}
    for ending in endings:
        for ref in ending.runs:
            # before the cancel: without this record the next submit would resume the run
            stop = PrunedRun(ending.submission.id, name, reasons[ref.config_id], process.utc_now(), process.user())
            store.attempts.write_pruned(ref, stop)
    ended, kept = cancel.carry_out(store, endings)
    for ref, _ in kept:
        store.attempts.clear_pruned(ref)
    return ended, kept
