"""Ensembles of MLPs: one batched product for all seeds and all heads.

The parameters of an ensemble are one tensor `numbers` (S, E, n): for each of S seeds trained together and E heads the
weight (in, out), bias, scale and shift of each layer. Inputs are (S, E, N, in), or (S, N, in) where all heads have the
same input. No operation mixes seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdmpc.accel.stack import PLAIN, Layer, Layers, StackOptions
from tdmpc.agent import ops
from tdmpc.agent.ops import LayerParameters
from tdmpc.rng import Dropout, generator

INIT_STD = 0.02  # truncated normal, as TD-MPC2

Heads = Tensor | slice | None


def _select_heads(numbers: Tensor, heads: Heads) -> Tensor:
    """numbers (S, E, n) -> (S, h, n) of the chosen heads: all (None), a slice, or indices (S, h) for each seed."""
    if heads is None:
        return numbers
    if isinstance(heads, slice):
        return numbers[:, heads]
    seeds = torch.arange(numbers.shape[0], device=numbers.device).unsqueeze(-1)
    return numbers[seeds, heads]


class StackedMLP(nn.Module):
    """Hidden layers Linear -> (Dropout) -> LayerNorm -> Mish, then an output layer.

    The initial weights of a head depend on the seed, `name` and the number of the head, not on other heads or networks.
    simnorm: the output layer is Linear -> LayerNorm -> SimNorm with this group size; 0: Linear only. zero_out: the
    weights of the output layer start at zero. bfloat16: matrix products in bfloat16, with float32 parameters; for GPUs,
    since the C kernels support float32 only.
    """

    def __init__(
        self,
        heads: int,
        sizes: Sequence[int],
        seeds: Sequence[int],
        name: str,
        simnorm: int = 0,
        zero_out: bool = False,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.precision = torch.bfloat16 if bfloat16 else torch.float32
        *hidden, last = itertools.pairwise(sizes)
        self.layers = Layers([*(Layer(i, o, 0) for i, o in hidden), Layer(*last, simnorm or PLAIN)])
        self.numbers = nn.Parameter(torch.zeros(len(seeds), heads, sum(self.layers.sizes)))
        # on the CPU: the same weights on every device
        streams = [generator(seed, "init", name, head) for seed in seeds for head in range(heads)]
        for layer, parts in zip(self.layers, self.parts(self.numbers.detach()), strict=True):
            if parts.scale is not None:
                parts.scale.fill_(1)
            if layer is self.layers[-1] and zero_out:
                continue
            for weight, stream in zip(parts.weight.flatten(0, 1), streams, strict=True):
                weight.copy_(nn.init.trunc_normal_(torch.empty(weight.shape), std=INIT_STD, generator=stream))

    def parts(self, numbers: Tensor | None = None) -> list[LayerParameters]:
        """Views into the parameters, or into a tensor of the same layout such as their gradient, layer by layer."""
        return ops.layer_parameters(self.numbers if numbers is None else numbers, self.layers)

    def forward(
        self,
        x: Tensor,
        extra: Tensor | None = None,
        heads: Heads = None,
        dropout: Dropout | None = None,
        bins: Tensor | None = None,
        live: int | None = None,
    ) -> Tensor:
        """x (S, [E|1], N, in) -> (S, E, N, out).

        extra: (S, [E|1], N, more), concatenated to x. heads: the heads to apply. dropout: of the first layer, for at
        least N rows. bins: (K,) centres; the output is then `ops.two_hot_inverse` of the logits, (S, E, N). live: the
        number of first rows of x that need a gradient; None: all.
        """
        options = StackOptions(self.layers, dropout, bins, live)
        return ops.mlp(x, extra, _select_heads(self.numbers, heads), options, self.precision)

    def cross_entropy(
        self,
        x: Tensor,
        target: Tensor,
        weights: Tensor,
        extra: Tensor | None = None,
        dropout: Dropout | None = None,
        live: int | None = None,
    ) -> Tensor:
        """`ops.cross_entropy` of the outputs as logits -> (S,).

        target: (S, X, B, out) distributions that all heads share, where x has N = X B rows. weights: (X,). The rest as
        in `forward`.
        """
        options = StackOptions(self.layers, dropout, None, live)
        return ops.mlp_cross_entropy(x, extra, self.numbers, options, self.precision, target, weights)
