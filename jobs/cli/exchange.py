"""`sweeps export`: rows for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.group import Globals


@click.command("export")
@click.argument("names", nargs=-1, metavar="[SWEEP|RUN]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "tensorboard", "wandb"]),
    default="csv",
    show_default=True,
    help="csv: a table per run; tensorboard: event files; wandb: runs of W&B, offline with WANDB_MODE=offline.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("exported"),
    show_default=True,
    help="Folder of the files, made where it is not there.",
)
@click.option("--project", default="sweeps", show_default=True, metavar="NAME", help="Project of W&B.")
@click.option("--watch", is_flag=True, help="Write what is new again and again, until no run is active.")
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks of --watch.",
)
@click.pass_obj
def export_command(
    state: Globals, names: tuple[str, ...], form: str, out: Path, project: str, watch: bool, every: float
) -> None:
    """Write the rows of the submitted sweeps, or of SWEEP and RUN (ID/seed-N, or ID), for other programs.

    What is in the folder already is not written again.
    """
    from jobs import export

    export.export(state.store(), names, out, form, project, every if watch else None, click.echo, _warn)


def _warn(line: str) -> None:
    click.echo(f"warning: {line}", err=True)
