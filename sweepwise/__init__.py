"""The public Python API: `load` reads a results folder as pandas frames (docs/notebooks.md); `log` writes metrics of a
program that `sweeps` runs (docs/programs.md).

`import sweepwise` loads nothing but this module. `sweepwise.core` holds the contracts that all packages share.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweepwise.core.errors import SweepsError
    from sweepwise.core.run_metrics import log
    from sweepwise.frames import Results, load

__all__ = ["Results", "SweepsError", "load", "log"]

_HOME = {
    "Results": "sweepwise.frames",
    "SweepsError": "sweepwise.core.errors",
    "load": "sweepwise.frames",
    "log": "sweepwise.core.run_metrics",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'sweepwise' has no attribute {name!r}; it has {', '.join(__all__)}")
    if _HOME[name] == "sweepwise.frames":
        _check_own_packages()
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value


def _check_own_packages() -> None:
    """Raise `SweepsError` where a file of the user, such as `jobs.py` beside a notebook, hides one of our packages."""
    from sweepwise.core.errors import SweepsError

    for package in ("aggregate", "jobs", "tdmpc"):
        spec = importlib.util.find_spec(package)
        origin = None if spec is None else spec.origin
        if origin is None or Path(origin).resolve().parents[1] != Path(__file__).resolve().parents[1]:
            raise SweepsError(
                f"import {package} finds {origin}, which hides the package of sweepwise; rename that file"
            )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
