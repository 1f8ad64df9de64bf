"""Losses and targets: pure functions, tensors in, per-seed losses (S,) out. Symbols as in docs/algorithm.md.

Every loss is a mean over everything but the seed axis, so that summing over seeds before `backward` gives
each seed the gradient it would have alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tdmpc import fused
from tdmpc import math as tm


def _over_time(per_step: Tensor, rho: float) -> Tensor:
    """(S, T) -> (S,): mean over t of rho^t times the step's loss."""
    return (per_step * tm.time_weights(per_step.shape[1], rho, per_step.device)).mean(1)


def consistency_loss(rollout: Tensor, encoded: Tensor, rho: float) -> Tensor:
    """rollout (S, T, H, B, L) latents of every head, encoded (S, T, B, L) -> (S,).

    Which side carries the gradient is the caller's choice: detach the other one.
    """
    errors = F.mse_loss(rollout, encoded.unsqueeze(2).expand_as(rollout), reduction="none")
    return _over_time(errors.mean(dim=(2, 3, 4)), rho)


def reward_loss(first: Tensor, later: Tensor, rewards: Tensor, bins: Tensor, rho: float) -> Tensor:
    """Cross-entropy of the reward heads along every dynamics head's rollout -> (S,).

    first: (S, R, B, K) at t = 0, where all heads share z_0. later: (S, T-1, H, R, B, K). rewards: (S, T, B).
    """
    target = fused.two_hot(rewards, bins)
    at_first = fused.soft_cross_entropy(first, target[:, :1]).mean(dim=(1, 2)).unsqueeze(1)
    at_later = fused.soft_cross_entropy(later, target[:, 1:, None, None]).mean(dim=(2, 3, 4))
    return _over_time(torch.cat([at_first, at_later], dim=1), rho)


def td_targets(rewards: Tensor, next_values: Tensor, discounts: Tensor, alive: Tensor | None = None) -> Tensor:
    """y_h = min_R r + gamma (1 - done_h) V(z'_h) for every discount and dynamics head.

    rewards: (S, R, X). next_values: (S, C, h, X), already reduced over the value heads of each discount.
    discounts: (C,). alive: 1 - done, (S, h|1, X); None where nothing ends. Returns (S, C, h, X).
    """
    if alive is not None:
        next_values = alive.unsqueeze(1) * next_values
    reward = rewards.amin(1)[:, None, None]
    return reward + discounts[:, None, None] * next_values


def value_loss(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """logits (S, Q, T+1, B, K), target distribution (S, T+1, B, K), weights (T+1,) of the steps -> (S, Q)."""
    errors = fused.soft_cross_entropy(logits, target.unsqueeze(1))
    return (errors.mean(-1) * weights).mean(-1)


def termination_loss(logits: Tensor, terminated: Tensor) -> Tensor:
    """Binary cross-entropy of the ends of a window's transitions: logits (S, T, H, B), terminated (S, T, B) -> (S,)."""
    target = terminated.unsqueeze(2).expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2, 3))


class PolicyTerms(NamedTuple):
    """What the policy is judged by; (S, T, B) each, T counting all states of a window."""

    q: Tensor
    log_prob: Tensor  # of the pre-squash Gaussian
    hinge: Tensor


def hinge(mean: Tensor, threshold: float, power: float) -> Tensor:
    """(..., A) pre-squash means -> (...): mean over actions of relu(|mean| - threshold)^power."""
    return F.relu(mean.abs() - threshold).pow(power).mean(-1)


def policy_loss(
    terms: PolicyTerms, scale: Tensor, action_size: int, entropy_coeff: float, hinge_coef: float, rho: float
) -> Tensor:
    """-(Q-hat / scale + coeff * entropy) + hinge, rho^t weighted -> (S,).

    scale: (S,). The objective's entropy is -A times the log-density of the pre-squash Gaussian: TD-MPC2's
    code, in which the tanh terms cancel, so its gradient reaches log_std only.
    """
    entropy = -action_size * terms.log_prob
    objective = terms.q / scale[:, None, None] + entropy_coeff * entropy
    return _over_time((hinge_coef * terms.hinge - objective).mean(-1), rho)
