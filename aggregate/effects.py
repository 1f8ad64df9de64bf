"""What the swept factors do: main effects that use every run, trends of ordered factors, two-way interactions.

Every effect is a weighted sum of the configurations' means (`stats.contrast`): configurations are compared only
where all other factors are alike, each keeps its own variance, and none of it assumes that effects add up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from aggregate import flags, stats
from aggregate.load import SweepSource
from tdmpc import catalogue

PRIMARY = "final_planner"
OUTCOMES = (PRIMARY, "auc_planner", "fall_planner", "final_policy")
LAST_QUARTER = 0.75
TIMES = " × "  # between the factors of an interaction
_COLUMNS = ["outcome", "factor", "low", "high", "levels", "runs", "estimate", "ci_low", "ci_high", "sd", "p_raw",
            "detectable", "needed"]  # fmt: skip
_ODDS = ["flag", "factor", "low", "high", "raised_low", "n_low", "raised_high", "n_high", "odds", "ci_low", "ci_high",
         "p_raw"]  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """One question about a factor: what does going from `low` to `high` do?

    position: (configurations,), 0 at `low` to 1 at `high` in equal steps of the factor's order, NaN where a
    configuration is no part of it. alike: codes (configurations,); configurations are compared within equal
    codes of each. levels: how many the factor has between the two, both counted.
    """

    factor: str
    low: str
    high: str
    levels: int
    position: np.ndarray
    alike: tuple[np.ndarray, ...]

    def weights(self, there: np.ndarray) -> np.ndarray:
        """(configurations,) that give the slope over `position` within alike configurations, of those `there`;
        all zero where these never differ in this factor alone."""
        out = np.zeros(there.size)
        used = there & np.isfinite(self.position)
        if not used.any():
            return out
        dummies = np.hstack([codes[used, None] == np.unique(codes[used]) for codes in self.alike]).astype(float)
        x = self.position[used]
        rest = x - dummies @ np.linalg.lstsq(dummies, x, rcond=None)[0]
        rest[np.abs(rest) < 1e-9] = 0.0
        out[used] = rest / (rest @ rest) if rest.any() else 0.0
        return out


@dataclass(frozen=True)
class Effects:
    """What the factors of a sweep do.

    returns and interactions: outcome (one of `OUTCOMES`), factor, low, high (the levels), levels, runs, estimate
    with ci_low and ci_high (uncorrected), sd of the seeds, p_raw, detectable (true effect found in 80 % of cases),
    needed (seeds a configuration at which one as large as the estimate would be), p (Holm within the outcome),
    distinct. diagnostics: the same on every metric's mean over the last quarter, p with the false-discovery rate
    over all of them. odds: flag, factor, low, high, raised and judged runs at both levels, odds ratio with
    interval, p_raw, p (false-discovery rate).
    """

    returns: pd.DataFrame
    interactions: pd.DataFrame
    diagnostics: pd.DataFrame
    odds: pd.DataFrame


def effects(sweep: SweepSource, scores: pd.DataFrame, diagnostics: pd.DataFrame, findings: pd.DataFrame) -> Effects:
    """scores and diagnostics: one line per run with `config_id`; findings: `flags.judge`."""
    main, pairs = axes(sweep)
    metrics = [name for name in diagnostics if name in catalogue.METRICS]
    odds = pd.DataFrame(flag_odds(sweep, main, findings), columns=_ODDS)
    return Effects(
        returns=_judged(_table(sweep, main, scores, OUTCOMES), stats.holm),
        interactions=_judged(_table(sweep, pairs, scores, OUTCOMES), stats.holm),
        diagnostics=_judged(_table(sweep, main, diagnostics, metrics), stats.false_discovery, by_outcome=False),
        odds=_judged(odds, stats.false_discovery, by_outcome=False),
    )


def last_quarter(rows: pd.DataFrame, total: int) -> pd.DataFrame:
    """Rows of runs -> one line per run: mean of every diagnostic over the steps after three quarters of `total`."""
    metrics = [
        name
        for name, metric in catalogue.METRICS.items()
        if name in rows and metric.kind != "episode" and not metric.is_list and metric.group != "run"
        and metric.better != "up"
    ]  # fmt: skip
    late = rows[rows["step"] > LAST_QUARTER * total]
    values = late[metrics].replace([np.inf, -np.inf], np.nan)
    means = values.groupby([late["config_id"].astype(str), late["seed"]]).mean()
    return means.dropna(axis=1, how="all").reset_index()


# --- axes -----------------------------------------------------------------------------------------------


def axes(sweep: SweepSource) -> tuple[list[Axis], list[Axis]]:
    """(of every factor, of every pair of factors). Factors that always change together count as one."""
    factors = _factors(sweep)
    codes = {name: _codes(values) for name, values in factors.items()}
    baseline = next((i for i, config in enumerate(sweep.configs) if config.is_baseline), 0)
    main, pairs = [], []
    positions: dict[str, list[Axis]] = {}
    for name, values in factors.items():
        others = _codes(list(zip(*(c for other, c in codes.items() if other != name), strict=True)) or [()])
        alike = np.broadcast_to(others, len(sweep.configs))
        positions[name] = [Axis(name, low, high, levels, x, (alike,))
                           for low, high, levels, x in _positions(values, values[baseline])]  # fmt: skip
        main += positions[name]
    for one, two in itertools.combinations(factors, 2):
        for a, b in itertools.product(positions[one], positions[two]):
            name = f"{one}{TIMES}{two}"
            x = a.position * b.position
            pairs.append(Axis(name, f"{a.low}, {b.low}", f"{a.high}, {b.high}", a.levels * b.levels, x,
                              a.alike + b.alike))  # fmt: skip
    return main, pairs


def _factors(sweep: SweepSource) -> dict[str, list[Any]]:
    """Name -> value in every configuration (None: changes nothing there); those that change together are one."""
    merged: dict[tuple[int, ...], list[str]] = {}
    for key in sweep.factors:
        codes = _codes([config.factors.get(key) for config in sweep.configs])
        merged.setdefault(tuple(codes.tolist()), []).append(key)
    return {
        " and ".join(keys): [config.factors.get(keys[0]) for config in sweep.configs]
        for codes, keys in merged.items()
        if len(set(codes)) > 1
    }


def _codes(values: Sequence[Any]) -> np.ndarray:
    """A number for each value, equal where they are."""
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values])


def _positions(values: Sequence[Any], baseline: Any) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """(low, high, levels, position): numbers have an order and one axis, other values one axis each that leads
    from the baseline's (the first, where the baseline has none)."""
    levels = list(dict.fromkeys(value for value in values if value is not None))
    if all(isinstance(level, (int, float)) and not isinstance(level, bool) for level in levels):
        paths = [sorted(levels)] if len(levels) > 1 else []
    else:
        start = baseline if baseline is not None else levels[0]
        paths = [[start, level] for level in levels if level != start]
    for path in paths:
        place = {level: i / (len(path) - 1) for i, level in enumerate(path)}
        x = np.array([place.get(value, np.nan) for value in values])
        yield _shown(path[0]), _shown(path[-1]), len(path), x


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- tables ---------------------------------------------------------------------------------------------


def _table(sweep: SweepSource, asked: Sequence[Axis], runs: pd.DataFrame, outcomes: Sequence[str]) -> pd.DataFrame:
    ids = [config.config_id for config in sweep.configs]
    lines = [line for outcome in outcomes for line in _effects_on(outcome, asked, runs, ids)]
    return pd.DataFrame(lines, columns=_COLUMNS)


def _effects_on(
    outcome: str, asked: Sequence[Axis], runs: pd.DataFrame, ids: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    samples = stats.samples_of(runs, "config_id", outcome)
    counts = np.array([samples[name].size if name in samples else 0 for name in ids])
    there = counts > 1
    if not there.any():
        return
    means, variances = (
        np.array([of(samples[name]) if known else 0.0 for name, known in zip(ids, there, strict=True)])
        for of in (np.mean, lambda values: np.var(values, ddof=1))
    )
    sd = float(np.sqrt(np.average(variances[there], weights=counts[there] - 1)))
    weighed = [(axis, axis.weights(there)) for axis in asked]
    weighed = [(axis, weights) for axis, weights in weighed if weights.any()]
    for axis, weights in weighed:
        found = stats.contrast(weights, means, variances, counts)
        estimate, half = float(found.estimate), float(found.half_width())
        needed = stats.seeds_needed(found, int(np.median(counts[weights != 0])), len(weighed))
        yield (outcome, axis.factor, axis.low, axis.high, axis.levels, int(counts[weights != 0].sum()), estimate,
               estimate - half, estimate + half, sd, float(found.p), float(found.detectable(len(weighed))),
               needed)  # fmt: skip


def flag_odds(sweep: SweepSource, asked: Sequence[Axis], findings: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Lines of `Effects.odds`, for flags that any run raised: the two ends of each axis, Fisher's exact test, Woolf's
    interval with half a run added to every count."""
    judged = findings[findings["state"] != flags.NOT_ASSESSABLE]
    judged = judged.assign(raised=judged["state"] == flags.FLAG)
    ids = [config.config_id for config in sweep.configs]
    for flag, lines in judged.groupby("flag", sort=False):
        if not lines["raised"].any():
            continue
        counted = lines.groupby("config_id")["raised"].agg(["sum", "count"]).reindex(ids, fill_value=0).to_numpy()
        for axis in asked:
            used = axis.weights(counted[:, 1] > 0) != 0
            (k0, n0), (k1, n1) = (counted[used & (axis.position == end)].sum(0).tolist() for end in (0, 1))
            if not n0 or not n1:
                continue
            table = np.array([[k1, n1 - k1], [k0, n0 - k0]]) + 0.5
            log_odds = np.log(table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0]))
            half = 1.96 * np.sqrt((1 / table).sum())
            p = scipy_stats.fisher_exact([[k1, n1 - k1], [k0, n0 - k0]]).pvalue
            yield (flag, axis.factor, axis.low, axis.high, k0, n0, k1, n1, float(np.exp(log_odds)),
                   float(np.exp(log_odds - half)), float(np.exp(log_odds + half)), float(p))  # fmt: skip


def _judged(
    table: pd.DataFrame, correct: Callable[[np.ndarray], np.ndarray], *, by_outcome: bool = True
) -> pd.DataFrame:
    """With the corrected `p` and `distinct`."""
    raw = table["p_raw"].astype(float)
    if by_outcome and len(table):
        p = raw.groupby(table["outcome"]).transform(lambda one: correct(one.to_numpy()))
    else:
        p = pd.Series(correct(raw.to_numpy()), index=table.index)
    return table.assign(p=p, distinct=p < stats.ALPHA)
