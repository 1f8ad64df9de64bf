"""Scores of a run, one line per run; and the means of evaluations after training, over the same number of episodes."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.flags.curve_features import jitter
from aggregate.inputs.plan_questions import ENDPOINTS
from aggregate.inputs.runs import DONE, Evaluated, SweepSource
from aggregate.statistics import estimates
from sweepwise.core.metrics import IS_FINAL

MODES = {"primary": "primary", "policy": "policy_without_mpc"}  # ending of a score -> role of its metric
LAST_SHARE = 0.1  # of training is "final",
LAST_POINTS = 4  # if at least so many evaluations fall in it; else the last so many
SCORES = ("final_primary", "final_policy", "auc_primary", "auc_policy", "large_primary", "large_policy", "training",
          "fall_primary", "noise_primary", "noise_policy")  # fmt: skip
EVALUATION = ENDPOINTS["evaluation"].column  # of evaluations after training


def run_scores(view: flags.RunView, fewest: int = LAST_POINTS) -> dict[str, float | bool]:
    """Scores of one run, NaN where it has none; in the unit of the metric, whichever direction is better.

    final_*: mean evaluation result over the last 10 % of training, over the last `fewest` evaluations where fewer
    fall there (`final_points` says how many entered); auc_*: area under the evaluation curve divided
    by the steps it spans; large_*: the large evaluation after the last step; training: mean return of the
    training episodes in the last 10 %; fall_primary: how much worse the last window of evaluations is than the best
    (`estimates.split_fall`); noise_*: how far evaluations of the second half jump from one to the next. All of
    these need a run that came to its end. so_far: mean of the last 4 evaluations of any run.
    """
    evaluated = view.series("primary")
    reached = evaluated.steps[-1] if evaluated.steps.size else 0
    border = (1 - LAST_SHARE) * view.total_steps
    complete = bool(reached >= view.total_steps or (view.state == DONE and reached > border))
    scores: dict[str, float | bool] = dict.fromkeys(SCORES, np.nan)
    scores |= {"complete": complete, "final_points": 0, "so_far": _mean(evaluated.values[-LAST_POINTS:])}
    if not complete:
        return scores
    for mode, role in MODES.items():
        series = view.series(role)
        last = max(int(np.sum(series.steps > border)), fewest)
        scores[f"final_{mode}"] = _mean(series.values[-last:])
        scores[f"auc_{mode}"] = _area(series)
        half = series.values[series.steps > view.total_steps / 2]
        scores[f"noise_{mode}"] = jitter(half) if half.size >= LAST_POINTS else np.nan
        scores[f"large_{mode}"] = _large_evaluation(view, role)
    halves = view.halves
    decline = estimates.split_fall(halves.one, halves.other)
    scores["fall_primary"] = decline.fall if decline is not None else np.nan
    scores["final_points"] = min(max(int(np.sum(evaluated.steps > border)), fewest), evaluated.steps.size)
    episodes = view.series("training_return")
    scores["training"] = _mean(episodes.values[episodes.steps > border])
    return scores


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def _area(series: flags.Series) -> float:
    """Mean height of the curve between its first and last point."""
    if series.steps.size < 2 or series.steps[-1] == series.steps[0]:
        return np.nan
    return float(np.trapezoid(series.values, series.steps) / (series.steps[-1] - series.steps[0]))


def _large_evaluation(view: flags.RunView, role: str) -> float:
    metric = view.metric(role)
    rows = view.rows.get(metric.kind, {}) if metric else {}
    if metric is None or metric.name not in rows or IS_FINAL not in rows:
        return np.nan
    values = np.asarray(rows[metric.name])[np.asarray(rows[IS_FINAL]) == 1]
    if values.dtype == object:  # lists, although declared as numbers
        return np.nan
    return _mean(values[np.isfinite(values)][-1:])  # the newest: a run that was extended has one at its former end too


# --- evaluations after training ---------------------------------------------------------------------------


class EvaluationKind(NamedTuple):
    """episodes: their number, 0 without evaluations. snapshots: see `Evaluated`."""

    episodes: int
    snapshots: tuple[int, ...] = ()

    @property
    def weights(self) -> int:
        """Number of snapshots."""
        return len(self.snapshots) or 1

    def __str__(self) -> str:
        return format_kind(self.episodes, self.weights)


def format_kind(episodes: int, snapshots: int) -> str:
    """`100 episodes of the last weights`."""
    return f"{episodes} episodes of the last {f'{snapshots} snapshots' if snapshots > 1 else 'weights'}"


def kind_of(evaluation: Evaluated) -> EvaluationKind:
    return EvaluationKind(len(evaluation.returns), evaluation.snapshots)


def evaluation_kind(sweep: SweepSource) -> EvaluationKind:
    """How most runs of the sweep, and of those that its questions need, were evaluated; of two that are equally
    frequent, with more snapshots or more episodes."""
    runs = (run for config in sweep.all_configs for run in config.runs)
    counts = Counter(kind_of(evaluation) for run in runs for evaluation in run.evaluations)
    return max(counts, key=lambda kind: (counts[kind], kind.weights, kind), default=EvaluationKind(0))


def with_evaluations(scores: pd.DataFrame, sweep: SweepSource) -> pd.DataFrame:
    """`scores` with `EVALUATION`: the mean over the episodes of `evaluation_kind`; NaN for a run that was not evaluated
    so, so that no configuration is compared on more episodes or later weights than another. scores: one line per
    run."""
    kind = evaluation_kind(sweep)
    means = {
        (run.config_id, run.seed): float(np.mean(evaluation.returns))
        for config in sweep.all_configs
        for run in config.runs
        for evaluation in run.evaluations
        if kind_of(evaluation) == kind
    }
    runs = zip(scores["config_id"], scores["seed"], strict=True)
    return scores.assign(**{EVALUATION: pd.Series([means.get(run, np.nan) for run in runs], scores.index, dtype=float)})
