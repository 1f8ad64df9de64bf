"""Networks as stacked parameter tensors: one batched product serves every seed and every head.

A layer's weight is (S, E, in, out): S seeds trained side by side, E heads of the ensemble. Inputs are
(S, E, N, in), or (S, 1, N, in) where all heads see the same input. Nothing crosses the S axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tdmpc import math as tm

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

    def forward(self, x: Tensor, heads: Heads = None) -> Tensor:
        weight, bias = _pick(self.weight, heads), _pick(self.bias, heads)
        seeds, size = weight.shape[:2]
        x = x.expand(-1, size, -1, -1).flatten(0, 1)
        return torch.baddbmm(bias.flatten(0, 1), x, weight.flatten(0, 1)).unflatten(0, (seeds, size))


class StackedNorm(nn.Module):
    """LayerNorm over the last axis with a scale and shift for every seed and head."""

    def __init__(self, seeds: int, heads: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(seeds, heads, 1, size))
        self.bias = nn.Parameter(torch.zeros(seeds, heads, 1, size))

    def forward(self, x: Tensor, heads: Heads = None) -> Tensor:
        normed = F.layer_norm(x, x.shape[-1:])
        return torch.addcmul(_pick(self.bias, heads), normed, _pick(self.weight, heads))


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
        pairs = list(itertools.pairwise(sizes))
        last = len(pairs) - 1
        self.linears = nn.ModuleList(
            StackedLinear(heads, i, o, generators, zero=zero_out and n == last) for n, (i, o) in enumerate(pairs)
        )
        normed = sizes[1:] if simnorm else sizes[1:-1]
        self.norms = nn.ModuleList(StackedNorm(len(generators), heads, size) for size in normed)
        self.simnorm = simnorm

    def forward(self, x: Tensor, heads: Heads = None, dropout: Tensor | None = None) -> Tensor:
        """(S, E|1, N, in) -> (S, E, N, out). `dropout`: (S, E, N, hidden) factors on the first layer."""
        for n, linear in enumerate(self.linears):
            x = linear(x, heads)
            if n == 0 and dropout is not None:
                x = x * dropout
            if n < len(self.norms):
                x = self.norms[n](x, heads)
            if n < len(self.linears) - 1:
                x = F.mish(x)
        return tm.simnorm(x, self.simnorm) if self.simnorm else x
