"""`sweepwise.log`: logged metrics of a program without a logger of its own. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

FILE = "metrics.jsonl"
_RUN = "SWEEPS_RUN"
_opened: tuple[str, int] | None = None  # the run's folder and the descriptor of its file


def log(metrics: Mapping[str, Any] | None = None, /, *, step: int, **more: Any) -> None:
    """Append one JSON line to `metrics.jsonl` in the run's folder, $SWEEPS_RUN; does nothing outside a run.

    metrics: name -> number, list of numbers or tensor of one element, for names that are no Python identifiers, as in
    `log({"eval/return": 12.0}, step=1000)`. Never raises: what cannot be written is left out.
    """
    run = os.environ.get(_RUN)
    if not run:
        return
    with contextlib.suppress(Exception):
        values = {"step": int(step)}
        for name, value in {**(metrics or {}), **more}.items():
            with contextlib.suppress(TypeError, ValueError):
                values[name] = _number(value)
        # One write for a line: of several processes that append, none cuts into another's.
        os.write(_descriptor(run), (json.dumps(values) + "\n").encode())


def _number(value: Any) -> Any:
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0:
        return [float(item) for item in value]
    return float(value)


def _descriptor(run: str) -> int:
    global _opened
    if _opened is None or _opened[0] != run:
        _opened = (run, os.open(f"{run}/{FILE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666))
    return _opened[1]
