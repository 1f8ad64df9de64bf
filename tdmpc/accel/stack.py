"""A stack of layers by `stack.c`: one call and, where gradients are wanted, one node of their graph.

A small network's time on a CPU is mostly the starting of operations and the traffic between them. Here rows go through
all layers, products and norms, while they are in the inner caches, and all numbers of a network are one tensor.
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

LANES = 16  # of the widest vectors there are, as in rows.h
PLAIN = -1  # in the place of a norm's `group`: a layer is its product and its bias; only the last may be


class Layer(NamedTuple):
    size_in: int
    size_out: int
    group: int  # PLAIN, 0 for layer norm and Mish, or the group size of layer norm and SimNorm

    @property
    def normed(self) -> bool:
        return self.group != PLAIN

    @property
    def sizes(self) -> list[int]:
        """How many numbers are its weight, bias and, where it is normed, scale and shift."""
        return [self.size_in * self.size_out, *[self.size_out] * (3 if self.normed else 1)]


class Layers(tuple[Layer, ...]):
    """The layers of a network, in order, and what `stack.c` asks about them."""

    @functools.cached_property
    def sizes(self) -> list[int]:
        """How many numbers the parts of a network are: weight (in, out), bias, scale and shift, layer by layer, and
        zeros behind them, such that every network begins where a vector does: products are slower elsewhere."""
        parts = [size for layer in self for size in layer.sizes]
        return [*parts, -sum(parts) % LANES]

    @functools.cached_property
    def held(self) -> int:
        """What is kept of a row for the way back: normed rows, and 1 / std of each."""
        return sum(layer.size_out + 1 for layer in self if layer.normed)

    @functools.cached_property
    def told(self) -> Any:
        return (ctypes.c_ssize_t * (3 * len(self)))(*[number for layer in self for number in layer])


_POINTER, _LONG = ctypes.c_void_p, ctypes.c_long


class _Call(ctypes.Structure):
    """As in stack.c. One structure, since filling two takes as long as a small product."""

    _fields_ = [
        ("layers", _POINTER), *[(name, _LONG) for name in ("count", "seeds", "heads", "apart", "rows")],
        ("numbers", _POINTER),
        *[(of + name, kind) for of in ("x_", "beside_")
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
    """What a network does with its input besides its numbers."""

    layers: Layers
    dropout: Dropout | None  # in the first layer, before its norm
    bins: Tensor | None  # (K,) centres: the output is the number that the last layer's logits stand for
    live: int | None  # of how many first rows `x` has a gradient: of all where None


def run(x: Tensor, beside: Tensor | None, how: StackOptions, numbers: Tensor) -> Tensor:
    """x (S, [E|1], N, in) and beside (S, [E|1], N, more), or nothing -> (S, E, N, out), or with bins (S, E, N), where
    `kernels.compiled_for(x)`.

    The first layer takes a row of `x` followed by one of `beside`; what has no axis E is shared by the heads.
    numbers: (S, E, sum of `layers.sizes`); those of a network and of neighbouring heads lie side by side.
    """
    x, beside = x.contiguous(), beside if beside is None else beside.contiguous()
    if torch.is_grad_enabled():
        found: Tensor = _Stack.apply(x, beside, how, numbers)
        return found
    return _forward(x, beside, how, numbers, None)


def _forward(x: Tensor, beside: Tensor | None, how: StackOptions, numbers: Tensor, held: Tensor | None) -> Tensor:
    shape = (*numbers.shape[:2], x.shape[-2])
    y = x.new_empty(shape if how.bins is not None else (*shape, how.layers[-1].size_out))
    call = _call(x, beside, how, numbers, held, y)
    _done(_library().stack_forward(call, torch.get_num_threads()))
    return y


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, beside: Tensor | None, how: StackOptions, numbers: Tensor) -> Tensor:
        kept = how.layers.held + (how.layers[-1].size_out if how.bins is not None else 0)
        held = x.new_empty(numbers.shape[0] * numbers.shape[1] * x.shape[-2] * kept)
        ctx.how = how
        ctx.save_for_backward(x, beside, numbers, held)
        return _forward(x, beside, how, numbers, held)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, beside, numbers, held = ctx.saved_tensors
        grad = grad.contiguous()
        to = _empty(ctx.needs_input_grad, grad, x, beside, numbers)
        call = _call(x, beside, ctx.how, numbers, held, grad, to)
        _done(_library().stack_backward(call, torch.get_num_threads()))
        return _summed(to[0], x), _summed(to[1], beside), None, to[2]


class Goal(NamedTuple):
    """What a network's output is to be: logits of these distributions."""

    target: Tensor  # (S, X, B, out), the same for all heads
    weights: Tensor  # (X,)


def learn(x: Tensor, beside: Tensor | None, how: StackOptions, numbers: Tensor, goal: Goal) -> Tensor:
    """`fused.cross_entropy` of what `run` gives with the goal -> (S,), with gradients.

    These are found at once, block by block on the way back from a block's losses: hardly anything is kept in between.
    """
    given = (part if part is None else part.contiguous() for part in (x, beside))
    found: Tensor = _Learn.apply(*given, how, numbers, goal)
    return found


class _Learn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, beside: Tensor | None, how: StackOptions, numbers: Tensor, goal: Goal) -> Tensor:
        target, weights = goal
        per, each = target.shape[2], x.new_empty(*numbers.shape[:2], x.shape[-2])
        loss, to = x.new_empty(numbers.shape[0]), _empty(ctx.needs_input_grad, each, x, beside, numbers)
        call = _call(x, beside, how, numbers, None, each, to)
        call.target, call.weights, call.loss = map(kernels.at, (target, weights, loss))
        call.per = per
        _done(_library().stack_backward(call, torch.get_num_threads()))
        ctx.save_for_backward(_summed(to[0], x), _summed(to[1], beside), to[2])
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_beside, of_numbers = (
            found if found is None else found * grad.view(-1, *[1] * (found.dim() - 1)) for found in ctx.saved_tensors
        )
        return of_x, of_beside, None, of_numbers, None


_Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]  # of x, (S, E, N, in), of what is beside, of numbers


def _empty(needed: Sequence[bool], like: Tensor, x: Tensor, beside: Tensor | None, numbers: Tensor) -> _Gradients:
    """Room for those that are needed. like: (S, E, N, ...)."""
    to_x, to_beside, _, to_numbers, *_ = needed
    given = torch.empty if x.shape[-2] else torch.zeros  # nothing is summed where there are no rows
    return (
        like.new_empty(*like.shape[:3], x.shape[-1]) if to_x else None,
        like.new_empty(*like.shape[:3], beside.shape[-1]) if beside is not None and to_beside else None,
        given(numbers.shape) if to_numbers else None,
    )


def _summed(grad: Tensor | None, of: Tensor | None) -> Tensor | None:
    """Over the heads that share an input."""
    if grad is None or of is None:
        return None
    if grad.numel() == of.numel():
        return grad.view(of.shape)
    return grad.sum(1).view(of.shape)


def _call(
    x: Tensor,
    beside: Tensor | None,
    how: StackOptions,
    numbers: Tensor,
    held: Tensor | None,
    y: Tensor,
    to: _Gradients = (None, None, None),
) -> _Call:
    layers, drop, bins, live = how
    to_x, to_beside, to_numbers = to
    seeds, heads, _ = numbers.shape
    drops = (0, 0, 0, 1.0) if drop is None else (kernels.at(drop.zeros), drop.zeros.shape[1], drop.shape[1], drop.kept)
    rows = x.shape[-2]
    parts = (*_part(x, heads, to_x, rows if live is None else live), *_part(beside, heads, to_beside, rows))
    return _Call(
        ctypes.addressof(layers.told), len(layers), seeds, heads, numbers.stride(0), rows, kernels.at(numbers),
        *parts, *map(kernels.at, (bins, held, y, to_numbers)), *drops,
    )  # fmt: skip


def _part(x: Tensor | None, heads: int, to: Tensor | None, live: int) -> tuple[int, int, int, bool, int]:
    """As in stack.c."""
    if x is None:
        return 0, 0, 0, False, 0
    return kernels.at(x), kernels.at(to), x.shape[-1], x.dim() == 3 or x.shape[1] < heads, live


def _done(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for a stack of layers")
