"""What figures for a paper share: an empty figure with title and legend, and how long a label may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plots.theme import LineStyle

LONGEST = 48  # characters of a label
TITLE_LENGTH = 16.5  # characters of a title per inch
LINE_HEIGHT = 0.16  # inches, of a title or a row of the legend
RANDOM_LINE: dict[str, Any] = {"color": "0.45", "linewidth": 0.8, "dashes": (1.5, 1.5)}
EVENT_LINE: dict[str, Any] = {"color": "0.45", "linewidth": 0.6, "dashes": (4, 3)}


def cut(name: str, longest: int = LONGEST) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def handle(look: LineStyle | Mapping[str, Any]) -> Line2D:
    """The line of a legend in the style of a configuration, or of these properties."""
    return Line2D([], [], **(look.line if isinstance(look, LineStyle) else look))


def guides(random: bool, events: Collection[str], labels: Collection[str], width: float) -> dict[str, Line2D]:
    """Label -> handle of the lines that are no curves. events: what happens at the vertical lines, named where that
    leaves the legend of `labels` as many columns in a figure of that width, in inches."""
    entries = {"random actions": handle(RANDOM_LINE)} if random else {}
    if events:
        named = ", ".join(events)
        columns = [_legend_columns(texts, width) for texts in ([*labels, *entries], [*labels, *entries, named])]
        entries[named if columns[0] == columns[1] or not labels else "schedule events"] = handle(EVENT_LINE)
    return entries


def blank(width: float, height: float, title: str = "", legend: Mapping[str, Line2D] | None = None) -> Figure:
    """An empty figure below its title and above its legend (label -> handle). width; height of the rest: inches."""
    entries = legend or {}
    columns = _legend_columns(entries, width)
    fig = Figure(figsize=(width, height + LINE_HEIGHT * (-(-len(entries) // columns) + bool(title))))
    FigureCanvasAgg(fig)
    if title:
        fig.suptitle(title, x=0.01, horizontalalignment="left", fontsize="medium")
    if entries:
        fig.legend(handles=list(entries.values()), labels=list(entries), loc="outside lower center", ncols=columns,
                   handlelength=2.6)  # fmt: skip
    return fig


def curve_height(width: float) -> float:
    """Of a figure of one curve, in inches."""
    return (0.62 if width < 4 else 0.42) * width


def _legend_columns(labels: Collection[str], width: float) -> int:
    longest = max(map(len, labels), default=1)
    return max(1, int(width * 17 / (longest + 6)))
