"""The door of the agent: train the runs of one configuration, resuming each from its newest checkpoint, and
evaluate what they kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweepwise.core import shards
from sweepwise.core.errors import SweepsError
from sweepwise.core.trainable import Outcome, Progress, RunHandle
from tdmpc.accel import kernels
from tdmpc.agent.agent import Agent
from tdmpc.config import TrainConfig, config_id
from tdmpc.training import checkpoint
from tdmpc.training.checkpoint import NoWeights
from tdmpc.training.environment import Env
from tdmpc.training.evaluator import Evaluator, Mode, begin
from tdmpc.training.seed_state import restore_weights
from tdmpc.training.trainer import Trainer

__all__ = [
    "DeviceError", "Evaluation", "Film", "NoWeights", "Outcome", "Progress", "RunHandle", "evaluate", "film", "train",
    "without_kernels",
]  # fmt: skip


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class DeviceError(SweepsError):
    """The device asked for is not there."""


def train(
    handles: Sequence[RunHandle],
    *,
    device: str,
    threads: int,
    checkpoint_minutes: float = 10.0,
    snapshots: int = 0,
    deterministic: bool = False,
    compile: bool = False,
    cuda_graphs: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Train runs that share a configuration up to the seed, side by side; one `Outcome` a handle, in order.

    device: "cpu" or "cuda"; asked for CUDA, it refuses to train on the CPU (`DeviceError`). should_stop is
    polled between any two updates; when it holds, state is saved and the runs end "interrupted". snapshots: how
    many times, evenly spaced and the last at the end, weights are kept for `evaluate`. deterministic: on a GPU,
    the same numbers whenever this is repeated on one model of card; a CPU's are the same anyway. compile: update
    and plan through `torch.compile`, which takes minutes to start with and, on a CPU, takes the place of the kernels.
    cuda_graphs: on a GPU, record updates and plans once and replay them; more memory, no waiting for launches.
    """
    if cuda_graphs and device != "cuda":
        raise DeviceError("CUDA graphs were asked for, which are a GPU's; submit with a GPU profile, or without them")
    _prepare(device, threads, handles[0].config.tf32, deterministic)
    if compile:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kernels.cache() / "compiled"))
    if device == "cpu" and not compile and (reason := without_kernels()):
        handles[0].tell(f"trains without the C kernels, up to three times as long: {reason}")
    found: dict[int, Outcome] = {}
    for group, states in _by_position(handles):
        members = [handles[n] for n in group]
        step = states[0]["step"] if states else 0
        metadata = [_metadata(handle, device, step) for handle in members]
        trainer = Trainer(members, device, metadata, snapshots, compile, cuda_graphs)
        if states:
            trainer.restore(states)
        outcomes = trainer.run(should_stop, checkpoint_minutes * 60)
        found.update(zip(group, outcomes, strict=True))
    return [found[n] for n in range(len(handles))]


@dataclass(frozen=True)
class Evaluation:
    """The episodes that one snapshot played. planner: eval | train | policy. actions: (n, A) of each episode."""

    seed: int
    step: int
    planner: str
    returns: tuple[float, ...]
    actions: tuple[np.ndarray, ...]


SHORTEST_FRAME_MS = 20  # what plays animations shows a shorter frame for longer
PLANNERS: dict[str, Mode] = {"eval": "planner", "train": "train", "policy": "policy"}


def evaluate(
    config: TrainConfig,
    seed: int,
    folder: Path,
    *,
    at: int | None,
    planners: Sequence[str],
    episodes: int,
    device: str,
    threads: int,
) -> Iterator[Evaluation]:
    """Play `episodes` with the snapshot of step `at` (None: the newest) under each of `planners`.

    "eval" plans with one dynamics head, "train" as training does (all heads, sampling among the elites), "policy"
    does not plan. All start from the same states, the first of them those of training's own evaluation at that
    step. Raises `NoWeights`, `DeviceError`.
    """
    _prepare(device, threads, config.tf32, deterministic=False)
    step, found = checkpoint.weights_at(folder, at)
    env = Env(config.task, config.action_repeat, 0)
    agent = Agent(config, env.obs_size, env.action_size, [seed], device)
    restore_weights(agent, [found])
    evaluator = Evaluator(config, [seed], device)
    for planner in planners:
        (played,) = evaluator.play(agent, PLANNERS[planner], step, episodes, [0]).values()
        returns, actions = tuple(e.total for e in played), tuple(e.actions for e in played)
        yield Evaluation(seed, step, planner, returns, actions)


@dataclass(frozen=True)
class Film:
    """Pictures (height, width, 3) of bytes, each to be shown for `ms` milliseconds; drawn as they are asked for."""

    ms: int
    frames: Iterator[np.ndarray]


def film(config: TrainConfig, played: Evaluation, width: int, height: int) -> Film:
    """The episodes of `played` in the simulated world's own time, at most 50 pictures a second.

    Plays them again from their first states and actions, so that filming changes nothing of what is measured.
    What draws is MUJOCO_GL's, as it stood when this module was imported.
    """
    env = Env(config.task, config.action_repeat, 0)
    every = -(-SHORTEST_FRAME_MS // env.step_ms)

    def frames() -> Iterator[np.ndarray]:
        with contextlib.closing(env):
            for episode, actions in enumerate(played.actions):
                begin(env, played.seed, played.step, episode)
                yield env.draw(width, height)
                for n, action in enumerate(actions, start=1):
                    env.step(action)
                    if n % every == 0:
                        yield env.draw(width, height)

    return Film(env.step_ms * every, frames())


def _prepare(device: str, threads: int, tf32: bool, deterministic: bool) -> None:
    if deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read once, when cuBLAS starts
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    if device == "cuda" and not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
        raise DeviceError(
            "this job asked for a GPU and torch sees none "
            f"(torch {torch.__version__}, CUDA_VISIBLE_DEVICES={visible}); "
            "install a CUDA build of torch, or submit with a CPU profile"
        )
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Make the allocator reuse large blocks. glibc gives them back to the system, and every tensor of more than
    128 kB then begins with page faults: two thirds of the time of an elementwise pass."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def without_kernels() -> str:
    """Why a CPU here trains by torch operations, up to three times as long, though nobody asked; else empty."""
    return kernels.missing()


def _by_position(handles: Sequence[RunHandle]) -> list[tuple[list[int], list[dict[str, Any]]]]:
    """Handles in groups that stand at the same update, each with its checkpoints (none for new runs).

    Seeds advance in lockstep, so those that were stopped at different points train one group after another.
    """
    groups: dict[tuple[int, int], tuple[list[int], list[dict[str, Any]]]] = {}
    for n, handle in enumerate(handles):
        state = checkpoint.load_newest(handle.folder, handle.tell)
        position = (state["step"], state["agent"]["update_index"]) if state else (-1, -1)
        members, states = groups.setdefault(position, ([], []))
        members.append(n)
        if state:
            states.append(state)
    return [groups[position] for position in sorted(groups)]


def _metadata(handle: RunHandle, device: str, step: int) -> dict[str, str]:
    """What every shard says of its origin. step: where this attempt goes on from."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    if device == "cpu" and not kernels.compiled():
        name += " without kernels"  # other rounding
    return {
        "config_id": config_id(handle.config),
        "seed": str(handle.seed),
        "host": platform.node(),
        "device": f"{device}: {name}",
        "torch": torch.__version__,
        shards.START_STEP: str(step),
        **handle.origin,
    }
