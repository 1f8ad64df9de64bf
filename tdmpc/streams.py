"""Random streams: every seed owns its generators, one per purpose, so that seeds trained side by side draw
exactly what they would draw alone, and measuring (evaluation, validation) never moves training's streams."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def derive_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose of run `seed`; the same on every machine."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose of run `seed`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *purpose))


class Draws:
    """One generator per seed; every draw is (S, *shape), row s from generator s alone."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = list(generators)
        self.device = self.generators[0].device

    @classmethod
    def fresh(cls, seeds: Sequence[int], *purpose: object, device: torch.device | str = "cpu") -> Draws:
        return cls([generator(seed, *purpose, device=device) for seed in seeds])

    def normal(self, *shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self.generators])

    def uniform(self, *shape: int) -> Tensor:
        """In [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self.generators])

    def subsets(self, of: int, size: int) -> Tensor:
        """(S, size) sorted distinct indices below `of`."""
        picks = [torch.randperm(of, generator=g, device=self.device)[:size] for g in self.generators]
        return torch.stack(picks).sort(-1).values

    def dropout(self, rate: float, *shape: int) -> Tensor | None:
        """(S, *shape) of 0, with probability `rate`, and 1 / (1 - rate); None at rate 0, where nothing is drawn.

        Drawn as the distances from one zero to the next, which are geometric: a hundredth of the random numbers.
        """
        if rate == 0:
            return None
        size, expected = math.prod(shape), math.prod(shape) * rate
        count = math.ceil(expected + 10 * math.sqrt(expected) + 10)  # more zeros than that never happen
        nowhere = len(self.generators) * size  # an element behind the last, for zeros beyond the end
        factors = torch.full((nowhere + 1,), 1 / (1 - rate), device=self.device)
        for s, g in enumerate(self.generators):
            distances = torch.empty(count, dtype=torch.int64, device=self.device).geometric_(rate, generator=g)
            zeros = distances.cumsum(0) - 1
            factors.index_fill_(0, torch.where(zeros < size, zeros + s * size, nowhere), 0)
        return factors[:-1].view(-1, *shape)

    def state(self, index: int) -> Tensor:
        return self.generators[index].get_state()

    def set_state(self, index: int, state: Tensor) -> None:
        self.generators[index].set_state(state)
