"""Decisions: values adopted from one sweep for later sweeps; check, add, undo and record them.

Only `load` and `record` access the results folder. A sweep's base is the plan's base with the decisions of earlier
stages (`Plan.stages`), so a decision never changes the configurations of the sweep it came from, or of a sweep in the
same stage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs import process
from jobs.planning.expand import expand, label
from jobs.planning.plan import Plan, Sweep
from jobs.results.decision_records import Decision
from jobs.results.lock import alone
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from sweepwise.core.hyperparameters import ConfigError

Change = Callable[[list[Decision]], list[Decision]]


def load(store: ResultsFolder, plan: Plan) -> Plan:
    """`plan` with the decisions in the results folder. Raises `JobsError` for decisions that do not fit the plan."""
    return with_decisions(plan, store.read_decisions())


def with_decisions(plan: Plan, decided: Sequence[Decision]) -> Plan:
    """`plan` with its active decisions. Raises `JobsError` if they do not fit the plan or contradict each other."""
    active = standing(plan, decided)
    for decision in active:
        _check_decision(plan, decision)
    for position, decision in enumerate(active):
        if any(decision.sweep == other.sweep for other in active[:position]):
            raise JobsError(f"{decision.sweep} is decided twice; `sweeps adopt --undo {decision.sweep}` undoes one")
    adopted_plan = replace(plan, adopted=_adopted_by_sweep(plan, active))
    for decision, key, then, now in _stale_decisions(adopted_plan, active):
        raise JobsError(
            f"{decision.sweep} was decided under {label({key: then}, {})}, the base has {label({key: now}, {})} now; "
            f"`sweeps adopt --undo {decision.sweep}` undoes the decision"
        )
    return adopted_plan


def standing(plan: Plan, decided: Iterable[Decision]) -> list[Decision]:
    """The decisions of `plan` that were not undone, oldest first."""
    return [decision for decision in decided if decision.plan == plan.name and not decision.undone]


def values(plan: Plan, decision: Decision) -> dict[str, Any]:
    """Key -> decided value, parsed to the type that the plan's agent declares."""
    return {settled.key: plan.schema.parse_value(settled.key, settled.new) for settled in decision.settled}


def inherited(sweep: Sweep, adopted: Mapping[str, Any]) -> dict[str, Any]:
    """The adopted values that apply to a sweep: those of keys that it neither varies nor fixes."""
    return {key: value for key, value in adopted.items() if key not in sweep.factors and key not in sweep.fixed}


def in_base(plan: Plan, adopted: Mapping[str, Any], key: str) -> Any:
    """The value of `key` in the plan's base with the adopted values."""
    default = {parameter.name: parameter.default for parameter in plan.schema.description.hyperparameters}
    return plan.schema.parse_value(key, adopted.get(key, plan.base.get(key, default.get(key))))


def moved(plan: Plan, sweep: Sweep, then: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, old value, new value) where the base of `sweep` differs from its base with `then` adopted."""
    now = inherited(sweep, plan.adopted.get(sweep.name, {}))
    old = inherited(sweep, then)
    pairs = ((key, in_base(plan, old, key), in_base(plan, now, key)) for key in {**old, **now})
    return [(key, before, after) for key, before, after in pairs if before != after]


def _adopted_by_sweep(plan: Plan, active: Sequence[Decision]) -> dict[str, dict[str, Any]]:
    """Sweep -> key -> value decided in earlier stages; the newest decision on a key wins."""
    by_sweep: dict[str, dict[str, Any]] = {}
    before: set[str] = set()
    for stage in plan.stages:
        adopted = {key: v for d in active if d.sweep in before for key, v in values(plan, d).items()}
        by_sweep.update({name: adopted for sweep in stage for name in (sweep.name, sweep.decided_as)})
        before |= {sweep.decided_as for sweep in stage}
    return by_sweep


def _check_decision(plan: Plan, decision: Decision) -> None:
    """Raises `JobsError` if `plan` has no such sweep, or if the sweep does not vary the decided keys."""
    undo = f"`sweeps adopt --undo {decision.sweep}` undoes the decision"
    sweep = next((s for s in plan.sweeps if s.decided_as == decision.sweep), None)
    if sweep is None:
        raise JobsError(f"{decision.sweep} was decided, and plan {plan.name!r} has no such sweep now; {undo}")
    try:
        foreign = [key for key in values(plan, decision) if key not in sweep.factors]
        for key, value in decision.base.items():
            plan.schema.parse_value(key, value)
    except ConfigError as error:
        raise JobsError(f"{decision.sweep} was decided: {error}; {undo}") from error
    if foreign:
        raise JobsError(
            f"{decision.sweep} decided {foreign[0]}, which it does not vary: {', '.join(sweep.factors)}; {undo}"
        )


def _stale_decisions(plan: Plan, active: Sequence[Decision]) -> list[tuple[Decision, str, Any, Any]]:
    """(decision, key, old value, new value) where the base of the sweep has changed since the decision."""
    sweeps = {sweep.decided_as: sweep for sweep in plan.sweeps}
    known = [decision for decision in active if decision.sweep in sweeps]
    return [(d, *change) for d in known for change in moved(plan, sweeps[d.sweep], d.base)]


# --- changes ----------------------------------------------------------------------------------------------


def added(plan: Plan, decided: list[Decision], new: Decision, overrule: bool) -> list[Decision]:
    """`decided` with `new`.

    Raises `JobsError` if `new` contradicts an active decision and `overrule` is False, if a later decision depends on
    a value that it changes, or if the resulting base is not a legal configuration.
    """
    active = standing(plan, decided)
    same_sweep = [decision for decision in active if decision.sweep == new.sweep]
    if not overrule:
        _refuse_contradiction(plan, active, same_sweep, new)
    kept = [replace(d, undone=process.utc_now()) if d in same_sweep else d for d in decided]
    updated = [*kept, new]
    _refuse_broken(plan, active, updated)
    before, after = _find_illegal(plan, decided), _find_illegal(plan, updated)
    if after and not before:
        raise JobsError(f"the plan is not valid with {label(values(plan, new), {})}: {after}; adopt other values")
    return updated


def _refuse_contradiction(
    plan: Plan, active: Sequence[Decision], same_sweep: Sequence[Decision], new: Decision
) -> None:
    if same_sweep:
        raise JobsError(
            f"{new.sweep} was decided on {same_sweep[0].date[:10]} by {same_sweep[0].user}: "
            f"{label(values(plan, same_sweep[0]), {})}; "
            f"--replace replaces that decision, `sweeps adopt --undo {new.sweep}` undoes it"
        )
    for decision in reversed(active):
        for key, value in values(plan, decision).items():
            if values(plan, new).get(key, value) != value:
                raise JobsError(
                    f"{decision.sweep} decided {label({key: value}, {})} on {decision.date[:10]}, and not "
                    f"{label({key: values(plan, new)[key]}, {})}; --replace replaces it, --keep keeps it"
                )


def _refuse_broken(plan: Plan, active: Sequence[Decision], updated: list[Decision]) -> None:
    """Raises `JobsError` if the update changes the base under which a still valid decision was taken."""
    active_after = standing(plan, updated)
    sound = {id(d) for d in active} - {id(d) for d, *_ in _stale_decisions(_adopt_unchecked(plan, active), active)}
    for decision, key, then, now in _stale_decisions(_adopt_unchecked(plan, active_after), active_after):
        if id(decision) in sound:
            raise JobsError(
                f"{decision.sweep} was decided under {label({key: then}, {})}, which would become "
                f"{label({key: now}, {})}; first `sweeps adopt --undo {decision.sweep}`"
            )


def _adopt_unchecked(plan: Plan, active: Sequence[Decision]) -> Plan:
    return replace(plan, adopted=_adopted_by_sweep(plan, active))


def _find_illegal(plan: Plan, decided: Sequence[Decision]) -> str:
    """Why the base with all adopted values, or a sweep on that base, is not legal; "" if all are legal."""
    adopted_plan = with_decisions(plan, decided)
    try:
        adopted = {key: value for decision in standing(plan, decided) for key, value in values(plan, decision).items()}
        plan.schema.resolve({**plan.base, **adopted})
        for sweep in plan.sweeps:
            expand(adopted_plan, sweep)
    except (JobsError, ConfigError) as error:
        return str(error)
    return ""


def removed(plan: Plan, decided: list[Decision], sweep: str | None) -> list[Decision]:
    """`decided` with the newest decision, or that of `sweep`, marked as undone.

    Raises `JobsError` if there is none, or if a later decision depends on it.
    """
    active = standing(plan, decided)
    chosen = [decision for decision in active if sweep in (None, decision.sweep)]
    if not chosen:
        adopted_text = f"; decided: {', '.join(d.sweep for d in active)}" if active else ""
        raise JobsError(
            f"there is no decision on {sweep or 'the plan'} to undo{adopted_text}; `sweeps plan` shows the decisions"
        )
    updated = [replace(d, undone=process.utc_now()) if d is chosen[-1] else d for d in decided]
    with contextlib.suppress(ConfigError):  # a key that no longer exists: undoing the decision is the fix
        _refuse_broken(plan, active, updated)
    return updated


def record(store: ResultsFolder, change: Change) -> list[Decision]:
    """Apply `change` to the stored decisions under the lock; returns the new and changed decisions.

    Raises what `change` raises, before anything is written.
    """
    change(store.read_decisions())
    store.prepare()
    with alone(store) as lock:
        before = store.read_decisions()
        updated = change(before)
        lock.renew()
        store.write_decisions(updated)
    return [decision for decision in updated if decision not in before]
