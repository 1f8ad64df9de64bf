"""Everything the report shows, as frames: one `SweepSummary` per sweep, over runs that are read one by one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.analysis import baseline_contrasts, factor_effects, question_contrasts
from aggregate.analysis.run_scores import APART, CRASHED, LAST_POINTS, SCORES, run_scores, split_by_failure
from aggregate.analysis.worst_case_curves import worst_curves
from aggregate.inputs.parallel import mapping
from aggregate.inputs.progress import tracked
from aggregate.inputs.runs import ConfigSource, Loaded, RunRows, RunSource, SweepSource, load
from aggregate.statistics import estimates, step_bins
from sweepwise.core.errors import AggregateError
from sweepwise.core.metrics import KINDS
from tdmpc.metrics import METRICS

__all__ = ["AggregateError", "RandomReference", "Summary", "SweepSummary", "summarise"]

BINNED = ("train", "episode")


@dataclass(frozen=True)
class RandomReference:
    """Return of the `n` different episodes of random actions before training, all runs together."""

    mean: float
    sd: float
    best: float
    n: int


@dataclass(frozen=True)
class Imported:
    """Curves from elsewhere as a sweep sees them, up to its last step; frames as in `SweepSummary`."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    seeds: dict[str, pd.DataFrame]
    scores: pd.DataFrame
    ranking: pd.DataFrame
    baseline: pd.DataFrame


@dataclass(frozen=True)
class SweepSummary:
    """One sweep.

    runs: config_id, seed, state, step, total, attempts, quarantined; one line per run asked for. curves: config_id,
    kind, metric, step, mean, sd, low, high, n over seeds. worst: of configurations with crashed runs the return curves
    again, a crash counted as the worst (`worst_case_curves.worst_curves`). seeds: curves per seed, wide, by kind.
    events: config_id, event, step. scores: one line per run (`SCORES`, `APART`, `final_points`). ranking: one line per
    configuration, best first. contrasts: each configuration against the best (`estimates.AgainstBest`). baseline: each
    against the baseline (`estimates.AgainstBaseline`), empty without one. secondary, moved: the same on further
    endpoints and on diagnostics (`baseline_contrasts`). effects: of the factors. replies: to the plan's questions
    (`question_contrasts.replies`). findings, votes, variance: `flags.judge`, `flags.vote`, `flags.variance_split`.
    last_step: of the whole sweep. origins: see `runs.Loaded`. imported: the curves from elsewhere beside it, which have
    no part in any of the others; None where there are none.
    """

    source: SweepSource
    runs: pd.DataFrame
    curves: pd.DataFrame
    worst: pd.DataFrame
    seeds: dict[str, pd.DataFrame]
    events: pd.DataFrame
    scores: pd.DataFrame
    ranking: pd.DataFrame
    contrasts: pd.DataFrame
    baseline: pd.DataFrame
    secondary: pd.DataFrame
    moved: pd.DataFrame
    effects: factor_effects.Effects
    replies: pd.DataFrame
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
    """All sweeps asked for, and what they were made of."""

    sweeps: tuple[SweepSummary, ...]
    loaded: Loaded


@dataclass(frozen=True)
class _Look:
    """What is made of one run's rows, which are not kept.

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
    """Read, bin and judge. Raises `AggregateError` (one line) where there is nothing to aggregate."""
    loaded = load(sweeps)
    return Summary(tuple(_summarise_sweep(sweep, loaded) for sweep in sweeps), loaded)


Asked = Sequence[tuple[ConfigSource, RunSource]]


def _summarise_sweep(sweep: SweepSource, loaded: Loaded) -> SweepSummary:
    asked = [(config, run) for config in sweep.configs for run in config.runs]
    total = max((config.total_steps for config in sweep.configs), default=1)
    baseline = next((config.config_id for config in sweep.configs if config.is_baseline), "")
    looks = _looks(asked, loaded, total, baseline)
    seeds, curves = _curves(looks)
    findings = _findings(looks)
    random = _random_reference(looks.values())
    floor = random.mean if random else np.nan
    states = {(run.config_id, run.seed): run.state for _, run in asked}
    scores = split_by_failure(_scores(looks), states, findings, floor)
    late = _late(looks)
    return SweepSummary(
        source=sweep,
        runs=_runs(asked, looks, loaded.quarantine),
        curves=curves,
        worst=worst_curves(seeds, {run for run, state in states.items() if state in CRASHED}, floor),
        seeds=seeds,
        events=_events(looks),
        scores=scores,
        ranking=_ranking(sweep.configs, scores),
        contrasts=estimates.AgainstBest(sweep.looks)(scores, "config_id", factor_effects.PRIMARY),
        baseline=estimates.AgainstBaseline(sweep.looks)(scores, "config_id", factor_effects.PRIMARY, baseline),
        secondary=baseline_contrasts.secondary(scores, baseline, sweep.looks),
        moved=baseline_contrasts.diagnostics(late, baseline),
        effects=factor_effects.effects(sweep, scores, late, findings),
        replies=_replies(sweep, loaded, scores, findings),
        findings=findings,
        votes=flags.vote(findings),
        variance=flags.variance_split((config_id, look.evaluations) for (config_id, _), look in looks.items()),
        random=random,
        total_steps=total,
        origins=loaded.origins[_of_runs(loaded.origins, looks)],
        imported=_imported(sweep.imported, loaded, total, scores[scores["config_id"] == baseline]),
    )


def _imported(configs: Sequence[ConfigSource], loaded: Loaded, total: int, baseline: pd.DataFrame) -> Imported | None:
    """baseline: the scores of the sweep's baseline."""
    if not configs:
        return None
    asked = [(config, run) for config in configs for run in config.runs]
    looks = _looks(asked, loaded, total)
    seeds, curves = _curves(looks)
    scores = _scores(looks)
    # what decides is the height near the last step; "so far" would average a published curve from far back
    scores = scores.assign(so_far=scores[factor_effects.PRIMARY], **dict.fromkeys(APART, np.nan))
    compared = pd.concat([scores, baseline], ignore_index=True)
    against = next(iter(baseline["config_id"]), "")
    return Imported(
        runs=_runs(asked, looks, loaded.quarantine),
        curves=curves,
        seeds=seeds,
        scores=scores,
        ranking=_ranking(configs, scores),
        baseline=estimates.AgainstBaseline()(compared, "config_id", factor_effects.PRIMARY, against),
    )


def _looks(asked: Asked, loaded: Loaded, total: int, baseline: str = "") -> dict[tuple[str, int], _Look]:
    """At every run asked for."""
    pairs = [(config, loaded.runs[run.config_id, run.seed]) for config, run in asked]
    bins = {kind: step_bins.bin_count(known, total) for kind in BINNED
            if (known := [rows.spacing[kind] for _, rows in pairs if kind in rows.spacing])}  # fmt: skip
    own = [pair for pair in pairs if pair[0].config_id == baseline]
    with mapping(len(pairs), waits=False) as over:
        beside = flags.beside(over(_evaluated, pairs), over(_trained, own))
        look = functools.partial(_look, beside=beside, bins=bins, total=total)
        looks = tracked(over(look, pairs), len(pairs), "judging runs")
        return {(run.config_id, run.seed): found for (_, run), found in zip(asked, looks, strict=True)}


Pair = tuple[ConfigSource, RunRows]


def _view(pair: Pair, kinds: Sequence[str]) -> flags.RunView:
    config, rows = pair
    # a run may have been extended beyond what this sweep asks for: what lies there is no part of it
    return flags.RunView(rows.columns(kinds, config.total_steps), config.total_steps, rows.source.state, config.config)


def _evaluated(pair: Pair) -> flags.RunView:
    return _view(pair, ("eval",))


def _trained(pair: Pair) -> flags.RunView:
    return _view(pair, ("train",))


def _look(pair: Pair, beside: flags.Beside, bins: Mapping[str, int], total: int) -> _Look:
    config, run = pair[0], pair[1].source
    view = dataclasses.replace(_view(pair, KINDS), beside=beside)
    return _Look(
        curves={kind: _run_curves(kind, rows, bins, total) for kind, rows in view.rows.items()},
        events=_first_steps(view.rows.get("event", {})),
        # published evaluations are far apart, and one that lies further back is no final return
        scores=run_scores(view, fewest=1 if config.imported else LAST_POINTS),
        findings=flags.judge_run(run.config_id, run.seed, view),
        late=factor_effects.last_quarter(view.rows, total),
        evaluations=flags.late_evaluations(view),
        random=_random_episodes(run.seed, view),
        last_step=view.last_step,
    )


def _first_steps(rows: Mapping[str, Any]) -> dict[str, int]:
    """Event -> its first step. rows: of kind event."""
    found: dict[str, int] = {}
    for event, step in zip(rows.get("event", ()), rows.get("step", ()), strict=True):
        if event is not None:
            found.setdefault(event, int(step))
    return found


def _late(looks: Mapping[tuple[str, int], _Look]) -> pd.DataFrame:
    """Diagnostics at the end of the runs that came to it."""
    lines = [{"config_id": c, "seed": s, **look.late} for (c, s), look in looks.items() if look.scores["complete"]]
    return _in_order(pd.DataFrame(lines), ("config_id", "seed"))


def _findings(looks: Mapping[tuple[str, int], _Look]) -> pd.DataFrame:
    return pd.DataFrame([line for look in looks.values() for line in look.findings], columns=flags.COLUMNS)


def _replies(sweep: SweepSource, loaded: Loaded, scores: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """`question_contrasts.replies`, with the configurations of other sweeps that questions need."""
    own = {config.config_id for config in sweep.configs}
    others = [(c, run) for c in sweep.all_configs if c.config_id not in own for run in c.runs]
    if others:
        looks = _looks(others, loaded, max(config.total_steps for config, _ in others))
        scores = pd.concat([scores, _scores(looks)], ignore_index=True)
        findings = pd.concat([findings, _findings(looks)], ignore_index=True)
    return question_contrasts.replies(sweep, scores, findings)


def _of_runs(frame: pd.DataFrame, runs: Collection[tuple[str, int]]) -> np.ndarray:
    """Which lines of `frame` are of one of `runs`."""
    return np.array([run in runs for run in zip(frame["config_id"], frame["seed"], strict=True)], dtype=bool)


def _run_curves(kind: str, rows: Mapping[str, Any], bins: Mapping[str, int], total: int) -> pd.DataFrame:
    metrics = [name for name, metric in METRICS.items()
               if metric.kind == kind and not metric.is_list and metric.unit != "bool" and name in rows]  # fmt: skip
    return step_bins.binned(rows, total, bins[kind], metrics) if kind in bins else step_bins.own_points(rows, metrics)


def _curves(looks: Mapping[tuple[str, int], _Look]) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """(per seed and wide, by kind; over seeds and long)."""
    seeds: dict[str, pd.DataFrame] = {}
    curves = [pd.DataFrame(columns=["config_id", "kind", "metric", "step", "mean", "sd", "low", "high", "n"])]
    for kind in sorted({kind for look in looks.values() for kind in look.curves}):
        parts = {run: look.curves[kind] for run, look in looks.items() if kind in look.curves}
        owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts.values()])
        config_ids, seed_numbers = (np.array(names)[owners] for names in zip(*parts, strict=True))
        whole = pd.concat(parts.values(), ignore_index=True).assign(config_id=config_ids, seed=seed_numbers)
        wide = _in_order(whole, ("config_id", "seed", "step"))
        metrics = wide.columns[3:]
        if len(metrics):
            seeds[kind] = wide
            curves.append(
                estimates.Interval()(wide, ["config_id", "step"], metrics).assign(kind=kind)[curves[0].columns]
            )
    return seeds, pd.concat(curves[1:], ignore_index=True) if len(curves) > 1 else curves[0]


def _in_order(frame: pd.DataFrame, first: Sequence[str]) -> pd.DataFrame:
    """Columns `first`, then the metrics that are finite anywhere, as the catalogue lists them."""
    metrics = [name for name in METRICS if name in frame and np.isfinite(frame[name]).any()]
    return frame.reindex(columns=[*first, *metrics])


def _runs(
    asked: Sequence[tuple[ConfigSource, RunSource]],
    looks: Mapping[tuple[str, int], _Look],
    quarantine: pd.DataFrame,
) -> pd.DataFrame:
    bad = quarantine.groupby(["config_id", "seed"]).size().to_dict()
    lines = [
        (r.config_id, r.seed, r.state, looks[r.config_id, r.seed].last_step, c.total_steps, r.attempts,
         bad.get((r.config_id, r.seed), 0))
        for c, r in asked
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=["config_id", "seed", "state", "step", "total", "attempts", "quarantined"])


def _events(looks: Mapping[tuple[str, int], _Look]) -> pd.DataFrame:
    """First step of every schedule event per configuration."""
    lines = [(config_id, *event) for (config_id, _), look in looks.items() for event in look.events.items()]
    events = pd.DataFrame(lines, columns=["config_id", "event", "step"])
    return events.groupby(["config_id", "event"])["step"].min().reset_index()


def _scores(looks: Mapping[tuple[str, int], _Look]) -> pd.DataFrame:
    lines = [{"config_id": c, "seed": s, **look.scores} for (c, s), look in looks.items()]
    return pd.DataFrame(lines, columns=["config_id", "seed", "complete", *SCORES, "so_far", "final_points"])


# --- the ranking ---------------------------------------------------------------------------------------


def _ranking(configs: Sequence[ConfigSource], scores: pd.DataFrame) -> pd.DataFrame:
    """Columns config_id, label, planned, n, and mean, low and high of every score; best first, those without
    a finished run last, in the plan's order."""
    table = pd.DataFrame(
        [(c.config_id, c.name, c.is_baseline, len(c.runs)) for c in configs],
        columns=["config_id", "label", "is_baseline", "planned"],
    )
    names = [*SCORES, *APART, "so_far"]
    long = estimates.Interval()(scores, ["config_id"], names)
    for name in names:
        one = long[long["metric"] == name][["config_id", "mean", "sd", "low", "high", "n"]]
        table = table.merge(one.rename(columns=lambda c, name=name: c if c == "config_id" else f"{name}_{c}"),
                            on="config_id", how="left")  # fmt: skip
        table[f"{name}_n"] = table[f"{name}_n"].fillna(0).astype(int)
    by = ["final_planner_mean", "so_far_mean"]
    return table.sort_values(by, ascending=False, na_position="last", kind="stable", ignore_index=True)


def _random_episodes(seed: int, view: flags.RunView) -> set[tuple[int, int, float]]:
    """(seed, step, return) of the training episodes that ended before the seed phase did; none where no event marks
    its end."""
    end = _first_steps(view.rows.get("event", {})).get("seed_phase_end", -1)
    returns = view.series("episode", "episode_return")
    before = returns.steps <= end
    return {(seed, int(s), float(r)) for s, r in zip(returns.steps[before], returns.values[before], strict=True)}


def _random_reference(looks: Iterable[_Look]) -> RandomReference | None:
    """None where no run marked the end of its seed phase.

    A seed plays the same random episodes under every configuration that changes nothing before training, so
    equal episodes of one seed count once.
    """
    found = set().union(*(look.random for look in looks))
    if not found:
        return None
    returns = [episode_return for _, _, episode_return in sorted(found)]
    sd = float(np.std(returns, ddof=1)) if len(returns) > 1 else np.nan
    return RandomReference(float(np.mean(returns)), sd, max(returns), len(returns))
