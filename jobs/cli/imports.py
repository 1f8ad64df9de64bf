"""`sweeps import`: learning curves of other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.group import Globals, shows
from jobs.cli.options import names_option, report_problems, warn
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jobs.results.records import Import
    from jobs.terminal.output import CommandOutput

# As in `aggregate.importers.faults`, which a command's help must not load.
ACCEPTED = ("cut", "repeated", "two-runs", "resumed", "spread")
MOST_NOTES = 20


def _tell_notes(notes: list[str], most: int) -> None:
    for note in notes[:most]:
        warn(note)
    if len(notes) > most:
        warn(f"and {len(notes) - most} more")


def _dry_run(
    store: ResultsFolder, files: tuple[Path, ...], maps: tuple[str, ...], options: dict[str, Any]
) -> CommandOutput:
    """What is recognised, with an error where files would be refused."""
    from jobs.reports import imported_curves
    from jobs.terminal import documents, tables
    from jobs.terminal.output import CommandOutput

    collected, _ = imported_curves.read(store, files, maps, collect_errors=True, **options)
    _tell_notes(collected.notes, MOST_NOTES)
    _tell_notes([f"refused: {text}" for text in collected.refusals], MOST_NOTES)
    refused = JobsError(f"{len(collected.refusals)} of the files would be refused; nothing was written")
    return CommandOutput(
        lambda: documents.imports(recognised_files=collected),
        lambda: [tables.recognised_table(documents.recognised(collected))] if collected.files else [],
        error=refused if collected.refusals else None,
    )


@click.command("import")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option(
    "--name", metavar="NAME", help="Name of the import in `aggregate`. An import of the same name is replaced."
)
@click.option("--dry-run", is_flag=True, help="Show what is recognised and how it would be read; write nothing.")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="NAME=COLUMN,...",
    help="Meaning of columns: step, seed, task, algorithm, time, eval_return or another metric. Recognised layouts "
    "need no map. A * in a column's name stands for the seed, a|b for either column. For TensorBoard files: "
    "metric=tag.",
)
@click.option("--path", metavar="PATTERN",
              help="Pattern of the end of a path, such as {algorithm}/{task}.csv; also {seed} and *.")  # fmt: skip
@click.option("--task", metavar="TASK", help="Task of all files.")
@click.option("--algorithm", metavar="NAME", help="Algorithm of all files.")
@click.option("--frames-per-step", type=click.IntRange(min=1), metavar="N",
              help="Environment frames per agent step, for files that count frames.")  # fmt: skip
@click.option("--steps-per-iteration", type=click.IntRange(min=1), metavar="N",
              help="Agent steps per iteration, for files that count iterations.")  # fmt: skip
@names_option("--accept", "accept", ACCEPTED, metavar="FAULT",
              help="Accept a fault: an incomplete last line (cut), identical lines (repeated), two runs with one seed "
              "(two-runs), steps that a resumed run logged twice (resumed), means of a chart (spread).")  # fmt: skip
@shows
@click.pass_obj
def import_command(
    state: Globals, files: tuple[Path, ...], name: str | None, maps: tuple[str, ...], path: str | None,
    task: str | None, algorithm: str | None, frames_per_step: int | None, steps_per_iteration: int | None,
    accept: tuple[str, ...], dry_run: bool,
) -> CommandOutput:  # fmt: skip
    """Import learning curves from files or folders: CSV, TSV, JSON, JSON lines, Parquet, TensorBoard.

    Layouts of other tools are recognised (docs/imports.md). Without FILE, list the imports.
    """
    from jobs.reports import imported_curves
    from jobs.terminal import documents
    from jobs.terminal.output import CommandOutput

    store = state.store()
    if not files:
        imports = [record for record in map(store.read_import, store.import_names()) if record is not None]
        report_problems(store)
        if name is not None or maps or not imports:
            raise JobsError("no FILE to import: `sweeps import FILE... --name NAME --map step=step,eval_return=reward`")
    elif name is None and not dry_run:
        raise JobsError("give the curves a name: --name published")
    else:
        options: dict[str, Any] = {
            "path": path,
            "task": task,
            "algorithm": algorithm,
            "frames_per_step": frames_per_step,
            "steps_per_iteration": steps_per_iteration,
            "accept": accept,
        }
        if dry_run or name is None:
            return _dry_run(store, files, maps, options)
        record, notes = imported_curves.take(store, name, files, maps, **options)
        _tell_notes(notes, MOST_NOTES)
        imports = [record]
    return CommandOutput(lambda: documents.imports(imports), lambda: _imports_text(imports, name))


def _imports_text(imports: Sequence[Import], name: str | None) -> Iterator[RenderableType]:
    """name: of a new import, None for the list."""
    from jobs.terminal import tables

    yield tables.imports_table(imports)
    if name is not None:
        yield f"`sweeps aggregate SWEEP {name}` shows them next to a sweep of their task"
        if len({config.task for config in imports[0].configs}) > 1:
            yield f"`sweeps aggregate {name}` compares them over all tasks"
