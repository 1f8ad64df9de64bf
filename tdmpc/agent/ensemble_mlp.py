"""Networks as stacked numbers: one batched product serves every seed and every head.

All numbers of a network are one parameter (S, E, n): S seeds trained side by side, E heads of the ensemble, and of
each the weight (in, out), bias, scale and shift of its layers. Inputs are (S, E, N, in), or (S, N, in) where all heads
see the same input. Nothing crosses the S axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tdmpc import math as tm
from tdmpc.accel import fused, kernels
from tdmpc.accel.stack import PLAIN, Goal, Layer, Layers, StackOptions, learn, run
from tdmpc.rng import Dropout

INIT_STD = 0.02  # truncated normal, as TD-MPC2

Heads = Tensor | slice | None


def _pick(numbers: Tensor, heads: Heads) -> Tensor:
    """Numbers of the chosen heads: all (None), a slice of neighbours, or (S, h) indices for each seed."""
    if heads is None:
        return numbers
    if isinstance(heads, slice):
        return numbers[:, heads]
    seeds = torch.arange(numbers.shape[0], device=numbers.device).unsqueeze(-1)
    return numbers[seeds, heads]


class Parts(NamedTuple):
    """A layer's numbers for every seed and head; scale and shift where it is normed."""

    weight: Tensor  # (S, E, in, out)
    bias: Tensor  # (S, E, 1, out), as scale and shift
    scale: Tensor | None = None
    shift: Tensor | None = None


def _applied(x: Tensor, layer: Layer, parts: Parts, dropout: Dropout | None, precision: torch.dtype) -> Tensor:
    """x (S, E|1, N, in) -> (S, E, N, out): linear -> (dropout) -> LayerNorm -> Mish or SimNorm, or linear alone.

    precision: of the product's factors and result; all else is float32.
    """
    rows, weight = x.to(precision).expand(-1, parts.weight.shape[1], -1, -1), parts.weight.to(precision)
    product = torch.bmm(rows.flatten(0, 1), weight.flatten(0, 1))
    x = product.unflatten(0, weight.shape[:2]).to(x.dtype) + parts.bias
    if parts.scale is None or parts.shift is None:
        return x
    x = F.layer_norm(x if dropout is None else x * dropout.factors(x.shape[2]), x.shape[-1:])
    x = torch.addcmul(parts.shift, x, parts.scale)
    return tm.simnorm(x, layer.group) if layer.group else F.mish(x)


class StackedMLP(nn.Module):
    """Hidden layers Linear -> (dropout) -> LayerNorm -> Mish, then a plain or a SimNorm output layer; each seed's
    weights drawn from its own generator.

    simnorm: group size of a LayerNorm -> SimNorm output; 0 = plain linear output.
    zero_out: the output layer starts at zero. bfloat16: matrix products in it, with float32 numbers and sums; for
    GPUs, since the kernels have float32 alone.
    """

    def __init__(
        self,
        heads: int,
        sizes: Sequence[int],
        generators: Sequence[torch.Generator],
        simnorm: int = 0,
        zero_out: bool = False,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.precision = torch.bfloat16 if bfloat16 else torch.float32
        *hidden, last = itertools.pairwise(sizes)
        self.layers = Layers([*(Layer(i, o, 0) for i, o in hidden), Layer(*last, simnorm or PLAIN)])
        self.numbers = nn.Parameter(torch.zeros(len(generators), heads, sum(self.layers.sizes)))
        for layer, parts in zip(self.layers, self.parts(self.numbers.detach()), strict=True):
            if parts.scale is not None:
                parts.scale.fill_(1)
            for of_seed, generator in zip(parts.weight, generators, strict=True):
                if layer is not self.layers[-1] or not zero_out:
                    drawn = nn.init.trunc_normal_(torch.empty(of_seed.shape), std=INIT_STD, generator=generator)
                    of_seed.copy_(drawn)

    def parts(self, numbers: Tensor | None = None) -> list[Parts]:
        """Views of the parameter, or of others like it, layer by layer."""
        pieces = iter((self.numbers if numbers is None else numbers).split(self.layers.sizes, dim=-1))
        return [
            Parts(
                next(pieces).unflatten(-1, (layer.size_in, layer.size_out)),
                *(next(pieces).unsqueeze(-2) for _ in layer.sizes[1:]),
            )
            for layer in self.layers
        ]

    def forward(
        self,
        x: Tensor,
        beside: Tensor | None = None,
        heads: Heads = None,
        dropout: Dropout | None = None,
        bins: Tensor | None = None,
        live: int | None = None,
    ) -> Tensor:
        """x (S, [E|1], N, in) -> (S, E, N, out); with `beside` (S, [E|1], N, more), a row of both is one input.

        dropout: of the first layer, drawn for at least these rows. bins: (K,) centres; with them, the output is
        (S, E, N), what `two_hot_inverse` makes of it. live: of how many first rows of x a gradient is wanted, if not
        of all.
        """
        numbers = _pick(self.numbers, heads)
        if self._compiled_for(x):
            return run(x, beside, StackOptions(self.layers, dropout, bins, live), numbers)
        apart = [part if part.dim() == 4 else part.unsqueeze(1) for part in (x, beside) if part is not None]
        width = max(part.shape[1] for part in apart)
        x = torch.cat([part.expand(-1, width, -1, -1) for part in apart], dim=-1)
        for layer, parts in zip(self.layers, self.parts(numbers), strict=True):
            x = _applied(x, layer, parts, dropout, self.precision)
            dropout = None
        return x if bins is None else tm.two_hot_inverse(x, bins)

    def _compiled_for(self, x: Tensor) -> bool:
        return self.precision == torch.float32 and kernels.compiled_for(x)

    def cross_entropy(
        self,
        x: Tensor,
        target: Tensor,
        weights: Tensor,
        beside: Tensor | None = None,
        dropout: Dropout | None = None,
        live: int | None = None,
    ) -> Tensor:
        """`fused.cross_entropy` of the outputs as logits -> (S,). target: (S, X, B, out), for all heads, where X B rows
        go in; the rest as in `forward`."""
        if torch.is_grad_enabled() and self._compiled_for(x):
            how = StackOptions(self.layers, dropout, None, live)
            return learn(x, beside, how, self.numbers, Goal(target.contiguous(), weights))
        return fused.cross_entropy(self(x, beside, dropout=dropout).unflatten(2, target.shape[1:3]), target, weights)
