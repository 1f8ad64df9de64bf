"""The report's figures, drawn from a sweep's frames: returns, and small multiples of every diagnostic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from aggregate.summary import SweepSummary
from plots import curves
from plots.tables import Chip
from tdmpc import catalogue

RETURNS = (
    ("eval", "eval_return_planner", "Evaluation with planning"),
    ("eval", "eval_return_policy", "Evaluation with the policy alone"),
    ("episode", "episode_return", "Training episodes"),
)
GROUPS = (
    ("policy", "Policy"),
    ("value", "Value"),
    ("world model", "World model"),
    ("return", "Returns: spread and length"),
    ("run", "Running"),
)
FOLDED = (
    ("grad_norm/", "Gradient norms by loss and module"),
    ("validation/", "On validation data: all evaluation episodes so far"),
    ("validation_recent/", "On validation data: the newest evaluation's episodes"),
)


def _lines(sweep: SweepSummary, chips: Sequence[Chip], kind: str, metric: str) -> list[tuple[Chip, curves.Line]]:
    """The configurations that have the metric at all."""
    planned = {c.config_id: len(c.runs) for c in (*sweep.source.configs, *sweep.source.imported)}
    own = {c.config_id for c in sweep.source.configs}
    lines = []
    for chip in chips:
        part = sweep if chip.config_id in own or sweep.imported is None else sweep.imported
        means = part.curves[(part.curves["kind"] == kind) & (part.curves["metric"] == metric)]
        mean = means[means["config_id"] == chip.config_id]
        if mean.empty:
            continue
        wide = part.seeds[kind]
        seeds = wide.loc[wide["config_id"] == chip.config_id, ["seed", "step", metric]]
        lines.append((chip, curves.Line(chip.letter, chip.look, mean, seeds, planned[chip.config_id])))
    return lines


def return_figures(
    sweep: SweepSummary, chips: Sequence[Chip], frame: curves.Frame, kind: str, metric: str, title: str
) -> dict[str, Any] | None:
    pairs = _lines(sweep, chips, kind, metric)
    if not pairs:
        return None
    lines = [line for _, line in pairs]
    limits = curves.limits_of([line.seeds[metric] for line in lines], frame.random)
    unit = catalogue.METRICS[metric].unit
    facets = [(chip, Markup(curves.facet(line, metric, frame, limits, unit=unit))) for chip, line in pairs]
    return {
        "title": title,
        "help": catalogue.METRICS[metric].help,
        "wide": Markup(curves.overview(lines, frame, width=1000, height=380, unit=unit)),
        "narrow": Markup(curves.overview(lines, frame, width=360, height=290, unit=unit)),
        "facets": facets,
    }


def diagnostics(sweep: SweepSummary, chips: Sequence[Chip], frame: curves.Frame) -> list[dict[str, Any]]:
    """Groups of small multiples in the catalogue's order; side branches fold away."""
    shown = {metric for _, metric, _ in RETURNS}
    there = [m for kind, wide in sweep.seeds.items() for m in wide.columns if m in catalogue.METRICS]
    metrics = [m for name, m in catalogue.METRICS.items() if name in there and name not in shown]
    sections: list[dict[str, Any]] = []
    for group, title in GROUPS:
        own = [m for m in metrics if m.group == group and not m.name.startswith(tuple(p for p, _ in FOLDED))]
        sections.append({"title": title, "folded": False, "panels": own})
    for prefix, title in FOLDED:
        own = [m for m in metrics if m.name.startswith(prefix)]
        sections.append({"title": title, "folded": True, "panels": own})
    for section in sections:
        section["panels"] = [_panel(sweep, chips, frame, metric) for metric in section["panels"]]
    return [section for section in sections if section["panels"]]


def _panel(
    sweep: SweepSummary, chips: Sequence[Chip], frame: curves.Frame, metric: catalogue.Metric
) -> tuple[catalogue.Metric, Markup]:
    lines = [line for _, line in _lines(sweep, chips, metric.kind, metric.name)]
    return metric, Markup(curves.small(lines, metric.name, frame, unit=metric.unit))
