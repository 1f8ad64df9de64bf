"""What is known of a run without its rows: their number, spacing and times, and doubts about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aggregate.inputs.merge_shards import Kinds
from aggregate.statistics.step_bins import spacing
from sweepwise.core.metrics import KINDS

_CLOCK_BACK = 60.0  # seconds; smaller corrections of a clock are normal
_CLOCK_RANGE = (946_684_800.0, 4_102_444_800.0)  # 2000 to 2100


class RunFacts(NamedTuple):
    """rows: their number. spacing: by kind, see `step_bins.spacing`. times: unix seconds of the first and the last row,
    NaN without a plausible clock. ranks: of the attempts with rows. doubts: notes about clocks and unknown rows."""

    rows: int
    spacing: dict[str, float]
    times: tuple[float, float]
    ranks: list[int]
    doubts: list[str]


def facts_of(kinds: Kinds) -> RunFacts:
    tables = kinds.values()
    times = np.concatenate([table["time"].to_numpy() for table in tables]) if kinds else np.empty(0)
    plausible = times[(times >= _CLOCK_RANGE[0]) & (times <= _CLOCK_RANGE[1])]
    return RunFacts(
        rows=sum(table.num_rows for table in tables),
        spacing={kind: spacing(table["step"].to_numpy()) for kind, table in kinds.items()},
        times=(float(plausible.min()), float(plausible.max())) if plausible.size else (np.nan, np.nan),
        ranks=sorted({int(rank) for table in tables for rank in np.unique(table["attempt"].to_numpy())}),
        doubts=list(_doubts(kinds, times, plausible)),
    )


def _doubts(kinds: Kinds, times: np.ndarray, plausible: np.ndarray) -> Iterator[str]:
    """times: of all rows. plausible: of these."""
    for kind, table in kinds.items():
        yield from _clock_doubts(kind, table)
    if plausible.size < times.size and not np.isnan(times).all():  # imported curves may have no times at all
        yield f"{times.size - plausible.size} rows bear a time before 2000 or after 2100, or none"
    if foreign_kinds := sorted(set(kinds) - set(KINDS)):
        yield f"rows of kinds that this program does not know: {', '.join(foreign_kinds)}"


def _clock_doubts(kind: str, table: pa.Table) -> list[str]:
    """A note where the clock of an attempt went back while its steps increased."""
    times, attempts, steps = (table[name].to_numpy() for name in ("time", "attempt", "step"))
    back = np.flatnonzero((np.diff(times) < -_CLOCK_BACK) & (np.diff(attempts) == 0) & (np.diff(steps) > 0))
    return [f"the clock went back by {times[i] - times[i + 1]:,.0f} s before step {steps[i + 1]:,} ({kind})"
            for i in back[:1]]  # fmt: skip
