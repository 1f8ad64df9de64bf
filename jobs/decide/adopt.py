"""Make a decision from a sweep's runs, with its evidence, or by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobs import process
from jobs.planning import confirmations
from jobs.planning.decisions import in_base, inherited, moved, stamp
from jobs.planning.expand import label
from jobs.planning.plan import Plan, Sweep
from jobs.results.records import AdoptedValue, Decision, Evidence, Measured, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import State
from jobs.runs.status import counts, sweeps
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.verdict.leader import Final, Leaderboard

ENDED: frozenset[State] = frozenset({"done", "diverged", "stopped"})


def only(store: ResultsFolder, plan: Plan, name: str) -> Sweep:
    """The sweep of that name. Raises `JobsError` for a name that stands for several options, and for a confirmation."""
    if confirmed := confirmations.confirmed_by(store, name):
        raise JobsError(
            f"{name} confirms a configuration of {confirmed}, and {confirmed} is what is decided: "
            f"`sweeps adopt {confirmed} --config ID` with the configuration that it shows to be better"
        )
    matches = plan.select(name)
    if len(matches) > 1:
        raise JobsError(f"{name} is several sweeps, each decided by itself: {', '.join(s.name for s in matches)}")
    return matches[0]


def by_hand(plan: Plan, sweep: Sweep, values: Mapping[str, Any], why: str) -> Decision:
    """A decision for `values` of swept keys; without values the base stays. Raises `JobsError` for a key that `sweep`
    does not vary."""
    for key in values:
        if key not in sweep.factors:
            raise JobsError(f"--set {key}: sweep {sweep.name!r} varies {', '.join(sweep.factors)}; adopt one of these")
    return _make_decision(plan, sweep, "set" if values else "keep", values, why)


def of_config(store: ResultsFolder, plan: Plan, sweep: Sweep, config: str, why: str) -> Decision:
    """A decision for the values of `config`. Raises `JobsError` if its runs have not ended, or if the
    submitted sweep does not match the plan or its base."""
    view = _read_current_view(store, plan, sweep)
    if config not in {c.config_id for c in view.configs}:
        legal_text = "; ".join(f"{c.config_id} ({c.label})" for c in view.configs)
        raise JobsError(f"configuration {config!r} is none of {sweep.name}: {legal_text}")
    _check_ended(store, sweep, config)
    return _decide_with_evidence(store, plan, sweep, config, "config", why, _leaderboard(store, sweep))


def of_verdict(store: ResultsFolder, plan: Plan, sweep: Sweep, why: str) -> Decision:
    """A decision for the best configuration. Raises `JobsError` if runs have not ended, or if no configuration is
    clearly the best."""
    _read_current_view(store, plan, sweep)
    _check_ended(store, sweep)
    board = _leaderboard(store, sweep)
    if not board.clear:
        reason = "has nothing to be compared with, or seeds without a result"
        if board.ties:
            ties_text = "; ".join(f"{final.label} ({final.config_id})" for final in board.ties)
            reason = f"is not significantly better than {ties_text}, or not both better and as stable"
        raise JobsError(
            f"{sweep.name} has no clear leader: {board.leader.label} ({board.leader.config_id}) {reason}; "
            f"choose with --config ID, keep the base with --keep, or add seeds with `sweeps more {sweep.name}`"
        )
    return _decide_with_evidence(store, plan, sweep, board.leader.config_id, "verdict", why, board)


def _read_current_view(store: ResultsFolder, plan: Plan, sweep: Sweep) -> SubmittedSweep:
    """The sweep as it was submitted. Raises `JobsError` if the plan or its base has changed since."""
    view = store.read_sweep(sweep.name)
    if view is None:
        raise JobsError(f"{sweep.name} was not submitted to {store.root}; decide by hand with --set or --keep")
    advice = f"`sweeps submit {sweep.name}` trains it anew, --set or --keep decides by hand"
    if view.plan != plan.name:
        raise JobsError(f"{sweep.name} was submitted by plan {view.plan!r}, not by {plan.name!r}; give its --plan")
    if set(view.factors) != set(sweep.factors):
        varied_text = f"{', '.join(view.factors)}, and the plan says {', '.join(sweep.factors)} now"
        raise JobsError(f"{sweep.name} was submitted to vary {varied_text}; {advice}")
    for key, then, now in moved(plan, sweep, view.adopted):
        raise JobsError(
            f"{sweep.name} was submitted under {label({key: then}, {})}, and the base has {label({key: now}, {})} now; "
            f"{advice}"
        )
    return view


def _check_ended(store: ResultsFolder, sweep: Sweep, config: str | None = None) -> None:
    """Raises `JobsError` if runs of the sweep, or of its configuration `config`, have not ended (`ENDED`)."""
    (status,) = sweeps(store, [sweep.name])
    runs = [run for c, config_runs in status.rows if config in (None, c.config_id) for run in config_runs]
    unfinished = [run for run in runs if run.state.state not in ENDED]
    if unfinished or not runs:
        states_text = ", ".join(f"{count} {state}" for state, count in counts(unfinished).items())
        subject = f"{sweep.name}" if config is None else f"configuration {config} of {sweep.name}"
        raise JobsError(
            f"{subject}: {len(unfinished)} of {len(runs)} runs have not ended ({states_text or 'none is known'}); "
            f"`sweeps status {sweep.name}`, or decide by hand with --set or --keep"
        )


def _leaderboard(store: ResultsFolder, sweep: Sweep) -> Leaderboard:
    from aggregate.analysis.summary import summarise
    from aggregate.verdict.leader import leaderboard
    from jobs.reports.inputs import sweep_sources

    return leaderboard(summarise(sweep_sources(store, [sweep.name])).sweeps[0])


def _decide_with_evidence(
    store: ResultsFolder, plan: Plan, sweep: Sweep, config: str, how: str, why: str, board: Leaderboard
) -> Decision:  # fmt: skip
    stored = store.check_config(config)
    values = {key: stored.values[key] for key in sweep.factors if key not in stored.inactive}
    evidence = Evidence(
        chosen=_to_measured(board.finals[config]),
        baseline=_to_measured(board.finals[board.baseline]) if board.baseline else None,
        leader=_to_measured(board.leader),
        ties=[_to_measured(final) for final in board.ties],
    )
    return _make_decision(plan, sweep, how, values, why, config, evidence)


def _to_measured(final: Final) -> Measured:
    return Measured(final.config_id, final.label, final.mean, final.low, final.high, final.seeds)


def _make_decision(
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
