"""The kernels of `kernels.c` as torch functions with gradients: two-hot targets, losses, the policy's Gaussian,
gradient clipping and Adam.

Each does in one call what `tdmpc.agent.ops` does with several torch operations, to rounding. All of them require
`kernels.compiled_for` to hold for their tensors.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tdmpc.accel.kernels import library, pointer

# --- two-hot distributions over bins ------------------------------------------------------------------


@torch.no_grad()
def mean_two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """(..., N, M) returns -> (..., M, K), the mean over N of their two-hot targets."""
    x, y = x.contiguous(), x.new_empty(*x.shape[:-2], x.shape[-1], bins.numel())
    sizes = (math.prod(x.shape[:-2]), *x.shape[-2:], bins.numel())
    library().two_hot(*sizes, *map(pointer, (bins, x, y)), torch.get_num_threads())
    return y


@torch.no_grad()
def two_hot_inverse(logits: Tensor, bins: Tensor) -> Tensor:
    """(..., K) logits -> (...) the return that their distribution stands for: symexp of the mean bin."""
    logits, y = logits.contiguous(), logits.new_empty(logits.shape[:-1])
    library().two_hot_inverse(y.numel(), logits.shape[-1], *map(pointer, (logits, bins, y)), torch.get_num_threads())
    return y


# --- losses -----------------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """logits (..., E, X, B, K), target distributions (..., X, B, K) that E heads share, weights (X,) -> (...).

    The mean over E, X and B of the weight times the cross-entropy in nats.
    """
    loss: Tensor = _CrossEntropy.apply(logits.contiguous(), target.contiguous(), weights)
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        *sets, heads, groups, per, bins = logits.shape
        slope = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(slope)
        y, each = logits.new_empty(sets), logits.new_empty(logits.shape[:-1])
        pointers = map(pointer, (logits, target, weights, y, each, slope))
        library().cross_entropy(y.numel(), heads, groups * per, bins, per, *pointers, torch.get_num_threads())
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad[..., None, None, None, None], None, None


def squared_errors(x: Tensor, near: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """x (S, T, H, ...), near (S, T, ...), weights (T,) -> twice (S,): the mean of weight times (x - near)^2.

    The gradient of the first reaches `x` only, that of the second `near` only.
    """
    losses: tuple[Tensor, Tensor] = _SquaredErrors.apply(x.contiguous(), near.contiguous(), weights)
    return losses


class _SquaredErrors(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, near: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        y, each, slope = x.new_empty(x.shape[0]), x.new_empty(x.shape[:3]), torch.empty_like(x)
        ctx.save_for_backward(slope)
        pointers = map(pointer, (x, near, weights, y, each, slope))
        library().squared_errors(*x.shape[:3], x[0, 0, 0].numel(), *pointers, torch.get_num_threads())
        return y, y.clone()

    @staticmethod
    def backward(ctx: Any, to_x: Tensor, to_near: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (slope,) = ctx.saved_tensors
        wide = (-1, *[1] * (slope.dim() - 1))
        of_x = slope * to_x.view(wide) if ctx.needs_input_grad[0] else None
        of_near = slope.sum(2) * -to_near.view(wide[:-1]) if ctx.needs_input_grad[1] else None
        return of_x, of_near, None


# --- the policy's Gaussian --------------------------------------------------------------------------------


def mean_and_log_std(raw: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """(..., 2 A) outputs of the policy network -> mean and log std (..., A), the latter squashed into [low, high]."""
    outputs: tuple[Tensor, Tensor] = _MeanAndLogStd.apply(raw.contiguous(), low, high)
    return outputs


class _MeanAndLogStd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
        mean, log_std = (raw.new_empty(*raw.shape[:-1], raw.shape[-1] // 2) for _ in range(2))
        library().squash(mean.numel() // mean.shape[-1], mean.shape[-1], low, high, *map(pointer, (raw, mean, log_std)))
        ctx.range = low, high
        ctx.save_for_backward(log_std)
        return mean, log_std

    @staticmethod
    def backward(ctx: Any, to_mean: Tensor, to_log_std: Tensor) -> tuple[Tensor, None, None]:
        (log_std,) = ctx.saved_tensors
        size = log_std.shape[-1]
        to_raw = log_std.new_empty(*log_std.shape[:-1], 2 * size)
        pointers = map(pointer, (log_std, to_mean.contiguous(), to_log_std.contiguous(), to_raw))
        library().squash_grad(log_std.numel() // size, size, *ctx.range, *pointers)
        return to_raw, None, None


def gaussian(
    mean: Tensor, log_std: Tensor, eps: Tensor, threshold: float, power: float
) -> tuple[Tensor, Tensor, Tensor]:
    """mean, log_std, eps (S, N, A) -> actions (S, N, A), log-density (S, N), hinge (S, N), as `ops.gaussian`."""
    outputs: tuple[Tensor, Tensor, Tensor] = _Gaussian.apply(
        mean.contiguous(), log_std.contiguous(), eps.contiguous(), threshold, power
    )
    return outputs


class _Gaussian(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_std: Tensor, eps: Tensor, threshold: float, power: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        action, spread, slope = (torch.empty_like(eps) for _ in range(3))
        log_prob, hinge = (eps.new_empty(eps.shape[:-1]) for _ in range(2))
        inputs, outputs = map(pointer, (mean, log_std, eps)), map(pointer, (action, spread, log_prob, hinge, slope))
        library().gaussian(hinge.numel(), eps.shape[-1], *inputs, threshold, power, *outputs)
        ctx.save_for_backward(action, spread, slope)
        return action, log_prob, hinge

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        saved = ctx.saved_tensors
        to_mean, to_log_std = (torch.empty_like(saved[0]) for _ in range(2))
        pointers = map(pointer, (*saved, *(grad.contiguous() for grad in grads), to_mean, to_log_std))
        library().gaussian_grad(grads[1].numel(), to_mean.shape[-1], *pointers)
        return to_mean, to_log_std, None, None, None


# --- optimiser --------------------------------------------------------------------------------------------


def _sizes(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_long * len(tensors))(*[x.numel() for x in tensors])


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*map(pointer, tensors))


def clip(tensors: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale each seed's elements of contiguous tensors (S, ...), in place, to 2-norm at most `max_norm`; returns the
    norms (S,) before."""
    norms = tensors[0].new_empty(tensors[0].shape[0])
    lists = (_sizes(tensors), _pointers(tensors))
    library().clip(len(tensors), *lists, norms.numel(), max_norm, pointer(norms), torch.get_num_threads())
    return norms


class AdamState(NamedTuple):
    """A parameter that has a gradient, and its optimiser state."""

    parameter: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor  # number of steps taken, t
    rate: float  # learning rate / (1 - beta1^t)
    root: float  # 1 / sqrt(1 - beta2^t)


def adam(states: Sequence[AdamState], beta1: float, beta2: float, eps: float) -> None:
    """One step of Adam, in place on parameters, moments and step counts."""
    parameters, means, squares, steps, rates, roots = map(list, zip(*states, strict=True))
    grads = [p.grad.contiguous() for p in parameters if p.grad is not None]
    lists = map(_pointers, (parameters, grads, means, squares, steps))
    factors = ((ctypes.c_float * len(states))(*values) for values in (rates, roots))
    library().adam(len(states), _sizes(parameters), *lists, *factors, beta1, beta2, eps, torch.get_num_threads())
