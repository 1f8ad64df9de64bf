"""Typed hyperparameters: their declaration, their limits, and their values from text. Standard library only.

A hyperparameter is a field of a frozen dataclass, declared by `key`. Its type is the field's annotation: bool, int,
float or str, one of these or None ("auto"), or a tuple of floats.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from sweepwise.core.errors import SweepsError

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_AUTO = {"auto", "none", "null"}


class ConfigError(SweepsError, ValueError):
    """A configuration that cannot be trained. The message is one line: the value, the legal values, the fix."""


def key(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    neutral: Any = dataclasses.MISSING,
    source: str = "this plan's",
) -> Any:
    """Declares a hyperparameter with `low <= value <= high` and `value > above`, for each element of a list.

    neutral: for a hyperparameter added after runs were trained without it, the value that stands for what they did.
    source: where it comes from, one of `tdmpc.config.PAPERS` or this project's plan.
    """
    limits = {"choices": choices, "low": low, "high": high, "above": above, "neutral": neutral}
    return dataclasses.field(default=default, metadata={"help": help, "source": source, **limits})


def check_limits(field: dataclasses.Field[Any], value: Any) -> None:
    """Raise `ConfigError` where `value` is outside the limits that `field` declares."""
    limits = field.metadata
    if limits["choices"] and value not in limits["choices"]:
        raise ConfigError(f"{field.name}={value!r}: legal values are {', '.join(limits['choices'])}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        inside = limits["low"] <= number <= limits["high"] and number > limits["above"] and math.isfinite(number)
        if not inside:
            raise ConfigError(f"{field.name}={value!r}: must be {limits_text(limits)}")


def limits_text(limits: Mapping[str, Any]) -> str:
    """The limits of a number in words, from the metadata of its field; "finite" where it has no others."""
    parts = []
    if limits["above"] > -math.inf:
        parts.append(f"greater than {limits['above']:g}")
    if limits["low"] > -math.inf:
        parts.append(f"at least {limits['low']:g}")
    if limits["high"] < math.inf:
        parts.append(f"at most {limits['high']:g}")
    return " and ".join(parts) or "finite"


def parse_as(declared: Any, raw: Any) -> Any:
    """`raw` (text, or a YAML or JSON value) as the declared type. Raises `TypeError` or `ValueError`.

    Text is read by the declared type, never by its looks: `1e-4` and `3e5` are numbers, `no` is False for a switch and
    an error elsewhere.
    """
    if isinstance(raw, str):
        raw = raw.strip()
    if _is_optional(declared):
        if raw is None or (isinstance(raw, str) and raw.lower() in _AUTO):
            return None
        declared = _required(declared)
    if typing.get_origin(declared) is tuple:
        return _parse_list(typing.get_args(declared)[0], raw)
    if declared is bool:
        return _parse_bool(raw)
    if declared is str:
        if not isinstance(raw, str):
            raise TypeError
        return raw
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        raise TypeError
    number = float(raw)
    if declared is float:
        return number
    if not number.is_integer():
        raise ValueError
    return int(number)


def _parse_bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError


def _parse_list(item: Any, raw: Any) -> tuple[Any, ...]:
    if isinstance(raw, str):
        inner = raw.removeprefix("[").removesuffix("]").strip()
        raw = inner.split(",") if inner else []
    if not isinstance(raw, Iterable) or isinstance(raw, Mapping):
        raise TypeError
    return tuple(parse_as(item, element) for element in raw)


def declared_text(declared: Any) -> str:
    """The declared type for an error message, such as "a whole number or auto"."""
    if _is_optional(declared):
        return f"{declared_text(_required(declared))} or auto"
    if typing.get_origin(declared) is tuple:
        return "a list of numbers such as [0.9, 0.95]"
    return {
        bool: "a switch (true or false)",
        int: "a whole number",
        float: "a number",
        str: "a word",
    }[declared]


def declared_short_text(declared: Any) -> str:
    """The declared type for a table, such as "whole number or auto"."""
    if typing.get_origin(declared) is tuple:
        return "list of numbers"
    return declared_text(declared).removeprefix("a ").removesuffix(" (true or false)")


def _is_optional(declared: Any) -> bool:
    return typing.get_origin(declared) in (typing.Union, types.UnionType)


def _required(declared: Any) -> Any:
    """`T` of `T | None`."""
    (required,) = (arg for arg in typing.get_args(declared) if arg is not type(None))
    return required
