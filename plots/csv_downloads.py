"""The numbers of the report as CSV inside the page, for download and for the page's script.

They are `data:` links and work without scripts; long ones are compressed.
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from aggregate.analysis.judged_runs import BINNED
from aggregate.analysis.summary import Summary, SweepSummary
from aggregate.export import frames
from aggregate.inputs.runs import Loaded
from plots.tables import Chip
from sweepwise.core.value_format import cell

MOST_VALUES = 800_000  # of the curves of a sweep, about two megabytes
LONG = 20_000  # characters from which a table is compressed


@dataclass(frozen=True)
class Download:
    """A file inside the page. key: its name for the script. lines: without the header. kind, columns: of curves, the
    kind of row and its metrics."""

    key: str
    file: str
    title: str
    lines: int
    href: str
    kind: str = ""
    columns: tuple[str, ...] = ()


def curve_files(sweep: SweepSummary, chips: Sequence[Chip], extra: Collection[tuple[str, str]]) -> list[Download]:
    """Per kind of row the curves of every seed: all metrics of drawn configurations, and of the others those that
    `extra` names as (config_id, metric). Four significant digits; above `MOST_VALUES` values, groups of bins of
    training rows and episodes are averaged."""
    tables = {kind: _selected(wide, chips, extra) for kind, wide in _seeds(sweep).items()}
    fine = sum(int(t.iloc[:, 3:].count().sum()) for t in tables.values())
    group = -(-fine // MOST_VALUES)
    downloads = []
    for kind, table in tables.items():
        coarse = group > 1 and kind in BINNED
        shown = _coarser(table, group) if coarse else table
        title = f"Curves: {kind} rows, every seed{f', means of {group} bins' if coarse else ''}"
        text = shown.set_axis(list(map(cell, shown)), axis=1).to_csv(
            index=False, float_format="%.4g", lineterminator="\n"
        )
        name = f"{file_stem(sweep.source.name)}-{kind}"
        file = _download(f"curves-{kind}", name, title, text, len(shown), compress=True)
        downloads.append(replace(file, kind=kind, columns=tuple(shown.columns[3:])))
    return downloads


def _seeds(sweep: SweepSummary) -> Mapping[str, pd.DataFrame]:
    """Curves per seed by kind, those of imports included."""
    if sweep.imported is None:
        return sweep.seeds
    kinds = dict.fromkeys([*sweep.seeds, *sweep.imported.seeds])
    parts = {kind: [part.seeds[kind] for part in (sweep, sweep.imported) if kind in part.seeds] for kind in kinds}
    return {kind: pd.concat(known, ignore_index=True) for kind, known in parts.items()}


def _selected(wide: pd.DataFrame, chips: Sequence[Chip], extra: Collection[tuple[str, str]]) -> pd.DataFrame:
    """Lines of drawn configurations, and the cells of others that `extra` names."""
    drawn = [chip.config_id for chip in chips if chip.drawn]
    parts = [wide[wide["config_id"].isin(drawn)]]
    keys = ["config_id", "seed", "step"]
    extra_metrics: dict[str, list[str]] = {}
    for config_id, metric in sorted(extra):
        if config_id not in drawn and metric in wide:
            extra_metrics.setdefault(config_id, []).append(metric)
    for config_id, metrics in extra_metrics.items():
        parts.append(wide.loc[wide["config_id"] == config_id, [*keys, *metrics]])
    table = pd.concat(parts, ignore_index=True)
    return table.assign(step=table["step"].round().astype(int)).replace([np.inf, -np.inf], np.nan)


def _coarser(table: pd.DataFrame, group: int) -> pd.DataFrame:
    """Means over groups of `group` neighbouring bins, at the step of the last bin; the same groups in all runs."""
    steps = np.sort(table["step"].unique())
    groups = np.searchsorted(steps, table["step"]) // group
    last = steps[np.minimum((groups + 1) * group, steps.size) - 1]
    runs = table.assign(step=last).groupby(["config_id", "seed", "step"], sort=False, observed=True)
    return runs.mean().reset_index()


GZIP_LEVEL = 6  # 9 takes three times as long
TITLES = {
    "configurations": "Configurations: factors, mean and interval of every score",
    "runs": "Runs: state and scores",
    "contrasts": "Differences between configurations",
    "effects": "Effects and interactions of factors",
    "odds": "Odds of flags along factors",
    "answers": "Answers to the plan's questions",
    "flags": "Flags run by run, raised or not, with the votes",
}


def table_files(sweep: SweepSummary, loaded: Loaded) -> list[Download]:
    """The frames behind the tables."""
    by_level = frames.frames(Summary((sweep,), loaded))
    levels = [(key, title, getattr(by_level, key)) for key, title in TITLES.items()]
    return [
        _download(key, f"{file_stem(sweep.source.name)}-{key}", title, _text(frame), len(frame), compress=False)
        for key, title, frame in levels
        if len(frame)
    ]


def frame_download(key: str, name: str, title: str, frame: pd.DataFrame) -> Download:
    """One frame as a file of the page."""
    return _download(key, name, title, _text(frame), len(frame), compress=False)


def _text(frame: pd.DataFrame) -> str:
    """CSV in which a spreadsheet takes no text for a formula (`value_format.cell`)."""
    texts = frame.select_dtypes(exclude="number").columns
    safe = frame.assign(**{name: [cell(v) if isinstance(v, str) else v for v in frame[name]] for name in texts})
    return safe.set_axis(list(map(cell, safe)), axis=1).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _download(key: str, name: str, title: str, text: str, lines: int, *, compress: bool) -> Download:
    content, kind, ending = text.encode(), "text/csv;charset=utf-8", "csv"
    if compress or len(content) > LONG:
        content, kind, ending = gzip.compress(content, GZIP_LEVEL, mtime=0), "application/gzip", "csv.gz"
    href = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return Download(key, f"{name}.{ending}", title, lines, href)


def file_stem(name: str, without: str = "sweep") -> str:
    """A name of a sweep or a metric as part of a file's name; `without` where nothing of it is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or without
