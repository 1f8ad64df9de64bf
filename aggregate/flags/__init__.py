"""Flags: what a careful eye would see in one run's curves, with the evidence, then votes over seeds.

A finding is `flag`, `ok` or `not assessable` (too few points, or the metric is absent): never ok by silence.
Every threshold stands in `DETECTORS`.
"""

from aggregate.flags.base import FLAG, NOT_ASSESSABLE, OK, WARN, Beside, Detector, Finding, RunView, Series
from aggregate.flags.judging import judge, variance_split, vote
from aggregate.flags.table import BY_NAME, DETECTORS

__all__ = [
    "BY_NAME", "DETECTORS", "FLAG", "NOT_ASSESSABLE", "OK", "WARN", "Beside", "Detector", "Finding", "RunView",
    "Series", "judge", "variance_split", "vote",
]  # fmt: skip
