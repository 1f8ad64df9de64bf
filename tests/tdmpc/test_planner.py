"""MPPI: scores, refit, choice; and that nothing crosses between seeds."""

from __future__ import annotations

import math

import pytest
import torch

from tdmpc.agent import mppi
from tdmpc.agent.agent import Agent
from tdmpc.agent.value_targets import Networks
from tdmpc.rng import Draws, Streams

OBS, ACTIONS = 5, 3


def moved_agent(config, seeds):
    agent = Agent(config, OBS, ACTIONS, list(seeds), "cpu")
    with torch.no_grad():
        for module in (agent.model, agent.targets, agent.policy):
            for parameter in module.parameters():
                for s, seed in enumerate(seeds):
                    g = torch.Generator().manual_seed(seed)
                    parameter[s] += 0.1 * torch.randn(parameter[s].shape, generator=g)
    return agent


def plan_of(agent, seeds, heads=None, best=False, episodes=1):
    config = agent.config
    z = torch.softmax(Draws.fresh(seeds, "z").normal(episodes, config.latent_dim), -1)
    warm = torch.zeros(len(seeds), episodes, config.horizon, ACTIONS)
    return mppi.plan(agent.networks, z, warm, config, Streams(seeds, "plan"), heads, best)


def test_score_is_undiscounted_reward_plus_value_at_the_end(tiny):
    """Two heads that add 1 and 2 to the latent, reward = mean latent, values 10 z and 20 z at the end."""

    class Model:
        bins = torch.zeros(1)

        def next(self, z, action, heads):
            added = torch.tensor([1.0, 2.0])[None, :, None, None]
            return z + (added if heads is None else added[:, heads])

        def rewards(self, z, action, heads):
            return (z.mean(-1) + action.sum(-1)).unsqueeze(1)

        def alive(self, z):
            return None if ends_at is None else (z.mean(-1) < ends_at).float()

    class Targets:
        def values(self, z, bins):
            return torch.stack([10 * z.mean(-1), 20 * z.mean(-1)], dim=1)

    nets = Networks(Model(), Targets(), None)
    ends_at = None
    z = torch.zeros(1, 1, 4)
    actions = torch.zeros(1, 1, 3, 2, 1)
    actions[0, 0, 0, 1] = 0.5
    # rewards: head 0: 0+1+2, head 1: 0+2+4, the second candidate 0.5 more; end latents 3 and 6
    for reduce, value in (("max", 6 + 120), ("min", 3 + 30), ("mean", (3 + 45 + 6 + 90) / 2)):
        found = mppi.score(nets, z, actions, tiny(planner_head_reduce=reduce), None)
        assert found[0, 0].tolist() == pytest.approx([value, value + 0.5])
    only_first = mppi.score(nets, z, actions, tiny(planner_head_reduce="max"), slice(0, 1))
    assert only_first[0, 0].tolist() == pytest.approx([63, 63.5])
    ends_at = 2  # head 0 ends with its second latent, head 1 with its first: nothing is earned from there on
    for reduce, value in (("max", 1), ("min", 0), ("mean", 0.5)):
        found = mppi.score(nets, z, actions, tiny(planner_head_reduce=reduce), None)
        assert found[0, 0].tolist() == pytest.approx([value, value + 0.5])


def test_elites_are_weighted_by_a_softmax_at_the_temperature(tiny):
    config = tiny(num_elites=2, temperature=0.5, num_pi_trajs=1)
    seeded = mppi._Candidates(torch.full((1, 1, 3, 1, 1), 0.1), torch.tensor([[[2.0]]]))
    sampled = mppi._Candidates(torch.full((1, 1, 3, 2, 1), 0.9), torch.tensor([[[math.nan, 1.0]]]))
    actions, index, weights = mppi._elites(seeded, sampled, config)
    assert index.tolist() == [[[0, 2]]]  # the policy's candidate, then the finite one
    first = 1 / (1 + math.exp(-1.0 / 0.5))
    assert weights[0, 0].tolist() == pytest.approx([first, 1 - first])
    assert actions[0, 0, 0, :, 0].tolist() == pytest.approx([0.1, 0.9])


def test_the_plan_is_the_weighted_mean_and_spread_of_the_elites(tiny, monkeypatch):
    elite = torch.stack([torch.ones(1, 1, 3, ACTIONS), torch.zeros(1, 1, 3, ACTIONS)], dim=3)
    chosen = (elite, torch.tensor([[[0, 7]]]), torch.tensor([[[0.75, 0.25]]]))  # one of the policy's four, one sampled
    monkeypatch.setattr(mppi, "_elites", lambda seeded, sampled, config: chosen)
    found = plan_of(moved_agent(tiny(), (1,)), (1,), best=True)
    torch.testing.assert_close(found.mean, torch.full((1, 1, 3, ACTIONS), 0.75))
    spread = math.sqrt(0.75 * 0.25**2 + 0.25 * 0.75**2)
    torch.testing.assert_close(found.std, torch.full((1, 1, ACTIONS), spread))
    assert found.action.tolist() == [[[1.0] * ACTIONS]]
    assert found.policy_share.tolist() == [[0.5]]


def test_gumbel_choice_draws_by_weight():
    weights = torch.tensor([0.7, 0.2, 0.1]).repeat(1, 4000, 1)
    picks = mppi._gumbel_choice(weights, Draws.fresh([1], "x").uniform(4000, 3)).flatten()
    shares = torch.bincount(picks, minlength=3) / len(picks)
    assert shares.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


def test_actions_are_bounded_and_std_is_clamped(tiny):
    agent = moved_agent(tiny(min_std=0.2, max_std=0.6, train_act_std_coeff=5.0), (1, 2))
    found = plan_of(agent, (1, 2), episodes=3)
    assert found.action.shape == (2, 3, ACTIONS)
    assert found.action.abs().max() <= 1
    assert found.std.min() >= 0.2
    assert found.std.max() <= 0.6 + 1e-6


def test_seeds_plan_as_they_would_alone(tiny):
    config = tiny()
    together = plan_of(moved_agent(config, (1, 2)), (1, 2))
    for s, seed in enumerate((1, 2)):
        alone = plan_of(moved_agent(config, (seed,)), (seed,))
        assert torch.equal(together.action[s], alone.action[0])
        assert torch.equal(together.mean[s], alone.mean[0])


def test_a_diverged_seed_does_not_reach_its_sibling(tiny):
    config = tiny()
    agent = moved_agent(config, (1, 2))
    clean = plan_of(agent, (1, 2))
    with torch.no_grad():
        for parameter in agent.model.parameters():
            parameter[0] = float("nan")
    broken = plan_of(agent, (1, 2))
    assert torch.equal(broken.action[1], clean.action[1])
    assert torch.equal(broken.mean[1], clean.mean[1])


def test_without_policy_candidates(tiny):
    agent = moved_agent(tiny(num_pi_trajs=0), (1,))
    assert plan_of(agent, (1,), best=True).policy_share.item() == 0


def test_shift_moves_the_plan_one_step_on():
    mean = torch.arange(6.0).view(1, 1, 3, 2)
    assert mppi.shift(mean).tolist() == [[[[2, 3], [4, 5], [0, 0]]]]


@pytest.mark.parametrize(("actions", "iterations"), [(19, 6), (20, 8), (38, 8)])
def test_plans_of_many_actions_have_two_more_iterations(tiny, actions, iterations):
    config = tiny(iterations=6)
    noise = mppi.draw_plan_noise(config, 1, actions, Streams([1], "plan"), best=True)
    assert mppi.iterations(config, actions) == noise.sampled.shape[1] == iterations


def test_more_samples_leave_the_policys_candidates_as_they_are(tiny):
    few, many = (
        mppi.draw_plan_noise(tiny(num_samples=n, train_act_std_coeff=0.1), 1, ACTIONS, Streams([1], "plan"), best=False)
        for n in (8, 16)
    )
    for name in ("policy", "added", "choice", "action"):
        assert torch.equal(getattr(few, name), getattr(many, name))


@pytest.mark.parametrize("ensemble", ["dynamics", "reward"])
def test_evaluation_uses_the_first_head_only(tiny, ensemble):
    config = tiny(num_reward_heads=2)
    agent = moved_agent(config, (1,))
    before = plan_of(agent, (1,), heads=slice(0, 1), best=True)
    with torch.no_grad():
        for parameter in getattr(agent.model, ensemble).parameters():
            parameter[:, 1:] += torch.randn(parameter[:, 1:].shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(plan_of(agent, (1,), heads=slice(0, 1), best=True).action, before.action)
    assert not torch.equal(plan_of(agent, (1,), best=True).mean, before.mean)
