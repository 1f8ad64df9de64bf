"""Declarations of logged metrics: which exist, in which rows they stand, and what they mean. Standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Better = Literal["up", "down", "none"]
Kind = Literal["train", "episode", "eval", "validation", "event"]

KINDS: tuple[Kind, ...] = ("train", "episode", "eval", "validation", "event")


@dataclass(frozen=True)
class Metric:
    """One column of the shards.

    name: column name. kind: the kind of row it stands in. group: the part of the agent it describes. unit: for the
    axis. better: which direction is good. is_list: one value per action dimension, discount or episode. formula: what
    is computed, in the symbols of docs/algorithm.md; "" where `help` says it all.
    """

    name: str
    kind: Kind
    group: str
    unit: str
    better: Better
    help: str
    is_list: bool = False
    formula: str = ""


@dataclass(frozen=True)
class Catalogue:
    """All that an agent may log. metrics: by name. events: name -> what happens there."""

    metrics: Mapping[str, Metric]
    events: Mapping[str, str]

    def metric(self, name: str) -> Metric:
        """The declaration of `name`; raises `KeyError` naming near matches."""
        if name not in self.metrics:
            near = ", ".join(difflib.get_close_matches(name, self.metrics, n=3)) or "none near"
            raise KeyError(f"metric {name!r} is not in the catalogue; near matches: {near}")
        return self.metrics[name]
