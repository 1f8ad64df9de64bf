"""Everything the report shows, as frames: one `SweepSummary` per sweep, over rows that were read once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate import effects, flags, grid, load, questions, stats
from aggregate.flags.pieces import jitter
from aggregate.load import AggregateError, ConfigSource, SweepSource
from tdmpc import catalogue

__all__ = ["AggregateError", "RandomReference", "Summary", "SweepSummary", "summarise"]

MODES = ("planner", "policy")
LAST_SHARE = 0.1  # of training is "final" ...
LAST_POINTS = 4  # ... where that many evaluations fall in it, else the last so many
SCORES = ("final_planner", "final_policy", "auc_planner", "auc_policy", "large_planner", "large_policy", "training",
          "fall_planner", "noise_planner", "noise_policy")  # fmt: skip
APART = ("healthy_planner", "worst_planner")  # the final return again, judged by how runs ended
CRASHED = (load.DIVERGED, load.FAILED)


@dataclass(frozen=True)
class RandomReference:
    """Return of the `n` different episodes of random actions before training, all runs together."""

    mean: float
    sd: float
    best: float
    n: int


@dataclass(frozen=True)
class SweepSummary:
    """One sweep.

    runs: config_id, seed, state, step, total, attempts, quarantined; one line per run asked for.
    curves: config_id, kind, metric, step, mean, sd, low, high, n over seeds. seeds: the same per seed, wide,
    by kind. events: config_id, event, step. scores: one line per run (`SCORES`, `APART`,
    `final_points`).
    ranking: one line per configuration, best first. contrasts: each configuration against the best
    (`stats.AgainstBest`). baseline: each against the baseline (`stats.AgainstBaseline`), empty without one.
    effects: of the factors. replies: to the plan's questions (`questions.replies`). findings, votes, variance:
    `flags.judge`, `flags.vote`, `flags.variance_split`. last_step: of the whole sweep. origins: see `load.Loaded`.
    """

    source: SweepSource
    runs: pd.DataFrame
    curves: pd.DataFrame
    seeds: dict[str, pd.DataFrame]
    events: pd.DataFrame
    scores: pd.DataFrame
    ranking: pd.DataFrame
    contrasts: pd.DataFrame
    baseline: pd.DataFrame
    effects: effects.Effects
    replies: pd.DataFrame
    findings: pd.DataFrame
    votes: pd.DataFrame
    variance: pd.DataFrame
    random: RandomReference | None
    total_steps: int
    origins: pd.DataFrame

    def config(self, config_id: str) -> ConfigSource:
        return next(config for config in self.source.configs if config.config_id == config_id)


@dataclass(frozen=True)
class Summary:
    """All sweeps asked for. rows and quarantine: see `load.Loaded`."""

    sweeps: tuple[SweepSummary, ...]
    rows: pd.DataFrame
    quarantine: pd.DataFrame


def summarise(sweeps: Sequence[SweepSource]) -> Summary:
    """Read, bin and judge. Raises `AggregateError` (one line) where there is nothing to aggregate."""
    loaded = load.load(sweeps)
    by_run = {
        (str(config_id), int(seed)): rows
        for (config_id, seed), rows in loaded.rows.groupby(["config_id", "seed"], observed=True)
    }
    done = tuple(_summarise_sweep(sweep, by_run, loaded) for sweep in sweeps)
    return Summary(done, loaded.rows, loaded.quarantine)


def _summarise_sweep(
    sweep: SweepSource, by_run: dict[tuple[str, int], pd.DataFrame], loaded: load.Loaded
) -> SweepSummary:
    asked = [(config, run) for config in sweep.configs for run in config.runs]
    rows_of = _rows_of(asked, by_run)
    rows = pd.concat(rows_of.values(), ignore_index=True)
    total = max((config.total_steps for config in sweep.configs), default=1)
    seeds, curves = _curves(rows, total)
    views = _views(asked, rows_of)
    listed = [(config_id, seed, view) for (config_id, seed), view in views.items()]
    baseline = next((config.config_id for config in sweep.configs if config.is_baseline), "")
    findings = flags.judge(listed, baseline)
    random = _random_reference(views)
    scores = _apart(_scores(views), views, findings, random)
    finished = scores.loc[scores["complete"].astype(bool), ["config_id", "seed"]]
    late = effects.last_quarter(rows, total).merge(finished, on=["config_id", "seed"])
    return SweepSummary(
        source=sweep,
        runs=_runs(asked, views, loaded.quarantine),
        curves=curves,
        seeds=seeds,
        events=_events(rows),
        scores=scores,
        ranking=_ranking(sweep, scores),
        contrasts=stats.AgainstBest()(scores, "config_id", effects.PRIMARY),
        baseline=stats.AgainstBaseline()(scores, "config_id", effects.PRIMARY, baseline),
        effects=effects.effects(sweep, scores, late, findings),
        replies=_replies(sweep, by_run, scores, findings),
        findings=findings,
        votes=flags.vote(findings),
        variance=flags.variance_split(listed),
        random=random,
        total_steps=total,
        origins=loaded.origins[_of_runs(loaded.origins, rows_of)],
    )


def _rows_of(
    asked: Sequence[tuple[ConfigSource, load.RunSource]], by_run: Mapping[tuple[str, int], pd.DataFrame]
) -> dict[tuple[str, int], pd.DataFrame]:
    """Rows of each run up to the steps asked for: of one that was extended the rest is no part of this."""
    empty = next(iter(by_run.values())).iloc[:0]
    found = {}
    for config, run in asked:
        rows = by_run.get((run.config_id, run.seed), empty)
        found[run.config_id, run.seed] = rows[rows["step"] <= config.total_steps]
    return found or {("", 0): empty}


def _views(
    asked: Sequence[tuple[ConfigSource, load.RunSource]], rows_of: Mapping[tuple[str, int], pd.DataFrame]
) -> dict[tuple[str, int], flags.RunView]:
    return {
        (run.config_id, run.seed): flags.RunView(
            _by_kind(rows_of[run.config_id, run.seed]), config.total_steps, run.state, config.config
        )
        for config, run in asked
    }


def _replies(
    sweep: SweepSource,
    by_run: Mapping[tuple[str, int], pd.DataFrame],
    scores: pd.DataFrame,
    findings: pd.DataFrame,
) -> pd.DataFrame:
    """`questions.replies`, with the configurations of other sweeps that questions need."""
    own = {config.config_id for config in sweep.configs}
    others = [(c, run) for c in sweep.all_configs if c.config_id not in own for run in c.runs]
    if others:
        views = _views(others, _rows_of(others, by_run))
        scores = pd.concat([scores, _scores(views)], ignore_index=True)
        judged = flags.judge([(config_id, seed, view) for (config_id, seed), view in views.items()])
        findings = pd.concat([findings, judged], ignore_index=True)
    return questions.replies(sweep, scores, findings)


def _of_runs(frame: pd.DataFrame, runs: Collection[tuple[str, int]]) -> np.ndarray:
    """Which lines of `frame` are of one of `runs`."""
    return np.array([run in runs for run in zip(frame["config_id"], frame["seed"], strict=True)], dtype=bool)


def _by_kind(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(kind): part for kind, part in rows.groupby("kind", observed=True)}


def _curves(rows: pd.DataFrame, total: int) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """(per seed and wide, by kind; over seeds and long)."""
    seeds: dict[str, pd.DataFrame] = {}
    curves = [pd.DataFrame(columns=["config_id", "kind", "metric", "step", "mean", "sd", "low", "high", "n"])]
    for kind, part in _by_kind(rows).items():
        metrics = [
            name
            for name, metric in catalogue.METRICS.items()
            if metric.kind == kind and not metric.is_list and metric.unit != "bool"
            and name in part and part[name].notna().any()
        ]  # fmt: skip
        if not metrics:
            continue
        on_bins = kind in ("train", "episode")
        seeds[kind] = grid.binned(part, total, metrics) if on_bins else grid.own_points(part, metrics)
        means = stats.Interval()(seeds[kind], ["config_id", "step"], metrics)
        curves.append(means.assign(kind=kind)[curves[0].columns])
    return seeds, pd.concat(curves[1:], ignore_index=True) if len(curves) > 1 else curves[0]


def _runs(
    asked: Sequence[tuple[ConfigSource, load.RunSource]],
    views: dict[tuple[str, int], flags.RunView],
    quarantine: pd.DataFrame,
) -> pd.DataFrame:
    bad = quarantine.groupby(["config_id", "seed"]).size().to_dict()
    lines = [
        (r.config_id, r.seed, r.state, views[r.config_id, r.seed].last_step, c.total_steps, r.attempts,
         bad.get((r.config_id, r.seed), 0))
        for c, r in asked
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=["config_id", "seed", "state", "step", "total", "attempts", "quarantined"])


def _events(rows: pd.DataFrame) -> pd.DataFrame:
    """First step of every schedule event per configuration."""
    events = rows[(rows["kind"] == "event") & rows["event"].notna()].astype({"event": str})
    return events.groupby(["config_id", "event"], observed=True)["step"].min().reset_index()


# --- scores ---------------------------------------------------------------------------------------------


def _scores(views: dict[tuple[str, int], flags.RunView]) -> pd.DataFrame:
    lines = [{"config_id": c, "seed": s, **run_scores(view)} for (c, s), view in views.items()]
    return pd.DataFrame(lines, columns=["config_id", "seed", "complete", *SCORES, "so_far", "final_points"])


def _apart(
    scores: pd.DataFrame,
    views: Mapping[tuple[str, int], flags.RunView],
    findings: pd.DataFrame,
    random: RandomReference | None,
) -> pd.DataFrame:
    """With the columns of `APART`: the final return of runs that did not collapse, and of all runs where one that
    crashed counts as the worst there is: the lowest that was reached, or random actions where those are lower."""
    collapsed = findings[(findings["flag"] == "evaluation_collapse") & (findings["state"] == flags.FLAG)]
    fallen = set(zip(collapsed["config_id"], collapsed["seed"], strict=True))
    runs = list(zip(scores["config_id"], scores["seed"], strict=True))
    final = scores["final_planner"]
    worst = np.nanmin([*final, random.mean if random else np.nan]) if final.notna().any() else np.nan
    crashed = [views[run].state in CRASHED and np.isnan(value) for run, value in zip(runs, final, strict=True)]
    return scores.assign(
        healthy_planner=final.mask([run in fallen for run in runs]), worst_planner=final.mask(crashed, worst)
    )


def run_scores(view: flags.RunView) -> dict[str, float | bool]:
    """Scores of one run, NaN where it has none.

    final_*: mean evaluation return over the last 10 % of training, over the last 4 evaluations where fewer
    than 4 fall there (`final_points` says how many entered); auc_*: area under the evaluation curve divided
    by the steps it spans; large_*: the large evaluation after the last step; training: mean return of the
    training episodes in the last 10 %; fall_planner: from the best window of evaluations to the last
    (`stats.split_fall`); noise_*: how far evaluations of the second half jump from one to the next. All of
    these need a run that came to its end. so_far: mean of the last 4 evaluations of any run.
    """
    evaluated = view.series("eval", "eval_return_planner")
    reached = evaluated.steps[-1] if evaluated.steps.size else 0
    border = (1 - LAST_SHARE) * view.total_steps
    complete = bool(reached >= view.total_steps or (view.state == load.DONE and reached > border))
    scores: dict[str, float | bool] = dict.fromkeys(SCORES, np.nan)
    scores |= {"complete": complete, "final_points": 0, "so_far": _mean(evaluated.values[-LAST_POINTS:])}
    if not complete:
        return scores
    for mode in MODES:
        series = view.series("eval", f"eval_return_{mode}")
        last = max(int(np.sum(series.steps > border)), LAST_POINTS)
        scores[f"final_{mode}"] = _mean(series.values[-last:])
        scores[f"auc_{mode}"] = _area(series)
        half = series.values[series.steps > view.total_steps / 2]
        scores[f"noise_{mode}"] = jitter(half) if half.size >= LAST_POINTS else np.nan
        scores[f"large_{mode}"] = _large_evaluation(view, mode)
    _, episodes_of = view.lists("eval", "eval_return_planner_episodes")
    halves = np.array([(e[::2].mean(), e[1::2].mean()) for e in episodes_of if e.size > 1]).reshape(-1, 2)
    found = stats.split_fall(halves[:, 0], halves[:, 1])
    scores["fall_planner"] = found.fall if found is not None else np.nan
    scores["final_points"] = min(max(int(np.sum(evaluated.steps > border)), LAST_POINTS), evaluated.steps.size)
    episodes = view.series("episode", "episode_return")
    scores["training"] = _mean(episodes.values[episodes.steps > border])
    return scores


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def _area(series: flags.Series) -> float:
    """Mean height of the curve between its first and last point."""
    if series.steps.size < 2 or series.steps[-1] == series.steps[0]:
        return np.nan
    return float(np.trapezoid(series.values, series.steps) / (series.steps[-1] - series.steps[0]))


def _large_evaluation(view: flags.RunView, mode: str) -> float:
    rows = view.rows["eval"]
    name = f"eval_return_{mode}"
    if name not in rows:
        return np.nan
    # the newest: a run that was extended has one at its former end too
    return _mean(rows.loc[rows["eval_is_final"] == 1, name].dropna().to_numpy(dtype=float)[-1:])


def _ranking(sweep: SweepSource, scores: pd.DataFrame) -> pd.DataFrame:
    """Columns config_id, label, planned, n, and mean, low and high of every score; best first, those without
    a finished run last, in the plan's order."""
    table = pd.DataFrame(
        [(c.config_id, c.name, c.is_baseline, len(c.runs)) for c in sweep.configs],
        columns=["config_id", "label", "is_baseline", "planned"],
    )
    names = [*SCORES, *APART, "so_far"]
    long = stats.Interval()(scores, ["config_id"], names)
    for name in names:
        one = long[long["metric"] == name][["config_id", "mean", "sd", "low", "high", "n"]]
        table = table.merge(one.rename(columns=lambda c, name=name: c if c == "config_id" else f"{name}_{c}"),
                            on="config_id", how="left")  # fmt: skip
        table[f"{name}_n"] = table[f"{name}_n"].fillna(0).astype(int)
    by = ["final_planner_mean", "so_far_mean"]
    return table.sort_values(by, ascending=False, na_position="last", kind="stable", ignore_index=True)


def _random_reference(views: Mapping[tuple[str, int], flags.RunView]) -> RandomReference | None:
    """From the training episodes that ended before the seed phase did; None where no run marked its end.

    A seed plays the same random episodes under every configuration that changes nothing before training, so
    equal episodes of one seed count once.
    """
    found: set[tuple[int, int, float]] = set()
    for (_, seed), view in views.items():
        events, episodes = view.rows.get("event"), view.rows.get("episode")
        if events is None or episodes is None or "episode_return" not in episodes:
            continue
        end = events.loc[events["event"] == "seed_phase_end", "step"]
        if len(end):
            before = episodes.loc[episodes["step"] <= end.iloc[0]].dropna(subset="episode_return")
            found |= {(seed, int(s), float(r)) for s, r in zip(before["step"], before["episode_return"], strict=True)}
    if not found:
        return None
    returns = [episode_return for _, _, episode_return in sorted(found)]
    sd = float(np.std(returns, ddof=1)) if len(returns) > 1 else np.nan
    return RandomReference(float(np.mean(returns)), sd, max(returns), len(returns))
