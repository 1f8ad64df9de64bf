"""The figures of the report: results, small multiples of all diagnostics, raised flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from aggregate.analysis.summary import Imported, SweepSummary
from aggregate.verdict.words import AgentWords, sentence
from plots import curves, layouts
from plots.tables import Chip
from plots.theme import DISTINCT
from sweepwise.core.metrics import RESULTS, Catalogue, Metric

# Groups of metrics in the order of the page; those of an agent that are not here follow under their own name.
GROUPS = {
    "policy": "Policy",
    "value": "Value",
    "world model": "World model",
    "return": "Returns: spread and length",
    "other": "Other",
    "run": "Running",
}
# Prefixes of metrics that are shown on request; `help` of their metrics completes the title.
FOLDED = {
    "grad_norm/": "Gradient norms by loss and module",
    "validation/": "On validation data",
    "validation_recent/": "On validation data",
}
MOST_DRAWN = 24  # configurations, if there are more than line styles


@dataclass(frozen=True)
class Picture:
    """A figure on the page. view: see `plots.curves`, with kind and metric and, for a single configuration, its number
    (`only`); empty where the script has no data to redraw it."""

    svg: Markup
    view: dict[str, Any]
    label: str


def drawn_configs(sweep: SweepSummary) -> list[str]:
    """The configurations whose curves are drawn, in the plan's order: all, or of too many the best ones and the
    baseline; then the imported ones."""
    ids = [config.config_id for config in sweep.source.configs]
    kept = set(ids)
    if len(ids) > DISTINCT:
        kept = set(sweep.ranking["config_id"].head(MOST_DRAWN))
        kept |= {config.config_id for config in sweep.source.configs if config.is_baseline}
    return [*(config_id for config_id in ids if config_id in kept), *(c.config_id for c in sweep.source.imported)]


class DrawnLines:
    """The curves of a sweep's drawn configurations, divided once by metric and configuration."""

    def __init__(self, sweep: SweepSummary, chips: Sequence[Chip]) -> None:
        parts: list[SweepSummary | Imported] = [sweep, *([sweep.imported] if sweep.imported else [])]
        self._chips = [chip for chip in chips if chip.drawn]
        self._planned = {c.config_id: len(c.runs) for c in (*sweep.source.configs, *sweep.source.imported)}
        self._means = {
            (str(kind), str(metric), str(config_id)): mean
            for part in parts
            for (kind, metric, config_id), mean in part.curves.groupby(["kind", "metric", "config_id"], observed=True)
        }
        self._seeds = {
            (kind, str(config_id)): seeds
            for part in parts
            for kind, wide in part.seeds.items()
            for config_id, seeds in wide.groupby("config_id", observed=True)
        }

    def of(self, metric: Metric) -> list[tuple[Chip, curves.Line]]:
        """(chip, line) of the drawn configurations that have the metric."""
        drawn = []
        for chip in self._chips:
            mean = self._means.get((metric.kind, metric.name, chip.config_id))
            if mean is not None:
                seeds = self._seeds[metric.kind, chip.config_id][["seed", "step", metric.name]]
                planned = self._planned[chip.config_id]
                drawn.append((chip, curves.Line(chip.letter, chip.line_style, mean, seeds, planned)))
        return drawn


def results(catalogue: Catalogue) -> list[tuple[Metric, str]]:
    """(metric, title of its figure) of the results of evaluation and training that an agent has."""
    own = AgentWords(catalogue)
    titles = {
        "primary": "Evaluation with planning" if own.plans else own.primary,
        "policy_without_mpc": "Evaluation of the policy without MPC",
        "training_return": "Training episodes",
    }
    return [(catalogue.roles[role], titles[role]) for role in RESULTS if role in catalogue.roles]


def may_be_log(metric: Metric, catalogue: Catalogue) -> bool:
    """Whether a single figure of the metric may have a logarithmic axis: not for results, nor for what is drawn beside
    them, as their spread."""
    beside = metric.group == catalogue.primary.group != Metric.group
    return metric.role not in RESULTS and not beside


def returns(sweep: SweepSummary, lines: DrawnLines, frame: curves.Frame) -> list[dict[str, Any]]:
    """Per result an overview, for wide and for narrow pages, and a facet per configuration."""
    figures = []
    for declared, title in results(sweep.source.agent.catalogue):
        metric = declared.name
        pairs = lines.of(declared)
        if not pairs:
            continue
        limits = curves.limits_of([line.seeds[metric] for _, line in pairs], frame.random)
        label = f"{declared.help or declared.words}, mean of every configuration over {frame.step_words}"
        wide, narrow = (
            _picture(
                curves.overview([line for _, line in pairs], frame, layout=layout, unit=declared.unit), label, declared
            )
            for layout in (layouts.OVERVIEW, layouts.NARROW_OVERVIEW)
        )
        facets = [(chip, _facet(chip, line, declared, title, frame, limits)) for chip, line in pairs]
        figures.append({"metric": metric, "title": title, "wide": wide, "narrow": narrow, "facets": facets})
    return figures


def _facet(
    chip: Chip,
    line: curves.Line,
    metric: Metric,
    title: str,
    frame: curves.Frame,
    limits: tuple[float, float],
) -> Picture:
    drawn = curves.facet(line, metric.name, frame, limits, unit=metric.unit)
    return _picture(drawn, f"{title}, {chip.label}: seeds, mean, interval and number of seeds", metric, chip)


def start_returns(sweep: SweepSummary, lines: DrawnLines, frame: curves.Frame) -> list[tuple[str, Picture]]:
    """(title, picture) per result: the mean curves of the configurations with diverged runs, of the runs that are left
    and of all starts; empty where no run diverged."""
    pictures = []
    for metric, title in results(sweep.source.agent.catalogue):
        of_starts = sweep.start_curves[sweep.start_curves["metric"] == metric.name]
        means = dict(iter(of_starts.groupby("config_id")))
        pairs = [(line, means[chip.config_id]) for chip, line in lines.of(metric) if chip.config_id in means]
        if pairs:
            drawn = curves.with_starts(pairs, frame, unit=metric.unit)
            label = f"{title}: runs that are left, and dotted all starts, a diverged run counted as random actions"
            pictures.append((title, Picture(Markup(drawn), {}, label)))
    return pictures


def diagnostics(sweep: SweepSummary, lines: DrawnLines, frame: curves.Frame) -> list[dict[str, Any]]:
    """Groups of small multiples in the catalogue's order; the groups of `FOLDED` are collapsed."""
    catalogue = sweep.source.agent.catalogue
    logged = {m for wide in sweep.seeds.values() for m in wide.columns}
    metrics = [m for name, m in catalogue.metrics.items() if name in logged and m.role not in RESULTS]
    sections: list[dict[str, Any]] = []
    for group, title in groups(catalogue).items():
        own = [m for m in metrics if m.group == group and not m.name.startswith(tuple(FOLDED))]
        sections.append({"title": title, "folded": False, "metrics": own})
    for prefix, title in FOLDED.items():
        own = [m for m in metrics if m.name.startswith(prefix)]
        sections.append({"title": f"{title}{_source_of(own)}", "folded": True, "metrics": own})
    for section in sections:
        section["panels"] = [(m, _small(lines, frame, m)) for m in section["metrics"]]
        section["panels"] = [(m, picture) for m, picture in section["panels"] if picture]
    return [section for section in sections if section["panels"]]


def groups(catalogue: Catalogue) -> dict[str, str]:
    """Group of metrics -> title of its section."""
    return GROUPS | {m.group: sentence(m.group) for m in catalogue.metrics.values() if m.group not in GROUPS}


def _source_of(metrics: Sequence[Metric]) -> str:
    """`: the newest evaluation's episodes`, where all helps end with the same data that they are `on`; else ""."""
    sources = {metric.help.rpartition(", on ")[2] if ", on " in metric.help else "" for metric in metrics}
    return f": {source}" if len(sources) == 1 and (source := sources.pop()) else ""


def _small(lines: DrawnLines, frame: curves.Frame, metric: Metric) -> Picture | None:
    pairs = lines.of(metric)
    if not pairs:
        return None
    drawn = curves.small([line for _, line in pairs], metric.name, frame, unit=metric.unit)
    return _picture(drawn, f"{metric.name}: {metric.help or metric.words}, over {frame.step_words}", metric)


def flag_figure(
    chip: Chip, metric: Metric, seeds: pd.DataFrame, marks: Sequence[curves.Mark], frame: curves.Frame | None, log: bool
) -> Picture:
    """The curves on which a flag was raised. seeds: seed, step and the metric, of one configuration. log: whether a
    logarithmic axis is allowed. Without a frame the page's script draws the figure."""
    by_seed = {int(seed): part for seed, part in seeds.groupby("seed", observed=True)}
    log = log and curves.wants_log(seeds[metric.name])
    if frame is None or frame.by_script:
        drawn = curves.SvgFigure("", layouts.EVIDENCE.view(log=log))
    else:
        values = _values(by_seed, metric.name)
        drawn = curves.evidence(chip.line_style, values, marks, frame, unit=metric.unit, log=log)
    picture = _picture(drawn, f"{metric.name} of {chip.label}, each seed, onsets marked", metric, chip)
    marked = [[mark.number, mark.step if math.isfinite(mark.step) else None] for mark in marks]
    return Picture(picture.svg, picture.view | {"marks": marked}, picture.label)


def dimensions_figure(
    chip: Chip, metric: Metric, dimensions: pd.DataFrame, mark: curves.Mark, frame: curves.Frame
) -> Picture:
    """All action dimensions of the seed of `mark`. dimensions: dimension, step and the metric."""
    of = _values({int(number): part for number, part in dimensions.groupby("dimension")}, metric.name)
    marks = [curves.Mark(number, mark.step) for number in of]
    drawn = curves.evidence(chip.line_style, of, marks, frame, unit=metric.unit, log=False)
    label = f"{metric.name} of {chip.label}, seed {mark.number}, every action dimension, onset marked"
    return Picture(Markup(drawn.svg), {}, label)


def _values(parts: Mapping[int, pd.DataFrame], metric: str) -> dict[int, pd.DataFrame]:
    return {number: part[["step", metric]].rename(columns={metric: "value"}) for number, part in parts.items()}


def _picture(drawn: curves.SvgFigure, label: str, metric: Metric, only: Chip | None = None) -> Picture:
    view = drawn.view | {"kind": metric.kind, "metric": metric.name, "unit": metric.unit}
    return Picture(Markup(drawn.svg), view | ({"only": only.index} if only else {}), label)
