"""Contrasts with the baseline on secondary endpoints and on every diagnostic."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aggregate.analysis.factor_effects import OF_PRIMARY, OUTCOMES
from aggregate.statistics import estimates
from aggregate.statistics.alpha_spending import InterimAnalyses
from sweepwise.core.metrics import Catalogue

_COLUMNS = ["outcome", "config_id", "n", "difference", "low", "high", "p_raw"]


def secondary(scores: pd.DataFrame, baseline: str, analyses: InterimAnalyses, sign: int = 1) -> pd.DataFrame:
    """`estimates.AgainstBaseline` on every endpoint but the first of `OUTCOMES`, each corrected by itself; `outcome`
    says which. scores: one line per run with `config_id`. baseline: config_id, "" for none. sign: -1 where a lower
    primary metric is better. `better` of the fall is the probability of a larger one."""
    contrasts = {name: estimates.AgainstBaseline(analyses, sign if name in OF_PRIMARY else 1) for name in OUTCOMES[1:]}
    parts = [against(scores, "config_id", name, baseline).assign(outcome=name) for name, against in contrasts.items()]
    return pd.concat(parts, ignore_index=True)


def diagnostics(late: pd.DataFrame, baseline: str, catalogue: Catalogue) -> pd.DataFrame:
    """Every metric of every configuration against the baseline's: outcome, config_id, n, difference with low and high
    (uncorrected), p_raw, p (false-discovery rate over all of them), distinct. late: `factor_effects.last_quarter`."""
    compared: list[tuple[str, str, int]] = []
    samples: list[np.ndarray] = []
    pairs: list[tuple[int, int]] = []  # places in `samples`
    for metric in (name for name in late if name in catalogue.metrics):
        own = estimates.samples_of(late, "config_id", metric)
        base = own.pop(baseline, np.empty(0))
        if base.size:
            compared += [(metric, config_id, sample.size) for config_id, sample in own.items()]
            pairs += [(len(samples) + place, len(samples)) for place in range(1, len(own) + 1)]
            samples += [base, *own.values()]
    contrasts = estimates.welch_pairs(samples, pairs)
    half = contrasts.half_width()
    table = pd.DataFrame(compared, columns=_COLUMNS[:3]).assign(
        difference=contrasts.estimate, low=contrasts.estimate - half, high=contrasts.estimate + half, p_raw=contrasts.p
    )
    p = estimates.false_discovery(table["p_raw"].to_numpy(dtype=float))
    return table.assign(p=p, distinct=p < estimates.ALPHA)
