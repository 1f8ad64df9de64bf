"""The best configuration of a sweep, and what may be claimed of the others. Headline, tables, `adopt`, `more`, `next`
and `compare` all decide by this module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.analysis.configuration_comparison import ALIKE, APART, OPEN, TRADE_OFF
from aggregate.analysis.summary import SweepSummary
from aggregate.statistics import estimates
from aggregate.statistics.selected_mean import selected_interval
from sweepwise.core.errors import AggregateError


@dataclass(frozen=True)
class Final:
    """The final result of a configuration: mean and 95 % interval over `seeds` finished ones."""

    config_id: str
    label: str
    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Rival:
    """A configuration beside the leader.

    relation: see `configuration_comparison`. starts, unstable: its seeds that finished or diverged, and of these the
    ones that diverged or collapsed. could_gain: by how much it may be better than the leader, the upper end of the 95 %
    interval; infinite with too few seeds.
    """

    config_id: str
    label: str
    relation: str
    starts: int
    unstable: int
    could_gain: float


@dataclass(frozen=True)
class Leaderboard:
    """finals: by config_id. leader: the configuration of the best expected result of one start. clear: whether it may
    be adopted, see `_is_clear`. rivals: all others with a started run, best first. baseline: config_id, "" for none."""

    finals: Mapping[str, Final]
    leader: Final
    clear: bool
    rivals: tuple[Rival, ...]
    baseline: str

    @property
    def ties(self) -> tuple[Final, ...]:
        """The configurations that are not significantly different from the leader, or a trade-off."""
        return tuple(self.finals[rival.config_id] for rival in self.rivals if rival.relation in (OPEN, TRADE_OFF))


def leaderboard(sweep: SweepSummary) -> Leaderboard:
    """The final results of all configurations, best first. Raises `AggregateError` where no run has finished."""
    finals = {
        line["config_id"]: Final(
            line["config_id"], line["label"], float(line["final_primary_mean"]), float(line["final_primary_low"]),
            float(line["final_primary_high"]), int(line["final_primary_n"]),
        )
        for line in sweep.ranking.to_dict("records")
    }  # fmt: skip
    if sweep.contrasts.empty or not any(final.seeds for final in finals.values()):
        raise AggregateError(f"{sweep.source.name}: no run has finished; see `sweeps status {sweep.source.name}`")
    leader, others = str(sweep.contrasts["config_id"].iloc[0]), rivals(sweep)
    baseline = sweep.source.baseline
    return Leaderboard(finals, finals[leader], _is_clear(sweep, others), others, baseline)


def clear_leader(sweep: SweepSummary) -> str:
    """The configuration that may be adopted, "" for none."""
    return str(sweep.contrasts["config_id"].iloc[0]) if _is_clear(sweep, rivals(sweep)) else ""


def rivals(sweep: SweepSummary) -> tuple[Rival, ...]:
    """The configurations beside the leader that have a started run."""
    labels, sign = {config.config_id: config.name for config in sweep.source.configs}, sweep.source.agent.catalogue.sign
    return tuple(
        Rival(
            line["config_id"], labels[line["config_id"]], line["relation"], int(line["starts"]), int(line["unstable"]),
            float(np.nan_to_num(max(-sign * line["low"], -sign * line["high"]), nan=np.inf)),
        )
        for line in sweep.contrasts.iloc[1:].to_dict("records")
    )  # fmt: skip


def _is_clear(sweep: SweepSummary, others: Sequence[Rival]) -> bool:
    """Whether nothing speaks against the leader: every other configuration is worse, less stable, alike, or not better
    by more than the margin, and none of its planned seeds lacks an outcome."""
    margin = np.nan_to_num(sweep.margin.value)
    settled = [
        rival.relation in (*APART, ALIKE) or (rival.relation == OPEN and rival.could_gain <= margin) for rival in others
    ]
    if not settled or not all(settled):
        return False
    leader = sweep.contrasts.iloc[0]
    (own,) = sweep.ranking[sweep.ranking["config_id"] == leader["config_id"]].to_dict("records")
    return bool(len(others) == len(sweep.ranking) - 1 and leader["starts"] == own["planned"])


@dataclass(frozen=True)
class Recommended:
    """One hyperparameter of the configuration that several sweeps recommend together.

    value: recommended; that of the baseline where no sweep decides. decided: the sweeps whose best configuration may
    be adopted, with the value it has. unused: those of them whose values are not used, with the hyperparameter on which
    they differ from another sweep. undecided: the sweeps that vary it without a result.
    """

    key: str
    value: Any
    baseline: Any
    decided: Mapping[str, Any]
    unused: Mapping[str, str]
    undecided: tuple[str, ...]

    @property
    def conflicts(self) -> bool:
        """Whether sweeps recommend different values; `value` is then that of the baseline."""
        return len(set(self.decided.values())) > 1


def recommended(sweeps: Sequence[SweepSummary]) -> tuple[Recommended, ...]:
    """Every varied hyperparameter in the order of the sweeps, from those that have a baseline and share agent and task.
    Empty for fewer than two such sweeps.

    A sweep's best configuration is used as a whole or not at all: of a sweep that differs from another one on one
    value, no value is used, as the rest of them was found best together with that one.
    """
    own = [s for s in sweeps if s.source.baseline and not s.source.confirms]
    shared = {(s.source.agent.name, *sorted({c.task_of(s.source.agent) for c in s.source.configs})) for s in own}
    if len(own) < 2 or len(shared) > 1:
        return ()
    baselines: dict[str, Any] = {}
    decided: dict[str, dict[str, Any]] = {}
    undecided: dict[str, list[str]] = {}
    for sweep in own:
        best = clear_leader(sweep) if not sweep.contrasts.empty else ""
        baseline = sweep.config(sweep.source.baseline).factors
        for key in sweep.source.factors:
            baselines.setdefault(key, baseline.get(key))
            if best:
                decided.setdefault(key, {})[sweep.source.name] = sweep.config(best).factors.get(key, baseline.get(key))
            else:
                undecided.setdefault(key, []).append(sweep.source.name)
    differing: dict[str, str] = {}
    for key, values in decided.items():
        if len(set(values.values())) > 1:
            differing = dict.fromkeys(values, key) | differing
    lines = []
    for key, base in baselines.items():
        values = decided.get(key, {})
        used = [value for name, value in values.items() if name not in differing]
        unused = {name: differing[name] for name in values if name in differing}
        value = used[0] if used else base
        lines.append(Recommended(key, value, base, values, unused, tuple(undecided.get(key, ()))))
    return tuple(lines)


def worth_seeds(rival: Rival, margin: float) -> bool:
    """Whether more seeds could show that a rival is better by more than `margin` (NaN where unknown): nothing is
    claimed of it yet, less than half of its seeds are unstable, and its interval reaches that far."""
    stable = 2 * rival.unstable < max(rival.starts, 1)
    return rival.relation == OPEN and stable and rival.could_gain > np.nan_to_num(margin)


def leading_interval(sweep: SweepSummary) -> tuple[float, float]:
    """95 % interval of the leader's mean that allows for its selection (`selected_interval`); the plain one
    of a confirmation, which selects nothing."""
    samples = estimates.samples_of(sweep.scores, "config_id", "final_primary")
    leader = str(sweep.contrasts["config_id"].iloc[0])
    if leader not in samples:
        return np.nan, np.nan
    others = [sample for name, sample in samples.items() if name != leader and not sweep.source.confirms]
    return selected_interval(samples[leader], others, sweep.source.agent.catalogue.sign)
