"""Single figures for a paper, by matplotlib and seaborn, for one or two columns, in the report's colours and line
styles. Deterministic: equal runs give equal bytes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy import stats

from aggregate import flags
from aggregate.analysis import factor_effects
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.runs import config_letter
from aggregate.statistics import estimates
from aggregate.verdict.words import words
from plots import curves
from plots.csv_downloads import file_stem
from plots.figures import FOLDED, drawn_configs, groups, may_be_log, results
from plots.paper.layout import EVENT_LINE, RANDOM_LINE, TITLE_LENGTH, blank, curve_height, cut, guides, handle
from plots.theme import DASHES, PALETTE, LineStyle, line_styles, style
from sweepwise.core import atomic
from sweepwise.core.errors import AggregateError
from sweepwise.core.metrics import RESULTS, Catalogue, Metric

FORMATS = ("svg", "pdf", "png")
WIDTHS = {1: 3.25, 2: 6.75}  # inches
DPI = 400  # of PNG
_BEGINNINGS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}  # of a figure that may be replaced
ROW = 1.55  # inches, height of a small figure
SIZES: dict[Any, Any] = {
    "font.size": 7.5, "axes.titlesize": 6, "axes.labelsize": 7.5, "legend.fontsize": 7, "pdf.fonttype": 42,
    "figure.constrained_layout.use": True, "legend.frameon": False, "figure.facecolor": "white",
}  # fmt: skip


def _interquartile_mean(values: pd.Series) -> float:
    return float(stats.trim_mean(values.dropna().to_numpy(), 0.25))


# Average of a curve over seeds. The band is the 95 % interval of a mean, and the quartiles of the seeds of the others.
AVERAGES: dict[str, Any] = {"mean": "mean", "median": "median", "iqm": _interquartile_mean}


@dataclass(frozen=True)
class Choices:
    """How the figures of a sweep are drawn. columns: of the paper. configs: letters as in the report or beginnings of
    config IDs; empty for all. average: of curves over seeds, see `AVERAGES`. environment_steps: whether the axis counts
    these instead of agent steps."""

    columns: int = 1
    configs: Sequence[str] = ()
    average: str = "mean"
    environment_steps: bool = False


@dataclass(frozen=True)
class Sheet:
    """What all figures of a sweep share. names: config_id -> label of drawn configurations, in the plan's order.
    average: see `AVERAGES`. repeat: steps of the axis per agent step."""

    sweep: SweepSummary
    names: dict[str, str]
    line_styles: dict[str, LineStyle]
    width: float
    average: str = "mean"
    repeat: int = 1

    @property
    def step_words(self) -> str:
        return self.sweep.source.agent.step_words if self.repeat == 1 else "environment steps"

    @property
    def task(self) -> str:
        """The task of all runs, "" where they have several or none is known."""
        source = self.sweep.source
        tasks = {config.task_of(source.agent) for config in (*source.configs, *source.imported)}
        return tasks.pop() if len(tasks) == 1 else ""

    @property
    def events(self) -> dict[int, str]:
        """Step of the axis -> what happens there in all configurations."""
        events = curves.common_events(self.sweep.events, self.sweep.total_steps, self.catalogue.events)
        return {step * self.repeat: text for step, text in events.items()}

    @property
    def catalogue(self) -> Catalogue:
        return self.sweep.source.agent.catalogue

    def title(self, of: str = "") -> str:
        """The task, and what a figure is of."""
        return cut(", ".join(filter(None, [self.task, of])), int(self.width * TITLE_LENGTH))

    @property
    def styles(self) -> dict[str, LineStyle]:
        return {label: self.line_styles[i] for i, label in self.names.items()}

    @property
    def palette(self) -> dict[str, str]:
        return {label: PALETTE[look.color][0] for label, look in self.styles.items()}

    @property
    def dashes(self) -> dict[str, Any]:
        return {label: DASHES[look.dash] or "" for label, look in self.styles.items()}


def write(
    sweep: SweepSummary, out: Path, formats: Sequence[str], choices: Choices, only: Sequence[str]
) -> Iterator[Path]:
    """Write the figures of a sweep, or those named, to a folder; yields the path of each complete file.

    Raises `AggregateError` for an unknown name, choices that the sweep does not have, and where nothing can be written.
    """
    sheet = _sheet(sweep, choices)
    figures = _figures(sheet)
    known = figures | {
        name: functools.partial(_curve, sheet, name) for name in _metrics_of(sheet) if name not in figures
    }
    stems = _file_stems(known)
    unknown = [name for name in only if name not in known]
    if unknown:
        raise AggregateError(f"--only {unknown[0]}: sweep {sweep.source.name} has {', '.join(known)}")
    for name in only or figures:
        yield from write_figure(known[name], out / f"{file_stem(sweep.source.name)}-{stems[name]}", formats)


def write_figure(draw: Callable[[], Figure], stem: Path, formats: Sequence[str]) -> Iterator[Path]:
    """Write a figure in the formats; yields each path. stem: without the ending. Raises as `write` does."""
    with style(SIZES):
        fig = draw()
        for ending in dict.fromkeys(formats):
            path = stem.with_name(f"{stem.name}.{ending}")
            target = atomic.output(path, atomic.begins_with(_BEGINNINGS[ending]))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic.write(target, functools.partial(_save, fig, ending))
            except OSError as error:
                raise AggregateError(f"{path}: {error.strerror}; choose a place you may write to") from error
            yield path


def _save(fig: Figure, ending: str, path: Path) -> None:
    no_metadata = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "png": {"Software": None},
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box is drawn instead
        fig.savefig(path, format=ending, metadata=no_metadata[ending], dpi=DPI)


def _sheet(sweep: SweepSummary, choices: Choices) -> Sheet:
    every = [*sweep.source.configs, *sweep.source.imported]
    drawn = _chosen(sweep, choices.configs) if choices.configs else drawn_configs(sweep)
    names = {config.config_id: cut(config.name) for config in every if config.config_id in drawn}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    unique = {i: f"{name} ({i})" if name in twice else name for i, name in names.items()}
    styles = line_styles([[*drawn_configs(sweep), *(config.config_id for config in every)]])  # those of the report
    repeat = _action_repeat(sweep) if choices.environment_steps else 1
    return Sheet(sweep, unique, styles, WIDTHS[choices.columns], choices.average, repeat)


def _chosen(sweep: SweepSummary, texts: Sequence[str]) -> list[str]:
    """config_ids, in the plan's order. Raises `AggregateError` for a text that names no configuration or several."""
    every = [config.config_id for config in (*sweep.source.configs, *sweep.source.imported)]
    letters = {config_letter(place): config_id for place, config_id in enumerate(every)}
    chosen = set()
    for text in texts:
        fitting = {letters[text]} if text in letters else {i for i in every if len(text) > 3 and i.startswith(text)}
        if len(fitting) != 1:
            which = f"{len(fitting)} configurations" if fitting else "no configuration"
            legal = f"{next(iter(letters))} to {list(letters)[-1]} as in the report, or the beginning of a config ID"
            raise AggregateError(f"--configs {text}: names {which} of {sweep.source.name}; give {legal}")
        chosen |= fitting
    return [config_id for config_id in every if config_id in chosen]


def _action_repeat(sweep: SweepSummary) -> int:
    """Environment steps per agent step. Raises `AggregateError` where that is unknown or differs."""
    repeats = {config.config.get("action_repeat") for config in sweep.source.configs}
    repeat = repeats.pop() if len(repeats) == 1 else None
    if not isinstance(repeat, int):
        raise AggregateError(
            f"--environment-steps: the configurations of {sweep.source.name} have no common action_repeat, which says "
            "how many an agent step is; leave it out"
        )
    return repeat


def _figures(sheet: Sheet) -> dict[str, Callable[[], Figure]]:
    """Name -> function that draws the figure, for all figures with data."""
    sweep, logged = sheet.sweep, _metrics_of(sheet)
    figures: dict[str, Callable[[], Figure]] = {}
    for metric, title in results(sheet.catalogue):
        if metric.name in logged:
            slug = _slug(title) if metric.role != "primary" or words(sweep).plans else "evaluation"
            figures[slug] = functools.partial(_curve, sheet, metric.name)
    lead = factor_effects.PRIMARY if sweep.scores[factor_effects.PRIMARY].notna().any() else "so_far"
    figures["final"] = functools.partial(_final, sheet, lead)
    if len(sweep.effects.returns):
        figures["effects"] = functools.partial(_effects, sheet)
    if (sweep.votes.loc[sweep.votes["config_id"].isin(list(sheet.names)), "raised"] > 0).any():
        figures["flags"] = functools.partial(_flags, sheet)
    for group in groups(sheet.catalogue):
        own = [name for name in logged if _in_group(sheet.catalogue.metrics[name], group)]
        if own:
            slug = _slug(group) if group != "return" else "spread"
            figures[slug if slug not in figures else f"group-{slug}"] = functools.partial(_multiples, sheet, own)
    return figures


def _metrics_of(sheet: Sheet) -> list[str]:
    """The metrics with any value, in the catalogue's order."""
    logged = {metric for wide in sheet.sweep.seeds.values() for metric in wide.columns}
    return [name for name in sheet.catalogue.metrics if name in logged]


def _file_stems(names: Iterable[str]) -> dict[str, str]:
    """Name of a figure -> part of a file's name: without / and other special characters, and unique."""
    stems: dict[str, str] = {}
    for name in names:
        stem, number = file_stem(name, "metric"), 2
        while stem in stems.values():
            stem, number = f"{file_stem(name, 'metric')}-{number}", number + 1
        stems[name] = stem
    return stems


def _in_group(metric: Metric, group: str) -> bool:
    return metric.group == group and metric.role not in RESULTS and not metric.name.startswith(tuple(FOLDED))


def _slug(title: str) -> str:
    return file_stem(title.lower(), "group")


# --- figures --------------------------------------------------------------------------------------------


def _curve(sheet: Sheet, metric: str) -> Figure:
    """Mean over seeds with interval, labels below."""
    declared = sheet.catalogue.metrics[metric]
    random = sheet.sweep.random if declared.role in RESULTS else None
    of = {result.name: title for result, title in results(sheet.catalogue)}.get(metric, "")
    title = sheet.title(of[:1].lower() + of[1:] if of != declared.words else "")
    fig = blank(sheet.width, curve_height(sheet.width), title, _legend(sheet, random is not None))
    axes = fig.add_subplot()
    _draw(axes, sheet, metric)
    if random is not None:
        axes.axhline(random.mean, **RANDOM_LINE)
    return fig


def _legend(sheet: Sheet, with_random: bool = False) -> dict[str, Line2D]:
    """Label -> handle of the configurations, where there are several, and of the other lines."""
    styles = sheet.styles if len(sheet.styles) > 1 else {}
    entries = {label: handle(look) for label, look in styles.items()}
    return entries | guides(with_random, sheet.events.values(), styles, sheet.width)


def _multiples(sheet: Sheet, metrics: Sequence[str]) -> Figure:
    across = 2 if sheet.width < 4 else 4
    rows = -(-len(metrics) // across)
    fig = blank(sheet.width, ROW * rows * (0.85 if across == 2 else 1), sheet.title(), _legend(sheet))
    grid = fig.subplots(rows, across, squeeze=False)
    for axes, metric in zip(grid.flat, metrics, strict=False):
        _draw(axes, sheet, metric, thin=True)
        axes.set_title(metric, loc="left")
    for axes in list(grid.flat)[len(metrics) :]:
        axes.set_axis_off()
    return fig


def _draw(axes: Axes, sheet: Sheet, metric: str, thin: bool = False) -> None:
    declared = sheet.catalogue.metrics[metric]
    frame = _seeds(sheet, metric)
    count = frame["name"].nunique()
    bands, alpha = count <= curves.MOST_BANDS, curves.band_alpha(count)
    band = _interval if sheet.average == "mean" else _quartiles
    sns.lineplot(
        frame, x="step", y="value", hue="name", style="name", palette=sheet.palette, dashes=sheet.dashes,
        estimator=AVERAGES[sheet.average], errorbar=band if bands else None, err_kws={"alpha": alpha, "linewidth": 0},
        linewidth=0.9 if thin else 1.2, ax=axes, legend=False, hue_order=list(sheet.names.values()),
        style_order=list(sheet.names.values()),
    )  # fmt: skip
    if may_be_log(declared, sheet.catalogue) and curves.wants_log(frame.groupby(["name", "step"])["value"].mean()):
        axes.set_yscale("log")
        curves.log_ticks(axes)
    for step in sheet.events:
        axes.axvline(step, **EVENT_LINE)
    unit = "" if declared.unit == "1" else declared.unit
    label = unit
    if not thin:
        of = "" if sheet.average == "mean" else f", {'IQM' if sheet.average == 'iqm' else 'median'}, quartiles"
        named = f"{declared.words} ({unit})" if unit else declared.words
        label = f"{unit if unit and declared.role in RESULTS else cut(named)}{of}"
    axes.set(xlim=(0, sheet.sweep.total_steps * sheet.repeat), xlabel="" if thin else sheet.step_words, ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(2 if thin else 5, steps=curves.ROUND))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: curves.steps_text(x)))


def _interval(values: pd.Series) -> tuple[float, float]:
    """Student-t interval over at least `curves.FEWEST_SEEDS` seeds, as in the report."""
    known = values.dropna().to_numpy()
    if known.size < curves.FEWEST_SEEDS:
        return np.nan, np.nan
    half = float(estimates.Interval().half_width(np.array([known.std(ddof=1)]), np.array([known.size]))[0])
    return known.mean() - half, known.mean() + half


def _quartiles(values: pd.Series) -> tuple[float, float]:
    known = values.dropna().to_numpy()
    if known.size < curves.FEWEST_SEEDS:
        return np.nan, np.nan
    low, high = np.quantile(known, (0.25, 0.75))
    return float(low), float(high)


def _seeds(sheet: Sheet, metric: str) -> pd.DataFrame:
    """name, seed, step and the metric as `value`, of the drawn configurations."""
    kind = sheet.catalogue.metrics[metric].kind
    imported = sheet.sweep.imported
    parts = [part.seeds[kind] for part in (sheet.sweep, imported) if part is not None and kind in part.seeds]
    wide = pd.concat([part.reindex(columns=["config_id", "seed", "step", metric]) for part in parts])
    wide = wide[wide["config_id"].isin(list(sheet.names))].rename(columns={metric: "value"})
    name, step = wide["config_id"].astype(str).map(sheet.names), wide["step"] * sheet.repeat
    return wide.assign(name=name, step=step).reset_index(drop=True)


def _final(sheet: Sheet, lead: str) -> Figure:
    """One dot per seed, mean and interval, the best mean first."""
    scores = sheet.sweep.scores[sheet.sweep.scores["config_id"].isin(list(sheet.names))]
    frame = scores.assign(name=scores["config_id"].map(sheet.names)).dropna(subset=lead)
    order = frame.groupby("name")[lead].mean().sort_values(ascending=not words(sheet.sweep).up).index.tolist()
    random = sheet.sweep.random
    legend = guides(random is not None, (), (), sheet.width)
    fig = blank(sheet.width, 0.55 + 0.22 * max(1, len(order)), sheet.title(), legend)
    axes = fig.add_subplot()
    shared = {"data": frame, "x": lead, "y": "name", "order": order, "hue": "name", "palette": sheet.palette,
              "ax": axes, "legend": False}  # fmt: skip
    if order:
        sns.stripplot(**shared, size=3.2, alpha=0.55, jitter=False)
        sns.pointplot(**shared, estimator="mean", errorbar=_interval, marker="|", markersize=11, markeredgewidth=1.6,
                      err_kws={"linewidth": 3.5, "alpha": 0.35}, linestyle="none")  # fmt: skip
    if random is not None:
        axes.axvline(random.mean, **RANDOM_LINE)
    own = words(sheet.sweep)
    axes.set_xlabel(own.deciding if lead != "so_far" else f"{own.primary} so far", loc="right")
    axes.set_ylabel("")
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    return fig


def _effects(sheet: Sheet) -> Figure:
    """Effect of each factor on the final result, with its interval."""
    effects = sheet.sweep.effects.returns
    lines = effects[effects["outcome"] == factor_effects.PRIMARY].iloc[::-1]
    fig = blank(sheet.width, 0.55 + 0.24 * max(1, len(lines)), sheet.title())
    axes = fig.add_subplot()
    places = np.arange(len(lines))
    half = (lines["ci_high"] - lines["estimate"]).to_numpy(dtype=float)
    color = PALETTE[0][0]
    axes.errorbar(lines["estimate"], places, xerr=half, fmt="|", color=color, markersize=10, markeredgewidth=1.6,
                  elinewidth=3.5, ecolor=f"{color}59")  # fmt: skip
    axes.axvline(0, color="0.45", linewidth=0.8)
    turns = lines[["factor", "low", "high"]].itertuples(index=False)
    axes.set_yticks(places, [cut(f"{factor}: {low} to {high}") for factor, low, high in turns])
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.set_xlabel(f"effect on the {words(sheet.sweep).deciding}", loc="right")
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    return fig


def _flags(sheet: Sheet) -> Figure:
    """Share of seeds that raise each flag, of the flags that any seed raises."""
    votes = sheet.sweep.votes[sheet.sweep.votes["config_id"].isin(list(sheet.names))]
    raised = set(votes.loc[votes["raised"] > 0, "flag"])
    shown = [d for d in flags.detectors_of(sheet.sweep.source.agent) if d.name in raised]
    cells = votes.set_index(["config_id", "flag"])
    grid = cells.index.to_frame(index=False)["config_id"].drop_duplicates().tolist()
    share = pd.DataFrame([[_share(cells, i, d.name)[0] for d in shown] for i in grid])
    counts = pd.DataFrame([[_share(cells, i, d.name)[1] for d in shown] for i in grid])
    fig = blank(sheet.width, 1.3 + 0.22 * len(grid), sheet.title())
    axes = fig.add_subplot()
    sns.heatmap(
        share, annot=counts, fmt="", cmap=sns.light_palette(PALETTE[1][0], as_cmap=True), vmin=0, vmax=1, cbar=False,
        linewidths=0.6, linecolor="white", ax=axes, annot_kws={"size": 6.5},
        xticklabels=[d.title for d in shown], yticklabels=[sheet.names[i] for i in grid],
    )  # fmt: skip
    axes.tick_params(axis="x", rotation=40)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    axes.grid(visible=False)
    axes.tick_params(axis="y", rotation=0)
    return fig


def _share(cells: pd.DataFrame, config_id: str, flag: str) -> tuple[float, str]:
    if (config_id, flag) not in cells.index or not cells.at[(config_id, flag), "assessable"]:
        return 0.0, "n/a"
    raised, judged = (int(cells.at[(config_id, flag), name]) for name in ("raised", "assessable"))
    return raised / judged, f"{raised}/{judged}" if raised else ""
