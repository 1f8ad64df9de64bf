"""The schema of an agent by its name. The only module of `jobs` that knows the packaged agent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sweepwise.core.agent import AgentDescription
from sweepwise.core.metrics import Catalogue
from sweepwise.core.schema import DeclaredSchema, Schema
from tdmpc import description as packaged

PACKAGED = packaged.NAME
PACKAGED_REFERENCE = "tdmpc.trainable:AGENT"
PACKAGED_SCHEMA: Schema = packaged.SCHEMA


def schema(description: AgentDescription, late: Collection[str] = ()) -> Schema:
    """The schema of a described agent. late: see `DeclaredSchema`."""
    if description.name == PACKAGED:
        return PACKAGED_SCHEMA
    return DeclaredSchema(description, late)


def extended(old: Catalogue, new: Catalogue) -> Catalogue:
    """`new`, and the metrics that only `old` has, without a role that a new metric has: runs trained before log
    them."""
    kept = {
        name: replace(metric, role="" if metric.role in new.roles else metric.role)
        for name, metric in old.metrics.items()
        if name not in new.metrics
    }
    return Catalogue({**new.metrics, **kept}, {**old.events, **new.events})
