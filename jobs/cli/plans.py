"""`sweeps plan` and `keys`: show the plan and the configuration keys."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from jobs.cli.group import Globals
from jobs.cli.options import (
    asked_for,
    expand_sweeps,
    plan_option,
    seeds_option,
    value_options,
    with_options,
)
from sweepwise.core.errors import JobsError


@click.command("plan")
@click.argument("sweep", required=False)
@with_options(plan_option, seeds_option, value_options)
@click.option("--example", is_flag=True, help="Print the packaged plan as YAML, to copy.")
@click.pass_obj
def plan_command(
    state: Globals, sweep: str | None, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...], example: bool,
) -> None:  # fmt: skip
    """Show the plan's sweeps and the base with its history, or SWEEP with its configurations."""
    from jobs.planning import plan as plans

    if example:
        click.echo(plans.example(), nl=False)
        return
    from jobs.planning import decisions
    from jobs.terminal import decisions as decision_texts
    from jobs.terminal import tables

    decided = state.store().read_decisions()
    plan = decisions.carry(plans.load(plan_file), decided)
    expanded_sweeps = expand_sweeps(plan, sweep, asked_for(seeds, preset, task, steps, sets))
    console = tables.console()
    if sweep is None:
        console.print(tables.plan_table(plan, expanded_sweeps))
    for expanded in expanded_sweeps if sweep is not None else []:
        for part in tables.sweep_details(plan, expanded):
            console.print(part)
        console.print()
    if len(expanded_sweeps) > 1:
        console.print(tables.totals(expanded_sweeps))
    if sweep is None:
        for line in decision_texts.base_lines(plan, [d for d in decided if d.plan == plan.name]):
            console.print(line, soft_wrap=True)


@click.command("keys")
@click.argument("pattern", required=False)
def keys_command(pattern: str | None) -> None:
    """List the configuration's keys with type, default and meaning; those with PATTERN in the name."""
    from jobs.terminal import tables
    from tdmpc.config import TrainConfig, type_text

    fields = [f for f in dataclasses.fields(TrainConfig) if pattern is None or pattern in f.name]
    if not fields:
        raise JobsError(f"no key has {pattern!r} in its name; `sweeps keys` lists them all")
    from sweepwise.core.value_format import format_value

    result = tables.table("key", "type", "default", "meaning")
    for field in fields:
        choices = field.metadata["choices"]
        kind = " | ".join(choices) if choices else type_text(field.name)
        result.add_row(field.name, kind, format_value(field.default), field.metadata["help"])
    tables.console().print(result)
