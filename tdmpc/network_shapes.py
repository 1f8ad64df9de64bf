"""Sizes of the networks, from which they are built and their memory is counted. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from tdmpc.config import TrainConfig


class Shape(NamedTuple):
    """An ensemble of MLPs. sizes: of the input and of every layer's output. simnorm: whether the last layer has a
    LayerNorm too."""

    heads: int
    sizes: Sequence[int]
    simnorm: bool = False

    @property
    def numbers(self) -> int:
        """Weights and biases, with the scale and shift of each LayerNorm, of all heads."""
        *hidden, last = pairwise(self.sizes)
        normed = [*hidden, last] if self.simnorm else hidden
        return self.heads * (sum(i * o + o for i, o in (*hidden, last)) + sum(2 * o for _, o in normed))

    def outputs(self, rows: int) -> int:
        """Numbers that all layers give out for `rows` inputs of every head."""
        return rows * self.heads * sum(self.sizes[1:])


def shapes(config: TrainConfig, obs_size: int, action_size: int) -> dict[str, Shape]:
    """The networks of docs/algorithm.md, "Networks", by name."""
    c = config
    hidden, joint = [c.mlp_dim, c.mlp_dim], c.latent_dim + action_size
    named = {
        "encoder": Shape(1, [obs_size, *[c.enc_dim] * (c.num_enc_layers - 1), c.latent_dim], simnorm=True),
        "dynamics": Shape(c.planner_num_dynamics_heads, [joint, *hidden, c.latent_dim], simnorm=True),
        "reward": Shape(c.num_reward_heads, [joint, *hidden, c.num_bins]),
        "value": Shape(c.num_q, [c.latent_dim, *hidden, c.num_bins]),
        "policy": Shape(1, [c.latent_dim, *hidden, 2 * action_size]),
    }
    if c.uses_aux:
        outputs = len(c.multi_gamma_gammas) * c.num_bins // c.aux_heads
        named["aux"] = Shape(c.aux_heads, [c.latent_dim, *hidden, outputs])
    if c.episodic:
        named["termination"] = Shape(1, [c.latent_dim, *hidden, 2])
    return named
