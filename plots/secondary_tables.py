"""Tables in addition to the ranking: heat maps of two factors, and secondary endpoints, diagnostics and flags with
their corrections."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.analysis.factor_contrasts import TIMES
from aggregate.analysis.run_outcomes import outcomes_of
from aggregate.analysis.summary import SweepSummary
from aggregate.verdict.number_format import estimate, number, probability, signed
from aggregate.verdict.words import words
from plots.tables import Chip, format_plan_value, mark

MOST_GRIDS = 3  # pairs of factors that are shown as heat maps
TITLES = {detector.name: detector.title for detector in flags.DETECTORS}


def secondary(sweep: SweepSummary, chips: dict[str, Chip]) -> dict[str, Any]:
    """The values of the template of the same name."""
    effects = sweep.effects
    return {
        "titles": list(words(sweep).outcomes.values())[1:],
        "rows": _against_baseline(sweep, chips),
        "moved": [(chips[str(line["config_id"])], _with_text(line)) for line in _significant(sweep.diagnostics)],
        "moved_tested": len(sweep.diagnostics),
        "pairs": [_with_text(line) for line in _significant(effects.diagnostic_pairs)],
        "pairs_tested": len(effects.diagnostic_pairs),
        "odds": [format_odds(line) for line in _significant(effects.odds)],
        "odds_tested": len(effects.odds),
        "odds_pairs": [_format_odds_interaction(line) for line in _significant(effects.odds_pairs)],
        "odds_pairs_tested": len(effects.odds_pairs),
    }


# --- two factors ------------------------------------------------------------------------------------------------


def factor_grids(sweep: SweepSummary) -> dict[str, Any]:
    """`importance`: (factor, share of the differences between configurations that it explains alone), the largest
    first, of a design with all combinations of levels; else empty. `grids`: of up to `MOST_GRIDS` pairs of factors, the
    most important factors first, a cell for each combination of levels; empty where a sweep varies one factor."""
    table = _levels_and_results(sweep)
    factors = [key for key in sweep.source.factors if key in table and table[key].nunique() > 1]
    cells = math.prod(table[key].nunique() for key in factors)
    is_whole = len(factors) > 1 and len(table) == cells == len(table[factors].drop_duplicates())
    shares = {key: _explained(table, key) for key in factors} if is_whole else {}
    ranked = sorted(factors, key=lambda key: -shares.get(key, 0.0))
    pairs = [pair for pair in itertools.combinations(ranked, 2) if len(table[list(pair)].drop_duplicates()) > 3]
    known = table["mean"].dropna()
    ends = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    return {
        "importance": [(key, f"{100 * shares[key]:.0f} %") for key in ranked if np.isfinite(shares.get(key, np.nan))],
        "grids": [_grid(table, pair, ends) for pair in pairs[:MOST_GRIDS]] if len(known) > 1 else [],
    }


def _levels_and_results(sweep: SweepSummary) -> pd.DataFrame:
    """One line per configuration: the levels of its factors as text, its mean final result with diverged runs as random
    actions, its seeds, and how many of them diverged or collapsed."""
    ranking = sweep.ranking.set_index("config_id")
    outcomes = outcomes_of(sweep.scores, [config.config_id for config in sweep.source.configs])
    return pd.DataFrame(
        [{**{key: format_plan_value(value) for key, value in config.factors.items()}, "starts": seeds.starts,
          "unstable": seeds.unstable, "mean": ranking.at[config.config_id, "start_primary_mean"]}
         for config, seeds in zip(sweep.source.configs, outcomes, strict=True)]
    )  # fmt: skip


def _explained(table: pd.DataFrame, factor: str) -> float:
    """Variance of the means of its levels, as a share of the variance of all configurations (eta squared of a balanced
    design); NaN without results or without differences."""
    total = float(table["mean"].var(ddof=0, skipna=False))
    of_level = table.groupby(factor)["mean"].transform("mean")
    return float(of_level.var(ddof=0)) / total if np.isfinite(total) and total > 0 else np.nan


def _grid(table: pd.DataFrame, pair: Sequence[str], ends: tuple[float, float]) -> dict[str, Any]:
    """A row per level of the first factor, a cell per level of the second; means over the levels of other factors.
    share: of the way between `ends`, the worst and the best configuration by value."""
    rows, columns = (list(dict.fromkeys(table[key])) for key in pair)
    cells = []
    for row in rows:
        line = []
        for column in columns:
            of_cell = table[(table[pair[0]] == row) & (table[pair[1]] == column)]
            mean = float(of_cell["mean"].mean()) if len(of_cell) else np.nan
            share = (mean - ends[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.5
            known = bool(np.isfinite(mean))
            line.append({
                "text": number(mean) if known else "not in the sweep" if of_cell.empty else "no result",
                "n": int(of_cell["starts"].sum()), "unstable": int(of_cell["unstable"].sum()),
                "share": round(share, 3) if known else None,
            })  # fmt: skip
        cells.append((row, line))
    return {"row": pair[0], "column": pair[1], "columns": columns, "cells": cells}


# --- further endpoints ------------------------------------------------------------------------------------------


def _significant(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table[table["distinct"].astype(bool)].to_dict("records")


def _against_baseline(sweep: SweepSummary, chips: dict[str, Chip]) -> list[tuple[Chip, list[dict[str, Any]]]]:
    """(configuration, cells of every endpoint but the first)."""
    of = {(line["config_id"], line["outcome"]): _with_text(line) for line in sweep.secondary.to_dict("records")}
    ids, further = dict.fromkeys(config_id for config_id, _ in of), list(words(sweep).outcomes)[1:]
    return [(chips[str(i)], [of.get((i, name), {"shown": "-", "chance": ""}) for name in further]) for i in ids]


def _with_text(line: dict[str, Any]) -> dict[str, Any]:
    """The line with `shown`, the difference or effect as text, and `chance`, its p value as text."""
    low, high = ("low", "high") if "difference" in line else ("ci_low", "ci_high")
    value = line["difference"] if "difference" in line else line["estimate"]
    text = signed({"estimate": value, "ci_low": line[low], "ci_high": line[high]})
    return {**line, "shown": f"{text}{mark(line)}", "chance": _format_chance(line["p"])}


def _format_chance(p: float) -> str:
    return probability(p) if p == p else "too few seeds"


def format_odds(line: dict[str, Any]) -> str:
    """A line of `Effects.odds` as a sentence."""
    ratio = estimate(line["odds"], line["ci_low"], line["ci_high"])
    counts = f"{line['raised_low']} of {line['n_low']} runs, then {line['raised_high']} of {line['n_high']}"
    return (f"{_format_step(line)} multiplies the odds of “{TITLES[line['flag']]}” by {ratio}: {counts} "
            f"({_format_chance(line['p'])})")  # fmt: skip


def _format_step(line: dict[str, Any]) -> str:
    """`Raising num_q from 1 to 2`; `Setting` for levels without an order."""
    try:
        rising = float(line["high"]) > float(line["low"])
    except ValueError:
        return f"Setting {line['factor']} from {line['low']} to {line['high']}"
    return f"{'Raising' if rising else 'Lowering'} {line['factor']} from {line['low']} to {line['high']}"


def _format_odds_interaction(line: dict[str, Any]) -> str:
    one, two = line["factor"].split(TIMES)
    ratio = estimate(line["odds"], line["ci_low"], line["ci_high"])
    return (f"What {one} does to the odds of “{TITLES[line['flag']]}” is multiplied by {ratio} along {two}, from "
            f"({line['low']}) to ({line['high']}) ({_format_chance(line['p'])})")  # fmt: skip
