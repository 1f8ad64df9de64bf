"""Learning curves as SVG. Configurations are named by their letter.

Every figure has a `view` (`plots.layouts`) for the page's script, which draws a cursor on it or redraws it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from aggregate.inputs.runs import DIVERGED
from plots.layouts import EVIDENCE, FACET, SMALL, STARTS, FigureLayout
from plots.theme import BAD, GRID, INK, MUTED, LineStyle, style, to_svg

# What happens at an event, in few words; any other event has its name.
EVENT_WORDS = {
    "seed_phase_end": "training starts",
    "encoder_freeze": "encoder frozen",
    "entropy_start": "entropy falls",
    "entropy_end": "entropy at its end",
}
MOST_LETTERS = 8  # in a small figure
MOST_BANDS = 12  # in one large figure; more hide each other
FEW_BANDS = 4  # in one small figure, and as many at full strength in a large one
BAND_ALPHA = 0.16
FEWEST_SEEDS = 3  # for a band: with two seeds, Student's interval is 13 times as wide as their distance
LOG_RATIO = 30.0  # of maximum to minimum, from which an axis is logarithmic
ROUND = (1, 2, 2.5, 5, 10)  # distances between ticks
EQUAL = 1e-9  # of their size: values that differ by less are drawn as equal, as by the page's script


@dataclass(frozen=True)
class Line:
    """One configuration in a figure. mean: step, mean, low, high, n. seeds: seed, step and the metric. planned:
    seeds."""

    letter: str
    line_style: LineStyle
    mean: pd.DataFrame
    seeds: pd.DataFrame
    planned: int


@dataclass(frozen=True)
class SvgFigure:
    """A figure's markup, "" where the page's script draws it, and its view (`plots.layouts`)."""

    svg: str
    view: dict[str, Any]


@dataclass(frozen=True)
class Mark:
    """The onset of a flag on the curve of a seed or of an action dimension (`number`)."""

    number: int
    step: float


@dataclass(frozen=True)
class Frame:
    """What all figures of a sweep share. events: step -> text. random: result of random actions, None if unknown.
    step_words: what a step is called. by_script: whether the page's script draws the figures that it can draw."""

    total: int
    events: Mapping[int, str]
    random: float | None
    step_words: str = "agent steps"
    by_script: bool = False

    def without_random(self) -> Frame:
        return replace(self, random=None)


def common_events(events: pd.DataFrame, total: int, declared: Collection[str] = ()) -> dict[int, str]:
    """step -> text, for events at the same step in all configurations that have them, before the end. declared: names
    of further events."""
    words: dict[int, list[str]] = {}
    others = {name: name for name in declared if name not in (*EVENT_WORDS, DIVERGED)}
    for event, text in {**EVENT_WORDS, **others}.items():
        steps = events.loc[events["event"] == event, "step"].unique()
        if len(steps) == 1 and steps[0] < total:
            words.setdefault(int(steps[0]), []).append(text)
    return {step: ", ".join(texts) for step, texts in sorted(words.items())}


def overview(lines: Sequence[Line], frame: Frame, *, layout: FigureLayout, unit: str) -> SvgFigure:
    """All configurations in one figure: means with their letters at the right end, bands for up to `MOST_BANDS`."""
    with_bands = len(lines) <= MOST_BANDS
    limits = limits_of([line.mean["mean"] for line in lines], frame.random)
    if with_bands:
        limits = _wider(limits, lines)
    view = layout.view(limits)
    if frame.by_script:
        return SvgFigure("", view)
    with style():
        axes = layout.axes()
        for line in lines:
            if with_bands:
                _band(axes, line, limits, band_alpha(len(lines)))
            _curve(axes, line)
        axes.set_ylim(*limits)
        _marks(axes, frame, words=layout.width > 500)
        _finish(axes, frame, unit)
        _end_letters(axes, [(line.letter, line.line_style, line.mean["step"], line.mean["mean"]) for line in lines])
        return SvgFigure(to_svg(_figure_of(axes)), view)


def facet(line: Line, metric: str, frame: Frame, limits: tuple[float, float], *, unit: str) -> SvgFigure:
    """One configuration: faint curves of its seeds, mean and band, and n(x) in a strip below. limits: of y."""
    view = FACET.view(limits)
    if frame.by_script:
        return SvgFigure("", view)
    with style():
        axes = FACET.axes()
        _seeds(axes, line, metric)
        _band(axes, line, limits)
        _curve(axes, line)
        _marks(axes, frame, words=False)
        axes.set_ylim(*limits)
        _finish(axes, frame, unit)
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")
        _count_strip(FACET.add_strip(_figure_of(axes)), line, frame)
        return SvgFigure(to_svg(_figure_of(axes)), view)


def with_starts(pairs: Sequence[tuple[Line, pd.DataFrame]], frame: Frame, *, unit: str) -> str:
    """Means of the runs that are left, and dotted the means (step, mean) over all starts."""
    with style():
        axes = STARTS.axes()
        for line, starts in pairs:
            _curve(axes, line)
            axes.plot(starts["step"], starts["mean"], color=line.line_style.hex, linewidth=1.5, dashes=(1, 1.6))
        axes.set_ylim(
            *limits_of([means["mean"] for line, starts in pairs for means in (line.mean, starts)], frame.random)
        )
        _marks(axes, frame, words=False)
        _finish(axes, frame, unit)
        _end_letters(axes, [(line.letter, line.line_style, starts["step"], starts["mean"]) for line, starts in pairs])
        return to_svg(_figure_of(axes))


def small(lines: Sequence[Line], metric: str, frame: Frame, *, unit: str) -> SvgFigure:
    """One diagnostic of all configurations; bands and seeds for up to `FEW_BANDS`, letters for up to
    `MOST_LETTERS`."""
    with_seeds = len(lines) <= FEW_BANDS
    drawn = [line.seeds[metric] if with_seeds else line.mean["mean"] for line in lines]
    log = wants_log(pd.concat(drawn))
    limits = limits_of(drawn, None, log=log)
    view = SMALL.view(limits, log)
    if frame.by_script:
        return SvgFigure("", view)
    with style():
        axes = SMALL.axes()
        for line in lines:
            if with_seeds:
                _seeds(axes, line, metric)
                _band(axes, line, limits)
            _curve(axes, line, width=1.2)
        if log:
            axes.set_yscale("log")
        axes.set_ylim(*limits)
        _marks(axes, frame.without_random(), words=False)
        _finish(axes, frame, unit)
        if len(lines) <= MOST_LETTERS:
            ends = [(line.letter, line.line_style, line.mean["step"], line.mean["mean"]) for line in lines]
            _end_letters(axes, ends, size=7.5, furthest=9.0)
        return SvgFigure(to_svg(_figure_of(axes)), view)


def evidence(
    line_style: LineStyle,
    curves: Mapping[int, pd.DataFrame],
    marks: Sequence[Mark],
    frame: Frame,
    *,
    unit: str,
    log: bool,
) -> SvgFigure:
    """Curves of one configuration by seed or action dimension (columns step, value): those that raised a flag with
    their number at the end and the onset marked, the others faint."""
    limits = limits_of([curve["value"] for curve in curves.values()], None, log=log)
    with style():
        axes = EVIDENCE.axes()
        raised = {mark.number: mark for mark in marks if mark.number in curves}
        if log:
            axes.set_yscale("log")
        axes.set_ylim(*limits)
        for number, curve in curves.items():
            width, alpha = (1.1, 0.9) if number in raised else (0.7, 0.3)
            axes.plot(curve["step"], curve["value"], color=line_style.hex, linewidth=width, alpha=alpha)
        _marks(axes, frame.without_random(), words=False)
        _finish(axes, frame, unit)
        for mark in raised.values():
            if np.isfinite(mark.step):
                _onset(axes, curves[mark.number], mark.step)
        _end_letters(axes, [(str(n), line_style, curves[n]["step"], curves[n]["value"]) for n in raised])
        return SvgFigure(to_svg(_figure_of(axes)), EVIDENCE.view(limits, log))


def _onset(axes: Axes, curve: pd.DataFrame, step: float) -> None:
    """A triangle above the nearest point of the curve, and a thin vertical line."""
    known = curve.dropna()
    if known.empty:
        return
    nearest = known.iloc[int((known["step"] - step).abs().argmin())]
    axes.axvline(step, color=BAD, linewidth=0.6, alpha=0.5)
    axes.annotate("▼", (step, nearest["value"]), xytext=(0, 1), textcoords="offset points", ha="center", va="bottom",
                  color=BAD, fontsize=7.5)  # fmt: skip


def wants_log(values: pd.Series) -> bool:
    """Whether values are positive and span more than a factor of `LOG_RATIO`."""
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool(finite.min() > 0) and bool(finite.max() / finite.min() > LOG_RATIO)


def limits_of(drawn: Sequence[pd.Series], random: float | None, log: bool = False) -> tuple[float, float]:
    """Limits of y that contain all that is `drawn`, with a margin."""
    values = pd.concat(drawn).to_numpy(dtype=float)
    values = np.append(values[np.isfinite(values)], [] if random is None else [random])
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if log:
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    size = max(abs(low), abs(high))
    margin = 0.05 * (high - low if high - low > EQUAL * size else size) or 1.0
    return low - margin, high + margin


def _wider(limits: tuple[float, float], lines: Sequence[Line]) -> tuple[float, float]:
    """Limits that contain the bands too, but leave at least half of the height to the means."""
    low, high = limits
    room = (high - low) / 2
    ends = pd.concat([line.mean.loc[line.mean["n"] >= FEWEST_SEEDS, ["low", "high"]] for line in lines])
    if not np.isfinite(ends.to_numpy(dtype=float)).any():
        return limits
    return max(min(low, ends["low"].min()), low - room), min(max(high, ends["high"].max()), high + room)


# --- elements -------------------------------------------------------------------------------------------


def _finish(axes: Axes, frame: Frame, unit: str) -> None:
    axes.set_xlim(0, frame.total)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: steps_text(x)))
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND, min_n_ticks=3))
    else:
        log_ticks(axes)
    axes.set_xlabel(frame.step_words, labelpad=2)
    axes.set_ylabel("" if unit == "1" else unit, labelpad=2)


def log_ticks(axes: Axes) -> None:
    """Plain numbers at the powers of ten, no labels in between."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _power(y)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def steps_text(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def _power(value: float) -> str:
    """1e-4, 0.01, 1, 100, 1e4."""
    return f"{value:g}" if 0.01 <= value <= 1000 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def _curve(axes: Axes, line: Line, width: float = 1.5) -> None:
    """The mean; an isolated point, which a line would not show, as a dot."""
    steps, values = line.mean["step"].to_numpy(), line.mean["mean"].to_numpy()
    axes.plot(steps, values, **line.line_style.line, linewidth=width)
    finite = np.pad(np.isfinite(values), 1)
    for i in np.flatnonzero(finite[1:-1] & ~finite[:-2] & ~finite[2:]):
        # a character, because matplotlib's markers are shared definitions with ids
        axes.annotate("●", (steps[i], values[i]), ha="center", va="center", color=line.line_style.hex, fontsize=6)


def _seeds(axes: Axes, line: Line, metric: str) -> None:
    for _, seed in line.seeds.groupby("seed"):
        axes.plot(seed["step"], seed[metric], color=line.line_style.hex, linewidth=0.6, alpha=0.35)


def band_alpha(count: int) -> float:
    """Opacity of the bands of `count` configurations in one figure: the more there are, the lighter."""
    return BAND_ALPHA * min(1.0, FEW_BANDS / count)


def _band(axes: Axes, line: Line, limits: tuple[float, float], alpha: float = BAND_ALPHA) -> None:
    """The interval, clipped to the limits of the axes, where at least `FEWEST_SEEDS` seeds contribute."""
    low = line.mean["low"].clip(*limits).to_numpy()
    high = line.mean["high"].clip(*limits).to_numpy()
    steps = line.mean["step"].to_numpy()
    enough_seeds = np.flatnonzero(line.mean["n"].to_numpy() >= FEWEST_SEEDS)
    for piece in np.split(enough_seeds, np.flatnonzero(np.diff(enough_seeds) > 1) + 1):
        if piece.size:
            _fill(axes, steps[piece], low[piece], high[piece], line.line_style, alpha=alpha)
    short = line.mean["n"].to_numpy() < line.planned
    for edge in (low, high) if enough_seeds.size and short[enough_seeds].any() else ():
        dotted = np.where(short & np.isin(np.arange(steps.size), enough_seeds), edge, np.nan)
        axes.plot(steps, dotted, color=line.line_style.hex, linewidth=0.7, dashes=(1, 2))


def _fill(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, line_style: LineStyle, *, alpha: float) -> None:
    """A polygon, because fill_between writes a shared definition with an id. Limits are set by hand: those that
    `axes.fill` finds take a tenth of the time of a figure."""
    outline = np.column_stack([np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])])
    axes.add_artist(Polygon(outline, color=line_style.hex, alpha=alpha, linewidth=0))


def _marks(axes: Axes, frame: Frame, *, words: bool) -> None:
    if frame.random is not None:
        axes.axhline(frame.random, color=MUTED, linewidth=0.9, dashes=(1.5, 1.5))
        if words:
            axes.annotate("random actions", (1, frame.random), xycoords=("axes fraction", "data"), xytext=(-2, 3),
                          textcoords="offset points", ha="right", color=MUTED, fontsize=7.5)  # fmt: skip
    for step, text in frame.events.items():
        axes.axvline(step, color=MUTED, linewidth=0.7, dashes=(4, 3), alpha=0.8)
        if words:
            axes.annotate(text, (step, 1), xycoords=("data", "axes fraction"), xytext=(0, 4),
                          textcoords="offset points", ha="center" if step > 0.1 * frame.total else "left",
                          color=MUTED, fontsize=7.5)  # fmt: skip


def _end_letters(
    axes: Axes, ends: Sequence[tuple[str, LineStyle, pd.Series, pd.Series]], size: float = 8.5, furthest: float = np.inf
) -> None:
    """Letters at the ends of curves, given as (letter, line_style, steps, values), spread where they would overlap;
    none if one would be further than `furthest` points from its curve."""
    placed = []
    points = 72 / _figure_of(axes).dpi
    for letter, line_style, steps, values in ends:
        finite = np.flatnonzero(np.isfinite(values))
        if finite.size:
            step, value = float(steps.iloc[finite[-1]]), float(values.iloc[finite[-1]])
            up = float(axes.transData.transform((step, value))[1] - axes.bbox.y0) * points
            placed.append((up, letter, line_style, step))
    placed.sort(key=lambda end: end[0])
    places = spread_labels([end[0] for end in placed], size, axes.bbox.height * points)
    if any(abs(place - end[0]) > furthest for place, end in zip(places, placed, strict=True)):
        return
    for place, (_, letter, line_style, step) in zip(places, placed, strict=True):
        axes.annotate(letter, (step, 0), xycoords=("data", "axes points"), xytext=(4, place), va="center",
                      textcoords=("offset points", "axes points"), color=line_style.hex, fontsize=size,
                      weight="bold")  # fmt: skip


def spread_labels(places: Sequence[float], least: float, top: float) -> list[float]:
    """`places` (ascending), moved to be at least `least` apart and, if there is room, below `top`."""
    out: list[float] = []
    for place in places:
        out.append(max(place, out[-1] + least) if out else place)
    ceiling = top
    for i in range(len(out) - 1, -1, -1):
        out[i] = min(out[i], ceiling)
        ceiling = out[i] - least
    return out


def _count_strip(strip: Axes, line: Line, frame: Frame) -> None:
    """n(x): the number of seeds that the mean is over, as a step function between 0 and the number planned."""
    steps, counts = line.mean["step"].to_numpy(), line.mean["n"].to_numpy()
    corners, heights = np.repeat(steps, 2)[1:], np.repeat(counts, 2)[:-1]
    _fill(strip, corners, np.zeros(corners.size), heights, line.line_style, alpha=0.35)
    strip.axhline(line.planned, color=GRID, linewidth=0.6)
    strip.set_ylim(0, line.planned)
    strip.grid(False)
    strip.spines["left"].set_visible(False)
    _finish(strip, frame, "")
    strip.set_yticks([line.planned], [f"n={line.planned}"])
    strip.tick_params(axis="y", labelcolor=INK)


def _figure_of(axes: Axes) -> Figure:
    fig = axes.get_figure(root=True)
    assert fig is not None
    return fig
