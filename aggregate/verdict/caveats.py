"""What a mean over the other factors hides: that it depends on one of them, that a configuration which collapses makes
it, or that the leader stands on the other side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aggregate import flags
from aggregate.analysis.factor_contrasts import TIMES, Axis, axes
from aggregate.analysis.factor_effects import Cells, effect
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.plan_questions import ENDPOINTS
from aggregate.verdict.leader import standing
from aggregate.verdict.number_format import signed


def caveats(line: Mapping[str, Any], sweep: SweepSummary, better: str = "") -> str:
    """What has to be said with the effect of a factor, "" for nothing. line: of `question_contrasts.replies`, the slope
    of the question's factor on a score. better: the level that was found to do better, "" for none."""
    main, _ = axes(sweep.source)
    own = next((axis for axis in main if (axis.factor, axis.low, axis.high) == (
        line["factor"], line["low"], line["high"])), None)  # fmt: skip
    if own is None or ENDPOINTS[line["endpoint"]].rate:
        return ""
    ids = [config.config_id for config in sweep.source.configs]
    cells = Cells.of(sweep.scores, ENDPOINTS[line["endpoint"]].column, ids)
    told = [
        *_collapsing(own, cells, ids, sweep),
        *_depends(own, main, cells, line, sweep),
        *_leader(own, better, sweep),
    ]
    return "".join(f"; {words}" for words in told)


def _depends(own: Axis, main: list[Axis], cells: Cells, line: Mapping[str, Any], sweep: SweepSummary) -> Iterator[str]:
    """The effect at each level of the factors that it depends on beyond chance."""
    pairs = sweep.effects.interactions
    pairs = pairs[(pairs["outcome"] == ENDPOINTS[line["endpoint"]].column) & pairs["distinct"].astype(bool)]
    others = {factor for pair in pairs["factor"] for factor in pair.split(TIMES) if own.factor in pair.split(TIMES)}
    told = []
    for factor in sorted(others - {own.factor}):
        places = {name: axis.at(name) for axis in main if axis.factor == factor for name in axis.names}
        effects = [(name, _within(own, cells, at)) for name, at in places.items()]
        told.append(f"{factor} ({', '.join(f'{signed(found)} at {name}' for name, found in effects if found)})")
    if told:
        yield f"it depends on {' and '.join(told)}"


def _collapsing(own: Axis, cells: Cells, ids: list[str], sweep: SweepSummary) -> Iterator[str]:
    """The effect without the configurations of which half of the seeds collapse, where there are others."""
    votes = sweep.votes[(sweep.votes["flag"] == flags.COLLAPSE) & (sweep.votes["state"] == flags.FLAG)]
    sound = ~np.isin(ids, votes["config_id"])
    found = _within(own, cells, sound) if not sound.all() else None
    if found:
        named = "; ".join(sweep.config(config_id).name for config_id in votes["config_id"])
        yield f"without what collapses ({named}) {signed(found)}"


def _leader(own: Axis, better: str, sweep: SweepSummary) -> Iterator[str]:
    """That the leader has another level than the better one."""
    leader = standing(sweep).leader.config_id
    place = next(i for i, config in enumerate(sweep.source.configs) if config.config_id == leader)
    has = next((name for name in own.names if own.at(name)[place]), better)
    if better and has != better:
        yield f"yet the configuration that leads has {own.factor} {has}"


def _within(own: Axis, cells: Cells, among: np.ndarray) -> dict[str, Any] | None:
    """The effect of the factor `among` (configurations,) alone; None where these cannot tell."""
    weights = own.weights(among & (cells.counts > 1))
    return effect(own, weights, cells, 1) if weights.any() else None
