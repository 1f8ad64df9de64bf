"""`sweeps cancel` and `release`: what holds runs back or lets them go."""

from __future__ import annotations

import click

from jobs.cli.group import Globals
from jobs.cli.options import (
    filter_options,
    report_problems,
)


@click.command("cancel")
@click.argument("sweeps", nargs=-1, required=True)
@filter_options
@click.option("--diverged", is_flag=True, help="Only configurations of which a run diverged.")
@click.option("--dry-run", is_flag=True, help="Show what would be cancelled.")
@click.pass_obj
def cancel_command(
    state: Globals, sweeps: tuple[str, ...], where: tuple[str, ...], indices: str | None, diverged: bool, dry_run: bool
) -> None:
    """End the waiting and running runs of SWEEPS; those that train save their state and can go on later."""
    from jobs import cancel, handover, lock, pick, status

    store = state.store()
    status.selected(store, sweeps)  # an unknown one is an error before anything is locked
    with lock.alone(store) as held:
        for note in handover.recover(store, held):
            click.echo(note, err=True)
        found = status.sweeps(store, sweeps)
        picked = pick.pick(store, found, where, indices)
        ending, kept = cancel.plan(store, pick.of_diverged(found, picked) if diverged else picked)
        if not dry_run:
            ending, more = cancel.carry_out(store, ending)
            kept += more
    for ref, reason in kept:
        click.echo(f"{ref} goes on: {reason}")
    click.echo(f"{sum(len(e.runs) for e in ending)} runs {'would be ' if dry_run else ''}cancelled")
    report_problems(store)


@click.command("release")
@click.argument("sweep")
@click.pass_obj
def release_command(state: Globals, sweep: str) -> None:
    """Let the tasks of SWEEP run that are held: by --canary, or because the first ones died alike."""
    from jobs import holds, status

    store = state.store()
    names = status.selected(store, [sweep])
    count = holds.release_all(store, [s for s in store.submissions() if s.sweep in (sweep, *names)])
    click.echo(f"released what was held of {count} submissions" if count else f"nothing of {sweep} is held")
