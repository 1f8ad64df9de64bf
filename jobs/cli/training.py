"""`sweeps submit`, `rerun`, `more`, `confirm` and `train`: start training runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.group import Globals, say, shows
from jobs.cli.options import (
    asked_for,
    backend_options,
    complete_planned_sweep,
    complete_sweep,
    device_of,
    expand_sweeps,
    filter_options,
    foreground_options,
    overrides,
    plan_option,
    preset_values,
    report_problems,
    seeds_option,
    settings_options,
    split_options,
    value_options,
    with_options,
)
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from jobs.results.results_folder import ResultsFolder
    from jobs.submit.launch import Launch
    from jobs.terminal.output import CommandOutput


@click.command("submit")
@click.argument("sweep", shell_complete=complete_planned_sweep)
@with_options(plan_option, seeds_option, value_options, backend_options)
@shows
@click.pass_obj
def submit_command(
    state: Globals, sweep: str, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...], **backend_values: Any,
) -> CommandOutput:  # fmt: skip
    """Submit the missing runs of SWEEP (or of an option: update-freq.tau)."""
    from jobs.backends.base import ExecutionOptions
    from jobs.planning import decisions, plan
    from jobs.programs import registry
    from jobs.submit import launch, program_notes, submit

    store = state.store()
    carried_plan = decisions.load(store, plan.load(plan_file, store.agents))
    requested = asked_for(carried_plan.schema, seeds, preset, task, steps, sets)
    expanded_sweeps = expand_sweeps(carried_plan, sweep, requested)
    submit_options, options = split_options(backend_values)
    agent = carried_plan.schema.description
    registry.check_installed(agent.name)
    if options.get("seeds_per_job", 1) > 1 and not agent.capabilities.seeds_batched:
        say(f"agent {agent.name} trains the seeds of a job one after another, which is no faster")
    choose_runs = lambda: submit.plan_runs(store, expanded_sweeps)  # noqa: E731

    def prepare() -> None:
        if decisions.load(store, carried_plan).adopted != carried_plan.adopted:
            raise JobsError("a decision was recorded in the meantime, which changed the base; submit again")
        submit.record_sweeps(store, carried_plan, expanded_sweeps)

    def changed() -> list[str]:
        return [
            *program_notes.notes(store, carried_plan, expanded_sweeps, submit_options.dry_run),
            *submit.changed(store, carried_plan, expanded_sweeps),
        ]

    made = launch.launch(store, sweep, choose_runs, ExecutionOptions(**options), submit_options, prepare, changed)
    return _launched(store, sweep, [made])


@click.command("rerun")
@click.argument("sweep", shell_complete=complete_sweep)
@click.option("--failed", "causes", multiple=True, flag_value="failed", help="Runs that ended with an error.")
@click.option(
    "--timeout",
    "causes",
    multiple=True,
    flag_value="timeout",
    help="Runs that reached the time limit. Those without a checkpoint get twice the time.",
)
@click.option(
    "--oom",
    "causes",
    multiple=True,
    flag_value="oom",
    help="Runs that ran out of memory, with 1.5 times the memory; on a GPU with half the seeds per job.",
)
@click.option(
    "--node-fail", "causes", multiple=True, flag_value="node-fail", help="Runs whose node failed, on other nodes."
)
@click.option("--missing", "causes", multiple=True, flag_value="missing", help="Runs that never started.")
@click.option("--diverged", "causes", multiple=True, flag_value="diverged", help="Runs with NaN or infinite values.")
@click.option(
    "--interrupted", "causes", multiple=True, flag_value="interrupted", help="Runs that were stopped from outside."
)
@click.option("--stopped", "causes", multiple=True, flag_value="stopped", help="Runs that `sweeps prune` stopped.")
@click.option("--all", "causes", multiple=True, flag_value="all", help="All runs that are not done, active or stopped.")
@with_options(filter_options, backend_options)
@shows
@click.pass_obj
def rerun_command(
    state: Globals, sweep: str, causes: tuple[str, ...], where: tuple[str, ...], indices: str | None,
    **backend_values: Any,
) -> CommandOutput:  # fmt: skip
    """Run selected runs of SWEEP again, from their checkpoints, with the options of the first submit."""
    from jobs.runs import select, status
    from jobs.submit import launch, rerun

    store = state.store()
    submit_options, changes = split_options(backend_values)

    def select_runs() -> list[select.SelectedRun]:
        return select.select_runs(store, status.sweeps(store, [sweep]), where, indices)

    filtered = bool(where or indices)
    made = launch.rerun(
        store, sweep, lambda: rerun.choices(select_runs(), causes, filtered),
        lambda wanted: rerun.batches(select_runs(), wanted, changes), submit_options,
    )  # fmt: skip
    return _launched(store, sweep, made)


@click.command("more")
@click.argument("sweep", shell_complete=complete_sweep)
@click.option("--at-most", type=click.IntRange(min=3), default=30, show_default=True, metavar="N",
              help="Maximum number of seeds of a configuration in total.")  # fmt: skip
@backend_options
@shows
@click.pass_obj
def more_command(state: Globals, sweep: str, at_most: int, **backend_values: Any) -> CommandOutput:
    """Add seeds to the best configuration of SWEEP and to those not significantly different from it.

    They train with the options of the first submit. The next report corrects for the interim analysis.
    """
    from jobs.decide import add_seeds
    from jobs.submit import launch

    store = state.store()
    submit_options, changes = split_options(backend_values)
    addition = add_seeds.more(store, sweep, at_most)
    name = addition.view.name
    made = launch.launch(
        store, name, lambda: addition.choices(store), add_seeds.options(store, name, changes), submit_options,
        lambda: addition.record(store), lambda: addition.notes(store),
    )  # fmt: skip
    return _launched(store, name, [made])


@click.command("confirm")
@click.argument("sweep", shell_complete=complete_sweep)
@click.option("--config", default="", metavar="ID", help="Configuration to confirm. Default: the best one.")
@click.option("--against", default="", metavar="ID", help="Configuration to compare with. Default: the baseline.")
@click.option("--seeds", type=click.IntRange(min=2, max=1000), metavar="N",
              help="Number of fresh seeds per configuration. Default: the number of seeds of SWEEP.")  # fmt: skip
@click.option("--again", is_flag=True, help="Repeat a confirmation with new seeds.")
@backend_options
@shows
@click.pass_obj
def confirm_command(
    state: Globals, sweep: str, config: str, against: str, seeds: int | None, again: bool, **backend_values: Any
) -> CommandOutput:
    """Train the best configuration of SWEEP and the baseline with fresh seeds, and compare only these runs.

    The runs form a new sweep, SWEEP-confirm, with the options of the first submit of SWEEP.
    """
    from jobs.decide import add_seeds, confirm
    from jobs.submit import launch

    store = state.store()
    submit_options, changes = split_options(backend_values)
    confirmation = confirm.confirm(store, sweep, config=config, against=against, seeds=seeds, again=again)
    made = launch.launch(
        store, confirmation.view.name, lambda: confirmation.choices(store),
        add_seeds.options(store, confirmation.original.name, changes), submit_options,
        lambda: confirmation.record(store), lambda: list(confirmation.messages),
    )  # fmt: skip
    if not submit_options.dry_run and not submit_options.export:
        say(f"`sweeps aggregate {confirmation.view.name}` shows the result when these runs have ended")
    return _launched(store, confirmation.view.name, [made])


def _launched(store: ResultsFolder, sweep: str, made: Sequence[Launch]) -> CommandOutput:
    """The output of a command that submits; it printed its text while it did."""
    from jobs.submit import launch
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    report_problems(store)
    code = next((one.code for one in reversed(made) if one.code), 0)
    return CommandOutput(lambda: documents.launches(sweep, launch.unit_of(store), made), code=code)


@click.command("train")
@with_options(plan_option, seeds_option, value_options, settings_options)
@foreground_options
@click.pass_obj
def train_command(
    state: Globals, plan_file: Path | None, seeds: str | None, preset: str | None, task: str | None,
    steps: str | None, sets: tuple[str, ...], device: str, threads: int | None, **settings: Any,
) -> None:  # fmt: skip
    """Train one configuration in the foreground: the plan's base with --preset and --set. Default: seed 1."""
    from jobs import process
    from jobs.planning import plan, plan_values
    from jobs.programs import registry
    from jobs.submit import launch
    from sweepwise.core.trainable import Settings

    store = state.store()
    loaded_plan = plan.load(plan_file, store.agents)
    registry.check_installed(loaded_plan.schema.description.name)
    given = overrides(loaded_plan.schema, task, steps, sets)
    values = {**loaded_plan.base, **preset_values(loaded_plan, preset), **given}
    seed_numbers = plan_values.parse_seeds(seeds) if seeds is not None else (1,)
    run_settings = Settings(**{name: value for name, value in settings.items() if value is not None})
    launch.train(store, loaded_plan, values, seed_numbers, device_of(device), threads or process.cores(), run_settings)
