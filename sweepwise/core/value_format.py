"""Values of hyperparameters as text, the same in plans, tables, labels and reports."""

from __future__ import annotations

from typing import Any

_SMALL = 1e-3  # up to this size a number is written with an exponent


def format_value(value: Any) -> str:
    """As a researcher writes it: 1e-4, 0.05, true, [0.9, 0.95]; None, which lets the program choose, as auto."""
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, float) and 0 < abs(value) <= _SMALL:
        mantissa, exponent = f"{value:.6e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) else str(value)
