"""Backends by name: the packaged ones, and those that installed packages provide.

A package provides a backend by an entry point in the group `sweepwise.backends`: `pbs = my_package.pbs:PbsBackend`.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

from jobs.backends.base import Backend
from sweepwise.core.errors import JobsError, near

if TYPE_CHECKING:
    from importlib import metadata

AUTO = "auto"
GROUP = "sweepwise.backends"
# In the order in which `--cluster auto` tries them; installed ones come before the last two.
_PACKAGED = {
    "slurm": "jobs.backends.slurm.backend:SlurmBackend",
    "local": "jobs.backends.local:LocalBackend",
    "debug": "jobs.backends.debug:DebugBackend",
}
PACKAGED = tuple(_PACKAGED)


@functools.cache
def _installed() -> dict[str, metadata.EntryPoint]:
    from importlib import metadata  # slow to import, and seldom needed

    return {point.name: point for point in metadata.entry_points(group=GROUP) if point.name not in _PACKAGED}


def names() -> list[str]:
    """All backends, in the order in which `--cluster auto` tries them."""
    first, *last = PACKAGED
    return [first, *sorted(_installed()), *last]


def is_known(name: str) -> bool:
    return name in _PACKAGED or name in _installed()


@functools.cache
def get(name: str) -> Backend:
    """Raises `JobsError` for a backend that is not installed here."""
    if name in _PACKAGED:
        module, _, attribute = _PACKAGED[name].partition(":")
        backend_class: type[Backend] = getattr(importlib.import_module(module), attribute)
    elif name in _installed():
        backend_class = _installed()[name].load()
    else:
        raise JobsError(f"backend {name!r} is not installed here; {near(name, names())}")
    return backend_class()


def choose() -> tuple[str, str]:
    """The backend that `--cluster auto` chooses, and the reason. Raises `JobsError` if a cluster cannot be reached."""
    for name in names():
        why = get(name).detect()
        if why is not None:
            return name, why
    raise AssertionError("the local backend is always there")


def around_this_process() -> Backend | None:
    """The backend whose job this process is part of; None outside jobs."""
    return next((get(name) for name in names() if get(name).current_task() is not None), None)
