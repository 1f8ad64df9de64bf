"""The best configuration of a sweep of several tasks, and what may be claimed of the others."""

from __future__ import annotations

from collections.abc import Mapping

from aggregate.analysis.configuration_comparison import BEHIND, OPEN
from aggregate.analysis.summary import Summary
from aggregate.tasks.analysis import TaskAnalysis
from aggregate.tasks.from_sweeps import across_tasks, algorithm_names, is_clear
from aggregate.verdict.leader import Final, Leaderboard, Rival
from sweepwise.core.errors import AggregateError


def task_leaderboard(summary: Summary) -> tuple[Leaderboard, int]:
    """(mean normalised scores of all configurations, best first; tasks of which all have results). summary: of the
    sweeps of one plan that differ in their task. `Leaderboard.finals` has every configuration's ID on every task; the
    seeds are runs over all tasks.

    Raises `AggregateError` where no task has results of all configurations.
    """
    analysis = across_tasks(summary, {})
    every = algorithm_names(summary)
    names = {c.config_id: every[c.config_id] for sweep in summary.every for c in sweep.source.configs}
    if analysis is None or not analysis.common:
        of = summary.every[0].source.tasks_of
        raise AggregateError(f"{of}: no two tasks have a reference and results of all configurations; `sweeps status`")
    finals = {config_id: _final(analysis, config_id, name) for config_id, name in names.items()}
    by_name = {final.label: final for final in reversed(finals.values())}
    baseline = next((sweep.source.baseline for sweep in summary.every if sweep.source.baseline), "")
    best, rivals = by_name[analysis.algorithms[0]], _rivals(analysis, by_name)
    return Leaderboard(finals, best, is_clear(analysis), rivals, baseline), len(analysis.common)


def _final(analysis: TaskAnalysis, config_id: str, name: str) -> Final:
    own = analysis.aggregates[(analysis.aggregates["algorithm"] == name) & (analysis.aggregates["name"] == "mean")]
    runs = analysis.runs[(analysis.runs["algorithm"] == name) & analysis.runs["task"].isin(analysis.common)]
    mean, low, high = own[["estimate", "low", "high"]].iloc[0] if len(own) else (float("nan"),) * 3
    return Final(config_id, name, float(mean), float(low), float(high), int(runs["score"].notna().sum()))


def _rivals(analysis: TaskAnalysis, by_name: Mapping[str, Final]) -> tuple[Rival, ...]:
    """The others, best first: behind where the mean of the paired differences says so."""
    pairs = analysis.pairs[analysis.pairs["a"] == analysis.algorithms[0]]
    return tuple(
        Rival(by_name[line["b"]].config_id, str(line["b"]),
              BEHIND if line["distinct"] and line["difference"] > 0 else OPEN,
              by_name[line["b"]].seeds, 0, float(-line["low"]))
        for line in pairs.to_dict("records")
    )  # fmt: skip
