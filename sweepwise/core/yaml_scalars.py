"""Values of programs that declare no types: scalars as YAML 1.2 reads them. Standard library only.

PyYAML follows YAML 1.1, where `3e-4` is text, `no` is False and `12:30` is 750.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_WHOLE = re.compile(r"[-+]?[0-9]{1,300}")  # what a float holds too; longer ones stay text
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_SPECIAL = re.compile(r"([-+]?)\.(inf|nan)", re.I)


class PlainText(str):
    """Text without quotes, of a YAML file or a command line: a number, a switch or null if it looks like one."""


def scalar(text: str) -> Any:
    """The value of an unquoted scalar by YAML 1.2's core schema: int, float, bool, None or str."""
    word = text.strip()
    if word.lower() in _WORDS and word in (word.lower(), word.title(), word.upper()):
        return _WORDS[word.lower()]
    if _WHOLE.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word):
        return float(word)
    if special := _SPECIAL.fullmatch(word):
        return float(special[1] + special[2])
    return text


def value(raw: Any) -> Any:
    """`raw` with its unquoted texts as their values; lists are tuples."""
    if isinstance(raw, (list, tuple)):
        return tuple(map(value, raw))
    return scalar(raw) if isinstance(raw, PlainText) else raw


def frozen(raw: Any) -> Any:
    """`raw` with lists as tuples."""
    return tuple(map(frozen, raw)) if isinstance(raw, (list, tuple)) else raw


def like(default: Any, raw: Any) -> Any:
    """`raw` as a value of the kind of `default`; null fits every kind, and everything fits null.

    A whole number for a fraction and the reverse: equal numbers are the same value. Raises `TypeError`.
    """
    parsed = value(raw)
    if isinstance(parsed, Mapping):
        raise TypeError
    if parsed is None or default is None:
        return parsed
    if isinstance(default, str):
        if isinstance(raw, str):
            return str(raw)  # a name that looks like a number
        raise TypeError
    if _kind(parsed) != _kind(default):
        raise TypeError
    if isinstance(default, float) and not isinstance(parsed, (tuple, bool)):
        return float(parsed)
    return int(parsed) if type(default) is int and isinstance(parsed, float) and parsed.is_integer() else parsed


def _kind(known: Any) -> str:
    if isinstance(known, bool):
        return "switch"
    if isinstance(known, (int, float)):
        return "number"
    return "list" if isinstance(known, tuple) else "text"


def kind_text(default: Any) -> str:
    """The kind of `default` for an error message."""
    return {
        "switch": "a switch (true or false)",
        "number": "a number",
        "list": "a list such as [1, 2]",
        "text": "a text",
    }[_kind(default)] if default is not None else "a value or a list of values"  # fmt: skip
