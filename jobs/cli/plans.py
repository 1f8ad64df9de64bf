"""`sweeps plan` and `keys`: show the plan and the configuration keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.group import Globals, refuse_json, say, shows
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

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jobs.planning.expand import ExpandedSweep
    from jobs.planning.plan import Plan
    from jobs.results.decision_records import Decision
    from jobs.terminal.output import CommandOutput


@click.command("plan")
@click.argument("sweep", required=False, shell_complete=complete_planned_sweep)
@with_options(plan_option, seeds_option, value_options)
@click.option("--example", is_flag=True, help="Print the packaged plan as YAML.")
@shows
@click.pass_obj
def plan_command(
    state: Globals, sweep: str | None, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...], example: bool,
) -> CommandOutput:  # fmt: skip
    """Show the sweeps of a plan and its base with the decisions, or SWEEP with its configurations."""
    from jobs.planning import decisions
    from jobs.planning import plan as plans
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    if example:
        refuse_json("--example", "prints a plan as YAML")
        say(plans.example(), nl=False)
        return CommandOutput(dict)
    store = state.store()
    decided = store.read_decisions()
    plan = decisions.with_decisions(plans.load(plan_file, store.agents), decided)
    own = [decision for decision in decided if decision.plan == plan.name]
    expanded = expand_sweeps(plan, sweep, asked_for(plan.schema, seeds, preset, task, steps, sets))
    return CommandOutput(
        lambda: documents.plan(plan, expanded, own), lambda: _plan_text(plan, expanded, own, in_full=sweep is not None)
    )


def _plan_text(
    plan: Plan, expanded_sweeps: Sequence[ExpandedSweep], decided: Sequence[Decision], in_full: bool
) -> Iterator[RenderableType]:
    """decided: of the plan. in_full: with the configurations."""
    from rich.text import Text

    from jobs.terminal import decisions as decision_texts
    from jobs.terminal import plan_tables

    if not in_full:
        yield plan_tables.plan_table(plan, expanded_sweeps)
    for members in plan_tables.by_sweep(expanded_sweeps) if in_full else []:
        yield from plan_tables.sweep_details(plan, members)
        yield ""
    if len(expanded_sweeps) > 1:
        yield Text(plan_tables.totals(expanded_sweeps))
    if not in_full:
        yield from decision_texts.base_lines(plan, decided, plan.primary)


@click.command("keys")
@click.argument("pattern", required=False)
@plan_option
@shows
def keys_command(pattern: str | None, plan_file: Path | None) -> CommandOutput:
    """List the hyperparameters of the plan's agent with type, default and meaning. PATTERN filters by name."""
    from jobs.planning import plan as plans
    from jobs.terminal import documents, plan_tables
    from jobs.terminal.output import CommandOutput

    agent = plans.load(plan_file).schema.description
    chosen = [parameter for parameter in agent.hyperparameters if pattern is None or pattern in parameter.name]
    if not chosen:
        raise JobsError(f"no hyperparameter has {pattern!r} in its name; `sweeps keys` lists them all")
    return CommandOutput(lambda: documents.keys(agent, chosen), lambda: [plan_tables.key_table(chosen)])
