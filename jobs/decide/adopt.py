"""Make a decision from a sweep's runs, with its evidence, or by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs import process
from jobs.planning import confirmations
from jobs.planning.decisions import in_base, inherited, moved
from jobs.planning.expand import label
from jobs.planning.plan import Plan, Sweep
from jobs.results.decision_records import AdoptedValue, Decision, Evidence, Measured
from jobs.results.records import SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import State
from jobs.runs.status import RunStatus, counts
from jobs.runs.status import sweeps as load_sweeps
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.verdict.leader import Final, Leaderboard

ENDED: frozenset[State] = frozenset({"done", "diverged", "stopped"})


def only(store: ResultsFolder, plan: Plan, name: str) -> tuple[Sweep, ...]:
    """What is decided as `name`: a sweep, or the sweeps of its tasks. Raises `JobsError` for a name that stands for
    several options, for one of several tasks, and for a confirmation."""
    if confirmed := confirmations.confirmed_by(store, name):
        raise JobsError(
            f"{name} confirms a configuration of {confirmed}, and the decision is about {confirmed}: "
            f"`sweeps adopt {confirmed} --config ID` with the configuration that {name} shows to be better"
        )
    matches = plan.select(name)
    names = list(dict.fromkeys(sweep.decided_as for sweep in matches))
    if len(names) > 1:
        raise JobsError(f"{name} is several sweeps, each decided separately: {', '.join(names)}")
    if len(matches) == 1 and matches[0].tasks_of and name != matches[0].tasks_of:
        raise JobsError(
            f"{name} is one task of {names[0]}, which is decided for all of them: `sweeps adopt {names[0]}`"
        )
    return matches


def by_hand(plan: Plan, sweeps: Sequence[Sweep], values: Mapping[str, Any], why: str) -> Decision:
    """A decision for `values` of swept keys; without values the base stays. sweeps: see `only`. Raises `JobsError` for
    a key that they do not vary."""
    sweep = sweeps[0]
    for key in values:
        if key not in sweep.factors:
            varied = ", ".join(sweep.factors) or "nothing but its task"
            raise JobsError(f"--set {key}: sweep {sweep.decided_as!r} varies {varied}; adopt one of these")
    return _make_decision(plan, sweep, "set" if values else "keep", values, why)


def of_config(store: ResultsFolder, plan: Plan, sweeps: Sequence[Sweep], config: str, why: str) -> Decision:
    """A decision for the values of `config`. sweeps: see `only`. Raises `JobsError` if its runs have not ended, or if
    the submitted sweep does not match the plan or its base."""
    name, views = sweeps[0].decided_as, [_read_current_view(store, plan, sweep) for sweep in sweeps]
    labels = {c.config_id: c.label for view in views for c in view.configs}
    if config not in labels:
        legal_text = "; ".join(f"{c.config_id} ({c.label})" for c in views[0].configs)
        raise JobsError(f"configuration {config!r} is not in {name}: {legal_text}")
    _check_ended(store, sweeps, {c for c, label in labels.items() if label == labels[config]})
    return _decide_with_evidence(store, plan, sweeps, config, "config", why, _leaderboard(store, sweeps))


def of_verdict(store: ResultsFolder, plan: Plan, sweeps: Sequence[Sweep], why: str) -> Decision:
    """A decision for the best configuration. sweeps: see `only`. Raises `JobsError` if runs have not ended, or if no
    configuration is clearly the best."""
    name = sweeps[0].decided_as
    for sweep in sweeps:
        _read_current_view(store, plan, sweep)
    _check_ended(store, sweeps)
    board, tasks = _leaderboard(store, sweeps)
    if not board.clear:
        reason = "has nothing to be compared with, or seeds or tasks without a result"
        if board.ties:
            ties_text = "; ".join(f"{final.label} ({final.config_id})" for final in board.ties)
            reason = f"is not significantly better than {ties_text}, or not both better and as stable"
        seeds = f"`sweeps submit {name} --seeds N`" if tasks else f"`sweeps more {name}`"
        raise JobsError(
            f"{name} has no clearly best configuration: {board.leader.label} ({board.leader.config_id}) {reason}; "
            f"choose with --config ID, keep the base with --keep, or add seeds with {seeds}"
        )
    return _decide_with_evidence(store, plan, sweeps, board.leader.config_id, "verdict", why, (board, tasks))


def _read_current_view(store: ResultsFolder, plan: Plan, sweep: Sweep) -> SubmittedSweep:
    """The sweep as it was submitted. Raises `JobsError` if the plan or its base has changed since."""
    view = store.read_sweep(sweep.name)
    if view is None:
        raise JobsError(f"{sweep.name} was not submitted to {store.root}; decide by hand with --set or --keep")
    advice = f"`sweeps submit {sweep.name}` trains it again, --set or --keep decides by hand"
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


def has_ended(run: RunStatus) -> bool:
    """Whether nothing more is awaited of a run: it has ended, or is excluded."""
    return run.state.state in ENDED or run.is_excluded


def _check_ended(store: ResultsFolder, sweeps: Sequence[Sweep], configs: Collection[str] = ()) -> None:
    """Raises `JobsError` if runs of the sweeps, or of their configurations `configs`, have not ended (`ENDED`)."""
    name, statuses = sweeps[0].decided_as, load_sweeps(store, [sweep.name for sweep in sweeps])
    rows = [row for status in statuses for row in status.rows]
    runs = [run for c, config_runs in rows if not configs or c.config_id in configs for run in config_runs]
    unfinished = [run for run in runs if not has_ended(run)]
    if unfinished or not runs:
        states_text = ", ".join(f"{count} {state}" for state, count in counts(unfinished).items())
        subject = f"configuration {' and '.join(sorted(configs))} of {name}" if configs else name
        raise JobsError(
            f"{subject}: {len(unfinished)} of {len(runs)} runs have not ended ({states_text or 'none is known'}); "
            f"`sweeps status {name}`, or decide by hand with --set or --keep"
        )


def _leaderboard(store: ResultsFolder, sweeps: Sequence[Sweep]) -> tuple[Leaderboard, int]:
    """(results of the sweep, 0), or (those over the tasks of `sweeps`, how many these are)."""
    from aggregate.analysis.summary import summarise
    from aggregate.tasks.task_leader import task_leaderboard
    from aggregate.verdict.leader import leaderboard
    from jobs.reports.inputs import sweep_sources

    names = [sweep.name for sweep in sweeps]
    sources = sweep_sources(store, names)
    if len(sweeps) == 1:
        return leaderboard(summarise(sources).sweeps[0]), 0
    return task_leaderboard(summarise(sources, names))


def _decide_with_evidence(
    store: ResultsFolder, plan: Plan, sweeps: Sequence[Sweep], config: str, how: str, why: str,
    results: tuple[Leaderboard, int],
) -> Decision:  # fmt: skip
    """results: see `_leaderboard`."""
    (board, tasks), stored = results, store.check_config(config)
    values = {key: stored.values[key] for key in sweeps[0].factors if key not in stored.inactive}
    evidence = Evidence(
        chosen=_to_measured(board.finals[config]),
        baseline=_to_measured(board.finals[board.baseline]) if board.baseline else None,
        leader=_to_measured(board.leader),
        ties=[_to_measured(final) for final in board.ties],
        tasks=tasks,
    )
    return _make_decision(plan, sweeps[0], how, values, why, config, evidence)


def _to_measured(final: Final) -> Measured:
    return Measured(final.config_id, final.label, final.mean, final.low, final.high, final.seeds)


def _make_decision(
    plan: Plan, sweep: Sweep, how: str, values: Mapping[str, Any], why: str,
    config: str = "", evidence: Evidence | None = None,
) -> Decision:  # fmt: skip
    adopted = plan.adopted.get(sweep.name, {})
    return Decision(
        plan=plan.name,
        sweep=sweep.decided_as,
        how=how,
        config_id=config,
        settled=[AdoptedValue(key, in_base(plan, adopted, key), value) for key, value in values.items()],
        base=inherited(sweep, adopted),
        evidence=evidence,
        why=why,
        date=process.utc_now(),
        user=process.user(),
    )
