"""Detectors on all runs of a sweep, votes over seeds, and the components of the variance of evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aggregate.flags.curve_features import complete, means, variances
from aggregate.flags.detector import FLAG, NOT_ASSESSABLE, NOT_FOUND, OK, WARN, Detector, RunView
from aggregate.flags.reference import run_levels, sweep_reference
from aggregate.flags.registry import DETECTORS

WARN_SHARE, FLAG_SHARE = 1 / 3, 1 / 2  # of the seeds that could be judged

# How evaluations choose actions -> role of the metric of each episode.
_EPISODES = {"planner": "primary_episodes", "policy": "policy_without_mpc_episodes"}
COLUMNS = ("config_id", "seed", "flag", "state", "metric", "onset", "measured", "threshold", "unit", "detail")


class LateEvaluations(NamedTuple):
    """Evaluations of a run in the second half of training. sizes: episodes of each evaluation that has any. used,
    means, spreads: size, mean and variance of those of two or more finite episodes. about_trend: variance of the means
    about a linear trend, NaN below four."""

    sizes: tuple[int, ...]
    used: tuple[int, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    about_trend: float


Evaluations = Mapping[str, LateEvaluations]


def judge(runs: Iterable[tuple[str, int, RunView]], baseline: str | None = None) -> pd.DataFrame:
    """One line per (config_id, seed, flag): `COLUMNS`.

    threshold: the value that this run had to exceed (`Finding.least`). baseline: config_id, None without one.
    """
    listed = list(runs)
    compared = sweep_reference(
        (run_levels(view) for _, _, view in listed),
        (run_levels(view) for config_id, _, view in listed if config_id == baseline),
        next((view.sign for _, _, view in listed), 1),
    )
    views = ((config_id, seed, dataclasses.replace(view, reference=compared)) for config_id, seed, view in listed)
    return pd.DataFrame([line for run in views for line in judge_run(*run)], columns=COLUMNS)


def judge_run(config_id: str, seed: int, view: RunView, among: Iterable[Detector] = DETECTORS) -> list[tuple[Any, ...]]:
    """The lines of one run by the detectors `among`; those that compare it with the sweep need its `reference`."""
    return [
        (config_id, seed, d.name, f.state, d.metric_of(view.agent), f.onset, f.measured, f.least, d.unit, f.text)
        for d in among
        for f in [d.assess(view)]
    ]


def late_evaluations(view: RunView) -> Evaluations:
    """By mode (planner, policy), the evaluations in the second half of training."""
    return {mode: _late(view, role) for mode, role in _EPISODES.items()}


def variance_split(runs: Iterable[tuple[str, Evaluations]]) -> pd.DataFrame:
    """Components of variance of the evaluations in the second half: one line per configuration and mode.

    runs: config_id and `late_evaluations` of each run. episodes, time, seeds: standard deviations, in the unit of the
    primary metric, between episodes of one evaluation, between evaluations of a seed (without sampling error of the
    episodes and a linear trend), and between seeds (without both); NaN with too few of them: one episode, fewer than 4
    evaluations, one seed. per_evaluation: mean number of episodes of an evaluation.
    """
    configs: dict[tuple[str, str], list[LateEvaluations]] = {}
    for config_id, late in runs:
        for mode, evaluations in late.items():
            configs.setdefault((config_id, mode), []).append(evaluations)
    lines = [(*key, *_components(seeds), _mean_size(seeds)) for key, seeds in configs.items()]
    return pd.DataFrame(lines, columns=["config_id", "mode", "episodes", "time", "seeds", "per_evaluation"])


def _mean_size(seeds: list[LateEvaluations]) -> float:
    sizes = [size for evaluations in seeds for size in evaluations.sizes]
    return float(np.mean(sizes)) if sizes else np.nan


def _late(view: RunView, role: str) -> LateEvaluations:
    steps, episodes = view.lists(role)
    late = [e for step, e in zip(steps, episodes, strict=True) if step > view.total_steps / 2]
    used = [late[place] for place in complete(late)]
    averages = means(used)
    return LateEvaluations(
        sizes=tuple(e.size for e in late if e.size),
        used=tuple(e.size for e in used),
        means=tuple(averages.tolist()),
        spreads=tuple(variances(used).tolist()),
        about_trend=_about_trend(averages) if len(used) >= 4 else np.nan,
    )


def _components(seeds: list[LateEvaluations]) -> tuple[float, float, float]:
    """(episodes, time, seeds) of `variance_split` from each seed's evaluations."""
    seeds = [evaluations for evaluations in seeds if evaluations.used]
    if not seeds:
        return np.nan, np.nan, np.nan
    spreads = np.concatenate([evaluations.spreads for evaluations in seeds])
    episodes = float(spreads.mean())
    sampling = float((spreads / np.concatenate([evaluations.used for evaluations in seeds])).mean())
    over_time = [evaluations.about_trend for evaluations in seeds if len(evaluations.used) >= 4]
    time = max(0.0, float(np.mean(over_time)) - sampling) if over_time else np.nan
    between = np.nan
    if len(seeds) > 1 and over_time:
        within = np.mean([(time + sampling) / len(evaluations.used) for evaluations in seeds])
        means = [np.mean(evaluations.means) for evaluations in seeds]
        between = max(0.0, float(np.var(means, ddof=1) - within))
    return float(np.sqrt(episodes)), float(np.sqrt(time)), float(np.sqrt(between))


def _about_trend(values: np.ndarray) -> float:
    """Variance about a linear trend."""
    at = np.arange(values.size)
    rest = values - np.polyval(np.polyfit(at, values, 1), at)
    return float(rest @ rest / (values.size - 2))


def not_found(findings: pd.DataFrame) -> dict[str, str]:
    """Flag -> what runs without it may still have, in the run whose length and noise limit the flag most.

    Of flags that say nothing of it: the largest value that a run had to exceed.
    """
    quiet = findings[(findings["state"] == OK) & (findings["threshold"] > 0)]
    limits = {}
    for line in quiet.sort_values("threshold", ascending=False).drop_duplicates("flag").to_dict("records"):
        limit = str(line["detail"] or "").partition(NOT_FOUND)[2]
        limits[str(line["flag"])] = limit or f"less than {line['threshold']:.3g} {line['unit']}"
    return limits


def vote(findings: pd.DataFrame) -> pd.DataFrame:
    """Votes over seeds: one line per (config_id, flag) with the counts raised, assessable and seeds, and the state.

    flag from half, warn from a third of the seeds that could be judged; not assessable where none could.
    """
    keys = ["config_id", "flag"]
    counted = findings.assign(raised=findings["state"] == FLAG, assessable=findings["state"] != NOT_ASSESSABLE, seeds=1)
    votes = counted.groupby(keys, sort=False, observed=True)[["raised", "assessable", "seeds"]].sum().reset_index()
    share = votes["raised"] / votes["assessable"].where(votes["assessable"] > 0)
    states = np.select([share.isna(), share >= FLAG_SHARE, share >= WARN_SHARE], [NOT_ASSESSABLE, FLAG, WARN], OK)
    return votes.assign(state=states)
