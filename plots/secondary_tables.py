"""Tables in addition to the primary endpoint: secondary endpoints, diagnostics and flags, with their corrections."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aggregate import flags
from aggregate.analysis.factor_contrasts import TIMES
from aggregate.analysis.summary import SweepSummary
from aggregate.verdict.number_format import estimate, probability, signed
from aggregate.verdict.words import words
from plots.tables import Chip, mark

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
