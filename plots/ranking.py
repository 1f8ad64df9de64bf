"""The ranking of a report's sweep: configurations, best first, with their seeds on a strip and the imported curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate.analysis import factor_effects
from aggregate.analysis.configuration_comparison import ALIKE, BEHIND, LESS_STABLE, OPEN, TRADE_OFF
from aggregate.analysis.summary import SweepSummary
from aggregate.verdict.number_format import estimate, number
from aggregate.verdict.words import AgentWords, sentence, words
from plots.tables import Chip, format_estimate, strip_position

AREA = "auc_primary"
# Relation to the leader, see `configuration_comparison` -> how the table calls it.
RELATIONS = {
    BEHIND: "worse",
    LESS_STABLE: "less stable",
    TRADE_OFF: "trade-off",
    ALIKE: "alike",
    OPEN: "not significant",
}


def ranking_table(sweep: SweepSummary, chips: dict[str, Chip]) -> dict[str, Any]:
    finished = bool(sweep.ranking["final_primary_n"].any())
    lead = "final_primary" if finished else "so_far"
    contrasts = sweep.contrasts.set_index("config_id")
    any_unstable = finished and bool(contrasts["unstable"].any())
    ranking, scores = _with_imported(sweep, lead)
    own_words = words(sweep)
    others = _other_scores(own_words, scores)
    ends = {name: _strip_range(scores[name].dropna(), ranking, name) for name in (lead, AREA)}
    low, high = ends[lead]
    rows = []
    for line in ranking.to_dict("records"):
        own = scores[scores["config_id"] == line["config_id"]]
        rows.append({
            "chip": chips[line["config_id"]],
            "lead": format_estimate(line, lead),
            "n": line[f"{lead}_n"],
            "planned": line["planned"],
            "unstable": _unstable(contrasts, line["config_id"]) if any_unstable else (),
            "others": [(format_estimate(line, name),
                        _seed_strip(line, own, name, ends[name]) if name in ends else None)
                       for name, _, _ in others],
            "contrast": _difference_from_best(contrasts, line["config_id"]) if finished else ("", ""),
            "rank": _rank(contrasts, line["config_id"]),
            "strip": _seed_strip(line, own, lead, ends[lead]),
        })  # fmt: skip
    random = sweep.random.mean if sweep.random else np.nan
    return {
        "finished": finished,
        "any_unstable": any_unstable,
        "rows": rows,
        "groups": _groups(rows, sweep),
        "cut": any(any(row["strip"]["cut"]) for row in rows),
        "others": others,
        "lead_title": _lead_title(own_words, finished),
        "random": strip_position(random, low, high) if low <= random <= high else None,
        "baseline": _baseline_position(sweep, lead, low, high),
        "range": (number(low, (high - low) / 5), number(high, (high - low) / 5)),
    }


def _groups(rows: Sequence[dict[str, Any]], sweep: SweepSummary) -> list[tuple[str, list[dict[str, Any]]]]:
    """(heading, rows) of the sweep's configurations and of the imported curves beside them."""
    own = {config.config_id for config in sweep.source.configs}
    groups = [("", [row for row in rows if row["chip"].config_id in own]),
              ("Imported curves, not ranked", [row for row in rows if row["chip"].config_id not in own])]  # fmt: skip
    return [group for group in groups if group[1]]


def _baseline_position(sweep: SweepSummary, lead: str, low: float, high: float) -> str | None:
    """Where the baseline's mean lies on a strip from `low` to `high`; None without one."""
    means = sweep.ranking.set_index("config_id")[f"{lead}_mean"]
    mean = means.get(sweep.source.baseline, np.nan)
    return strip_position(mean, low, high) if np.isfinite(mean) else None


def _with_imported(sweep: SweepSummary, lead: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(ranking, scores) of the sweep, then of the imported curves, the best mean first."""
    if sweep.imported is None:
        return sweep.ranking, sweep.scores
    imported = sweep.imported.ranking.sort_values(f"{lead}_mean", ascending=not words(sweep).up, kind="stable")
    ranking = pd.concat([sweep.ranking, imported], ignore_index=True)
    return ranking, pd.concat([sweep.scores, sweep.imported.scores], ignore_index=True)


def _other_scores(own: AgentWords, scores: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(score, heading, help) of the columns beside the leading one; those that the agent cannot have are left out."""
    columns = []
    if own.plans:
        columns.append(("final_policy", "policy without MPC", f"{own.final} of the policy without MPC"))
    if own.plans or scores["large_primary"].notna().any():
        how = ", with planning" if own.plans else ""
        columns.append(("large_primary", "large evaluation", f"the evaluation after the last step, many episodes{how}"))
    columns.append((AREA, "area under curve", f"mean height of the evaluation curve{own.planning}"))
    if "training_return" in own.catalogue.roles:
        columns.append(("training", "training", "training episodes of the last 10 %"))
    return columns


def _lead_title(own: AgentWords, finished: bool) -> str:
    """Heading of the column that ranks."""
    if finished:
        return sentence(own.outcomes[factor_effects.PRIMARY])
    return "So far, planning" if own.plans else "So far"


def _difference_from_best(contrasts: pd.DataFrame, config_id: str) -> tuple[str, str]:
    """(difference from the best configuration, its meaning)."""
    if config_id not in contrasts.index:
        return "", ""
    line = contrasts.loc[config_id]
    if config_id == contrasts.index[0]:
        return "", "best"
    if np.isnan(line["p"]):
        return number(-line["difference"]), "too few seeds"
    difference = estimate(-line["difference"], -line["high"], -line["low"])
    return difference, RELATIONS[line["relation"]]


def _unstable(contrasts: pd.DataFrame, config_id: str) -> tuple[str, str]:
    """(expected result of one run, unstable seeds as in "2 of 6")."""
    if config_id not in contrasts.index:
        return "-", "-"
    line = contrasts.loc[config_id]
    return number(line["expected"]), f"{line['unstable']} of {line['starts']}"


def _rank(contrasts: pd.DataFrame, config_id: str) -> str:
    """The rank of a configuration, a range where it is tied."""
    if config_id not in contrasts.index:
        return "-"
    first, last = contrasts.loc[config_id, ["first", "last"]]
    return f"{first}" if first == last else f"{first}–{last}"


def _seed_strip(line: Mapping[str, Any], own: pd.DataFrame, name: str, ends: tuple[float, float]) -> dict[str, Any]:
    """Positions of a configuration's seeds, mean and interval on a strip from `ends[0]` to `ends[1]`. own: its
    scores."""
    return {
        "dots": [strip_position(value, *ends) for value in own[name].dropna()],
        "mean": strip_position(line[f"{name}_mean"], *ends),
        "bar": [strip_position(line[f"{name}_{end}"], *ends) for end in ("low", "high")],
        "cut": (line[f"{name}_low"] < ends[0], line[f"{name}_high"] > ends[1]),
    }


def _strip_range(values: pd.Series, ranking: pd.DataFrame, name: str) -> tuple[float, float]:
    """The range of a strip: of all seeds, and of intervals up to a quarter of that range beyond it. values:
    of the score `name`."""
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    reach = (high - low) / 4
    low = max(np.nanmin([low, *ranking[f"{name}_low"]]), low - reach)
    high = min(np.nanmax([high, *ranking[f"{name}_high"]]), high + reach)
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin
