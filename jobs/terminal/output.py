"""What a command shows: a document of plain values (docs/json.md), and the same as text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = 1  # of all documents; raised when a field is removed or gets another meaning


@dataclass(frozen=True)
class CommandOutput:
    """Two views of what a command knows; only the requested one is made.

    document: for `--json`. text: printed in this order; a `str`, such as a command or a path, is never wrapped, and a
    `Text` with `no_wrap` on a terminal only. code: exit code. error: raised after the output.
    """

    document: Callable[[], Mapping[str, Any]]
    text: Callable[[], Iterable[RenderableType]] = tuple
    code: int = 0
    error: Exception | None = None


def to_json(document: Mapping[str, Any]) -> str:
    """`document` with the version of its schema as JSON, which any parser reads: NaN and infinity are null."""
    return json.dumps({"schema": SCHEMA, **_plain(document)}, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """`value` with lists, strings and finite numbers only. Raises `TypeError` for anything else."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a number of numpy, which this module does not load
        return _plain(value.item())
    raise TypeError(f"{value!r} is no value of a JSON document")
