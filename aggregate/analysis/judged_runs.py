"""The results of each run: curves on common steps, scores, findings of the detectors. A run's rows are not kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pyarrow as pa

from aggregate import flags
from aggregate.analysis import factor_effects, judged_cache
from aggregate.analysis.judged_cache import JudgedRun, Judging, Lines, Pair
from aggregate.analysis.run_scores import LAST_POINTS, run_scores
from aggregate.inputs.parallel import mapping
from aggregate.inputs.progress import tracked
from aggregate.inputs.runs import ConfigSource, Loaded, RunSource
from aggregate.statistics import step_bins
from sweepwise.core.agent import AgentDescription
from sweepwise.core.metrics import KINDS, Catalogue

BINNED = ("train", "episode")
NO_REFERENCE = flags.SweepReference()
FLAG_COLUMN = flags.COLUMNS.index("flag")
RequestedRuns = Sequence[tuple[ConfigSource, RunSource]]


def judge_runs(
    requested: RequestedRuns, agent: AgentDescription, loaded: Loaded, total: int, baseline: str = "", *,
    compare: bool = True,
) -> dict[tuple[str, int], JudgedRun]:  # fmt: skip
    """Results of every requested run, by (config_id, seed). baseline: config_id, "" for none. compare: whether the
    findings of `flags.COMPARING` are wanted too, which read every run once more."""
    pairs = [(config, loaded.runs[run.config_id, run.seed]) for config, run in requested]
    bins = {kind: step_bins.bin_count(known, total) for kind in BINNED
            if (known := [rows.spacing[kind] for _, rows in pairs if kind in rows.spacing])}  # fmt: skip
    judging = Judging.of(agent, bins, total)
    keys = judged_cache.keys(pairs, judging)
    runs = judged_cache.single(pairs, keys, functools.partial(_over, functools.partial(_results, judging=judging)))
    if not compare:
        return {(source.config_id, source.seed): run for (_, source), run in zip(requested, runs, strict=True)}
    own = [run.levels for (config, _), run in zip(pairs, runs, strict=True) if config.config_id == baseline]
    reference = flags.sweep_reference((run.levels for run in runs), own, agent.catalogue.sign)
    lines_of = functools.partial(_compared_lines, judging=judging, reference=reference)
    compared = judged_cache.compared(pairs, keys, reference, functools.partial(_over, lines_of))
    return {
        (source.config_id, source.seed): replace(run, findings=_in_order(run.findings, lines))
        for (_, source), run, lines in zip(requested, runs, compared, strict=True)
    }


Result = TypeVar("Result")


def _over(judge: Callable[[Pair], Result], pairs: Sequence[Pair]) -> list[Result]:
    with mapping(len(pairs)) as over:
        return list(tracked(over(judge, pairs), len(pairs), "judging runs"))


def _compared_lines(pair: Pair, judging: Judging, reference: flags.SweepReference) -> Lines:
    """The findings of the detectors that compare a run with its sweep."""
    run = pair[1].source
    return flags.judge_run(run.config_id, run.seed, _view(pair, judging.agent, reference), flags.COMPARING)


def _view(pair: Pair, agent: AgentDescription, reference: flags.SweepReference = NO_REFERENCE) -> flags.RunView:
    config, rows = pair
    # a run may have been extended beyond the last step of this sweep: later rows are not part of it
    until = rows.columns(KINDS, config.total_steps)
    return flags.RunView(until, config.total_steps, rows.source.state, agent, config.config, reference)


def _in_order(single: Lines, compared: Lines) -> Lines:
    """The findings in the order of the detectors."""
    by_name = {line[FLAG_COLUMN]: line for line in (*single, *compared)}
    return [by_name[detector.name] for detector in flags.DETECTORS]


def _results(pair: Pair, judging: Judging) -> JudgedRun:
    view, run, agent, total = _view(pair, judging.agent), pair[1].source, judging.agent, judging.total
    return JudgedRun(
        curves={
            kind: _run_curves(kind, rows, judging.bins, total, agent.catalogue) for kind, rows in view.rows.items()
        },
        events=_first_steps(view.rows.get("event", {})),
        # published evaluations are far apart: an earlier one is not a final result
        scores=run_scores(view, fewest=1 if pair[0].imported else LAST_POINTS),
        findings=flags.judge_run(run.config_id, run.seed, view, flags.SINGLE),
        late=factor_effects.last_quarter(view.rows, total, agent.catalogue),
        evaluations=flags.late_evaluations(view),
        random=_random_episodes(run.seed, view),
        last_step=view.last_step,
        levels=flags.run_levels(view),
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
) -> pa.Table:
    metrics = [name for name in catalogue.curves.get(kind, ()) if name in rows and rows[name].dtype != object]
    if kind in bins:
        return pa.table(step_bins.binned(rows, total, bins[kind], metrics))
    return pa.table(step_bins.own_points(rows, metrics))


def _random_episodes(seed: int, view: flags.RunView) -> set[tuple[int, int, float]]:
    """(seed, step, result) of the training episodes that ended before the random actions did; none where no event
    marks their end."""
    end = _first_steps(view.rows.get("event", {})).get(view.agent.diagnostics.random_until, -1)
    returns = view.series("training_return")
    before = returns.steps <= end
    return {(seed, int(s), float(r)) for s, r in zip(returns.steps[before], returns.values[before], strict=True)}
