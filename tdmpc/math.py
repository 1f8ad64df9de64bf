"""Pure tensor functions of the agent. Shapes: `...` is any number of leading axes; symbols as in docs/algorithm.md."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|) (Hafner et al. 2023, eq. 9)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """Inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def bin_centres(num_bins: int, symlog_max: float, device: torch.device | str = "cpu") -> Tensor:
    """(K,) centres, evenly spaced over [-symlog_max, symlog_max] in symlog space."""
    return torch.linspace(-symlog_max, symlog_max, num_bins, device=device)


def two_hot(x: Tensor, bins: Tensor) -> Tensor:
    """(...) returns -> (..., K) weights on the two bins around symlog(x), summing to 1; clamped at the ends."""
    low, high, last = bins[0], bins[-1], bins.shape[0] - 1
    position = (symlog(x).clamp(low, high) - low) / (high - low) * last
    # a triangle one bin wide instead of a scatter: with a scatter, a NaN of a diverged seed would be an invalid index
    return (1 - (position.unsqueeze(-1) - torch.arange(last + 1, device=x.device)).abs()).clamp(min=0)


def two_hot_inverse(logits: Tensor, bins: Tensor) -> Tensor:
    """(..., K) logits -> (...) the return that their distribution stands for: symexp of the mean bin."""
    return symexp(torch.softmax(logits, dim=-1) @ bins)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(..., K) logits, (..., K) distribution (broadcast) -> (...) cross-entropy in nats."""
    return -(target * F.log_softmax(logits, dim=-1)).sum(-1)


def simnorm(x: Tensor, group: int) -> Tensor:
    """(..., L) -> (..., L) softmax over each group of `group` consecutive elements (Hansen et al. 2024, eq. 5)."""
    return torch.softmax(x.unflatten(-1, (-1, group)), dim=-1).flatten(-2)


def squash_log_std(raw: Tensor, low: float, high: float) -> Tensor:
    """(...) network output -> (...) log std in [low, high] by tanh; 0 maps to the middle."""
    half = 0.5 * (high - low)
    return torch.tanh(raw) * half + (low + half)


def gaussian_log_prob(eps: Tensor, log_std: Tensor) -> Tensor:
    """(..., A) standard-normal draws -> (...) log-density of mean + std * eps, summed over actions."""
    return (-0.5 * eps.square() - log_std - LOG_SQRT_2PI).sum(-1)


def squash_log_det(pre: Tensor) -> Tensor:
    """(..., A) pre-squash actions -> (...) log |d tanh(u) / du|, summed over actions.

    log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), which does not overflow (Haarnoja et al. 2018, app. C).
    """
    return (2 * (math.log(2) - pre - F.softplus(-2 * pre))).sum(-1)


def hinge(mean: Tensor, threshold: float, power: float) -> Tensor:
    """(..., A) pre-squash means -> (...): mean over actions of relu(|mean| - threshold)^power."""
    return F.relu(mean.abs() - threshold).pow(power).mean(-1)


def reduce_heads(x: Tensor, how: str, dim: int | tuple[int, ...]) -> Tensor:
    """Reduce the head axes `dim` by how = min, mean or max."""
    if how not in ("min", "max", "mean"):
        raise ValueError(f"reduction {how!r}: legal values are min, mean, max")
    if isinstance(dim, int) and x.shape[dim] == 1:
        return x.squeeze(dim)
    if how == "mean":
        return x.mean(dim)
    return x.amin(dim) if how == "min" else x.amax(dim)


def constant(numbers: tuple[float, ...], device: torch.device | str) -> Tensor:
    """(n,) numbers; never write into it. Cached, since creating a tensor takes as long as several operations on it."""
    return torch.tensor(numbers, device=device) if torch.compiler.is_compiling() else _cached_constant(numbers, device)


@functools.cache
def _cached_constant(numbers: tuple[float, ...], device: torch.device | str) -> Tensor:
    return torch.tensor(numbers, device=device)


def time_weights(horizon: int, rho: float, device: torch.device | str = "cpu") -> Tensor:
    """(T,) weights rho^t."""
    return constant(tuple(rho**t for t in range(horizon)), device)


def percentile_range(x: Tensor) -> Tensor:
    """(S, B) -> (S,) distance between the 5th and the 95th percentile of each row, linearly interpolated."""
    ordered, last = x.sort(dim=-1).values, x.shape[-1] - 1
    low, high = (
        torch.lerp(ordered[:, math.floor(share * last)], ordered[:, math.ceil(share * last)], share * last % 1)
        for share in (0.05, 0.95)
    )
    return high - low


def scheduled(progress: float, start: float, end: float, begin: float, finish: float, how: str) -> float:
    """Value at `progress` in [0, 1]: `start` until `begin`, `end` from `finish`, interpolated in between.

    how: interpolation, "linear" or "exponential" (linear in the logarithm).
    """
    if start == end or progress >= finish:
        return end
    if progress <= begin:
        return start
    fraction = (progress - begin) / (finish - begin)
    if how == "linear":
        return start + fraction * (end - start)
    return start * (end / start) ** fraction
