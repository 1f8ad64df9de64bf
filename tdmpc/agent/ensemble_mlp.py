"""Networks as stacked numbers: one batched product serves every seed and every head.

All numbers of a network are one parameter (S, E, n): S seeds trained side by side, E heads of the ensemble, and of
each the weight (in, out), bias, scale and shift of its layers. Inputs are (S, E, N, in), or (S, N, in) where all heads
see the same input. Nothing crosses the S axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdmpc.accel.stack import PLAIN, Layer, Layers, StackOptions
from tdmpc.agent import ops
from tdmpc.agent.ops import LayerParameters
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

    def parts(self, numbers: Tensor | None = None) -> list[LayerParameters]:
        """Views of the parameter, or of others like it, layer by layer."""
        return ops.layer_parameters(self.numbers if numbers is None else numbers, self.layers)

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
        options = StackOptions(self.layers, dropout, bins, live)
        return ops.mlp(x, beside, _pick(self.numbers, heads), options, self.precision)

    def cross_entropy(
        self,
        x: Tensor,
        target: Tensor,
        weights: Tensor,
        beside: Tensor | None = None,
        dropout: Dropout | None = None,
        live: int | None = None,
    ) -> Tensor:
        """`ops.cross_entropy` of the outputs as logits -> (S,). target: (S, X, B, out), for all heads, where X B rows
        go in; the rest as in `forward`."""
        options = StackOptions(self.layers, dropout, None, live)
        return ops.mlp_cross_entropy(x, beside, self.numbers, options, self.precision, target, weights)
