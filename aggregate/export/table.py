"""The rows of a run as CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aggregate.export import frames
from aggregate.inputs.runs import RunRows
from sweepwise.core import atomic
from sweepwise.core.metrics import Catalogue

_FIRST = ["kind", "step", "frames", "update", "time", "event"]


def write(path: Path, run: RunRows, catalogue: Catalogue) -> None:
    """All rows by step, a column per logged metric of `catalogue`; lists as JSON.

    Deterministic: equal rows give equal bytes.
    """
    parts = [rows.assign(kind=kind) for kind, rows in run.frames().items()]
    rows = pd.concat(parts, ignore_index=True).sort_values("step", kind="stable")
    metrics = [name for name in catalogue.metrics if name in rows]
    table = frames.as_table(rows.reindex(columns=[*_FIRST, *metrics, "nonfinite"]))
    target = atomic.output(path, atomic.begins_with(b'"kind",'))
    atomic.write(target, lambda part: frames.write_csv(table, part))
