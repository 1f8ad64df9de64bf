"""`sweeps import`: learning curves of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jobs.cli.group import Globals, say
from jobs.cli.options import report_problems
from sweepwise.core.errors import JobsError


@click.command("import")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="What `aggregate` is to call them; what had that name is replaced.")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="NAME=COLUMN,...",
    help="Which column is what: step, seed, task, algorithm, time, eval_return or another metric. A * in a column's "
    "name stands for the seed. For event files of TensorBoard: metric=tag.",
)
@click.option("--path", metavar="PATTERN",
              help="How a path ends, as in {algorithm}/{task}.csv, of {algorithm}, {task}, {seed} and *.")  # fmt: skip
@click.option("--task", metavar="TASK", help="The task of all files.")
@click.option("--algorithm", metavar="NAME", help="The algorithm of all files.")
@click.option("--frames-per-step", type=click.IntRange(min=1), metavar="N",
              help="The files count environment frames, N to an agent step; agent steps otherwise.")  # fmt: skip
@click.pass_obj
def import_command(
    state: Globals, files: tuple[Path, ...], name: str | None, maps: tuple[str, ...], path: str | None,
    task: str | None, algorithm: str | None, frames_per_step: int | None,
) -> None:  # fmt: skip
    """Take learning curves from FILEs, or all below folders: CSV, TSV, JSON, JSON lines, Parquet, TensorBoard.

    Without FILE, list what was imported.
    """
    from jobs.reports import imported_curves
    from jobs.terminal import tables

    store = state.store()
    if not files:
        imports = [record for record in map(store.read_import, store.import_names()) if record is not None]
        report_problems(store)
        if name is not None or maps or not imports:
            raise JobsError("no FILE to import: `sweeps import FILE... --name NAME --map step=step,eval_return=reward`")
    elif name is None:
        raise JobsError("give the curves a name: --name published")
    else:
        options: dict[str, Any] = {
            "path": path,
            "task": task,
            "algorithm": algorithm,
            "frames_per_step": frames_per_step,
        }
        imports = [imported_curves.take(store, name, files, maps, **options)]
    tables.console().print(tables.imports_table(imports))
    if name is not None:
        say(f"`sweeps aggregate SWEEP {name}` sets them beside a sweep of their task")
