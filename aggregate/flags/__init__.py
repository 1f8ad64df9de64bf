"""Flags: detectors of faults in the curves of single runs, with the evidence, and votes over seeds.

A finding is `flag`, `ok` or `not assessable` (too few points, or the metric is absent). All thresholds are in
`DETECTORS`, unless the agent has its own.
"""

from aggregate.flags.detector import (
    FLAG,
    NOT_ASSESSABLE,
    OK,
    WARN,
    Detector,
    Finding,
    RunView,
    Series,
    SweepReference,
    series_of,
)
from aggregate.flags.reference import RunLevels, levels_of, run_levels, sweep_reference
from aggregate.flags.registry import BY_NAME, COLLAPSE, COMPARING, DETECTORS, SINGLE, detectors_of
from aggregate.flags.votes import (
    COLUMNS,
    Evaluations,
    LateEvaluations,
    judge,
    judge_run,
    late_evaluations,
    not_found,
    variance_split,
    vote,
)

__all__ = [
    "BY_NAME",
    "COLLAPSE",
    "COLUMNS",
    "COMPARING",
    "DETECTORS",
    "FLAG",
    "NOT_ASSESSABLE",
    "OK",
    "SINGLE",
    "WARN",
    "Detector",
    "Evaluations",
    "Finding",
    "LateEvaluations",
    "RunLevels",
    "RunView",
    "Series",
    "SweepReference",
    "detectors_of",
    "judge",
    "judge_run",
    "late_evaluations",
    "levels_of",
    "not_found",
    "run_levels",
    "series_of",
    "sweep_reference",
    "variance_split",
    "vote",
]  # fmt: skip
