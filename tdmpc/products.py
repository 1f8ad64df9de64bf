"""Products of stacked matrices: torch's batched one, or oneDNN's one by one where that is twice as fast.

torch hands float32 products to MKL, which on AMD processors leaves half of each vector unused; the oneDNN that torch
brings with it does not.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import torch
from torch import Tensor

from tdmpc import processor

WORTH_A_CALL = 4_000_000  # multiplications of one matrix; a batched product of smaller ones is as fast


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (S, E|1, N, in), weight (S, E, in, out), bias (S, E, 1, out) -> (S, E, N, out) = x weight + bias."""
    x = x.expand(-1, weight.shape[1], -1, -1)
    if x.is_cpu and x.dtype == torch.float32 and _one_by_one() and x[0, 0].numel() * weight.shape[-1] >= WORTH_A_CALL:
        if not torch.is_grad_enabled():
            return _each(x, weight.mT, bias)
        found: Tensor = _Product.apply(x, weight, bias)
        return found
    left, right = x.flatten(0, 1), weight.flatten(0, 1)
    stacked = torch.bmm(left, right) if bias is None else torch.baddbmm(bias.flatten(0, 1), left, right)
    return stacked.unflatten(0, weight.shape[:2])


@functools.cache
def _one_by_one() -> bool:
    """Whether oneDNN is there and faster: by the processor, not by a measurement, which could fall out differently
    when a run is resumed."""
    if os.environ.get("SWEEPS_KERNELS") == "torch" or not torch.backends.mkldnn.is_available():
        return False
    told = processor.told()
    wide = told.get("vendor_id") == "AuthenticAMD" and "avx512f" in told.get("flags", "").split()
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and wide


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _each(x, weight.mT, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            _each(grad, weight) if to_x else None,
            _each(x.mT, grad.mT) if to_weight else None,
            grad.sum(-2, keepdim=True) if to_bias else None,
        )


def _each(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (S, E, N, in), weight (S, E, out, in) -> (S, E, N, out), a call a matrix: nothing depends on its neighbours."""
    linear = torch.ops.mkldnn._linear_pointwise.default
    seeds, heads = x.shape[:2]
    found = [
        linear(x[s, e], weight[s, e], None if bias is None else bias[s, e, 0], "none", [], "")
        for s in range(seeds)
        for e in range(heads)
    ]
    if len(found) == 1:
        return found[0].view(1, 1, *found[0].shape)
    return torch.stack(found).unflatten(0, (seeds, heads))
