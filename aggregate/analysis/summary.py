"""The content of the report as frames: one `SweepSummary` per sweep. Runs are read one by one."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.analysis import baseline_contrasts, factor_effects, question_contrasts
from aggregate.analysis.equal_evaluations import with_evaluations
from aggregate.analysis.run_scores import CRASHED, FAILURE_SCORES, LAST_POINTS, SCORES, run_scores, split_by_failure
from aggregate.analysis.worst_case_curves import worst_curves
from aggregate.inputs.parallel import keep_processes, mapping
from aggregate.inputs.progress import tracked
from aggregate.inputs.runs import ConfigSource, Loaded, RunRows, RunSource, SweepSource, load
from aggregate.statistics import estimates, step_bins
from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import AggregateError
from sweepwise.core.metrics import KINDS, Catalogue, Metric

__all__ = ["AggregateError", "RandomReference", "Summary", "SweepSummary", "summarise"]

BINNED = ("train", "episode")
_COMPARED = ("primary", "policy_loss")  # roles of the metrics that are compared over the runs of a sweep


@dataclass(frozen=True)
class RandomReference:
    """Results of the `n` distinct episodes of random actions before training, over all runs. best: the smallest where
    lower is better."""

    mean: float
    sd: float
    best: float
    n: int


@dataclass(frozen=True)
class Imported:
    """Imported curves of a sweep, up to its last step; frames as in `SweepSummary`."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    seeds: dict[str, pd.DataFrame]
    scores: pd.DataFrame
    ranking: pd.DataFrame
    baseline: pd.DataFrame


@dataclass(frozen=True)
class SweepSummary:
    """One sweep.

    runs: config_id, seed, state, step, total, attempts, quarantined; one line per requested run.
    curves: config_id, kind, metric, step, mean, sd, low, high, n over seeds. worst_curves: the return curves of
    configurations with crashed runs, a crash counted as the worst. seeds: wide curves per seed, by kind.
    events: config_id, event, step. scores: one line per run (`SCORES`, `FAILURE_SCORES`, `final_points`,
    `equal_evaluations.COLUMN`).
    ranking: one line per configuration, best first. contrasts: each configuration against the best one
    (`estimates.AgainstBest`). baseline: each against the baseline (`estimates.AgainstBaseline`), empty without one.
    secondary, diagnostics: the same on secondary endpoints and on diagnostics (`baseline_contrasts`).
    effects: of the factors. question_contrasts: of the plan's questions (`contrasts_by_question`).
    findings, votes, variance: `flags.judge`, `flags.vote`, `flags.variance_split`. total_steps: of the whole sweep.
    origins: see `runs.Loaded`. imported: imported curves, which enter none of the other fields; None without them.
    """

    source: SweepSource
    runs: pd.DataFrame
    curves: pd.DataFrame
    worst_curves: pd.DataFrame
    seeds: dict[str, pd.DataFrame]
    events: pd.DataFrame
    scores: pd.DataFrame
    ranking: pd.DataFrame
    contrasts: pd.DataFrame
    baseline: pd.DataFrame
    secondary: pd.DataFrame
    diagnostics: pd.DataFrame
    effects: factor_effects.Effects
    question_contrasts: pd.DataFrame
    findings: pd.DataFrame
    votes: pd.DataFrame
    variance: pd.DataFrame
    random: RandomReference | None
    total_steps: int
    origins: pd.DataFrame
    imported: Imported | None = None

    def config(self, config_id: str) -> ConfigSource:
        return next(config for config in self.source.configs if config.config_id == config_id)


@dataclass(frozen=True)
class Summary:
    """Summaries of all requested sweeps, and the runs they were computed from."""

    sweeps: tuple[SweepSummary, ...]
    loaded: Loaded


@dataclass(frozen=True)
class _RunResults:
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


def summarise(sweeps: Sequence[SweepSource]) -> Summary:
    """Read, bin and judge all runs. Raises `AggregateError` where there is nothing to aggregate."""
    with keep_processes():
        loaded = load(sweeps)
        return Summary(tuple(_summarise_sweep(sweep, loaded) for sweep in sweeps), loaded)


RequestedRuns = Sequence[tuple[ConfigSource, RunSource]]


def _summarise_sweep(sweep: SweepSource, loaded: Loaded) -> SweepSummary:
    requested = [(config, run) for config in sweep.configs for run in config.runs]
    total = max((config.total_steps for config in sweep.configs), default=1)
    baseline = next((config.config_id for config in sweep.configs if config.is_baseline), "")
    catalogue, sign = sweep.agent.catalogue, sweep.agent.catalogue.sign
    results = _judge_runs(requested, sweep.agent, loaded, total, baseline)
    seeds, curves = _curves(results, catalogue)
    findings = _findings(results)
    random = _random_reference(results.values(), sign)
    floor = random.mean if random else np.nan
    states = {(run.config_id, run.seed): run.state for _, run in requested}
    scores = with_evaluations(split_by_failure(_scores(results), states, findings, floor, sign), sweep)
    late = _late(results, catalogue)
    return SweepSummary(
        source=sweep,
        runs=_runs(requested, results, loaded.quarantine),
        curves=curves,
        worst_curves=worst_curves(seeds, {run for run, state in states.items() if state in CRASHED}, floor, catalogue),
        seeds=seeds,
        events=_events(results),
        scores=scores,
        ranking=_ranking(sweep.configs, scores, sign),
        contrasts=estimates.AgainstBest(sweep.interim_analyses, sign)(scores, "config_id", factor_effects.PRIMARY),
        baseline=estimates.AgainstBaseline(sweep.interim_analyses, sign)(
            scores, "config_id", factor_effects.PRIMARY, baseline
        ),
        secondary=baseline_contrasts.secondary(scores, baseline, sweep.interim_analyses, sign),
        diagnostics=baseline_contrasts.diagnostics(late, baseline, catalogue),
        effects=factor_effects.effects(sweep, scores, late, findings),
        question_contrasts=_question_contrasts(sweep, loaded, scores, findings),
        findings=findings,
        votes=flags.vote(findings),
        variance=flags.variance_split((config_id, result.evaluations) for (config_id, _), result in results.items()),
        random=random,
        total_steps=total,
        origins=loaded.origins[_of_runs(loaded.origins, results)],
        imported=_imported(sweep, loaded, total, scores[scores["config_id"] == baseline]),
    )


def _imported(sweep: SweepSource, loaded: Loaded, total: int, baseline: pd.DataFrame) -> Imported | None:
    """baseline: the scores of the sweep's baseline."""
    if not sweep.imported:
        return None
    requested = [(config, run) for config in sweep.imported for run in config.runs]
    catalogue = sweep.agent.catalogue
    results = _judge_runs(requested, sweep.agent, loaded, total)
    seeds, curves = _curves(results, catalogue)
    scores = _scores(results)
    # the primary score is the result near the last step; "so far" would average distant points of a published curve
    scores = scores.assign(so_far=scores[factor_effects.PRIMARY], **dict.fromkeys(FAILURE_SCORES, np.nan))
    compared = pd.concat([scores, baseline], ignore_index=True)
    against = next(iter(baseline["config_id"]), "")
    return Imported(
        runs=_runs(requested, results, loaded.quarantine),
        curves=curves,
        seeds=seeds,
        scores=scores,
        ranking=_ranking(sweep.imported, scores, catalogue.sign),
        baseline=estimates.AgainstBaseline(sign=catalogue.sign)(compared, "config_id", factor_effects.PRIMARY, against),
    )


def _judge_runs(
    requested: RequestedRuns, agent: AgentDescription, loaded: Loaded, total: int, baseline: str = ""
) -> dict[tuple[str, int], _RunResults]:
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
) -> _RunResults:
    config, run = pair[0], pair[1].source
    # a run may have been extended beyond the last step of this sweep: later rows are not part of it
    rows = pair[1].columns(KINDS, config.total_steps)
    view = flags.RunView(rows, config.total_steps, run.state, agent, config.config, reference)
    return _RunResults(
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


def _late(results: Mapping[tuple[str, int], _RunResults], catalogue: Catalogue) -> pd.DataFrame:
    """Diagnostics over the last quarter of the runs that finished."""
    lines = [
        {"config_id": c, "seed": s, **result.late} for (c, s), result in results.items() if result.scores["complete"]
    ]
    return _in_order(pd.DataFrame(lines), ("config_id", "seed"), catalogue)


def _findings(results: Mapping[tuple[str, int], _RunResults]) -> pd.DataFrame:
    return pd.DataFrame([line for result in results.values() for line in result.findings], columns=flags.COLUMNS)


def _question_contrasts(
    sweep: SweepSource, loaded: Loaded, scores: pd.DataFrame, findings: pd.DataFrame
) -> pd.DataFrame:
    """`contrasts_by_question`, with the configurations of other sweeps that the questions need."""
    own = {config.config_id for config in sweep.configs}
    others = [(c, run) for c in sweep.all_configs if c.config_id not in own for run in c.runs]
    if others:
        results = _judge_runs(others, sweep.agent, loaded, max(config.total_steps for config, _ in others))
        scores = pd.concat([scores, with_evaluations(_scores(results), sweep)], ignore_index=True)
        findings = pd.concat([findings, _findings(results)], ignore_index=True)
    return question_contrasts.contrasts_by_question(sweep, scores, findings)


def _of_runs(frame: pd.DataFrame, runs: Collection[tuple[str, int]]) -> np.ndarray:
    """Mask of the lines of `frame` that belong to one of `runs`."""
    return np.array([run in runs for run in zip(frame["config_id"], frame["seed"], strict=True)], dtype=bool)


def _run_curves(
    kind: str, rows: Mapping[str, Any], bins: Mapping[str, int], total: int, catalogue: Catalogue
) -> pd.DataFrame:
    metrics = [name for name, metric in catalogue.metrics.items()
               if metric.kind == kind and not metric.is_list and metric.unit != "bool" and name in rows
               and rows[name].dtype != object]  # fmt: skip
    return step_bins.binned(rows, total, bins[kind], metrics) if kind in bins else step_bins.own_points(rows, metrics)


def _curves(
    results: Mapping[tuple[str, int], _RunResults], catalogue: Catalogue
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """(wide curves per seed by kind of row, long curves with mean and interval over seeds)."""
    seeds: dict[str, pd.DataFrame] = {}
    curves = [pd.DataFrame(columns=["config_id", "kind", "metric", "step", "mean", "sd", "low", "high", "n"])]
    for kind in sorted({kind for result in results.values() for kind in result.curves}):
        parts = {run: result.curves[kind] for run, result in results.items() if kind in result.curves}
        owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts.values()])
        config_ids, seed_numbers = (np.array(names)[owners] for names in zip(*parts, strict=True))
        whole = pd.concat(parts.values(), ignore_index=True).assign(config_id=config_ids, seed=seed_numbers)
        wide = _in_order(whole, ("config_id", "seed", "step"), catalogue)
        metrics = wide.columns[3:]
        if len(metrics):
            seeds[kind] = wide
            curves.append(
                estimates.Interval()(wide, ["config_id", "step"], metrics).assign(kind=kind)[curves[0].columns]
            )
    return seeds, pd.concat(curves[1:], ignore_index=True) if len(curves) > 1 else curves[0]


def _in_order(frame: pd.DataFrame, first: Sequence[str], catalogue: Catalogue) -> pd.DataFrame:
    """Columns `first`, then the metrics with any finite value, in the catalogue's order."""
    metrics = [name for name in catalogue.metrics if name in frame and np.isfinite(frame[name]).any()]
    return frame.reindex(columns=[*first, *metrics])


def _runs(
    requested: RequestedRuns,
    results: Mapping[tuple[str, int], _RunResults],
    quarantine: pd.DataFrame,
) -> pd.DataFrame:
    bad = quarantine.groupby(["config_id", "seed"]).size().to_dict()
    lines = [
        (r.config_id, r.seed, r.state, results[r.config_id, r.seed].last_step, c.total_steps, r.attempts,
         bad.get((r.config_id, r.seed), 0))
        for c, r in requested
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=["config_id", "seed", "state", "step", "total", "attempts", "quarantined"])


def _events(results: Mapping[tuple[str, int], _RunResults]) -> pd.DataFrame:
    """First step of every schedule event per configuration."""
    lines = [(config_id, *event) for (config_id, _), result in results.items() for event in result.events.items()]
    events = pd.DataFrame(lines, columns=["config_id", "event", "step"])
    return events.groupby(["config_id", "event"])["step"].min().reset_index()


def _scores(results: Mapping[tuple[str, int], _RunResults]) -> pd.DataFrame:
    lines = [{"config_id": c, "seed": s, **result.scores} for (c, s), result in results.items()]
    return pd.DataFrame(lines, columns=["config_id", "seed", "complete", *SCORES, "so_far", "final_points"])


# --- the ranking ---------------------------------------------------------------------------------------


def _ranking(configs: Sequence[ConfigSource], scores: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Columns config_id, label, planned, n, and mean, low and high of every score; best first (lowest for `sign` -1),
    those without a finished run last, in the plan's order."""
    table = pd.DataFrame(
        [(c.config_id, c.name, c.is_baseline, len(c.runs)) for c in configs],
        columns=["config_id", "label", "is_baseline", "planned"],
    )
    names = [*SCORES, *FAILURE_SCORES, "so_far"]
    long = estimates.Interval()(scores, ["config_id"], names)
    for name in names:
        one = long[long["metric"] == name][["config_id", "mean", "sd", "low", "high", "n"]]
        table = table.merge(one.rename(columns=lambda c, name=name: c if c == "config_id" else f"{name}_{c}"),
                            on="config_id", how="left")  # fmt: skip
        table[f"{name}_n"] = table[f"{name}_n"].fillna(0).astype(int)
    by = ["final_primary_mean", "so_far_mean"]
    return table.sort_values(by, ascending=sign < 0, na_position="last", kind="stable", ignore_index=True)


def _random_episodes(seed: int, view: flags.RunView) -> set[tuple[int, int, float]]:
    """(seed, step, result) of the training episodes that ended before the random actions did; none where no event
    marks their end."""
    end = _first_steps(view.rows.get("event", {})).get(view.agent.diagnostics.random_until, -1)
    returns = view.series("training_return")
    before = returns.steps <= end
    return {(seed, int(s), float(r)) for s, r in zip(returns.steps[before], returns.values[before], strict=True)}


def _random_reference(results: Iterable[_RunResults], sign: int) -> RandomReference | None:
    """None where no run marked the end of its random actions.

    A seed plays the same random episodes under every configuration that changes nothing before training, so
    equal episodes of one seed count once.
    """
    episodes = set().union(*(result.random for result in results))
    if not episodes:
        return None
    returns = [episode_return for _, _, episode_return in sorted(episodes)]
    sd = float(np.std(returns, ddof=1)) if len(returns) > 1 else np.nan
    return RandomReference(float(np.mean(returns)), sd, sign * max(sign * r for r in returns), len(returns))
