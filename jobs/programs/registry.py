"""The schema of an agent by its name. The only module of `jobs` that knows the packaged agent."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection
from dataclasses import replace
from importlib import metadata

from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import JobsError
from sweepwise.core.metrics import Catalogue
from sweepwise.core.schema import DeclaredSchema, Schema
from tdmpc import description as packaged

PACKAGED = packaged.NAME
PACKAGED_REFERENCE = "tdmpc.trainable:AGENT"
PACKAGED_SCHEMA: Schema = packaged.SCHEMA
_WITHOUT_LABMAZE = (3, 13)  # from this Python on pip cannot install dm_control's requirement labmaze, see setup.cfg


def schema(description: AgentDescription, late: Collection[str] = ()) -> Schema:
    """The schema of a described agent. late: see `DeclaredSchema`."""
    if description.name == PACKAGED:
        return PACKAGED_SCHEMA
    return DeclaredSchema(description, late)


def check_installed(agent: str) -> None:
    """Raises `JobsError` where a package that the packaged agent trains with is not installed in this environment."""
    if agent != PACKAGED:
        return
    for package in packaged.TRAINS_WITH:
        if importlib.util.find_spec(package) is None:
            options = "--no-deps " if package == "dm_control" and sys.version_info >= _WITHOUT_LABMAZE else ""
            raise JobsError(
                f"the agent {agent} trains with {package}, which is not installed in {sys.prefix}: "
                f"`{sys.executable} -m pip install {options}{_requirement(package)}`"
            )


def _requirement(package: str) -> str:
    """`package` with the versions that this project requires."""
    try:
        lines = metadata.requires("sweepwise") or []
    except metadata.PackageNotFoundError:
        return package
    stated = (line.partition(";")[0].strip() for line in lines)
    return next((line for line in stated if line.replace("-", "_").startswith(package)), package)


def extended(old: Catalogue, new: Catalogue) -> Catalogue:
    """`new`, and the metrics that only `old` has, without a role that a new metric has: runs trained before log
    them."""
    kept = {
        name: replace(metric, role="" if metric.role in new.roles else metric.role)
        for name, metric in old.metrics.items()
        if name not in new.metrics
    }
    return Catalogue({**new.metrics, **kept}, {**old.events, **new.events})
