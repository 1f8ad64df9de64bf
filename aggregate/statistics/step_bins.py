"""A grid of steps that all runs share.

Training rows and episodes are averaged in equal bins of steps, placed at the right edge; evaluation and validation rows
keep their own steps. Gaps of at most two bins within a run are interpolated linearly; longer gaps remain, and a curve
does not extend beyond its run's first and last row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

MAX_BINS, LONGEST_FILL = 200, 2

Columns = dict[str, np.ndarray]  # name -> (n,)


def spacing(steps: np.ndarray) -> float:
    """Median distance between rows of a run at ascending `steps` (n,); the step itself of a single row."""
    distances = np.diff(steps)
    distances = distances[distances > 0]
    return float(np.median(distances)) if distances.size else max(float(np.median(steps)), 1.0)


def bin_count(spacings: Iterable[float], total: int) -> int:
    """Number of bins over (0, total]: at most `MAX_BINS`, and no narrower than the median `spacing`, below which a
    curve would break into points."""
    return int(np.clip(total // np.median(list(spacings)), 1, MAX_BINS))


def binned(rows: Mapping[str, Any], total: int, bins: int, metrics: Sequence[str]) -> Columns:
    """One run's rows of one kind, sorted by step -> columns step and `metrics`: mean per bin, short gaps filled."""
    width = total / bins
    at, means = _means(np.maximum(np.ceil(np.asarray(rows["step"]) / width) - 1, 0).astype(int), rows, metrics)
    grid = np.full((at[-1] - at[0] + 1, len(metrics)), np.nan)
    grid[at - at[0]] = means
    if len(at) < len(grid) or np.isnan(means).any():
        grid = fill_short_gaps(grid)
    return _columns(width * (np.arange(at[0], at[-1] + 1) + 1), grid, metrics)


def own_points(rows: Mapping[str, Any], metrics: Sequence[str]) -> Columns:
    """One run's evaluation or validation rows -> the same columns at their own steps (mean of rows at one step)."""
    return _columns(*_means(np.asarray(rows["step"]), rows, metrics), metrics)


def _means(places: np.ndarray, rows: Mapping[str, Any], metrics: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct `places` (given ascending, one per row) and the means of the metrics there, NaN left out."""
    at, first = np.unique(places, return_index=True)
    values = np.array([np.asarray(rows[name], dtype=float) for name in metrics]).reshape(-1, places.size).T
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, or no value at all
        sums = np.add.reduceat(np.where(present, values, 0.0), first, axis=0)
        return at, sums / np.add.reduceat(present, first, axis=0, dtype=float)


def _columns(steps: np.ndarray, values: np.ndarray, metrics: Sequence[str]) -> Columns:
    return {"step": steps, **dict(zip(metrics, np.ascontiguousarray(values.T), strict=True))}


def fill_short_gaps(values: np.ndarray, longest: int = LONGEST_FILL) -> np.ndarray:
    """Linear interpolation along the first axis, over runs of NaN no longer than `longest` with values on both sides.
    An infinite value before such a gap becomes NaN with it."""
    place = np.arange(len(values)).reshape(-1, *(1,) * (values.ndim - 1))
    present = ~np.isnan(values)
    left = np.maximum.accumulate(np.where(present, place, -1), axis=0)
    right = np.flip(np.minimum.accumulate(np.flip(np.where(present, place, len(values)), 0), axis=0), 0)
    behind = np.roll(right, -1, axis=0)  # the next value after this place
    behind[-1:] = len(values)
    gap = behind - left
    filled = (left >= 0) & (behind < len(values)) & (gap > 1) & (gap <= longest + 1)
    at, *column = np.nonzero(filled)
    first = (left[filled], *column)
    start, stop = values[first], values[(behind[filled], *column)]
    out = values.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        step = (stop - start) / gap[filled]
        out[first] = 0 * step + start
        out[filled] = (at - left[filled]) * step + start
    return out
