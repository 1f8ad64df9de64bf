"""`sweeps export`, `archive` and `unarchive`: move data out of a results folder and into another."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.group import Globals, say
from jobs.cli.options import complete_sweep, complete_sweep_or_run, names_option, report_problems, warn, watch_options


@click.command("export")
@click.argument("names", nargs=-1, metavar="[SWEEP|RUN]...", shell_complete=complete_sweep_or_run)
@names_option(
    "--format",
    "forms",
    ["csv", "tensorboard", "wandb"],
    default=["csv"],
    show_default=True,
    help="csv: one table per run. tensorboard: event files. wandb: W&B runs (offline with WANDB_MODE=offline).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("exported"),
    show_default=True,
    help="Output folder; created if missing.",
)
@click.option("--project", default="sweeps", show_default=True, metavar="NAME", help="W&B project.")
@watch_options
@click.pass_obj
def export_command(
    state: Globals, names: tuple[str, ...], forms: tuple[str, ...], out: Path, project: str, watch: bool, every: float
) -> None:
    """Export the logged metrics of SWEEP or RUN (ID/seed-N, or ID) to CSV, TensorBoard or W&B. Default: all sweeps.

    Metrics that the folder contains already are not written again.
    """
    from jobs.reports import export

    export.export(state.store(), names, out, forms, project, every if watch else None, say, warn)


@click.command("archive")
@click.argument("sweeps", nargs=-1, shell_complete=complete_sweep)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sweeps.tar"),
    show_default=True,
    help="Archive file.",
)
@click.option("--diffs", is_flag=True, help="Include the uncommitted changes of the copied code.")
@click.pass_obj
def archive_command(state: Globals, sweeps: tuple[str, ...], out: Path, diffs: bool) -> None:
    """Write SWEEPS to one file: records, logged metrics, decisions, code and report. Default: all sweeps.

    Checkpoints, snapshots and logs are left out. `sweeps unarchive` reads it into another results folder.
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
    """Read an archive of `sweeps archive` into the results folder.

    Existing files do not change: if a run or a sweep differs, nothing is read. Code of the archive is stored in
    archived_code and never run.
    """
    from jobs.reports import archive

    store = state.store()
    unpacked = archive.unpack(store, file)
    for name in unpacked.kept:
        warn(f"{name} differs from the archive; the file in {store.root} is kept")
    say(f"{unpacked.files} new files of {unpacked.head.runs} runs are in {store.root}")
    names = [*unpacked.head.sweeps, *unpacked.head.imports]
    say(f"`sweeps aggregate {' '.join(names)}` reports on them")
