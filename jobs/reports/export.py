"""Export the logged metrics of sweeps and runs to CSV, TensorBoard or W&B, once or repeatedly while runs are active.

The export only reads the files of the runs: it cannot delay a run or make it fail.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.reports.inputs import run_sources, sweep_sources
from jobs.results.file_lock import Held, try_lock
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from jobs.runs import select
from sweepwise.core import atomic
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.export import ExportedConfig, Folder

Tell = Callable[[str], None]


def export(
    store: ResultsFolder, names: Sequence[str], out: Path, forms: Sequence[str], project: str, every: float | None,
    tell: Tell, warn: Tell, sleep: Callable[[float], None] = time.sleep,
) -> None:  # fmt: skip
    """Write new metrics of `names` (sweeps, ID/seed-N, ID; default: all sweeps) to `out`, see `aggregate.export`.

    every: seconds between two exports while runs are active; None exports once. Raises `JobsError` for an unknown name
    and if another process exports to `out`, `AggregateError` if there are no metrics or none can be written.
    """
    from sweepwise.core.errors import AggregateError

    configs = chosen(store, names)
    for line in store.problems.values():
        warn(line)
    warned: set[str] = set()
    with _open_folder(out, forms, project) as (folder, lock):
        while True:
            lock.renew()
            states = Counter(run.state for one in configs for run in one.config.runs)
            goes_on = every is not None and any(state in ACTIVE for state in states)
            try:
                exported = folder.export(configs, goes_on)
            except AggregateError as error:
                if not goes_on:
                    raise
                outcome = f"nothing was exported: {error}"
            else:
                outcome = f"wrote {exported.rows:,} new rows of {exported.runs} runs to {out.absolute()}"
                for line in [line for line in exported.refused if line not in warned]:
                    warn(line)
                    warned.add(line)
            states_text = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            clock = f"{time.strftime('%H:%M:%S')} " if every is not None else ""
            tell(f"{clock}{outcome} ({states_text})")
            if every is None or not goes_on:
                return
            sleep(every)
            configs = chosen(store, names)


def chosen(store: ResultsFolder, names: Sequence[str]) -> list[ExportedConfig]:
    """The configurations of `names`, each once."""
    from aggregate.export import ExportedConfig

    runs = [name for name in names if select.names_run(name) and name not in store.sweep_names()]
    sweeps = [name for name in names if name not in runs]
    by_id: dict[str, ExportedConfig] = {}
    for sweep in sweep_sources(store, sweeps) if sweeps or not runs else ():
        for config in sweep.configs:
            by_id.setdefault(config.config_id, ExportedConfig(sweep.name, config, sweep.agent))
    for config in run_sources(store, select.runs_named(store, runs)):
        agent = store.agents.description(store.check_config(config.config_id).agent)
        by_id.setdefault(config.config_id, ExportedConfig("", config, agent))
    return list(by_id.values())


@contextlib.contextmanager
def _open_folder(out: Path, forms: Sequence[str], project: str) -> Iterator[tuple[Folder, Held]]:
    from aggregate.export import Folder

    atomic.output_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = try_lock(out / ".lock")
    except OSError as error:
        raise JobsError(f"--out {out}: {error.strerror}; choose a place you may write to") from error
    if lock is None:
        raise JobsError(f"--out {out}: another `sweeps export` writes there; end it, or choose another")
    try:
        with contextlib.closing(Folder(out, forms, project)) as folder:
            yield folder, lock
    finally:
        lock.release()
