"""What `sweeps aggregate` does: the report, once or again and again while runs go on, and its verdict in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.reports import imported_curves
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.analysis.summary import Summary
    from aggregate.inputs.runs import SweepSource

Tell = Callable[[str], None]


def sources(store: ResultsFolder, names: Sequence[str], warn: Tell) -> list[SweepSource]:
    """What `names` mean (`imports.sources`); what is left out is told."""
    found, told = imported_curves.sources(store, names)
    for line in told:
        warn(line)
    return found


def report(found: Sequence[SweepSource], out: Path, formats: Sequence[str], tell: Tell, warn: Tell) -> Summary:
    """Judge, and write the report and the frames beside it; tells each file, and warns of what was left out."""
    from aggregate.analysis.summary import summarise
    from aggregate.export import frames
    from plots.report import write_report

    summary = summarise(found)
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
    """The same every so many seconds, until no run is active. Runs without a row yet are waited for."""
    from sweepwise.core.errors import AggregateError

    warned: set[str] = set()

    def warn_once(line: str) -> None:
        if line not in warned:
            warned.add(line)
            warn(line)

    while True:
        found = sources(store, names, warn_once)
        states = Counter(run.state for sweep in found for config in sweep.configs for run in config.runs)
        active = any(state in ACTIVE for state in states)
        try:
            summary = report(found, out, formats, lambda line: None, warn_once)
        except AggregateError as error:
            if not active:
                raise
            told = f"nothing to report yet: {error}"
        else:
            told = f"wrote {out.absolute()}"
        standing = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        tell(f"{time.strftime('%H:%M:%S')} {told} ({standing})")
        if not active:
            return summary
        sleep(every)


def check_out(out: Path) -> None:
    """Raises `JobsError` where the folder of a file to be written is not there."""
    if not out.absolute().parent.is_dir():
        raise JobsError(f"--out {out}: there is no folder {out.absolute().parent}")
