"""Whether a seed does alike under all configurations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats


class SeedEffect(NamedTuple):
    """rho: correlation of the results of one seed, beside the means of configurations. p: of the F test of seeds. Both
    NaN where nothing but configurations differs."""

    rho: float
    p: float


def seed_effect(values: np.ndarray) -> SeedEffect:
    """Of results (configurations, seeds), at least 2 x 2: analysis of variance of both, without replication. rho is the
    intraclass correlation ICC(3, 1) of Shrout & Fleiss 1979."""
    count, seeds = values.shape
    beside_means = values - values.mean(1, keepdims=True)
    of_seeds = beside_means.mean(0)
    between = count * float(of_seeds @ of_seeds) / (seeds - 1)
    rest = float(((beside_means - of_seeds) ** 2).sum()) / ((count - 1) * (seeds - 1))
    if not rest > 0:
        return SeedEffect(np.nan, np.nan)
    p = float(stats.f.sf(between / rest, seeds - 1, (count - 1) * (seeds - 1)))
    return SeedEffect((between - rest) / (between + (count - 1) * rest), p)
