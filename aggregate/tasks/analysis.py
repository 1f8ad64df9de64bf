"""The analysis across tasks as frames, from one line per run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from aggregate.statistics import estimates
from aggregate.statistics.alpha_spending import ONE_ANALYSIS, InterimAnalyses
from aggregate.tasks import task_estimates
from aggregate.tasks.references import Reference
from aggregate.tasks.task_estimates import stack

PROFILE_POINTS = 101
CURVE_POINTS = 20
NO_REFERENCE = "no reference"
SINGLE = "a single run"  # its spread is taken from the algorithm's other tasks
AHEAD, BEHIND, UNDECIDED = "ahead", "behind", "cannot tell"
AGGREGATES = {"mean": "mean", "iqm": "interquartile mean", "median": "median", "optimality_gap": "optimality gap"}


@dataclass(frozen=True)
class TaskAnalysis:
    """Algorithms on several tasks, on normalised scores.

    algorithms: by their mean over `common`, best first. tasks: with a reference. common: those of which all algorithms
    have a score. references: of `tasks`. runs: algorithm, task, seed, value (as measured), score.
    cells: algorithm, task, n, mean, low, high. missing: algorithm, task, runs (how many were asked for), reason.
    aggregates: algorithm, name (`AGGREGATES`), estimate, low, high over `common`; no interval of the median.
    profiles: algorithm, score, share, half (half the width of the band of the whole profile).
    ranks: algorithm, rank (mean over `common`), best (tasks).
    pairs: a, b, tasks, difference, low, high, p (Holm over the pairs), distinct, similar, similar_low, similar_high,
    similar_p (tasks like these, Holm too), improvement, improvement_low, improvement_high, ahead, behind (tasks, by
    sign), clear_ahead, clear_behind (by task with a false-discovery rate).
    by_task: a, b, task, difference, low, high, p, q (false-discovery rate over the tasks), relation.
    curves: algorithm, share (of the steps), name (mean and iqm), estimate, low, high.
    task_curves: algorithm, task, share, score; means over seeds of every task with a reference.
    analyses: interim analyses that p values are corrected for. next_command: what to run next, "" where the tasks are
    not those of one sweep.
    """

    algorithms: tuple[str, ...]
    tasks: tuple[str, ...]
    common: tuple[str, ...]
    references: Mapping[str, Reference]
    runs: pd.DataFrame
    cells: pd.DataFrame
    missing: pd.DataFrame
    aggregates: pd.DataFrame
    profiles: pd.DataFrame
    ranks: pd.DataFrame
    pairs: pd.DataFrame
    by_task: pd.DataFrame
    curves: pd.DataFrame
    task_curves: pd.DataFrame
    analyses: int = 1
    next_command: str = ""


Samples = Mapping[tuple[str, str], np.ndarray]  # (algorithm, task) -> scores of its runs


def analyse(
    runs: pd.DataFrame, references: Mapping[str, Reference], curves: pd.DataFrame | None = None,
    unusable: Mapping[str, str] | None = None, analyses: InterimAnalyses = ONE_ANALYSIS,
) -> TaskAnalysis:  # fmt: skip
    """runs: algorithm, task, seed, value, reason; value NaN for a run that has none, with the reason. references: by
    task. curves: algorithm, task, seed, share (of its task's steps), value; evaluations of runs. unusable: task -> why
    its declared reference cannot be used. analyses: interim analyses, for which p values are corrected.

    Equal for every order of the lines.
    """
    runs = runs.sort_values(["algorithm", "task", "seed"], ignore_index=True)
    every_task = sorted(set(runs["task"]))
    references = {task: references[task] for task in every_task if task in references}
    runs = runs.assign(score=_normalised(runs, references))
    samples = _samples(runs)
    named = sorted({name for name, _ in samples})  # one without any result would leave no task in common
    tasks = tuple(task for task in references if any((name, task) in samples for name in named))
    common = tuple(task for task in tasks if all((name, task) in samples for name in named))
    stacked = {name: stack([samples[name, task] for task in common]) for name in named} if common else {}
    means = {name: float(task_estimates.mean(scores).estimate) for name, scores in stacked.items()}
    algorithms = tuple(sorted(named, key=lambda name: -means.get(name, 0.0)))
    stacked = {name: stacked[name] for name in algorithms if common}
    pairs, by_task = _pairs(samples, algorithms, tasks, analyses)
    held = _held(curves, references)
    return TaskAnalysis(
        algorithms=algorithms,
        tasks=tasks,
        common=common,
        references=references,
        runs=runs,
        cells=_cells(samples, algorithms, tasks),
        missing=_missing(runs, samples, sorted(set(runs["algorithm"])), every_task, references, unusable or {}),
        aggregates=_aggregates(stacked),
        profiles=_profiles(stacked),
        ranks=_ranks(stacked, algorithms),
        pairs=pairs,
        by_task=by_task,
        curves=_curves(held, algorithms, common),
        task_curves=_task_curves(held, algorithms, tasks),
        analyses=analyses.count,
    )


def _samples(runs: pd.DataFrame) -> Samples:
    groups = runs.dropna(subset="score").groupby(["algorithm", "task"])
    return {(str(name), str(task)): part["score"].to_numpy() for (name, task), part in groups}


def _normalised(frame: pd.DataFrame, references: Mapping[str, Reference]) -> np.ndarray:
    """Scores of the column value; NaN where a task has no reference."""
    zero = frame["task"].map({task: reference.zero for task, reference in references.items()}).to_numpy(dtype=float)
    one = frame["task"].map({task: reference.one for task, reference in references.items()}).to_numpy(dtype=float)
    values = frame["value"].to_numpy(dtype=float)
    return np.where(np.isfinite(values), (values - zero) / (one - zero), np.nan)


def _cells(samples: Samples, algorithms: Sequence[str], tasks: Sequence[str]) -> pd.DataFrame:
    lines = []
    for name, task in itertools.product(algorithms, tasks):
        sample = samples.get((name, task), np.empty(0))
        mean = float(sample.mean()) if sample.size else np.nan
        spread = float(np.sqrt(estimates.variance(sample))) if sample.size > 1 else np.nan
        half = float(estimates.Interval().half_width(np.array(spread), np.array(sample.size)))
        lines.append((name, task, sample.size, mean, mean - half, mean + half))
    return pd.DataFrame(lines, columns=["algorithm", "task", "n", "mean", "low", "high"])


def _missing(
    runs: pd.DataFrame, samples: Samples, algorithms: Sequence[str], tasks: Sequence[str],
    references: Mapping[str, Reference], unusable: Mapping[str, str],
) -> pd.DataFrame:  # fmt: skip
    """What enters no aggregate: tasks without reference, algorithms without runs of a task, runs without a score."""
    lines: list[tuple[str, str, int, str]] = []
    groups = {(str(a), str(t)): part for (a, t), part in runs.groupby(["algorithm", "task"])}
    for task in tasks:
        if task not in references:
            lines.append(("", task, int((runs["task"] == task).sum()), unusable.get(task, NO_REFERENCE)))
            continue
        for name in algorithms:
            part = groups.get((name, task))
            if part is None:
                lines.append((name, task, 0, "no runs"))
                continue
            without = part[part["score"].isna()]
            for reason, own in without.groupby("reason", sort=True):
                lines.append((name, task, len(own), str(reason)))
            if (name, task) in samples and samples[name, task].size == 1:
                lines.append((name, task, 1, SINGLE))
    return pd.DataFrame(lines, columns=["algorithm", "task", "runs", "reason"])


def _aggregates(stacked: Mapping[str, np.ndarray]) -> pd.DataFrame:
    lines = []
    for name, scores in stacked.items():
        for which, estimate in (
            ("mean", task_estimates.mean(scores)),
            ("iqm", task_estimates.interquartile_mean(scores)),
            ("optimality_gap", task_estimates.optimality_gap(scores)),
        ):
            lines.append((name, which, float(estimate.estimate), *map(float, estimate.interval())))
        lines.append((name, "median", float(task_estimates.median(scores)), np.nan, np.nan))
    return pd.DataFrame(lines, columns=["algorithm", "name", "estimate", "low", "high"])


def _profiles(stacked: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Over scores from 0, or the lowest score below it, to 1, or the highest above it."""
    parts = [pd.DataFrame(columns=["algorithm", "score", "share", "half"])]
    if stacked:
        lowest = min(0.0, *(float(np.nanmin(scores)) for scores in stacked.values()))
        highest = max(1.0, *(float(np.nanmax(scores)) for scores in stacked.values()))
        at = np.linspace(lowest, highest, PROFILE_POINTS)
        for name, scores in stacked.items():
            share = task_estimates.profile(scores, at)
            half = task_estimates.profile_band(scores, at)
            parts.append(pd.DataFrame({"algorithm": name, "score": at, "share": share, "half": half}))
    return pd.concat(parts[1:], ignore_index=True) if len(parts) > 1 else parts[0]


def _ranks(stacked: Mapping[str, np.ndarray], algorithms: Sequence[str]) -> pd.DataFrame:
    """Ranks of the means by task, 1 the best; equal means share a rank, and being the best in parts."""
    if not stacked:
        return pd.DataFrame(columns=["algorithm", "rank", "best"])
    means = np.stack([np.nanmean(stacked[name], -1) for name in algorithms])
    ranks = stats.rankdata(-means, axis=0)
    best = means == means.max(0)
    return pd.DataFrame({"algorithm": list(algorithms), "rank": ranks.mean(-1), "best": (best / best.sum(0)).sum(-1)})


# --- pairs ----------------------------------------------------------------------------------------------

_PAIRS = ["a", "b", "tasks", "difference", "low", "high", "p", "distinct", "similar", "similar_low", "similar_high",
          "similar_p", "improvement", "improvement_low", "improvement_high", "ahead", "behind", "clear_ahead",
          "clear_behind"]  # fmt: skip
_BY_TASK = ["a", "b", "task", "difference", "low", "high", "p", "q", "relation"]


def _pairs(
    samples: Samples, algorithms: Sequence[str], tasks: Sequence[str], analyses: InterimAnalyses
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(pairs, by_task): every pair on the tasks of which both have scores; `a` stands before `b` in `algorithms`."""
    lines: list[dict[str, object]] = []
    details = [pd.DataFrame(columns=_BY_TASK)]
    for a, b in itertools.combinations(algorithms, 2):
        both = [task for task in tasks if (a, task) in samples and (b, task) in samples]
        if not both:
            continue
        own = _task_contrasts(samples, a, b, both, analyses)
        details.append(own)
        lines.append({"a": a, "b": b, "tasks": len(both)} | _compared(samples, a, b, both) | _counted(own))
    pairs = pd.DataFrame(lines, columns=[name for name in _PAIRS if name != "distinct"])
    for name in ("p", "similar_p"):
        pairs[name] = estimates.holm(analyses(pairs[name].to_numpy(dtype=float)))
    pairs = pairs.assign(distinct=pairs["p"] < estimates.ALPHA)[_PAIRS]
    return pairs, pd.concat(details[1:], ignore_index=True) if len(details) > 1 else details[0]


def _compared(samples: Samples, a: str, b: str, tasks: Sequence[str]) -> dict[str, object]:
    one, other = (stack([samples[name, task] for task in tasks]) for name in (a, b))
    on_these, similar = task_estimates.difference(one, other), task_estimates.difference_on_similar_tasks(one, other)
    better = task_estimates.improvement(one, other)
    values: dict[str, object] = {"p": float(on_these.p), "similar_p": float(similar.p)}
    bounds = (-np.inf, np.inf)
    for name, start, estimate, (least, most) in (
        ("difference", "", on_these, bounds),
        ("similar", "similar_", similar, bounds),
        ("improvement", "improvement_", better, (0.0, 1.0)),
    ):
        low, high = (float(np.clip(end, least, most)) for end in estimate.interval())
        values |= {name: float(estimate.estimate), f"{start}low": low, f"{start}high": high}
    return values


def _task_contrasts(samples: Samples, a: str, b: str, tasks: Sequence[str], analyses: InterimAnalyses) -> pd.DataFrame:
    """Welch's test on every task, corrected by the false-discovery rate over them."""
    lines = []
    for task in tasks:
        contrast = estimates.welch(samples[a, task], samples[b, task])
        difference, half = float(contrast.estimate), float(contrast.half_width())
        lines.append((a, b, task, difference, difference - half, difference + half, float(contrast.p)))
    frame = pd.DataFrame(lines, columns=_BY_TASK[:7])
    q = estimates.false_discovery(analyses(frame["p"].to_numpy(dtype=float)))
    side = np.where(frame["difference"] > 0, AHEAD, BEHIND)
    return frame.assign(q=q, relation=np.where(q < estimates.ALPHA, side, UNDECIDED))


def _counted(by_task: pd.DataFrame) -> dict[str, object]:
    return {
        "ahead": int((by_task["difference"] > 0).sum()),
        "behind": int((by_task["difference"] < 0).sum()),
        "clear_ahead": int((by_task["relation"] == AHEAD).sum()),
        "clear_behind": int((by_task["relation"] == BEHIND).sum()),
    }


# --- curves ---------------------------------------------------------------------------------------------


Held = Mapping[tuple[str, str], np.ndarray]  # (algorithm, task) -> scores (runs, CURVE_POINTS)
_AT = np.arange(1, CURVE_POINTS + 1) / CURVE_POINTS


def _held(curves: pd.DataFrame | None, references: Mapping[str, Reference]) -> Held:
    """The score of the last evaluation up to each of `CURVE_POINTS` equal shares of the steps; NaN before the first."""
    if curves is None or curves.empty:
        return {}
    curves = curves.sort_values(["algorithm", "task", "seed", "share"])
    curves = curves.assign(score=_normalised(curves, references)).dropna(subset="score")
    held: dict[tuple[str, str], list[np.ndarray]] = {}
    for (name, task, _), run in curves.groupby(["algorithm", "task", "seed"]):
        place = np.searchsorted(run["share"].to_numpy(), _AT + 1e-9, side="right") - 1
        scores = run["score"].to_numpy()[np.maximum(place, 0)]
        held.setdefault((str(name), str(task)), []).append(np.where(place >= 0, scores, np.nan))
    return {key: np.stack(runs) for key, runs in held.items()}


def _curves(held: Held, algorithms: Sequence[str], common: Sequence[str]) -> pd.DataFrame:
    """Mean and interquartile mean at equal shares of the steps, from the first on at which every run was evaluated."""
    lines = []
    for name in algorithms if common else ():
        if any((name, task) not in held for task in common):
            continue
        for i, share in enumerate(_AT):
            columns = [held[name, task][:, i] for task in common]
            if any(np.isnan(column).any() for column in columns):
                continue
            scores = stack(columns)
            for which, of in (("mean", task_estimates.mean), ("iqm", task_estimates.interquartile_mean)):
                estimate = of(scores)
                lines.append((name, share, which, float(estimate.estimate), *map(float, estimate.interval())))
    return pd.DataFrame(lines, columns=["algorithm", "share", "name", "estimate", "low", "high"])


def _task_curves(held: Held, algorithms: Sequence[str], tasks: Sequence[str]) -> pd.DataFrame:
    lines = [(name, task, share, score) for name, task in itertools.product(algorithms, tasks) if (name, task) in held
             for share, score in zip(_AT, held[name, task].mean(0), strict=True)]  # fmt: skip
    return pd.DataFrame(lines, columns=["algorithm", "task", "share", "score"])
