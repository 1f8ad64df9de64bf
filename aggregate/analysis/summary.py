"""The content of the report as frames: one `SweepSummary` per sweep. Runs are read one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from aggregate import flags
from aggregate.analysis import baseline_contrasts, factor_effects, question_contrasts
from aggregate.analysis.configuration_comparison import ConfigurationComparison
from aggregate.analysis.judged_cache import JudgedRun
from aggregate.analysis.judged_runs import RequestedRuns, judge_runs
from aggregate.analysis.run_outcomes import DIVERGED, OUTCOME_SCORES, with_outcomes
from aggregate.analysis.run_scores import SCORES, with_evaluations
from aggregate.analysis.start_curves import start_curves
from aggregate.inputs.parallel import keep_processes
from aggregate.inputs.runs import ConfigSource, Loaded, SweepSource, load
from aggregate.statistics import estimates
from sweepwise.core.errors import AggregateError
from sweepwise.core.metrics import Catalogue

__all__ = ["AggregateError", "RandomReference", "Summary", "SweepSummary", "summarise"]

MARGIN_SHARE = 0.1  # of the baseline's gain over random actions


@dataclass(frozen=True)
class RandomReference:
    """Results of the `n` distinct episodes of random actions before training, over all runs. best: the smallest where
    lower is better."""

    mean: float
    sd: float
    best: float
    n: int


@dataclass(frozen=True)
class Margin:
    """The smallest relevant difference in the unit of the primary metric, NaN where unknown. declared: by the plan."""

    value: float
    declared: bool


@dataclass(frozen=True)
class Imported:
    """Imported curves of a sweep, up to its last step; frames as in `SweepSummary`."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    seeds: dict[str, pd.DataFrame]
    scores: pd.DataFrame
    ranking: pd.DataFrame
    baseline: pd.DataFrame


class ExcludedRuns(NamedTuple):
    """Runs that a user left out. runs: as in `SweepSummary`, with the columns reason and final_primary. leader:
    config_id of the best configuration with them, "" where none of them has a result."""

    runs: pd.DataFrame
    leader: str


@dataclass(frozen=True)
class SweepSummary:
    """One sweep.

    runs: config_id, seed, state, cause, step, total, attempts, quarantined; one line per requested run.
    curves: config_id, kind, metric, step, mean, sd, low, high, n over seeds. start_curves: the return curves of
    configurations with diverged runs, these counted as random actions. seeds: wide curves per seed, by kind.
    events: config_id, event, step. scores: one line per run (`SCORES`, `OUTCOME_SCORES`, `outcome`, `final_points`,
    `EVALUATION`).
    ranking: one line per configuration, best first. margin: the smallest relevant difference. contrasts: each
    configuration against the leading one (`configuration_comparison.ConfigurationComparison`).
    baseline: each against the baseline (`baseline_contrasts.primary`), empty without one.
    secondary, diagnostics: the same on secondary endpoints and on diagnostics (`baseline_contrasts`).
    effects: of the factors. question_contrasts: of the plan's questions (`contrasts_by_question`).
    findings, votes, variance: `flags.judge`, `flags.vote`, `flags.variance_split`. total_steps: of the whole sweep.
    origins: see `runs.Loaded`. imported: imported curves, which enter none of the other fields; None without them.
    excluded: the runs that a user left out, which enter no other field.
    """

    source: SweepSource
    runs: pd.DataFrame
    curves: pd.DataFrame
    start_curves: pd.DataFrame
    seeds: dict[str, pd.DataFrame]
    events: pd.DataFrame
    scores: pd.DataFrame
    ranking: pd.DataFrame
    margin: Margin
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
    imported: Imported | None
    excluded: ExcludedRuns

    @property
    def states(self) -> frozenset[str]:
        """Of its runs."""
        return frozenset(self.runs["state"])

    def config(self, config_id: str) -> ConfigSource:
        return next(config for config in self.source.configs if config.config_id == config_id)


class BriefImported(NamedTuple):
    """Fields as in `Imported`."""

    seeds: dict[str, pd.DataFrame]
    scores: pd.DataFrame


@dataclass(frozen=True)
class BriefSummary:
    """What the analysis across tasks needs of a sweep that is not judged by itself. Fields as in `SweepSummary`."""

    source: SweepSource
    states: frozenset[str]
    seeds: dict[str, pd.DataFrame]
    scores: pd.DataFrame
    random: RandomReference | None
    total_steps: int
    imported: BriefImported | None


@dataclass(frozen=True)
class Summary:
    """Summaries of all requested sweeps, and the runs they were computed from. brief: of those that are not judged one
    by one."""

    sweeps: tuple[SweepSummary, ...]
    loaded: Loaded
    brief: tuple[BriefSummary, ...] = ()

    @property
    def every(self) -> tuple[SweepSummary | BriefSummary, ...]:
        return (*self.sweeps, *self.brief)


def summarise(sweeps: Sequence[SweepSource], brief: Collection[str] = ()) -> Summary:
    """Read, bin and judge all runs. brief: names of the sweeps that are not judged by themselves. Raises
    `AggregateError` where there is nothing to aggregate."""
    with keep_processes():
        loaded = load(sweeps)
        return Summary(
            tuple(_summarise_sweep(sweep, loaded) for sweep in sweeps if sweep.name not in brief),
            loaded,
            tuple(_summarise_briefly(sweep, loaded) for sweep in sweeps if sweep.name in brief),
        )


def _summarise_briefly(sweep: SweepSource, loaded: Loaded) -> BriefSummary:
    requested = [(config, run) for config in sweep.configs for run in config.runs]
    total = max((config.total_steps for config in sweep.configs), default=1)
    catalogue = sweep.agent.catalogue
    results = judge_runs(requested, sweep.agent, loaded, total, compare=False)
    random = _random_reference(results.values(), catalogue.sign)
    floor, runs = random.mean if random else np.nan, [run for _, run in requested]
    return BriefSummary(
        source=sweep,
        states=frozenset(run.state for run in runs),
        seeds=_seeds(results, catalogue),
        scores=with_outcomes(_scores(results), runs, _findings(results), floor, catalogue.sign),
        random=random,
        total_steps=total,
        imported=BriefImported(*_imported_scores(sweep, loaded, total, compare=False)[1:]) if sweep.imported else None,
    )


def _summarise_sweep(sweep: SweepSource, loaded: Loaded) -> SweepSummary:
    requested = [(config, run) for config in sweep.configs for run in config.runs]
    total = max((config.total_steps for config in sweep.configs), default=1)
    baseline = sweep.baseline
    catalogue, sign = sweep.agent.catalogue, sweep.agent.catalogue.sign
    results = judge_runs(requested, sweep.agent, loaded, total, baseline)
    seeds = _seeds(results, catalogue)
    findings = _findings(results)
    random = _random_reference(results.values(), sign)
    floor = random.mean if random else np.nan
    scores = with_evaluations(_scores(results), sweep)
    scores = with_outcomes(scores, (run for _, run in requested), findings, floor, sign)
    diverged = scores.loc[scores["outcome"] == DIVERGED, ["config_id", "seed"]]
    margin = relevant_margin(sweep.margin, scores[scores["config_id"] == baseline], floor, sign)
    late = _late(results, catalogue)
    compare = ConfigurationComparison(sweep.interim_analyses, sign, margin.value, sweep.paired)
    return SweepSummary(
        source=sweep,
        runs=_runs(requested, results, loaded.quarantine),
        curves=_curves(seeds),
        start_curves=start_curves(seeds, set(diverged.itertuples(index=False, name=None)), floor, catalogue),
        seeds=seeds,
        events=_events(results),
        scores=scores,
        ranking=_ranking(sweep.configs, scores, sign),
        margin=margin,
        contrasts=compare(scores),
        baseline=baseline_contrasts.primary(scores, baseline, sweep.interim_analyses, sign, paired=sweep.paired),
        secondary=baseline_contrasts.secondary(scores, baseline, sweep.interim_analyses, sign, paired=sweep.paired),
        diagnostics=baseline_contrasts.diagnostics(late, baseline, catalogue),
        effects=factor_effects.effects(sweep, scores, late, findings),
        question_contrasts=_question_contrasts(sweep, loaded, scores, findings, floor, margin.value),
        findings=findings,
        votes=flags.vote(findings),
        variance=flags.variance_split((config_id, result.evaluations) for (config_id, _), result in results.items()),
        random=random,
        total_steps=total,
        origins=loaded.origins[_of_runs(loaded.origins, results)],
        imported=_imported(sweep, loaded, total, scores[scores["config_id"] == baseline]),
        excluded=_excluded(sweep, loaded, total, floor, scores, compare),
    )


def _excluded(
    sweep: SweepSource, loaded: Loaded, total: int, floor: float, scores: pd.DataFrame, compare: ConfigurationComparison
) -> ExcludedRuns:
    """floor: mean result of random actions. scores: of the other runs."""
    runs = [run for _, run in sweep.excluded]
    results = judge_runs(sweep.excluded, sweep.agent, loaded, total, compare=False)
    own = with_outcomes(_scores(results), runs, _findings(results), floor, sweep.agent.catalogue.sign)
    shown = _runs(sweep.excluded, results, loaded.quarantine).assign(reason=[run.reason for run in runs])
    shown = shown.merge(own[["config_id", "seed", "final_primary"]], on=["config_id", "seed"], how="left")
    if not own["start_primary"].notna().any():
        return ExcludedRuns(shown, "")
    with_them = compare(pd.concat([scores, own], ignore_index=True))
    return ExcludedRuns(shown, str(with_them["config_id"].iloc[0]))


def relevant_margin(declared: float, baseline: pd.DataFrame, floor: float, sign: int) -> Margin:
    """The plan's margin, else `MARGIN_SHARE` of what the baseline's runs that did not collapse gain over random
    actions; unknown where their 95 % interval does not exclude these. declared: NaN for none. baseline: its scores.
    floor: mean result of random actions."""
    if np.isfinite(declared):
        return Margin(declared, declared=True)
    gains = sign * (baseline["healthy_primary"].dropna().to_numpy() - floor)
    half = estimates.Interval().half_width(gains.std(ddof=1), np.array(gains.size)) if gains.size > 1 else np.nan
    return Margin(MARGIN_SHARE * float(gains.mean()) if gains.size and gains.mean() > half else np.nan, declared=False)


def _imported(sweep: SweepSource, loaded: Loaded, total: int, baseline: pd.DataFrame) -> Imported | None:
    """baseline: the scores of the sweep's baseline."""
    if not sweep.imported:
        return None
    catalogue = sweep.agent.catalogue
    requested = [(config, run) for config in sweep.imported for run in config.runs]
    results, seeds, scores = _imported_scores(sweep, loaded, total)
    compared = pd.concat([scores, baseline], ignore_index=True)
    against = next(iter(baseline["config_id"]), "")
    return Imported(
        runs=_runs(requested, results, loaded.quarantine),
        curves=_curves(seeds),
        seeds=seeds,
        scores=scores,
        ranking=_ranking(sweep.imported, scores, catalogue.sign),
        baseline=estimates.AgainstBaseline(sign=catalogue.sign)(compared, "config_id", factor_effects.PRIMARY, against),
    )


def _imported_scores(
    sweep: SweepSource, loaded: Loaded, total: int, *, compare: bool = True
) -> tuple[dict[tuple[str, int], JudgedRun], dict[str, pd.DataFrame], pd.DataFrame]:
    """(results, curves per seed, scores) of the imported curves beside a sweep. compare: see `judge_runs`."""
    requested = [(config, run) for config in sweep.imported for run in config.runs]
    results = judge_runs(requested, sweep.agent, loaded, total, compare=compare)
    scores = _scores(results)
    # the primary score is the result near the last step; "so far" would average distant points of a published curve
    scores = scores.assign(so_far=scores[factor_effects.PRIMARY], **dict.fromkeys(OUTCOME_SCORES, np.nan))
    return results, _seeds(results, sweep.agent.catalogue), scores


def _late(results: Mapping[tuple[str, int], JudgedRun], catalogue: Catalogue) -> pd.DataFrame:
    """Diagnostics over the last quarter of the runs that finished."""
    lines = [
        {"config_id": c, "seed": s, **result.late} for (c, s), result in results.items() if result.scores["complete"]
    ]
    return _in_order(pd.DataFrame(lines), ("config_id", "seed"), catalogue)


def _findings(results: Mapping[tuple[str, int], JudgedRun]) -> pd.DataFrame:
    return pd.DataFrame([line for result in results.values() for line in result.findings], columns=flags.COLUMNS)


def _question_contrasts(
    sweep: SweepSource, loaded: Loaded, scores: pd.DataFrame, findings: pd.DataFrame, floor: float, margin: float
) -> pd.DataFrame:
    """`contrasts_by_question`, with the configurations of other sweeps that the questions need. floor: mean result of
    random actions."""
    own = {config.config_id for config in sweep.configs}
    others = [(c, run) for c in sweep.all_configs if c.config_id not in own for run in c.runs]
    if others:
        results = judge_runs(others, sweep.agent, loaded, max(config.total_steps for config, _ in others))
        own_findings, of_others = _findings(results), with_evaluations(_scores(results), sweep)
        more = with_outcomes(of_others, (run for _, run in others), own_findings, floor, sweep.agent.catalogue.sign)
        scores = pd.concat([scores, more], ignore_index=True)
        findings = pd.concat([findings, own_findings], ignore_index=True)
    return question_contrasts.contrasts_by_question(sweep, scores, findings, margin)


def _of_runs(frame: pd.DataFrame, runs: Collection[tuple[str, int]]) -> np.ndarray:
    """Mask of the lines of `frame` that belong to one of `runs`."""
    return np.array([run in runs for run in zip(frame["config_id"], frame["seed"], strict=True)], dtype=bool)


def _curves(seeds: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Long curves with mean and interval over seeds. seeds: see `_seeds`."""
    curves = [pd.DataFrame(columns=["config_id", "kind", "metric", "step", "mean", "sd", "low", "high", "n"])]
    curves += [
        estimates.Interval()(wide, ["config_id", "step"], wide.columns[3:]).assign(kind=kind)[curves[0].columns]
        for kind, wide in seeds.items()
    ]
    return pd.concat(curves[1:], ignore_index=True) if len(curves) > 1 else curves[0]


def _seeds(results: Mapping[tuple[str, int], JudgedRun], catalogue: Catalogue) -> dict[str, pd.DataFrame]:
    """Wide curves per seed by kind of row."""
    seeds: dict[str, pd.DataFrame] = {}
    for kind in sorted({kind for result in results.values() for kind in result.curves}):
        parts = {run: result.curves[kind] for run, result in results.items() if kind in result.curves}
        whole = pa.concat_tables(parts.values(), promote_options="default").to_pandas()
        owners = np.repeat(np.arange(len(parts)), [part.num_rows for part in parts.values()])
        config_ids, seed_numbers = (np.array(names)[owners] for names in zip(*parts, strict=True))
        wide = _in_order(
            whole.assign(config_id=config_ids, seed=seed_numbers), ("config_id", "seed", "step"), catalogue
        )
        if len(wide.columns) > 3:
            seeds[kind] = wide
    return seeds


def _in_order(frame: pd.DataFrame, first: Sequence[str], catalogue: Catalogue) -> pd.DataFrame:
    """Columns `first`, then the metrics with any finite value, in the catalogue's order."""
    metrics = [name for name in catalogue.metrics if name in frame and np.isfinite(frame[name]).any()]
    return frame.reindex(columns=[*first, *metrics])


def _runs(
    requested: RequestedRuns,
    results: Mapping[tuple[str, int], JudgedRun],
    quarantine: pd.DataFrame,
) -> pd.DataFrame:
    bad = quarantine.groupby(["config_id", "seed"]).size().to_dict()
    lines = [
        (r.config_id, r.seed, r.state, r.cause, results[r.config_id, r.seed].last_step, c.total_steps, r.attempts,
         bad.get((r.config_id, r.seed), 0))
        for c, r in requested
    ]  # fmt: skip
    return pd.DataFrame(
        lines, columns=["config_id", "seed", "state", "cause", "step", "total", "attempts", "quarantined"]
    )


def _events(results: Mapping[tuple[str, int], JudgedRun]) -> pd.DataFrame:
    """First step of every schedule event per configuration."""
    lines = [(config_id, *event) for (config_id, _), result in results.items() for event in result.events.items()]
    events = pd.DataFrame(lines, columns=["config_id", "event", "step"])
    return events.groupby(["config_id", "event"])["step"].min().reset_index()


def _scores(results: Mapping[tuple[str, int], JudgedRun]) -> pd.DataFrame:
    lines = [{"config_id": c, "seed": s, **result.scores} for (c, s), result in results.items()]
    return pd.DataFrame(lines, columns=["config_id", "seed", "complete", *SCORES, "so_far", "final_points"])


# --- the ranking ---------------------------------------------------------------------------------------


def _ranking(configs: Sequence[ConfigSource], scores: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Columns config_id, label, planned, n, and mean, low and high of every score; the best expected result of one
    start first, those without a started run last, in the plan's order."""
    table = pd.DataFrame(
        [(c.config_id, c.name, c.is_baseline, len(c.runs)) for c in configs],
        columns=["config_id", "label", "is_baseline", "planned"],
    )
    names = [*SCORES, *OUTCOME_SCORES, "so_far"]
    long = estimates.Interval()(scores, ["config_id"], names)
    wide = long.pivot(index="config_id", columns="metric", values=["mean", "sd", "low", "high", "n"])
    wide.columns = pd.Index([f"{metric}_{value}" for value, metric in wide.columns])
    columns = [f"{name}_{value}" for name in names for value in ("mean", "sd", "low", "high", "n")]
    table = table.join(wide.reindex(index=table["config_id"], columns=columns).reset_index(drop=True))
    counts = [f"{name}_n" for name in names]
    table[counts] = table[counts].fillna(0).astype(int)
    by = ["start_primary_mean", "so_far_mean"]
    return table.sort_values(by, ascending=sign < 0, na_position="last", kind="stable", ignore_index=True)


def _random_reference(results: Iterable[JudgedRun], sign: int) -> RandomReference | None:
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
