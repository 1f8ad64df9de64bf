"""The interface of agents: what a job asks of one, and what both exchange. docs/howto.md has an example."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import JobsError, SweepsError
from sweepwise.core.metrics import Catalogue

State = Literal["finished", "interrupted", "diverged", "superseded", "failed"]


@dataclass(frozen=True)
class Progress:
    """What a running training reports. step, total: agent steps. last_return: of the newest training episode. logged:
    unix seconds of its last sign of life, such as logged metrics, where that tells more than that it reports."""

    step: int
    total: int
    steps_per_s: float
    last_return: float | None
    logged: float | None = None

    def evaluation_line(self, metric: str, value: float) -> str:
        """The line of the log at an evaluation: `step 5,000 of 100,000: return 431.2, 12.5 steps/s`."""
        of = f" of {self.total:,}" if self.total > 1 else ""
        speed = f", {self.steps_per_s:,.1f} steps/s" if self.steps_per_s > 0 else ""
        number = f"{value:,.1f}" if 100 <= abs(value) < math.inf else f"{value:.4g}"
        return f"step {self.step:,}{of}: {metric} {number}{speed}"


@dataclass(frozen=True)
class Outcome:
    """How an attempt of a run ended. failed: for an error that concerns this run and not the others that are trained
    beside it. cause: of a failure, such as timeout, where it is known. details: more lines for the record.
    saved: whether it has saved its state, where that may be further than its last logged step."""

    state: State
    step: int
    message: str
    cause: str = ""
    details: str = ""
    saved: bool = False


@dataclass(frozen=True)
class RunHandle:
    """A run to train.

    config: the values of all hyperparameters, by name. folder: for metrics/ and checkpoints/. tag: begins the names of
    this attempt's files. guard: whether this attempt may still publish. on_progress: called at every step; returns
    False where a newer attempt owns the run. tell: writes a line to the log, such as
    `Progress.evaluation_line` at each evaluation. origin: metadata for every shard.
    catalogue: the metrics that may be logged. config_id: of `config`.
    """

    config: Any
    seed: int
    folder: Path
    tag: str
    guard: Callable[[], bool]
    on_progress: Callable[[Progress], bool]
    tell: Callable[[str], None] = lambda line: None
    origin: Mapping[str, str] = field(default_factory=dict)
    catalogue: Catalogue = field(default_factory=lambda: Catalogue({}, {}))
    config_id: str = ""

    @property
    def checkpoints(self) -> Path:
        """The folder for the agent's checkpoints, created. Archives leave it out."""
        folder = self.folder / "checkpoints"
        folder.mkdir(exist_ok=True)
        return folder


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


class NoWeights(SweepsError):
    """There are no weights to evaluate."""


@dataclass(frozen=True)
class Evaluation:
    """Episodes of one snapshot. planner: how it acted, such as eval, train or policy. actions: arrays (n, A),
    one for each episode."""

    seed: int
    step: int
    planner: str
    returns: tuple[float, ...]
    actions: tuple[Any, ...]


@dataclass(frozen=True)
class Film:
    """Image arrays (height, width, 3) of bytes, rendered on iteration. ms: duration of each in milliseconds."""

    ms: int
    frames: Iterator[Any]


class Trainable(Protocol):
    """An agent. Only jobs import it; every other command uses its `description`, which is stored at submit."""

    @property
    def description(self) -> AgentDescription: ...

    def train(
        self,
        handles: Sequence[RunHandle],
        *,
        device: str,
        threads: int,
        settings: Settings,
        should_stop: Callable[[], bool],
    ) -> list[Outcome]:
        """Train runs that share a configuration except for the seed, each from its newest checkpoint; one `Outcome`
        for each handle, in order.

        device: "cpu" or "cuda". should_stop: call it often; once it returns True, save the state and return
        "interrupted". Raises `sweepwise.core.atomic.Superseded` where a newer attempt owns a run.
        """
        ...


class Evaluable(Protocol):
    """What `sweeps evaluate` needs of an agent whose capabilities say that it can evaluate."""

    def evaluate(
        self,
        config: Mapping[str, Any],
        seed: int,
        folder: Path,
        *,
        at: int | None,
        planners: Sequence[str],
        episodes: int,
        device: str,
        threads: int,
    ) -> Iterator[Evaluation]:
        """Evaluate the snapshot of step `at` (None: the newest), for each of `planners`. Raises `NoWeights`."""
        ...

    def film(self, config: Mapping[str, Any], played: Evaluation, width: int, height: int) -> Film:
        """The episodes of `played`."""
        ...

    def snapshots(self, folder: Path) -> Sequence[int]:
        """The steps of the snapshots that a run has kept in its `folder`. Needed to evaluate several of them."""
        ...
