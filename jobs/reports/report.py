"""`sweeps aggregate`: write the report, once or repeatedly while runs are active."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.reports import imported_curves
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from sweepwise.core import atomic
from sweepwise.core.atomic import IsOwn, is_report
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.analysis.summary import Summary
    from aggregate.inputs.runs import SweepSource

Tell = Callable[[str], None]


def sources(store: ResultsFolder, names: Sequence[str], warn: Tell) -> list[SweepSource]:
    """The sources for `names` (`imported_curves.sources`); warns of imports that were left out."""
    sweep_sources, notes = imported_curves.sources(store, names)
    for line in notes:
        warn(line)
    return sweep_sources


def report(sweep_sources: Sequence[SweepSource], out: Path, formats: Sequence[str], tell: Tell, warn: Tell) -> Summary:
    """Summarise, and write the report and the data frames beside it; prints each path and the warnings."""
    from aggregate.analysis.summary import summarise
    from aggregate.export import frames
    from plots.report import write_report

    summary = summarise(sweep_sources)
    for line in summary.loaded.warnings:
        warn(line)
    write_report(summary, out)
    tell(f"wrote {out.absolute()}")
    for path in frames.write(frames.frames(summary), out, formats) if formats else ():
        tell(f"wrote {path.absolute()}")
    return summary


def keep_reporting(
    store: ResultsFolder, names: Sequence[str], out: Path, formats: Sequence[str], every: float, tell: Tell, warn: Tell,
    sleep: Callable[[float], None] = time.sleep,
) -> Summary:  # fmt: skip
    """`report` every `every` seconds until no run is active; waits for the first logged metrics."""
    from sweepwise.core.errors import AggregateError

    warned: set[str] = set()

    def warn_once(line: str) -> None:
        if line not in warned:
            warned.add(line)
            warn(line)

    while True:
        sweep_sources = sources(store, names, warn_once)
        states = Counter(run.state for sweep in sweep_sources for config in sweep.configs for run in config.runs)
        active = any(state in ACTIVE for state in states)
        try:
            summary = report(sweep_sources, out, formats, lambda line: None, warn_once)
        except AggregateError as error:
            if not active:
                raise
            outcome = f"nothing to report yet: {error}"
        else:
            outcome = f"wrote {out.absolute()}"
        states_text = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        tell(f"{time.strftime('%H:%M:%S')} {outcome} ({states_text})")
        if not active:
            return summary
        sleep(every)


def check_out(out: Path, is_own: IsOwn = is_report) -> None:
    """Raises `JobsError` if the folder of `out` does not exist, `OutputError` if `out` must not be written."""
    if not out.absolute().parent.is_dir():
        raise JobsError(f"--out {out}: there is no folder {out.absolute().parent}")
    atomic.output(out, is_own)
