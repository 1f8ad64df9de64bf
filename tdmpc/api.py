"""Interface of the agent: train the runs of one configuration, each from its newest checkpoint, and evaluate their
snapshots."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweepwise.core import shards
from sweepwise.core.errors import SweepsError
from sweepwise.core.trainable import Evaluation, Film, NoWeights, Outcome, Progress, RunHandle
from tdmpc.accel import kernels
from tdmpc.agent.agent import Agent
from tdmpc.config import TrainConfig, config_id
from tdmpc.training import checkpoint
from tdmpc.training.environment import Env, SimulationError
from tdmpc.training.evaluator import Evaluator, Mode, begin
from tdmpc.training.seed_state import fits, restore_weights
from tdmpc.training.trainer import Trainer

__all__ = [
    "DeviceError", "Evaluation", "Film", "NoWeights", "Outcome", "Progress", "RunHandle", "evaluate", "film", "train",
    "without_kernels",
]  # fmt: skip


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class DeviceError(SweepsError):
    """The requested device is not available."""


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
    """Train runs that share a configuration except for the seed, together; one `Outcome` for each handle, in order.

    device: "cpu" or "cuda"; raises `DeviceError` where "cuda" is not available. checkpoint_minutes: time between
    checkpoints. snapshots: number of times, evenly spaced and the last at the end, that weights are kept for
    `evaluate`. deterministic: bitwise repeatable on one GPU model; on a CPU training always is. compile: update and
    plan through `torch.compile`, which takes minutes at the start and, on a CPU, replaces the C kernels. cuda_graphs:
    on a GPU, record updates and plans once and replay them; takes more memory and removes launch overhead. should_stop:
    called between any two updates; once it returns True, the state is saved and the runs end as "interrupted".
    """
    if cuda_graphs and device != "cuda":
        raise DeviceError("CUDA graphs need a GPU; submit with a GPU profile, or without them")
    _prepare(device, threads, handles[0].config.tf32, deterministic)
    if compile:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kernels.cache() / "compiled"))
    if device == "cpu" and not compile and (reason := without_kernels()):
        handles[0].tell(f"trains without the C kernels, up to three times as long: {reason}")
    outcome_of: dict[int, Outcome] = {}
    for group, states in _by_position(handles):
        members = [handles[n] for n in group]
        step = states[0]["step"] if states else 0
        metadata = [_metadata(handle, device, step) for handle in members]
        trainer = Trainer(members, device, metadata, snapshots, compile, cuda_graphs)
        if states:
            trainer.restore(states)
        outcomes = trainer.run(should_stop, checkpoint_minutes * 60)
        outcome_of.update(zip(group, outcomes, strict=True))
    return [outcome_of[n] for n in range(len(handles))]


SHORTEST_FRAME_MS = 20  # players of animations show shorter frames for longer
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
    """Run `episodes` episodes with the snapshot of step `at` (None: the newest), for each of `planners`.

    planners: "eval" plans with one dynamics head, "train" as in training (all heads, an elite sampled by weight),
    "policy" acts without MPC. All start from the same states; the first of these are those of the evaluation during
    training at that step. Raises `NoWeights`, `DeviceError`, `SimulationError`.
    """
    _prepare(device, threads, config.tf32, deterministic=False)
    step, weights = checkpoint.weights_at(folder, at)
    env = Env(config.task, config.action_repeat, 0)
    agent = Agent(config, env.obs_size, env.action_size, [seed], device)
    if not fits(agent, weights):
        raise NoWeights(f"{folder}: the snapshot of step {step:,} holds the weights of another configuration")
    restore_weights(agent, [weights])
    evaluator = Evaluator(config, [seed], device)
    for planner in planners:
        (played,) = evaluator.play(agent, PLANNERS[planner], step, episodes, [0]).values()
        if errors := [f"episode {n}: {e.error}" for n, e in enumerate(played) if e.error]:
            raise SimulationError(errors[0])
        returns, actions = tuple(e.total for e in played), tuple(e.actions for e in played)
        yield Evaluation(seed, step, planner, returns, actions)


def snapshots(folder: Path) -> list[int]:
    """The steps of the snapshots in the folder of a run, ascending."""
    return sorted(checkpoint.snapshots_in(folder))


def film(config: TrainConfig, played: Evaluation, width: int, height: int) -> Film:
    """The episodes of `played` in simulated time, at most 50 images per second.

    Replays them from their initial states and actions, so that rendering does not affect the evaluation. The renderer
    is the one that MUJOCO_GL named when this module was imported.
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
    """Set torch's global options. Raises `DeviceError` where the device is not available."""
    if deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read once, when cuBLAS starts
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call imports torch's compiler, for seconds
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    if device == "cuda" and not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
        raise DeviceError(
            "this job requested a GPU and torch finds none "
            f"(torch {torch.__version__}, CUDA_VISIBLE_DEVICES={visible}); "
            "install a CUDA build of torch, or submit with a CPU profile"
        )
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Make glibc's allocator reuse large blocks instead of returning them to the system.

    Otherwise every tensor of more than 128 kB causes page faults, two thirds of the time of an elementwise operation.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def without_kernels() -> str:
    """Why training on this CPU uses torch operations, up to three times slower, though the C kernels are not switched
    off; "" where it uses the kernels or they are switched off."""
    return kernels.missing()


def _by_position(handles: Sequence[RunHandle]) -> list[tuple[list[int], list[dict[str, Any]]]]:
    """Groups of handles (their indices) at the same update, each with its checkpoints (none for new runs).

    Seeds are updated together, so runs that were stopped at different updates are trained one group after another.
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
    """Metadata of every shard. step: the step that this attempt resumes from."""
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
