"""The plan and its sweeps as tables for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from jobs.planning.decisions import inherited
from jobs.planning.expand import ExpandedSweep
from jobs.planning.plan import Plan
from jobs.terminal.table import Table
from jobs.terminal.tables import pairs, table
from sweepwise.core.hyperparameters import Hyperparameter
from sweepwise.core.value_format import format_value

_MOST_TASKS = 5  # of a sweep, listed in a row


def by_sweep(expanded: Iterable[ExpandedSweep]) -> list[list[ExpandedSweep]]:
    """The sweeps, those of the tasks of one sweep together."""
    members: dict[str, list[ExpandedSweep]] = {}
    for one in expanded:
        members.setdefault(one.sweep.decided_as, []).append(one)
    return list(members.values())


def plan_table(plan: Plan, sweeps: Sequence[ExpandedSweep]) -> Table:
    """Sweeps in priority order with factors, configurations, runs, and configurations shared with sweeps above."""
    result = table(
        "priority", "sweep", "factors", "configs", "seeds", "runs", "shared",
        right=("configs", "runs", "seeds"), title=f"{plan.name}: {plan.title}" if plan.title else plan.name,
        drop=("shared", "seeds"),
    )  # fmt: skip
    first_sweep: dict[str, str] = {}
    for members in by_sweep(sweeps):
        sweep = members[0].sweep
        ids = [config.config_id for expanded in members for config in expanded.configurations]
        shared_counts = Counter(first_sweep[config_id] for config_id in ids if config_id in first_sweep)
        for config_id in ids:
            first_sweep.setdefault(config_id, sweep.decided_as)
        result.add_row(
            f"{sweep.priority}{', parallel' if sweep.parallel else ''}",
            sweep.decided_as,
            " x ".join([*_task_texts(plan, members), *_factor_texts(plan, members[0])]),
            str(len(ids)),
            str(len(members[0].seeds)),
            str(sum(expanded.runs for expanded in members)),
            ", ".join(f"{count} with {name}" for name, count in shared_counts.items()),
        )
    return result


def _task_texts(plan: Plan, members: Sequence[ExpandedSweep]) -> list[str]:
    """`task [walker-walk, cheetah-run]` for a sweep of several tasks, `104 tasks` for one of many."""
    if not members[0].sweep.tasks_of:
        return []
    key = plan.schema.description.task
    if len(members) > _MOST_TASKS:
        return [f"{len(members)} tasks"]
    tasks = [_task(plan, expanded) for expanded in members]
    return [f"{plan.names.get(key, key)} {format_value(tuple(tasks))}"]


def _task(plan: Plan, expanded: ExpandedSweep) -> Any:
    return expanded.configurations[0].config.values[plan.schema.description.task]


def _factor_texts(plan: Plan, expanded: ExpandedSweep) -> list[str]:
    sweep = expanded.sweep
    names = {key: plan.names.get(key, key) for key in sweep.factors}
    texts = [f"{names[key]} {format_value(levels)}" for key, levels in sweep.grid.items()]
    if sweep.zipped:
        texts.append(" with ".join(f"{names[key]} {format_value(levels)}" for key, levels in sweep.zipped.items()))
    return texts


def totals(sweeps: Sequence[ExpandedSweep]) -> str:
    """The total of distinct configurations and runs in `sweeps`."""
    runs = {(c.config_id, seed) for s in sweeps for c in s.configurations for seed in s.seeds}
    configurations = {config for config, _ in runs}
    return (
        f"together {len(configurations)} distinct configurations, {len(runs)} runs "
        f"({sum(s.runs for s in sweeps)} if nothing were shared)"
    )


def sweep_details(plan: Plan, members: Sequence[ExpandedSweep]) -> list[Text | Table]:
    """One sweep in full: goal, questions, fixed and adopted values, configurations. members: one for each task."""
    sweep, several = members[0].sweep, bool(members[0].sweep.tasks_of)
    name = sweep.decided_as
    lines = [Text(f"{name}: {sweep.goal}" if sweep.goal else name, style="bold")]
    if sweep.why:
        lines.append(Text(f"  priority {sweep.priority}: {sweep.why}"))
    lines += [Text(f"  ? {question.text}") for question in sweep.questions]
    lines += [Text(f"  ! {plan.issues[name]}") for name in sweep.issues]
    listed = {plan.schema.description.task, *([plan.schema.description.steps] if sweep.tasks.steps else [])}
    if fixed := {key: value for key, value in sweep.fixed.items() if not (several and key in listed)}:
        lines.append(Text(f"  fixed: {pairs(fixed)}"))
    adopted = plan.adopted.get(sweep.name, {})
    if reaching := inherited(sweep, adopted):
        lines.append(Text(f"  adopted: {pairs(reaching)}"))
    if overridden := {key: value for key, value in adopted.items() if sweep.fixed.get(key, value) != value}:
        lines.append(Text(f"  adopted, and fixed otherwise here: {pairs(overridden)}"))
    about_tasks = ("task", "steps", "0 and 1") if several else ()
    result = table(*about_tasks, "id", "configuration", "", drop=("0 and 1", "steps"))
    for expanded in members:
        for config in expanded.configurations:
            about = _about_task(plan, expanded, config.config.steps) if several else []
            result.add_row(*about, config.config_id, config.label, "baseline" if config.is_baseline else "")
    count, runs = sum(len(one.configurations) for one in members), sum(one.runs for one in members)
    of = f" on {len(members)} tasks" if several else ""
    return [*lines, result, Text(f"{count} configurations{of}, {runs} runs")]


def _about_task(plan: Plan, expanded: ExpandedSweep, steps: int) -> list[str]:
    return [str(_task(plan, expanded)), f"{steps:,}", _reference(plan, expanded)]


def _reference(plan: Plan, expanded: ExpandedSweep) -> str:
    """The results that count as 0 and 1 on the task, as declared or known."""
    from aggregate.tasks.references import reference_of

    returns = plan.schema.description.catalogue.primary.unit == "return"
    ends = expanded.sweep.reference or reference_of(str(_task(plan, expanded)), {}, returns)
    return " and ".join(format_value(end) for end in ends) if ends else "unknown"


def key_table(parameters: Iterable[Hyperparameter]) -> Table:
    """The output of `sweeps keys`."""
    result = table("key", "type", "default", "meaning")
    for parameter in parameters:
        kind = " | ".join(parameter.choices) or parameter.short_type
        result.add_row(parameter.name, kind, format_value(parameter.default), parameter.help)
    return result
