"""The values of a sweep that its runs are compared with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aggregate.flags.curve_features import jitter_growth, smooth, window_of
from aggregate.flags.detector import Series, SweepReference

FEWEST_ROWS = 8  # of a policy loss; with fewer the noise of a half is not estimated


def sweep_reference(tested: Iterable[Series], losses: Iterable[Series], sign: int) -> SweepReference:
    """tested: the primary metric of every run. losses: the policy loss of the baseline's runs. sign: of the primary
    metric, see `RunView`."""
    traces = [smooth(sign * s.values, window_of(s.values.size, 0.1)) for s in tested if s.values.size]
    growth = [jitter_growth(s.values) for s in losses if s.values.size >= FEWEST_ROWS]
    known = [ratio for ratio in growth if np.isfinite(ratio)]
    return SweepReference(
        low=sign * min((float(trace[0]) for trace in traces), default=np.nan),
        best=sign * max((float(trace.max()) for trace in traces), default=np.nan),
        jitter_growth=float(np.median(known)) if known else np.nan,
    )
