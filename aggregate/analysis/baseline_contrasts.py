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
    lines = []
    for metric in (name for name in late if name in catalogue.metrics):
        samples = estimates.samples_of(late, "config_id", metric)
        base = samples.pop(baseline, np.empty(0))
        for config_id, sample in samples.items() if base.size else ():
            contrast = estimates.welch(sample, base)
            difference, half = float(contrast.estimate), float(contrast.half_width())
            lines.append((metric, config_id, sample.size, difference, difference - half, difference + half,
                          float(contrast.p)))  # fmt: skip
    table = pd.DataFrame(lines, columns=_COLUMNS)
    p = estimates.false_discovery(table["p_raw"].to_numpy(dtype=float))
    return table.assign(p=p, distinct=p < estimates.ALPHA)
