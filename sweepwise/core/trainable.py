"""What the jobs and a trained agent exchange: a run to train, its settings, its progress and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sweepwise.core.errors import JobsError

State = Literal["finished", "interrupted", "diverged", "superseded"]


@dataclass(frozen=True)
class Progress:
    """What a running training reports. step, total: agent steps. last_return: of the newest training episode."""

    step: int
    total: int
    steps_per_s: float
    last_return: float | None


@dataclass(frozen=True)
class Outcome:
    """How an attempt of a run ended."""

    state: State
    step: int
    message: str


@dataclass(frozen=True)
class RunHandle:
    """A run to train.

    config: the agent's own configuration. folder: for metrics/ and checkpoints/. tag: begins the names of this
    attempt's files. guard: whether this attempt may still publish. on_progress: called at every step; returns False
    where a newer attempt owns the run. tell: writes a line to the log. origin: metadata for every shard.
    """

    config: Any
    seed: int
    folder: Path
    tag: str
    guard: Callable[[], bool]
    on_progress: Callable[[Progress], bool]
    tell: Callable[[str], None] = lambda line: None
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How a run is trained. Not part of its configuration ID.

    snapshots: how often it keeps its weights for `sweeps evaluate`, evenly spaced, the last at its end.
    checkpoint_minutes: time between checkpoints, which is what a kill costs at most; 0 takes one at every update.
    deterministic: on a GPU, the same numbers whenever it is repeated on one model of card.
    compile: update through `torch.compile`.
    cuda_graphs: on a GPU, record updates and plans once and replay them.
    """

    snapshots: int = 4
    checkpoint_minutes: float = 10.0
    deterministic: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    def check(self, device: str) -> None:
        """Raises `JobsError` for what training on `device`, cpu or cuda, does not have."""
        if self.cuda_graphs and device == "cpu":
            raise JobsError(
                "--cuda-graphs is for a GPU, and this trains on the CPU; give --no-cuda-graphs, or train on a GPU"
            )
