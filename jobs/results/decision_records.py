"""The records of what users decide and note: values that later sweeps adopt, with the evidence; excluded runs, notes
and tags. See `jobs.results.records`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class AdoptedValue:
    """A hyperparameter that a decision settles. old: its value in the base before, which may be the same."""

    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Measured:
    """Final return with planning of a configuration: mean and 95 % confidence interval over `seeds` finished seeds."""

    config_id: str
    label: str
    mean: float | None
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class Evidence:
    """Results of the sweep at the decision. leader: best configuration. ties: not significantly different from it.
    tasks: 0, or over how many tasks the results are mean normalised scores."""

    chosen: Measured
    baseline: Measured | None
    leader: Measured
    ties: list[Measured]
    tasks: int = 0


@dataclass(frozen=True)
class Decision:
    """The values that later sweeps adopt from `sweep`. how: config, verdict, set or keep.

    base: key -> value from earlier decisions at that time, without the keys that its sweep holds or varies. date: in
    UTC. evidence: None for a decision by hand. undone: date when it was undone, "" if it is in force.
    """

    plan: str
    sweep: str
    how: str
    config_id: str
    settled: list[AdoptedValue]
    base: dict[str, Any]
    evidence: Evidence | None
    why: str
    date: str
    user: str
    undone: str = ""


@dataclass(frozen=True)
class Decisions:
    """decisions.json: all decisions, the oldest first."""

    decisions: list[Decision]


@dataclass(frozen=True)
class Note:
    """date: in UTC."""

    text: str
    date: str
    user: str


@dataclass(frozen=True)
class Exclusion:
    """A run is left out of the analysis. state: of the run at that time. date: in UTC. undone: date, "" if in force."""

    reason: str
    state: str
    date: str
    user: str
    undone: str = ""


@dataclass(frozen=True)
class Annotations:
    """annotations/<sweep>.json or annotations/<config_id>/seed-<n>.json: what users noted on a sweep or a run.

    exclusions: of a run, the oldest first; at most the last is in force.
    """

    notes: list[Note] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)

    @property
    def exclusion(self) -> Exclusion | None:
        """The one in force."""
        return next((one for one in self.exclusions if not one.undone), None)
