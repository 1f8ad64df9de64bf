"""Style of all figures: a palette for light and dark pages, line styles, compact deterministic SVG.

Figures are drawn in the light colours, which `to_svg` replaces by CSS variables, so that the page sets light or dark
values.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# (light, dark); together with the dashes distinguishable under common colour-vision deficiencies
PALETTE = (
    ("#0072b2", "#4aa8e0"), ("#d55e00", "#ff8a4c"), ("#009e73", "#2cc79b"), ("#b5508f", "#e79cc6"),
    ("#b97f00", "#f2b84b"), ("#3d3d8f", "#a9a6f0"), ("#7a5c3e", "#c9a98a"), ("#5b6770", "#a9b4bd"),
)  # fmt: skip
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5))
DISTINCT = len(PALETTE) * len(DASHES)  # number of line styles
# (light, dark) of everything else on the page
COLORS = {
    "paper": ("#ffffff", "#14181d"), "card": ("#f5f7f9", "#1d232a"), "ink": ("#1b1f24", "#e6e9ed"),
    "muted": ("#57606a", "#a3adb8"), "grid": ("#d8dee4", "#38414b"), "link": ("#0b5cad", "#7db8f2"),
    "bad": ("#b42318", "#ffb4a9"), "bad-bg": ("#fde4e1", "#5a221c"), "warn": ("#7a4d00", "#f6d28b"),
    "warn-bg": ("#fdf0d2", "#4d3a10"), "good": ("#1a6b3c", "#9bdcb3"), "good-bg": ("#e3f3e8", "#1d3b2a"),
    "calm-bg": ("#e6eef7", "#22364b"),
} | {f"c{i}": pair for i, pair in enumerate(PALETTE)}  # fmt: skip
INK, MUTED, GRID, BAD = (COLORS[name][0] for name in ("ink", "muted", "grid", "bad"))
_DRAWN = ("ink", "muted", "grid", "bad", *(f"c{i}" for i in range(len(PALETTE))))
VARIABLES = {COLORS[name][0]: f"--{name}" for name in _DRAWN}

RC: Any = {
    "svg.fonttype": "none",  # text, not paths: small, and accessible to screen readers
    "svg.hashsalt": "sweeps",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.5,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}


@dataclass(frozen=True)
class LineStyle:
    """Colour and dashes of a configuration in all figures: index into `PALETTE` and into `DASHES`."""

    color: int
    dash: int

    @property
    def hex(self) -> str:
        return PALETTE[self.color][0]

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments of a matplotlib line."""
        dashes = DASHES[self.dash]
        return {"color": self.hex, "linestyle": (0, dashes) if dashes else "solid", "solid_capstyle": "round"}

    @property
    def dasharray(self) -> str:
        """The dashes for an SVG attribute."""
        return " ".join(f"{d * 1.5:g}" for d in DASHES[self.dash])


def line_styles(sweeps: Sequence[Sequence[str]]) -> dict[str, LineStyle]:
    """config_id -> style, the same in every sweep; distinct within a sweep as long as there are unused styles. sweeps:
    config_ids of each, first those that must not share a style."""
    all_styles = [LineStyle(i % 8, (i + i // 8) % 4) for i in range(DISTINCT)]
    style_of: dict[str, LineStyle] = {}
    for configs in sweeps:
        used = {style_of[config_id] for config_id in configs if config_id in style_of}
        for config_id in configs:
            if config_id not in style_of:
                free = [line_style for line_style in all_styles if line_style not in used] or all_styles
                style_of[config_id] = free[0]
                used.add(free[0])
    return style_of


def figure(width: float, height: float) -> Figure:
    """An empty figure of a size in pixels of the page. Draw within `style()`."""
    fig = Figure(figsize=(width / 96, height / 96), dpi=96)
    FigureCanvasSVG(fig)
    return fig


@contextlib.contextmanager
def style(own: Mapping[Any, Any] = MappingProxyType({})) -> Iterator[None]:
    """Context in which figures are drawn and saved, whatever the user's matplotlibrc says. own: settings that replace
    those of `RC`."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**RC, **own})
        yield


# --- SVG ------------------------------------------------------------------------------------------------

_HEAD = re.compile(r"<\?xml.*?<svg", re.DOTALL)
_META = re.compile(
    r"<metadata>.*?</metadata>\s*|<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*|<!--.*?-->\s*", re.DOTALL
)
_NOISE = re.compile(r' (id|xmlns|xmlns:xlink|version|clip-path)="[^"]*"| transform="rotate\(-0 [^"]*"')
_STYLE = re.compile(r'style="[^"]*"')
_EMPTY = re.compile(r'<g/>|<defs>\s*<clipPath>.*?</clipPath>\s*</defs>|<g></g>|<path d="[^"]*" style="fill:none"/>')
_PATH = re.compile(r'\bd="([^"]*)"')
_FONT = re.compile(r"font(-family)?: ?([\d.]+px )?[^;\"]*'[^;\"]*")
_LONG = re.compile(r"\d+\.\d{3,}")  # coordinates; opacities have two places
_TAG = re.compile(r"<[^>]*>")
_POLYLINE = re.compile(r"[MLz\s\d.e+-]*")
_VECTOR = re.compile(r"([ML])\s+(\S+)\s+(\S+)|z")


def to_svg(drawn: Figure) -> str:
    """Markup for use inside a page: sized by its container, without ids, dates and external references.

    Nothing is clipped, as clip paths need ids: everything drawn must lie within the axes.
    """
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = _HEAD.sub("<svg", buffer.getvalue(), count=1)
    text = _META.sub("", text)
    text = re.sub(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    text = _NOISE.sub("", text)
    text = _PATH.sub(lambda m: f'd="{_compact(m[1])}"', text)
    text = _FONT.sub(lambda m: f"font-size: {m[2].strip()}" if m[2] else "", text)
    text = _TAG.sub(lambda m: _rounded(m[0]), text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    text = _STYLE.sub(lambda m: re.sub(r"([;:])[\s;]+", r"\1", m[0]), text)
    text = re.sub(r">\s+<", "><", text).strip()
    while (leaner := _EMPTY.sub("", text)) != text:
        text = leaner
    return text


def _compact(path: str) -> str:
    """Straight paths in relative coordinates of tenths of a point, a fifth of the length."""
    if not _POLYLINE.fullmatch(path):
        return " ".join(_rounded(path).split())
    out: list[str] = []
    at = (0, 0)
    for command, x, y in (m.groups() for m in _VECTOR.finditer(path)):
        if command is None:
            out.append("z")
            continue
        to = (round(float(x) * 10), round(float(y) * 10))
        if command == "M":
            out.append(f"M{_tenths(to[0])} {_tenths(to[1])}")
        elif to != at:
            step = f"{_tenths(to[0] - at[0])} {_tenths(to[1] - at[1])}"
            out.append(f"l{step}" if out[-1][0] in "Mz" else f" {step}")
        at = to
    return "".join(out).replace(" -", "-")


def _rounded(text: str) -> str:
    return _LONG.sub(lambda m: f"{float(m[0]):.1f}", text)


def _tenths(value: int) -> str:
    return f"{value / 10:g}".replace("0.", ".", 1) if abs(value) < 10 and value else f"{value / 10:g}"
