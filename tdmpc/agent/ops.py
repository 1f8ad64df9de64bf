"""Tensor functions with two implementations: C kernels for float32 on a CPU, and torch operations for everything else.

The torch operations are the reference; the kernels (`tdmpc.accel`) agree with them to rounding. The choice depends on
the tensors and on the machine only, so the algorithm calls these functions without knowing which implementation runs.
Shapes: symbols as in docs/algorithm.md, `...` for any leading axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tdmpc import math as tm
from tdmpc.accel import fused, kernels, stack
from tdmpc.accel.stack import Layer, Layers, StackOptions
from tdmpc.rng import Dropout

# --- networks -----------------------------------------------------------------------------------------


class LayerParameters(NamedTuple):
    """Parameters of one layer for every seed and head; scale and shift only where it has a LayerNorm."""

    weight: Tensor  # (S, E, in, out)
    bias: Tensor  # (S, E, 1, out), as scale and shift
    scale: Tensor | None = None
    shift: Tensor | None = None


def layer_parameters(numbers: Tensor, layers: Layers) -> list[LayerParameters]:
    """Views into numbers (S, E, n), layer by layer."""
    parts = iter(numbers.split(layers.sizes, dim=-1))
    return [
        LayerParameters(
            next(parts).unflatten(-1, (layer.size_in, layer.size_out)),
            *(next(parts).unsqueeze(-2) for _ in layer.sizes[1:]),
        )
        for layer in layers
    ]


def mlp(x: Tensor, extra: Tensor | None, numbers: Tensor, options: StackOptions, precision: torch.dtype) -> Tensor:
    """x (S, [E|1], N, in), numbers (S, E, n) -> (S, E, N, out), or with `options.bins` (S, E, N).

    extra: (S, [E|1], N, more) or None; a row of the input is one of x followed by one of `extra`. An input without
    the axis E is shared by the heads. precision: of the matrix products.
    """
    if precision == torch.float32 and kernels.compiled_for(x):
        return stack.run(x, extra, options, numbers)
    inputs = [part if part.dim() == 4 else part.unsqueeze(1) for part in (x, extra) if part is not None]
    heads = max(part.shape[1] for part in inputs)
    x = torch.cat([part.expand(-1, heads, -1, -1) for part in inputs], dim=-1)
    dropout = options.dropout
    for layer, parameters in zip(options.layers, layer_parameters(numbers, options.layers), strict=True):
        x = _layer(x, layer, parameters, dropout, precision)
        dropout = None  # in the first layer only
    return x if options.bins is None else tm.two_hot_inverse(x, options.bins)


def _layer(
    x: Tensor, layer: Layer, parameters: LayerParameters, dropout: Dropout | None, precision: torch.dtype
) -> Tensor:
    """x (S, E|1, N, in) -> (S, E, N, out): Linear -> (Dropout) -> LayerNorm -> Mish or SimNorm, or Linear alone."""
    weight, bias, scale, shift = parameters
    x = _linear(x, weight, bias, precision)
    if scale is None or shift is None:
        return x
    if dropout is not None:
        x = x * dropout.factors(x.shape[2])
    x = torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale)
    return tm.simnorm(x, layer.group) if layer.group else F.mish(x)


def _linear(x: Tensor, weight: Tensor, bias: Tensor, precision: torch.dtype) -> Tensor:
    """x (S, E|1, N, in), weight (S, E, in, out), bias (S, E, 1, out) -> (S, E, N, out) in the type of x.

    One batched product for all seeds and heads, its factors and result in `precision`.
    """
    # cast after `expand`: the gradient of an input that heads share is then their sum in the type of x
    rows, weight = x.expand(-1, weight.shape[1], -1, -1).to(precision), weight.to(precision)
    product = torch.bmm(rows.flatten(0, 1), weight.flatten(0, 1))
    return product.unflatten(0, weight.shape[:2]).to(x.dtype) + bias


def mlp_cross_entropy(
    x: Tensor, extra: Tensor | None, numbers: Tensor, options: StackOptions, precision: torch.dtype,
    target: Tensor, weights: Tensor,
) -> Tensor:  # fmt: skip
    """`cross_entropy` of the logits that `mlp` gives -> (S,).

    target: (S, X, B, out) distributions that all heads share, where N = X B. weights: (X,).
    """
    if torch.is_grad_enabled() and precision == torch.float32 and kernels.compiled_for(x):
        return stack.cross_entropy(x, extra, options, numbers, stack.Targets(target.contiguous(), weights))
    logits = mlp(x, extra, numbers, options, precision)
    return cross_entropy(logits.unflatten(2, target.shape[1:3]), target, weights)


# --- two-hot distributions over bins ------------------------------------------------------------------


def two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """(...) returns -> (..., K) weights on the two bins around symlog(x), summing to 1; clamped at the ends."""
    return mean_two_hot(x.unsqueeze(-2), bins)


@torch.no_grad()
def mean_two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """(..., N, M) returns -> (..., M, K), the mean of `two_hot` over N."""
    if kernels.compiled_for(x):
        return fused.mean_two_hot(x, bins)
    return tm.two_hot(x, bins).mean(-3)


@torch.no_grad()
def two_hot_inverse(logits: Tensor, bins: Tensor) -> Tensor:
    """(..., K) logits -> (...) the return that their distribution stands for: symexp of the mean bin."""
    if kernels.compiled_for(logits):
        return fused.two_hot_inverse(logits, bins)
    return tm.two_hot_inverse(logits, bins)


# --- losses -------------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """logits (..., E, X, B, K), target distributions (..., X, B, K) that E heads share, weights (X,) -> (...).

    The mean over E, X and B of the weight times the cross-entropy in nats.
    """
    if kernels.compiled_for(logits):
        return fused.cross_entropy(logits, target, weights)
    errors = tm.soft_cross_entropy(logits, target.unsqueeze(-4))
    return (errors.mean(-1) * weights).mean(dim=(-2, -1))


def squared_errors(x: Tensor, near: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """x (S, T, H, ...), near (S, T, ...), weights (T,) -> twice (S,): the mean of weight times (x - near)^2.

    The gradient of the first reaches `x` only, that of the second `near` only.
    """
    if kernels.compiled_for(x):
        return fused.squared_errors(x, near, weights)

    def weighted_mean(a: Tensor, b: Tensor) -> Tensor:
        errors = F.mse_loss(a, b.unsqueeze(2).expand_as(a), reduction="none")
        return (errors.flatten(2).mean(2) * weights).mean(1)

    return weighted_mean(x, near.detach()), weighted_mean(x.detach(), near)


def can_share_graph() -> bool:
    """Whether two losses that are differentiated one after the other may share a part of the autograd graph.

    A function compiled by `torch.compile` has a single backward pass for all of its outputs.
    """
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


# --- the policy's Gaussian ----------------------------------------------------------------------------


def mean_and_log_std(raw: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """(..., 2 A) outputs of the policy network -> mean and log std (..., A), the latter squashed into [low, high]."""
    if kernels.compiled_for(raw):
        return fused.mean_and_log_std(raw, low, high)
    mean, raw_log_std = raw.chunk(2, dim=-1)
    return mean, tm.squash_log_std(raw_log_std, low, high)


def gaussian(
    mean: Tensor, log_std: Tensor, eps: Tensor, threshold: float, power: float
) -> tuple[Tensor, Tensor, Tensor]:
    """mean, log_std, eps (S, N, A) -> actions (S, N, A), log-density (S, N), hinge (S, N).

    Actions are tanh(mean + std eps). The log-density is that of the Gaussian before the squash. The hinge is the mean
    over action dimensions of relu(|mean| - threshold)^power.
    """
    if kernels.compiled_for(mean):
        return fused.gaussian(mean, log_std, eps, threshold, power)
    actions = torch.tanh(mean + log_std.exp() * eps)
    return actions, tm.gaussian_log_prob(eps, log_std), tm.hinge(mean, threshold, power)


# --- gradients ----------------------------------------------------------------------------------------


def per_seed_norm(grads: Iterable[Tensor]) -> Tensor:
    """Tensors (S, ...) -> (S,) 2-norm over all of them.

    Seed by seed: one reduction over (S, n) would sum in an order that depends on S, and a seed would train differently
    next to others than alone.
    """
    flat = torch.cat([g.flatten(1) for g in grads], dim=1)
    return torch.stack([torch.linalg.vector_norm(row) for row in flat])


def clip_per_seed(grads: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale each seed's gradients (S, ...), in place, to norm at most `max_norm`; returns the norms (S,) before."""
    if all(kernels.compiled_for(grad) and grad.is_contiguous() for grad in grads):
        return fused.clip(grads, max_norm)
    norm = per_seed_norm(grads)
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factor.view(-1, *[1] * (grad.dim() - 1)))
    return norm
