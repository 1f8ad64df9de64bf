"""What values are trained on: start states and their TD targets, from imagination or from replay.

Everything here is a target: computed without gradient, apart from the start states, which keep the gradient
that docs/algorithm.md gives them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tdmpc import losses
from tdmpc import math as tm
from tdmpc.config import TrainConfig
from tdmpc.replay import Batch
from tdmpc.world_model import Policy, TargetValues, WorldModel


class Networks(NamedTuple):
    model: WorldModel
    targets: TargetValues
    actor: Policy  # imagines actions: the moving average where that is enabled


class Noise(NamedTuple):
    """What one pass over a batch draws. Sizes never depend on logging, which therefore moves no stream."""

    heads: Tensor  # (S, h) dynamics heads of the TD target
    actions: Tensor  # (S, N, M, A) noise of the imagined actions, M = (T+1) B start states
    dropout: Tensor | None  # (S, Q, M, hidden)


class Latents(NamedTuple):
    encoded: Tensor  # (S, T+1, B, L) encoder(o_t)
    rollout: Tensor  # (S, T, H, B, L) every head's latents for t = 1..T, from z_0 over the stored actions
    starts: Tensor  # (S, T+1, B, L) head 0's rollout from z_0; gradient (to the encoder) at t = 0 only

    def states(self, source: str) -> Tensor:
        """(S, T+1, B, L) states named `replay_rollout` or `replay_true`, gradient at t = 0 only."""
        if source == "replay_rollout":
            return self.starts
        return torch.cat([self.encoded[:, :1], self.encoded[:, 1:].detach()], dim=1)


class ValueBatch(NamedTuple):
    """Start states and their targets. X states of a window, C discounts: the primary one first, where wanted."""

    states: Tensor  # (S, X, B, L)
    weights: Tensor  # (X,) of the steps
    per_head: Tensor  # (S, C, h, N, X*B): the drawn heads, or all where asked for
    target: Tensor  # (S, C, N, X*B): min over the drawn heads


class Wanted(NamedTuple):
    """Which discounts a source serves."""

    primary: bool
    aux: bool


def value_batch(
    source: str, wanted: Wanted, nets: Networks, latents: Latents, batch: Batch, noise: Noise, config: TrainConfig,
    all_heads: bool,
) -> ValueBatch:  # fmt: skip
    """Start states and targets from `source` (imagine | replay_rollout | replay_true)."""
    if source == "imagine":
        return _imagined(wanted, nets, latents, noise, config, all_heads)
    return _replayed(source, wanted, nets, latents, batch, noise, config, all_heads)


def _imagined(
    wanted: Wanted, nets: Networks, latents: Latents, noise: Noise, config: TrainConfig, all_heads: bool
) -> ValueBatch:
    """One imagined step from every start state, N actions each; imagined starts weigh the same at every t."""
    states = latents.states(config.imagine_initial_source)
    rollouts, count = noise.actions.shape[1:3]
    with torch.no_grad():
        z = states.flatten(1, 2)
        mean, log_std = nets.actor(z)
        actions = torch.tanh(mean.unsqueeze(1) + log_std.exp().unsqueeze(1) * noise.actions).flatten(1, 2)
        z = z.unsqueeze(1).expand(-1, rollouts, -1, -1).flatten(1, 2)
        rewards = nets.model.rewards(z, actions)
        next_z = nets.model.next(z.unsqueeze(1), actions.unsqueeze(1), None if all_heads else noise.heads)
        per_head = _targets(wanted, nets, rewards, next_z, nets.model.alive(next_z), config)
        target = (_drawn(per_head, noise.heads) if all_heads else per_head).amin(2)
    weights = states.new_ones(states.shape[1])
    split = (rollouts, count)
    return ValueBatch(states, weights, per_head.unflatten(-1, split), target.unflatten(-1, split))


def _replayed(
    source: str, wanted: Wanted, nets: Networks, latents: Latents, batch: Batch, noise: Noise, config: TrainConfig,
    all_heads: bool,
) -> ValueBatch:  # fmt: skip
    """The stored transitions with their stored rewards and ends, between encodings or between rolled-out latents."""
    states = latents.states(source)[:, :-1]
    with torch.no_grad():
        if source == "replay_true":  # there is one next latent, whatever heads were drawn
            next_z = latents.encoded[:, 1:].flatten(1, 2).unsqueeze(1)
        else:
            next_z = latents.rollout.transpose(1, 2).flatten(2, 3)
        rewards = batch.rewards.flatten(1, 2).unsqueeze(1)
        alive = 1 - batch.terminated.flatten(1, 2).unsqueeze(1) if config.episodic else None
        per_head = _targets(wanted, nets, rewards, next_z, alive, config)
        drawn = per_head if source == "replay_true" else _drawn(per_head, noise.heads)
        shown = per_head if all_heads else drawn
    weights = tm.time_weights(states.shape[1], config.rho, states.device)
    return ValueBatch(states, weights, shown.unsqueeze(3), drawn.amin(2).unsqueeze(2))


def _drawn(per_head: Tensor, heads: Tensor) -> Tensor:
    """(S, C, H, X) -> (S, C, h, X), the heads drawn for each seed."""
    index = heads[:, None, :, None].expand(-1, per_head.shape[1], -1, per_head.shape[3])
    return per_head.gather(2, index)


def _targets(
    wanted: Wanted, nets: Networks, rewards: Tensor, next_z: Tensor, alive: Tensor | None, config: TrainConfig
) -> Tensor:
    """rewards (S, R, X), next_z (S, h, X, L), alive (S, h|1, X) or None -> (S, C, h, X)."""
    shape = next_z.shape[1:3]
    flat = next_z.flatten(1, 2)
    bins = nets.model.bins
    values, gammas = [], []
    if wanted.primary:
        values.append(nets.targets.values(flat, bins).amin(1, keepdim=True))
        gammas.append(config.gamma)
    if wanted.aux:
        values.append(nets.targets.aux_values(flat, bins))
        gammas += config.multi_gamma_gammas
    next_values = torch.cat(values, dim=1).unflatten(-1, shape)
    return losses.td_targets(rewards, next_values, torch.tensor(gammas, device=next_z.device), alive)
