"""What is compared: configurations along a swept factor, where all else is alike."""

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
    """One question about a factor: what does going from its first level to its last do?

    names: of its levels, two at least. position: (configurations,), 0 at the first to 1 at the last in equal steps, NaN
    where a configuration is no part of it. alike: codes (configurations,); configurations are compared within equal
    codes of each.
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
        """(configurations,) that have the level."""
        place = self.names.index(level) / (self.levels - 1)
        return np.abs(self.position - place) < 0.5 / self.levels

    def between(self, one: str, other: str) -> Axis:
        """From level `one` to level `other`, nothing between them."""
        x = np.select([self.at(one), self.at(other)], [0.0, 1.0], np.nan)
        return Axis(self.factor, (one, other), x, self.alike)

    def weights(self, there: np.ndarray) -> np.ndarray:
        """(configurations,) that give the slope over `position` within alike configurations, of those `there`;
        all zero where these never differ in this factor alone."""
        out = np.zeros(there.size)
        used = there & np.isfinite(self.position)
        if not used.any():
            return out
        dummies = np.hstack([codes[used, None] == np.unique(codes[used]) for codes in self.alike]).astype(float)
        x = self.position[used]
        rest = x - dummies @ np.linalg.lstsq(dummies, x, rcond=None)[0]
        rest[np.abs(rest) < 1e-9] = 0.0
        out[used] = rest / (rest @ rest) if rest.any() else 0.0
        return out


def axes(sweep: SweepSource) -> tuple[list[Axis], list[Axis]]:
    """(of every factor, of every pair of factors). Factors that always change together count as one."""
    factors = _factors(sweep)
    coded = {name: codes(values) for name, values in factors.items()}
    baseline = next((i for i, config in enumerate(sweep.configs) if config.is_baseline), 0)
    main, pairs = [], []
    positions: dict[str, list[Axis]] = {}
    for name, values in factors.items():
        others = codes(list(zip(*(c for other, c in coded.items() if other != name), strict=True)) or [()])
        alike = np.broadcast_to(others, len(sweep.configs))
        positions[name] = [Axis(name, names, x, (alike,)) for names, x in places(values, values[baseline])]
        main += positions[name]
    for one, two in itertools.combinations(factors, 2):
        for a, b in itertools.product(positions[one], positions[two]):
            name = f"{one}{TIMES}{two}"
            names = tuple(f"{i}, {j}" for i, j in itertools.product(a.names, b.names))
            pairs.append(Axis(name, names, a.position * b.position, a.alike + b.alike))
    return main, pairs


def _factors(sweep: SweepSource) -> dict[str, list[Any]]:
    """Name -> value in every configuration (None: changes nothing there); those that change together are one."""
    merged: dict[tuple[int, ...], list[str]] = {}
    for key in sweep.factors:
        coded = codes([config.factors.get(key) for config in sweep.configs])
        merged.setdefault(tuple(coded.tolist()), []).append(key)
    return {
        " and ".join(keys): [config.factors.get(keys[0]) for config in sweep.configs]
        for coded, keys in merged.items()
        if len(set(coded)) > 1
    }


def codes(values: Sequence[Any]) -> np.ndarray:
    """A number for each value, equal where they are."""
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values])


def places(
    values: Sequence[Any], baseline: Any, only: Sequence[Any] = ()
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """(names of levels, position): numbers have an order and one axis, other values one axis each that leads
    from the baseline's (the first, where the baseline has none). only: the two values that are compared."""
    levels = list(dict.fromkeys(value for value in values if value is not None))
    if only:
        paths = [list(only)] if set(only) <= set(levels) else []
    elif all(isinstance(level, (int, float)) and not isinstance(level, bool) for level in levels):
        paths = [sorted(levels)] if len(levels) > 1 else []
    else:
        start = baseline if baseline is not None else levels[0]
        paths = [[start, level] for level in levels if level != start]
    for path in paths:
        place = {level: i / (len(path) - 1) for i, level in enumerate(path)}
        x = np.array([place.get(value, np.nan) for value in values])
        yield tuple(map(format_value, path)), x
