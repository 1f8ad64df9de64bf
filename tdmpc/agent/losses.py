"""The losses of one update: from a batch of windows to the losses of the model and of the policy.

Pure functions of networks, batch and noise. Nothing here keeps state, so validation calls the same code as training.
Losses are tensors (S,): means over everything but the seed axis, so that summing over seeds before `backward` gives
each seed the gradient it would have alone. Shapes and symbols: docs/algorithm.md, "One update".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tdmpc import math as tm
from tdmpc.agent import ops
from tdmpc.agent.batch import Batch
from tdmpc.agent.networks import Policy, WorldModel, aux_logits
from tdmpc.agent.value_targets import Gaussian, Latents, Networks, Noise, TargetSpec, ValueBatch, value_batch
from tdmpc.config import TrainConfig
from tdmpc.rng import Dropout, Streams

Metrics = dict[str, Tensor]  # name -> (S,), list metrics (S, n)


# --- formulas -----------------------------------------------------------------------------------------


def _over_time(per_step: Tensor, rho: float) -> Tensor:
    """(S, T) -> (S,): mean over t of rho^t times the step's loss."""
    return (per_step * tm.time_weights(per_step.shape[1], rho, per_step.device)).mean(1)


def consistency_losses(rollout: Tensor, encoded: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """rollout (S, T, H, B, L) latents of all heads, encoded (S, T, B, L) -> consistency and encoder consistency (S,).

    Both have the same value. The gradient of the first reaches the rollout only, that of the second the encodings only.
    """
    return ops.squared_errors(rollout, encoded, tm.time_weights(encoded.shape[1], rho, encoded.device))


def along_rollouts(per_step: Tensor, heads: int) -> Tensor:
    """(S, T, ...) values of the steps of a window -> (S, 1 + (T-1) H, ...) of the states along the heads' rollouts.

    At t = 0 all heads share one state; each later step is repeated for each head.
    """
    if heads == 1:
        return per_step
    return torch.cat([per_step[:, :1], per_step[:, 1:].repeat_interleave(heads, dim=1)], dim=1)


def rollout_weights(steps: int, heads: int, rho: float, device: torch.device) -> Tensor:
    """(1 + (T-1) H,) weights of the states of `along_rollouts`: the weighted mean over states equals the mean over t of
    rho^t times the mean over heads."""
    scale = (1 + (steps - 1) * heads) / steps
    later = [scale * rho**t / heads for t in range(1, steps) for _ in range(heads)]
    return tm.constant((scale, *later), device)


def reward_targets(rewards: Tensor, heads: int, bins: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """rewards (S, T, B) -> two-hot targets (S, 1 + (T-1) H, B, K) of the reward heads along the rollouts of H dynamics
    heads, and the weights (1 + (T-1) H,) of their states."""
    target = ops.two_hot(along_rollouts(rewards, heads), bins)
    return target, rollout_weights(rewards.shape[1], heads, rho, rewards.device)


def termination_loss(logits: Tensor, terminated: Tensor) -> Tensor:
    """Binary cross-entropy of terminal transitions: logits (S, T, H, B), terminated (S, T, B) -> (S,)."""
    target = terminated.unsqueeze(2).expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2, 3))


class PolicyTerms(NamedTuple):
    """Terms of the policy's objective, (S, T+1, B) each."""

    q: Tensor
    log_prob: Tensor  # of the pre-squash Gaussian
    hinge: Tensor


def policy_loss(
    terms: PolicyTerms, scale: Tensor, action_size: int, entropy_coeff: Tensor | float, hinge_coef: float, rho: float
) -> Tensor:
    """-(Q-hat / scale + entropy_coeff * entropy) + hinge_coef * hinge, weighted by rho^t -> (S,).

    scale: (S,). The entropy is -A times the log-density of the pre-squash Gaussian, as in TD-MPC2's code, where the
    tanh terms cancel. Its gradient reaches log_std only.
    """
    without_entropy = hinge_coef * terms.hinge - terms.q / scale[:, None, None]
    return _over_time((without_entropy + entropy_coeff * action_size * terms.log_prob).mean(-1), rho)


# --- noise --------------------------------------------------------------------------------------------


def draw_noise(config: TrainConfig, action_size: int, streams: Streams, dropout: bool = True) -> Noise:
    """Noise of the model's losses on one batch."""
    c = config
    starts = (c.horizon + 1) * c.batch_size
    steps = c.imagination_horizon if c.imagines else 0
    states = starts * (1 + max(steps - 1, 0) * c.num_rollouts)
    rate = c.dropout if dropout else 0.0
    return Noise(
        streams["dynamics heads"].subsets(c.planner_num_dynamics_heads, c.td_heads),
        streams["imagined actions"].normal(steps, c.num_rollouts, starts, action_size),
        streams["value dropout"].dropout(rate, c.num_q, states, c.mlp_dim),
        streams["aux dropout"].dropout(rate, c.aux_heads, states, c.mlp_dim) if c.uses_aux else None,
    )


class PolicyNoise(NamedTuple):
    eps: Tensor  # (S, M, A) standard-normal, M = (T+1) B
    dropout: Dropout | None  # for (S, Q, H*M, hidden)


def draw_policy_noise(config: TrainConfig, action_size: int, streams: Streams) -> PolicyNoise:
    """Noise of one update of the policy."""
    c = config
    count = (c.horizon + 1) * c.batch_size
    rows = c.planner_num_dynamics_heads * count
    return PolicyNoise(
        streams["policy actions"].normal(count, action_size),
        streams["policy's value dropout"].dropout(c.dropout, c.num_q, rows, c.mlp_dim),
    )


# --- the model ----------------------------------------------------------------------------------------


class ModelLosses(NamedTuple):
    raw: dict[str, Tensor]  # loss -> (S,)
    coefs: dict[str, float]  # loss -> its coefficient
    metrics: Metrics  # empty unless `full`
    states: Tensor  # (S, T+1, B, L) detached states that the policy is trained on
    acted: Gaussian | None  # the policy's output at these states with its gradient, where imagination computed it

    @property
    def weighted(self) -> dict[str, Tensor]:
        """loss -> (S,) its value times its coefficient."""
        return {name: self.coefs[name] * loss for name, loss in self.raw.items()}

    @property
    def total(self) -> Tensor:
        """(S,) sum of the weighted losses."""
        raw = torch.stack(list(self.raw.values()))
        return (raw * tm.constant(tuple(self.coefs.values()), raw.device).unsqueeze(1)).sum(0)


def model_losses(
    nets: Networks, batch: Batch, noise: Noise, config: TrainConfig, frozen: bool, full: bool
) -> ModelLosses:
    """All losses of the world model and the values on one batch.

    frozen: without gradient to the encoder. full: with metrics.
    """
    c, model = config, nets.model
    latents, inputs, encoded = _unroll(model, batch, frozen)
    heads = latents.rollout.shape[2]
    actions = along_rollouts(batch.actions, heads)
    values = _value_batches(nets, latents, batch, noise, c, full)
    to_rollout, to_encoder = consistency_losses(latents.rollout, encoded, c.rho)
    target, weights = reward_targets(batch.rewards, heads, model.bins, c.rho)
    raw = {
        "consistency_loss": to_rollout,
        "encoder_consistency_loss": to_encoder,
        "reward_loss": model.reward.cross_entropy(inputs.flatten(1, 2), target, weights, actions.flatten(1, 2)),
    }
    raw["value_loss"], value_metrics = _value_loss(model, values[c.ac_source], noise, full)
    metrics: Metrics = {}
    if model.num_gammas:
        per_gamma = _aux_loss(model, values[c.aux_value_source], noise.aux_dropout)
        raw["aux_value_loss"] = per_gamma.mean(1)
        metrics["aux_value_loss_per_gamma"] = per_gamma.detach()
    if c.episodic:
        raw["termination_loss"] = termination_loss(model.end_logits(latents.rollout), batch.terminated)
    acted = next((batch_of.acted for batch_of in values.values() if batch_of.acted), None)
    result = ModelLosses(raw, _coefficients(c, raw), {}, latents.states(c.actor_source).detach(), acted)
    if not full:
        return result
    metrics |= {name: loss.detach() for name, loss in raw.items()} | value_metrics
    metrics["reward_error_abs_mean"] = _reward_error(model, inputs, actions, batch.rewards, heads)
    metrics["total_loss"] = result.total.detach()
    return result._replace(metrics=metrics)


def _coefficients(config: TrainConfig, names: Iterable[str]) -> dict[str, float]:
    """Loss -> its coefficient, for the losses `names`."""
    c = config
    coefficients = {
        "consistency_loss": c.consistency_coef,
        "encoder_consistency_loss": c.encoder_consistency_coef,
        "reward_loss": c.reward_coef,
        "value_loss": c.value_coef,
        "aux_value_loss": c.multi_gamma_loss_weight,
        "termination_loss": c.termination_coef,
    }
    return {name: coefficients[name] for name in names}


def _unroll(model: WorldModel, batch: Batch, frozen: bool) -> tuple[Latents, Tensor, Tensor]:
    """Encode the observations and roll every dynamics head from z_0 over the stored actions.

    Returns all latents; the states (S, 1 + (T-1) H, B, L) that rewards are predicted from: z_0, then those of each
    head; and the encodings (S, T, B, L) that the rollout predicts.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        encoded = model.encode(batch.obs)
    z, predicted = encoded.split([1, batch.actions.shape[1]], dim=1)  # all heads start from z_0
    steps = [z]
    for t in range(batch.actions.shape[1]):
        steps.append(model.next(steps[-1], batch.actions[:, t : t + 1]))
    rollout = torch.stack(steps[1:], dim=1)
    starts = torch.cat([z, rollout[:, :, 0].detach()], dim=1)
    return Latents(encoded, rollout, starts), torch.cat(steps[:-1], dim=1), predicted


@torch.no_grad()
def _reward_error(model: WorldModel, states: Tensor, actions: Tensor, rewards: Tensor, heads: int) -> Tensor:
    """states, actions (S, 1 + (T-1) H, B, ...), rewards (S, T, B) -> (S,) mean |predicted - stored reward|."""
    predicted = model.rewards(states.flatten(1, 2), actions.flatten(1, 2)).mean(1).unflatten(1, states.shape[1:3])
    errors = (predicted - along_rollouts(rewards, heads)).abs().mean(2)
    return (errors * rollout_weights(rewards.shape[1], heads, 1.0, rewards.device)).mean(1)


def _value_loss(model: WorldModel, batch: ValueBatch, noise: Noise, full: bool) -> tuple[Tensor, Metrics]:
    """(S,) cross-entropy of all value heads with the same target, and where `full` the metrics of the start states."""
    states, live = batch.states.flatten(1, 2), batch.states.shape[2]
    loss = model.value.cross_entropy(states, batch.target[:, 0], batch.weights, dropout=noise.dropout, live=live)
    if not full:
        return loss, {}
    with torch.no_grad():
        target = batch.lowest[:, 0].mean(1)
        predicted = model.values(states[:, : target.shape[1]], noise.dropout)
        return loss, _value_metrics(predicted, target, batch.per_head[:, 0])


def _value_metrics(predicted: Tensor, target: Tensor, per_head: Tensor) -> Metrics:
    """predicted (S, Q, M), target (S, M), per_head (S, H, N, M). Standard deviations over one head are left out."""
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


def _aux_loss(model: WorldModel, batch: ValueBatch, dropout: Dropout | None) -> Tensor:
    """(S, G) cross-entropy of the auxiliary values, whose discounts are the last G of the batch."""
    rows = batch.states.shape[1:3]
    logits = aux_logits(model.aux, batch.states.flatten(1, 2), model.num_gammas, dropout, rows[1]).unflatten(2, rows)
    return ops.cross_entropy(logits.unsqueeze(2), batch.target[:, -model.num_gammas :], batch.weights)


def _value_batches(
    nets: Networks, latents: Latents, batch: Batch, noise: Noise, config: TrainConfig, full: bool
) -> dict[str, ValueBatch]:
    """Source -> states and targets. Primary and auxiliary values with the same source share one batch.

    Imagination evaluates the policy at the start states. Where the policy is trained on the same states, that output is
    kept for its update.
    """
    c = config
    aux_source = c.aux_value_source if nets.model.num_gammas else None
    reuse = not c.policy_ema_enabled and c.imagine_initial_source == c.actor_source and ops.can_share_graph()
    return {
        source: value_batch(
            source, TargetSpec(source == c.ac_source, source == aux_source, reuse), nets, latents, batch, noise, c, full
        )
        for source in dict.fromkeys([c.ac_source, *([aux_source] if aux_source else [])])
    }


# --- the policy ---------------------------------------------------------------------------------------


class PolicyPass(NamedTuple):
    terms: PolicyTerms
    mean: Tensor  # (S, M, A) of the Gaussian before the squash
    log_std: Tensor  # (S, M, A)


def policy_pass(
    model: WorldModel, policy: Policy, states: Tensor, eps: Tensor, dropout: Dropout | None, config: TrainConfig,
    acted: Gaussian | None = None,
) -> PolicyPass:  # fmt: skip
    """states (S, T+1, B, L), eps (S, M, A), dropout for (S, Q, H*M, hidden) -> the terms of the policy's objective.

    Q-hat = reduce_R r + gamma reduce_H min_Q V(z'_h), with the online value heads and their dropout as in TD-MPC2.
    acted: the policy's output at the states, where it was computed before. The autograd graph includes the model, so
    differentiate with respect to the policy's parameters only.
    """
    steps = states.shape[1:3]
    z = states.flatten(1, 2)
    mean, log_std = acted or policy(z)
    action, log_prob, hinge = ops.gaussian(mean, log_std, eps, config.hinge_tau, config.hinge_power)
    reduction = config.policy_head_reduce
    reward = tm.reduce_heads(model.rewards(z, action), reduction, 1)
    next_z = model.next(z, action)
    values = model.values(next_z.flatten(1, 2), dropout).amin(1).unflatten(-1, next_z.shape[1:3])
    alive = model.alive(next_z)
    values = values if alive is None else alive * values
    q = reward + config.gamma * tm.reduce_heads(values, reduction, 1)
    terms = PolicyTerms(*(x.unflatten(-1, steps) for x in (q, log_prob, hinge)))
    return PolicyPass(terms, mean, log_std)


@torch.no_grad()
def policy_metrics(passed: PolicyPass, eps: Tensor) -> Metrics:
    """Metrics of a `policy_pass` with noise eps (S, M, A)."""
    entropy = tm.squash_log_det(passed.mean + passed.log_std.exp() * eps) - passed.terms.log_prob.flatten(1)
    per_dim = passed.log_std.mean(1)
    return {"log_std": per_dim.mean(1), "log_std_per_dim": per_dim, "policy_entropy": entropy.mean(1)}
