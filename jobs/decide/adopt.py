"""From a sweep's runs, or by hand, to a decision with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobs import process
from jobs.planning.decisions import in_base, inherited, moved, stamp
from jobs.planning.expand import label
from jobs.planning.plan import Plan, Sweep
from jobs.results.records import AdoptedValue, Decision, Evidence, Measured, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import State
from jobs.runs.status import counts, sweeps
from sweepwise.core.errors import JobsError
from tdmpc.config import inactive_keys

if TYPE_CHECKING:
    from aggregate.verdict.leader import Final, Leaderboard

ENDED: frozenset[State] = frozenset({"done", "diverged", "stopped"})


def only(plan: Plan, name: str) -> Sweep:
    """The one sweep of that name. Raises `JobsError` for one that is several options."""
    found = plan.select(name)
    if len(found) > 1:
        raise JobsError(f"{name} is several sweeps, each decided by itself: {', '.join(s.name for s in found)}")
    return found[0]


def by_hand(plan: Plan, sweep: Sweep, values: Mapping[str, Any], why: str) -> Decision:
    """values: of swept keys; none keeps the base. Raises `JobsError` for a key that `sweep` does not vary."""
    for key in values:
        if key not in sweep.factors:
            raise JobsError(f"--set {key}: sweep {sweep.name!r} varies {', '.join(sweep.factors)}; adopt one of these")
    return _decision(plan, sweep, "set" if values else "keep", values, why)


def of_config(store: ResultsFolder, plan: Plan, sweep: Sweep, config: str, why: str) -> Decision:
    """The values of a configuration whose runs have ended. Raises `JobsError` where they have not, or it is stale."""
    view = _view(store, plan, sweep)
    if config not in {c.config_id for c in view.configs}:
        there = "; ".join(f"{c.config_id} ({c.label})" for c in view.configs)
        raise JobsError(f"configuration {config!r} is none of {sweep.name}: {there}")
    _check_ended(store, sweep, config)
    return _measured(store, plan, sweep, config, "config", why, _standing(store, sweep))


def of_verdict(store: ResultsFolder, plan: Plan, sweep: Sweep, why: str) -> Decision:
    """The leader of a sweep all of whose runs have ended. Raises `JobsError` where none is clear."""
    _view(store, plan, sweep)
    _check_ended(store, sweep)
    found = _standing(store, sweep)
    if not found.clear:
        beside = "has nothing to be compared with, or seeds that diverged or were stopped"
        if found.ties:
            beside = f"cannot be told apart from {'; '.join(f'{f.label} ({f.config_id})' for f in found.ties)}"
        raise JobsError(
            f"{sweep.name} has no clear leader: {found.leader.label} ({found.leader.config_id}) {beside}; "
            f"choose with --config ID, keep the base with --keep, or add seeds with `sweeps more {sweep.name}`"
        )
    return _measured(store, plan, sweep, found.leader.config_id, "verdict", why, found)


def _view(store: ResultsFolder, plan: Plan, sweep: Sweep) -> SubmittedSweep:
    """Of the sweep as it was submitted. Raises `JobsError` where the plan or its base is another now."""
    view = store.read_sweep(sweep.name)
    if view is None:
        raise JobsError(f"{sweep.name} was not submitted to {store.root}; decide by hand with --set or --keep")
    again = f"`sweeps submit {sweep.name}` trains it anew, --set or --keep decides by hand"
    if view.plan != plan.name:
        raise JobsError(f"{sweep.name} was submitted by plan {view.plan!r}, not by {plan.name!r}; give its --plan")
    if set(view.factors) != set(sweep.factors):
        varied = f"{', '.join(view.factors)}, and the plan says {', '.join(sweep.factors)} now"
        raise JobsError(f"{sweep.name} was submitted to vary {varied}; {again}")
    for key, then, now in moved(plan, sweep, view.adopted):
        raise JobsError(
            f"{sweep.name} was submitted under {label({key: then}, {})}, and the base has {label({key: now}, {})} now; "
            f"{again}"
        )
    return view


def _check_ended(store: ResultsFolder, sweep: Sweep, config: str | None = None) -> None:
    """Raises `JobsError` where runs of the sweep, or of its configuration, have not ended (`ENDED`)."""
    (found,) = sweeps(store, [sweep.name])
    runs = [run for c, own in found.rows if config in (None, c.config_id) for run in own]
    rest = [run for run in runs if run.state.state not in ENDED]
    if rest or not runs:
        told = ", ".join(f"{count} {state}" for state, count in counts(rest).items())
        what = f"{sweep.name}" if config is None else f"configuration {config} of {sweep.name}"
        raise JobsError(
            f"{what}: {len(rest)} of {len(runs)} runs have not ended ({told or 'none is known'}); "
            f"`sweeps status {sweep.name}`, or decide by hand with --set or --keep"
        )


def _standing(store: ResultsFolder, sweep: Sweep) -> Leaderboard:
    from aggregate.analysis.summary import summarise
    from aggregate.verdict.leader import leaderboard
    from jobs.reports.inputs import sweep_sources

    return leaderboard(summarise(sweep_sources(store, [sweep.name])).sweeps[0])


def _measured(
    store: ResultsFolder, plan: Plan, sweep: Sweep, config: str, how: str, why: str, found: Leaderboard
) -> Decision:  # fmt: skip
    stored = store.check_config(config)
    values = {key: getattr(stored, key) for key in sweep.factors if key not in inactive_keys(stored)}
    evidence = Evidence(
        chosen=_record(found.finals[config]),
        baseline=_record(found.finals[found.baseline]) if found.baseline else None,
        leader=_record(found.leader),
        ties=[_record(final) for final in found.ties],
    )
    return _decision(plan, sweep, how, values, why, config, evidence)


def _record(final: Final) -> Measured:
    return Measured(final.config_id, final.label, final.mean, final.low, final.high, final.seeds)


def _decision(
    plan: Plan, sweep: Sweep, how: str, values: Mapping[str, Any], why: str,
    config: str = "", evidence: Evidence | None = None,
) -> Decision:  # fmt: skip
    adopted = plan.adopted.get(sweep.name, {})
    return Decision(
        plan=plan.name,
        sweep=sweep.name,
        how=how,
        config_id=config,
        settled=[AdoptedValue(key, in_base(plan, adopted, key), value) for key, value in values.items()],
        base=inherited(sweep, adopted),
        evidence=evidence,
        why=why,
        date=stamp(),
        user=process.user(),
    )
