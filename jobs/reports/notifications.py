"""Events that the user's command is run for (`jobs.runs.notify`): a sweep ended, a configuration collapses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.reports.inputs import sweep_sources
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE, STATES
from jobs.runs import notify
from jobs.runs.status import counts, sweeps
from sweepwise.core.errors import SweepsError

if TYPE_CHECKING:
    from aggregate.analysis.summary import SweepSummary


def send_sweep_ended(store: ResultsFolder, submission: Submission) -> None:
    """Send that the sweep of `submission` has ended, unless another submission still trains runs of it."""
    name = submission.sweep
    if submission.evaluation:
        message = f"the evaluation of {name} has ended; sweeps aggregate {name}"
    else:
        runs = [run for sweep in sweeps(store, [name]) for run in sweep.runs]
        others = [run for run in runs if run.submission is None or run.submission.id != submission.id]
        if any(run.state.state in ACTIVE for run in others):
            return
        by_state = counts(runs)
        counted = ", ".join(f"{by_state[state]} {state}" for state in STATES if by_state[state])
        verdict = f". {_headline(store, name)}" if submission.report else f"; sweeps aggregate {name}"
        message = f"{name} has ended: {counted}{verdict}"
    notify.send(store, submission, notify.Event(notify.ENDED, name, submission.id, message))


def _headline(store: ResultsFolder, name: str) -> str:
    """The verdict on a sweep, or why there is none. Its report was just written, so its results are cached."""
    from aggregate.analysis.summary import summarise
    from aggregate.verdict.verdict import verdict

    try:
        judged = summarise(sweep_sources(store, [name])).sweeps
    except SweepsError as error:
        return str(error)
    return "; ".join(verdict(sweep).headline for sweep in judged)


def send_collapses(store: ResultsFolder, judged: Sequence[SweepSummary]) -> None:
    """Send that a configuration collapses, once for each whose flag is raised by half of its seeds."""
    from aggregate import flags

    for sweep in judged:
        submission = notify.command_of(store, sweep.source.name)
        if submission is None:
            continue
        votes = sweep.votes[(sweep.votes["flag"] == flags.COLLAPSE) & (sweep.votes["state"] == flags.FLAG)]
        for vote in votes.to_dict("records"):
            name, config_id = sweep.source.name, str(vote["config_id"])
            seeds = f"{vote['raised']} of {vote['assessable']} seeds"
            message = f"{name}: {sweep.config(config_id).name} collapses ({seeds}); sweeps view {name}"
            notify.send(store, submission, notify.Event(notify.COLLAPSED, name, config_id, message))
