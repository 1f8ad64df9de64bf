"""One card per configuration and raised flag: the curve with marked onsets, and the numbers of every seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.runs import Loaded
from aggregate.statistics import step_bins
from aggregate.verdict.number_format import number
from plots import curves, figures
from plots.tables import Chip
from sweepwise.core.metrics import Metric

MOST_PICTURES = 32  # drawn in advance; the page's script draws the others
RUN_LEVEL = ("primary", "training_return")  # roles of the metrics that are shown for flags without a metric


@dataclass(frozen=True)
class Card:
    """seeds: one line per seed that raises the flag. judged: the column that the flag judges. metric: the one drawn, ""
    without a figure. picture: without
    markup where the script draws it. drawn: caption of the figure."""

    chip: Chip
    detector: flags.Detector
    vote: dict[str, Any]
    seeds: tuple[dict[str, Any], ...]
    judged: str
    metric: str
    picture: figures.Picture | None
    drawn: str


def cards(sweep: SweepSummary, chips: Sequence[Chip], frame: curves.Frame, loaded: Loaded) -> list[Card]:
    """Sorted by flag, then by configuration."""
    raised = sweep.findings[sweep.findings["state"] == flags.FLAG]
    votes = {(v["config_id"], v["flag"]): v for v in sweep.votes[sweep.votes["raised"] > 0].to_dict("records")}
    shares = sorted(votes, key=lambda key: -votes[key]["raised"] / votes[key]["assessable"])
    drawn = set(shares[:MOST_PICTURES])
    made = []
    judged_by = dict(zip(sweep.findings["flag"], sweep.findings["metric"], strict=True))
    for detector in flags.detectors_of(sweep.source.agent):
        judged = judged_by.get(detector.name, "")
        metric = _shown_metric(sweep, judged)
        for chip in chips:
            key = (chip.config_id, detector.name)
            if key not in votes:
                continue
            own = raised[(raised["config_id"] == chip.config_id) & (raised["flag"] == detector.name)]
            picture = _picture(sweep, chip, judged, metric, own, frame if key in drawn else None, loaded)
            lines = tuple(_seed_line(line) for line in own.to_dict("records"))
            caption = _caption(judged, metric, picture, own)
            made.append(Card(chip, detector, votes[key], lines, judged, metric, picture, caption))
    return made


def _seed_line(finding: dict[str, Any]) -> dict[str, Any]:
    onset = f"{finding['onset']:,.0f}" if np.isfinite(finding["onset"]) else "-"
    texts = {key: number(finding[key]) for key in ("measured", "threshold")}
    return {**finding, **texts, "onset": onset}


def _shown_metric(sweep: SweepSummary, judged: str) -> str:
    """The metric whose curve is shown: the one that is `judged`, the mean over its dimensions, or a result."""
    catalogue = sweep.source.agent.catalogue
    logged = {name for wide in sweep.seeds.values() for name in wide.columns if name in catalogue.metrics}
    mean = catalogue.metrics[judged].role.removesuffix("_per_dim") if judged in catalogue.metrics else ""
    roles = [catalogue.roles[role].name for role in (mean, *RUN_LEVEL) if role in catalogue.roles]
    return next((name for name in (judged, *roles) if name in logged), "")


def _picture(
    sweep: SweepSummary, chip: Chip, judged: str, metric: str, own: pd.DataFrame,
    frame: curves.Frame | None, loaded: Loaded,
) -> figures.Picture | None:  # fmt: skip
    if not metric:
        return None
    catalogue = sweep.source.agent.catalogue
    if frame and judged in catalogue.metrics and catalogue.metrics[judged].is_list:
        worst = _strongest(own)
        declared = catalogue.metrics[judged]
        dimensions = _dimension_curves(loaded, worst, declared, sweep.total_steps)
        mark = curves.Mark(int(worst["seed"]), float(worst["onset"]))
        return figures.dimensions_figure(chip, declared, dimensions, mark, frame)
    shown = catalogue.metrics[metric]
    wide = sweep.seeds[shown.kind]
    seeds = wide.loc[wide["config_id"] == chip.config_id, ["seed", "step", metric]]
    if seeds[metric].notna().sum() == 0:
        return None
    marks = [curves.Mark(int(s), float(o)) for s, o in zip(own["seed"], own["onset"], strict=True)]
    return figures.flag_figure(chip, shown, seeds, marks, frame, figures.may_be_log(shown, catalogue))


def _strongest(own: pd.DataFrame) -> pd.Series:
    """The finding with the largest ratio of measured value to threshold."""
    return own.iloc[int((own["measured"] / own["threshold"]).fillna(0).to_numpy().argmax())]


def _caption(judged: str, metric: str, picture: figures.Picture | None, own: pd.DataFrame) -> str:
    if picture is None:
        return ""
    if picture.view:
        return f"{metric}: raised in the seeds with numbers"
    return f"{judged}: the action dimensions of seed {_strongest(own)['seed']}"


def _dimension_curves(loaded: Loaded, finding: pd.Series, metric: Metric, total: int) -> pd.DataFrame:
    """dimension (from 1), step and the metric, of the run of a finding, on the grid of the curves."""
    run = loaded.runs[finding["config_id"], int(finding["seed"])]
    rows = run.frames([metric.kind], total)[metric.kind]
    rows = rows[rows[metric.name].notna()]
    values = pd.DataFrame(rows[metric.name].tolist())
    names = [str(number) for number in range(1, values.shape[1] + 1)]
    wide = values.set_axis(names, axis=1).assign(step=rows["step"].to_numpy())
    binned = step_bins.binned(
        wide, total, step_bins.bin_count([step_bins.spacing(wide["step"].to_numpy())], total), names
    )
    return pd.DataFrame(binned).melt(["step"], names, "dimension", metric.name)
