"""Detectors on all runs of a sweep, votes over seeds, and the components of the variance of evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from aggregate.flags.curve_features import variances
from aggregate.flags.detector import FLAG, NOT_ASSESSABLE, NOT_FOUND, OK, WARN, Detector, RunView
from aggregate.flags.reference import run_levels, sweep_reference
from aggregate.flags.registry import DETECTORS

WARN_SHARE, FLAG_SHARE = 1 / 3, 1 / 2  # of the seeds that could be judged

# How evaluations choose actions -> role of the metric of each episode.
_EPISODES = {"planner": "primary_episodes", "policy": "policy_without_mpc_episodes"}
COLUMNS = ("config_id", "seed", "flag", "state", "metric", "onset", "measured", "threshold", "unit", "detail")
Evaluations = Mapping[str, list[np.ndarray]]


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
    """By mode (planner, policy), the episodes of each evaluation in the second half of training."""
    return {mode: _late_episodes(view, role) for mode, role in _EPISODES.items()}


def variance_split(runs: Iterable[tuple[str, Evaluations]]) -> pd.DataFrame:
    """Components of variance of the evaluations in the second half: one line per configuration and mode.

    runs: config_id and `late_evaluations` of each run. episodes, time, seeds: standard deviations, in the unit of the
    primary metric, between episodes of one evaluation, between evaluations of a seed (without sampling error of the
    episodes and a linear trend), and between seeds (without both); NaN with too few of them: one episode, fewer than 4
    evaluations, one seed. per_evaluation: mean number of episodes of an evaluation.
    """
    configs: dict[tuple[str, str], list[list[np.ndarray]]] = {}
    for config_id, late in runs:
        for mode, evaluations in late.items():
            configs.setdefault((config_id, mode), []).append(evaluations)
    lines = [(*key, *_components(seeds), _mean_size(seeds)) for key, seeds in configs.items()]
    return pd.DataFrame(lines, columns=["config_id", "mode", "episodes", "time", "seeds", "per_evaluation"])


def _mean_size(seeds: list[list[np.ndarray]]) -> float:
    sizes = [e.size for evaluations in seeds for e in evaluations if e.size]
    return float(np.mean(sizes)) if sizes else np.nan


def _late_episodes(view: RunView, role: str) -> list[np.ndarray]:
    steps, episodes = view.lists(role)
    # copies: a view of one value would keep all rows of the run in memory
    return [e.copy() for step, e in zip(steps, episodes, strict=True) if step > view.total_steps / 2]


def _components(seeds: list[list[np.ndarray]]) -> tuple[float, float, float]:
    """(episodes, time, seeds) of `variance_split` from each seed's evaluations."""
    seeds = [[e for e in evaluations if e.size > 1 and np.isfinite(e).all()] for evaluations in seeds]
    seeds = [evaluations for evaluations in seeds if evaluations]
    if not seeds:
        return np.nan, np.nan, np.nan
    every = [e for evaluations in seeds for e in evaluations]
    spreads = variances(every)
    episodes, sampling = float(spreads.mean()), float((spreads / [e.size for e in every]).mean())
    means = [np.array([e.mean() for e in evaluations]) for evaluations in seeds]
    over_time = [_about_trend(m) for m in means if m.size >= 4]
    time = max(0.0, float(np.mean(over_time)) - sampling) if over_time else np.nan
    between = np.nan
    if len(means) > 1 and over_time:
        within = np.mean([(time + sampling) / m.size for m in means])
        between = max(0.0, float(np.var([m.mean() for m in means], ddof=1) - within))
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
