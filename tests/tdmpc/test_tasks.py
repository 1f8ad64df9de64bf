"""Every task of the suite can be trained on without a display, and no other can be submitted."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tdmpc.config import ConfigError, TrainConfig
from tdmpc.tasks import TASKS, sizes
from tdmpc.training.environment import Env


@pytest.mark.parametrize("task", TASKS)
def test_a_task_begins_twice_goes_on_and_is_restored(task: str) -> None:
    env, actions = Env(task, 2, seed=7), np.random.default_rng(0)
    assert (env.obs_size, env.action_size) == sizes(task)
    for _ in range(2):
        seen = [env.reset()]
        steps = [env.step(actions.uniform(-1, 1, env.action_size)) for _ in range(3)]
        seen += [step.obs for step in steps]
        assert all(obs.shape == (env.obs_size,) and obs.dtype == np.float32 for obs in seen)
        assert np.abs(seen).max() < 1e3
        assert np.isfinite([step.reward for step in steps]).all()
        assert not any(step.last for step in steps)
    assert np.array_equal(Env(task, 2, seed=8).restore(env.state()), seen[-1])


@pytest.mark.parametrize("renderer", [None, "disabled", "glfw"])
def test_a_task_that_asks_for_a_renderer_begins_without_a_display(renderer: str | None) -> None:
    """Whatever the user's shell says of renderers: training draws nothing."""
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")}
    env |= {} if renderer is None else {"MUJOCO_GL": renderer}
    code = (
        "from tdmpc.training.environment import Env\n"
        "env = Env('quadruped-escape', 1, 0)\n"
        "env.reset()\n"
        "print(env.reset().size)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "101\n"), done.stderr


@pytest.mark.parametrize("task", ["walker-fly", "manip-lift", "quadruped", ""])
def test_a_task_that_is_none_of_them_is_refused_in_one_line(task: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig().with_overrides({"task": task})
    assert "\n" not in str(caught.value)
    assert "task" in str(caught.value)
