"""A stack of layers by `stack.c`: one call and, where gradients are wanted, one node of their graph.

A small network's time on a CPU is mostly the starting of operations and the traffic between them. Here rows go through
all layers, products and norms, while they are in the inner caches, and all numbers of a network are one tensor.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tdmpc import fused

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
    def numbers(self) -> int:
        """How many one network has: weight (in, out), bias, scale and shift, layer by layer."""
        return sum(sum(layer.sizes) for layer in self)

    @functools.cached_property
    def held(self) -> int:
        """What is kept of a row for the way back: normed rows, and 1 / std of each."""
        return sum(layer.size_out + 1 for layer in self if layer.normed)

    @functools.cached_property
    def told(self) -> Any:
        return (ctypes.c_ssize_t * (3 * len(self)))(*[number for layer in self for number in layer])


class _Part(ctypes.Structure):
    """As in stack.c."""

    _fields_ = [("x", ctypes.c_void_p), ("to", ctypes.c_void_p), ("width", ctypes.c_long), ("shared", ctypes.c_long)]


class _Call(ctypes.Structure):
    """As in stack.c."""

    _fields_ = [
        ("layers", ctypes.c_void_p),
        *[(name, ctypes.c_long) for name in ("count", "seeds", "heads", "apart", "rows")],
        ("numbers", ctypes.c_void_p),
        ("part", _Part * 2),
        *[(name, ctypes.c_void_p) for name in ("drop", "held", "y", "to")],
    ]


@functools.cache
def _library() -> ctypes.CDLL:
    library = fused.kernels()
    library.stack_forward.argtypes = library.stack_backward.argtypes = [ctypes.POINTER(_Call), ctypes.c_int]
    return library


def run(x: Tensor, beside: Tensor | None, drop: Tensor | None, layers: Layers, numbers: Tensor) -> Tensor:
    """x (S, E|1, N, in) and beside (S, E|1, N, more), or nothing -> (S, E, N, out), where `fused.compiled_for(x)`.

    The first layer takes a row of `x` followed by one of `beside`. drop: (S, E, N, hidden) factors in the first layer,
    before its norm. numbers: (S, E, `layers.numbers`); those of a network and of neighbouring heads lie side by side.
    """
    x = x.contiguous()
    beside, drop = (tensor if tensor is None else tensor.contiguous() for tensor in (beside, drop))
    if torch.is_grad_enabled():
        found: Tensor = _Stack.apply(x, beside, drop, layers, numbers)
        return found
    y = _output(x, layers, numbers)
    _forward(_call(layers, numbers, x, beside, drop, y))
    return y


def _output(x: Tensor, layers: Layers, numbers: Tensor) -> Tensor:
    return x.new_empty(*numbers.shape[:2], x.shape[2], layers[-1].size_out)


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, beside: Tensor | None, drop: Tensor | None, layers: Layers, numbers: Tensor
    ) -> Tensor:
        y = _output(x, layers, numbers)
        held = x.new_empty(y.shape[0] * y.shape[1] * y.shape[2] * layers.held)
        _forward(_call(layers, numbers, x, beside, drop, y, held))
        ctx.layers = layers
        ctx.save_for_backward(x, beside, drop, held, numbers)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, beside, drop, held, numbers = ctx.saved_tensors
        grad = grad.contiguous()
        to_x, to_beside, _, _, to_numbers = ctx.needs_input_grad
        of_x = grad.new_empty(*grad.shape[:3], x.shape[-1]) if to_x else None
        of_beside = grad.new_empty(*grad.shape[:3], beside.shape[-1]) if to_beside else None
        given = torch.empty if x.shape[2] else torch.zeros  # nothing is summed where there are no rows
        of_numbers = given(numbers.shape) if to_numbers else None
        call = _call(ctx.layers, numbers, x, beside, drop, grad, held, of_x, of_beside, of_numbers)
        _done(_library().stack_backward(call, torch.get_num_threads()))
        return _summed(of_x, x), _summed(of_beside, beside), None, None, of_numbers


def _summed(grad: Tensor | None, of: Tensor) -> Tensor | None:
    """Over the heads that share an input."""
    return grad if grad is None or grad.shape[1] == of.shape[1] else grad.sum(1, keepdim=True)


def _call(
    layers: Layers,
    numbers: Tensor,
    x: Tensor,
    beside: Tensor | None,
    drop: Tensor | None,
    y: Tensor,
    held: Tensor | None = None,
    to_x: Tensor | None = None,
    to_beside: Tensor | None = None,
    to_numbers: Tensor | None = None,
) -> _Call:
    seeds, heads, _ = numbers.shape
    parts = [_part(x, heads, to_x), _Part() if beside is None else _part(beside, heads, to_beside)]
    return _Call(
        ctypes.addressof(layers.told), len(layers), seeds, heads, numbers.stride(0), x.shape[2], fused.at(numbers),
        (_Part * 2)(*parts), *map(fused.at, (drop, held, y, to_numbers)),
    )  # fmt: skip


def _part(x: Tensor, heads: int, to: Tensor | None) -> _Part:
    return _Part(fused.at(x), fused.at(to), x.shape[-1], x.shape[1] < heads)


def _forward(call: _Call) -> None:
    _done(_library().stack_forward(call, torch.get_num_threads()))


def _done(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for a stack of layers")
