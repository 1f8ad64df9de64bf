"""Which runs of a submitted sweep go again, and with which options: what killed them is not asked for again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.backends import registry
from jobs.backends.base import ExecutionOptions
from jobs.results.attempts import RunRef
from jobs.results.records import Submission
from jobs.results.run_state import GPU_MEMORY, State
from jobs.runs.select import SelectedRun
from jobs.runs.status import RunStatus
from jobs.submit.submit import PlannedRun
from sweepwise.core.errors import JobsError

_STATES: dict[str, frozenset[State]] = {
    "failed": frozenset({"failed"}),
    "missing": frozenset({"new", "lost"}),
    "diverged": frozenset({"diverged"}),
    "interrupted": frozenset({"interrupted"}),
    "stopped": frozenset({"stopped"}),
    "all": frozenset({"failed", "new", "lost", "diverged", "interrupted"}),
}
_CAUSES = ("timeout", "oom", "node-fail")
CAUSES = (*_STATES, *_CAUSES)
_MORE_MEMORY, _MORE_TIME = 1.5, 2


@dataclass(frozen=True)
class RerunGroup:
    """Runs that go again with the same options. note: what is changed for them and why, "" where nothing is."""

    runs: frozenset[RunRef]
    options: ExecutionOptions
    note: str


def choices(picked: Sequence[SelectedRun], causes: Sequence[str], filtered: bool) -> list[PlannedRun]:
    """The runs of `picked`; those that ended for one of `causes` are wanted. filtered: no cause stands for any."""
    if not causes and not filtered:
        raise JobsError(f"say what to run again: {', '.join('--' + cause for cause in CAUSES)}")
    asked = causes or ("all", "stopped")
    return [
        PlannedRun(
            p.run.record.ref, p.label, p.run.record.steps, p.run.state, any(_is(p.run, cause) for cause in asked)
        )
        for p in picked
    ]


def _is(run: RunStatus, cause: str) -> bool:
    if cause in _STATES:
        return run.state.state in _STATES[cause]
    return run.state.cause == cause and run.state.state in _STATES["all"]


def batches(picked: Sequence[SelectedRun], wanted: Sequence[PlannedRun], changes: dict[str, Any]) -> list[RerunGroup]:
    """The wanted runs by the options that they go with: those of their own submission, mended for what killed them.

    A run of no submission has the newest one's. changes: of the command line, which win.
    """
    runs = {p.run.record.ref: p.run for p in picked}
    newest = max((r.submission for r in runs.values() if r.submission is not None), key=lambda s: s.id, default=None)
    groups: dict[tuple[ExecutionOptions, str], set[RunRef]] = {}
    for choice in wanted:
        if choice.wanted:
            groups.setdefault(_options(runs[choice.run], newest, changes), set()).add(choice.run)
    return [RerunGroup(frozenset(refs), options, note) for (options, note), refs in groups.items()]


def _options(run: RunStatus, newest: Submission | None, changes: dict[str, Any]) -> tuple[ExecutionOptions, str]:
    """(options, what is mended)."""
    recorded = run.submission or newest
    mended, note = raise_resources(run, changed_options(recorded, {k: v for k, v in changes.items() if k != "option"}))
    # a key that stands twice has its last value
    return dataclasses.replace(mended, option=(*mended.option, *changes.get("option", ()))), note


def changed_options(submission: Submission | None, changes: Mapping[str, Any]) -> ExecutionOptions:
    """Those that `submission` was made with, and `changes` of the command line, which win."""
    recorded = ExecutionOptions.of(submission)
    option = (*recorded.option, *changes.get("option", ()))
    return dataclasses.replace(recorded, **{**changes, "option": option})


def _has_limits(options: ExecutionOptions) -> bool:
    return options.cluster != registry.AUTO and registry.get(options.cluster).enforces_limits


def raise_resources(run: RunStatus, options: ExecutionOptions) -> tuple[ExecutionOptions, str]:
    """`options` changed so that what ended `run` does not end it again, and a note; unchanged where nothing helps."""
    fix = _MENDS.get(run.state.cause)
    if fix is None:
        return options, ""
    return fix(run, options)


def _after_oom(run: RunStatus, options: ExecutionOptions) -> tuple[ExecutionOptions, str]:
    gpu = "CUDA" in run.state.reason or GPU_MEMORY in run.state.reason
    if gpu:
        if options.seeds_per_job == 1:
            return options, "the GPU's memory was too small for one seed; a larger GPU (--option gpu_type=...) helps"
        fewer = max(1, options.seeds_per_job // 2)
        return dataclasses.replace(options, seeds_per_job=fewer), f"{fewer} seeds per job: {GPU_MEMORY} for more"
    if not _has_limits(options):
        return options, ""
    asked = options.load_profile().mem_gb
    if asked is None:
        return options, "out of memory, and the profile has no mem_gb; give one with --option mem_gb=..."
    more = math.ceil(asked * _MORE_MEMORY)
    return _with(options, f"mem_gb={more}"), f"mem_gb={more} instead of {asked:g}: out of memory"


def _after_timeout(run: RunStatus, options: ExecutionOptions) -> tuple[ExecutionOptions, str]:
    if not _has_limits(options):
        return options, ""
    if run.record.outcome is not None:
        return options, ""  # it saved its state in time, and goes on from there
    asked = options.load_profile().time_min
    more = asked * _MORE_TIME
    return _with(options, f"time={more}"), f"time={more} min instead of {asked}: killed before its state was saved"


def _after_node_failure(run: RunStatus, options: ExecutionOptions) -> tuple[ExecutionOptions, str]:
    node = run.said.node if run.said is not None else ""
    if not _has_limits(options) or not node:
        return options, ""
    already = options.load_profile().exclude
    return _with(options, f"exclude={already},{node}" if already else f"exclude={node}"), f"not on {node}, which failed"


_MENDS: dict[str, Callable[[RunStatus, ExecutionOptions], tuple[ExecutionOptions, str]]] = {
    "oom": _after_oom,
    "timeout": _after_timeout,
    "node-fail": _after_node_failure,
}


def _with(options: ExecutionOptions, value: str) -> ExecutionOptions:
    return dataclasses.replace(options, option=(*options.option, value))
