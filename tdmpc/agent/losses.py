"""Losses and targets: pure functions, tensors in, per-seed losses (S,) out. Symbols as in docs/algorithm.md.

Every loss is a mean over everything but the seed axis, so that summing over seeds before `backward` gives
each seed the gradient it would have alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tdmpc import math as tm
from tdmpc.accel import fused


def _over_time(per_step: Tensor, rho: float) -> Tensor:
    """(S, T) -> (S,): mean over t of rho^t times the step's loss."""
    return (per_step * tm.time_weights(per_step.shape[1], rho, per_step.device)).mean(1)


def consistency_losses(rollout: Tensor, encoded: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """rollout (S, T, H, B, L) latents of every head, encoded (S, T, B, L) -> twice (S,): the same number, once with its
    gradient to the rollout alone, once to the encodings alone."""
    return fused.squared_errors(rollout, encoded, tm.time_weights(encoded.shape[1], rho, encoded.device))


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
    target = fused.two_hot(along_rollouts(rewards, heads), bins)
    return target, rollout_weights(rewards.shape[1], heads, rho, rewards.device)


def td_targets(rewards: Tensor, next_values: Tensor, discounts: Tensor, alive: Tensor | None = None) -> Tensor:
    """y_h = min_R r + gamma (1 - done_h) V(z'_h) for every discount and dynamics head.

    rewards: (S, R, X). next_values: (S, C, h, X), already reduced over the value heads of each discount.
    discounts: (C,). alive: 1 - done, (S, h|1, X); None where nothing ends. Returns (S, C, h, X).
    """
    if alive is not None:
        next_values = alive.unsqueeze(1) * next_values
    reward = rewards.amin(1)[:, None, None]
    return reward + discounts[:, None, None] * next_values


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
