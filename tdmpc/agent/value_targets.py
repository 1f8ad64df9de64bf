"""Training data of the values: states and their TD targets, from imagination or from replay.

Targets are computed without gradient. The start states keep theirs (docs/algorithm.md, "Gradient flow").
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tdmpc import math as tm
from tdmpc.agent import ops
from tdmpc.agent.batch import Batch
from tdmpc.agent.networks import Policy, TargetValues, WorldModel
from tdmpc.config import TrainConfig
from tdmpc.rng import Dropout

Gaussian = tuple[Tensor, Tensor]  # mean and log std before the squash, (S, M, A) each


class Networks(NamedTuple):
    model: WorldModel
    targets: TargetValues
    actor: Policy  # of imagined actions: the moving average where it is enabled


class Noise(NamedTuple):
    """Random numbers of the model's losses on one batch. Logging does not change how many are drawn."""

    heads: Tensor  # (S, h) dynamics heads of the TD target
    actions: Tensor  # (S, k, N, M, A) noise of the actions of k imagined steps, M = (T+1) B start states
    dropout: Dropout | None  # for (S, Q, M + (k-1) N M, hidden): the start states, then the imagined ones
    aux_dropout: Dropout | None  # the same of the auxiliary values, with their number of networks in place of Q


class Latents(NamedTuple):
    encoded: Tensor  # (S, T+1, B, L) encoder(o_t)
    rollout: Tensor  # (S, T, H, B, L) latents of each head for t = 1..T, from z_0 over the stored actions
    starts: Tensor  # (S, T+1, B, L) z_0 and the rollout of head 0; gradient (to the encoder) at t = 0 only

    def states(self, source: str) -> Tensor:
        """(S, T+1, B, L): `replay_rollout` gives `starts`, `replay_true` the encodings; gradient at t = 0 only."""
        if source == "replay_rollout":
            return self.starts
        return torch.cat([self.encoded[:, :1], self.encoded[:, 1:].detach()], dim=1)


class ValueBatch(NamedTuple):
    """States and their targets for C discounts: the primary one first (where included), then the auxiliary ones.

    X rows of B states: the start states first, then the imagined ones. The target of a state is the mean of the two-hot
    targets of the rollouts that start there, since cross-entropy is linear in the target.
    """

    states: Tensor  # (S, X, B, L), gradient in the first row at most
    weights: Tensor  # (X,)
    target: Tensor  # (S, C, X, B, K); zero after a predicted termination, and so is the loss there
    per_head: Tensor  # (S, C, h, N, M) TD targets of the start states for the drawn heads, or for all (`all_heads`)
    lowest: Tensor  # (S, C, N, M) the same, min over the drawn heads
    acted: Gaussian | None = None  # the policy's output at the start states with its gradient, where requested


class TargetSpec(NamedTuple):
    """What to compute from one source of transitions."""

    primary: bool  # targets for the primary discount
    aux: bool  # targets for the auxiliary discounts
    acted: bool = False  # keep the policy's output at the start states, with its gradient


def value_batch(
    source: str, spec: TargetSpec, nets: Networks, latents: Latents, batch: Batch, noise: Noise, config: TrainConfig,
    all_heads: bool,
) -> ValueBatch:  # fmt: skip
    """States and targets from `source`: imagine, replay_rollout or replay_true.

    all_heads: `per_head` holds all dynamics heads, for metrics.
    """
    if source == "imagine":
        return _imagined(spec, nets, latents, noise, config, all_heads)
    return _replayed(source, spec, nets, latents, batch, config)


def _imagined(
    spec: TargetSpec, nets: Networks, latents: Latents, noise: Noise, config: TrainConfig, all_heads: bool
) -> ValueBatch:
    """N imagined rollouts from each start state. Steps, start states and rollouts have equal weights."""
    starts = latents.states(config.imagine_initial_source)
    with torch.no_grad():
        first = starts.flatten(1, 2).detach()
        with torch.set_grad_enabled(spec.acted):
            acted = nets.actor(first)
        z, actions, alive = _rollouts(first, (acted[0].detach(), acted[1].detach()), nets, noise.actions)
        flat_z, flat_actions = z.flatten(1, 3), actions.flatten(1, 3)
        rewards = nets.model.rewards(flat_z, flat_actions)
        heads = None if all_heads or config.td_heads == config.planner_num_dynamics_heads else noise.heads
        next_z = nets.model.next(flat_z, flat_actions, heads)
        per_head = _targets(spec, nets, rewards, next_z, nets.model.alive(next_z), z.shape[1], config)
        lowest = (_drawn_heads(per_head, noise.heads) if all_heads else per_head).amin(2)
        per_head, lowest = (x.unflatten(-1, z.shape[1:4]) for x in (per_head, lowest))
        target = ops.mean_two_hot(lowest[:, :, 0], nets.model.bins)
        if z.shape[1] > 1:
            later = ops.two_hot(lowest[:, :, 1:], nets.model.bins) * alive[:, None, 1:, ..., None]
            target = torch.cat([target, later.flatten(2, 4)], dim=2)
    states = starts.flatten(1, 2)
    if z.shape[1] > 1:
        states = torch.cat([states, z[:, 1:].flatten(1, 3)], dim=1)
    rows = (states.shape[1] // starts.shape[2], starts.shape[2])
    # the weighted mean over rows equals the mean over steps of the mean over the rows of a step
    start_rows = starts.shape[1]
    weight = rows[0] / start_rows / z.shape[1]
    weights = tm.constant((weight,) * start_rows + (weight / z.shape[2],) * (rows[0] - start_rows), states.device)
    return ValueBatch(
        states.unflatten(1, rows), weights, target.unflatten(2, rows), per_head[:, :, :, 0], lowest[:, :, 0],
        acted if spec.acted else None,
    )  # fmt: skip


def _rollouts(starts: Tensor, acted: Gaussian, nets: Networks, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """k steps of the acting policy along head 0 from starts (S, M, L), with noise (S, k, N, M, A).

    acted: the policy's output at the starts. Returns states (S, k, N, M, L), actions (S, k, N, M, A) and alive
    (S, k, N, M), which is 0 after a predicted termination.
    """
    z, alive = starts.unsqueeze(1), starts.new_ones(noise.shape[0], *noise.shape[2:4])
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    for eps in noise.unbind(1):
        if steps:
            before, action, _ = steps[-1]
            z = nets.model.next(before.flatten(1, 2), action.flatten(1, 2), slice(0, 1))
            z = z.squeeze(1).unflatten(1, alive.shape[1:])
            still_alive = nets.model.alive(z)
            alive = alive if still_alive is None else alive * still_alive
            acted = nets.actor(z.flatten(1, 2))
        mean, log_std = (x.unflatten(1, z.shape[1:3]) for x in acted)  # at the start one for all N
        steps.append((z.expand(-1, eps.shape[1], -1, -1), torch.tanh(mean + log_std.exp() * eps), alive))
    states, actions, alives = zip(*steps, strict=True)
    return torch.stack(states, 1), torch.stack(actions, 1), torch.stack(alives, 1)


def _replayed(
    source: str, spec: TargetSpec, nets: Networks, latents: Latents, batch: Batch, config: TrainConfig
) -> ValueBatch:
    """The stored transitions with their rewards and terminations. States are encodings or latents of the rollout. The
    target bootstraps from the encoding of the next observation, as in TD-MPC2, so dynamics heads have no part in it."""
    states = latents.states(source)[:, :-1]
    with torch.no_grad():
        next_z = latents.encoded[:, 1:].flatten(1, 2).unsqueeze(1)
        rewards = batch.rewards.flatten(1, 2).unsqueeze(1)
        alive = 1 - batch.terminated.flatten(1, 2).unsqueeze(1) if config.episodic else None
        per_head = _targets(spec, nets, rewards, next_z, alive, states.shape[1], config)
        lowest = per_head.amin(2)
        target = ops.two_hot(lowest, nets.model.bins).unflatten(2, states.shape[1:3])
    weights = tm.time_weights(states.shape[1], config.rho, states.device)
    return ValueBatch(states, weights, target, per_head.unsqueeze(3), lowest.unsqueeze(2))


def _drawn_heads(per_head: Tensor, heads: Tensor) -> Tensor:
    """per_head (S, C, H, X), heads (S, h) indices for each seed -> (S, C, h, X)."""
    index = heads[:, None, :, None].expand(-1, per_head.shape[1], -1, per_head.shape[3])
    return per_head.gather(2, index)


def _targets(
    spec: TargetSpec, nets: Networks, rewards: Tensor, next_z: Tensor, alive: Tensor | None, steps: int,
    config: TrainConfig,
) -> Tensor:  # fmt: skip
    """TD targets with the target networks: rewards (S, R, X), next_z (S, h, X, L), alive (S, h|1, X) or None
    -> (S, C, h, X). steps: X holds this many consecutive steps, one after the other, of the same rows."""
    shape = (next_z.shape[1], steps, -1)
    flat = next_z.flatten(1, 2)
    bins = nets.model.bins
    values, gammas = [], []
    if spec.primary:
        values.append(nets.targets.values(flat, bins).amin(1, keepdim=True))
        gammas.append(config.gamma)
    if spec.aux:
        values.append(nets.targets.aux_values(flat, bins))
        gammas += config.multi_gamma_gammas
    next_values = torch.cat(values, dim=1).unflatten(-1, shape)
    alive = None if alive is None else alive.unflatten(-1, shape[1:])
    discounts = tm.constant(tuple(gammas), next_z.device)
    return td_targets(rewards.unflatten(-1, shape[1:]), next_values, discounts, alive).flatten(-2)


def td_targets(rewards: Tensor, next_values: Tensor, discounts: Tensor, alive: Tensor | None = None) -> Tensor:
    """y_h = min_R r + gamma (1 - done_h) V(z'_h) for each discount and dynamics head, at each of k consecutive steps.

    rewards: (S, R, k, X). next_values: (S, C, h, k, X), already reduced over the value heads of each discount.
    discounts: (C,). alive: 1 - done, (S, h|1, k, X); None where episodes never terminate. Returns (S, C, h, k, X).
    """
    if alive is not None:
        next_values = alive.unsqueeze(1) * next_values
    reward = rewards.amin(1)[:, None, None]
    return reward + discounts[:, None, None, None] * next_values
