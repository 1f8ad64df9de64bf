"""`sweeps cancel`, `prune`, `release`, `reread`, `exclude` and `annotate`: what users do with submitted runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.group import Globals, say, shows
from jobs.cli.options import (
    complete_run,
    complete_sweep,
    complete_sweep_or_run,
    filter_options,
    plan_option,
    report_problems,
)
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from jobs.submit.cancel import Ending, Kept
    from jobs.terminal.output import CommandOutput


@click.command("cancel")
@click.argument("sweeps", nargs=-1, required=True, shell_complete=complete_sweep)
@filter_options
@click.option("--diverged", is_flag=True, help="Only configurations with a diverged run.")
@click.option("--dry-run", is_flag=True, help="Show what would be cancelled; cancel nothing.")
@shows
@click.pass_obj
def cancel_command(
    state: Globals, sweeps: tuple[str, ...], where: tuple[str, ...], indices: str | None, diverged: bool, dry_run: bool
) -> CommandOutput:
    """Cancel the waiting and running runs of SWEEPS. Running ones save a checkpoint and can continue later.

    Without a filter, jobs of `sweeps evaluate SWEEP` are cancelled too.
    """
    from jobs.results import lock
    from jobs.runs import recover, select, status
    from jobs.submit import cancel
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    store = state.store()
    names = status.selected(store, sweeps)  # raises for an unknown name before anything is locked
    with lock.alone(store) as held:
        for note in recover.recover(store, held):
            say(note, err=True)
        statuses = status.sweeps(store, sweeps)
        picked = select.select_runs(store, statuses, where, indices)
        endings, kept = cancel.plan(store, select.of_diverged(statuses, picked) if diverged else picked)
        if not (where or indices or diverged):
            evaluating, going_on = cancel.plan_evaluations(store, names)
            endings, kept = [*endings, *evaluating], [*kept, *going_on]
        if not dry_run:
            endings, also_kept = cancel.carry_out(store, endings)
            kept += also_kept
    report_problems(store)
    return CommandOutput(
        lambda: documents.cancelled(endings, kept, dry_run), lambda: _ended_text(endings, kept, dry_run, "cancelled")
    )


def _ended_text(endings: Iterable[Ending], kept: Kept, dry_run: bool, word: str) -> Iterator[str]:
    for ref, reason in kept:
        yield f"{ref} continues: {reason}"
    yield f"{sum(len(e.runs) for e in endings)} runs {'would be ' if dry_run else ''}{word}"


@click.command("prune")
@click.argument("sweep", shell_complete=complete_sweep)
@click.option("--after", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="SHARE",
              help="Fraction of training before which no configuration is stopped.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would be stopped; stop nothing.")
@shows
@click.pass_obj
def prune_command(state: Globals, sweep: str, after: float, dry_run: bool) -> CommandOutput:
    """Stop the underperforming configurations of SWEEP.

    A configuration underperforms if its best evaluation is worse than the median of the others' averages up to that
    step. Its runs save a checkpoint. `sweeps rerun SWEEP --stopped` continues them; `submit` does not.
    """
    from jobs.decide import prune
    from jobs.results import lock
    from jobs.runs import recover
    from jobs.submit import cancel
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    store = state.store()
    lines = prune.underperforming(store, sweep, after)
    if not lines:
        report_problems(store)
        return CommandOutput(
            lambda: documents.pruned([], documents.cancelled([], [], dry_run)),
            lambda: ["nothing to stop: no configuration in training underperforms"],
        )
    with lock.alone(store) as held:
        for note in recover.recover(store, held):
            say(note, err=True)
        picked = prune.runs_of(store, sweep, lines)
        endings, kept = cancel.plan(store, picked)
        if not dry_run:
            endings, also_kept = prune.carry_out(store, sweep, endings, lines)
            kept += also_kept
    report_problems(store)
    labels = {selected.run.record.ref.config_id: selected.label for selected in picked}
    stopped = [(line.config_id, labels[line.config_id], prune.format_pruned(line)) for line in lines]
    return CommandOutput(
        lambda: documents.pruned(stopped, documents.cancelled(endings, kept, dry_run)),
        lambda: [
            *(f"{label} ({config_id}): {reason}" for config_id, label, reason in stopped),
            *_ended_text(endings, kept, dry_run, "stopped"),
        ],
    )


@click.command("release")
@click.argument("sweep", shell_complete=complete_sweep)
@click.pass_obj
def release_command(state: Globals, sweep: str) -> None:
    """Release the held tasks of SWEEP: held by --canary, or because the first tasks failed in the same way."""
    from jobs.runs import canary, status

    store = state.store()
    names = status.selected(store, [sweep])
    count = canary.release_all(store, [s for s in store.submissions.all() if s.sweep in (sweep, *names)])
    say(f"released the held tasks of {count} submissions" if count else f"no task of {sweep} is held")


@click.command("reread")
@click.argument("sweep", shell_complete=complete_sweep)
@plan_option
@filter_options
@click.pass_obj
def reread_command(
    state: Globals, sweep: str, plan_file: Path | None, where: tuple[str, ...], indices: str | None
) -> None:
    """Read the logged metrics of SWEEP again, after a change of `metrics:` in the plan. Trains nothing.

    A run that failed only because its primary metric never appeared is then `done`.
    """
    from jobs.planning import plan as plans
    from jobs.programs.command import ProgramSource
    from jobs.results import lock
    from jobs.runs import select, status
    from jobs.worker import reread

    store = state.store()
    source = plans.load(plan_file, store.agents).source
    if not isinstance(source, ProgramSource):
        raise JobsError("only metrics of programs can be read again; give --plan FILE with a `program:` block")
    with lock.alone(store):
        picked = select.select_runs(store, status.sweeps(store, [sweep]), where, indices)
        reread_runs = reread.reread(store, source, [selected.run for selected in picked])
    for one in reread_runs:
        if one.note:
            say(f"{one.run} is unchanged: {one.note}")
    read = [one for one in reread_runs if not one.note]
    say(f"read {len(read)} of {len(reread_runs)} runs again")
    report_problems(store)
    raise click.exceptions.Exit(0 if read or not reread_runs else 1)


@click.command("exclude")
@click.argument("runs", nargs=-1, required=True, metavar="RUNS...", shell_complete=complete_run)
@click.option("--why", metavar="TEXT", help="The reason, which the report shows. Required.")
@click.option("--undo", is_flag=True, help="Analyse the runs again.")
@click.pass_obj
def exclude_command(state: Globals, runs: tuple[str, ...], why: str | None, undo: bool) -> None:
    """Leave RUNS (ID/seed-N, or ID for all its seeds) out of the analysis, with a reason.

    The report, `status` and archives show excluded runs with their results and reasons. Nothing is deleted. `submit`
    and `rerun` do not train them.
    """
    from jobs.runs import annotations, select

    if undo == (why is not None):
        raise click.UsageError("give --why TEXT, or --undo to analyse the runs again.")
    store = state.store()
    refs = select.runs_named(store, runs)
    changed = annotations.include(store, refs) if why is None else annotations.exclude(store, refs, why)
    what, rest = ("analysed again", "not excluded") if undo else ("excluded", "excluded already")
    for ref in refs:
        say(f"{ref} {'is' if ref in changed else 'was'} {what if ref in changed else rest}")
    report_problems(store)


@click.command("annotate")
@click.argument("targets", nargs=-1, required=True, metavar="TARGETS...", shell_complete=complete_sweep_or_run)
@click.option("--note", "notes", multiple=True, metavar="TEXT", help="Add a note. Repeatable.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Add a tag. Repeatable.")
@click.option("--remove-tag", "removed_tags", multiple=True, metavar="TAG", help="Remove a tag. Repeatable.")
@click.option("--clear-notes", is_flag=True, help="Remove the existing notes.")
@shows
@click.pass_obj
def annotate_command(
    state: Globals, targets: tuple[str, ...], notes: tuple[str, ...], tags: tuple[str, ...],
    removed_tags: tuple[str, ...], clear_notes: bool,
) -> CommandOutput:  # fmt: skip
    """Add notes and tags to sweeps and runs (ID/seed-N). Without options, show the notes and tags.

    The report, `status` and archives show them. `--where tag=TAG` selects runs by tag.
    """
    from jobs.runs import annotations
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    store = state.store()
    chosen = annotations.targets(store, targets)
    if notes or tags or removed_tags or clear_notes:
        annotations.annotate(store, chosen, notes, tags, removed_tags, clear_notes=clear_notes)
    annotations_of = {target: store.read_annotations(target) for target in chosen}
    report_problems(store)
    return CommandOutput(
        lambda: documents.annotated(annotations_of),
        lambda: [line for target, own in annotations_of.items()
                 for line in list(annotations.lines(target, own)) or [f"{target} has no notes or tags"]],
    )  # fmt: skip
