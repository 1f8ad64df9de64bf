"""Contrasts with the baseline on the primary endpoint, secondary endpoints and every diagnostic."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aggregate.analysis.configuration_comparison import TRADE_OFF, is_trade_off, pairing_of
from aggregate.analysis.factor_effects import OF_PRIMARY, OUTCOMES, PRIMARY
from aggregate.analysis.run_outcomes import outcomes_of
from aggregate.statistics import estimates
from aggregate.statistics.alpha_spending import InterimAnalyses
from sweepwise.core.metrics import Catalogue

_COLUMNS = ["outcome", "config_id", "n", "difference", "low", "high", "p_raw"]


def primary(
    scores: pd.DataFrame, baseline: str, analyses: InterimAnalyses, sign: int = 1, *, paired: bool = False
) -> pd.DataFrame:
    """`estimates.AgainstBaseline` on the primary endpoint, with the relation of `_with_relation`. scores, baseline,
    sign, paired: see `secondary`."""
    pairing = pairing_of(scores) if paired else None
    table = estimates.AgainstBaseline(analyses, sign, pairing)(scores, "config_id", PRIMARY, baseline)
    return _with_relation(table, scores, baseline, sign)


def _with_relation(table: pd.DataFrame, scores: pd.DataFrame, baseline: str, sign: int) -> pd.DataFrame:
    """With relation: `TRADE_OFF` where the better of two significantly different results comes with more unstable
    seeds, else "". Such a line is not distinct, as for the best configuration."""
    (base,), own = outcomes_of(scores, [baseline]), outcomes_of(scores, table["config_id"].tolist())
    pairs = [
        (one, base) if sign * difference > 0 else (base, one)
        for one, difference in zip(own, table["difference"], strict=True)
    ]
    trade_off = np.array([is_trade_off(*pair) for pair in pairs], dtype=bool) & table["distinct"].to_numpy(dtype=bool)
    return table.assign(relation=np.where(trade_off, TRADE_OFF, ""), distinct=table["distinct"] & ~trade_off)


def secondary(
    scores: pd.DataFrame, baseline: str, analyses: InterimAnalyses, sign: int = 1, *, paired: bool = False
) -> pd.DataFrame:
    """`estimates.AgainstBaseline` on every endpoint but the first of `OUTCOMES`, each corrected by itself; `outcome`
    says which, and relation as for the primary endpoint. `better` of the fall is the probability of a larger one.

    scores: `run_outcomes.with_outcomes`. baseline: config_id, "" for none. sign: -1 where a lower primary metric is
    better. paired: whether the plan declares that configurations are compared seed by seed.
    """
    pairing = pairing_of(scores) if paired else None
    contrasts = {
        name: estimates.AgainstBaseline(analyses, sign if name in OF_PRIMARY else 1, pairing) for name in OUTCOMES[1:]
    }
    tables = {name: against(scores, "config_id", name, baseline) for name, against in contrasts.items()}
    parts = [
        (_with_relation(table, scores, baseline, sign) if name in OF_PRIMARY else table.assign(relation="")).assign(
            outcome=name
        )
        for name, table in tables.items()
    ]
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
