"""The losses of one update: from a batch of windows to the losses of the model and of the policy.

Pure functions of networks, batch and noise. Nothing here keeps state, so validation calls the same code as training.
Losses are tensors (S,): means over everything but the seed axis, so that summing over seeds before `backward` gives
each seed the gradient it would have alone. Shapes and symbols: docs/algorithm.md, "One update".
"""

from __future__ import annotations

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
from tdmpc.rng import Draws, Dropout

Metrics = dict[str, Tensor]  # name -> (S,), list metrics (S, n)


# --- formulas -----------------------------------------------------------------------------------------


def _over_time(per_step: Tensor, rho: float) -> Tensor:
    """(S, T) -> (S,): mean over t of rho^t times the step's loss."""
    return (per_step * tm.time_weights(per_step.shape[1], rho, per_step.device)).mean(1)


def consistency_losses(rollout: Tensor, encoded: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """rollout (S, T, H, B, L) latents of every head, encoded (S, T, B, L) -> twice (S,): the same number, once with its
    gradient to the rollout alone, once to the encodings alone."""
    return ops.squared_errors(rollout, encoded, tm.time_weights(encoded.shape[1], rho, encoded.device))


def along_rollouts(per_step: Tensor, heads: int) -> Tensor:
    """(S, T, ...) of a window's steps -> (S, 1 + (T-1) H, ...), of the states that rewards are predicted from."""
    if heads == 1:
        return per_step
    return torch.cat([per_step[:, :1], per_step[:, 1:].repeat_interleave(heads, dim=1)], dim=1)


def rollout_weights(steps: int, heads: int, rho: float, device: torch.device) -> Tensor:
    """(1 + (T-1) H,) weights of these states: a step weighs rho^t, its heads the same, and all T as much as T means."""
    share = (1 + (steps - 1) * heads) / steps
    later = [share * rho**t / heads for t in range(1, steps) for _ in range(heads)]
    return tm.constant((share, *later), device)


def reward_targets(rewards: Tensor, heads: int, bins: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """What the reward heads learn along every dynamics head's rollout, and how much each state weighs.

    rewards: (S, T, B) -> (S, 1 + (T-1) H, B, K), two-hot: at t = 0 all dynamics heads share z_0, later steps have each
    head's own, head by head.
    """
    target = ops.two_hot(along_rollouts(rewards, heads), bins)
    return target, rollout_weights(rewards.shape[1], heads, rho, rewards.device)


def termination_loss(logits: Tensor, terminated: Tensor) -> Tensor:
    """Binary cross-entropy of the ends of a window's transitions: logits (S, T, H, B), terminated (S, T, B) -> (S,)."""
    target = terminated.unsqueeze(2).expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2, 3))


class PolicyTerms(NamedTuple):
    """What the policy is judged by; (S, T, B) each, T counting all states of a window."""

    q: Tensor
    log_prob: Tensor  # of the pre-squash Gaussian
    hinge: Tensor


def policy_loss(
    terms: PolicyTerms, scale: Tensor, action_size: int, entropy_coeff: Tensor | float, hinge_coef: float, rho: float
) -> Tensor:
    """-(Q-hat / scale + coeff * entropy) + hinge, rho^t weighted -> (S,).

    scale: (S,). The objective's entropy is -A times the log-density of the pre-squash Gaussian: TD-MPC2's
    code, in which the tanh terms cancel, so its gradient reaches log_std only.
    """
    against = hinge_coef * terms.hinge - terms.q / scale[:, None, None]
    return _over_time((against + entropy_coeff * action_size * terms.log_prob).mean(-1), rho)


# --- noise --------------------------------------------------------------------------------------------


def draw_noise(config: TrainConfig, action_size: int, draws: Draws, dropout: bool = True) -> Noise:
    """Noise of one pass; the order of the draws is part of what a seed stands for."""
    c = config
    starts = (c.horizon + 1) * c.batch_size
    steps = c.imagination_horizon if c.imagines else 0
    states = starts * (1 + max(steps - 1, 0) * c.num_rollouts)
    heads = draws.subsets(c.planner_num_dynamics_heads, c.td_heads)
    actions = draws.normal(steps, c.num_rollouts, starts, action_size)
    return Noise(heads, actions, draws.dropout(c.dropout if dropout else 0.0, c.num_q, states, c.mlp_dim))


class PolicyNoise(NamedTuple):
    eps: Tensor  # (S, M, A) standard-normal, M = (T+1) B
    dropout: Dropout | None  # of (S, Q, H*M, hidden)


def draw_policy_noise(config: TrainConfig, action_size: int, draws: Draws) -> PolicyNoise:
    """Noise of one update of the policy, drawn behind that of the model's."""
    c = config
    count = (c.horizon + 1) * c.batch_size
    eps = draws.normal(count, action_size)
    return PolicyNoise(eps, draws.dropout(c.dropout, c.num_q, c.planner_num_dynamics_heads * count, c.mlp_dim))


# --- the model ----------------------------------------------------------------------------------------


class ModelLosses(NamedTuple):
    raw: dict[str, Tensor]  # loss -> (S,)
    coefs: dict[str, float]  # of each of these
    metrics: Metrics  # empty unless asked for in full
    states: Tensor  # (S, T+1, B, L) detached start states, for the policy
    acted: Gaussian | None  # what the policy said there, with its gradient, if it was asked

    @property
    def weighted(self) -> dict[str, Tensor]:
        """loss -> (S,), times its coefficient."""
        return {name: self.coefs[name] * loss for name, loss in self.raw.items()}

    @property
    def total(self) -> Tensor:
        """(S,) sum of the weighted losses."""
        raw = torch.stack(list(self.raw.values()))
        return (raw * tm.constant(tuple(self.coefs.values()), raw.device).unsqueeze(1)).sum(0)


def model_losses(
    nets: Networks, batch: Batch, noise: Noise, config: TrainConfig, frozen: bool, full: bool
) -> ModelLosses:
    """All losses of the world model and the values on one batch. `full` adds the diagnostics."""
    c, model = config, nets.model
    latents, seen, truth = _unroll(model, batch, frozen)
    heads = latents.rollout.shape[2]
    taken = along_rollouts(batch.actions, heads)
    values = _value_batches(nets, latents, batch, noise, c, full)
    to_rollout, to_encoder = consistency_losses(latents.rollout, truth, c.rho)
    target, weights = reward_targets(batch.rewards, heads, model.bins, c.rho)
    raw = {
        "consistency_loss": to_rollout,
        "encoder_consistency_loss": to_encoder,
        "reward_loss": model.reward.cross_entropy(seen.flatten(1, 2), target, weights, taken.flatten(1, 2)),
    }
    raw["value_loss"], value_metrics = _value_loss(model, values[c.ac_source], noise, full)
    metrics: Metrics = {}
    if model.num_gammas:
        per_gamma = _aux_loss(model, values[c.aux_value_source])
        raw["aux_value_loss"] = per_gamma.mean(1)
        metrics["aux_value_loss_per_gamma"] = per_gamma.detach()
    if c.episodic:
        raw["termination_loss"] = termination_loss(model.end_logits(latents.rollout), batch.terminated)
    coefs_of = {
        "consistency_loss": c.consistency_coef,
        "encoder_consistency_loss": c.encoder_consistency_coef,
        "reward_loss": c.reward_coef,
        "value_loss": c.value_coef,
        "aux_value_loss": c.multi_gamma_loss_weight,
        "termination_loss": c.termination_coef,
    }
    coefs = {name: coefs_of[name] for name in raw}
    acted = next((found.acted for found in values.values() if found.acted), None)
    result = ModelLosses(raw, coefs, {}, latents.states(c.actor_source).detach(), acted)
    if not full:
        return result
    metrics |= {name: loss.detach() for name, loss in raw.items()} | value_metrics
    metrics["reward_error_abs_mean"] = _reward_error(model, seen, taken, batch.rewards, heads)
    metrics["total_loss"] = result.total.detach()
    return result._replace(metrics=metrics)


def _unroll(model: WorldModel, batch: Batch, frozen: bool) -> tuple[Latents, Tensor, Tensor]:
    """Latents; the states (S, 1 + (T-1) H, B, L) that rewards are predicted from, z_0 and then each head's; and the
    encodings (S, T, B, L) that the rollout should have met."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        encoded = model.encode(batch.obs)
    z, truth = encoded.split([1, batch.actions.shape[1]], dim=1)  # z_0: one latent, shared by all heads
    steps = [z]
    for t in range(batch.actions.shape[1]):
        steps.append(model.next(steps[-1], batch.actions[:, t : t + 1]))
    rollout = torch.stack(steps[1:], dim=1)
    starts = torch.cat([z, rollout[:, :, 0].detach()], dim=1)
    return Latents(encoded, rollout, starts), torch.cat(steps[:-1], dim=1), truth


@torch.no_grad()
def _reward_error(model: WorldModel, states: Tensor, actions: Tensor, rewards: Tensor, heads: int) -> Tensor:
    """(S,) mean |predicted - stored reward| over steps, heads and windows."""
    predicted = model.rewards(states.flatten(1, 2), actions.flatten(1, 2)).mean(1).unflatten(1, states.shape[1:3])
    errors = (predicted - along_rollouts(rewards, heads)).abs().mean(2)
    return (errors * rollout_weights(rewards.shape[1], heads, 1.0, rewards.device)).mean(1)


def _value_loss(model: WorldModel, found: ValueBatch, noise: Noise, full: bool) -> tuple[Tensor, Metrics]:
    """Every value head against one target; the metrics are those of the start states."""
    states, live = found.states.flatten(1, 2), found.states.shape[2]
    loss = model.value.cross_entropy(states, found.target[:, 0], found.weights, dropout=noise.dropout, live=live)
    if not full:
        return loss, {}
    with torch.no_grad():
        target = found.lowest[:, 0].mean(1)
        predicted = model.values(states[:, : target.shape[1]], noise.dropout)
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
    logits = aux_logits(model.aux, found.states.flatten(1, 2), model.num_gammas, rows[1]).unflatten(2, rows)
    return ops.cross_entropy(logits.unsqueeze(2), found.target[:, -model.num_gammas :], found.weights)


def _value_batches(
    nets: Networks, latents: Latents, batch: Batch, noise: Noise, config: TrainConfig, full: bool
) -> dict[str, ValueBatch]:
    """By source, each computed once: primary and auxiliary values may share theirs. Imagination asks the policy at its
    start states, and where the policy's own update will ask the same, that is kept."""
    c = config
    aux = c.aux_value_source if nets.model.num_gammas else None
    same = not c.policy_ema_enabled and c.imagine_initial_source == c.actor_source
    same = same and ops.can_share_graph()
    return {
        source: value_batch(
            source, TargetSpec(source == c.ac_source, source == aux, same), nets, latents, batch, noise, c, full
        )
        for source in dict.fromkeys([c.ac_source, *([aux] if aux else [])])
    }


# --- the policy ---------------------------------------------------------------------------------------


class PolicyPass(NamedTuple):
    terms: PolicyTerms
    mean: Tensor  # (S, M, A) of the Gaussian before the squash, as log_std
    log_std: Tensor


def policy_pass(
    model: WorldModel, policy: Policy, states: Tensor, eps: Tensor, dropout: Dropout | None, config: TrainConfig,
    acted: Gaussian | None = None,
) -> PolicyPass:  # fmt: skip
    """states (S, T+1, B, L), eps (S, M, A), dropout of (S, Q, H*M, hidden) -> the terms of the policy's objective.

    Q-hat = reduce_R r + gamma reduce_H min_Q V(z'_h), by the online value heads in training mode as in
    TD-MPC2. acted: the policy's answer to the states, where it was asked before. The graph reaches the model too;
    whoever differentiates asks for the policy's parameters only.
    """
    steps = states.shape[1:3]
    z = states.flatten(1, 2)
    mean, log_std = acted or policy(z)
    action, log_prob, hinge = ops.gaussian(mean, log_std, eps, config.hinge_tau, config.hinge_power)
    how = config.policy_head_reduce
    reward = tm.reduce_heads(model.rewards(z, action), how, 1)
    next_z = model.next(z, action)
    values = model.values(next_z.flatten(1, 2), dropout).amin(1).unflatten(-1, next_z.shape[1:3])
    alive = model.alive(next_z)
    values = values if alive is None else alive * values
    q = reward + config.gamma * tm.reduce_heads(values, how, 1)
    terms = PolicyTerms(*(x.unflatten(-1, steps) for x in (q, log_prob, hinge)))
    return PolicyPass(terms, mean, log_std)


@torch.no_grad()
def policy_metrics(found: PolicyPass, eps: Tensor) -> Metrics:
    """What the policy was like in a pass with the noise eps (S, M, A)."""
    entropy = tm.squash_log_det(found.mean + found.log_std.exp() * eps) - found.terms.log_prob.flatten(1)
    per_dim = found.log_std.mean(1)
    return {"log_std": per_dim.mean(1), "log_std_per_dim": per_dim, "policy_entropy": entropy.mean(1)}
