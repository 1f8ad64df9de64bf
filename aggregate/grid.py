"""Steps to a grid that runs share.

Training rows and episodes are averaged in equal bins of steps, each drawn at its right edge; evaluation and
validation rows stand at their own steps. Gaps of at most two bins within a run are filled linearly; longer
ones stay gaps, and nothing is drawn before a run's first or past its last row.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

MIN_BINS, MAX_BINS, LONGEST_FILL = 50, 200, 2
_RUN = ["config_id", "seed"]


def bin_count(rows: pd.DataFrame, total: int) -> int:
    """Bins over (0, total]: at most 200, and no narrower than rows stand apart.

    At least 50 where a run has that many rows; a run with fewer gets one bin per row, as narrower bins
    would tear its curve into points.
    """
    spacing = rows.groupby(_RUN, observed=True)["step"].diff().median()
    if not spacing > 0:  # one row per run: it shall stand where it is
        spacing = max(rows["step"].median(), 1)
    return int(np.clip(total // spacing, 1, MAX_BINS))


def binned(rows: pd.DataFrame, total: int, metrics: Sequence[str]) -> pd.DataFrame:
    """Rows of one kind -> columns config_id, seed, step and `metrics`: mean within (run, bin)."""
    if rows.empty:
        return rows.loc[:, [*_RUN, "step", *metrics]]
    width = total / bin_count(rows, total)
    index = (np.ceil(rows["step"] / width) - 1).clip(lower=0).astype(int)
    means = rows.groupby([*_RUN, index.rename("bin")], observed=True)[list(metrics)].mean()
    filled = [_fill_run(config_id, seed, run.droplevel(_RUN)) for (config_id, seed), run in
              means.groupby(level=_RUN, observed=True)]  # fmt: skip
    out = pd.concat(filled, ignore_index=True)
    out["step"] = (out["bin"] + 1) * width
    return out.loc[:, [*_RUN, "step", *metrics]]


def _fill_run(config_id: str, seed: int, run: pd.DataFrame) -> pd.DataFrame:
    """One run's bins, from its first to its last, short gaps filled."""
    run = run.reindex(pd.RangeIndex(run.index.min(), run.index.max() + 1, name="bin"))
    if run.isna().to_numpy().any():
        run = run.apply(lambda column: pd.Series(fill_short_gaps(column.to_numpy()), index=column.index))
    run = run.reset_index()
    run.insert(0, "config_id", config_id)
    run.insert(1, "seed", seed)
    return run


def fill_short_gaps(values: np.ndarray, longest: int = LONGEST_FILL) -> np.ndarray:
    """Linear interpolation over runs of NaN no longer than `longest` with values on both sides."""
    there = np.flatnonzero(~np.isnan(values))
    if there.size < 2:
        return values
    out = values.copy()
    for left, right in itertools.pairwise(there):
        if 1 < right - left <= longest + 1:
            out[left : right + 1] = np.linspace(values[left], values[right], right - left + 1)
    return out


def own_points(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Evaluation or validation rows -> the same columns, at their own steps (mean where two share one)."""
    keys = [*_RUN, "step"]
    return rows.groupby(keys, observed=True)[list(metrics)].mean().reset_index()
