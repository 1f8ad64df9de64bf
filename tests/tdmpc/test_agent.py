"""One update: which loss moves what, when the policy moves, averages, clips, learning rates."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from tdmpc import math as tm
from tdmpc.accel import kernels
from tdmpc.agent import ops
from tdmpc.agent.agent import Agent, Schedule, freeze_step
from tdmpc.agent.batch import Batch
from tdmpc.agent.ensemble_mlp import StackedMLP
from tdmpc.agent.losses import _value_loss, draw_noise, draw_policy_noise, model_losses, policy_pass
from tdmpc.agent.ops import clip_per_seed, per_seed_norm
from tdmpc.agent.value_targets import Latents, TargetSpec, value_batch
from tdmpc.math import soft_cross_entropy, two_hot
from tdmpc.metrics import GRADIENT_FLOW
from tdmpc.rng import Draws, Streams

OBS, ACTIONS = 5, 3


def batch_of(config, seeds=1):
    g = torch.Generator().manual_seed(0)
    steps, size = config.horizon, config.batch_size
    return Batch(
        torch.randn(seeds, steps + 1, size, OBS, generator=g),
        torch.rand(seeds, steps, size, ACTIONS, generator=g) * 2 - 1,
        torch.rand(seeds, steps, size, generator=g),
        (torch.rand(seeds, steps, size, generator=g) > 0.7).float(),
    )


def trained_agent(config, seeds=(1,)):
    """An agent whose zero-initialised layers have moved, so that every gradient can flow."""
    agent = Agent(config, OBS, ACTIONS, list(seeds), "cpu")
    streams = Streams(seeds, "warm-up")
    for _ in range(3):
        agent.update(batch_of(config, len(seeds)), Schedule(False, 1e-4), streams)
    return agent, streams


def moved(before, module):
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def copy_of(module):
    return [p.detach().clone() for p in module.parameters()]


@pytest.mark.parametrize(("head", "imagined"), [("joint", 1), ("separate", 2)])
def test_each_loss_reaches_the_modules_the_catalogue_names_and_no_other(tiny, head, imagined):
    config = tiny(multi_gamma_head=head, episodic=True, imagination_horizon=imagined)
    agent, streams = trained_agent(config)
    noise = draw_noise(config, ACTIONS, streams)
    found = model_losses(agent.networks, batch_of(config), noise, config, frozen=False, full=False)
    everything = {**agent.model.trained_modules(), "policy": agent.policy, "targets": agent.targets}
    assert set(found.weighted) == set(GRADIENT_FLOW)
    for loss, reached in GRADIENT_FLOW.items():
        for name, module in everything.items():
            params = [p.requires_grad_(True) for p in module.parameters()]
            grads = torch.autograd.grad(found.weighted[loss].sum(), params, retain_graph=True, allow_unused=True)
            flows = any(g is not None and bool((g != 0).any()) for g in grads)
            assert flows == (name in reached), (loss, name)


def test_the_policy_update_moves_the_policy_alone(tiny):
    config = tiny()
    agent, streams = trained_agent(config)
    model, policy = copy_of(agent.model), copy_of(agent.policy)
    states = torch.randn(1, config.horizon + 1, config.batch_size, config.latent_dim)
    agent._update_policy(states, 1e-4, draw_policy_noise(config, ACTIONS, streams))
    assert moved(policy, agent.policy)
    assert not moved(model, agent.model)


@pytest.mark.parametrize(
    ("reduce", "q", "q_with_an_end"), [("min", 1 + 5, 1), ("max", 3 + 10, 3 + 5), ("mean", 2 + 7.5, 2 + 2.5)]
)
def test_the_policy_is_judged_by_reward_and_lowest_value_over_heads(tiny, reduce, q, q_with_an_end):
    """Rewards 1 and 3; latents behind two dynamics heads 1 and 2, worth 10 and 20 times that; discount 1/2."""

    class Model:
        def __init__(self, ends):
            self.ends = ends

        def rewards(self, z, action):
            return torch.tensor([1.0, 3.0])[None, :, None].expand(1, 2, 4)

        def next(self, z, action):
            return z + torch.tensor([1.0, 2.0])[None, :, None, None]

        def values(self, z, dropout):
            return torch.stack([20 * z.mean(-1), 10 * z.mean(-1)], dim=1)

        def alive(self, z):
            return (z.mean(-1) < 2).float() if self.ends else None  # behind the second head it is over

    def policy(z):
        return torch.zeros(1, 4, ACTIONS), torch.zeros(1, 4, ACTIONS)

    config = tiny(policy_head_reduce=reduce, discount=0.5)
    for ends, expected in ((False, q), (True, q_with_an_end)):
        found = policy_pass(Model(ends), policy, torch.zeros(1, 2, 2, 8), torch.zeros(1, 4, ACTIONS), None, config)
        assert found.terms.q.tolist() == [[[expected] * 2] * 2]


def test_the_scale_follows_the_spread_at_the_first_states_and_stays_above_one(tiny, monkeypatch):
    config = tiny(scale_tau=0.25)
    agent, streams = trained_agent(config)
    agent.scale = torch.ones(1)
    states = torch.randn(1, config.horizon + 1, config.batch_size, config.latent_dim)
    seen = []
    for spread, scale in ((21.0, 6.0), (0.3, 4.75)):  # 1 + (21 - 1) / 4, then 6 + (1 - 6) / 4
        monkeypatch.setattr(tm, "percentile_range", lambda q, to=spread: seen.append(q.shape) or torch.tensor([to]))
        agent._update_policy(states, 1e-4, draw_policy_noise(config, ACTIONS, streams))
        assert agent.scale.tolist() == [scale]
    assert seen == [(1, config.batch_size)] * 2


def test_a_frozen_encoder_stands_still_and_the_rest_goes_on(tiny):
    config = tiny()
    agent, streams = trained_agent(config)
    encoder, dynamics = copy_of(agent.model.encoder), copy_of(agent.model.dynamics)
    agent.update(batch_of(config), Schedule(True, 1e-4), streams, log=True)
    assert not moved(encoder, agent.model.encoder)
    assert moved(dynamics, agent.model.dynamics)


def test_policy_updates_are_counted(tiny):
    config = tiny(pi_update_freq=3)
    agent = Agent(config, OBS, ACTIONS, [1], "cpu")
    streams = Streams([1], "x")
    happened = []
    for _ in range(7):
        before = copy_of(agent.policy)
        agent.update(batch_of(config), Schedule(False, 1e-4), streams)
        happened.append(moved(before, agent.policy))
    assert happened == [True, False, False, True, False, False, True]


def test_averages_follow_at_their_rates(tiny):
    config = tiny(tau=0.1, aux_value_tau=0.2, policy_ema_enabled=True, policy_ema_tau=0.3)
    agent, streams = trained_agent(config)
    pairs = [
        (agent.targets.value, agent.model.value, 0.1),
        (agent.targets.aux, agent.model.aux, 0.2),
        (agent.policy_ema, agent.policy, 0.3),
    ]
    before = [copy_of(target) for target, _, _ in pairs]
    agent.update(batch_of(config), Schedule(False, 1e-4), streams)
    for old, (target, online, tau) in zip(before, pairs, strict=True):
        for was, now, goal in zip(old, target.parameters(), online.parameters(), strict=True):
            torch.testing.assert_close(now.detach(), was + tau * (goal.detach() - was))


def test_learning_rates_scale_with_the_ensembles(tiny):
    changes = {"lr": 0.001, "num_reward_heads": 3, "num_q": 2, "multi_gamma_gammas": [0.9, 0.95, 0.97]}
    rates = [g["lr"] for g in Agent(tiny(**changes), OBS, ACTIONS, [1], "cpu").optimisers["model"].param_groups]
    assert rates == pytest.approx([0.0003, 0.004, 0.003, 0.0004, 0.0006])  # encoder dynamics reward value aux
    off = tiny(**changes, ensemble_lr_scaling=False)
    rates = [g["lr"] for g in Agent(off, OBS, ACTIONS, [1], "cpu").optimisers["model"].param_groups]
    assert rates == pytest.approx([0.0003, 0.001, 0.001, 0.001, 0.001])


def test_gradients_are_clipped_per_seed():
    grads = [torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[[4.0]], [[0.4]]])]
    norms = clip_per_seed(grads, 1.0)
    assert norms.tolist() == pytest.approx([5.0, 0.5])
    assert per_seed_norm(grads).tolist() == pytest.approx([1.0, 0.5], rel=1e-5)


def test_a_nan_in_one_seed_leaves_the_other_untouched(tiny):
    config = tiny()
    clean, _ = trained_agent(config, (1, 2))
    broken = copy.deepcopy(clean)
    with torch.no_grad():
        for parameter in broken.model.parameters():
            parameter[0] = float("nan")
    for agent in (clean, broken):
        agent.update(batch_of(config, 2), Schedule(False, 1e-4), Streams([1, 2], "noise"), log=True)
    for name in ("model", "policy", "targets"):
        for a, b in zip(clean.modules()[name].parameters(), broken.modules()[name].parameters(), strict=True):
            assert torch.equal(a[1], b[1])
    assert broken.finite.tolist() == [False, True]


def test_value_and_reward_heads_start_at_zero_and_auxiliary_heads_do_not(tiny):
    agent = Agent(tiny(), OBS, ACTIONS, [1], "cpu")
    z = torch.randn(1, 4, agent.config.latent_dim)
    assert agent.model.values(z).abs().max() < 1e-5
    assert agent.model.rewards(z, torch.zeros(1, 4, ACTIONS)).abs().max() < 1e-5
    assert agent.targets.aux_values(z, agent.model.bins).abs().max() > 1e-4


PARTS = ("encoder", "dynamics", "reward", "value", "aux")


@pytest.mark.parametrize(
    ("change", "others"),
    [
        ({"num_q": 5}, {"encoder", "dynamics", "reward", "aux"}),
        ({"planner_num_dynamics_heads": 2}, {"encoder", "reward", "value", "aux"}),
        ({"num_reward_heads": 3}, {"encoder", "dynamics", "value", "aux"}),
        ({"multi_gamma_head": "separate"}, {"encoder", "dynamics", "reward", "value"}),
        ({"multi_gamma_gammas": [0.9, 0.95, 0.97]}, {"encoder", "dynamics", "reward", "value"}),
        ({"multi_gamma_loss_weight": 0}, {"encoder", "dynamics", "reward", "value"}),
        ({"num_enc_layers": 3}, {"dynamics", "reward", "value", "aux"}),
    ],
)
def test_a_network_starts_the_same_whatever_other_networks_there_are(tiny, change, others):
    base, changed = (Agent(tiny(**c), OBS, ACTIONS, [4, 7], "cpu") for c in ({}, change))
    for name in others:
        assert torch.equal(getattr(base.model, name).numbers, getattr(changed.model, name).numbers), name
    assert torch.equal(base.policy.net.numbers, changed.policy.net.numbers)
    for name in {*PARTS, *changed.model.trained_modules()} - others - {"encoder", "aux"}:
        few, many = sorted((getattr(agent.model, name).numbers for agent in (base, changed)), key=lambda n: n.shape[1])
        assert torch.equal(few, many[:, : few.shape[1]]), name  # the heads that both have
        assert not torch.equal(many[:, 0], many[:, -1])


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"num_q": 5}, {"dropout"}),
        ({"td_num_dynamics_heads": 1}, {"heads"}),
        ({"dropout": 0.1}, {"dropout", "aux_dropout"}),
        ({"multi_gamma_head": "separate"}, {"aux_dropout"}),
        ({"multi_gamma_loss_weight": 0}, {"aux_dropout"}),
        ({"num_rollouts": 3}, {"actions"}),
        ({"pi_update_freq": 2}, set()),
    ],
)
def test_a_source_of_noise_does_not_shift_the_others(tiny, change, differs):
    """In the second update too, after a draw from every stream."""
    drawn = []
    for config in (tiny(), tiny(**change)):
        streams = Streams([1, 2], "update")
        for update in range(2):
            noise = draw_noise(config, ACTIONS, streams)
            if update % config.pi_update_freq == 0:
                policy_noise = draw_policy_noise(config, ACTIONS, streams)
        drawn.append(noise)
    base, changed = drawn
    for name in set(base._fields) - differs:
        one, other = getattr(base, name), getattr(changed, name)
        assert torch.equal(one[1] if "dropout" in name else one, other[1] if "dropout" in name else other), name
    assert policy_noise.eps.shape[0] == 2


def test_auxiliary_values_have_dropout_in_their_first_layer(tiny):
    config = tiny(multi_gamma_head="separate", dropout=0.5)
    agent, streams = trained_agent(config)
    noise = draw_noise(config, ACTIONS, streams)
    assert noise.aux_dropout.shape == (2, (config.horizon + 1) * config.batch_size, config.mlp_dim)
    batch = batch_of(config)
    losses = [
        model_losses(agent.networks, batch, noise._replace(aux_dropout=aux_dropout), config, True, False).raw
        for aux_dropout in (noise.aux_dropout, None)
    ]
    assert losses[0]["aux_value_loss"].item() != losses[1]["aux_value_loss"].item()
    assert losses[0]["value_loss"].item() == losses[1]["value_loss"].item()


def test_schedule_of_the_base_configuration():
    from tdmpc.config import TrainConfig

    base = TrainConfig()
    assert freeze_step(base) == 50_000
    assert Schedule.at(49_999, base) == Schedule(False, 1e-4)
    assert Schedule.at(75_000, base).entropy_coeff == pytest.approx(1e-5)
    assert Schedule.at(100_000, base) == Schedule(True, 1e-6)
    never = TrainConfig(detach_encoder_ratio=0)
    assert not Schedule.at(never.steps, never).encoder_frozen


@pytest.mark.parametrize("source", ["imagine", "replay_rollout", "replay_true"])
@pytest.mark.parametrize("head", ["joint", "separate"])
def test_auxiliary_values_train_on_every_source(tiny, source, head):
    config = tiny(aux_value_source=source, multi_gamma_head=head)
    agent, streams = trained_agent(config)
    before = copy_of(agent.model.aux)
    metrics = agent.update(batch_of(config), Schedule(False, 1e-4), streams, log=True)
    assert metrics["aux_value_loss_per_gamma"].shape == (1, 2)
    assert moved(before, agent.model.aux)


@pytest.mark.parametrize("source", ["imagine", "replay_rollout", "replay_true"])
@pytest.mark.parametrize("aux_source", ["imagine", "replay_rollout"])
def test_values_train_on_every_source(tiny, source, aux_source):
    config = tiny(ac_source=source, aux_value_source=aux_source)
    agent, streams = trained_agent(config)
    before = copy_of(agent.model.value)
    metrics = agent.update(batch_of(config), Schedule(False, 1e-4), streams, log=True)
    assert moved(before, agent.model.value)
    # stored transitions have one next latent, whatever the heads: no spread over heads to report
    assert ("td_target_std_across_heads" in metrics) == (source == "imagine")


@pytest.mark.parametrize("source", ["replay_true", "replay_rollout"])
def test_a_replayed_target_is_the_stored_reward_and_the_value_of_what_followed(tiny, source):
    """The value of the next observation's encoding, wherever the transition starts (TD-MPC2's `_td_target`)."""
    config = tiny(ac_source=source, discount=0.9, num_q=1)
    agent, streams = trained_agent(config)
    batch = batch_of(config)
    noise = draw_noise(config, ACTIONS, streams, dropout=False)
    with torch.no_grad():
        metrics = model_losses(agent.networks, batch, noise, config, frozen=True, full=True).metrics
        after = agent.model.encode(batch.obs)[:, 1:].flatten(1, 2)
        values = agent.targets.values(after, agent.model.bins)[:, 0]
    assert metrics["td_target_mean"].item() == pytest.approx((batch.rewards.flatten(1) + 0.9 * values).mean().item())
    ended = tiny(ac_source=source, discount=0.9, num_q=1, episodic=True)
    agent, streams = trained_agent(ended)
    with torch.no_grad():
        metrics = model_losses(agent.networks, batch, noise, ended, frozen=True, full=True).metrics
        after = agent.model.encode(batch.obs)[:, 1:].flatten(1, 2)
        values = agent.targets.values(after, agent.model.bins)[:, 0] * (1 - batch.terminated.flatten(1))
    assert metrics["td_target_mean"].item() == pytest.approx((batch.rewards.flatten(1) + 0.9 * values).mean().item())


def test_an_imagined_target_is_the_lowest_of_the_drawn_heads_at_every_discount(tiny):
    config = tiny(discount=0.8, num_reward_heads=2, imagine_initial_source="replay_true")
    agent, streams = trained_agent(config)
    model, targets, batch = agent.model, agent.targets, batch_of(config)
    noise = draw_noise(config, ACTIONS, streams, dropout=False)
    heads = noise.heads[0].tolist()
    assert len(heads) == 2 < config.planner_num_dynamics_heads
    with torch.no_grad():
        encoded = model.encode(batch.obs)
        latents, z = Latents(encoded, encoded[:, 1:].unsqueeze(2), encoded), encoded.flatten(1, 2)
        found = value_batch("imagine", TargetSpec(True, True), agent.networks, latents, batch, noise, config, True)
        two_hots = []
        for n in range(config.num_rollouts):
            action = agent.policy.sample(z, noise.actions[:, 0, n])
            reward = model.rewards(z, action).amin(1)
            next_z = model.next(z.unsqueeze(1), action.unsqueeze(1)).unbind(1)
            values = [(targets.values(z_h, model.bins).amin(1), *targets.aux_values(z_h, model.bins).unbind(1))
                      for z_h in next_z]  # fmt: skip
            for c, gamma in enumerate((0.8, *config.multi_gamma_gammas)):
                by_head = [reward + gamma * of_head[c] for of_head in values]
                torch.testing.assert_close(found.per_head[:, c, :, n], torch.stack(by_head, 1))
                lowest = torch.minimum(*(by_head[h] for h in heads))
                torch.testing.assert_close(found.lowest[:, c, n], lowest)
                two_hots.append(two_hot(lowest, model.bins))
    by_discount = torch.stack(two_hots).unflatten(0, (config.num_rollouts, -1)).mean(0)
    torch.testing.assert_close(found.target.flatten(2, 3), by_discount.transpose(0, 1))


def test_a_longer_imagination_begins_again_where_head_zero_led_until_an_end(tiny):
    """Two steps by hand: the second one's targets are those of imagining one step from head 0's next latents."""
    config = tiny(imagination_horizon=2, imagine_initial_source="replay_true", episodic=True)
    agent, streams = trained_agent(config)
    model, nets, batch = agent.model, agent.networks, batch_of(config)
    noise = draw_noise(config, ACTIONS, streams, dropout=False)
    encoded = model.encode(batch.obs)
    latents = Latents(encoded, encoded[:, 1:].unsqueeze(2), encoded)

    def imagined(starts, actions):
        given = (nets, latents._replace(encoded=starts), batch, noise._replace(actions=actions), config, False)
        return value_batch("imagine", TargetSpec(True, True), *given)

    def next_of_head_0(rollout):
        z = encoded.flatten(1, 2)
        action = agent.policy.sample(z, noise.actions[:, 0, rollout])
        return model.next(z.unsqueeze(1), action.unsqueeze(1))[:, 0]

    nexts = [next_of_head_0(rollout) for rollout in range(2)]
    with torch.no_grad():  # an end behind about half of the transitions
        model.termination.parts()[-1].bias[..., 1] -= model.end_logits(nexts[0]).median()
    found = imagined(encoded, noise.actions)
    rows, shape = config.horizon + 1, encoded.shape[1:3]
    firsts = [imagined(encoded, noise.actions[:, :1, rollout : rollout + 1]).target for rollout in range(2)]
    torch.testing.assert_close(found.target[:, :, :rows], (firsts[0] + firsts[1]) / 2)
    for rollout, z in enumerate(nexts):
        own = slice(rows * (1 + rollout), rows * (2 + rollout))
        second = imagined(z.unflatten(1, shape), noise.actions[:, 1:, rollout : rollout + 1])
        alive = model.alive(z).unflatten(1, shape)
        assert 0 < alive.mean() < 1
        torch.testing.assert_close(found.states[:, own], second.states)
        torch.testing.assert_close(found.target[:, :, own], second.target * alive[:, None, ..., None])

    logits = model.value(found.states.flatten(1, 2).unsqueeze(1)).unflatten(2, found.states.shape[1:3])
    errors = soft_cross_entropy(logits, found.target[:, :1])
    by_hand = (errors[:, :, :rows].mean() + errors[:, :, rows:].mean()) / 2  # both steps weigh the same
    torch.testing.assert_close(_value_loss(model, found, noise, full=False)[0][0], by_hand)

    def reaches_the_encoder(states):
        grads = torch.autograd.grad(states.square().sum(), list(model.encoder.parameters()), retain_graph=True)
        return any(bool(g.any()) for g in grads)

    assert reaches_the_encoder(found.states[:, :1])
    assert not reaches_the_encoder(found.states[:, 1:])


@pytest.mark.parametrize("off", [{"multi_gamma_loss_weight": 0}, {"multi_gamma_gammas": "[]"}])
def test_auxiliary_values_can_be_off(tiny, off):
    config = tiny(**off)
    agent, streams = trained_agent(config)
    assert "aux" not in agent.model.trained_modules()
    assert "aux_value_loss" not in agent.update(batch_of(config), Schedule(False, 1e-4), streams, log=True)


def test_spreads_need_two_heads(tiny):
    config = tiny(num_q=1, planner_num_dynamics_heads=1, td_num_dynamics_heads=0)
    agent, streams = trained_agent(config)
    metrics = agent.update(batch_of(config), Schedule(False, 1e-4), streams, log=True)
    assert not {"td_target_std_across_heads", "value_std_across_q_heads"} & set(metrics)


def test_bfloat16_is_in_the_products_alone():
    """Numbers, gradients and what comes out stay float32; all of it is as near as eight bits are."""
    found = []
    for bfloat16 in (False, True):
        net = StackedMLP(2, [17, 32, 8], [1], "test", simnorm=4, bfloat16=bfloat16)
        x = torch.randn(1, 2, 50, 17, generator=torch.Generator().manual_seed(7))
        y = net(x)
        found.append((y, *torch.autograd.grad((y * x[..., :8]).sum(), [net.numbers])))
    for near, far in zip(*found, strict=True):
        assert far.dtype == torch.float32
        assert 0 < (far - near).norm() < 0.02 * near.norm()


def test_the_gradient_of_an_input_that_heads_share_is_summed_in_float32():
    """In bfloat16, 256 + 1 + 1 is 256: the sum of eight bits loses what each small head adds."""
    weight = torch.tensor([256.0, 1.0, 1.0]).view(1, 3, 1, 1)
    x = torch.ones(1, 1, 1, 1, requires_grad=True)
    y = ops._linear(x, weight, torch.zeros(1, 3, 1, 1), torch.bfloat16)
    assert torch.autograd.grad(y.sum(), x)[0].item() == 258


def test_dropout_leaves_out_its_share_and_scales_the_rest():
    dropout = Draws.fresh([1, 2], "x").dropout(0.3, 2, 50, 64)
    factors = dropout.factors(50)
    assert factors.shape == (2, 2, 50, 64)
    zero = factors == 0
    torch.testing.assert_close(factors[~zero], torch.full((int((~zero).sum()),), 1 / 0.7))
    for share in zero.float().flatten(2).mean(-1).flatten().tolist():
        assert share == pytest.approx(0.3, abs=0.03)  # 3,200 numbers, sd 0.008
    assert not torch.equal(zero[0], zero[1])
    assert torch.equal(dropout.factors(9), factors[:, :, :9])
    assert Draws.fresh([1], "x").dropout(0.0, 2, 50, 64) is None


@pytest.mark.slow
@pytest.mark.skipif(not kernels.compiled(), reason="no C compiler: torch's own Adam imports it all")
def test_an_update_imports_nothing_that_takes_long():
    """A third of a second of a run's start, where gradients are handed to `backward` or torch.compile is touched."""
    code = """
import sys, torch
from tdmpc.agent import ops
from tdmpc.agent.agent import Agent, Schedule
from tdmpc.config import TrainConfig
from tdmpc.agent.batch import Batch
from tdmpc.rng import Streams
config = TrainConfig().with_overrides({"batch_size": 4, "mlp_dim": 32, "latent_dim": 32, "enc_dim": 32, "num_q": 2})
agent, steps = Agent(config, 5, 3, [1], "cpu"), (1, config.horizon, 4)
batch = Batch(torch.randn(1, config.horizon + 1, 4, 5), torch.zeros(*steps, 3), torch.zeros(steps), torch.zeros(steps))
agent.update(batch, Schedule(False, 1e-4), Streams([1], "x"))
assert agent.finite.all()
assert not {"sympy", "torch._dynamo"} & set(sys.modules), "imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
