"""The networks: encoder, dynamics, rewards, values, policy. Symbols as in docs/algorithm.md."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tdmpc import math as tm
from tdmpc.agent import ops
from tdmpc.agent.ensemble_mlp import Heads, StackedMLP
from tdmpc.config import TrainConfig
from tdmpc.network_shapes import Shape, shapes
from tdmpc.rng import Dropout


def _stacked(
    name: str, config: TrainConfig, named: Mapping[str, Shape], seeds: Sequence[int], zero_out: bool = False
) -> StackedMLP:
    """The network `name` of the `shapes`."""
    heads, sizes, simnorm = named[name]
    group = config.simnorm_dim if simnorm else 0
    return StackedMLP(heads, sizes, seeds, name, group, zero_out=zero_out, bfloat16=config.bfloat16)


class Policy(nn.Module):
    """Latents -> mean and log std of a Gaussian that is squashed by tanh."""

    def __init__(self, config: TrainConfig, action_size: int, seeds: Sequence[int]) -> None:
        super().__init__()
        self.net = _stacked("policy", config, shapes(config, 0, action_size), seeds)
        self.log_std_range = (config.log_std_min, config.log_std_max)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(S, N, L) -> mean (S, N, A), log_std (S, N, A)."""
        return ops.mean_and_log_std(self.net(z).squeeze(1), *self.log_std_range)

    def act(self, z: Tensor) -> Tensor:
        """(S, N, L) -> (S, N, A) tanh(mean), the action of the policy without MPC."""
        return torch.tanh(self(z)[0])

    def sample(self, z: Tensor, eps: Tensor) -> Tensor:
        """z (S, N, L), standard-normal eps (S, N, A) -> sampled actions (S, N, A)."""
        mean, log_std = self(z)
        return torch.tanh(mean + log_std.exp() * eps)


class WorldModel(nn.Module):
    """Encoder, H dynamics heads, R reward heads, Q value heads and G auxiliary values of S seeds."""

    bins: Tensor

    def __init__(self, config: TrainConfig, obs_size: int, action_size: int, seeds: Sequence[int]) -> None:
        super().__init__()
        c, named = config, shapes(config, obs_size, action_size)
        stacked = functools.partial(_stacked, config=config, named=named, seeds=seeds)
        self.encoder, self.dynamics = stacked("encoder"), stacked("dynamics")
        self.reward, self.value = stacked("reward", zero_out=True), stacked("value", zero_out=True)
        self.num_gammas = len(c.multi_gamma_gammas) if c.uses_aux else 0
        if self.num_gammas:
            self.aux = stacked("aux")
        self.episodic = c.episodic
        if self.episodic:
            # The logit is the difference of two outputs: a product with a single column is rounded differently for one
            # seed than for several.
            self.termination = stacked("termination")
        self.register_buffer("bins", tm.bin_centres(c.num_bins, c.symlog_max))

    def trained_modules(self) -> dict[str, nn.Module]:
        """The modules that the model's optimiser trains, by their names in `tdmpc.metrics.GRADIENT_FLOW`."""
        names = ["encoder", "dynamics", "reward", "value"]
        names += ["aux"] if self.num_gammas else []
        names += ["termination"] if self.episodic else []
        return {name: getattr(self, name) for name in names}

    def encode(self, obs: Tensor) -> Tensor:
        """Observations (S, ..., O) -> latents (S, ..., L)."""
        flat = obs.flatten(1, -2)
        return self.encoder(flat).reshape(*obs.shape[:-1], -1)

    def next(self, z: Tensor, action: Tensor, heads: Heads = None) -> Tensor:
        """z (S, [H|1], N, L), action (S, [H|1], N, A) -> next latents (S, H, N, L) of the chosen heads."""
        return self.dynamics(z, action, heads)

    def rewards(self, z: Tensor, action: Tensor, heads: Heads = None) -> Tensor:
        """z (S, N, L), action (S, N, A) -> (S, R, N) predicted rewards of the chosen heads."""
        return self.reward(z, action, heads, bins=self.bins)

    def end_logits(self, z: Tensor) -> Tensor:
        """(S, ..., L) latents after a transition -> (S, ...) logits of the transition being terminal."""
        continues, terminates = self.termination(z.flatten(1, -2)).unbind(-1)
        return (terminates - continues).reshape(z.shape[:-1])

    @torch.no_grad()
    def alive(self, z: Tensor) -> Tensor | None:
        """(S, ..., L) latents after a transition -> (S, ...) 1 where the episode continues, 0 where it is predicted to
        have terminated; None where episodes never terminate."""
        return (self.end_logits(z) <= 0).to(z.dtype) if self.episodic else None  # sigmoid(0) = 0.5

    def values(self, z: Tensor, dropout: Dropout | None = None) -> Tensor:
        """(S, N, L) -> (S, Q, N) predicted values."""
        return self.value(z, dropout=dropout, bins=self.bins)


class TargetValues(nn.Module):
    """Exponential moving averages of the value heads and of the auxiliary values."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.value = copy.deepcopy(model.value)
        self.num_gammas = model.num_gammas
        if self.num_gammas:
            self.aux = copy.deepcopy(model.aux)
        self.requires_grad_(False)

    def values(self, z: Tensor, bins: Tensor) -> Tensor:
        """(S, N, L) -> (S, Q, N) predicted values. bins: (K,)."""
        return self.value(z, bins=bins)

    def aux_values(self, z: Tensor, bins: Tensor) -> Tensor:
        """(S, N, L) -> (S, G, N) predicted auxiliary values. bins: (K,)."""
        return ops.two_hot_inverse(aux_logits(self.aux, z, self.num_gammas), bins)


def aux_logits(
    aux: nn.Module, z: Tensor, num_gammas: int, dropout: Dropout | None = None, live: int | None = None
) -> Tensor:
    """(S, N, L) -> (S, G, N, K), for one network of all gammas as for one network each. dropout, live: as in
    `StackedMLP`."""
    logits = aux(z, dropout=dropout, live=live)
    if logits.shape[1] == num_gammas:
        return logits
    return logits.squeeze(1).unflatten(-1, (num_gammas, -1)).transpose(1, 2)


@torch.no_grad()
def move_average(target: StackedMLP, online: StackedMLP, tau: float) -> None:
    """target += tau (online - target), in place."""
    target.numbers.lerp_(online.numbers, tau)
