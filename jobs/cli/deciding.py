"""`sweeps adopt` and `next`: record decisions, and show the next steps of the plan."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from jobs.cli.group import Globals, say
from jobs.cli.options import (
    asked_for,
    expand_sweeps,
    overrides,
    plan_option,
    report_problems,
    seeds_option,
    value_options,
    with_options,
)
from sweepwise.core.errors import JobsError


@click.command("adopt")
@click.argument("sweep", required=False)
@plan_option
@click.option("--config", metavar="ID", help="The values of this configuration, whose runs have ended.")
@click.option("--from-verdict", is_flag=True, help="Those of the leader, where all others are worse beyond chance.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="By hand, a swept key; may be repeated.")
@click.option("--keep", is_flag=True, help="Decide that the base stays as it is.")
@click.option("--why", default="", metavar="TEXT", help="A note that stands with the decision.")
@click.option("--replace", "overrule", is_flag=True, help="Decide anew what was decided otherwise.")
@click.option("--undo", is_flag=True, help="Take back the decision of SWEEP, or the newest.")
@click.pass_obj
def adopt_command(
    state: Globals, sweep: str | None, plan_file: Path | None, config: str | None, from_verdict: bool,
    sets: tuple[str, ...], keep: bool, why: str, overrule: bool, undo: bool,
) -> None:  # fmt: skip
    """Decide SWEEP: later sweeps of the plan start from what is adopted. Runs that are there stay what they are."""
    from jobs.decide import adopt
    from jobs.planning import decisions, plan
    from jobs.terminal import decisions as decision_texts
    from jobs.terminal import tables

    store = state.store()
    loaded_plan = plan.load(plan_file, store.agents)
    given_ways = [way for way in (config, from_verdict, sets, keep) if way]
    if len(given_ways) + undo != 1 or (undo and (overrule or why)):
        raise JobsError("say one of --config ID, --from-verdict, --set KEY=VALUE, --keep, or --undo alone")
    console = tables.console()
    if undo:
        undone = decisions.record(store, lambda decided: decisions.removed(loaded_plan, decided, sweep))
        for line in decision_texts.decision_lines(undone, loaded_plan.primary):
            console.print(line, soft_wrap=True)
        return
    if sweep is None:
        raise JobsError("say which SWEEP is decided; `sweeps plan` shows them")
    carried = decisions.load(store, loaded_plan)
    chosen = adopt.only(store, carried, sweep)
    if config:
        decision = adopt.of_config(store, carried, chosen, config, why)
    elif from_verdict:
        decision = adopt.of_verdict(store, carried, chosen, why)
    else:
        decision = adopt.by_hand(carried, chosen, overrides(loaded_plan.schema, None, None, sets), why)
    for line in decision_texts.decision_lines(
        decisions.record(store, lambda decided: decisions.added(loaded_plan, decided, decision, overrule)),
        loaded_plan.primary,
    ):
        console.print(line, soft_wrap=True)
    say("`sweeps next` says what comes next")
    report_problems(store)


@click.command("next")
@with_options(plan_option, seeds_option, value_options)
@click.pass_context
def next_command(
    context: click.Context, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...],
) -> None:  # fmt: skip
    """Say what the plan wants now, what waits for it, what it costs, and the command.

    Options as of `submit`; where none is given, those of the submit before.
    """
    from jobs.decide import next_steps
    from jobs.planning import decisions, plan
    from jobs.results.records import RequestedOverrides
    from jobs.terminal import decisions as decision_texts
    from jobs.terminal import tables

    state: Globals = context.obj
    store = state.store()
    decided = store.read_decisions()
    carried_plan = decisions.carry(plan.load(plan_file, store.agents), decided)
    requested, previous_sweep = asked_for(carried_plan.schema, seeds, preset, task, steps, sets), ""
    if requested == RequestedOverrides():
        requested, previous_sweep = next_steps.asked_before(store, carried_plan)
    expanded = {e.sweep.name: e for e in expand_sweeps(carried_plan, None, requested)}
    words = next_steps.Words(
        program=("sweeps", *_results_option(context, state)),
        plan=("--plan", str(plan_file)) if plan_file is not None else (),
        values=next_steps.typed(requested),
    )
    agenda = next_steps.agenda(store, carried_plan, decided, expanded, words)
    console = tables.console()
    if previous_sweep and agenda.items:
        say(f"as {previous_sweep} was submitted: {shlex.join(words.values)}\n")
    for part in decision_texts.agenda_parts(agenda):
        console.print(part, soft_wrap=True)
    report_problems(store)


def _results_option(context: click.Context, state: Globals) -> tuple[str, ...]:
    """`--results FOLDER` if it was given on the command line, for the commands that `next` prints."""
    root = context.find_root()
    is_typed = root.get_parameter_source("results") is ParameterSource.COMMANDLINE
    return ("--results", str(state.results)) if is_typed else ()
