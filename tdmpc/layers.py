"""Networks as stacked parameter tensors: one batched product serves every seed and every head.

A layer's weight is (S, E, in, out): S seeds trained side by side, E heads of the ensemble. Inputs are
(S, E, N, in), or (S, 1, N, in) where all heads see the same input. Nothing crosses the S axis.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tdmpc import fused, stack
from tdmpc import math as tm

INIT_STD = 0.02  # truncated normal, as TD-MPC2

Heads = Tensor | slice | None


def _pick(parameter: Tensor, heads: Heads) -> Tensor:
    """Parameters of the chosen heads: all (None), a slice of neighbours, or (S, h) indices for each seed."""
    if heads is None:
        return parameter
    if isinstance(heads, slice):
        return parameter[:, heads]
    seeds = torch.arange(parameter.shape[0], device=parameter.device).unsqueeze(-1)
    return parameter[seeds, heads]


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """x (S, E|1, N, in), weight (S, E, in, out) -> (S, E, N, out)."""
    x = x.expand(-1, weight.shape[1], -1, -1)
    return torch.bmm(x.flatten(0, 1), weight.flatten(0, 1)).unflatten(0, weight.shape[:2])


class StackedLinear(nn.Module):
    """(S, E|1, N, in) -> (S, E, N, out), each seed's weights drawn from its own generator."""

    def __init__(
        self, heads: int, size_in: int, size_out: int, generators: Sequence[torch.Generator], zero: bool = False
    ) -> None:
        super().__init__()
        weight = torch.zeros(len(generators), heads, size_in, size_out)
        if not zero:
            for per_seed, generator in zip(weight, generators, strict=True):
                nn.init.trunc_normal_(per_seed, std=INIT_STD, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(generators), heads, 1, size_out))
        self.group = stack.PLAIN

    def parts(self) -> tuple[Tensor | None, ...]:
        """Weight, bias, scale and shift, as `stack.run` takes them."""
        return self.weight, self.bias, None, None

    def forward(self, x: Tensor, heads: Heads = None) -> Tensor:
        return _product(x, _pick(self.weight, heads)) + _pick(self.bias, heads)


class NormedLinear(StackedLinear):
    """Linear -> (dropout) -> LayerNorm -> Mish, or SimNorm in groups of `simnorm`; scale and shift of the norm for
    every seed and head."""

    def __init__(
        self, heads: int, size_in: int, size_out: int, generators: Sequence[torch.Generator], simnorm: int = 0
    ) -> None:
        super().__init__(heads, size_in, size_out, generators)
        self.scale = nn.Parameter(torch.ones_like(self.bias))
        self.shift = nn.Parameter(torch.zeros_like(self.bias))
        self.group = simnorm

    def parts(self) -> tuple[Tensor | None, ...]:
        return self.weight, self.bias, self.scale, self.shift

    def forward(self, x: Tensor, heads: Heads = None, dropout: Tensor | None = None) -> Tensor:
        x = super().forward(x, heads)
        x = F.layer_norm(x if dropout is None else x * dropout, x.shape[-1:])
        x = torch.addcmul(_pick(self.shift, heads), x, _pick(self.scale, heads))
        return tm.simnorm(x, self.group) if self.group else F.mish(x)


class StackedMLP(nn.Module):
    """Hidden layers Linear -> (dropout) -> LayerNorm -> Mish, then a plain or a SimNorm output layer.

    simnorm: group size of a LayerNorm -> SimNorm output; 0 = plain linear output.
    zero_out: the output layer starts at zero.
    """

    def __init__(
        self,
        heads: int,
        sizes: Sequence[int],
        generators: Sequence[torch.Generator],
        simnorm: int = 0,
        zero_out: bool = False,
    ) -> None:
        super().__init__()
        *hidden, last = itertools.pairwise(sizes)
        self.hidden = nn.ModuleList(NormedLinear(heads, i, o, generators) for i, o in hidden)
        if simnorm:
            self.out: StackedLinear = NormedLinear(heads, *last, generators, simnorm)
        else:
            self.out = StackedLinear(heads, *last, generators, zero=zero_out)

    def forward(self, x: Tensor, heads: Heads = None, dropout: Tensor | None = None) -> Tensor:
        """(S, E|1, N, in) -> (S, E, N, out). `dropout`: (S, E, N, hidden) factors on the first layer."""
        if fused.compiled_for(x):
            groups, parts = self._described
            picked = parts if heads is None else [p if p is None else _pick(p, heads) for p in parts]
            apart = self.out.weight.shape[1] if heads is None or isinstance(heads, slice) else heads.shape[1]
            return stack.run(x, dropout, groups, apart, picked)
        for layer in self.hidden:
            x = layer(x, heads, dropout)
            dropout = None
        return self.out(x, heads)

    @functools.cached_property
    def _described(self) -> tuple[list[int], list[Tensor | None]]:
        """Groups and parameters of all layers, as `stack.run` takes them."""
        layers = (*self.hidden, self.out)
        return [layer.group for layer in layers], [part for layer in layers for part in layer.parts()]
