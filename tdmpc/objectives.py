"""What an update optimises: from a batch of windows to the model's losses and the policy's objective.

Functions of networks, batch and noise; nothing here keeps state, so validation calls the same code as
training and cannot change it. Shapes and symbols: docs/algorithm.md, "One update".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tdmpc import losses
from tdmpc import math as tm
from tdmpc.config import TrainConfig
from tdmpc.replay import Batch
from tdmpc.streams import Draws
from tdmpc.world_model import Policy, TargetValues, WorldModel, aux_logits

Metrics = dict[str, Tensor]  # name -> (S,), list metrics (S, n)


class Networks(NamedTuple):
    model: WorldModel
    targets: TargetValues
    actor: Policy  # imagines actions: the moving average where that is enabled


class Noise(NamedTuple):
    """What one pass of `model_losses` draws. Sizes never depend on logging, which therefore moves no stream."""

    heads: Tensor  # (S, h) dynamics heads of the TD target
    actions: Tensor  # (S, N, M, A) noise of the imagined actions, M = (T+1) B start states
    dropout: Tensor | None  # (S, Q, M, hidden)


class Latents(NamedTuple):
    encoded: Tensor  # (S, T+1, B, L) encoder(o_t)
    rollout: Tensor  # (S, T, H, B, L) every head's latents for t = 1..T, from z_0 over the stored actions
    starts: Tensor  # (S, T+1, B, L) head 0's rollout from z_0; gradient (to the encoder) at t = 0 only


class ModelLosses(NamedTuple):
    weighted: dict[str, Tensor]  # loss -> (S,), times its coefficient
    metrics: Metrics  # empty unless asked for in full
    states: Tensor  # (S, T+1, B, L) detached start states, for the policy

    @property
    def total(self) -> Tensor:
        return torch.stack(list(self.weighted.values())).sum(0)


def draw_noise(config: TrainConfig, action_size: int, draws: Draws, dropout: bool = True) -> Noise:
    """Noise of one pass; the order of the draws is part of what a seed stands for."""
    c = config
    starts = (c.horizon + 1) * c.batch_size
    heads = draws.subsets(c.planner_num_dynamics_heads, c.td_heads)
    actions = draws.normal(c.num_rollouts, starts, action_size)
    return Noise(heads, actions, draws.dropout(c.dropout if dropout else 0.0, c.num_q, starts, c.mlp_dim))


# --- the model ----------------------------------------------------------------------------------------


def model_losses(
    nets: Networks, batch: Batch, noise: Noise, config: TrainConfig, frozen: bool, full: bool
) -> ModelLosses:
    """All losses of the world model and the values on one batch. `full` adds the diagnostics."""
    c, model = config, nets.model
    latents = _unroll(model, batch, frozen)
    truth = latents.encoded[:, 1:]
    first, later = _reward_logits(model, latents, batch.actions)
    raw = {
        "consistency_loss": losses.consistency_loss(latents.rollout, truth.detach(), c.rho),
        "encoder_consistency_loss": losses.consistency_loss(latents.rollout.detach(), truth, c.rho),
        "reward_loss": losses.reward_loss(first, later, batch.rewards, model.bins, c.rho),
    }
    coefs = {
        "consistency_loss": c.consistency_coef,
        "encoder_consistency_loss": c.encoder_consistency_coef,
        "reward_loss": c.reward_coef,
        "value_loss": c.value_coef,
        "aux_value_loss": c.multi_gamma_loss_weight,
    }
    imagined = _imagine(nets, latents.starts.detach(), noise, c, all_heads=full)
    raw["value_loss"], value_metrics = _value_loss(model, latents.starts, imagined, noise, full)
    metrics: Metrics = {}
    if model.num_gammas:
        per_gamma = _aux_loss(nets, latents, batch, imagined, noise, c)
        raw["aux_value_loss"] = per_gamma.mean(1)
        metrics["aux_value_loss_per_gamma"] = per_gamma.detach()
    weighted = {name: coefs[name] * loss for name, loss in raw.items()}
    result = ModelLosses(weighted, {}, latents.starts.detach())
    if not full:
        return result
    metrics |= {name: loss.detach() for name, loss in raw.items()} | value_metrics
    metrics["reward_error_abs_mean"] = _reward_error(model, first, later, batch.rewards)
    metrics["total_loss"] = result.total.detach()
    return result._replace(metrics=metrics)


def _unroll(model: WorldModel, batch: Batch, frozen: bool) -> Latents:
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        encoded = model.encode(batch.obs)
    z = encoded[:, :1]  # one latent, shared by all heads: (S, 1, B, L)
    steps = []
    for t in range(batch.actions.shape[1]):
        z = model.next(z, batch.actions[:, t : t + 1])
        steps.append(z)
    rollout = torch.stack(steps, dim=1)
    starts = torch.cat([encoded[:, :1], rollout[:, :, 0].detach()], dim=1)
    return Latents(encoded, rollout, starts)


def _reward_logits(model: WorldModel, latents: Latents, actions: Tensor) -> tuple[Tensor, Tensor]:
    """At t = 0 (S, R, B, K), once for all dynamics heads; later (S, T-1, H, R, B, K) along each head's rollout."""
    first = model.reward_logits(latents.encoded[:, 0], actions[:, 0])
    z = latents.rollout[:, :-1]
    shape = z.shape[1:4]  # T-1, H, B
    if shape[0] == 0:
        return first, first.new_zeros(first.shape[0], 0, shape[1], *first.shape[1:])
    repeated = actions[:, 1:].unsqueeze(2).expand(*z.shape[:-1], -1)
    later = model.reward_logits(z.flatten(1, 3), repeated.flatten(1, 3))
    return first, later.unflatten(2, shape).permute(0, 2, 3, 1, 4, 5)


@torch.no_grad()
def _reward_error(model: WorldModel, first: Tensor, later: Tensor, rewards: Tensor) -> Tensor:
    """(S,) mean |predicted - stored reward| over steps, heads and windows."""
    at_first = (tm.two_hot_inverse(first, model.bins).mean(1) - rewards[:, 0]).abs().mean(1, keepdim=True)
    at_later = (tm.two_hot_inverse(later, model.bins).mean(3) - rewards[:, 1:, None]).abs().mean(dim=(2, 3))
    return torch.cat([at_first, at_later], dim=1).mean(1)


class Imagined(NamedTuple):
    """TD targets of the start states, the primary discount first."""

    per_head: Tensor  # (S, 1+G, h, N, M): the drawn heads, or all where asked for
    target: Tensor  # (S, 1+G, N, M): min over the drawn heads


@torch.no_grad()
def _imagine(nets: Networks, starts: Tensor, noise: Noise, config: TrainConfig, all_heads: bool) -> Imagined:
    """One imagined step from every start state, N actions each (docs/algorithm.md, "One update", 2)."""
    model = nets.model
    rollouts, count = noise.actions.shape[1:3]
    z = starts.flatten(1, 2)
    mean, log_std = nets.actor(z)
    actions = torch.tanh(mean.unsqueeze(1) + log_std.exp().unsqueeze(1) * noise.actions).flatten(1, 2)
    z = z.unsqueeze(1).expand(-1, rollouts, -1, -1).flatten(1, 2)
    rewards = model.rewards(z, actions)
    next_z = model.next(z.unsqueeze(1), actions.unsqueeze(1), None if all_heads else noise.heads)
    per_head = _targets(nets, rewards, next_z, config, with_aux=config.aux_value_source == "imagine")
    drawn = _drawn(per_head, noise.heads) if all_heads else per_head
    return Imagined(per_head.unflatten(-1, (rollouts, count)), drawn.amin(2).unflatten(-1, (rollouts, count)))


def _drawn(per_head: Tensor, heads: Tensor) -> Tensor:
    """(S, C, H, X) -> (S, C, h, X), the heads drawn for each seed."""
    index = heads[:, None, :, None].expand(-1, per_head.shape[1], -1, per_head.shape[3])
    return per_head.gather(2, index)


def _targets(nets: Networks, rewards: Tensor, next_z: Tensor, config: TrainConfig, with_aux: bool) -> Tensor:
    """rewards (S, R, X), next_z (S, h, X, L) -> (S, C, h, X) for the primary discount and, `with_aux`, each gamma."""
    shape = next_z.shape[1:3]
    flat = next_z.flatten(1, 2)
    values = nets.targets.values(flat, nets.model.bins).amin(1, keepdim=True)
    gammas = [config.gamma]
    if with_aux and nets.model.num_gammas:
        values = torch.cat([values, nets.targets.aux_values(flat, nets.model.bins)], dim=1)
        gammas += config.multi_gamma_gammas
    return losses.td_targets(rewards, values.unflatten(-1, shape), torch.tensor(gammas, device=values.device))


def _value_loss(
    model: WorldModel, starts: Tensor, imagined: Imagined, noise: Noise, full: bool
) -> tuple[Tensor, Metrics]:
    """Every value head against one target; V is evaluated once per start state, against the mean two-hot
    target of its N rollouts, since cross-entropy is linear in the target."""
    target = imagined.target[:, 0]
    logits = model.value(starts.flatten(1, 2).unsqueeze(1), dropout=noise.dropout)
    steps = starts.shape[1:3]
    mean_target = tm.two_hot(target, model.bins).mean(1).unflatten(1, steps)
    evenly = starts.new_ones(steps[0])  # imagined starts weigh the same at every t
    loss = losses.value_loss(logits.unflatten(2, steps), mean_target, evenly).mean(1)
    if not full:
        return loss, {}
    with torch.no_grad():
        return loss, _value_metrics(tm.two_hot_inverse(logits, model.bins), target.mean(1), imagined.per_head[:, 0])


def _value_metrics(predicted: Tensor, target: Tensor, per_head: Tensor) -> Metrics:
    """predicted (S, Q, M), target (S, M), per_head (S, H, N, M). Spreads need two heads and are absent otherwise."""
    pred_mean, target_mean = predicted.mean(dim=(1, 2)), target.mean(1)
    metrics = {
        "value_pred_mean": pred_mean,
        "td_target_mean": target_mean,
        "optimism_gap": pred_mean - target_mean,
        "value_error_abs_mean": (predicted - target.unsqueeze(1)).abs().mean(dim=(1, 2)),
    }
    if per_head.shape[1] > 1:
        metrics["td_target_std_across_heads"] = per_head.std(1, correction=0).mean(dim=(1, 2))
    if predicted.shape[1] > 1:
        metrics["value_std_across_q_heads"] = predicted.std(1, correction=0).mean(1)
    return metrics


def _aux_loss(
    nets: Networks, latents: Latents, batch: Batch, imagined: Imagined, noise: Noise, config: TrainConfig
) -> Tensor:
    """(S, G) cross-entropy of the auxiliary values on the source that `aux_value_source` names."""
    model = nets.model
    if config.aux_value_source == "imagine":
        states, target = latents.starts, tm.two_hot(imagined.target[:, 1:], model.bins).mean(2)
        weights = states.new_ones(states.shape[1])
    else:
        states, drawn = _replay_targets(nets, latents, batch, noise, config)
        target = tm.two_hot(drawn, model.bins)
        weights = tm.time_weights(states.shape[1], config.rho, states.device)
    steps = states.shape[1:3]
    logits = aux_logits(model.aux, states.flatten(1, 2), model.num_gammas).unflatten(2, steps)
    errors = tm.soft_cross_entropy(logits, target.unflatten(2, steps))
    return (errors.mean(-1) * weights).mean(-1)


@torch.no_grad()
def _replay_next(latents: Latents, noise: Noise, source: str) -> Tensor:
    """(S, h, T*B, L) next latents of the stored transitions: encoded, or of the drawn heads' rollouts."""
    if source == "replay_true":
        return latents.encoded[:, 1:].flatten(1, 2).unsqueeze(1)
    per_head = latents.rollout.transpose(1, 2)  # (S, H, T, B, L)
    seeds = torch.arange(per_head.shape[0], device=per_head.device).unsqueeze(-1)
    return per_head[seeds, noise.heads].flatten(2, 3)


def _replay_targets(
    nets: Networks, latents: Latents, batch: Batch, noise: Noise, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """States (S, T, B, L) of the stored transitions and their auxiliary targets (S, G, T*B)."""
    true_states = config.aux_value_source == "replay_true"
    states = latents.encoded[:, :-1] if true_states else latents.starts[:, :-1]
    with torch.no_grad():
        next_z = _replay_next(latents, noise, config.aux_value_source)
        rewards = batch.rewards.flatten(1, 2).unsqueeze(1)
        targets = _targets(nets, rewards, next_z, config, with_aux=True)
    return states, targets[:, 1:].amin(2)


# --- the policy ---------------------------------------------------------------------------------------


class PolicyPass(NamedTuple):
    terms: losses.PolicyTerms
    metrics: Metrics


def policy_pass(
    model: WorldModel, policy: Policy, states: Tensor, eps: Tensor, dropout: Tensor | None, config: TrainConfig
) -> PolicyPass:
    """states (S, T+1, B, L), eps (S, M, A), dropout (S, Q, H*M, hidden) -> the terms of the policy's objective.

    Q-hat = reduce_R r + gamma reduce_H min_Q V(z'_h), by the online value heads in training mode as in
    TD-MPC2. The graph reaches the model too; whoever differentiates asks for the policy's parameters only.
    """
    steps = states.shape[1:3]
    z = states.flatten(1, 2)
    mean, log_std = policy(z)
    pre = mean + log_std.exp() * eps
    action = torch.tanh(pre)
    how = config.policy_head_reduce
    reward = tm.reduce_heads(model.rewards(z, action), how, 1)
    next_z = model.next(z.unsqueeze(1), action.unsqueeze(1))
    values = model.values(next_z.flatten(1, 2), dropout).amin(1).unflatten(-1, next_z.shape[1:3])
    q = reward + config.gamma * tm.reduce_heads(values, how, 1)
    log_prob = tm.gaussian_log_prob(eps, log_std)
    terms = losses.PolicyTerms(
        q.unflatten(-1, steps),
        log_prob.unflatten(-1, steps),
        losses.hinge(mean, config.hinge_tau, config.hinge_power).unflatten(-1, steps),
    )
    with torch.no_grad():
        entropy = tm.squash_log_det(pre) - log_prob
        per_dim = log_std.mean(1)
        metrics = {"log_std": per_dim.mean(1), "log_std_per_dim": per_dim, "policy_entropy": entropy.mean(1)}
    return PolicyPass(terms, metrics)
