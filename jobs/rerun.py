"""Which runs of a submitted sweep go again, and with which options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jobs.errors import JobsError
from jobs.state import State
from jobs.status import SweepStatus
from jobs.submit import Choice, Options

CAUSES: dict[str, frozenset[State]] = {
    "failed": frozenset({"failed"}),
    "missing": frozenset({"new", "lost"}),
    "diverged": frozenset({"diverged"}),
    "interrupted": frozenset({"interrupted"}),
    "all": frozenset({"failed", "new", "lost", "diverged", "interrupted"}),
}


def choices(sweeps: Sequence[SweepStatus], causes: Sequence[str]) -> list[Choice]:
    """Every run of `sweeps`, each once; those that ended for one of `causes` are wanted."""
    if not causes:
        raise JobsError(f"say what to run again: {', '.join('--' + cause for cause in CAUSES)}")
    states = frozenset[State]().union(*(CAUSES[cause] for cause in causes))
    found: dict[Any, Choice] = {}
    for sweep in sweeps:
        for config, runs in sweep.rows:
            for run in runs:
                record = run.record
                wanted = run.state.state in states
                found.setdefault(record.ref, Choice(record.ref, config.label, record.steps, run.state, wanted))
    return list(found.values())


def options(sweeps: Sequence[SweepStatus], changes: dict[str, Any]) -> Options:
    """Those of the newest submission of `sweeps`, with what the command line changes (None changes nothing)."""
    submissions = [run.submission for sweep in sweeps for run in sweep.runs if run.submission is not None]
    newest = max(submissions, key=lambda s: s.id, default=None)
    names = [f.name for f in dataclasses.fields(Options)]
    recorded = {name: newest.options.get(name) for name in names} if newest is not None else {}
    if newest is not None:
        recorded["cluster"] = newest.backend
    given = {name: value for name, value in changes.items() if value is not None}
    known = {name: value for name, value in recorded.items() if value is not None}
    return Options(**{**known, **given})
