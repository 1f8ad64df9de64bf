"""What was logged -> numbers, steps and names of metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

Value = float | tuple[float, ...]

# Index columns of the metric shards, and those that reading them adds; no metric can have such a name.
RESERVED = frozenset(
    ("kind", "step", "frames", "update", "time", "event", "attempt", "nonfinite", "config_id", "seed")
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@")
_LARGEST = 2**63  # steps are stored as int64
_WORDS = {"true": 1.0, "false": 0.0}


class Row(NamedTuple):
    """What a file says of one step. time: unix seconds, None where the file does not say."""

    step: int
    metrics: dict[str, Value]
    time: float | None = None


def metric_name(name: str) -> str:
    """The name under which a metric is stored: no column of the shards, nothing that a terminal obeys, and nothing that
    a spreadsheet takes for a formula."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return f"logged/{name}" if name in RESERVED or name.startswith(_FORMULA) else name


def parse_step(value: object) -> int | None:
    """A step that was written as a number or as text; None where it is no whole finite number from 0 on."""
    if isinstance(value, str):
        value = _whole(value)
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) and value == int(value) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST:
        return value
    return None


def _whole(text: str) -> int | float | None:
    """Digits exactly, other numbers as a float."""
    stripped = text.strip()
    return int(stripped) if stripped.isdecimal() and len(stripped) < 20 else parse_number(stripped)


def parse_number(text: str) -> float | None:
    """The number in a cell or in a group of a pattern; None where it is none."""
    try:
        return float(text)
    except ValueError:
        return _WORDS.get(text.strip().lower())


def flatten(item: Mapping[str, Any], into: dict[str, Value], prefix: str = "") -> None:
    """Adds the numbers of a JSON object to `into`: names of nested objects are joined with "/", true and false are 1
    and 0, a list of numbers is a tuple. Text, null and other lists are left out."""
    for name, value in item.items():
        kind = type(value)
        if kind is float:
            into[prefix + name] = value
        elif kind is dict:
            flatten(value, into, f"{prefix}{name}/")
        elif (number := as_value(value)) is not None:
            into[prefix + name] = number


def as_value(value: object) -> Value | None:
    """A value of JSON as a number or a tuple of numbers; None for any other, and for an empty list."""
    if isinstance(value, int | float):
        return as_float(value)
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        return tuple(as_float(one) for one in value)
    return None


def as_float(value: int | float) -> float:
    """Whole numbers beyond all floats are infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def lookup(item: Mapping[str, Any], name: str) -> object:
    """The value under a name that may be joined with "/", None where there is none."""
    if name in item:
        return item[name]
    first, _, rest = name.partition("/")
    inner = item.get(first)
    return lookup(inner, rest) if rest and isinstance(inner, dict) else None
