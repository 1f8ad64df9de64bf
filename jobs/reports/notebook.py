"""The judgement in Python: `from jobs.reports.notebook import frames`. See docs/notebooks.md."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.reports import imported_curves
from jobs.results.results_folder import ResultsFolder

if TYPE_CHECKING:
    from aggregate.export.frames import Frames


def frames(*sweeps: str, results: str | Path | None = None) -> Frames:
    """What `sweeps aggregate SWEEPS` shows, as a pandas frame per level (`aggregate.export.frames.Frames`).

    sweeps: names of sweeps and imports; all without any. results: the results folder; SWEEPS_RESULTS, or ./results,
    without one. What is left out or cannot be read is warned of. Raises `JobsError` for an unknown name or where
    nothing was submitted, `AggregateError` where there is nothing to read.
    """
    from aggregate.analysis.summary import summarise
    from aggregate.export import frames as levels

    store = ResultsFolder(Path(results if results is not None else os.environ.get("SWEEPS_RESULTS", "results")))
    sources, told = imported_curves.sources(store, sweeps)
    for line in [*told, *store.problems.values()]:
        warnings.warn(line, stacklevel=2)
    return levels.frames(summarise(sources))
