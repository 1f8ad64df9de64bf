"""The memory that a training is expected to need, counted beside the tensors that it has."""

from __future__ import annotations

import numpy as np
import pytest

from tdmpc.agent.agent import Agent
from tdmpc.config import TrainConfig
from tdmpc.memory import expected, storage_rows
from tdmpc.network_shapes import shapes
from tdmpc.training.replay_buffer import Replay

SMALL = {"mlp_dim": 32, "latent_dim": 16, "enc_dim": 24, "num_samples": 8, "num_pi_trajs": 4, "num_elites": 4}


@pytest.mark.parametrize(
    "overrides",
    [{}, {"num_q": 5, "num_reward_heads": 2}, {"multi_gamma_head": "separate"}, {"multi_gamma_loss_weight": 0},
     {"episodic": True, "num_enc_layers": 3}],
)  # fmt: skip
def test_the_numbers_of_the_networks_are_those_of_the_agent(overrides: dict[str, object]) -> None:
    config = TrainConfig.from_dict({**SMALL, **overrides})
    modules = Agent(config, 24, 6, [0], "cpu").modules()
    built = {**modules["model"].trained_modules(), "policy": modules["policy"]}
    counted = shapes(config, 24, 6)
    assert set(built) == set(counted)
    for name, module in built.items():
        numbers = sum(parameter.numel() for parameter in module.parameters())
        padding = 64 * counted[name].heads  # layers begin at multiples of a vector
        assert counted[name].numbers <= numbers <= counted[name].numbers + padding, name


@pytest.mark.parametrize("rows", [1, 4096, 4097, 20_000])
def test_a_buffer_has_the_rows_that_are_counted(rows: int) -> None:
    replay = Replay(1, 1, 1, 3)
    replay.begin(0, np.zeros(1, np.float32))
    for _ in range(rows - 1):
        replay.add(0, np.zeros(1, np.float32), 0.0, np.zeros(1, np.float32))
    assert replay._obs.shape[1] == storage_rows(rows)


def test_it_grows_with_what_a_training_keeps() -> None:
    config = TrainConfig()
    base = expected(config)
    more = {
        "steps": 400_000, "num_q": 5, "planner_num_dynamics_heads": 8, "batch_size": 512, "mlp_dim": 1024,
        "imagination_horizon": 3, "policy_ema_enabled": True, "task": "dog-run",
    }  # fmt: skip
    for name, value in more.items():
        larger = expected(config.with_overrides({name: value}))
        assert larger.of_cpu.of(2) > base.of_cpu.of(2), name
        assert larger.of_gpu.of(2) > base.of_gpu.of(2), name
    assert base.of_cpu.of(6) == base.of_cpu.process + 6 * base.of_cpu.seed
    # docs/speed.md: 398 MB a seed of six on an H200, without replay; the whole training adds its buffers
    without_buffers = expected(config.with_overrides({"steps": 4000, "eval_freq": 4000})).of_gpu.seed
    assert without_buffers == pytest.approx(398e6, rel=0.2)
