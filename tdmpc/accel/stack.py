"""MLPs by `stack.c`: one call and one node of the autograd graph for all layers of all seeds and heads.

With small networks on a CPU, most time goes into starting operations and into memory traffic between them. Here a block
of rows passes through all layers while it is in the inner caches, and all parameters of a network are one tensor.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tdmpc.accel import kernels
from tdmpc.rng import Dropout

LANES = 16  # floats in the widest vector registers, as in vectors.h
PLAIN = -1  # `group` of a layer without LayerNorm, which only the last may be


class Layer(NamedTuple):
    """Linear, then nothing, LayerNorm -> Mish, or LayerNorm -> SimNorm."""

    size_in: int
    size_out: int
    group: int  # PLAIN, 0 for LayerNorm -> Mish, or the group size of SimNorm

    @property
    def normed(self) -> bool:
        return self.group != PLAIN

    @property
    def sizes(self) -> list[int]:
        """Number of elements of its weight, bias and, where it has a LayerNorm, scale and shift."""
        return [self.size_in * self.size_out, *[self.size_out] * (3 if self.normed else 1)]


class Layers(tuple[Layer, ...]):
    """The layers of a network, in order."""

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Number of elements of each part of a network: weight (in, out), bias, scale and shift, layer by layer, then
        padding, so that every network starts at a multiple of a vector: products are faster there."""
        parts = [size for layer in self for size in layer.sizes]
        return [*parts, -sum(parts) % LANES]

    @functools.cached_property
    def saved_size(self) -> int:
        """Number of elements saved for the backward pass of a row: after each LayerNorm the row and its 1 / std."""
        return sum(layer.size_out + 1 for layer in self if layer.normed)

    @functools.cached_property
    def as_c_array(self) -> Any:
        return (ctypes.c_ssize_t * (3 * len(self)))(*[number for layer in self for number in layer])


_POINTER, _LONG = ctypes.c_void_p, ctypes.c_long


class _Call(ctypes.Structure):
    """`Call` of stack.c. One structure, since filling two takes as long as a small product."""

    _fields_ = [
        ("layers", _POINTER), *[(name, _LONG) for name in ("count", "seeds", "heads", "apart", "rows")],
        ("numbers", _POINTER),
        *[(part + name, kind) for part in ("x_", "extra_")
          for name, kind in (("at", _POINTER), ("to", _POINTER), ("width", _LONG), ("shared", _LONG), ("live", _LONG))],
        *[(name, _POINTER) for name in ("centres", "held", "y", "to", "zeros")],
        ("dropped", _LONG), ("drawn", _LONG), ("kept", ctypes.c_float),
        ("target", _POINTER), ("weights", _POINTER), ("per", _LONG), ("loss", _POINTER),
    ]  # fmt: skip


@functools.cache
def _library() -> ctypes.CDLL:
    library = kernels.library()
    library.stack_forward.argtypes = library.stack_backward.argtypes = [ctypes.POINTER(_Call), ctypes.c_int]
    return library


class StackOptions(NamedTuple):
    """How a network is applied."""

    layers: Layers
    dropout: Dropout | None  # in the first layer, before its LayerNorm
    bins: Tensor | None  # (K,) centres: the output is the value that the logits of the last layer stand for
    live: int | None  # number of first rows of `x` that need a gradient; None: all


def run(x: Tensor, extra: Tensor | None, options: StackOptions, numbers: Tensor) -> Tensor:
    """x (S, [E|1], N, in), numbers (S, E, n) -> (S, E, N, out), or with bins (S, E, N). Requires
    `kernels.compiled_for(x)`.

    extra: (S, [E|1], N, more) or None; a row of the input is one of x followed by one of `extra`. An input without
    the axis E is shared by the heads. numbers: n = sum of `layers.sizes`; the heads of a seed must be contiguous.
    """
    x, extra = x.contiguous(), extra if extra is None else extra.contiguous()
    if torch.is_grad_enabled():
        output: Tensor = _Stack.apply(x, extra, options, numbers)
        return output
    return _forward(x, extra, options, numbers, None)


def _forward(x: Tensor, extra: Tensor | None, options: StackOptions, numbers: Tensor, saved: Tensor | None) -> Tensor:
    """saved: None, or the memory for what the backward pass needs."""
    shape = (*numbers.shape[:2], x.shape[-2])
    y = x.new_empty(shape if options.bins is not None else (*shape, options.layers[-1].size_out))
    call = _call(x, extra, options, numbers, saved, y)
    _check(_library().stack_forward(call, torch.get_num_threads()))
    return y


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, extra: Tensor | None, options: StackOptions, numbers: Tensor) -> Tensor:
        row_size = options.layers.saved_size + (options.layers[-1].size_out if options.bins is not None else 0)
        saved = x.new_empty(numbers.shape[0] * numbers.shape[1] * x.shape[-2] * row_size)
        ctx.options = options
        ctx.save_for_backward(x, extra, numbers, saved)
        return _forward(x, extra, options, numbers, saved)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, extra, numbers, saved = ctx.saved_tensors
        grad = grad.contiguous()
        grads = _empty_grads(ctx.needs_input_grad, grad, x, extra, numbers)
        call = _call(x, extra, ctx.options, numbers, saved, grad, grads)
        _check(_library().stack_backward(call, torch.get_num_threads()))
        return _sum_over_heads(grads.x, x), _sum_over_heads(grads.extra, extra), None, grads.numbers


class Targets(NamedTuple):
    """Distributions that the logits of a network are trained on."""

    target: Tensor  # (S, X, B, out), the same for all heads
    weights: Tensor  # (X,)


def cross_entropy(x: Tensor, extra: Tensor | None, options: StackOptions, numbers: Tensor, targets: Targets) -> Tensor:
    """`fused.cross_entropy` of the output of `run` with the targets -> (S,).

    The gradients are computed in the forward pass, block by block, so that hardly anything is saved.
    """
    inputs = (part if part is None else part.contiguous() for part in (x, extra))
    loss: Tensor = _StackCrossEntropy.apply(*inputs, options, numbers, targets)
    return loss


class _StackCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, extra: Tensor | None, options: StackOptions, numbers: Tensor, targets: Targets
    ) -> Tensor:
        target, weights = targets
        loss_of_row = x.new_empty(*numbers.shape[:2], x.shape[-2])
        loss = x.new_empty(numbers.shape[0])
        grads = _empty_grads(ctx.needs_input_grad, loss_of_row, x, extra, numbers)
        call = _call(x, extra, options, numbers, None, loss_of_row, grads)
        call.target, call.weights, call.loss = map(kernels.pointer, (target, weights, loss))
        call.per = target.shape[2]
        _check(_library().stack_backward(call, torch.get_num_threads()))
        ctx.save_for_backward(_sum_over_heads(grads.x, x), _sum_over_heads(grads.extra, extra), grads.numbers)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_extra, of_numbers = (
            saved if saved is None else saved * grad.view(-1, *[1] * (saved.dim() - 1)) for saved in ctx.saved_tensors
        )
        return of_x, of_extra, None, of_numbers, None


class _Gradients(NamedTuple):
    """Gradients of the inputs; None where they are not needed."""

    x: Tensor | None = None  # (S, E, N, in)
    extra: Tensor | None = None  # (S, E, N, more)
    numbers: Tensor | None = None  # (S, E, n)


def _empty_grads(needed: Sequence[bool], like: Tensor, x: Tensor, extra: Tensor | None, numbers: Tensor) -> _Gradients:
    """Memory for the gradients that are needed. like: (S, E, N, ...)."""
    x_needed, extra_needed, _, numbers_needed, *_ = needed
    allocate = torch.empty if x.shape[-2] else torch.zeros  # without rows, nothing is written
    return _Gradients(
        like.new_empty(*like.shape[:3], x.shape[-1]) if x_needed else None,
        like.new_empty(*like.shape[:3], extra.shape[-1]) if extra is not None and extra_needed else None,
        allocate(numbers.shape) if numbers_needed else None,
    )


def _sum_over_heads(grad: Tensor | None, part: Tensor | None) -> Tensor | None:
    """The gradient of the input `part` from that of each head, (S, E, N, ...)."""
    if grad is None or part is None:
        return None
    if grad.numel() == part.numel():
        return grad.view(part.shape)
    return grad.sum(1).view(part.shape)


def _call(
    x: Tensor,
    extra: Tensor | None,
    options: StackOptions,
    numbers: Tensor,
    saved: Tensor | None,
    y: Tensor,
    grads: _Gradients | None = None,
) -> _Call:
    """The arguments of stack.c. y: the output in the forward pass, its gradient in the backward pass."""
    layers, drop, bins, live = options
    to_x, to_extra, to_numbers = grads or (None, None, None)
    seeds, heads, _ = numbers.shape
    pointer = kernels.pointer
    drops = (0, 0, 0, 1.0) if drop is None else (pointer(drop.zeros), drop.zeros.shape[1], drop.shape[1], drop.kept)
    rows = x.shape[-2]
    parts = (*_part(x, heads, to_x, rows if live is None else live), *_part(extra, heads, to_extra, rows))
    return _Call(
        ctypes.addressof(layers.as_c_array), len(layers), seeds, heads, numbers.stride(0), rows, pointer(numbers),
        *parts, *map(pointer, (bins, saved, y, to_numbers)), *drops,
    )  # fmt: skip


def _part(x: Tensor | None, heads: int, grad: Tensor | None, live: int) -> tuple[int, int, int, bool, int]:
    """`Part` of stack.c: one of the two inputs."""
    if x is None:
        return 0, 0, 0, False, 0
    return kernels.pointer(x), kernels.pointer(grad), x.shape[-1], x.dim() == 3 or x.shape[1] < heads, live


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for a stack of layers")
