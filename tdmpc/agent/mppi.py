"""MPPI in latent space (Hansen et al. 2022, alg. 1; Hansen et al. 2024, sec. 3).

Shapes: S seeds, P episodes planned together for each seed (1 in training, several in evaluation), H dynamics heads, T
horizon, E candidates, A action size, L latent size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tdmpc import math as tm
from tdmpc.agent.ensemble_mlp import Heads
from tdmpc.agent.value_targets import Networks
from tdmpc.config import TrainConfig
from tdmpc.rng import Streams

MANY_ACTIONS, MORE_ITERATIONS = 20, 2  # TD-MPC2's code plans longer for humanoids and dogs
WORST = -1e9  # in place of a score that is NaN or infinite; finite, so that a softmax over scores is finite


class MppiPlan(NamedTuple):
    action: Tensor  # (S, P, A)
    mean: Tensor  # (S, P, T, A), from which the next plan starts
    std: Tensor  # (S, P, A) of the first action
    policy_share: Tensor  # (S, P) share of policy candidates among the elites


class PlanNoise(NamedTuple):
    """Random numbers of one plan, standard-normal if not stated otherwise.

    N: policy candidates of all P episodes together. I: `iterations`. K: elites.
    """

    policy: Tensor  # (S, T, N, A) for sampling from the policy
    added: Tensor  # (S, T, N, A) added to the policy's actions
    sampled: Tensor  # (S, I, P, T, E, A) for sampled candidates
    choice: Tensor | None  # (S, P, K) uniform in [0, 1), for sampling an elite by weight; None: take the best
    action: Tensor | None  # (S, P, A) added to the action; None: no exploration noise


class _Candidates(NamedTuple):
    actions: Tensor  # (S, P, T, E, A)
    scores: Tensor  # (S, P, E)


def score(nets: Networks, z: Tensor, actions: Tensor, config: TrainConfig, heads: Heads) -> Tensor:
    """z (S, P, L), actions (S, P, T, E, A) -> (S, P, E): undiscounted rewards plus target value of the last state,
    reduced over dynamics and value heads by `planner_head_reduce`."""
    episodes, horizon, candidates = actions.shape[1:4]
    rollout = _Rollout.start(z, candidates)
    flat = actions.transpose(1, 2).flatten(2, 3)  # (S, T, P*E, A)
    for t in range(horizon):
        rollout = _advance(nets, rollout, flat[:, t], config, heads)
    return _final_score(nets, rollout, config, episodes)


def iterations(config: TrainConfig, action_size: int) -> int:
    """Iterations of one plan: `iterations`, and two more from 20 action dimensions on, as in TD-MPC2's code."""
    return config.iterations + (MORE_ITERATIONS if action_size >= MANY_ACTIONS else 0)


def draw_plan_noise(config: TrainConfig, episodes: int, size: int, streams: Streams, best: bool) -> PlanNoise:
    """Noise of one plan for actions (size,)."""
    c = config
    policy_shape = (c.horizon, episodes * c.num_pi_trajs, size)
    return PlanNoise(
        streams["policy candidates"].normal(*policy_shape),
        streams["policy candidates' noise"].normal(*policy_shape),
        streams["sampled candidates"].normal(iterations(c, size), episodes, c.horizon, c.num_samples, size),
        None if best else streams["elite"].uniform(episodes, c.num_elites),
        None if best or c.train_act_std_coeff == 0 else streams["exploration"].normal(episodes, size),
    )


def plan(
    nets: Networks, z: Tensor, warm: Tensor, config: TrainConfig, streams: Streams, heads: Heads, best: bool
) -> MppiPlan:
    """Plan from latents z (S, P, L), starting at the mean `warm` (S, P, T, A).

    heads: dynamics and reward heads that score candidates (None: all). best: take the best elite (evaluation) instead
    of sampling one by its weight (training).
    """
    noise = draw_plan_noise(config, warm.shape[1], warm.shape[-1], streams, best)
    return plan_with(noise, nets, z, warm, config, heads)


@torch.no_grad()
def plan_with(
    noise: PlanNoise, nets: Networks, z: Tensor, warm: Tensor, config: TrainConfig, heads: Heads,
    score_of: Callable[[Networks, Tensor, Tensor, TrainConfig, Heads], Tensor] = score,
) -> MppiPlan:  # fmt: skip
    """`plan` with noise that was drawn before. score_of: `score`, or its compiled form."""
    c = config
    mean, std = warm, torch.full_like(warm, c.max_std)
    from_policy = _policy_candidates(nets, z, noise, c, heads)
    for eps in noise.sampled.unbind(1):
        sampled = (mean.unsqueeze(3) + std.unsqueeze(3) * eps).clamp(-1, 1)
        scores = score_of(nets, z, sampled, c, heads)
        elite, index, weights = _elites(from_policy, _Candidates(sampled, scores), c)
        w = weights[:, :, None, :, None]
        mean = (w * elite).sum(3)
        std = (w * (elite - mean.unsqueeze(3)).square()).sum(3).sqrt().clamp(c.min_std, c.max_std)
    choice = weights.argmax(-1) if noise.choice is None else _gumbel_choice(weights, noise.choice)
    first = elite[:, :, 0].gather(2, choice[:, :, None, None].expand(-1, -1, 1, elite.shape[-1])).squeeze(2)
    if noise.action is not None:
        first = (first + c.train_act_std_coeff * std[:, :, 0] * noise.action).clamp(-1, 1)
    share = (index < c.num_pi_trajs).float().mean(-1)
    return MppiPlan(first, mean, std[:, :, 0], share)


def shift(mean: Tensor) -> Tensor:
    """(S, P, T, A) -> (S, P, T, A) one step later, with zeros at the end: the start of the next plan."""
    return torch.cat([mean[:, :, 1:], torch.zeros_like(mean[:, :, :1])], dim=2)


def _elites(from_policy: _Candidates, sampled: _Candidates, config: TrainConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Elite actions (S, P, T, K, A), their indices among all candidates (S, P, K) and their weights (S, P, K).

    Policy candidates come first.
    """
    scores = torch.cat([from_policy.scores, sampled.scores], dim=-1)
    scores = torch.nan_to_num(scores, nan=WORST, posinf=WORST, neginf=WORST)
    top = torch.topk(scores, config.num_elites, dim=-1)
    actions = torch.cat([from_policy.actions, sampled.actions], dim=3)
    index = top.indices[:, :, None, :, None].expand(*actions.shape[:3], -1, actions.shape[-1])
    return actions.gather(3, index), top.indices, torch.softmax(top.values / config.temperature, dim=-1)


def _gumbel_choice(weights: Tensor, uniform: Tensor) -> Tensor:
    """weights (S, P, K), uniform (S, P, K) in [0, 1) -> (S, P) index sampled by weight (Gumbel-max).

    `torch.multinomial` would fail for all seeds where one has diverged to NaN.
    """
    uniform = uniform.clamp(min=torch.finfo(weights.dtype).tiny)
    return (weights.clamp(min=1e-30).log() - (-uniform.log()).log()).argmax(-1)


def _policy_candidates(nets: Networks, z: Tensor, noise: PlanNoise, config: TrainConfig, heads: Heads) -> _Candidates:
    """Candidates of the policy along the latents of the first head, rolled out and scored once per plan."""
    c = config
    episodes = z.shape[1]
    added = noise.added * c.policy_seed_noise_std
    rollout = _Rollout.start(z, c.num_pi_trajs)
    actions = []
    for t in range(c.horizon):
        action = (nets.actor.sample(rollout.latents[:, 0], noise.policy[:, t]) + added[:, t]).clamp(-1, 1)
        actions.append(action)
        rollout = _advance(nets, rollout, action, c, heads)
    stacked = torch.stack(actions, dim=1).unflatten(2, (episodes, -1)).transpose(1, 2)
    return _Candidates(stacked, _final_score(nets, rollout, c, episodes))


class _Rollout(NamedTuple):
    """State of all candidates after some steps. At the start, which all heads share, the axis H is 1."""

    latents: Tensor  # (S, H|1, N, L), N = P*E
    total: Tensor  # (S, H|1, N) sum of the rewards so far
    alive: Tensor | None  # (S, H, N) 0 after a predicted termination; None where episodes never terminate

    @classmethod
    def start(cls, z: Tensor, count: int) -> _Rollout:
        """`count` candidates from each latent of z (S, P, L)."""
        latents = z.repeat_interleave(count, dim=1).unsqueeze(1)
        return cls(latents, latents.new_zeros(latents.shape[:-1]), None)


def _advance(nets: Networks, rollout: _Rollout, action: Tensor, config: TrainConfig, heads: Heads) -> _Rollout:
    """One step with action (S, N, A). Rewards after a predicted termination do not count."""
    reward = _reward(nets, rollout.latents, action, config, heads)
    total = rollout.total + (reward if rollout.alive is None else rollout.alive * reward)
    latents = nets.model.next(rollout.latents, action.unsqueeze(1), heads)
    alive = nets.model.alive(latents)
    if alive is not None and rollout.alive is not None:
        alive = alive * rollout.alive
    return _Rollout(latents, total, alive)


def _reward(nets: Networks, latents: Tensor, action: Tensor, config: TrainConfig, heads: Heads) -> Tensor:
    """latents (S, H|1, N, L), action (S, N, A) -> (S, H|1, N) predicted rewards, reduced over the chosen reward
    heads."""
    shape = latents.shape[1:3]
    repeated = action.unsqueeze(1).expand(-1, shape[0], -1, -1).flatten(1, 2)
    rewards = nets.model.rewards(latents.flatten(1, 2), repeated, heads)
    return tm.reduce_heads(rewards, config.planner_head_reduce, 1).unflatten(-1, shape)


def _final_score(nets: Networks, rollout: _Rollout, config: TrainConfig, episodes: int) -> Tensor:
    """Rewards plus the target value of the last state where the episode has not terminated -> (S, P, E)."""
    shape = rollout.latents.shape[1:3]
    values = nets.targets.values(rollout.latents.flatten(1, 2), nets.model.bins).unflatten(-1, shape)
    if rollout.alive is not None:
        values = values * rollout.alive.unsqueeze(1)
    scores = tm.reduce_heads(values + rollout.total.unsqueeze(1), config.planner_head_reduce, (1, 2))
    return scores.unflatten(-1, (episodes, -1))
