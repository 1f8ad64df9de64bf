"""Flags: what a careful eye would see in one run's curves, with the evidence, then votes over seeds.

A finding is `flag`, `ok` or `not assessable` (too few points, or the metric is absent): never ok by silence.
Every threshold stands in `DETECTORS`.
"""

from aggregate.flags.detector import FLAG, NOT_ASSESSABLE, OK, WARN, Beside, Detector, Finding, RunView, Series
from aggregate.flags.detectors import beside
from aggregate.flags.registry import BY_NAME, COLLAPSE, DETECTORS
from aggregate.flags.votes import COLUMNS, Evaluations, judge, judge_run, late_evaluations, variance_split, vote

__all__ = [
    "BY_NAME", "COLLAPSE", "COLUMNS", "DETECTORS", "FLAG", "NOT_ASSESSABLE", "OK", "WARN", "Beside", "Detector",
    "Evaluations", "Finding", "RunView", "Series", "beside", "judge", "judge_run", "late_evaluations",
    "variance_split", "vote",
]  # fmt: skip
