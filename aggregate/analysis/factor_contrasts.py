"""Contrasts along swept factors: which configurations are compared, and with which weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.inputs.runs import SweepSource
from sweepwise.core.value_format import format_value

TIMES = " × "  # between the factors of an interaction


@dataclass(frozen=True)
class Axis:
    """The contrast from the first level of a factor to its last.

    names: of its levels, at least two. position: (configurations,), from 0 at the first level to 1 at the last in equal
    steps, NaN for configurations that take no part. alike: codes, each (configurations,); configurations are compared
    only within equal codes.
    """

    factor: str
    names: tuple[str, ...]
    position: np.ndarray
    alike: tuple[np.ndarray, ...]

    @property
    def low(self) -> str:
        return self.names[0]

    @property
    def high(self) -> str:
        return self.names[-1]

    @property
    def levels(self) -> int:
        return len(self.names)

    def at(self, level: str) -> np.ndarray:
        """(configurations,), True where a configuration has the level."""
        place = self.names.index(level) / (self.levels - 1)
        return np.abs(self.position - place) < 0.5 / self.levels

    def span(self, used: np.ndarray) -> tuple[str, str, float]:
        """(first level, last level, share of the axis between them) of the levels that `used` configurations
        (configurations,) have; the whole axis for an interaction or where none is used."""
        used_levels = [name for name in self.names if (used & self.at(name)).any()] if TIMES not in self.factor else []
        if len(used_levels) < 2:
            return self.low, self.high, 1.0
        places = [self.names.index(name) for name in (used_levels[0], used_levels[-1])]
        return used_levels[0], used_levels[-1], (places[1] - places[0]) / (self.levels - 1)

    def between(self, one: str, other: str) -> Axis:
        """The contrast from level `one` to level `other` alone."""
        x = np.select([self.at(one), self.at(other)], [0.0, 1.0], np.nan)
        return Axis(self.factor, (one, other), x, self.alike)

    def weights(self, available: np.ndarray) -> np.ndarray:
        """Weights (configurations,) of the least-squares slope over `position` within alike configurations, of those
        `there`; all zero where no two of these differ in this factor alone."""
        out = np.zeros(available.size)
        used = available & np.isfinite(self.position)
        if not used.any():
            return out
        dummies = np.hstack([codes[used, None] == np.unique(codes[used]) for codes in self.alike]).astype(float)
        x = self.position[used]
        rest = x - dummies @ np.linalg.lstsq(dummies, x, rcond=None)[0]
        rest[np.abs(rest) < 1e-9] = 0.0
        out[used] = rest / (rest @ rest) if rest.any() else 0.0
        return out


def axes(sweep: SweepSource) -> tuple[list[Axis], list[Axis]]:
    """(main effects, two-way interactions). Factors that always change together count as one."""
    factors = _factors(sweep)
    coded = {name: group_codes(values) for name, values in factors.items()}
    baseline = next((i for i, config in enumerate(sweep.configs) if config.is_baseline), 0)
    main, pairs = [], []
    positions: dict[str, list[Axis]] = {}
    for name, values in factors.items():
        others = group_codes(list(zip(*(c for other, c in coded.items() if other != name), strict=True)) or [()])
        alike = np.broadcast_to(others, len(sweep.configs))
        positions[name] = [Axis(name, names, x, (alike,)) for names, x in level_positions(values, values[baseline])]
        main += positions[name]
    for one, two in itertools.combinations(factors, 2):
        for a, b in itertools.product(positions[one], positions[two]):
            name = f"{one}{TIMES}{two}"
            names = tuple(f"{i}, {j}" for i, j in itertools.product(a.names, b.names))
            pairs.append(Axis(name, names, a.position * b.position, a.alike + b.alike))
    return main, pairs


def _factors(sweep: SweepSource) -> dict[str, list[Any]]:
    """Name -> value in every configuration, None where it is not varied; factors that change together are merged."""
    merged: dict[tuple[int, ...], list[str]] = {}
    for key in sweep.factors:
        coded = group_codes([config.factors.get(key) for config in sweep.configs])
        merged.setdefault(tuple(coded.tolist()), []).append(key)
    return {
        " and ".join(keys): [config.factors.get(keys[0]) for config in sweep.configs]
        for coded, keys in merged.items()
        if len(set(coded)) > 1
    }


def group_codes(values: Sequence[Any]) -> np.ndarray:
    """Integer codes (n,), equal for equal values."""
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values])


def level_positions(
    values: Sequence[Any], baseline: Any, only: Sequence[Any] = ()
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """(names of levels, position) of each contrast. Numeric levels are ordered and make one contrast; other levels make
    one each, against the baseline's level (the first, if the baseline has none). only: the two levels to compare."""
    levels = list(dict.fromkeys(value for value in values if value is not None))
    if only:
        paths = [list(only)] if set(only) <= set(levels) else []
    elif all(isinstance(level, (int, float)) and not isinstance(level, bool) for level in levels):
        paths = [sorted(levels)] if len(levels) > 1 else []
    else:
        start = baseline if baseline is not None else levels[0]
        paths = [[start, level] for level in levels if level != start]
    for path in paths:
        at = {level: i / (len(path) - 1) for i, level in enumerate(path)}
        x = np.array([at.get(value, np.nan) for value in values])
        yield tuple(map(format_value, path)), x
