"""Numbers in sentences, rounded by their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MOST_PLACES = 6  # after the point
SMALL = (1e-10, 1e-5)  # numbers, as of a loss, that would keep one digit within these places; below is rounding noise


def number(value: float, half_width: float = math.nan) -> str:
    """`value` rounded by its uncertainty (half width 5 to 50: whole numbers), else to three significant digits."""
    if not math.isfinite(value):
        return "-"
    known = math.isfinite(half_width) and half_width > SMALL[0]
    size = half_width / 5 if known else abs(value) / 100 if abs(value) > SMALL[0] else 0
    places = 0 if size == 0 else max(0, -math.floor(math.log10(size)))
    if places > MOST_PLACES and SMALL[0] < abs(value) < SMALL[1]:
        return f"{value:.2e}".replace("-", "\N{MINUS SIGN}")
    text = f"{value:,.{min(places, MOST_PLACES)}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else text.lstrip("-")


def estimate(mean: float, low: float, high: float) -> str:
    """Mean and interval as in 621 [596, 646]; the mean alone without an interval."""
    half = (high - low) / 2
    if not math.isfinite(half):
        return number(mean)
    return f"{number(mean, half)} [{number(low, half)}, {number(high, half)}]"


def signed(line: Mapping[str, Any]) -> str:
    """An effect with its sign and interval, from columns estimate, ci_low and ci_high."""
    return signed_estimate(line["estimate"], line["ci_low"], line["ci_high"])


def signed_estimate(mean: float, low: float, high: float) -> str:
    """A difference with its sign and interval, as in +34 [−20, 88]."""
    text = estimate(mean, low, high)
    return f"+{text}" if mean > 0 else text


def short_probability(p: float) -> str:
    """0.012, < 0.001, or - for NaN: a cell of a table whose column is named p."""
    return probability(p).removeprefix("p = ").removeprefix("p ") if math.isfinite(p) else "-"


def probability(p: float) -> str:
    """p = 0.012; p < 0.001; p = 0.0496 rather than 0.05, as 0.05 is where significance ends."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}" if 0.045 <= p < 0.055 else f"p = {p:.2g}"
