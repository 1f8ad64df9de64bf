"""Values of metrics in sentences. Standard library only."""

from __future__ import annotations

from sweepwise.core.metrics import Metric

RETURN = "return"  # the unit of returns, which are said in whole points
_GROUPED = (999.5, 1e6)  # sizes that three significant digits would write with an exponent


def value_text(value: float, metric: Metric, sign: str = "") -> str:
    """Without its unit: a return in whole points, anything else to three significant digits. sign: "+" to have one."""
    whole = metric.unit == RETURN or _GROUPED[0] <= abs(value) < _GROUPED[1]
    return f"{value:{sign}.0f}" if whole else f"{value:{sign}.3g}"


def with_unit(value: float, metric: Metric) -> str:
    """As in "34 return points", "12.3 nat", "0.41"."""
    points = " points" if metric.unit == RETURN else ""
    return f"{value_text(value, metric)}{unit_text(metric)}{points}"


def unit_text(metric: Metric) -> str:
    """The unit after a number and a space; "" for none."""
    return "" if metric.unit in ("", "1") else f" {metric.unit}"
