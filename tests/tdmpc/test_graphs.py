"""What a GPU's graphs need of the agent, on a CPU: work that waits for nothing and lies in one place, and that repeats
exactly when its operations alone are run again. What a GPU makes of it is tests/tdmpc/test_gpu.py's.
"""

from __future__ import annotations

import contextlib
import importlib

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from tdmpc import api
from tdmpc import math as tm
from tdmpc.accel import cuda_graphs, kernels
from tdmpc.agent.agent import Agent, Schedule
from tdmpc.agent.batch import Batch
from tdmpc.rng import Draws, Streams
from tdmpc.training.trainer import Trainer

OBS, ACTIONS, SEEDS = 5, 3, (1, 2)
VARIANTS = [
    {},
    {"policy_ema_enabled": True, "pi_update_freq": 2},
    {"episodic": True, "imagination_horizon": 2, "multi_gamma_head": "joint"},
    {"ac_source": "replay_true", "aux_value_source": "replay_rollout", "dropout": 0.0, "bfloat16": True},
    {"planner_num_dynamics_heads": 1, "td_num_dynamics_heads": 1, "num_rollouts": 1, "train_act_std_coeff": 0.0},
]


# --- a GPU's graph, on a CPU ----------------------------------------------------------------------------


class Tape:
    """Operations with the very tensors they ran on, as a CUDA graph has them; run again without any Python between."""

    def __init__(self):
        self.operations = []
        self.replays = 0

    def replay(self):
        self.replays += 1
        if self.replays == 1:
            return  # here a recording runs what it records
        with torch.no_grad():
            for op, args, kwargs, results in self.operations:
                for before, now in zip(tree_leaves(results), tree_leaves(op(*args, **kwargs)), strict=True):
                    if isinstance(before, Tensor) and before.data_ptr() != now.data_ptr():
                        before.copy_(now)


class Taping(TorchDispatchMode):
    def __init__(self, tape, stream=None):
        super().__init__()
        self._tape = tape

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        assert torch.Tag.nondeterministic_seeded not in op.tags, f"{op} would draw the same number in every replay"
        results = op(*args, **(kwargs or {}))
        self._tape.operations.append((op, args, kwargs or {}, results))
        return results


class Stream:
    def wait_stream(self, other):
        pass


@pytest.fixture
def taped(monkeypatch):
    """CUDA graphs are tapes, and the agent takes the way of a GPU: torch operations."""
    made = []

    def tape():
        made.append(Tape())
        return made[-1]

    for name, value in {
        "CUDAGraph": tape, "graph": Taping, "Stream": Stream, "current_stream": Stream,
        "stream": contextlib.nullcontext,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    adam = importlib.import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda **_: ["cpu"])
    monkeypatch.setattr(kernels, "_library", lambda: None)
    return made


def batch_of(config, data, device="cpu"):
    shape = (config.horizon, config.batch_size)
    obs, actions = data.normal(config.horizon + 1, config.batch_size, OBS), data.uniform(*shape, ACTIONS) * 2 - 1
    ends = (data.uniform(*shape) > 0.9).float() if config.episodic else torch.zeros(len(SEEDS), *shape)
    return Batch(*(x.to(device) for x in (obs, actions, data.uniform(*shape), ends)))


def course(config):
    """Everything that can be seen of an agent over 24 updates and plans: the encoder is frozen from the twelfth on, the
    entropy's coefficient moves, every fifth is logged."""
    agent = Agent(config, OBS, ACTIONS, SEEDS, "cpu", cuda_graphs=True)
    data, update, plan = Draws.fresh(SEEDS, "data"), Streams(SEEDS, "update"), Streams(SEEDS, "plan")
    warm, seen = torch.zeros(len(SEEDS), 1, config.horizon, ACTIONS), []
    for n in range(24):
        found = agent.update(batch_of(config, data), Schedule(n >= 12, 0.1 / (n + 1)), update, log=n % 5 == 4)
        if n % 5 == 4:
            seen += [found, agent.take_policy_metrics()]
        seen.append(agent.act(data.normal(OBS), warm, plan))
        warm = seen[-1].mean.clone()
        seen[-1] = type(seen[-1])(*(x.clone() for x in seen[-1]))
    return agent, [x.clone() for x in tree_leaves(seen)]


@pytest.mark.parametrize("changes", VARIANTS)
def test_replayed_updates_and_plans_are_those_that_were_not(tiny, taped, monkeypatch, changes):
    config = tiny(**changes)
    replayed, ours = course(config)
    # plans, and updates with the policy's and, where it may rest, without; with the encoder frozen all of them anew
    assert sum(tape.replays > 1 for tape in taped) == (4 if config.pi_update_freq == 1 else 6)
    assert replayed.finite.all()
    monkeypatch.setattr("tdmpc.accel.execution.CudaGraph", lambda work: work)
    agent, theirs = course(config)
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for name, module in agent.modules().items():
        pairs = zip(replayed.modules()[name].parameters(), module.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_run_goes_on_from_its_checkpoint_with_graphs_or_without(tiny, trained, taped, monkeypatch):
    """A run that is stopped twice and replays its second part has the weights of one that replays nothing, to rounding.

    The second part is of updates on the data of the seed phase: the optimiser of a recorded update rounds in another
    order, and a planner's choice between two nearly equal actions can turn that into another trajectory.
    """
    config = tiny(pi_update_freq=2)
    plain, replayed = trained("plain"), trained("replayed")

    def train(run, tag, with_graphs, ticks):
        monkeypatch.setattr(api, "Trainer", lambda *given: Trainer(*given[:-1], with_graphs))
        polls = iter(range(ticks))
        (outcome,) = run.train(config, tag=tag, should_stop=lambda: next(polls, None) is None)
        return outcome

    for run, second_with_graphs in ((plain, False), (replayed, True)):
        train(run, "a001", False, 27)
        assert train(run, "a002", second_with_graphs, 14).state == "interrupted"
    assert sum(tape.replays > 1 for tape in taped) == 2  # updates with and without the policy's
    weights = replayed.weights(1)
    for name, value in plain.weights(1).items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)
    ended = train(replayed, "a003", True, 10**6)
    assert (ended.state, ended.step) == ("finished", config.steps)
    assert sum(tape.replays > 1 for tape in taped) > 2  # and what the third part records anew


def test_inputs_lie_where_they_lay_in_the_first_call(taped):
    """What was compiled before the recording, for their strides too, must not be compiled anew in it."""
    seen = []

    def work(pair, factor, none):
        seen.append([(x.data_ptr(), x.stride()) for x in pair])
        return pair[0] * factor + pair[1]

    recorded = cuda_graphs.CudaGraph(work)
    for n in range(6):
        given = torch.full((2,), float(n)).expand(3, 2), torch.ones(3, 2)
        assert recorded(given, 2.0, None).tolist() == [[2.0 * n + 1] * 2] * 3
    assert seen == [seen[0]] * (cuda_graphs.WARM_UPS + 1)
    assert [tape.replays for tape in taped] == [6 - cuda_graphs.WARM_UPS]


# --- no waiting -----------------------------------------------------------------------------------------


class Elsewhere(Draws):
    """Draws of the CPU, sent to a device that has no numbers, only shapes."""

    def normal(self, *shape):
        return sent(super().normal, *shape)

    def uniform(self, *shape):
        return sent(super().uniform, *shape)

    def subsets(self, of, size):
        return sent(super().subsets, of, size)

    def dropout(self, rate, *shape):
        return sent(super().dropout, rate, *shape)


class ElsewhereStreams(Streams):
    def _fresh(self, name):
        return Elsewhere.fresh(self._seeds, *self._purpose, name)


def sent(draw, *how):
    with _disable_current_modes():
        return tree_map_only(Tensor, lambda x: x.to("meta"), draw(*how))


class OnOneDevice(TorchDispatchMode):
    """Nothing is sent from the CPU but what Adam counts its steps with."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        found = op(*args, **(kwargs or {}))
        devices = {x.device.type for x in tree_leaves((args, kwargs, found)) if isinstance(x, Tensor) and x.dim()}
        assert "cpu" not in devices, op
        return found


@pytest.mark.parametrize("changes", VARIANTS)
def test_updates_and_plans_wait_for_nothing_and_send_nothing(tiny, changes):
    """The device "meta" has no numbers: whoever reads one, as a branch or `.item()` does, fails."""
    config = tiny(**changes)
    tm._cached_constant.cache_clear()  # constants are sent once
    agent = Agent(config, OBS, ACTIONS, SEEDS, "meta")
    data, draws = Draws.fresh(SEEDS, "data"), ElsewhereStreams(SEEDS, "draws")
    warm = torch.zeros(len(SEEDS), 1, config.horizon, ACTIONS, device="meta")
    for n in range(4):
        batch = batch_of(config, data, "meta")
        with OnOneDevice() if n else contextlib.nullcontext():
            agent.update(batch, Schedule(n > 1, 1e-4), draws, log=n == 3)
            agent.take_policy_metrics()
            assert agent.act(batch.obs[:, 0, 0], warm, draws).action.shape == (len(SEEDS), 1, ACTIONS)


def test_a_recording_that_would_repeat_a_draw_is_seen(taped):
    """The tape above tells: what draws within what is replayed would draw the same again."""
    work = cuda_graphs.CudaGraph(lambda x: x + torch.randn(3))
    for _ in range(cuda_graphs.WARM_UPS):
        work(torch.zeros(3))
    with pytest.raises(AssertionError, match="the same number in every replay"):
        work(torch.zeros(3))
