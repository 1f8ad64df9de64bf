"""The report: one offline file that works without scripts. The template only places the values prepared here."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pandas as pd
import scipy
from markupsafe import Markup, escape

from aggregate import flags
from aggregate.analysis.summary import Summary, SweepSummary
from aggregate.inputs.progress import tracked
from aggregate.inputs.provenance import seeds_by_origin
from aggregate.inputs.runs import Loaded, SweepSource, config_letter
from aggregate.statistics import estimates
from aggregate.tasks.analysis import TaskAnalysis
from aggregate.verdict.not_assessed import not_assessed
from aggregate.verdict.number_format import number
from aggregate.verdict.significance import format_pairing
from aggregate.verdict.words import AgentWords, sentence, words
from plots import csv_downloads, curves, figures, flag_cards, overview, tables, task_section
from plots.ranking import ranking_table
from plots.secondary_tables import factor_grids, secondary
from plots.tables import Chip
from plots.theme import COLORS, DASHES, LineStyle, line_styles
from sweepwise.core import atomic
from sweepwise.core.errors import AggregateError

MOST_SECTIONS = 8  # tasks of imported curves, or of a sweep, that each have a section where there is one across tasks
# Of the page, in their order.
SCRIPTS = ("state", "address", "data", "draw", "figure", "zoom", "controls", "tables", "save", "start")
LIVE_SCRIPTS = ("places", "live")  # in addition, of a page that a server keeps up to date


def write_report(summary: Summary, out: Path, across: TaskAnalysis | None = None) -> None:
    """Write the report to `out` atomically. across: the analysis across tasks, whose section comes first. Raises
    `AggregateError` where that is impossible, `OutputError` for what must not be replaced."""
    target = atomic.output(out, atomic.is_report)
    html = render(summary, across)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, lambda part: _write(part, html))
    except OSError as error:
        raise AggregateError(f"--out {out}: {error.strerror}; choose a place you may write to") from error


def _write(path: Path, html: str) -> None:
    path.write_text(html, encoding="utf-8")


def render(summary: Summary, across: TaskAnalysis | None = None, version: str = "") -> str:
    """The page as text. Deterministic: equal shards give equal text. version: of a page that a server keeps up to date:
    it asks the server for another version, and its script draws the curves, as drawing them here takes most of the
    time; "" for a file, which is not updated and complete without scripts."""
    template = _environment().get_template("report.html.j2")
    shown, left_out = shown_sweeps(summary, across)
    drawn = [figures.drawn_configs(sweep) for sweep in shown]
    every = [[config.config_id for config in (*s.source.configs, *s.source.imported)] for s in shown]
    styles = line_styles([[*first, *all_] for first, all_ in zip(drawn, every, strict=True)])
    is_live = bool(version)
    drawing = tracked(shown, len(shown), "drawing sweeps")
    sections = [_sweep(sweep, styles, index, summary.loaded, is_live) for index, sweep in enumerate(drawing, 1)]
    return template.render(
        sweeps=sections,
        questions=overview.by_question(sections),
        recommended=overview.recommended_rows(shown),
        totals=overview.totals(shown) if shown else "",
        first=overview.first_command(sections),
        across=task_section.section(across) if across is not None else None,
        left_out=left_out,
        css=Markup(_page("report.css") + (_page("live.css") if is_live else "")),
        script=Markup(script_of_page(is_live=is_live)),
        policy=Markup(content_policy(is_live=is_live)),
        version=version,
        colors=COLORS,
        quarantine=summary.loaded.quarantine.to_dict("records"),
        doubts=summary.loaded.doubts.to_dict("records"),
        detectors=_judged_by(shown),
        methods=_methods(summary),
        provenance=_provenance(summary),
    )


@functools.cache
def _environment() -> jinja2.Environment:
    """With the templates that it has compiled."""
    made = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                              undefined=jinja2.StrictUndefined, loader=jinja2.FunctionLoader(_page))  # fmt: skip
    made.filters["sentence"] = sentence
    made.filters["with_code"] = _with_code
    made.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    return made


def without_section(sources: Iterable[SweepSource]) -> list[str]:
    """The names of the sweeps that are shown across tasks only, where there is a section across tasks: the tasks of
    imports, or of one sweep, where these are more than `MOST_SECTIONS`."""
    groups: dict[str, list[str]] = {}
    for source in sources:
        imported = bool(source.configs) and all(config.imported for config in source.configs)
        if imported or source.tasks_of:
            groups.setdefault(source.tasks_of, []).append(source.name)
    return sorted(name for names in groups.values() if len(names) > MOST_SECTIONS for name in names)


def shown_sweeps(summary: Summary, across: TaskAnalysis | None) -> tuple[list[SweepSummary], list[str]]:
    """(sweeps with a section of their own, names of the others)."""
    names = without_section(sweep.source for sweep in summary.every) if across is not None else []
    return [sweep for sweep in summary.sweeps if sweep.source.name not in names], names


def _with_code(text: str) -> Markup:
    """`text` escaped, with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def content_policy(*, is_live: bool = False) -> str:
    """The content security policy of the page: its own script, by its hash, and no request; of a live page, requests to
    its own server."""
    own = base64.b64encode(hashlib.sha256(script_of_page(is_live=is_live).encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{own}'"
    return f"{policy}; connect-src 'self'" if is_live else policy


def script_of_page(*, is_live: bool = False) -> str:
    """The page's script exactly as between its tags."""
    parts = "\n".join(_page(f"{name}.js") for name in (*SCRIPTS, *(LIVE_SCRIPTS if is_live else ())))
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _page(name: str) -> str:
    """A file of the page: template, style sheet or script."""
    return importlib.resources.files("plots").joinpath("page", name).read_text(encoding="utf-8")


def _frame(sweep: SweepSummary, is_live: bool) -> curves.Frame:
    random = sweep.random.mean if sweep.random else None
    events = curves.common_events(sweep.events, sweep.total_steps, sweep.source.agent.catalogue.events)
    return curves.Frame(sweep.total_steps, events, random, sweep.source.agent.step_words, by_script=is_live)


def _sweep(
    sweep: SweepSummary, styles: dict[str, LineStyle], index: int, loaded: Loaded, is_live: bool
) -> dict[str, Any]:
    every = _chips(sweep, styles)
    chips, by_id = every[: len(sweep.source.configs)], {chip.config_id: chip for chip in every}
    frame = _frame(sweep, is_live)
    lines = figures.DrawnLines(sweep, every)
    cards = flag_cards.cards(sweep, chips, frame, loaded)
    extra = {(card.chip.config_id, card.metric) for card in cards if card.metric}
    curve_files = csv_downloads.curve_files(sweep, every, extra)
    return {
        "index": index,
        "source": sweep.source,
        "task": ", ".join(sorted({task for c in sweep.source.configs if (task := c.task_of(sweep.source.agent))})),
        "total": sweep.total_steps,
        "step_words": sweep.source.agent.step_words,
        "words": words(sweep),
        "random_until": sweep.source.agent.diagnostics.random_until,
        **overview.first_screen(sweep),
        "chips": chips,
        "every": every,
        "ranking": ranking_table(sweep, by_id),
        "contrasts": tables.contrast_table(sweep, by_id),
        "pairing": format_pairing(sweep, sweep.baseline, "the baseline"),
        "effects": tables.effect_tables(sweep),
        "factors": factor_grids(sweep),
        "secondary": secondary(sweep, by_id),
        "starts": figures.start_returns(sweep, lines, frame),
        "health": tables.run_states(sweep, chips),
        "returns": figures.returns(sweep, lines, frame),
        "flags": tables.flag_tables(sweep, chips),
        "cards": cards,
        "diagnostics": figures.diagnostics(sweep, lines, frame),
        "events": [(f"{step:,}", words) for step, words in frame.events.items()],
        "random": sweep.random and number(sweep.random.mean),
        "bands": sum(chip.drawn for chip in every) <= curves.MOST_BANDS,
        "keys": tables.hyperparameter_tables(sweep, chips),
        "curve_files": curve_files,
        "table_files": csv_downloads.table_files(sweep, loaded),
        "model": _script_data(sweep, every, frame, {file.kind: list(file.columns) for file in curve_files}),
    }


def _chips(sweep: SweepSummary, styles: dict[str, LineStyle]) -> list[Chip]:
    drawn = set(figures.drawn_configs(sweep))
    origins = dict(iter(sweep.origins.groupby("config_id")))
    none = sweep.origins.iloc[:0]
    return [
        Chip(i, c.config_id, config_letter(i), c.name, styles[c.config_id], c.is_baseline,
             seeds_by_origin(origins.get(c.config_id, none)), c.imported, c.config_id in drawn)
        for i, c in enumerate([*sweep.source.configs, *sweep.source.imported])
    ]  # fmt: skip


def _script_data(
    sweep: SweepSummary, chips: Sequence[Chip], frame: curves.Frame, columns: dict[str, list[str]]
) -> dict[str, Any]:
    """The data of a sweep for the page's script, in addition to the curves.

    columns: by kind of row, the metrics in the columns of the file of curves. results: metrics with which random
    actions compare. half: by number of seeds, half the width of the interval of a mean in standard deviations; null
    without one.
    """
    sources = [*sweep.source.configs, *sweep.source.imported]
    planned = [len(config.runs) for config in sources]
    counts = np.arange(max(planned, default=0) + 1)
    half = estimates.Interval().half_width(np.ones(counts.size), np.maximum(counts, 1))
    configs: list[dict[str, Any]] = [
        {"id": chip.config_id, "letter": chip.letter, "label": chip.label, "color": chip.line_style.color,
         "dash": DASHES[chip.line_style.dash], "baseline": chip.is_baseline, "drawn": chip.drawn, "planned": runs,
         "factors": {key: tables.format_plan_value(value) for key, value in config.factors.items()}}
        for chip, config, runs in zip(chips, sources, planned, strict=True)
    ]  # fmt: skip
    return {
        "name": sweep.source.name,
        "configs": configs,
        "leader": int(next((c.index for c in chips if c.config_id == sweep.ranking["config_id"].iloc[0]), 0)),
        "factors": [key for key in sweep.source.factors if len({c["factors"].get(key) for c in configs}) > 1],
        "total": frame.total,
        "step_words": frame.step_words,
        "events": [[step, words] for step, words in frame.events.items()],
        "random": frame.random,
        "results": [metric.name for metric, _ in figures.results(sweep.source.agent.catalogue)],
        "columns": columns,
        "half": [float(h) if np.isfinite(h) else None for h in half],
        "bands": curves.MOST_BANDS,
        "few": curves.FEW_BANDS,
        "fewest": curves.FEWEST_SEEDS,
    }


def _judged_by(sweeps: Sequence[SweepSummary]) -> list[tuple[flags.Detector, str]]:
    """(detector, column that it judges) of the flags that the agents of the sweeps can raise."""
    judged: dict[str, tuple[flags.Detector, str]] = {}
    for sweep in sweeps:
        without = {detector.name for own in not_assessed(sweep).values() for detector in own}
        for detector in flags.detectors_of(sweep.source.agent):
            if detector.name not in without:
                judged.setdefault(detector.name, (detector, detector.metric))
    return [judged[detector.name] for detector in flags.DETECTORS if detector.name in judged]


def _methods(summary: Summary) -> dict[str, Any]:
    """The words of the methods, over the agents of all sweeps."""
    agents = [sweep.source.agent for sweep in summary.every]
    of = [AgentWords(agent.catalogue) for agent in agents]
    return {
        "final": _either(own.final for own in of),
        "primary": _either(own.primary for own in of),
        "fall": _either(own.fall for own in of),
        "worse": _either("below" if own.up else "above" for own in of),
        "random": any(agent.diagnostics.random_until for agent in agents),
        "frames": any(parameter.name == "action_repeat" for agent in agents for parameter in agent.hyperparameters),
    }


def _either(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(texts))


def _provenance(summary: Summary) -> list[tuple[str, str]]:
    loaded = summary.loaded
    times = [t for run in loaded.runs.values() for t in run.times if np.isfinite(t)]
    first, last = (
        (f"{pd.Timestamp(t, unit='s'):%Y-%m-%d %H:%M}" for t in (min(times), max(times))) if times else ("", "")
    )
    runs = len({(r.config_id, r.seed) for s in summary.every for c in s.source.configs for r in c.runs})
    return [
        ("Requested runs", f"{runs}"),
        ("Rows read", f"{loaded.count:,}"),
        ("Logged between", f"{first} and {last} UTC" if times else "unknown"),
        ("Files set aside", f"{len(loaded.quarantine)}"),
        ("Computed with", f"numpy {np.__version__}, pandas {pd.__version__}, scipy {scipy.__version__}, "
                          f"matplotlib {matplotlib.__version__}"),
    ]  # fmt: skip
