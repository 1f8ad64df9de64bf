"""`sweeps export`, `archive` and `unarchive`: move data out of a results folder and into another."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.group import Globals, say
from jobs.cli.options import report_problems, warn, watch_options


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
@watch_options
@click.pass_obj
def export_command(
    state: Globals, names: tuple[str, ...], form: str, out: Path, project: str, watch: bool, every: float
) -> None:
    """Write the rows of the submitted sweeps, or of SWEEP and RUN (ID/seed-N, or ID), for other programs.

    What is in the folder already is not written again.
    """
    from jobs.reports import export

    export.export(state.store(), names, out, form, project, every if watch else None, say, warn)


@click.command("archive")
@click.argument("sweeps", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sweeps.tar"),
    show_default=True,
    help="The archive, one file.",
)
@click.option("--diffs", is_flag=True, help="Also what differed from the commit when the code was copied.")
@click.pass_obj
def archive_command(state: Globals, sweeps: tuple[str, ...], out: Path, diffs: bool) -> None:
    """Put the submitted sweeps, or SWEEPS, into one file: records, rows, decisions, code and report.

    No checkpoints, snapshots or logs. `sweeps unarchive` takes it into another results folder.
    """
    from jobs.reports import archive, report

    report.check_out(out, archive.is_archive)
    store = state.store()
    head = archive.write(store, sweeps, out, warn, diffs)
    report_problems(store)
    say(f"wrote {out.absolute()} ({head.runs} runs, {out.stat().st_size / 1e6:.1f} MB)")


@click.command("unarchive")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def unarchive_command(state: Globals, file: Path) -> None:
    """Take what `sweeps archive` put into FILE into the results folder, to be aggregated there.

    Nothing that is there is changed: where a run or a sweep differs, nothing is taken. Its code goes to archived_code,
    from where nothing is run.
    """
    from jobs.reports import archive

    store = state.store()
    unpacked = archive.unpack(store, file)
    for name in unpacked.kept:
        warn(f"{name} differs, and stays as it is in {store.root}")
    say(f"{unpacked.files} new files of {unpacked.head.runs} runs are in {store.root}")
    names = [*unpacked.head.sweeps, *unpacked.head.imports]
    say(f"`sweeps aggregate {' '.join(names)}` judges them")
