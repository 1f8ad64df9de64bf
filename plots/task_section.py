"""The report's section across tasks: what its template shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aggregate.tasks import task_verdict
from aggregate.tasks.analysis import AGGREGATES, AHEAD, BEHIND, TaskAnalysis
from aggregate.verdict.number_format import estimate, number, short_probability, signed_estimate
from plots import task_figures
from plots.csv_downloads import Download, frame_download
from plots.theme import line_styles

_WIDE, _NARROW = 1000.0, 360.0
TITLES = {
    "runs": "Runs: result and normalised score",
    "cells": "Algorithm by task: mean and interval",
    "aggregates": "Aggregates over the tasks",
    "profiles": "Performance profiles",
    "ranks": "Mean ranks",
    "pairs": "Differences between algorithms",
    "by_task": "Differences by task, with false-discovery rate",
    "curves": "Aggregates over steps",
    "task_curves": "Mean scores of every task over steps",
    "missing": "What is missing",
}


def section(analysis: TaskAnalysis) -> dict[str, Any]:
    """The values of the template."""
    styles = line_styles([list(analysis.algorithms)])
    scores = analysis.task_curves["score"].to_numpy(dtype=float)
    scores = np.append(scores[np.isfinite(scores)], [0.0, 1.0])
    pictures = {}
    if analysis.common:
        pictures["aggregates"] = [task_figures.aggregates(analysis, styles, width) for width in (_WIDE, _NARROW)]
        pictures["profiles"] = [task_figures.profiles(analysis, styles, width) for width in (_WIDE / 2, _NARROW)]
    if len(analysis.curves):
        for which in ("mean", "iqm"):
            pictures[which] = [task_figures.curves(analysis, styles, which, width) for width in (_WIDE / 2, _NARROW)]
    return {
        "verdict": task_verdict.verdict(analysis),
        "found": analysis,
        "asked": int(analysis.runs["task"].nunique()),
        "styles": styles,
        "pictures": pictures,
        "titles": AGGREGATES,
        "table": _aggregate_table(analysis),
        "pairs": _pair_table(analysis),
        "heat": _heat_map(analysis),
        "small": task_figures.small_multiples(analysis, styles, (float(scores.min()), float(scores.max()))),
        "files": _files(analysis),
    }


def _aggregate_table(analysis: TaskAnalysis) -> list[tuple[str, list[str]]]:
    """(algorithm, cells): aggregates, mean rank, tasks on which it is the best."""
    lines = []
    for name in analysis.algorithms if analysis.common else ():
        own = analysis.aggregates[analysis.aggregates["algorithm"] == name].set_index("name")
        rank = analysis.ranks[analysis.ranks["algorithm"] == name].iloc[0]
        cells = [estimate(*own.loc[key, ["estimate", "low", "high"]]) for key in AGGREGATES]
        lines.append((name, [*cells, number(rank["rank"]), f"{rank['best']:g}"]))
    return lines


def _pair_table(analysis: TaskAnalysis) -> list[tuple[str, str, list[str]]]:
    lines = []
    for line in analysis.pairs.to_dict("records"):
        effect = signed_estimate(line["difference"], line["low"], line["high"])
        like = signed_estimate(line["similar"], line["similar_low"], line["similar_high"])
        better = estimate(line["improvement"], line["improvement_low"], line["improvement_high"])
        mark = " *" if line["distinct"] else ""
        cells = [f"{effect}{mark}", short_probability(line["p"]), better, str(line["tasks"]),
                 f"{line['ahead']} : {line['behind']}", f"{line['clear_ahead']} : {line['clear_behind']}",
                 like, short_probability(line["similar_p"])]  # fmt: skip
        lines.append((str(line["a"]), str(line["b"]), cells))
    return lines


def _heat_map(analysis: TaskAnalysis) -> list[tuple[str, list[dict[str, Any]]]]:
    """(task, a cell per algorithm). share: of the way from 0 to 1, for the colour; None without runs. mark: how the
    algorithm compares with the best one on this task."""
    cells = {(line["algorithm"], line["task"]): line for line in analysis.cells.to_dict("records")}
    best = analysis.algorithms[0] if analysis.algorithms else ""
    relations = {(line["b"], line["task"]): line["relation"]
                 for line in analysis.by_task[analysis.by_task["a"] == best].to_dict("records")}  # fmt: skip
    marks = {BEHIND: "▲", AHEAD: "▼"}
    rows = []
    for task in analysis.tasks:
        row = []
        for name in analysis.algorithms:
            cell = cells[name, task]
            has_runs = cell["n"] > 0
            row.append({
                "text": _score(cell) if has_runs else "no runs",
                "n": cell["n"],
                "share": round(float(np.clip(cell["mean"], 0, 1)), 3) if has_runs else None,
                "mark": marks.get(relations.get((name, task), ""), ""),
            })  # fmt: skip
        rows.append((task, row))
    return rows


def _score(cell: dict[str, Any]) -> str:
    """Mean and interval with two digits in every cell, so that a column can be read down."""
    interval = f" [{cell['low']:.2f}, {cell['high']:.2f}]" if np.isfinite(cell["low"]) else ""
    return f"{cell['mean']:.2f}{interval}".replace("-", "\N{MINUS SIGN}")


def _files(analysis: TaskAnalysis) -> list[Download]:
    references = pd.DataFrame(
        [(task, *pair) for task, pair in analysis.references.items()], columns=["task", "zero", "one"]
    )
    files = [frame_download(key, f"across-tasks-{key}", title, getattr(analysis, key)) for key, title in TITLES.items()
             if len(getattr(analysis, key))]  # fmt: skip
    return [*files, frame_download("references", "across-tasks-references", "References of the scores", references)]
