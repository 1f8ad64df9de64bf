"""A whole stack of layers as one node of the graph of gradients.

A small network's time on a CPU is mostly the starting of operations, and every operation that autograd records starts
several. Here the kernels and products of all layers follow one another, forward and backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tdmpc import fused
from tdmpc.products import product

PLAIN = -1  # in the place of a norm's `group`: a layer is its product and its bias


def run(x: Tensor, drop: Tensor | None, groups: Sequence[int], parameters: Sequence[Tensor | None]) -> Tensor:
    """x (S, E|1, N, in) -> (S, E, N, out), where `fused.compiled_for(x)`. drop: (S, E, N, hidden) factors in the first
    layer. groups: PLAIN, or that of `fused.norm_activation`, for each layer; parameters: weight, bias, scale and shift
    of each, the last two None where it is plain."""
    found: Tensor = _Stack.apply(x, drop, groups, *parameters)
    return found


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, drop: Tensor | None, groups: Sequence[int], *parameters: Any) -> Tensor:
        kept: list[Tensor | None] = []
        mask = drop
        for n, group in enumerate(groups):
            weight, bias, scale, shift = parameters[4 * n : 4 * n + 4]
            if group == PLAIN:
                kept += [x, None, None]
                x = product(x, weight, bias)
                continue
            held = product(x, weight)  # the normed rows take its place
            rstd = held.new_empty(held.shape[:-1])
            kept += [x, held, rstd]
            x = fused.norm_forward(held, bias, mask, scale, shift, group, held, rstd, torch.empty_like(held))
            mask = None
        ctx.groups = groups
        ctx.save_for_backward(drop, *kept, *parameters)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        drop, *saved = ctx.saved_tensors
        layers, wanted = len(ctx.groups), ctx.needs_input_grad
        kept, parameters = saved[: 3 * layers], saved[3 * layers :]
        grads: list[Tensor | None] = []
        for n in reversed(range(layers)):
            x, held, rstd = kept[3 * n : 3 * n + 3]
            weight, _, scale, shift = parameters[4 * n : 4 * n + 4]
            to_weight, to_bias, *_ = asked = wanted[3 + 4 * n : 7 + 4 * n]
            own: list[Tensor | None] = [None] * 4
            if ctx.groups[n] != PLAIN:
                mask = None if n else drop
                grad, *own[1:] = fused.norm_backward(grad, mask, scale, shift, ctx.groups[n], held, rstd)
            elif to_bias:
                own[1] = grad.sum(-2, keepdim=True)
            if to_weight:
                own[0] = product(x.expand(-1, weight.shape[1], -1, -1).mT, grad)
            grads = [g if needed else None for g, needed in zip(own, asked, strict=True)] + grads
            if n or wanted[0]:
                grad = product(grad, weight.mT)
        if not wanted[0]:
            return None, None, None, *grads
        shared = kept[0].shape[1] == 1 < grad.shape[1]
        return grad.sum(1, keepdim=True) if shared else grad, None, None, *grads
