"""Expand sweeps to configurations: layer values, combine levels, merge duplicates, make labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.planning.plan import Plan, Sweep
from jobs.results.records import RequestedOverrides
from sweepwise.core.errors import JobsError
from sweepwise.core.hyperparameters import ConfigError
from sweepwise.core.schema import ResolvedConfig, Schema
from sweepwise.core.value_format import format_value

MAX_COMBINATIONS = 20_000  # of a sweep; about 5 s to expand
MAX_RUNS = 200_000  # of a sweep: each is a folder with files


@dataclass(frozen=True)
class Configuration:
    """One configuration of a sweep.

    label: the varied hyperparameters ("num_q=2, reduce=mean"). factors: swept key -> value, None if the key has no
    effect in this configuration. is_baseline: equal to the base with the sweep's fixed values.
    """

    config_id: str
    config: ResolvedConfig
    label: str
    factors: Mapping[str, Any]
    is_baseline: bool


@dataclass(frozen=True)
class ExpandedSweep:
    """A sweep with its distinct configurations, in the plan's order. asked: overrides from the command line."""

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
    """All configurations of `sweep`. Precedence: base < preset < adopted < fixed < levels < overrides.

    overrides: from the command line, key -> value or text. Raises `JobsError` for an override of a swept key, for an
    illegal configuration, and for a swept key that has no effect in any configuration.
    """
    _check_size(sweep, seeds or sweep.seeds)
    parsed_overrides = {key: plan.schema.parse_value(key, value) for key, value in (overrides or {}).items()}
    for key in parsed_overrides:
        if key in sweep.factors or (sweep.tasks_of and key == plan.schema.description.task):
            raise JobsError(
                f"sweep {sweep.decided_as!r} varies {key}, so it cannot be set for the whole sweep; leave it out"
            )
    base_values = {**plan.base, **(preset or {}), **plan.adopted.get(sweep.name, {}), **sweep.fixed}
    try:
        baseline = plan.schema.resolve({**base_values, **parsed_overrides}).config_id
    except ConfigError:
        baseline = ""  # the base alone may be illegal; the configurations must be legal
    by_id: dict[str, Configuration] = {}
    for levels in combinations(sweep):
        values = {**base_values, **levels, **parsed_overrides}
        config = _resolved(plan.schema, sweep, values, levels, parsed_overrides)
        active = {key: value for key, value in levels.items() if key not in config.inactive}
        factors = {key: active.get(key) for key in levels}
        identity = config.config_id
        by_id.setdefault(
            identity, Configuration(identity, config, label(active, plan.names), factors, identity == baseline)
        )
    configurations = tuple(by_id.values())
    for key in sweep.factors:
        if all(key in c.config.inactive for c in configurations):
            raise JobsError(f"{sweep.where}: sweep {sweep.name!r}: {key} changes nothing in any of its configurations")
    return ExpandedSweep(sweep, configurations, seeds or sweep.seeds)


def _check_size(sweep: Sweep, seeds: Sequence[int]) -> None:
    """Raises `JobsError` for more combinations or runs than one sweep may have."""
    zipped = len(next(iter(sweep.zipped.values()))) if sweep.zipped else 1
    count = math.prod(map(len, sweep.grid.values())) * zipped
    if count <= MAX_COMBINATIONS and count * len(seeds) <= MAX_RUNS:
        return
    parts = [f"{key} {len(levels)}" for key, levels in sweep.grid.items()] + ([f"zip {zipped}"] if zipped > 1 else [])
    factors = " x ".join(parts)
    raise JobsError(
        f"{sweep.where}: sweep {sweep.name!r}: {count:,} combinations ({factors}) with {len(seeds)} seeds; at most "
        f"{MAX_COMBINATIONS:,} combinations and {MAX_RUNS:,} runs are possible: give fewer levels, or use `zip:`"
    )


def combinations(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Key -> level for every combination: the product of the grid and the zipped rows."""
    zip_rows = list(zip(*sweep.zipped.values(), strict=True)) if sweep.zipped else [()]
    for grid_levels in itertools.product(*sweep.grid.values()):
        for zip_levels in zip_rows:
            yield {
                **dict(zip(sweep.grid, grid_levels, strict=True)),
                **dict(zip(sweep.zipped, zip_levels, strict=True)),
            }


def _resolved(
    schema: Schema,
    sweep: Sweep,
    values: Mapping[str, Any],
    levels: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> ResolvedConfig:
    try:
        return schema.resolve(values)
    except ConfigError as error:
        if str(error).partition("=")[0] in overrides:
            raise JobsError(str(error)) from error
        raise JobsError(f"sweep {sweep.name!r} ({label(levels, {})}): {error}") from error


def label(factors: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The varied values as text: `num_q=2, reduce=mean`; "base" if nothing varies."""
    return ", ".join(f"{names.get(key, key)}={format_value(value)}" for key, value in factors.items()) or "base"
