"""`sweeps adopt` and `next`: record decisions, and show the next steps of the plan."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from jobs.cli.group import Globals, shows
from jobs.cli.options import (
    asked_for,
    complete_sweep,
    expand_sweeps,
    overrides,
    plan_option,
    report_problems,
    seeds_option,
    value_options,
    with_options,
)
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jobs.decide.next_steps import Agenda
    from jobs.planning.plan import Plan
    from jobs.results.decision_records import Decision
    from jobs.terminal.output import CommandOutput


@click.command("adopt")
@click.argument("sweep", required=False, shell_complete=complete_sweep)
@plan_option
@click.option("--config", metavar="ID", help="Adopt the values of this configuration; its runs must have ended.")
@click.option(
    "--from-verdict", is_flag=True, help="Adopt the best configuration, if all others are significantly worse."
)
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Adopt a value of a swept hyperparameter. Repeatable."
)
@click.option("--keep", is_flag=True, help="Keep the base as it is.")
@click.option("--why", default="", metavar="TEXT", help="Note that is stored with the decision.")
@click.option("--replace", "overrule", is_flag=True, help="Replace an earlier decision.")
@click.option("--undo", is_flag=True, help="Undo the decision on SWEEP. Default: the newest decision.")
@shows
@click.pass_obj
def adopt_command(
    state: Globals, sweep: str | None, plan_file: Path | None, config: str | None, from_verdict: bool,
    sets: tuple[str, ...], keep: bool, why: str, overrule: bool, undo: bool,
) -> CommandOutput:  # fmt: skip
    """Record the decision on SWEEP: later sweeps of the plan start from the adopted values.

    Existing runs do not change.
    """
    from jobs.decide import adopt
    from jobs.planning import decisions, plan

    store = state.store()
    loaded_plan = plan.load(plan_file, store.agents)
    given_ways = [way for way in (config, from_verdict, sets, keep) if way]
    if len(given_ways) + undo != 1 or (undo and (overrule or why)):
        raise JobsError("give one of --config ID, --from-verdict, --set KEY=VALUE, --keep, or --undo alone")
    if undo:
        undone = decisions.record(store, lambda decided: decisions.removed(loaded_plan, decided, sweep))
        return _decided(undone, loaded_plan)
    if sweep is None:
        raise JobsError("name the SWEEP to decide; `sweeps plan` shows the sweeps")
    adopted_plan = decisions.load(store, loaded_plan)
    chosen = adopt.only(store, adopted_plan, sweep)
    if config:
        decision = adopt.of_config(store, adopted_plan, chosen, config, why)
    elif from_verdict:
        decision = adopt.of_verdict(store, adopted_plan, chosen, why)
    else:
        decision = adopt.by_hand(adopted_plan, chosen, overrides(loaded_plan.schema, None, None, sets), why)
    recorded = decisions.record(store, lambda decided: decisions.added(loaded_plan, decided, decision, overrule))
    report_problems(store)
    return _decided(recorded, loaded_plan, "`sweeps next` shows the next sweep")


def _decided(recorded: Sequence[Decision], plan: Plan, *notes: str) -> CommandOutput:
    from jobs.terminal import decisions as decision_texts
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    return CommandOutput(
        lambda: documents.decisions(recorded), lambda: [*decision_texts.decision_lines(recorded, plan.primary), *notes]
    )


@click.command("next")
@with_options(plan_option, seeds_option, value_options)
@shows
@click.pass_context
def next_command(
    context: click.Context, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...],
) -> CommandOutput:  # fmt: skip
    """Show the next sweep of the plan, what waits for it, its cost, and the commands.

    Takes the options of `submit`. Default: those of the last submit.
    """
    from jobs.decide import next_steps
    from jobs.planning import decisions, plan
    from jobs.results.records import RequestedOverrides
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    state: Globals = context.obj
    store = state.store()
    decided = store.read_decisions()
    adopted_plan = decisions.with_decisions(plan.load(plan_file, store.agents), decided)
    requested, previous_sweep = asked_for(adopted_plan.schema, seeds, preset, task, steps, sets), ""
    if requested == RequestedOverrides():
        requested, previous_sweep = next_steps.asked_before(store, adopted_plan)
    expanded = {e.sweep.name: e for e in expand_sweeps(adopted_plan, None, requested)}
    words = next_steps.Words(
        program=("sweeps", *_results_option(context, state)),
        plan=("--plan", str(plan_file)) if plan_file is not None else (),
        values=next_steps.typed(requested),
    )
    agenda = next_steps.agenda(store, adopted_plan, decided, expanded, words)
    report_problems(store)
    return CommandOutput(
        lambda: documents.next_steps(agenda, previous_sweep), lambda: _next_text(agenda, previous_sweep, words.values)
    )


def _next_text(agenda: Agenda, previous_sweep: str, values: Sequence[str]) -> Iterator[RenderableType]:
    from jobs.terminal import decisions as decision_texts

    if previous_sweep and agenda.items:
        yield f"options of the last submit ({previous_sweep}): {shlex.join(values)}\n"
    yield from decision_texts.agenda_parts(agenda)


def _results_option(context: click.Context, state: Globals) -> tuple[str, ...]:
    """`--results FOLDER` if it was given on the command line, for the commands that `next` prints."""
    root = context.find_root()
    is_typed = root.get_parameter_source("results") is ParameterSource.COMMANDLINE
    return ("--results", str(state.results)) if is_typed else ()
