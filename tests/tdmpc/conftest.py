"""A training run that takes half a second: tiny networks, and episodes of ten agent steps of two control steps each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from dm_control import suite

from sweepwise.core.shards import read_shard, start_step
from tdmpc.api import Outcome, RunHandle, train
from tdmpc.config import TrainConfig

TINY: dict[str, Any] = {
    "task": "cartpole-swingup", "action_repeat": 2, "steps": 40, "seed_steps": 20, "utd_ratio": 1,
    "batch_size": 8, "mlp_dim": 32, "latent_dim": 32, "enc_dim": 32, "num_samples": 8, "num_pi_trajs": 4,
    "num_elites": 4, "iterations": 2, "num_rollouts": 2, "log_freq": 5, "eval_freq": 15, "eval_episodes": 2,
    "final_eval_episodes": 2, "lr": 0.003, "detach_encoder_ratio": 0.25,
}  # fmt: skip

EPISODE_S = 0.2  # instead of cartpole's 10: the physics of whole episodes would take most of a test's time

CLOCKED = {"time", "steps_per_s", "updates_per_s"}


@pytest.fixture(scope="session")
def tiny() -> Callable[..., TrainConfig]:
    return lambda **changes: TrainConfig().with_overrides({**TINY, **changes})


@pytest.fixture(autouse=True)
def short_episodes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the tiny configuration play the real task for `EPISODE_S`, by the suite's own time limit."""
    if "tiny" in request.fixturenames:
        load = suite.load
        monkeypatch.setattr(
            suite,
            "load",
            lambda *names, task_kwargs: load(*names, task_kwargs={**task_kwargs, "time_limit": EPISODE_S}),
        )


class Trained:
    """Runs trained in a folder of their own."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, seed: int) -> Path:
        return self._root / f"seed-{seed}"

    def handle(self, config: TrainConfig, seed: int, tag: str = "a001", **changes: Any) -> RunHandle:
        self.folder(seed).mkdir(parents=True, exist_ok=True)
        given: dict[str, Any] = {"guard": lambda: True, "on_progress": lambda progress: True, **changes}
        return RunHandle(config, seed, self.folder(seed), tag, **given)

    def train(
        self, config: TrainConfig, seeds: tuple[int, ...] = (1,), tag: str = "a001", **kwargs: Any
    ) -> list[Outcome]:
        handles = [self.handle(config, seed, tag) for seed in seeds]
        return train(handles, **{"device": "cpu", "threads": 1, **kwargs})

    def rows(self, seed: int) -> list[dict[str, Any]]:
        """Rows of a run, nothing left out but what a clock says; a later attempt's row replaces its twin."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for path in sorted((self.folder(seed) / "metrics").glob("*.parquet")):
            table: pa.Table = read_shard(path)
            for row in table.to_pylist():
                kept = {k: v for k, v in row.items() if k not in CLOCKED and v is not None}
                found[row["kind"], row["step"], row["event"]] = kept
        return [found[key] for key in sorted(found, key=str)]

    def begun(self, seed: int, tag: str) -> int:
        """The step from which the attempt `tag` went on."""
        (first,) = (self.folder(seed) / "metrics").glob(f"{tag}-p00000*")
        return start_step(read_shard(first))

    def weights(self, seed: int) -> dict[str, torch.Tensor]:
        """Every weight in the newest checkpoint."""
        newest = max((self.folder(seed) / "checkpoints").glob("*.pt"))
        modules = torch.load(newest, weights_only=True)["agent"]["modules"]
        return {f"{m}.{name}": value for m, values in modules.items() for name, value in values.items()}


@pytest.fixture(scope="session")
def trained_in() -> type[Trained]:
    return Trained


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[str], Trained]:
    return lambda name="runs": Trained(tmp_path / name)


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="session")
def equal_weights() -> Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], bool]:
    return same_weights
