"""Rows of sweeps and runs to CSV, TensorBoard or W&B, once or again and again while runs go on.

It reads what the runs have written and tells them nothing: none waits for it, and none fails with it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.reports.inputs import run_sources, sweep_sources
from jobs.results.file_lock import try_lock
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs import select
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.export import Folder
    from aggregate.inputs.runs import ConfigSource

Tell = Callable[[str], None]


def export(
    store: ResultsFolder, names: Sequence[str], out: Path, form: str, project: str, every: float | None, tell: Tell,
    warn: Tell, sleep: Callable[[float], None] = time.sleep,
) -> None:  # fmt: skip
    """Write what is new of `names` (sweeps, ID/seed-N, ID; all sweeps without any) to `out`, see `aggregate.export`.

    every: seconds until it is done again, until no run is active; None does it once. Raises `JobsError` for an unknown
    name and where another process exports there, `AggregateError` where there is nothing, or nothing can be written.
    """
    from sweepwise.core.errors import AggregateError

    found = chosen(store, names)
    for line in store.problems.values():
        warn(line)
    warned: set[str] = set()
    with _opened(out, form, project) as folder:
        while True:
            states = Counter(run.state for _, config in found for run in config.runs)
            more = every is not None and any(state in ACTIVE for state in states)
            try:
                done = folder.export(found, more)
            except AggregateError as error:
                if not more:
                    raise
                told = f"nothing was exported: {error}"
            else:
                told = f"{done.rows:,} new rows of {done.runs} runs went to {out.absolute()}"
                for line in [line for line in done.refused if line not in warned]:
                    warn(line)
                    warned.add(line)
            standing = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            clock = f"{time.strftime('%H:%M:%S')} " if every is not None else ""
            tell(f"{clock}{told} ({standing})")
            if every is None or not more:
                return
            sleep(every)
            found = chosen(store, names)


def chosen(store: ResultsFolder, names: Sequence[str]) -> list[tuple[str, ConfigSource]]:
    """(sweep, configuration) of `names`, each configuration once; "" for the sweep of runs that are named."""
    runs = [name for name in names if select.names_run(name) and name not in store.sweep_names()]
    sweeps = [name for name in names if name not in runs]
    found: dict[str, tuple[str, ConfigSource]] = {}
    for sweep in sweep_sources(store, sweeps) if sweeps or not runs else ():
        for config in sweep.configs:
            found.setdefault(config.config_id, (sweep.name, config))
    for config in run_sources(store, select.runs_named(store, runs)):
        found.setdefault(config.config_id, ("", config))
    return list(found.values())


@contextlib.contextmanager
def _opened(out: Path, form: str, project: str) -> Iterator[Folder]:
    from aggregate.export import Folder

    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = try_lock(out / ".lock")
    except OSError as error:
        raise JobsError(f"--out {out}: {error.strerror}; choose a place you may write to") from error
    if lock is None:
        raise JobsError(f"--out {out}: another `sweeps export` writes there; end it, or choose another")
    try:
        with contextlib.closing(Folder(out, form, project)) as folder:
            yield folder
    finally:
        os.close(lock)
