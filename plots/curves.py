"""Learning curves as SVG. No text of the user enters a figure: configurations go by their letter."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from plots.theme import GRID, INK, MUTED, Look, figure, style, to_svg

EVENT_WORDS = {
    "seed_phase_end": "training starts",
    "encoder_freeze": "encoder frozen",
    "entropy_start": "entropy falls",
    "entropy_end": "entropy at its end",
}
MOST_BANDS = 4  # with more configurations in one picture their bands hide each other
FEWEST_SEEDS = 3  # with two, Student's interval is 13 times as wide as they lie apart: a wall of colour
LOG_RATIO = 30.0
ROUND = (1, 2, 2.5, 5, 10)  # steps between ticks


@dataclass(frozen=True)
class Line:
    """One configuration in a picture. mean: step, mean, low, high, n; seeds: seed, step and the metric."""

    letter: str
    look: Look
    mean: pd.DataFrame
    seeds: pd.DataFrame
    planned: int


@dataclass(frozen=True)
class Frame:
    """What all pictures of a sweep share. `events`: step -> words; `random`: return of random actions."""

    total: int
    events: Mapping[int, str]
    random: float | None


def letter(index: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    head, tail = divmod(index, 26)
    return (letter(head - 1) if head else "") + string.ascii_uppercase[tail]


def common_events(events: pd.DataFrame, total: int) -> dict[int, str]:
    """step -> words, for events that fall at one step in all configurations that have them, before the end."""
    words: dict[int, list[str]] = {}
    for event, text in EVENT_WORDS.items():
        steps = events.loc[events["event"] == event, "step"].unique()
        if len(steps) == 1 and steps[0] < total:
            words.setdefault(int(steps[0]), []).append(text)
    return {step: ", ".join(texts) for step, texts in sorted(words.items())}


def overview(lines: Sequence[Line], frame: Frame, *, width: int, height: int, unit: str) -> str:
    """All configurations in one picture: means with their letters at the right end, bands where they fit."""
    with style():
        made = figure(width, height)
        axes = _axes(made, left=46, right=26, bottom=34, top=20)
        limits = limits_of([line.mean["mean"] for line in lines], frame.random)
        for line in lines:
            if len(lines) <= MOST_BANDS:
                _band(axes, line, limits)
            _curve(axes, line)
        axes.set_ylim(*limits)
        _marks(axes, frame, words=width > 500)
        _finish(axes, frame, unit)
        _end_letters(axes, lines, height)
        return to_svg(made)


def facet(line: Line, metric: str, frame: Frame, limits: tuple[float, float], *, unit: str) -> str:
    """One configuration: its seeds, faint, mean and band, and n(x) in a strip below. `limits`: of y."""
    width, height = 300, 190
    with style():
        made = figure(width, height)
        axes = _axes(made, left=44, right=14, bottom=52, top=8)
        _seeds(axes, line, metric)
        _band(axes, line, limits)
        _curve(axes, line)
        _marks(axes, frame, words=False)
        axes.set_ylim(*limits)
        _finish(axes, frame, unit)
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")
        _count_strip(made, line, frame)
        return to_svg(made)


def small(lines: Sequence[Line], metric: str, frame: Frame, *, unit: str) -> str:
    """One diagnostic, all configurations; bands and seeds where they fit."""
    with style():
        made = figure(300, 170)
        axes = _axes(made, left=56, right=14, bottom=32, top=8)
        with_seeds = len(lines) <= MOST_BANDS
        drawn = [line.seeds[metric] if with_seeds else line.mean["mean"] for line in lines]
        log = wants_log(pd.concat(drawn))
        limits = limits_of(drawn, None, log=log)
        for line in lines:
            if with_seeds:
                _seeds(axes, line, metric)
                _band(axes, line, limits)
            _curve(axes, line, width=1.2)
        if log:
            axes.set_yscale("log")
        axes.set_ylim(*limits)
        _marks(axes, Frame(frame.total, frame.events, None), words=False)
        _finish(axes, frame, unit)
        return to_svg(made)


def wants_log(values: pd.Series) -> bool:
    """Whether a positive quantity spans so much that a linear axis would show one end only."""
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool(finite.min() > 0) and bool(finite.max() / finite.min() > LOG_RATIO)


def limits_of(drawn: Sequence[pd.Series], random: float | None, log: bool = False) -> tuple[float, float]:
    """Limits of y that hold all that is `drawn`, with a margin."""
    values = pd.concat(drawn).to_numpy(dtype=float)
    values = np.append(values[np.isfinite(values)], [] if random is None else [random])
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if log:
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


# --- pieces ---------------------------------------------------------------------------------------------


def _axes(made: Figure, *, left: float, right: float, bottom: float, top: float) -> Axes:
    """Axes with margins in pixels."""
    width, height = made.get_size_inches() * 96
    return made.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))


def _finish(axes: Axes, frame: Frame, unit: str) -> None:
    axes.set_xlim(0, frame.total)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _steps(x)))
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND, min_n_ticks=3))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _power(y)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("agent steps", labelpad=2)
    axes.set_ylabel("" if unit == "1" else unit, labelpad=2)


def _steps(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def _power(value: float) -> str:
    """1e-4, 0.01, 1, 100, 1e4; nothing between the powers of ten."""
    return f"{value:g}" if 0.01 <= value <= 1000 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def _curve(axes: Axes, line: Line, width: float = 1.5) -> None:
    """The mean; a point without neighbours, which a line would not show, as a dot."""
    steps, values = line.mean["step"].to_numpy(), line.mean["mean"].to_numpy()
    axes.plot(steps, values, **line.look.line, linewidth=width)
    there = np.pad(np.isfinite(values), 1)
    for i in np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:]):
        # a character: matplotlib's markers are shared definitions and need ids
        axes.annotate("●", (steps[i], values[i]), ha="center", va="center", color=line.look.hex, fontsize=6)


def _seeds(axes: Axes, line: Line, metric: str) -> None:
    for _, seed in line.seeds.groupby("seed"):
        axes.plot(seed["step"], seed[metric], color=line.look.hex, linewidth=0.6, alpha=0.35)


def _band(axes: Axes, line: Line, limits: tuple[float, float]) -> None:
    """The interval, cut at the limits of the axes, where there are seeds enough for it to be a picture."""
    low = line.mean["low"].clip(*limits).to_numpy()
    high = line.mean["high"].clip(*limits).to_numpy()
    steps = line.mean["step"].to_numpy()
    there = np.flatnonzero(line.mean["n"].to_numpy() >= FEWEST_SEEDS)
    for piece in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1):
        if piece.size:
            _fill(axes, steps[piece], low[piece], high[piece], line.look, alpha=0.16)


def _fill(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, look: Look, *, alpha: float) -> None:
    """A polygon; fill_between would write a shared definition, which needs an id."""
    outline = np.concatenate([low, high[::-1]])
    axes.fill(np.concatenate([x, x[::-1]]), outline, color=look.hex, alpha=alpha, linewidth=0)


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


def _end_letters(axes: Axes, lines: Sequence[Line], height: int) -> None:
    """Letters at the ends of the curves, moved apart where they would lie on each other."""
    ends = [(line.mean.dropna(subset="mean").iloc[-1], line) for line in lines if line.mean["mean"].notna().any()]
    if not ends:
        return
    low, high = axes.get_ylim()
    pixel = (high - low) / (height * axes.get_position().height)
    ends.sort(key=lambda end: float(end[0]["mean"]))
    places: list[float] = []
    for end, _ in ends:
        places.append(max(float(end["mean"]), places[-1] + 11 * pixel) if places else float(end["mean"]))
    excess = places[-1] - high
    for i in range(len(places) - 1, -1, -1):
        ceiling = places[i + 1] - 11 * pixel if i + 1 < len(places) else high
        places[i] = min(places[i], ceiling) if excess > 0 else places[i]
    for place, (end, line) in zip(places, ends, strict=True):
        axes.annotate(line.letter, (end["step"], place), xytext=(5, 0), va="center",
                      textcoords="offset points", color=line.look.hex, fontsize=8.5, weight="bold")  # fmt: skip


def _count_strip(made: Figure, line: Line, frame: Frame) -> None:
    """n(x): how many seeds the mean is over, as steps between 0 and the number planned."""
    width, height = made.get_size_inches() * 96
    strip = made.add_axes((44 / width, 30 / height, 1 - 58 / width, 14 / height))
    steps, counts = line.mean["step"].to_numpy(), line.mean["n"].to_numpy()
    corners, heights = np.repeat(steps, 2)[1:], np.repeat(counts, 2)[:-1]
    _fill(strip, corners, np.zeros(corners.size), heights, line.look, alpha=0.35)
    strip.axhline(line.planned, color=GRID, linewidth=0.6)
    strip.set_ylim(0, line.planned)
    strip.set_yticks([line.planned], [f"n={line.planned}"])
    strip.grid(False)
    strip.spines["left"].set_visible(False)
    _finish(strip, frame, "")
    strip.set_yticks([line.planned], [f"n={line.planned}"])
    strip.tick_params(axis="y", labelcolor=INK)
