"""What the programs of this folder have in common: the keys that they declare and how they print what they read.

The variable OVERRIDE_KEYS holds, as JSON, the declared type of each key, and OVERRIDE_VARIANT names another way to
declare the same keys.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, Optional

# pyrallis takes no `float | None`.
TYPES: dict[str, Any] = {
    "float": float, "int": int, "str": str, "on": bool, "off": bool, "null": Optional[float], "group": str,  # noqa: UP045
    "optional": Optional[str], "any": Any, "any_text": Any, "floats": list[float], "ints": list[int],  # noqa: UP045
    "texts": list[str], "switches": list[bool], "lists": list[list[int]], "mapping": dict[str, int],
}  # fmt: skip
# None of them is a value that is sent.
DEFAULTS: dict[str, Any] = {
    "float": 7.5, "int": 7, "str": "default", "on": True, "off": False, "null": 7.5, "group": "large",
    "optional": "default", "any": "default", "any_text": "default", "floats": [7.5], "ints": [7], "texts": ["default"],
    "switches": [True, True, True], "lists": [[7]], "mapping": {"x": 7},
}  # fmt: skip
DECLARED: dict[str, str] = json.loads(os.environ.get("OVERRIDE_KEYS", "{}"))
VARIANT = os.environ.get("OVERRIDE_VARIANT", "")


def default(kind: str) -> Any:
    value = DEFAULTS[kind]
    return list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with dots as mappings within mappings."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parts, last = name.split(".")
        at = tree
        for part in parts:
            at = at.setdefault(part, {})
        at[last] = value
    return tree


def dataclass_of(kinds: Mapping[str, Any], name: str = "Config") -> type:
    """A dataclass with a field for each key, and one within it for the keys with a dot."""
    fields: list[Any] = []
    for key, kind in kinds.items():
        if isinstance(kind, Mapping):
            inner = dataclass_of(kind, key.title())
            fields.append((key, inner, dataclasses.field(default_factory=inner)))
        else:
            fields.append((key, TYPES[kind], dataclasses.field(default_factory=lambda kind=kind: default(kind))))
    return dataclasses.make_dataclass(name, fields)


def as_mapping(value: Any) -> Any:
    """Dataclasses as mappings, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_mapping(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: as_mapping(item) for key, item in value.items()}
    return [as_mapping(item) for item in value] if isinstance(value, (list, tuple)) else value


def print_values(values: Mapping[str, Any]) -> None:
    """As one line of JSON, which tells 1 from 1.0, true and "1"."""
    print("VALUES " + json.dumps(as_mapping(values)))
