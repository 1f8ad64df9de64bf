"""The report: one offline file, complete without scripts. The template only places what is prepared here."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pandas as pd
import scipy
from markupsafe import Markup

from aggregate import flags
from aggregate.load import AggregateError
from aggregate.origins import seeds_by_origin
from aggregate.summary import Summary, SweepSummary
from aggregate.verdict import verdict
from aggregate.words import number
from plots import curves, figures, tables
from plots.secondary import secondary
from plots.theme import PALETTE, Look, looks
from tdmpc.shards import atomic_write


def write_report(summary: Summary, out: Path) -> None:
    """Write the report to `out`, whole or not at all. Raises `AggregateError` where that is impossible."""
    if out.is_dir():
        raise AggregateError(f"--out {out}: is a folder; name a file such as {out / 'report.html'}")
    html = render(summary)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(out, lambda part: _write(part, html))
    except OSError as error:
        raise AggregateError(f"--out {out}: {error.strerror}; choose a place you may write to") from error


def _write(path: Path, html: str) -> None:
    path.write_text(html, encoding="utf-8")


def render(summary: Summary) -> str:
    """The page as text. The same shards give the same text."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined, loader=jinja2.FunctionLoader(_page))  # fmt: skip
    template = environment.get_template("report.html.j2")
    look = looks([sweep.source for sweep in summary.sweeps])
    return template.render(
        sweeps=[_sweep(sweep, look, index) for index, sweep in enumerate(summary.sweeps, 1)],
        css=Markup(_page("report.css")),
        palette=PALETTE,
        quarantine=summary.loaded.quarantine.to_dict("records"),
        doubts=summary.loaded.doubts.to_dict("records"),
        detectors=flags.DETECTORS,
        provenance=_provenance(summary),
    )


def _page(name: str) -> str:
    """A file of the page: template, style sheet or script."""
    return importlib.resources.files("plots").joinpath("page", name).read_text(encoding="utf-8")


def _sweep(sweep: SweepSummary, look: dict[str, Look], index: int) -> dict[str, Any]:
    drawn = [
        tables.Chip(c.config_id, curves.letter(i), c.name, look[c.config_id], c.is_baseline, mixed, c.imported)
        for i, c in enumerate([*sweep.source.configs, *sweep.source.imported])
        for mixed in [seeds_by_origin(sweep.origins[sweep.origins["config_id"] == c.config_id])]
    ]
    chips, by_id = drawn[: len(sweep.source.configs)], {chip.config_id: chip for chip in drawn}
    random = sweep.random.mean if sweep.random else None
    frame = curves.Frame(sweep.total_steps, curves.common_events(sweep.events, sweep.total_steps), random)
    return {
        "index": index,
        "source": sweep.source,
        "task": ", ".join(sorted({str(c.config.get("task", "task not recorded")) for c in sweep.source.configs})),
        "total": sweep.total_steps,
        "verdict": verdict(sweep),
        "chips": chips,
        "drawn": drawn,
        "by_id": by_id,
        "ranking": tables.ranking_table(sweep, by_id),
        "contrasts": tables.contrast_table(sweep, by_id),
        "effects": tables.effect_tables(sweep),
        "secondary": secondary(sweep, {chip.config_id: chip for chip in chips}),
        "health": tables.run_states(sweep, chips),
        "returns": [r for r in (figures.return_figures(sweep, drawn, frame, *which) for which in figures.RETURNS) if r],
        "flags": tables.flag_tables(sweep, chips),
        "diagnostics": figures.diagnostics(sweep, drawn, frame),
        "events": [(f"{step:,}", words) for step, words in frame.events.items()],
        "random": sweep.random and number(sweep.random.mean),
        "bands": len(drawn) <= curves.MOST_BANDS,
        "keys": tables.key_tables(sweep, chips),
    }


def _provenance(summary: Summary) -> list[tuple[str, str]]:
    loaded = summary.loaded
    times = [t for run in loaded.runs.values() for t in run.times if np.isfinite(t)]
    first, last = (
        (f"{pd.Timestamp(t, unit='s'):%Y-%m-%d %H:%M}" for t in (min(times), max(times))) if times else ("", "")
    )
    runs = len({(r.config_id, r.seed) for s in summary.sweeps for c in s.source.configs for r in c.runs})
    return [
        ("Runs asked for", f"{runs}"),
        ("Rows read", f"{loaded.count:,}"),
        ("Logged between", f"{first} and {last} UTC" if times else "no clock told"),
        ("Files set aside", f"{len(loaded.quarantine)}"),
        ("Computed with", f"numpy {np.__version__}, pandas {pd.__version__}, scipy {scipy.__version__}, "
                          f"matplotlib {matplotlib.__version__}"),
    ]  # fmt: skip
