"""What an update optimises: from a batch of windows to the model's losses and the policy's objective.

Functions of networks, batch and noise; nothing here keeps state, so validation calls the same code as
training and cannot change it. Shapes and symbols: docs/algorithm.md, "One update".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tdmpc import fused, losses
from tdmpc import math as tm
from tdmpc.config import TrainConfig
from tdmpc.replay import Batch
from tdmpc.streams import Draws
from tdmpc.targets import Latents, Networks, Noise, ValueBatch, Wanted, value_batch
from tdmpc.world_model import Policy, WorldModel, aux_logits

Metrics = dict[str, Tensor]  # name -> (S,), list metrics (S, n)


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
    steps = c.imagination_horizon if c.imagines else 0
    states = starts * (1 + max(steps - 1, 0) * c.num_rollouts)
    heads = draws.subsets(c.planner_num_dynamics_heads, c.td_heads)
    actions = draws.normal(steps, c.num_rollouts, starts, action_size)
    return Noise(heads, actions, draws.dropout(c.dropout if dropout else 0.0, c.num_q, states, c.mlp_dim))


# --- the model ----------------------------------------------------------------------------------------


def model_losses(
    nets: Networks, batch: Batch, noise: Noise, config: TrainConfig, frozen: bool, full: bool
) -> ModelLosses:
    """All losses of the world model and the values on one batch. `full` adds the diagnostics."""
    c, model = config, nets.model
    latents = _unroll(model, batch, frozen)
    truth = latents.encoded[:, 1:]
    first, later = _reward_logits(model, latents, batch.actions)
    values = _value_batches(nets, latents, batch, noise, c, full)
    raw = {
        "consistency_loss": losses.consistency_loss(latents.rollout, truth.detach(), c.rho),
        "encoder_consistency_loss": losses.consistency_loss(latents.rollout.detach(), truth, c.rho),
        "reward_loss": losses.reward_loss(first, later, batch.rewards, model.bins, c.rho),
    }
    raw["value_loss"], value_metrics = _value_loss(model, values[c.ac_source], noise, full)
    metrics: Metrics = {}
    if model.num_gammas:
        per_gamma = _aux_loss(model, values[c.aux_value_source])
        raw["aux_value_loss"] = per_gamma.mean(1)
        metrics["aux_value_loss_per_gamma"] = per_gamma.detach()
    if c.episodic:
        raw["termination_loss"] = losses.termination_loss(model.end_logits(latents.rollout), batch.terminated)
    coefs = {
        "consistency_loss": c.consistency_coef,
        "encoder_consistency_loss": c.encoder_consistency_coef,
        "reward_loss": c.reward_coef,
        "value_loss": c.value_coef,
        "aux_value_loss": c.multi_gamma_loss_weight,
        "termination_loss": c.termination_coef,
    }
    weighted = {name: coefs[name] * loss for name, loss in raw.items()}
    result = ModelLosses(weighted, {}, latents.states(c.actor_source).detach())
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
    z = latents.rollout[:, :-1]
    shape, windows = z.shape[1:4], actions.shape[2]  # T-1, H, B
    repeated = actions[:, 1:].unsqueeze(2).expand(*z.shape[:-1], -1)
    states = torch.cat([latents.encoded[:, 0], z.flatten(1, 3)], dim=1)
    logits = model.reward_logits(states, torch.cat([actions[:, 0], repeated.flatten(1, 3)], dim=1))
    first, later = logits[:, :, :windows], logits[:, :, windows:]
    return first, later.unflatten(2, shape).permute(0, 2, 3, 1, 4, 5)


@torch.no_grad()
def _reward_error(model: WorldModel, first: Tensor, later: Tensor, rewards: Tensor) -> Tensor:
    """(S,) mean |predicted - stored reward| over steps, heads and windows."""
    at_first = (fused.two_hot_inverse(first, model.bins).mean(1) - rewards[:, 0]).abs().mean(1, keepdim=True)
    at_later = (fused.two_hot_inverse(later, model.bins).mean(3) - rewards[:, 1:, None]).abs().mean(dim=(2, 3))
    return torch.cat([at_first, at_later], dim=1).mean(1)


def _value_loss(model: WorldModel, found: ValueBatch, noise: Noise, full: bool) -> tuple[Tensor, Metrics]:
    """Every value head against one target; the metrics are those of the start states."""
    rows = found.states.shape[1:3]
    dropout = None if noise.dropout is None else noise.dropout[:, :, : rows.numel()]
    logits = model.value(found.states.flatten(1, 2).unsqueeze(1), dropout=dropout)
    loss = losses.value_loss(logits.unflatten(2, rows), found.target[:, 0], found.weights).mean(1)
    if not full:
        return loss, {}
    with torch.no_grad():
        target = found.lowest[:, 0].mean(1)
        predicted = fused.two_hot_inverse(logits[:, :, : target.shape[1]], model.bins)
        return loss, _value_metrics(predicted, target, found.per_head[:, 0])


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


def _aux_loss(model: WorldModel, found: ValueBatch) -> Tensor:
    """(S, G) cross-entropy of the auxiliary values; their discounts are the last G of the batch."""
    rows = found.states.shape[1:3]
    logits = aux_logits(model.aux, found.states.flatten(1, 2), model.num_gammas).unflatten(2, rows)
    errors = fused.soft_cross_entropy(logits, found.target[:, -model.num_gammas :])
    return (errors.mean(-1) * found.weights).mean(-1)


def _value_batches(
    nets: Networks, latents: Latents, batch: Batch, noise: Noise, config: TrainConfig, full: bool
) -> dict[str, ValueBatch]:
    """By source, each computed once: primary and auxiliary values may share theirs."""
    aux = config.aux_value_source if nets.model.num_gammas else None
    sources = dict.fromkeys([config.ac_source, *([aux] if aux else [])])
    return {
        source: value_batch(
            source, Wanted(source == config.ac_source, source == aux), nets, latents, batch, noise, config, full
        )
        for source in sources
    }


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
    alive = model.alive(next_z)
    values = values if alive is None else alive * values
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
