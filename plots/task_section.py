"""The report's section across tasks: what its template shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aggregate.tasks import task_verdict
from aggregate.tasks.analysis import AGGREGATES, AHEAD, BEHIND, TaskAnalysis
from aggregate.verdict.number_format import estimate, number, short_probability, signed
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


def section(found: TaskAnalysis) -> dict[str, Any]:
    """The values of the template."""
    styles = line_styles([list(found.algorithms)])
    scores = found.task_curves["score"].to_numpy(dtype=float)
    scores = np.append(scores[np.isfinite(scores)], [0.0, 1.0])
    pictures = {}
    if found.common:
        pictures["aggregates"] = [task_figures.aggregates(found, styles, width) for width in (_WIDE, _NARROW)]
        pictures["profiles"] = [task_figures.profiles(found, styles, width) for width in (_WIDE / 2, _NARROW)]
    if len(found.curves):
        for which in ("mean", "iqm"):
            pictures[which] = [task_figures.curves(found, styles, which, width) for width in (_WIDE / 2, _NARROW)]
    return {
        "verdict": task_verdict.verdict(found),
        "found": found,
        "asked": int(found.runs["task"].nunique()),
        "styles": styles,
        "pictures": pictures,
        "titles": AGGREGATES,
        "table": _aggregate_table(found),
        "pairs": _pair_table(found),
        "heat": _heat_map(found),
        "small": task_figures.small_multiples(found, styles, (float(scores.min()), float(scores.max()))),
        "files": _files(found),
    }


def _aggregate_table(found: TaskAnalysis) -> list[tuple[str, list[str]]]:
    """(algorithm, cells): aggregates, mean rank, tasks on which it is the best."""
    lines = []
    for name in found.algorithms if found.common else ():
        own = found.aggregates[found.aggregates["algorithm"] == name].set_index("name")
        rank = found.ranks[found.ranks["algorithm"] == name].iloc[0]
        cells = [estimate(*own.loc[key, ["estimate", "low", "high"]]) for key in AGGREGATES]
        lines.append((name, [*cells, number(rank["rank"]), f"{rank['best']:g}"]))
    return lines


def _pair_table(found: TaskAnalysis) -> list[tuple[str, str, list[str]]]:
    lines = []
    for line in found.pairs.to_dict("records"):
        here = signed({"estimate": line["difference"], "ci_low": line["low"], "ci_high": line["high"]})
        like = signed({"estimate": line["similar"], "ci_low": line["similar_low"], "ci_high": line["similar_high"]})
        better = estimate(line["improvement"], line["improvement_low"], line["improvement_high"])
        cells = [f"{here}{' *' if line['distinct'] else ''}", short_probability(line["p"]), better, str(line["tasks"]),
                 f"{line['ahead']} : {line['behind']}", f"{line['clear_ahead']} : {line['clear_behind']}",
                 like, short_probability(line["similar_p"])]  # fmt: skip
        lines.append((str(line["a"]), str(line["b"]), cells))
    return lines


def _heat_map(found: TaskAnalysis) -> list[tuple[str, list[dict[str, Any]]]]:
    """(task, a cell per algorithm). share: of the way from 0 to 1, for the colour; None without runs. mark: how the
    algorithm compares with the best one on this task."""
    cells = {(line["algorithm"], line["task"]): line for line in found.cells.to_dict("records")}
    best = found.algorithms[0] if found.algorithms else ""
    relations = {(line["b"], line["task"]): line["relation"]
                 for line in found.by_task[found.by_task["a"] == best].to_dict("records")}  # fmt: skip
    marks = {BEHIND: "▲", AHEAD: "▼"}
    rows = []
    for task in found.tasks:
        row = []
        for name in found.algorithms:
            cell = cells[name, task]
            there = cell["n"] > 0
            row.append({
                "text": _score(cell) if there else "no runs",
                "n": cell["n"],
                "share": round(float(np.clip(cell["mean"], 0, 1)), 3) if there else None,
                "mark": marks.get(relations.get((name, task), ""), ""),
            })  # fmt: skip
        rows.append((task, row))
    return rows


def _score(cell: dict[str, Any]) -> str:
    """Mean and interval with two digits in every cell, so that a column can be read down."""
    interval = f" [{cell['low']:.2f}, {cell['high']:.2f}]" if np.isfinite(cell["low"]) else ""
    return f"{cell['mean']:.2f}{interval}".replace("-", "\N{MINUS SIGN}")


def _files(found: TaskAnalysis) -> list[Download]:
    references = pd.DataFrame(
        [(task, *pair) for task, pair in found.references.items()], columns=["task", "zero", "one"]
    )
    files = [frame_download(key, f"across-tasks-{key}", title, getattr(found, key)) for key, title in TITLES.items()
             if len(getattr(found, key))]  # fmt: skip
    return [*files, frame_download("references", "across-tasks-references", "References of the scores", references)]
