"""Random streams: every seed owns its generators, one per purpose, so that seeds trained side by side draw
exactly what they would draw alone, and measuring (evaluation, validation) never moves training's streams."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def derive_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose of run `seed`; the same on every machine."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose of run `seed`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *purpose))


class Dropout(NamedTuple):
    """What a layer's dropout leaves out. Far fewer numbers than a factor for each of its outputs."""

    rate: float
    zeros: Tensor  # (S, n) places among (E, N, hidden), ascending; those behind the last are none
    shape: tuple[int, int, int]  # E, N, hidden

    @property
    def kept(self) -> float:
        """Factor of what is not left out."""
        return 1 / (1 - self.rate)

    def factors(self, rows: int) -> Tensor:
        """(S, E, rows, hidden) factors of the first rows: 0 or `kept`."""
        seeds, size = self.zeros.shape[0], math.prod(self.shape)
        nowhere = seeds * size  # an element behind the last
        first = size * torch.arange(seeds, device=self.zeros.device).unsqueeze(1)
        places = torch.where(self.zeros < size, self.zeros + first, nowhere)
        factors = torch.full((nowhere + 1,), self.kept, device=self.zeros.device)
        return factors.index_fill(0, places.flatten(), 0.0)[:-1].view(seeds, *self.shape)[:, :, :rows]


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
        """(S, size) sorted distinct indices below `of`; nothing is drawn for all of them."""
        if size == of:
            return torch.arange(of, device=self.device).expand(len(self.generators), -1)
        picks = [torch.randperm(of, generator=g, device=self.device)[:size] for g in self.generators]
        return torch.stack(picks).sort(-1).values

    def dropout(self, rate: float, *shape: int) -> Dropout | None:
        """Of outputs (S, *shape), each left out with probability `rate`; None at rate 0, where nothing is drawn.

        Drawn as the distances from one zero to the next, which are geometric: a hundredth of the random numbers.
        """
        if rate == 0:
            return None
        expected = math.prod(shape) * rate
        count = math.ceil(expected + 10 * math.sqrt(expected) + 10)  # more zeros than that never happen
        zeros = torch.empty(len(self.generators), count, dtype=torch.int64, device=self.device)
        for own, g in zip(zeros, self.generators, strict=True):
            own.geometric_(rate, generator=g)
        heads, rows, hidden = shape
        return Dropout(rate, zeros.cumsum_(1).sub_(1), (heads, rows, hidden))

    def state(self, index: int) -> Tensor:
        return self.generators[index].get_state()

    def set_state(self, index: int, state: Tensor) -> None:
        self.generators[index].set_state(state)
