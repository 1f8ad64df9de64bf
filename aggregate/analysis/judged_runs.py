"""The results of each run: curves on common steps, scores, findings of the detectors. A run's rows are not kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aggregate import flags
from aggregate.analysis import factor_effects
from aggregate.analysis.run_scores import LAST_POINTS, run_scores
from aggregate.inputs.parallel import mapping
from aggregate.inputs.progress import tracked
from aggregate.inputs.runs import ConfigSource, Loaded, RunRows, RunSource
from aggregate.statistics import step_bins
from sweepwise.core.agent import AgentDescription
from sweepwise.core.metrics import KINDS, Catalogue, Metric

BINNED = ("train", "episode")
_COMPARED = ("primary", "policy_loss")  # roles of the metrics that are compared over the runs of a sweep
RequestedRuns = Sequence[tuple[ConfigSource, RunSource]]


@dataclass(frozen=True)
class JudgedRun:
    """Results of one run. Its rows are not kept.

    curves: by kind, step and metrics. events: event -> first step. scores: `run_scores`. findings: `flags.judge_run`.
    late: `factor_effects.last_quarter`. evaluations: `flags.late_evaluations`. random: seed, step and return of the
    episodes before training.
    """

    curves: dict[str, pd.DataFrame]
    events: dict[str, int]
    scores: dict[str, float | bool]
    findings: list[tuple[Any, ...]]
    late: dict[str, float]
    evaluations: flags.Evaluations
    random: set[tuple[int, int, float]]
    last_step: int


def judge_runs(
    requested: RequestedRuns, agent: AgentDescription, loaded: Loaded, total: int, baseline: str = ""
) -> dict[tuple[str, int], JudgedRun]:
    """Results of every requested run, by (config_id, seed). baseline: config_id, "" for none."""
    pairs = [(config, loaded.runs[run.config_id, run.seed]) for config, run in requested]
    bins = {kind: step_bins.bin_count(known, total) for kind in BINNED
            if (known := [rows.spacing[kind] for _, rows in pairs if kind in rows.spacing])}  # fmt: skip
    own = [pair for pair in pairs if pair[0].config_id == baseline]
    with mapping(len(pairs), waits=False) as over:
        tested, losses = (functools.partial(_series, metric=agent.catalogue.roles.get(role)) for role in _COMPARED)
        reference = flags.sweep_reference(over(tested, pairs), over(losses, own), agent.catalogue.sign)
        judge = functools.partial(_judge_run, agent=agent, reference=reference, bins=bins, total=total)
        results = tracked(over(judge, pairs), len(pairs), "judging runs")
        return {(run.config_id, run.seed): result for (_, run), result in zip(requested, results, strict=True)}


Pair = tuple[ConfigSource, RunRows]


def _series(pair: Pair, metric: Metric | None) -> flags.Series:
    config, rows = pair
    return flags.series_of(rows.columns((metric.kind,), config.total_steps) if metric else {}, metric)


def _judge_run(
    pair: Pair, agent: AgentDescription, reference: flags.SweepReference, bins: Mapping[str, int], total: int
) -> JudgedRun:
    config, run = pair[0], pair[1].source
    # a run may have been extended beyond the last step of this sweep: later rows are not part of it
    rows = pair[1].columns(KINDS, config.total_steps)
    view = flags.RunView(rows, config.total_steps, run.state, agent, config.config, reference)
    return JudgedRun(
        curves={kind: _run_curves(kind, rows, bins, total, agent.catalogue) for kind, rows in view.rows.items()},
        events=_first_steps(view.rows.get("event", {})),
        # published evaluations are far apart: an earlier one is not a final result
        scores=run_scores(view, fewest=1 if config.imported else LAST_POINTS),
        findings=flags.judge_run(run.config_id, run.seed, view),
        late=factor_effects.last_quarter(view.rows, total, agent.catalogue),
        evaluations=flags.late_evaluations(view),
        random=_random_episodes(run.seed, view),
        last_step=view.last_step,
    )


def _first_steps(rows: Mapping[str, Any]) -> dict[str, int]:
    """Event -> its first step. rows: of kind event."""
    first: dict[str, int] = {}
    for event, step in zip(rows.get("event", ()), rows.get("step", ()), strict=True):
        if event is not None:
            first.setdefault(event, int(step))
    return first


def _run_curves(
    kind: str, rows: Mapping[str, Any], bins: Mapping[str, int], total: int, catalogue: Catalogue
) -> pd.DataFrame:
    metrics = [name for name, metric in catalogue.metrics.items()
               if metric.kind == kind and not metric.is_list and metric.unit != "bool" and name in rows
               and rows[name].dtype != object]  # fmt: skip
    return step_bins.binned(rows, total, bins[kind], metrics) if kind in bins else step_bins.own_points(rows, metrics)


def _random_episodes(seed: int, view: flags.RunView) -> set[tuple[int, int, float]]:
    """(seed, step, result) of the training episodes that ended before the random actions did; none where no event
    marks their end."""
    end = _first_steps(view.rows.get("event", {})).get(view.agent.diagnostics.random_until, -1)
    returns = view.series("training_return")
    before = returns.steps <= end
    return {(seed, int(s), float(r)) for s, r in zip(returns.steps[before], returns.values[before], strict=True)}
