"""The agent as `sweepwise.core.trainable.Trainable`: configurations as plain values, options as `Settings`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepwise.core.trainable import Evaluation, Film, Outcome, RunHandle, Settings
from tdmpc import api
from tdmpc.config import TrainConfig
from tdmpc.description import DESCRIPTION


class TdmpcAgent:
    """TD-MPC2 with a state-value ensemble."""

    description = DESCRIPTION

    def train(
        self,
        handles: Sequence[RunHandle],
        *,
        device: str,
        threads: int,
        settings: Settings,
        should_stop: Callable[[], bool],
    ) -> list[Outcome]:
        """See `tdmpc.api.train`."""
        typed = [dataclasses.replace(handle, config=TrainConfig.from_dict(handle.config)) for handle in handles]
        options = dataclasses.asdict(settings)
        return api.train(typed, device=device, threads=threads, should_stop=should_stop, **options)

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
        """See `tdmpc.api.evaluate`."""
        return api.evaluate(
            TrainConfig.from_dict(config), seed, folder,
            at=at, planners=planners, episodes=episodes, device=device, threads=threads,
        )  # fmt: skip

    def film(self, config: Mapping[str, Any], played: Evaluation, width: int, height: int) -> Film:
        """See `tdmpc.api.film`."""
        return api.film(TrainConfig.from_dict(config), played, width, height)

    def snapshots(self, folder: Path) -> Sequence[int]:
        """See `tdmpc.api.snapshots`."""
        return api.snapshots(folder)


AGENT = TdmpcAgent()
