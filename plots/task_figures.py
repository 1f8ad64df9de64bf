"""Figures across tasks: aggregates with intervals, performance profiles, curves over steps, one small curve a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from aggregate.tasks.analysis import AGGREGATES, TaskAnalysis
from plots.theme import DASHES, MUTED, LineStyle, figure, style, to_svg

_SMALL = (150.0, 84.0)  # size of a task's figure
_INSET = 3.0
LONGEST = 20  # characters of a name at an axis


def aggregates(analysis: TaskAnalysis, styles: Mapping[str, LineStyle], width: float) -> Markup:
    """A panel per aggregate, a line per algorithm with its interval; the best at the top."""
    names = list(analysis.algorithms)
    row, gap = 19.0, 26.0
    narrow = width < 600
    panels = len(AGGREGATES)
    height = (len(names) * row + gap + 18) * (panels if narrow else 1)
    with style({"axes.grid.axis": "x"}):
        fig = figure(width, height)
        labels = [_shortened(name) for name in names]
        left = min(0.4 * width, 16 + 6.6 * max(map(len, labels)))
        span = (width - left - 16) / (1 if narrow else panels)
        for i, (key, title) in enumerate(AGGREGATES.items()):
            own = analysis.aggregates[analysis.aggregates["name"] == key].set_index("algorithm").loc[names]
            x0 = left if narrow else left + i * span
            top = (panels - i) / panels if narrow else 1.0
            bottom = top - (len(names) * row + 4) / height - 18 / height
            axes = fig.add_axes((x0 / width, bottom, (span - 14) / width, len(names) * row / height))
            for place, (name, line) in enumerate(own.iterrows()):
                color = styles[str(name)].hex
                axes.plot([line["low"], line["high"]], [place, place], color=color, linewidth=5, alpha=0.3)
                axes.annotate("|", (line["estimate"], place), ha="center", va="center", color=color, fontsize=11,
                              weight="bold")  # fmt: skip
            ends = own[["estimate", "low", "high"]].to_numpy(dtype=float)
            margin = 0.08 * (np.nanmax(ends) - np.nanmin(ends)) or 0.05
            axes.set_xlim(np.nanmin(ends) - margin, np.nanmax(ends) + margin)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_yticks(range(len(names)), labels if narrow or i == 0 else [""] * len(names))
            axes.locator_params(axis="x", nbins=4)
            axes.set_title(title, fontsize=9, color=MUTED, pad=4)
            axes.spines["left"].set_visible(False)
        return Markup(to_svg(fig))


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def profiles(analysis: TaskAnalysis, styles: Mapping[str, LineStyle], width: float) -> Markup:
    """The share of runs above each score, with the band of the whole curve."""
    with style():
        fig, axes = _axes(width, 0.62 * width if width < 500 else 0.5 * width)
        for name, own in analysis.profiles.groupby("algorithm", sort=False):
            x, share, half = (own[key].to_numpy(dtype=float) for key in ("score", "share", "half"))
            line_style = styles[str(name)]
            _band(axes, x, np.clip(share - half, 0, 1), np.clip(share + half, 0, 1), line_style)
            axes.plot(x, share, **line_style.line)
        axes.set_ylim(0, 1.02)
        axes.set_xlim(analysis.profiles["score"].min(), analysis.profiles["score"].max())
        axes.set_xlabel("normalised score", labelpad=2)
        axes.set_ylabel("share of runs above", labelpad=2)
        return Markup(to_svg(fig))


def curves(analysis: TaskAnalysis, styles: Mapping[str, LineStyle], which: str, width: float) -> Markup:
    """An aggregate over the share of the steps, with its interval at each."""
    own = analysis.curves[analysis.curves["name"] == which]
    with style():
        fig, axes = _axes(width, 0.62 * width if width < 500 else 0.5 * width)
        for name, part in own.groupby("algorithm", sort=False):
            x, low, high = (part[key].to_numpy(dtype=float) for key in ("share", "low", "high"))
            _band(axes, 100 * x, low, high, styles[str(name)])
            axes.plot(100 * x, part["estimate"], **styles[str(name)].line)
        axes.set_xlim(0, 100)
        axes.set_xlabel("steps, % of each task's", labelpad=2)
        axes.set_ylabel(AGGREGATES[which], labelpad=2)
        return Markup(to_svg(fig))


def _axes(width: float, height: float):  # type: ignore[no-untyped-def]
    fig: Figure = figure(width, height)
    return fig, fig.add_axes((48 / width, 36 / height, 1 - 62 / width, 1 - 46 / height))


def _band(axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, line_style: LineStyle) -> None:  # type: ignore[no-untyped-def]
    finite = np.isfinite(low) & np.isfinite(high)
    if finite.any():
        outline = np.concatenate([low[finite], high[finite][::-1]])
        axes.fill(np.concatenate([x[finite], x[finite][::-1]]), outline, color=line_style.hex, alpha=0.16, linewidth=0)


def small_multiples(
    analysis: TaskAnalysis, styles: Mapping[str, LineStyle], limits: tuple[float, float]
) -> list[tuple[str, Markup]]:
    """(task, figure) of every task: the mean score of each algorithm over the share of the steps; limits: of y."""
    parts = {str(task): own for task, own in analysis.task_curves.groupby("task", sort=False)}
    return [(task, _small(parts.get(task), styles, task, limits)) for task in analysis.tasks]


def _small(own: pd.DataFrame | None, styles: Mapping[str, LineStyle], task: str, limits: tuple[float, float]) -> Markup:
    """Written by hand: a hundred figures of matplotlib would take a minute."""
    width, height = _SMALL
    low, high = limits

    def place(score: float) -> float:
        return height - _INSET - (height - 2 * _INSET) * (score - low) / (high - low)

    lines = [f'<path d="M0 {place(value):.1f}h{width:g}" style="stroke:var(--grid);stroke-width:.8"/>'
             for value in (0.0, 1.0) if low <= value <= high]  # fmt: skip
    groups: Sequence[tuple[str, pd.DataFrame]] = [] if own is None else list(own.groupby("algorithm", sort=False))
    for name, part in groups:
        line_style = styles[str(name)]
        points = " ".join(f"{width * share:.1f},{place(score):.1f}" for share, score
                          in zip(part["share"], part["score"], strict=True) if np.isfinite(score))  # fmt: skip
        dashes = f";stroke-dasharray:{line_style.dasharray.replace(' ', ',')}" if DASHES[line_style.dash] else ""
        look = f"fill:none;stroke:var(--c{line_style.color});stroke-width:1.5{dashes}"
        lines.append(f'<polyline points="{points}" style="{look}"/>')
    text = f"{task}: mean normalised score of every algorithm over steps"
    svg = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(text)}">{"".join(lines)}</svg>'
    return Markup(svg)
