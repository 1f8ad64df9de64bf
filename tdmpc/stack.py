"""A stack of layers by `stack.c`: one call and, where gradients are wanted, one node of their graph.

A small network's time on a CPU is mostly the starting of operations and the traffic between them. Here rows go through
all layers, products and norms, while they are in the inner caches.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tdmpc import fused

FLOAT = 4  # bytes
PLAIN = -1  # in the place of a norm's `group`: a layer is its product and its bias; only the last may be

Parameters = Sequence[Tensor | None]  # weight, bias, scale and shift of each layer, the last two None where it is plain


class _Sizes(ctypes.Structure):
    """As in stack.c."""

    _fields_ = [(name, ctypes.c_long) for name in ("layers", "seeds", "heads", "apart", "shared", "rows")]


@functools.cache
def _library() -> ctypes.CDLL:
    library, pointer = fused.kernels(), ctypes.c_void_p
    library.stack_forward.argtypes = [pointer, _Sizes, *[pointer] * 3, ctypes.c_int]
    library.stack_backward.argtypes = [pointer, _Sizes, *[pointer] * 4, ctypes.c_int]
    return library


def run(x: Tensor, drop: Tensor | None, groups: Sequence[int], apart: int, parameters: Parameters) -> Tensor:
    """x (S, E|1, N, in) -> (S, E, N, out), where `fused.compiled_for(x)`.

    drop: (S, E, N, hidden) factors in the first layer, before its norm. groups: for each layer PLAIN, 0 for layer norm
    and Mish, or the group size of layer norm and SimNorm. parameters: (S, E, ...), the E of a seed one behind the
    other; those of the next seed begin `apart` nets further on.
    """
    x, drop = x.contiguous(), drop if drop is None else drop.contiguous()
    if torch.is_grad_enabled():
        found: Tensor = _Stack.apply(x, drop, groups, apart, *parameters)
        return found
    return _forward(x, drop, groups, apart, parameters, None)


def _forward(
    x: Tensor, drop: Tensor | None, groups: Sequence[int], apart: int, parameters: Parameters, held: Tensor | None
) -> Tensor:
    weight = parameters[-4]
    assert weight is not None
    y = x.new_empty(*weight.shape[:2], x.shape[2], weight.shape[-1])
    layers, sizes = _described(x, groups, apart, parameters, held, None)
    _done(_library().stack_forward(layers, sizes, *map(fused.at, (x, drop, y)), torch.get_num_threads()))
    return y


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, drop: Tensor | None, groups: Sequence[int], apart: int, *parameters: Any
    ) -> Tensor:
        normed = (weight for weight, group in zip(parameters[::4], groups, strict=True) if group != PLAIN)
        held = x.new_empty(sum(math.prod(w.shape[:2]) * x.shape[2] * (w.shape[-1] + 1) for w in normed))
        ctx.groups, ctx.apart = groups, apart
        ctx.save_for_backward(x, drop, held, *parameters)
        return _forward(x, drop, groups, apart, parameters, held)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, drop, held, *parameters = ctx.saved_tensors
        to_x, _, _, _, *to_parameters = ctx.needs_input_grad
        grads: list[Tensor | None] = [None] * len(parameters)
        if any(to_parameters):
            given = torch.empty if x.shape[2] else torch.zeros  # nothing is summed where there are no rows
            grads = [None if p is None else given(p.shape) for p in parameters]
        of_x = grad.new_empty(*grad.shape[:3], x.shape[-1]) if to_x else None
        layers, sizes = _described(x, ctx.groups, ctx.apart, parameters, held, grads)
        grad = grad.contiguous()
        pointers = map(fused.at, (x, drop, grad, of_x))
        _done(_library().stack_backward(layers, sizes, *pointers, torch.get_num_threads()))
        if of_x is not None and x.shape[1] < of_x.shape[1]:
            of_x = of_x.sum(1, keepdim=True)
        return of_x, None, None, None, *grads


def _described(
    x: Tensor, groups: Sequence[int], apart: int, parameters: Parameters, held: Tensor | None, grads: Parameters | None
) -> tuple[Any, _Sizes]:
    """The array of `Layer`s and the sizes for stack.c. held: where the normed rows of all layers lie, one behind the
    other. An array of numbers, since filling structures takes as long as a small product."""
    first = parameters[0]
    assert first is not None
    (seeds, heads), rows = first.shape[:2], x.shape[2]
    free, numbers = fused.at(held), []
    for n, group in enumerate(groups):
        own, to = parameters[4 * n : 4 * n + 4], grads[4 * n : 4 * n + 4] if grads else ()
        assert own[0] is not None
        size_in, size_out = own[0].shape[-2:]
        normed = rstd = 0
        if free and group != PLAIN:
            normed, rstd = free, free + FLOAT * seeds * heads * rows * size_out
            free = rstd + FLOAT * seeds * heads * rows
        numbers += [size_in, size_out, group, *map(fused.at, own), normed, rstd]
        numbers += map(fused.at, to or [None] * 4)
    sizes = _Sizes(len(groups), seeds, heads, apart, x.shape[1] < heads, rows)
    return (ctypes.c_ssize_t * len(numbers))(*numbers), sizes


def _done(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for a stack of layers")
