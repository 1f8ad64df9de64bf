"""The best configuration of a sweep, and those that do not differ from it significantly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aggregate.analysis.summary import SweepSummary
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
class Leaderboard:
    """finals: by config_id. leader: the configuration of the best mean; clear: see `clear_leader`. ties: those that
    are not significantly worse. baseline: config_id, "" for none."""

    finals: Mapping[str, Final]
    leader: Final
    clear: bool
    ties: tuple[Final, ...]
    baseline: str


def clear_leader(sweep: SweepSummary) -> str:
    """The configuration that is significantly better than every other and whose planned seeds all finished, "" for
    none."""
    others = sweep.contrasts.iloc[1:]
    if others.empty or not others["distinct"].astype(bool).all():
        return ""
    leader = str(sweep.contrasts["config_id"].iloc[0])
    (own,) = sweep.ranking[sweep.ranking["config_id"] == leader].to_dict("records")
    return leader if own["final_primary_n"] == own["planned"] else ""


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
    leader, *_ = sweep.contrasts["config_id"]
    others = sweep.contrasts.iloc[1:]
    tied = others.loc[~others["distinct"].astype(bool), "config_id"]
    baseline = next((config.config_id for config in sweep.source.configs if config.is_baseline), "")
    clear = clear_leader(sweep) == leader
    return Leaderboard(finals, finals[leader], clear, tuple(finals[config] for config in tied), baseline)
