"""Networks as stacked parameter tensors: one batched product serves every seed and every head.

A layer's weight is (S, E, in, out): S seeds trained side by side, E heads of the ensemble. Inputs are
(S, E, N, in), or (S, 1, N, in) where all heads see the same input. Nothing crosses the S axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdmpc import fused, stack
from tdmpc.products import product

INIT_STD = 0.02  # truncated normal, as TD-MPC2

Heads = Tensor | slice | None


def _pick(parameter: Tensor, heads: Heads) -> Tensor:
    """Parameters of the chosen heads: all (None), a slice, or (S, h) indices that differ between seeds."""
    if heads is None:
        return parameter
    if isinstance(heads, slice):
        return parameter[:, heads]
    seeds = torch.arange(parameter.shape[0], device=parameter.device).unsqueeze(-1)
    return parameter[seeds, heads]


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
        return product(x, _pick(self.weight, heads), _pick(self.bias, heads))


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
        weight, bias, scale, shift = (_pick(p, heads) for p in (self.weight, self.bias, self.scale, self.shift))
        return fused.norm_activation(product(x, weight), bias, dropout, scale, shift, self.group)


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
        if torch.is_grad_enabled() and fused.compiled_for(x):
            layers = (*self.hidden, self.out)
            picked = [p if p is None else _pick(p, heads) for layer in layers for p in layer.parts()]
            return stack.run(x, dropout, [layer.group for layer in layers], picked)
        for layer in self.hidden:
            x = layer(x, heads, dropout)
            dropout = None
        return self.out(x, heads)
