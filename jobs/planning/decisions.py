"""What sweeps decided, carried to the sweeps after them: checked, recorded, taken back. Pure but for `record`.

A sweep's base is the plan's with what the stages before it decided (`Plan.stages`), so that decisions never change what
the sweep they were taken from, or one beside it, would train.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.planning.expand import expand, label
from jobs.planning.plan import Plan, Sweep
from jobs.results.lock import alone
from jobs.results.records import Decision
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from tdmpc.config import ConfigError, TrainConfig, parse_value

Change = Callable[[list[Decision]], list[Decision]]


def load(store: ResultsFolder, plan: Plan) -> Plan:
    """`plan` with what was adopted in the results folder. Raises `JobsError` for decisions that do not fit it."""
    return carry(plan, store.read_decisions())


def carry(plan: Plan, decided: Sequence[Decision]) -> Plan:
    """`plan` with the decisions that stand. Raises `JobsError` for those that do not fit it, or not each other."""
    active = standing(plan, decided)
    for decision in active:
        _check(plan, decision)
    for position, decision in enumerate(active):
        if any(decision.sweep == other.sweep for other in active[:position]):
            raise JobsError(f"{decision.sweep} is decided twice; `sweeps adopt --undo {decision.sweep}` takes one back")
    carried = replace(plan, adopted=_carried(plan, active))
    for decision, key, then, now in _stale(carried, active):
        raise JobsError(
            f"{decision.sweep} was decided under {label({key: then}, {})}, the base has {label({key: now}, {})} now; "
            f"`sweeps adopt --undo {decision.sweep}` takes the decision back"
        )
    return carried


def standing(plan: Plan, decided: Iterable[Decision]) -> list[Decision]:
    """Those of `plan` that were not taken back, the oldest first."""
    return [decision for decision in decided if decision.plan == plan.name and not decision.undone]


def values(decision: Decision) -> dict[str, Any]:
    """Key -> value, as the configuration has them."""
    return {settled.key: parse_value(settled.key, settled.new) for settled in decision.settled}


def inherited(sweep: Sweep, adopted: Mapping[str, Any]) -> dict[str, Any]:
    """What of the adopted values reaches a sweep's runs: not what it varies or holds itself."""
    return {key: value for key, value in adopted.items() if key not in sweep.factors and key not in sweep.fixed}


def in_base(plan: Plan, adopted: Mapping[str, Any], key: str) -> Any:
    """The value of `key` in the plan's base with what was adopted."""
    value = adopted.get(key, plan.base.get(key, getattr(TrainConfig(), key)))
    return parse_value(key, value)


def moved(plan: Plan, sweep: Sweep, then: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, value then, value now) where the base of `sweep` is another than with `then` adopted."""
    now = inherited(sweep, plan.adopted.get(sweep.name, {}))
    old = inherited(sweep, then)
    pairs = ((key, in_base(plan, old, key), in_base(plan, now, key)) for key in {**old, **now})
    return [(key, before, after) for key, before, after in pairs if before != after]


def _carried(plan: Plan, active: Sequence[Decision]) -> dict[str, dict[str, Any]]:
    """Sweep -> key -> value, by the decisions of earlier stages, the newest the strongest."""
    found: dict[str, dict[str, Any]] = {}
    before: set[str] = set()
    for stage in plan.stages:
        adopted = {key: v for d in active if d.sweep in before for key, v in values(d).items()}
        found.update({sweep.name: adopted for sweep in stage})
        before |= {sweep.name for sweep in stage}
    return found


def _check(plan: Plan, decision: Decision) -> None:
    """Raises `JobsError` where `plan` has no such sweep, or it does not vary these keys."""
    undo = f"`sweeps adopt --undo {decision.sweep}` takes the decision back"
    sweep = next((s for s in plan.sweeps if s.name == decision.sweep), None)
    if sweep is None:
        raise JobsError(f"{decision.sweep} was decided, and plan {plan.name!r} has no such sweep now; {undo}")
    try:
        foreign = [key for key in values(decision) if key not in sweep.factors]
        for key, value in decision.base.items():
            parse_value(key, value)
    except ConfigError as error:
        raise JobsError(f"{decision.sweep} was decided: {error}; {undo}") from error
    if foreign:
        raise JobsError(
            f"{decision.sweep} decided {foreign[0]}, which it does not vary: {', '.join(sweep.factors)}; {undo}"
        )


def _stale(plan: Plan, active: Sequence[Decision]) -> list[tuple[Decision, str, Any, Any]]:
    """(decision, key, value then, value now) where a decision was taken under another base than it has now."""
    sweeps = {sweep.name: sweep for sweep in plan.sweeps}
    known = [decision for decision in active if decision.sweep in sweeps]
    return [(d, *change) for d in known for change in moved(plan, sweeps[d.sweep], d.base)]


# --- changes ----------------------------------------------------------------------------------------------


def added(plan: Plan, decided: list[Decision], new: Decision, overrule: bool) -> list[Decision]:
    """`decided` with `new`. Raises `JobsError` where it contradicts what was decided, unless that is to be overruled,
    and where a decision builds on what it changes."""
    active = standing(plan, decided)
    own = [decision for decision in active if decision.sweep == new.sweep]
    if not overrule:
        _refuse_contradiction(active, own, new)
    kept = [replace(d, undone=stamp()) if d in own else d for d in decided]
    found = [*kept, new]
    _refuse_broken(plan, active, found)
    before, after = _illegal(plan, decided), _illegal(plan, found)
    if after and not before:
        raise JobsError(f"the plan does not stand on {label(values(new), {})}: {after}; adopt other values")
    return found


def _refuse_contradiction(active: Sequence[Decision], own: Sequence[Decision], new: Decision) -> None:
    if own:
        raise JobsError(
            f"{new.sweep} was decided on {own[0].date[:10]} by {own[0].user}: {label(values(own[0]), {})}; "
            f"--replace decides anew, `sweeps adopt --undo {new.sweep}` takes it back"
        )
    for decision in reversed(active):
        for key, value in values(decision).items():
            if values(new).get(key, value) != value:
                raise JobsError(
                    f"{decision.sweep} settled {label({key: value}, {})} on {decision.date[:10]}, and not "
                    f"{label({key: values(new)[key]}, {})}; --replace overrules it, --keep leaves it"
                )


def _refuse_broken(plan: Plan, active: Sequence[Decision], found: list[Decision]) -> None:
    """Raises `JobsError` where a decision that was sound is not any more."""
    left = standing(plan, found)
    sound = {id(d) for d in active} - {id(d) for d, *_ in _stale(_unchecked(plan, active), active)}
    for decision, key, then, now in _stale(_unchecked(plan, left), left):
        if id(decision) in sound:
            raise JobsError(
                f"{decision.sweep} was decided under {label({key: then}, {})}, which would become "
                f"{label({key: now}, {})}; first `sweeps adopt --undo {decision.sweep}`"
            )


def _unchecked(plan: Plan, active: Sequence[Decision]) -> Plan:
    return replace(plan, adopted=_carried(plan, active))


def _illegal(plan: Plan, decided: Sequence[Decision]) -> str:
    """Why the base with all that was adopted, or a sweep on it, is no legal configuration; "" where all are."""
    carried = carry(plan, decided)
    try:
        adopted = {key: value for decision in standing(plan, decided) for key, value in values(decision).items()}
        TrainConfig().with_overrides({**plan.base, **adopted})
        for sweep in plan.sweeps:
            expand(carried, sweep)
    except (JobsError, ConfigError) as error:
        return str(error)
    return ""


def removed(plan: Plan, decided: list[Decision], sweep: str | None) -> list[Decision]:
    """`decided` without the newest decision, or the one of `sweep`; it stays in the file as taken back.

    Raises `JobsError` where there is none, or a later decision builds on it.
    """
    active = standing(plan, decided)
    chosen = [decision for decision in active if sweep in (None, decision.sweep)]
    if not chosen:
        there = f"; there is {', '.join(d.sweep for d in active)}" if active else ""
        raise JobsError(f"nothing of {sweep or 'the plan'} is adopted{there}; `sweeps plan` shows what is")
    found = [replace(d, undone=stamp()) if d is chosen[-1] else d for d in decided]
    with contextlib.suppress(ConfigError):  # of a key that is no more: to take that back is the way out
        _refuse_broken(plan, active, found)
    return found


def record(store: ResultsFolder, change: Change) -> list[Decision]:
    """Write what `change` makes of the decisions, as nobody else does at that time; those that are new or changed.

    Raises what `change` raises, before anything is written.
    """
    change(store.read_decisions())
    store.prepare()
    with alone(store) as lock:
        before = store.read_decisions()
        found = change(before)
        lock.renew()
        store.write_decisions(found)
    return [decision for decision in found if decision not in before]


def stamp() -> str:
    """Now, as the file has it: 2026-11-23T17:20:05Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
