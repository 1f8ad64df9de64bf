"""Detectors that judge a run as a whole: divergence, and an end before the last step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from aggregate.flags.detector import Detector, Finding, RunView, finding, too_few, unknown
from aggregate.inputs import runs
from sweepwise.core.value_format import percent


def diverged(run: RunView, d: Detector) -> Finding:
    marked = [step for step, event in _texts(run.rows.get("event", {}), "event") if event == "diverged"]
    if marked:
        return finding(1.0, 0.0, marked[0], "the run stopped itself")
    known = run.agent.catalogue.metrics
    bad = [row for rows in run.rows.values() for row in _texts(rows, "nonfinite") if row[1] in known]
    if bad:
        step, metric = min(bad, key=lambda row: row[0])
        return finding(len(bad), 0.0, step, f"{metric} is not finite")
    if run.state == runs.DIVERGED:
        return finding(1.0, 0.0, run.last_step, "the run stopped itself")
    # an agent that logs its updates can diverge from the first of these on
    kinds = ["train"] if any(metric.kind == "train" for metric in known.values()) else list(run.rows)
    logged = sum(len(run.rows.get(kind, {}).get("step", ())) for kind in kinds)
    return finding(0.0, 0.0, np.nan, "") if logged else too_few(0, d)


def _texts(rows: Mapping[str, Any], column: str) -> list[tuple[float, str]]:
    """(step, text) of the rows with a text in `column`."""
    if column not in rows:
        return []
    texts = np.asarray(rows[column], dtype=object)
    present = np.flatnonzero(pd.notna(texts))
    return [
        (float(step), str(text)) for step, text in zip(np.asarray(rows["step"])[present], texts[present], strict=True)
    ]


def stopped(run: RunView, d: Detector) -> Finding:
    if run.state in runs.BROKEN:
        missing = 1 - run.last_step / run.total_steps
        detail = f"{run.state} at step {run.last_step:,} of {run.total_steps:,}, {percent(missing)} missing"
        return finding(1.0, 0.0, run.last_step, detail)
    return finding(0.0, 0.0, np.nan, "") if run.state == runs.DONE else unknown(f"the run is {run.state}")
