"""Random number generators: one for each seed and purpose.

Seeds trained together therefore draw the same numbers as alone, and evaluation and validation do not advance the
generators of training. Every network head and every source of noise has a purpose of its own, so that configurations
with the same seed share all random numbers of the parts that they have in common.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def derive_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose of run `seed`; the same on every machine."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator for one purpose of run `seed`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *purpose))


class Dropout(NamedTuple):
    """Dropout of one layer as the indices of its zeros, which are far fewer than its outputs."""

    rate: float
    zeros: Tensor  # (S, n) ascending indices into the flattened (E, N, hidden); those beyond its size have no effect
    shape: tuple[int, int, int]  # E, N, hidden

    @property
    def kept(self) -> float:
        """Factor of the outputs that are not dropped."""
        return 1 / (1 - self.rate)

    def factors(self, rows: int) -> Tensor:
        """(S, E, rows, hidden) factors of the first rows: 0 or `kept`."""
        seeds, size = self.zeros.shape[0], math.prod(self.shape)
        no_effect = seeds * size  # index of an additional element, removed below
        first = size * torch.arange(seeds, device=self.zeros.device).unsqueeze(1)
        indices = torch.where(self.zeros < size, self.zeros + first, no_effect)
        factors = torch.full((no_effect + 1,), self.kept, device=self.zeros.device)
        return factors.index_fill(0, indices.flatten(), 0.0)[:-1].view(seeds, *self.shape)[:, :, :rows]


class Draws:
    """One generator per seed. Every draw is (S, *shape), row s from generator s only."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = list(generators)
        self.device = self.generators[0].device

    @classmethod
    def fresh(cls, seeds: Sequence[int], *purpose: object, device: torch.device | str = "cpu") -> Draws:
        """New generators for one purpose of each seed."""
        return cls([generator(seed, *purpose, device=device) for seed in seeds])

    def normal(self, *shape: int) -> Tensor:
        """(S, *shape) standard-normal."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self.generators])

    def uniform(self, *shape: int) -> Tensor:
        """(S, *shape) uniform in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self.generators])

    def subsets(self, of: int, size: int) -> Tensor:
        """(S, size) sorted distinct indices below `of`. Draws no random number where size == of."""
        if size == of:
            return torch.arange(of, device=self.device).expand(len(self.generators), -1)
        picks = [torch.randperm(of, generator=g, device=self.device)[:size] for g in self.generators]
        return torch.stack(picks).sort(-1).values

    def dropout(self, rate: float, *shape: int) -> Dropout | None:
        """Dropout with probability `rate` for outputs (S, *shape); None at rate 0, where no random number is drawn.

        Draws the distances between zeros, which are geometric. At a rate of 0.01 that takes a hundredth of the random
        numbers.
        """
        if rate == 0:
            return None
        expected = math.prod(shape) * rate
        count = math.ceil(expected + 10 * math.sqrt(expected) + 10)  # ten standard deviations above the mean, and 10
        zeros = torch.empty(len(self.generators), count, dtype=torch.int64, device=self.device)
        for zeros_of_seed, g in zip(zeros, self.generators, strict=True):
            zeros_of_seed.geometric_(rate, generator=g)
        heads, rows, hidden = shape
        return Dropout(rate, zeros.cumsum_(1).sub_(1), (heads, rows, hidden))

    def state(self, index: int) -> Tensor:
        return self.generators[index].get_state()

    def set_state(self, index: int, state: Tensor) -> None:
        self.generators[index].set_state(state)


class Streams:
    """`Draws` by name: `streams["actions"]` draws from generators of the purpose (*purpose, "actions").

    What one name draws does not depend on whether, how often or in which shapes other names are drawn from.
    """

    def __init__(self, seeds: Sequence[int], *purpose: object, device: torch.device | str = "cpu") -> None:
        self._seeds, self._purpose, self._device = seeds, purpose, device
        self._by_name: dict[str, Draws] = {}

    def __getitem__(self, name: str) -> Draws:
        if name not in self._by_name:
            self._by_name[name] = self._fresh(name)
        return self._by_name[name]

    def _fresh(self, name: str) -> Draws:
        return Draws.fresh(self._seeds, *self._purpose, name, device=self._device)

    def state(self, index: int) -> dict[str, Tensor]:
        """Name -> state of the generator of the seed with this index, for the names that were drawn from."""
        return {name: draws.state(index) for name, draws in self._by_name.items()}

    def set_state(self, index: int, state: Mapping[str, Tensor]) -> None:
        for name, state_of_name in state.items():
            self[name].set_state(index, state_of_name)
