"""What stands beside the endpoint that decides: further endpoints, diagnostics, flags, each corrected in its way."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aggregate import flags
from aggregate.analysis import factor_effects
from aggregate.analysis.factor_contrasts import TIMES
from aggregate.analysis.summary import SweepSummary
from aggregate.verdict.number_format import estimate, probability, signed
from plots.tables import OUTCOME_TITLES, Chip

TITLES = {detector.name: detector.title for detector in flags.DETECTORS}


def secondary(sweep: SweepSummary, chips: dict[str, Chip]) -> dict[str, Any]:
    """For the template of the same name."""
    found = sweep.effects
    return {
        "titles": OUTCOME_TITLES[1:],
        "rows": _against_baseline(sweep, chips),
        "moved": [(chips[str(line["config_id"])], _line(line)) for line in _beyond(sweep.moved)],
        "moved_tested": len(sweep.moved),
        "pairs": [_line(line) for line in _beyond(found.diagnostic_pairs)],
        "pairs_tested": len(found.diagnostic_pairs),
        "odds": [in_words(line) for line in _beyond(found.odds)],
        "odds_tested": len(found.odds),
        "odds_pairs": [_together(line) for line in _beyond(found.odds_pairs)],
        "odds_pairs_tested": len(found.odds_pairs),
    }


def _beyond(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table[table["distinct"].astype(bool)].to_dict("records")


def _against_baseline(sweep: SweepSummary, chips: dict[str, Chip]) -> list[tuple[Chip, list[dict[str, Any]]]]:
    """(configuration, (difference, p) of every endpoint but the first)."""
    of = {(line["config_id"], line["outcome"]): _line(line) for line in sweep.secondary.to_dict("records")}
    ids = dict.fromkeys(config_id for config_id, _ in of)
    return [
        (chips[str(i)], [of.get((i, name), {"shown": "-", "chance": ""}) for name in factor_effects.OUTCOMES[1:]])
        for i in ids
    ]


def _line(line: dict[str, Any]) -> dict[str, Any]:
    """With `shown`, the difference or effect, and `chance`."""
    low, high = ("low", "high") if "difference" in line else ("ci_low", "ci_high")
    value = line["difference"] if "difference" in line else line["estimate"]
    shown = signed({"estimate": value, "ci_low": line[low], "ci_high": line[high]})
    return {**line, "shown": f"{shown}{' *' if line['distinct'] else ''}", "chance": _chance(line["p"])}


def _chance(p: float) -> str:
    return probability(p) if p == p else "too few seeds"


def in_words(line: dict[str, Any]) -> str:
    """A line of `Effects.odds` as a sentence."""
    ratio = estimate(line["odds"], line["ci_low"], line["ci_high"])
    counts = f"{line['raised_low']} of {line['n_low']} runs, then {line['raised_high']} of {line['n_high']}"
    return (f"{_turn(line)} multiplies the odds of “{TITLES[line['flag']]}” by {ratio}: {counts} "
            f"({_chance(line['p'])})")  # fmt: skip


def _turn(line: dict[str, Any]) -> str:
    """`Raising num_q from 1 to 2`; values without an order are set."""
    try:
        rising = float(line["high"]) > float(line["low"])
    except ValueError:
        return f"Setting {line['factor']} from {line['low']} to {line['high']}"
    return f"{'Raising' if rising else 'Lowering'} {line['factor']} from {line['low']} to {line['high']}"


def _together(line: dict[str, Any]) -> str:
    one, two = line["factor"].split(TIMES)
    ratio = estimate(line["odds"], line["ci_low"], line["ci_high"])
    return (f"What {one} does to the odds of “{TITLES[line['flag']]}” is multiplied by {ratio} along {two}, from "
            f"({line['low']}) to ({line['high']}) ({_chance(line['p'])})")  # fmt: skip
