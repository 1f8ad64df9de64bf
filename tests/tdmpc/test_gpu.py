"""What holds on a GPU: the same initial weights and draws, seeds side by side as alone, exact resumption.

`pytest tests/tdmpc/test_gpu.py` on a machine with one; elsewhere only what the CPU can stand in for is run.
"""

from __future__ import annotations

import os

import pytest
import torch

from tdmpc.agent.agent import Agent, Schedule
from tdmpc.agent.batch import Batch
from tdmpc.rng import Draws, Streams
from tdmpc.training.seed_state import weights

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first of these tests starts cuBLAS

OBS, ACTIONS, SEEDS = 5, 3, (1, 2, 3)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
everywhere = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])


def flat(agent, s):
    """Every weight of seed index `s`, in one vector on the CPU."""
    modules = weights(agent, s).values()
    return torch.cat([value.flatten() for module in modules for value in module.values()])


def updated(config, seeds, device, updates=10, cuda_graphs=False):
    """Per seed: weights before, and after updates on batches that are the seed's own."""
    agent = Agent(config, OBS, ACTIONS, seeds, device, cuda_graphs=cuda_graphs)
    before = [flat(agent, s) for s in range(len(seeds))]
    data, streams = Draws.fresh(seeds, "data", device=device), Streams(seeds, "update", device=device)
    shape = (config.horizon, config.batch_size)
    for _ in range(updates):
        obs = data.normal(config.horizon + 1, config.batch_size, OBS)
        rewards = data.uniform(*shape)
        batch = Batch(obs, data.uniform(*shape, ACTIONS) * 2 - 1, rewards, torch.zeros_like(rewards))
        agent.update(batch, Schedule(False, 1e-4), streams)
    return [(start, flat(agent, s)) for s, start in enumerate(before)]


@everywhere
def test_seeds_side_by_side_train_as_alone_up_to_rounding(tiny, device):
    """Rounding is about a thousandth of the way that weights go; other draws are all of it."""
    torch.backends.cuda.matmul.allow_tf32 = False  # as rough as a tenth; whoever trains sets it as configured
    config = tiny(policy_ema_enabled=True)
    packed = updated(config, SEEDS, device)
    for (start, found), seed in zip(packed, SEEDS, strict=True):
        ((same, alone),) = updated(config, (seed,), device)
        assert torch.equal(start, same)
        assert (found - alone).norm() < 0.02 * (alone - start).norm()
    way, other = (found - start for start, found in packed[:2])
    assert (way - other).norm() > 0.5 * way.norm()


@everywhere
def test_a_seed_draws_the_same_beside_others_as_alone(device):
    def drawn(*seeds):
        draws = Draws.fresh(seeds, "update", device=device)
        return (
            draws.normal(64, 3),
            draws.uniform(33),
            draws.subsets(8, 2),
            draws.dropout(0.5, 1, 4, 10).factors(4),
            draws.normal(7),
        )

    packed = drawn(*SEEDS)
    for s, seed in enumerate(SEEDS):
        assert all(torch.equal(beside[s], alone[0]) for beside, alone in zip(packed, drawn(seed), strict=True))


@needs_gpu
def test_replayed_updates_are_those_that_were_not_up_to_rounding(tiny):
    torch.backends.cuda.matmul.allow_tf32 = False
    config = tiny(policy_ema_enabled=True, pi_update_freq=2)
    eager, found = (updated(config, SEEDS, "cuda", 20, cuda_graphs) for cuda_graphs in (False, True))
    for (start, without), (_, replayed) in zip(eager, found, strict=True):
        assert (replayed - without).norm() < 0.02 * (without - start).norm()


@needs_gpu
def test_a_replayed_run_trains_and_goes_on(tiny, trained):
    """With plans, evaluations and logged updates between, and an encoder that is frozen on the way."""
    config, runs = tiny(), trained("replayed")
    polls = iter(range(30))
    runs.train(config, should_stop=lambda: next(polls, None) is None, device="cuda", cuda_graphs=True)
    (outcome,) = runs.train(config, tag="a002", device="cuda", cuda_graphs=True)
    assert outcome.state == "finished"
    assert all(value.isfinite().all() for value in runs.weights(1).values())
    assert any(row["kind"] == "train" and row["step"] == config.steps for row in runs.rows(1))


@needs_gpu
def test_initial_weights_are_those_of_the_cpu(tiny):
    there, here = (Agent(tiny(), OBS, ACTIONS, SEEDS, device) for device in ("cuda", "cpu"))
    assert next(there.model.parameters()).is_cuda
    for s in range(len(SEEDS)):
        assert torch.equal(flat(there, s), flat(here, s))


@needs_gpu
@pytest.mark.parametrize("ticks", [3, 25, 47])
def test_resumed_equals_uninterrupted_in_the_deterministic_mode(tiny, trained, equal_weights, ticks):
    config = tiny(policy_ema_enabled=True, pi_update_freq=2)
    whole, parts = trained("whole"), trained("parts")
    how = {"seeds": (1, 2), "device": "cuda", "deterministic": True}
    whole.train(config, **how)
    polls = iter(range(ticks))
    outcomes = parts.train(config, should_stop=lambda: next(polls, None) is None, **how)
    assert {o.state for o in outcomes} == {"interrupted"}
    parts.train(config, tag="a002", **how)
    for seed in (1, 2):
        assert equal_weights(whole.weights(seed), parts.weights(seed))
        assert whole.rows(seed) == parts.rows(seed)
