"""Effects of the swept factors: main effects over all runs, trends of ordered factors, two-way interactions.

Every effect is a weighted sum of the configurations' means (`estimates.contrast`): configurations are compared only
where all other factors are equal, each keeps its own variance, and additivity is not assumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from aggregate import flags
from aggregate.analysis.configuration_comparison import TRADE_OFF, is_trade_off
from aggregate.analysis.factor_contrasts import TIMES, Axis, axes
from aggregate.analysis.run_outcomes import Outcomes, outcomes_of
from aggregate.inputs.runs import SweepSource
from aggregate.statistics import estimates
from sweepwise.core.metrics import RESULTS, Catalogue

PRIMARY = "final_primary"
OUTCOMES = (PRIMARY, "auc_primary", "fall_primary", "final_policy")
OF_PRIMARY = (PRIMARY, "auc_primary", "final_policy")  # values of the primary metric, better in its direction
LAST_QUARTER = 0.75
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
_COLUMNS = ["outcome", "factor", "low", "high", "levels", "runs", "estimate", "ci_low", "ci_high", "sd", "p_raw",
            "detectable", "needed"]  # fmt: skip
_ODDS = ["flag", "factor", "low", "high", "raised_low", "n_low", "raised_high", "n_high", "odds", "ci_low", "ci_high",
         "p_raw"]  # fmt: skip


@dataclass(frozen=True)
class Effects:
    """Effects of the factors of a sweep.

    returns and interactions: outcome (one of `OUTCOMES`), factor, low, high (the levels), levels, runs, estimate
    with ci_low and ci_high (uncorrected), sd of the seeds, p_raw, detectable (true effect found in 80 % of cases),
    needed (seeds a configuration at which one as large as the estimate would be), p (Holm within the outcome),
    distinct. relation, of returns: `TRADE_OFF` where the level of the better result has more unstable seeds, which is
    then not distinct; else "". diagnostics: the same on every metric's mean over the last quarter, p with the
    false-discovery rate over all of them. odds: flag, factor, low, high, raised and judged runs at both levels, odds
    ratio with interval, p_raw, p (false-discovery rate). diagnostic_pairs, odds_pairs: the same of interactions; odds
    is then the ratio of two odds ratios; raised and judged runs are those at two opposite corners.
    """

    returns: pd.DataFrame
    interactions: pd.DataFrame
    diagnostics: pd.DataFrame
    diagnostic_pairs: pd.DataFrame
    odds: pd.DataFrame
    odds_pairs: pd.DataFrame


def effects(sweep: SweepSource, scores: pd.DataFrame, diagnostics: pd.DataFrame, findings: pd.DataFrame) -> Effects:
    """scores: `run_outcomes.with_outcomes`. diagnostics: one line per run with `config_id`. findings: `flags.judge`."""
    main, pairs = map(_Weights, axes(sweep))
    metrics = [name for name in diagnostics if name in sweep.agent.catalogue.metrics]
    raised, analyses = _flag_counts(sweep, findings), sweep.interim_analyses
    odds = pd.DataFrame(_odds(main, raised), columns=_ODDS)
    odds_pairs = pd.DataFrame(_odds_interactions(main.contrasts, raised), columns=_ODDS)
    returns = _with_corrected_p(_table(sweep, main, scores, OUTCOMES), lambda p: estimates.holm(analyses(p)))
    return Effects(
        returns=_with_relation(returns, main.contrasts, scores, sweep),
        interactions=_with_corrected_p(_table(sweep, pairs, scores, OUTCOMES), lambda p: estimates.holm(analyses(p))),
        diagnostics=_with_corrected_p(
            _table(sweep, main, diagnostics, metrics), estimates.false_discovery, by_outcome=False
        ),
        diagnostic_pairs=_with_corrected_p(
            _table(sweep, pairs, diagnostics, metrics), estimates.false_discovery, by_outcome=False
        ),
        odds=_with_corrected_p(odds, estimates.false_discovery, by_outcome=False),
        odds_pairs=_with_corrected_p(odds_pairs, estimates.false_discovery, by_outcome=False),
    )


def diagnostics_of(catalogue: Catalogue) -> frozenset[str]:
    """Names of the metrics that are diagnostics: numbers that are no result of the agent. Metrics that are better when
    higher are results too."""
    return frozenset(
        name
        for name, metric in catalogue.metrics.items()
        if metric.kind != "episode" and not metric.is_list and metric.group != "run" and metric.better != "up"
        and metric.role not in RESULTS
    )  # fmt: skip


def last_quarter(rows: Mapping[str, Mapping[str, Any]], total: int, catalogue: Catalogue) -> dict[str, float]:
    """Rows of one run by kind -> mean of every diagnostic over the steps after three quarters of `total`, of those
    that are finite."""
    means: dict[str, float] = {}
    diagnostics = diagnostics_of(catalogue)
    for kind, part in rows.items():
        names = [name for name in part if name in diagnostics and catalogue.metrics[name].kind == kind]
        late = np.asarray(part["step"]) > LAST_QUARTER * total
        for name in names if late.any() else ():
            values = np.asarray(part[name])[late]
            if values.dtype == object:  # lists, although declared as numbers
                continue
            values = values[np.isfinite(values)]
            means |= {name: float(values.mean())} if values.size else {}
    return means


# --- tables ---------------------------------------------------------------------------------------------


class _Weights:
    """Weights of contrasts: called with the configurations that are there (configurations,), it returns those of each
    contrast. Most outcomes and flags have the same configurations."""

    def __init__(self, contrasts: Sequence[Axis]) -> None:
        self.contrasts = contrasts
        self._known: dict[bytes, list[np.ndarray]] = {}

    def __call__(self, available: np.ndarray) -> list[np.ndarray]:
        known = available.tobytes()
        if known not in self._known:
            self._known[known] = [axis.weights(available) for axis in self.contrasts]
        return self._known[known]


def _table(sweep: SweepSource, weights: _Weights, runs: pd.DataFrame, outcomes: Sequence[str]) -> pd.DataFrame:
    ids = [config.config_id for config in sweep.configs]
    lines = []
    for outcome in outcomes:
        cells = Cells.of(runs, outcome, ids)
        known = zip(weights.contrasts, weights(cells.counts > 1), strict=True)
        compared = [(axis, own) for axis, own in known if own.any()]
        tests = sweep.interim_analyses.tests(max(1, len(compared)))
        effects_on = _lines([axis for axis, _ in compared], [own for _, own in compared], cells, tests)
        lines += [{"outcome": outcome, **line} for line in effects_on]
    return pd.DataFrame(lines, columns=_COLUMNS)


@dataclass(frozen=True)
class Cells:
    """One outcome by configuration: means, variances (0 where unknown) and seed counts, each (configurations,)."""

    means: np.ndarray
    variances: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, runs: pd.DataFrame, outcome: str, ids: Sequence[str]) -> Cells:
        """runs: one line per run with `config_id`. ids: the configurations, in order."""
        samples = estimates.samples_of(runs, "config_id", outcome)
        means, variances, counts = estimates.moments([samples.get(name, np.empty(0)) for name in ids])
        return cls(np.where(counts > 0, means, 0.0), np.where(counts > 1, variances, 0.0), counts)


def effect(axis: Axis, weights: np.ndarray, cells: Cells, tests: float) -> dict[str, Any]:
    """A line of `Effects.returns` without its outcome: from the first to the last level that has runs. weights: of the
    axis, all 0 where nothing is compared: then only the levels are known. tests: how many are corrected together
    (`InterimAnalyses.tests`)."""
    return _lines((axis,), (weights,), cells, tests)[0]


def _lines(
    contrasts: Sequence[Axis], weights: Sequence[np.ndarray], cells: Cells, tests: float
) -> list[dict[str, Any]]:
    """`effect` of each axis with its weights."""
    if not contrasts:
        return []
    spans = [axis.span(own != 0) for axis, own in zip(contrasts, weights, strict=True)]
    available = cells.counts > 1
    sd = (
        float(np.sqrt(np.average(cells.variances[available], weights=cells.counts[available] - 1)))
        if available.any()
        else np.nan
    )
    shares = np.array([[share] for _, _, share in spans])
    contrast = estimates.contrast(shares * np.stack(weights), cells.means, cells.variances, cells.counts)
    half, used = contrast.half_width(), [cells.counts[own != 0] for own in weights]
    seeds = np.array([int(np.median(counts)) if counts.size else 1 for counts in used])
    measured = {
        "estimate": contrast.estimate, "ci_low": contrast.estimate - half, "ci_high": contrast.estimate + half,
        "sd": np.full(len(spans), sd), "p_raw": contrast.p, "detectable": contrast.detectable(tests),
        "needed": estimates.seeds_needed(contrast, seeds, tests),
    }  # fmt: skip
    return [
        {"factor": axis.factor, "low": low, "high": high, "levels": axis.levels, "runs": int(counts.sum()),
         **{name: float(values[place]) if counts.size else np.nan for name, values in measured.items()}}
        for place, (axis, (low, high, _), counts) in enumerate(zip(contrasts, spans, used, strict=True))
    ]  # fmt: skip


def _flag_counts(sweep: SweepSource, findings: pd.DataFrame) -> dict[str, np.ndarray]:
    """Flags that any run raised -> (configurations, 2): runs that raised it, runs that could be judged."""
    places = {config.config_id: place for place, config in enumerate(sweep.configs)}
    counted: dict[str, np.ndarray] = {}
    for config_id, flag, state in zip(findings["config_id"], findings["flag"], findings["state"], strict=True):
        if state != flags.NOT_ASSESSABLE and config_id in places:
            runs = counted.setdefault(str(flag), np.zeros((len(places), 2), dtype=int))
            runs[places[config_id]] += (state == flags.FLAG, 1)
    return {flag: runs for flag, runs in counted.items() if runs[:, 0].any()}


def _odds(weights: _Weights, raised: Mapping[str, np.ndarray]) -> Iterator[tuple[Any, ...]]:
    """Lines of `Effects.odds`: the two end levels of each contrast, Fisher's exact test, Woolf's interval with 0.5
    added to every count."""
    for flag, counted in raised.items():
        for axis, own in zip(weights.contrasts, weights(counted[:, 1] > 0), strict=True):
            used = own != 0
            (k0, n0), (k1, n1) = (counted[used & (axis.position == end)].sum(0).tolist() for end in (0, 1))
            if not n0 or not n1:
                continue
            ratio, error = log_odds(np.array([[k1, n1], [k0, n0]]), np.array([1, -1]))
            p = stats.fisher_exact([[k1, n1 - k1], [k0, n0 - k0]]).pvalue
            yield (flag, axis.factor, axis.low, axis.high, k0, n0, k1, n1, *_interval(ratio, error), float(p))


def _odds_interactions(contrasts: Sequence[Axis], raised: Mapping[str, np.ndarray]) -> Iterator[tuple[Any, ...]]:
    """Lines of `Effects.odds_pairs`: the factor by which the odds ratio of one factor changes along the other, over the
    four corners; Wald's test of its logarithm."""
    for flag, counted in raised.items():
        for one, two in itertools.combinations(contrasts, 2):
            if one.factor == two.factor:
                continue
            corners = [counted[(one.position == i) & (two.position == j)].sum(0) for i, j in _CORNERS]
            if not all(n for _, n in corners):
                continue
            ratio, error = log_odds(np.array(corners), np.array([1, -1, -1, 1]))
            (k0, n0), (k1, n1) = corners[0].tolist(), corners[3].tolist()
            ends = (f"{one.low}, {two.low}", f"{one.high}, {two.high}")
            p = 2 * stats.norm.sf(abs(ratio) / error)
            yield (
                flag,
                f"{one.factor}{TIMES}{two.factor}",
                *ends,
                k0,
                n0,
                k1,
                n1,
                *_interval(ratio, error),
                float(p),
            )


def log_odds(counted: np.ndarray, signs: np.ndarray) -> tuple[float, float]:
    """(sum of signed log odds of the rows (raised, judged), its standard error), with 0.5 added to every count."""
    with_, without = counted[:, 0] + 0.5, counted[:, 1] - counted[:, 0] + 0.5
    return float(signs @ np.log(with_ / without)), float(np.sqrt((1 / with_ + 1 / without).sum()))


def _interval(log_ratio: float, error: float) -> tuple[float, float, float]:
    low, high = log_ratio - 1.96 * error, log_ratio + 1.96 * error
    return float(np.exp(log_ratio)), float(np.exp(low)), float(np.exp(high))


def _with_corrected_p(
    table: pd.DataFrame, correct: Callable[[np.ndarray], np.ndarray], *, by_outcome: bool = True
) -> pd.DataFrame:
    """With the corrected `p` and `distinct`."""
    raw = table["p_raw"].astype(float)
    if by_outcome and len(table):
        p = raw.groupby(table["outcome"]).transform(lambda one: correct(one.to_numpy()))
    else:
        p = pd.Series(correct(raw.to_numpy()), index=table.index)
    return table.assign(p=p, distinct=p < estimates.ALPHA)


def _with_relation(table: pd.DataFrame, main: Sequence[Axis], scores: pd.DataFrame, sweep: SweepSource) -> pd.DataFrame:
    """With `relation`, by the seeds of the configurations that a line compares at its two levels."""
    known = outcomes_of(scores, [config.config_id for config in sweep.configs])
    started = np.array([outcomes.starts > 0 for outcomes in known])
    relations = []
    for line in table.to_dict("records"):
        relation = ""
        if line["distinct"] and line["outcome"] in OF_PRIMARY:
            axis = next(a for a in main if a.factor == line["factor"] and {line["low"], line["high"]} <= set(a.names))
            compared = axis.weights(started) != 0
            low, high = (
                Outcomes(*map(sum, zip(*itertools.compress(known, compared & axis.at(line[end])), strict=True)))
                for end in ("low", "high")
            )
            rises = sweep.agent.catalogue.sign * line["estimate"] > 0
            relation = TRADE_OFF if is_trade_off(*((high, low) if rises else (low, high))) else ""
        relations.append(relation)
    table = table.assign(relation=pd.Series(relations, index=table.index, dtype=object))
    return table.assign(distinct=table["distinct"] & (table["relation"] == ""))
