"""Limits of a main effect, which averages over the other factors: an interaction, an effect that comes from collapsed
configurations, a best configuration that has the other level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aggregate import flags
from aggregate.analysis.factor_contrasts import TIMES, Axis, axes
from aggregate.analysis.factor_effects import Cells, effect
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.plan_questions import endpoint
from aggregate.verdict.leader import leaderboard
from aggregate.verdict.number_format import signed


def caveats(line: Mapping[str, Any], sweep: SweepSummary, better: str = "") -> str:
    """The caveats of a factor's effect as one text, "" for none. line: of
    `question_contrasts.contrasts_by_question`, the slope of the question's factor on a score. better: the level that
    does significantly better, "" for none."""
    main, _ = axes(sweep.source)
    own = next((axis for axis in main if (axis.factor, axis.low, axis.high) == (
        line["factor"], line["low"], line["high"])), None)  # fmt: skip
    measured = endpoint(line["endpoint"], sweep.source.agent.catalogue)
    if own is None or measured.rate:
        return ""
    ids = [config.config_id for config in sweep.source.configs]
    cells = Cells.of(sweep.scores, measured.column, ids)
    texts = [
        *_without_collapsed(own, cells, ids, sweep),
        *_interactions(own, main, cells, measured.column, sweep),
        *_leader_elsewhere(own, better, sweep),
    ]
    return "".join(f"; {text}" for text in texts)


def _interactions(own: Axis, main: list[Axis], cells: Cells, outcome: str, sweep: SweepSummary) -> Iterator[str]:
    """The effect at each level of the factors that interact with it significantly."""
    pairs = sweep.effects.interactions
    pairs = pairs[(pairs["outcome"] == outcome) & pairs["distinct"].astype(bool)]
    others = {factor for pair in pairs["factor"] for factor in pair.split(TIMES) if own.factor in pair.split(TIMES)}
    parts = []
    for factor in sorted(others - {own.factor}):
        levels = {name: axis.at(name) for axis in main if axis.factor == factor for name in axis.names}
        effects = [(name, _effect_among(own, cells, at)) for name, at in levels.items()]
        parts.append(f"{factor} ({', '.join(f'{signed(line)} at {name}' for name, line in effects if line)})")
    if parts:
        yield f"it depends on {' and '.join(parts)}"


def _without_collapsed(own: Axis, cells: Cells, ids: list[str], sweep: SweepSummary) -> Iterator[str]:
    """The effect excluding collapsed configurations (flagged in at least half of their seeds), if any are left."""
    votes = sweep.votes[(sweep.votes["flag"] == flags.COLLAPSE) & (sweep.votes["state"] == flags.FLAG)]
    sound = ~np.isin(ids, votes["config_id"])
    effect_of_sound = _effect_among(own, cells, sound) if not sound.all() else None
    if effect_of_sound:
        named = "; ".join(sweep.config(config_id).name for config_id in votes["config_id"])
        yield f"without what collapses ({named}) {signed(effect_of_sound)}"


def _leader_elsewhere(own: Axis, better: str, sweep: SweepSummary) -> Iterator[str]:
    """A note where the best configuration does not have the level that does better on average."""
    best = leaderboard(sweep).leader.config_id
    place = next(i for i, config in enumerate(sweep.source.configs) if config.config_id == best)
    level = next((name for name in own.names if own.at(name)[place]), better)
    if better and level != better:
        yield f"yet the configuration that leads has {own.factor} {level}"


def _effect_among(own: Axis, cells: Cells, among: np.ndarray) -> dict[str, Any] | None:
    """The effect of the factor `among` (configurations,) alone; None where these have no contrast."""
    weights = own.weights(among & (cells.counts > 1))
    return effect(own, weights, cells, 1) if weights.any() else None
