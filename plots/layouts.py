"""Where the axes of the page's figures stand, and how a figure tells the page's script."""

from __future__ import annotations

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plots.theme import figure

_POINTS = 0.75  # per pixel: an SVG of matplotlib is in points


class FigureLayout(NamedTuple):
    """Size of a figure and margins of its axes, in pixels. strip: top and bottom margin of the second axes below them,
    with the same left and right; None without."""

    width: float
    height: float
    left: float
    right: float
    bottom: float
    top: float
    strip: tuple[float, float] | None = None

    def axes(self) -> Axes:
        """In an empty figure. Draw within `plots.theme.style()`."""
        return self._add(figure(self.width, self.height), self.top, self.bottom)

    def add_strip(self, fig: Figure) -> Axes:
        assert self.strip is not None
        return self._add(fig, *self.strip)

    def _add(self, fig: Figure, top: float, bottom: float) -> Axes:
        width, height = 1 - (self.left + self.right) / self.width, 1 - (top + bottom) / self.height
        return fig.add_axes((self.left / self.width, bottom / self.height, width, height))

    def view(self, limits: tuple[float, float] = (0.0, 1.0), log: bool = False) -> dict[str, Any]:
        """For the page's script, in units of the SVG: box (width, height), rect and strip (left, top, right, bottom);
        y (limits), log."""
        drawn = {"box": [self.width * _POINTS, self.height * _POINTS], "rect": self._rect(self.top, self.bottom),
                 "y": [float(f"{value:.5g}") for value in limits], "log": log}  # fmt: skip
        return drawn | ({"strip": self._rect(*self.strip)} if self.strip else {})

    def _rect(self, top: float, bottom: float) -> list[float]:
        """Left, top, right, bottom, downwards."""
        corners = (self.left, top, self.width - self.right, self.height - bottom)
        return [round(corner * _POINTS, 1) for corner in corners]


OVERVIEW = FigureLayout(1000, 380, left=46, right=26, bottom=34, top=20)
NARROW_OVERVIEW = FigureLayout(360, 290, left=46, right=26, bottom=34, top=20)
FACET = FigureLayout(300, 190, left=44, right=14, bottom=52, top=8, strip=(146, 30))
STARTS = FigureLayout(300, 190, left=46, right=26, bottom=34, top=10)
SMALL = FigureLayout(300, 170, left=56, right=22, bottom=32, top=8)
EVIDENCE = FigureLayout(460, 220, left=56, right=26, bottom=32, top=12)
