"""`sweeps plan` and `keys`: show the plan and the configuration keys."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.group import Globals, say
from jobs.cli.options import (
    asked_for,
    complete_planned_sweep,
    expand_sweeps,
    plan_option,
    seeds_option,
    value_options,
    with_options,
)
from sweepwise.core.errors import JobsError


@click.command("plan")
@click.argument("sweep", required=False, shell_complete=complete_planned_sweep)
@with_options(plan_option, seeds_option, value_options)
@click.option("--example", is_flag=True, help="Print the packaged plan as YAML.")
@click.pass_obj
def plan_command(
    state: Globals, sweep: str | None, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...], example: bool,
) -> None:  # fmt: skip
    """Show the sweeps of a plan and its base with the decisions, or SWEEP with its configurations."""
    from jobs.planning import plan as plans

    if example:
        say(plans.example(), nl=False)
        return
    from jobs.planning import decisions
    from jobs.terminal import decisions as decision_texts
    from jobs.terminal import plan_tables, tables

    store = state.store()
    decided = store.read_decisions()
    plan = decisions.carry(plans.load(plan_file, store.agents), decided)
    expanded_sweeps = expand_sweeps(plan, sweep, asked_for(plan.schema, seeds, preset, task, steps, sets))
    console = tables.console()
    if sweep is None:
        console.print(plan_tables.plan_table(plan, expanded_sweeps))
    for members in plan_tables.by_sweep(expanded_sweeps) if sweep is not None else []:
        for part in plan_tables.sweep_details(plan, members):
            console.print(part)
        console.print()
    if len(expanded_sweeps) > 1:
        console.print(plan_tables.totals(expanded_sweeps))
    if sweep is None:
        for line in decision_texts.base_lines(plan, [d for d in decided if d.plan == plan.name], plan.primary):
            console.print(line, soft_wrap=True)


@click.command("keys")
@click.argument("pattern", required=False)
@plan_option
def keys_command(pattern: str | None, plan_file: Path | None) -> None:
    """List the hyperparameters of the plan's agent with type, default and meaning. PATTERN filters by name."""
    from jobs.planning import plan as plans
    from jobs.terminal import tables
    from sweepwise.core.value_format import format_value

    parameters = plans.load(plan_file).schema.description.hyperparameters
    chosen = [parameter for parameter in parameters if pattern is None or pattern in parameter.name]
    if not chosen:
        raise JobsError(f"no key has {pattern!r} in its name; `sweeps keys` lists them all")
    result = tables.table("key", "type", "default", "meaning")
    for parameter in chosen:
        kind = " | ".join(parameter.choices) or parameter.short_type
        result.add_row(parameter.name, kind, format_value(parameter.default), parameter.help)
    tables.console().print(result)
