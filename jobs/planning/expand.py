"""Sweeps to configurations: layers of values, levels combined, duplicates merged, labels made."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.planning.plan import Plan, Sweep
from jobs.results.records import RequestedOverrides
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import format_value
from tdmpc.config import ConfigError, TrainConfig, config_id, inactive_keys, parse_value


@dataclass(frozen=True)
class Configuration:
    """One configuration of a sweep.

    label: only what varies ("num_q=2, reduce=mean"). factors: swept key -> value, None where the key changes
    nothing in this configuration. is_baseline: the base with what the sweep holds fixed, nothing varied.
    """

    config_id: str
    config: TrainConfig
    label: str
    factors: Mapping[str, Any]
    is_baseline: bool


@dataclass(frozen=True)
class ExpandedSweep:
    """A sweep with its configurations, each once, in the plan's order. asked: for them, beside the plan."""

    sweep: Sweep
    configurations: tuple[Configuration, ...]
    seeds: tuple[int, ...]
    asked: RequestedOverrides = field(default_factory=RequestedOverrides)

    @property
    def runs(self) -> int:
        return len(self.configurations) * len(self.seeds)


def expand(
    plan: Plan,
    sweep: Sweep,
    preset: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    seeds: tuple[int, ...] | None = None,
) -> ExpandedSweep:
    """All configurations of `sweep`: base < preset < adopted < fixed < levels < overrides, the later the stronger.

    overrides: from the command line, key -> value or text. Raises `JobsError` for one of a swept key, for a
    configuration that is not legal, and for a swept key that changes nothing.
    """
    asked = {key: parse_value(key, value) for key, value in (overrides or {}).items()}
    for key in asked:
        if key in sweep.factors:
            raise JobsError(f"{key} is what sweep {sweep.name!r} varies: it cannot be set for all of it; leave it out")
    below = {**plan.base, **(preset or {}), **plan.adopted.get(sweep.name, {}), **sweep.fixed}
    try:
        baseline = config_id(TrainConfig().with_overrides({**below, **asked}))
    except ConfigError:
        baseline = ""  # the base alone need not be legal; its levels must be
    found: dict[str, Configuration] = {}
    for levels in combinations(sweep):
        config = _train_config(sweep, {**below, **levels, **asked}, levels, asked)
        inactive = inactive_keys(config)
        active = {key: value for key, value in levels.items() if key not in inactive}
        factors = {key: active.get(key) for key in levels}
        identity = config_id(config)
        found.setdefault(
            identity, Configuration(identity, config, label(active, plan.names), factors, identity == baseline)
        )
    configurations = tuple(found.values())
    for key in sweep.factors:
        if all(key in inactive_keys(c.config) for c in configurations):
            raise JobsError(f"{sweep.where}: sweep {sweep.name!r}: {key} changes nothing in any of its configurations")
    return ExpandedSweep(sweep, configurations, seeds or sweep.seeds)


def combinations(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Key -> level of every combination: the grid's product, times the zipped rows."""
    rows = list(zip(*sweep.zipped.values(), strict=True)) if sweep.zipped else [()]
    for chosen in itertools.product(*sweep.grid.values()):
        for row in rows:
            yield {**dict(zip(sweep.grid, chosen, strict=True)), **dict(zip(sweep.zipped, row, strict=True))}


def _train_config(
    sweep: Sweep, values: Mapping[str, Any], levels: Mapping[str, Any], asked: Mapping[str, Any]
) -> TrainConfig:
    try:
        return TrainConfig().with_overrides(values)
    except ConfigError as error:
        if str(error).partition("=")[0] in asked:
            raise JobsError(str(error)) from error
        raise JobsError(f"sweep {sweep.name!r} ({label(levels, {})}): {error}") from error


def label(factors: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """`num_q=2, reduce=mean`."""
    return ", ".join(f"{names.get(key, key)}={format_value(value)}" for key, value in factors.items()) or "base"
