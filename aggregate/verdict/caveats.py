"""Limits of an answer: an interaction, an effect that comes from collapsed configurations, a baseline that collapses, a
best configuration that has the other level, a hyperparameter that also changes something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from aggregate import flags
from aggregate.analysis.factor_contrasts import TIMES, Axis, axes
from aggregate.analysis.factor_effects import Cells, effect
from aggregate.analysis.question_contrasts import question_axes
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.plan_questions import Question, endpoint
from aggregate.verdict.leader import leaderboard
from aggregate.verdict.number_format import signed
from aggregate.verdict.stability import count_unstable


class Caveats(NamedTuple):
    """text: all of them, "" for none. averages: whether the effect is a mean over configurations that differ in it."""

    text: str
    averages: bool


def caveats(question: Question, line: Mapping[str, Any], sweep: SweepSummary, better: str = "") -> Caveats:
    """The caveats of an answer. line: of `question_contrasts.contrasts_by_question`, the slope of a factor on a score.
    better: the level that does significantly better, "" for none."""
    own = next((axis for axis in question_axes(question, sweep.source) if line["axis"] == (
        f"{axis.factor}: {axis.low}, {axis.high}")), None)  # fmt: skip
    measured = endpoint(line["endpoint"], sweep.source.agent.catalogue)
    of_average: list[str] = []
    others = [*_also_changes(question, sweep)]
    if own is not None and not measured.rate and not question.beside:  # `sweep` has no scores of other sweeps
        ids = [config.config_id for config in sweep.source.all_configs]
        cells = Cells.of(sweep.scores, measured.column, ids)
        of_average = [*_without_collapsed(own, cells, ids, sweep), *_interactions(own, cells, measured.column, sweep)]
        masked = _masked(own, cells, ids, sweep) if measured.of_primary else ()
        others = [*masked, *_leader_elsewhere(own, ids, better, sweep), *others]
    return Caveats("".join(f"; {text}" for text in (*of_average, *others)), bool(of_average))


def confounded(sweep: SweepSummary) -> dict[str, tuple[str, str]]:
    """Swept hyperparameter -> (what it also changes, the switch that makes it so or "")."""
    by_factor = {}
    for known in sweep.source.agent.diagnostics.confounded:
        own = [c.config for c in sweep.source.configs if not known.switch or c.config.get(known.switch)]
        values = [config[known.key] for config in own if known.key in config]
        levels = {len(value) if isinstance(value, (list, tuple)) else value for value in values}
        if known.key in sweep.source.factors and len(levels) > 1:
            by_factor[known.key] = (known.note, known.switch)
    return by_factor


def _also_changes(question: Question, sweep: SweepSummary) -> Iterator[str]:
    for key, (note, _) in confounded(sweep).items():
        if key in question.keys:
            yield f"{note}: this is the effect of both"


def _interactions(own: Axis, cells: Cells, outcome: str, sweep: SweepSummary) -> Iterator[str]:
    """The effect at each level of the factors that interact with it significantly, among the configurations that the
    question compares."""
    main, known = axes(sweep.source)[0], len(sweep.source.configs)
    pairs = sweep.effects.interactions
    pairs = pairs[(pairs["outcome"] == outcome) & pairs["distinct"].astype(bool)]
    others = {factor for pair in pairs["factor"] for factor in pair.split(TIMES) if own.factor in pair.split(TIMES)}
    parts = []
    for factor in sorted(others - {own.factor}):
        levels = {
            name: np.pad(axis.at(name), (0, cells.counts.size - known))
            for axis in main if axis.factor == factor for name in axis.names
        }  # fmt: skip
        effects = [(name, line) for name, at in levels.items() if (line := _effect_among(own, cells, at))]
        if len(effects) > 1:  # else what the question holds equal ties its factor to this one
            parts.append(f"{factor} ({', '.join(f'{signed(line)} at {name}' for name, line in effects)})")
    if parts:
        yield f"it depends on {' and '.join(parts)}"


def _collapsed(own: Axis, cells: Cells, ids: list[str], sweep: SweepSummary) -> list[str]:
    """The compared configurations that collapse in at least half of their seeds."""
    votes = sweep.votes[(sweep.votes["flag"] == flags.COLLAPSE) & (sweep.votes["state"] == flags.FLAG)]
    compared = np.isfinite(own.position) & (cells.counts > 1)
    return [
        name for name, is_compared in zip(ids, compared, strict=True) if is_compared and name in set(votes["config_id"])
    ]


def _without_collapsed(own: Axis, cells: Cells, ids: list[str], sweep: SweepSummary) -> Iterator[str]:
    """The effect excluding collapsed configurations, over the levels that are left, if any two are."""
    among = _collapsed(own, cells, ids, sweep)
    effect_of_sound = _effect_among(own, cells, ~np.isin(ids, among)) if among else None
    if effect_of_sound:
        span = (effect_of_sound["low"], effect_of_sound["high"])
        over = f" from {span[0]} to {span[1]}" if span != (own.low, own.high) else ""
        named = "; ".join(sweep.config(config_id).name for config_id in among)
        yield f"excluding collapsed configurations ({named}) {signed(effect_of_sound)}{over}"


def _masked(own: Axis, cells: Cells, ids: list[str], sweep: SweepSummary) -> Iterator[str]:
    """That the baseline collapses, where all that is compared with it may only differ by that."""
    baseline = sweep.source.baseline
    if baseline in _collapsed(own, cells, ids, sweep):
        yield f"the baseline collapses ({count_unstable(sweep, baseline)}), so this may only reflect its collapse"


def _leader_elsewhere(own: Axis, ids: list[str], better: str, sweep: SweepSummary) -> Iterator[str]:
    """A note where the best configuration does not have the level that does better on average."""
    place = ids.index(leaderboard(sweep).leader.config_id)
    level = next((name for name in own.names if own.at(name)[place]), better)
    if better and level != better:
        yield f"but the best configuration has {own.factor} {level}"


def _effect_among(own: Axis, cells: Cells, among: np.ndarray) -> dict[str, Any] | None:
    """The effect of the factor `among` (configurations,) alone; None where these have no contrast."""
    weights = own.weights(among & (cells.counts > 1))
    return effect(own, weights, cells, 1) if weights.any() else None
