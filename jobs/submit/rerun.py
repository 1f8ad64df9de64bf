"""Which runs of a sweep to submit again, and with which options: resources are raised after OOM or a timeout."""

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
from jobs.results.run_state import GPU_MEMORY, NOT_BEGUN, State
from jobs.runs.nodes import failing_nodes
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
    """Runs to submit again with the same options. note: which options were changed and why, "" if none."""

    runs: frozenset[RunRef]
    options: ExecutionOptions
    note: str


def choices(picked: Sequence[SelectedRun], causes: Sequence[str], filtered: bool) -> list[PlannedRun]:
    """The `picked` runs; those that ended for one of `causes`, and are not excluded, are wanted. filtered: no causes
    means any cause."""
    if not causes and not filtered:
        raise JobsError(f"select what to run again: {', '.join('--' + cause for cause in CAUSES)}")
    wanted_causes = causes or ("all", "stopped")
    return [
        PlannedRun(
            p.run.record.ref,
            p.label,
            p.run.record.steps,
            p.run.state,
            not p.run.is_excluded and any(_ended_for(p.run, cause) for cause in wanted_causes),
        )
        for p in picked
    ]


def _ended_for(run: RunStatus, cause: str) -> bool:
    if cause in _STATES:
        return run.state.state in _STATES[cause]
    return run.state.cause == cause and run.state.state in _STATES["all"]


def batches(
    picked: Sequence[SelectedRun], to_submit: Sequence[PlannedRun], changes: dict[str, Any]
) -> list[RerunGroup]:
    """The wanted runs grouped by options: those of their own submission, changed as `raise_resources` does.

    A run without a submission uses the options of the newest one. changes: from the command line, which override them.
    """
    runs = {p.run.record.ref: p.run for p in picked}
    newest = max((r.submission for r in runs.values() if r.submission is not None), key=lambda s: s.id, default=None)
    failing = sorted(failing_nodes(runs.values()))
    groups: dict[tuple[ExecutionOptions, str], set[RunRef]] = {}
    for choice in to_submit:
        if choice.wanted:
            options, note = _options(runs[choice.run], newest, changes)
            if runs[choice.run].state.cause == NOT_BEGUN:
                options, note = _exclude(failing, options, "where tasks ended before their runs began")
            groups.setdefault((options, note), set()).add(choice.run)
    return [RerunGroup(frozenset(refs), options, note) for (options, note), refs in groups.items()]


def _options(run: RunStatus, newest: Submission | None, changes: dict[str, Any]) -> tuple[ExecutionOptions, str]:
    """(options for `run`, note about what was changed)."""
    recorded = run.submission or newest
    raised, note = raise_resources(run, changed_options(recorded, {k: v for k, v in changes.items() if k != "option"}))
    # the last value of a repeated key counts
    return dataclasses.replace(raised, option=(*raised.option, *changes.get("option", ()))), note


def changed_options(submission: Submission | None, changes: Mapping[str, Any]) -> ExecutionOptions:
    """The options of `submission`, overridden by `changes` from the command line."""
    recorded = ExecutionOptions.of(submission)
    option = (*recorded.option, *changes.get("option", ()))
    return dataclasses.replace(recorded, **{**changes, "option": option})


def _has_limits(options: ExecutionOptions) -> bool:
    return options.cluster != registry.AUTO and registry.get(options.cluster).enforces_limits


def raise_resources(run: RunStatus, options: ExecutionOptions) -> tuple[ExecutionOptions, str]:
    """`options` changed to avoid the failure of `run` (such as more memory after OOM), and a note; else unchanged."""
    fix = _FIXES.get(run.state.cause)
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
    mem_gb = options.load_profile().mem_gb
    if mem_gb is None:
        return options, "out of memory, and the profile has no mem_gb; give one with --option mem_gb=..."
    more = math.ceil(mem_gb * _MORE_MEMORY)
    return _with(options, f"mem_gb={more}"), f"mem_gb={more} instead of {mem_gb:g}: out of memory"


def _after_timeout(run: RunStatus, options: ExecutionOptions) -> tuple[ExecutionOptions, str]:
    if not _has_limits(options):
        return options, ""
    if run.record.outcome is not None:
        return options, ""  # it saved a checkpoint in time and continues from there
    time_min = options.load_profile().time_min
    if time_min is None:
        return options, ""  # the limit is its partition's
    more = time_min * _MORE_TIME
    return _with(options, f"time={more}"), f"time={more} min instead of {time_min}: killed before its state was saved"


def _after_node_failure(run: RunStatus, options: ExecutionOptions) -> tuple[ExecutionOptions, str]:
    node = run.said.node if run.said is not None else ""
    return _exclude([node] if node else [], options, "which failed")


def _exclude(nodes: Sequence[str], options: ExecutionOptions, why: str) -> tuple[ExecutionOptions, str]:
    if not _has_limits(options):
        return options, ""
    profile = options.load_profile()
    new = [node for node in nodes if node not in profile.excluded_nodes]
    if not new:
        return options, ""
    exclude = ",".join([*([profile.exclude] if profile.exclude else []), *new])
    return _with(options, f"exclude={exclude}"), f"not on {', '.join(new)}, {why}"


_FIXES: dict[str, Callable[[RunStatus, ExecutionOptions], tuple[ExecutionOptions, str]]] = {
    "oom": _after_oom,
    "timeout": _after_timeout,
    "node-fail": _after_node_failure,
}


def _with(options: ExecutionOptions, value: str) -> ExecutionOptions:
    return dataclasses.replace(options, option=(*options.option, value))
