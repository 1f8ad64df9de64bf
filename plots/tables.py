"""The tables of the report, ready for the template: numbers as text, configurations as chips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.analysis import factor_effects
from aggregate.analysis.configuration_comparison import TRADE_OFF
from aggregate.analysis.summary import SweepSummary
from aggregate.flags import hypotheses
from aggregate.inputs.runs import STOPPED
from aggregate.statistics import estimates
from aggregate.verdict.evaluation_noise import ALONE
from aggregate.verdict.not_assessed import not_assessed
from aggregate.verdict.number_format import estimate, number, signed, signed_estimate
from aggregate.verdict.words import words
from plots.theme import LineStyle

EXCLUDED = "excluded"  # shown in the place of the state of a run that a user left out
STATE_SIGNS = {"done": "✓", "running": "▸", "pending": "…", "new": "…", "failed": "✕", "diverged": "✕",
               "stalled": "!", "interrupted": "!", "stuck": "!", "lost": "…", "stopped": "■",
               EXCLUDED: "–"}  # fmt: skip


@dataclass(frozen=True)
class Chip:
    """How the page names a configuration: letter, line sample, label.

    index: its place in the sweep. mixed: differences in provenance between its seeds, "" for none. imported: name of
    the import that its curves come from, "" for runs of this project. drawn: whether it is in the figures.
    """

    index: int
    config_id: str
    letter: str
    label: str
    line_style: LineStyle
    is_baseline: bool
    mixed: str
    imported: str
    drawn: bool


def format_estimate(line: Mapping[str, Any] | pd.Series, name: str) -> str:
    """The score `name` of a line of the ranking, with its interval."""
    return estimate(line[f"{name}_mean"], line[f"{name}_low"], line[f"{name}_high"])


def contrast_table(sweep: SweepSummary, chips: dict[str, Chip]) -> list[dict[str, Any]]:
    """Each configuration: its difference from the baseline, where there is one (`cells`, `strip`), and its results with
    and without collapsed runs; then the differences of imported curves."""
    if all(config.imported for config in sweep.source.configs):
        return []  # no baseline, and unknown how they ended
    against = {line["config_id"]: line for line in sweep.baseline.to_dict("records")}
    votes = sweep.votes[sweep.votes["flag"] == flags.COLLAPSE].set_index("config_id")
    rows: list[dict[str, Any]] = []
    for line in sweep.ranking[sweep.ranking["start_primary_n"] > 0].to_dict("records"):
        chip, contrast = chips[line["config_id"]], against.get(line["config_id"])
        rows.append({
            "chip": chip,
            "observed": format_estimate(line, "final_primary"),
            "healthy": format_estimate(line, "healthy_primary"),
            "expected": number(line["start_primary_mean"]),
            "fall": format_estimate(line, "fall_primary"),
            "collapsed": _format_share(votes.at[chip.config_id, "raised"], votes.at[chip.config_id, "assessable"]),
            "cells": _contrast_cells(contrast) if contrast else [],
            "strip": None,
        })  # fmt: skip
    rows += _imported_contrasts(sweep, chips)
    against |= (
        {line["config_id"]: line for line in sweep.imported.baseline.to_dict("records")} if sweep.imported else {}
    )
    contrasted = [row for row in rows if row["chip"].config_id in against]
    lines = [against[row["chip"].config_id] for row in contrasted]
    strips = forest_strips([(line["difference"], line["low"], line["high"]) for line in lines])
    for row, strip in zip(contrasted, strips, strict=True):
        row["strip"] = strip
    return rows


def _imported_contrasts(sweep: SweepSummary, chips: dict[str, Chip]) -> list[dict[str, Any]]:
    if sweep.imported is None:
        return []
    return [
        {"chip": chips[line["config_id"]], "cells": _contrast_cells(line), "strip": None}
        for line in sweep.imported.baseline.to_dict("records")
    ]


def _format_share(raised: int, judged: int) -> str:
    """2 of 6 [10 %, 70 %]; that nothing could be judged."""
    if not judged:
        return "not assessed"
    low, high = estimates.share_interval(raised, judged)
    return f"{raised} of {judged} [{100 * low:.0f} %, {100 * high:.0f} %]"


def mark(line: Mapping[str, Any]) -> str:
    """What follows a difference: a star where it is significant, and where the better mean comes with more unstable
    seeds that it is a trade-off."""
    if line.get("relation") == TRADE_OFF:
        return f" ({TRADE_OFF})"
    return " *" if line["distinct"] else ""


def _contrast_cells(line: dict[str, Any]) -> list[str]:
    difference = signed_estimate(line["difference"], line["low"], line["high"])
    return [f"{difference}{mark(line)}", _format_p(line["p"]), _format_p(line["permutation"]),
            number(line["better"]), number(line["detectable"]), _format_seeds_needed(line["needed"])]  # fmt: skip


def _format_p(p: float) -> str:
    if not np.isfinite(p):
        return "-"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _format_seeds_needed(seeds: float) -> str:
    if np.isnan(seeds):
        return "-"
    return f"{seeds:.0f}" if np.isfinite(seeds) else f"> {estimates.MOST_SEEDS}"


def effect_tables(sweep: SweepSummary) -> dict[str, Any]:
    effects, outcomes = sweep.effects, words(sweep).outcomes
    significant = effects.diagnostics[effects.diagnostics["distinct"].astype(bool)].to_dict("records")
    titles = {d.name: d.title for d in flags.DETECTORS}
    odds = [{**line, "title": titles[line["flag"]], "odds": estimate(line["odds"], line["ci_low"], line["ci_high"]),
             "p": _format_p(line["p"])} for line in effects.odds.to_dict("records")]  # fmt: skip
    return {
        "titles": tuple(outcomes.values()),
        "main": _effect_rows(effects.returns, tuple(outcomes)),
        "interactions": _effect_rows(effects.interactions, tuple(outcomes)),
        "tested": len(effects.diagnostics),
        "diagnostics": [{**line, "shown": signed(line), "p": _format_p(line["p"])} for line in significant],
        "odds": odds,
    }


def _effect_rows(table: pd.DataFrame, outcomes: Sequence[str]) -> list[dict[str, Any]]:
    """One row per contrast of a factor, its cells in the order of `outcomes`: (estimate, p)."""
    rows = []
    for (factor, low, high), lines in table.groupby(["factor", "low", "high"], sort=False):
        of = {line["outcome"]: line for line in lines.to_dict("records")}
        cells = [(f"{signed(of[name])}{mark(of[name])}", _format_p(of[name]["p"])) if name in of
                 else ("-", "-") for name in outcomes]  # fmt: skip
        first = lines.iloc[0]
        rows.append({"factor": factor, "low": low, "high": high, "cells": cells, "runs": first["runs"],
                     "detectable": number(first["detectable"]), "needed": _format_seeds_needed(first["needed"]),
                     "primary": tuple(of[factor_effects.PRIMARY][key] if factor_effects.PRIMARY in of else np.nan
                                      for key in ("estimate", "ci_low", "ci_high"))})  # fmt: skip
    for row, strip in zip(rows, forest_strips([row["primary"] for row in rows]), strict=True):
        row["strip"] = strip
    return rows


def forest_strips(differences: Sequence[tuple[float, float, float]]) -> list[dict[str, Any]]:
    """Differences as (estimate, low, high) -> positions on strips with one common scale that includes zero."""
    ends = [value for line in differences for value in line if np.isfinite(value)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.04 * (high - low) or 1.0
    low, high = low - margin, high + margin
    return [
        {"zero": strip_position(0.0, low, high), "mean": strip_position(mean, low, high),
         "bar": [strip_position(end, low, high) for end in interval]}
        for mean, *interval in differences
    ]  # fmt: skip


def strip_position(value: float, low: float, high: float) -> str | None:
    """Position on a strip from `low` to `high`, clipped to it."""
    if not np.isfinite(value):
        return None
    return f"{100 * min(max((value - low) / (high - low), 0.0), 1.0):.1f}%"


def run_states(sweep: SweepSummary, chips: Sequence[Chip]) -> dict[str, Any]:
    """The table of runs: `rows` of (configuration, a cell for each of `seeds`), `counts` by state; the configurations
    that `sweeps prune` stopped, the excluded runs, and what users noted on runs."""
    known = pd.concat(
        [sweep.runs, sweep.excluded.runs.assign(state=EXCLUDED)] if len(sweep.excluded.runs) else [sweep.runs]
    )
    seeds = sorted(known["seed"].unique().tolist())
    runs = {(r["config_id"], r["seed"]): r for r in known.to_dict("records")}
    rows = []
    for chip in chips:
        cells = []
        for seed in seeds:
            run = runs.get((chip.config_id, seed))
            cells.append(run and {
                "seed": seed,
                "state": run["state"],
                "sign": STATE_SIGNS.get(run["state"], "?"),
                "share": f"{100 * run['step'] / run['total']:.0f} %",
                "step": f"{run['step']:,} of {run['total']:,}",
                "attempts": run["attempts"],
                "quarantined": run["quarantined"],
            })  # fmt: skip
        rows.append((chip, cells))
    counts = known["state"].value_counts().sort_index()
    return {"seeds": seeds, "rows": rows, "counts": [(int(n), str(state)) for state, n in counts.items()],
            "stopped": _stopped_configurations(sweep, chips), "excluded": _excluded_runs(sweep, chips),
            "notes": [(chip, seed, noted) for chip in chips if not chip.imported
                      for seed, noted in sorted(sweep.config(chip.config_id).notes.items()) if any(noted)]}  # fmt: skip


def _excluded_runs(sweep: SweepSummary, chips: Sequence[Chip]) -> list[tuple[Chip, int, str, str, str]]:
    """(configuration, seed, state, final result or "", reason) of the runs that a user left out."""
    by_id = {chip.config_id: chip for chip in chips}
    return [
        (by_id[run["config_id"]], run["seed"], run["state"],
         number(run["final_primary"]) if np.isfinite(run["final_primary"]) else "", run["reason"])
        for run in sweep.excluded.runs.to_dict("records")
    ]  # fmt: skip


def _stopped_configurations(sweep: SweepSummary, chips: Sequence[Chip]) -> list[tuple[Chip, int, str]]:
    """(configuration, number of stopped seeds, reason) of configurations that `sweeps prune` stopped."""
    stopped = [[run.reason for run in config.runs if run.state == STOPPED] for config in sweep.source.configs]
    return [(chip, len(reasons), reasons[0]) for chip, reasons in zip(chips, stopped, strict=True) if reasons]


def flag_tables(sweep: SweepSummary, chips: Sequence[Chip]) -> dict[str, Any]:
    """The votes of every configuration on flags that any run raises (`raised`); titles of flags that no run raises
    (`quiet`), of those that could be judged in no run (`unknown`), and of those for which the agent has no metric
    (`missing`, by the role that is missing); what flags cannot find in runs of this length and noise (`not_found`)."""
    missing = not_assessed(sweep)
    without = {detector.name for own in missing.values() for detector in own}
    votes = {(v["config_id"], v["flag"]): v for v in sweep.votes.to_dict("records")}
    counts = sweep.votes.groupby("flag")[["raised", "assessable"]].sum()
    known = [d for d in flags.detectors_of(sweep.source.agent) if d.name in counts.index and d.name not in without]
    raised = [d for d in known if counts.at[d.name, "raised"]]
    judged = [d for d in known if counts.at[d.name, "assessable"]]
    voted = {config_id for config_id, _ in votes}
    limits = flags.not_found(sweep.findings)
    rows = [(chip, [(d, votes[chip.config_id, d.name]) for d in raised]) for chip in chips if chip.config_id in voted]
    return {
        "raised": raised,
        "rows": rows,
        "quiet": [d.title for d in judged if d not in raised],
        "unknown": [d.title for d in known if d not in judged],
        "missing": [(role, [d.title for d in own]) for role, own in missing.items()],
        "not_found": [(d.title, limits[d.name]) for d in judged if d.name in limits],
        "causes": _causes(sweep, chips),
        "variance": _variance(sweep),
    }


def _causes(sweep: SweepSummary, chips: Sequence[Chip]) -> list[tuple[Chip, list[tuple[str, str, str]]]]:
    """Per configuration with any sign, (question, evidence, recommended change), best supported first."""
    by_chip = []
    for chip in chips:
        config = sweep.config(chip.config_id).config
        lines = []
        for hypothesis in hypotheses.of_configuration(
            chip.config_id, sweep.findings, sweep.votes, sweep.events, sweep.total_steps,
            sweep.source.agent.diagnostics.causes,
        ):  # fmt: skip
            now = ", ".join(
                f"{key} is {format_plan_value(config[key])}" for key in hypothesis.cause.keys if key in config
            )
            knob = f"{hypothesis.cause.knob} ({now})" if now else hypothesis.cause.knob
            lines.append((hypothesis.cause.as_question, hypotheses.format_hypothesis(hypothesis), knob))
        if lines:
            by_chip.append((chip, lines))
    return by_chip


def _variance(sweep: SweepSummary) -> dict[str, list[str]]:
    """config_id -> standard deviations of evaluation; for agents that plan, then those of the policy without MPC."""
    texts: dict[str, list[str]] = {}
    modes = sweep.variance if words(sweep).plans else sweep.variance[sweep.variance["mode"] != ALONE]
    for line in modes.to_dict("records"):
        texts.setdefault(line["config_id"], []).extend(number(line[part]) for part in ("episodes", "time", "seeds"))
    return texts


def hyperparameter_tables(sweep: SweepSummary, chips: Sequence[Chip]) -> dict[str, Any]:
    """Hyperparameters: those equal in all configurations (`same`), and the values of the others (`rows`)."""
    configs = [c.config for c in sweep.source.configs]
    names = sorted(set().union(*configs)) if configs else []
    shown = {name: [format_plan_value(c[name]) if name in c else "-" for c in configs] for name in names}
    differ = [name for name, values in shown.items() if len(set(values)) > 1]
    return {
        "same": [(name, values[0]) for name, values in shown.items() if name not in differ],
        "differ": differ,
        "rows": [(chip, [shown[name][chip.index] for name in differ]) for chip in chips],
    }


def format_plan_value(value: Any) -> str:
    """A value of a configuration with all its digits, as a plan takes it (YAML reads JSON)."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
