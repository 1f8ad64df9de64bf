"""Single figures across tasks for a paper, as `plots.paper.sweep_figures` makes those of a sweep."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from aggregate.tasks.analysis import AGGREGATES, TaskAnalysis
from plots.paper import sweep_figures
from plots.paper.layout import blank, curve_height, cut, handle
from plots.theme import PALETTE, LineStyle, line_styles
from sweepwise.core.errors import AggregateError

FIGURES = ("aggregates", "profile", "mean-over-steps", "iqm-over-steps", "heat-map")
STEM = "across-tasks"  # of the names of the files
MOST_NUMBERS = 30  # tasks of a heat map whose cells bear their score
_ROW, _DENSE = 0.17, 0.09  # inches, height of an algorithm or a task, of a task where they are many


def write(
    analysis: TaskAnalysis, out: Path, formats: Sequence[str], columns: int, only: Sequence[str]
) -> Iterator[Path]:
    """Write the figures that there are results for, or `only` those of `FIGURES`, to a folder; yields the path of each
    complete file. Raises `AggregateError` for a figure without results, and where nothing can be written."""
    drawn = _figures(analysis, sweep_figures.WIDTHS[columns])
    for name in only or drawn:
        if name not in drawn:
            raise AggregateError(f"--only {name}: there are no results for it; there are for {', '.join(drawn)}")
        yield from sweep_figures.write_figure(drawn[name], out / f"{STEM}-{name}", formats)


def _figures(analysis: TaskAnalysis, width: float) -> dict[str, Callable[[], Figure]]:
    styles = line_styles([list(analysis.algorithms)])
    drawn: dict[str, Callable[[], Figure]] = {}
    if analysis.common:
        drawn["aggregates"] = functools.partial(_aggregates, analysis, styles, width)
        drawn["profile"] = functools.partial(_profile, analysis, styles, width)
    for which in ("mean", "iqm"):
        if len(analysis.curves):
            drawn[f"{which}-over-steps"] = functools.partial(_over_steps, analysis, styles, width, which)
    drawn["heat-map"] = functools.partial(_heat_map, analysis, width)
    return drawn


def _aggregates(analysis: TaskAnalysis, styles: dict[str, LineStyle], width: float) -> Figure:
    """A panel per aggregate, an algorithm a line with its interval; the best at the top."""
    names, across = list(analysis.algorithms), 2 if width < 4 else 4
    rows = -(-len(AGGREGATES) // across)
    fig = blank(width, rows * (0.55 + _ROW * len(names)))
    panels = fig.subplots(rows, across, sharey=True, squeeze=False)
    for axes, (key, title) in zip(panels.flat, AGGREGATES.items(), strict=True):
        own = analysis.aggregates[analysis.aggregates["name"] == key].set_index("algorithm").loc[names]
        for place, (name, line) in enumerate(own.iterrows()):
            color = styles[str(name)].hex
            axes.plot([line["low"], line["high"]], [place, place], color=color, linewidth=3.5, alpha=0.35)
            axes.plot([line["estimate"]], [place], marker="|", markersize=8, markeredgewidth=1.6, color=color)
        axes.set_yticks(range(len(names)), [cut(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=3)
        axes.set_title(title)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
    return fig


def _profile(analysis: TaskAnalysis, styles: dict[str, LineStyle], width: float) -> Figure:
    """The share of runs above each score, with the band of the whole curve."""
    fig = _curves_figure(styles, width)
    axes = fig.add_subplot()
    for name, own in analysis.profiles.groupby("algorithm", sort=False):
        x, share, half = (own[key].to_numpy(dtype=float) for key in ("score", "share", "half"))
        axes.fill_between(x, np.clip(share - half, 0, 1), np.clip(share + half, 0, 1), color=styles[str(name)].hex,
                          alpha=0.16, linewidth=0)  # fmt: skip
        axes.plot(x, share, **styles[str(name)].line)
    axes.set_xlabel("normalised score", loc="right")
    axes.set_ylabel("share of runs above")
    return fig


def _over_steps(analysis: TaskAnalysis, styles: dict[str, LineStyle], width: float, which: str) -> Figure:
    """An aggregate over the share of the steps, with its interval at each."""
    fig = _curves_figure(styles, width)
    axes = fig.add_subplot()
    for name, own in analysis.curves[analysis.curves["name"] == which].groupby("algorithm", sort=False):
        x, low, high = (own[key].to_numpy(dtype=float) for key in ("share", "low", "high"))
        axes.fill_between(100 * x, low, high, color=styles[str(name)].hex, alpha=0.16, linewidth=0)
        axes.plot(100 * x, own["estimate"], **styles[str(name)].line)
    axes.set_xlabel("steps, % of each task's", loc="right")
    axes.set_ylabel(f"{AGGREGATES[which]} of scores")
    return fig


def _curves_figure(styles: dict[str, LineStyle], width: float) -> Figure:
    entries = {cut(name): handle(look) for name, look in styles.items()} if len(styles) > 1 else {}
    return blank(width, curve_height(width), legend=entries)


def _heat_map(analysis: TaskAnalysis, width: float) -> Figure:
    """Mean normalised score of every task and algorithm, on one scale from 0 to 1."""
    grid = analysis.cells.pivot(index="task", columns="algorithm", values="mean")
    grid = grid.reindex(index=list(analysis.tasks), columns=list(analysis.algorithms))
    many = len(grid) > MOST_NUMBERS
    fig = blank(width, 0.9 + (_DENSE if many else _ROW) * len(grid))
    axes = fig.add_subplot()
    sns.heatmap(
        grid, annot=not many, fmt=".2f", cmap=sns.light_palette(PALETTE[0][0], as_cmap=True), vmin=0,
        vmax=1, cbar=many, linewidths=0.4, linecolor="white", ax=axes, annot_kws={"size": 6},
        xticklabels=[cut(name) for name in grid.columns], yticklabels=[cut(task) for task in grid.index],
    )  # fmt: skip
    axes.tick_params(axis="x", rotation=40)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    axes.set(xlabel="", ylabel="")
    axes.grid(visible=False)
    axes.tick_params(axis="y", rotation=0, labelsize=5 if many else 6, length=0)
    return fig
