"""The training data of one update. Symbols as in docs/algorithm.md."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Windows of T transitions."""

    obs: Tensor  # (S, T+1, B, O)
    actions: Tensor  # (S, T, B, A)
    rewards: Tensor  # (S, T, B)
    terminated: Tensor  # (S, T, B) 1 where the episode terminated, not where it reached the time limit
