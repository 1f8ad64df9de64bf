"""Typed hyperparameters: their declaration, their limits, and their values from text. Standard library only.

A `Hyperparameter` is data. The packaged agent declares its own as fields of a frozen dataclass with `key`, where the
type is the field's annotation: bool, int, float or str, one of these or None ("auto"), or a tuple of floats.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sweepwise.core import yaml_scalars
from sweepwise.core.errors import SweepsError

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_AUTO = {"auto", "none", "null"}


_NAME = re.compile(r"[+~]*[A-Za-z_][\w./@+-]*")


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
    shapes: bool = False,
    source: str = "this plan's",
) -> Any:
    """Declares a hyperparameter with `low <= value <= high` and `value > above`, for each element of a list.

    neutral: for a hyperparameter added after runs were trained without it, the value that stands for what they did.
    shapes: as of `Hyperparameter`. source: where it comes from: a paper that the agent names, or this project's plan.
    """
    limits = {"choices": choices, "low": low, "high": high, "above": above, "neutral": neutral, "shapes": shapes}
    return dataclasses.field(default=default, metadata={"help": help, "source": source, **limits})


# any: of programs, which declare no types: a YAML value of the kind of the default, or null.
TYPES: dict[str, Any] = {
    "bool": bool, "int": int, "float": float, "str": str, "floats": tuple[float, ...], "any": Any,
}  # fmt: skip


@dataclass(frozen=True)
class Hyperparameter:
    """default: its value where a plan gives none. type: one of `TYPES`; "" for that of the default. optional: whether
    it may be None ("auto"). choices: legal words. low, high, above: limits of a number, None for none. identity:
    whether it is part of the configuration ID; False for what does not change the result. shapes: whether it changes
    the shapes of networks, so that runs with one seed do not begin alike.

    Raises `ConfigError` where the default does not fit.
    """

    name: str
    default: Any
    help: str = ""
    type: str = ""
    optional: bool = False
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None
    identity: bool = True
    shapes: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"hyperparameter {self.name!r}: use letters, digits, _ . / - @ and +, such as optimizer.learning_rate"
            )
        if not self.type:
            kind = "floats" if isinstance(self.default, (list, tuple)) else type(self.default).__name__
            object.__setattr__(self, "type", kind)
        if self.type not in TYPES:
            raise ConfigError(f"hyperparameter {self.name}: type {self.type!r}: legal types are {', '.join(TYPES)}")
        object.__setattr__(self, "default", self.parse(self.default))

    @property
    def declared(self) -> Any:
        """The type as an annotation."""
        return Any if self.type == "any" else TYPES[self.type] | None if self.optional else TYPES[self.type]

    @property
    def short_type(self) -> str:
        """The type for a table, such as "whole number or auto"."""
        if self.type == "any":
            return yaml_scalars.kind_text(self.default).removeprefix("a ").partition(" (")[0].partition(" such")[0]
        return declared_short_text(self.declared)

    def parse(self, raw: Any) -> Any:
        """`raw` (text, or a YAML or JSON value) as a legal value. Raises `ConfigError`."""
        try:
            value = yaml_scalars.like(self.default, raw) if self.type == "any" else parse_as(self.declared, raw)
        except (TypeError, ValueError, OverflowError):
            expected = yaml_scalars.kind_text(self.default) if self.type == "any" else declared_text(self.declared)
            raise ConfigError(f"{self.name}={raw!r}: not {expected}") from None
        if value is not None:
            check_limits(self.name, self.limits, value)
        return value

    @property
    def limits(self) -> dict[str, Any]:
        """As the metadata of `key`."""
        low, above = (-math.inf if limit is None else limit for limit in (self.low, self.above))
        return {
            "choices": self.choices,
            "low": low,
            "high": math.inf if self.high is None else self.high,
            "above": above,
        }

    def to_json(self) -> dict[str, Any]:
        lists = {name: list(value) for name, value in vars(self).items() if isinstance(value, tuple)}
        return {**vars(self), **lists}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Hyperparameter:
        """Fields of later versions are ignored."""
        known = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        default = yaml_scalars.frozen(known.get("default"))
        return cls(**{**known, "default": default, "choices": tuple(known.get("choices", ()))})

    @classmethod
    def from_field(cls, field: dataclasses.Field[Any], declared: Any) -> Hyperparameter:
        """The hyperparameter that a field made by `key` declares. declared: its annotation, resolved."""
        optional = _is_optional(declared)
        kind = _required(declared) if optional else declared
        (name,) = (name for name, known in TYPES.items() if known == kind)
        limits = {
            side: field.metadata[side] for side in ("low", "high", "above") if math.isfinite(field.metadata[side])
        }
        help, choices = field.metadata["help"], field.metadata["choices"]
        return cls(field.name, field.default, help, name, optional, choices, shapes=field.metadata["shapes"], **limits)


def check_limits(name: str, limits: Mapping[str, Any], value: Any) -> None:
    """Raise `ConfigError` where `value` of the hyperparameter `name` is outside `limits` (see `key`)."""
    if limits["choices"] and value not in limits["choices"]:
        raise ConfigError(f"{name}={value!r}: legal values are {', '.join(limits['choices'])}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        inside = limits["low"] <= number <= limits["high"] and number > limits["above"] and math.isfinite(number)
        if not inside:
            raise ConfigError(f"{name}={value!r}: must be {limits_text(limits)}")


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
        Any: "a value",
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
