"""dm_control suite tasks: state observations in one vector, actions in [-1, 1], action repeat, exact restore."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

os.environ.setdefault("MUJOCO_GL", "disabled")  # training renders nothing; to render, set it before this import

import numpy as np
import torch
from dm_control import suite
from dm_control.rl.control import PhysicsError
from mujoco import FatalError

from tdmpc.tasks import TASKS

SEED_MODULUS = 2**32  # numpy's random states take 32-bit seeds
CAMERAS = {"quadruped": 2}  # default: camera 0, which is too far away here
LQR_SECONDS = 30.0  # lqr has no time limit; this gives it the 1,000 control steps of all other tasks
UNBOUNDED = 1e9  # bounds of an action from here on are none: dm_control gives 1e10 for a motor without limits, as lqr's


class Step(NamedTuple):
    obs: np.ndarray  # (O,) float32
    reward: float  # summed over the repeats
    last: bool  # the episode ends with this step
    terminated: bool  # it ends by termination, not by the time limit
    frames: int  # control steps of it, fewer than `action_repeat` where the episode ends


class SimulationError(Exception):
    """The physics of one environment became invalid. The message is one line."""


class Env:
    """One task with its own random state. `state` and `restore` reproduce the running episode exactly."""

    def __init__(self, task: str, action_repeat: int, seed: int) -> None:
        domain, name = TASKS[task]
        if domain == "lqr":  # it draws its springs while it is loaded: the same ones for training and evaluation
            self._env = suite.load(domain, name, task_kwargs={"random": 0, "time_limit": LQR_SECONDS})
            self.reseed(seed)
        else:
            self._env = suite.load(domain, name, task_kwargs={"random": seed % SEED_MODULUS})
        self._drawing = self._env.physics.__class__
        self._env.physics.__class__ = _without_contexts(self._drawing)
        self._repeat, self._camera = action_repeat, CAMERAS.get(domain, 0)
        spec = self._env.action_spec()
        self._low = np.where(spec.minimum <= -UNBOUNDED, -1.0, spec.minimum)
        self._half = (np.where(spec.maximum >= UNBOUNDED, 1.0, spec.maximum) - self._low) / 2
        self.action_size = int(np.prod(spec.shape))
        self.obs_size = int(sum(np.prod(s.shape) for s in self._env.observation_spec().values()))
        # dm_control observes after every control step; only what follows the last repeat is used.
        self._observe = self._env.task.get_observation
        self._env.task.get_observation = _no_observation
        self._random_at_reset: Any = ()  # numpy's state tuple
        self._actions: list[np.ndarray] = []

    @property
    def _random(self) -> np.random.RandomState:
        return self._env.task.random

    def reseed(self, seed: int) -> None:
        """Make the next `reset` depend on `seed` only."""
        self._random.seed(seed % SEED_MODULUS)

    def reset(self) -> np.ndarray:
        """Start an episode; returns its first observation (O,)."""
        self._random_at_reset = self._random.get_state()
        self._actions = []
        self._env.reset()
        return self._observation()

    def step(self, action: np.ndarray) -> Step:
        """Apply `action` (A,) in [-1, 1] for `action_repeat` control steps, fewer where the episode ends. Raises
        `SimulationError`."""
        self._actions.append(np.array(action, dtype=np.float32))
        native = self._low + (self._actions[-1].astype(np.float64) + 1) * self._half
        total, frames = 0.0, 0
        while frames < self._repeat:
            try:
                time_step = self._env.step(native)
            except (PhysicsError, FatalError) as error:
                raise SimulationError(f"the physics became invalid: {' '.join(str(error).split())}") from error
            total += float(time_step.reward or 0.0)
            frames += 1
            if time_step.last():
                break
        terminated = time_step.last() and time_step.discount == 0
        return Step(self._observation(), total, time_step.last(), terminated, frames)

    def _observation(self) -> np.ndarray:
        observed = self._observe(self._env.physics).values()
        return np.concatenate([np.ravel(np.asarray(value, dtype=np.float32)) for value in observed])

    @property
    def step_ms(self) -> int:
        """Simulated milliseconds of one step."""
        return round(1000 * float(self._env.control_timestep()) * self._repeat)

    def draw(self, width: int, height: int) -> np.ndarray:
        """Image of the current state, (height, width, 3) bytes, rendered by what MUJOCO_GL named at import."""
        self._env.physics.__class__ = self._drawing
        image: np.ndarray = self._env.physics.render(height, width, camera_id=self._camera)
        return image

    def close(self) -> None:
        """Free the resources of `draw`. Left to the interpreter's exit, they cause error messages."""
        self._env.physics.free()

    def state(self) -> dict[str, Any]:
        """The random state at the last reset and the actions since, from which `restore` replays the episode."""
        name, keys, position, has_gauss, gauss = self._random_at_reset
        actions = np.stack(self._actions) if self._actions else np.zeros((0, self.action_size), np.float32)
        return {
            "random": (name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
            "actions": torch.from_numpy(actions),
        }

    def restore(self, state: dict[str, Any]) -> np.ndarray:
        """Replay a `state`; returns its newest observation (O,)."""
        name, keys, position, has_gauss, gauss = state["random"]
        self._random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
        obs = self.reset()
        for action in state["actions"].numpy():
            obs = self.step(action).obs
        return obs


def _without_contexts(physics: type) -> type:
    """The same physics, but it says that it has no rendering context, where dm_control would try to create one.

    quadruped-escape asks at every reset, to send its new terrain to a renderer if there is one. Without a display that
    fails, whatever MUJOCO_GL says, and training draws nothing.
    """
    return type(physics.__name__, (physics,), {"contexts": None})


def _no_observation(physics: Any) -> dict[str, Any]:
    return {}
