"""A results folder as pandas frames. pandas is imported when `load` is called."""

from __future__ import annotations

import collections
import functools
import os
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.reports import imported_curves
from jobs.results.results_folder import ResultsFolder

if TYPE_CHECKING:
    import pandas as pd

    from aggregate.analysis.summary import Summary
    from aggregate.export.frames import Frames
    from aggregate.inputs.runs import ConfigSource, Loaded, SweepSource

PRIMARY, RETURN = "primary", "eval_return"  # columns that repeat the primary metric of the agent
_INDEX = ("seed", "step", "frames", "update", "time", "attempt")
_WIDTH = 80
_LONGEST = 60  # characters of a path or of a list of names


def load(results: str | Path | None = None, sweeps: str | Sequence[str] = ()) -> Results:
    """The runs of a results folder as pandas frames.

    results: the folder; default: the variable SWEEPS_RESULTS, else ./results. sweeps: names of sweeps and imports;
    default: all. Records that cannot be read are left out, with a warning. Raises `sweepwise.SweepsError` for an
    unknown name and for a folder without sweeps.
    """
    folder = ResultsFolder(Path(results if results is not None else os.environ.get("SWEEPS_RESULTS", "results")))
    sources, notes = imported_curves.sources(folder, [sweeps] if isinstance(sweeps, str) else sweeps)
    for line in [*notes, *folder.problems.values()]:
        warnings.warn(line, stacklevel=2)
    return Results(folder.root, tuple(sources))


class Results:
    """Sweeps of one results folder. Every attribute is a pandas frame, computed when it is first asked for.

    `config_id`, `sweep` and `seed` tie the frames together. docs/notebooks.md lists the columns.
    """

    def __init__(self, root: Path, sources: tuple[SweepSource, ...]) -> None:
        self._root = root
        self._sources = sources
        self._warned = False

    # --- what the runs logged -----------------------------------------------------------------------------

    @functools.cached_property
    def evaluations(self) -> pd.DataFrame:
        """One row per run and evaluation; `primary` is the primary metric of the agent, and `eval_return` the same
        where that is a return."""
        import pandas as pd

        frame = self._logged("eval")
        decides = {source.name: source.agent.catalogue.primary for source in self._sources}
        names = [name for name in dict.fromkeys(metric.name for metric in decides.values()) if name in frame]
        place = min((frame.columns.get_loc(name) for name in names), default=len(frame.columns))
        own = frame["sweep"].map({sweep: metric.name for sweep, metric in decides.items()})
        primary = functools.reduce(lambda known, name: known.where(own != name, frame[name]), names,
                                   pd.Series(float("nan"), index=frame.index))  # fmt: skip
        returns = frame["sweep"].isin([sweep for sweep, metric in decides.items() if metric.unit == "return"])
        if PRIMARY not in frame:
            frame.insert(place, PRIMARY, primary)
        if RETURN not in frame and any(metric.unit == "return" for metric in decides.values()):
            frame.insert(place, RETURN, primary.where(returns))
        return frame

    @functools.cached_property
    def training(self) -> pd.DataFrame:
        """One row per run and training log entry: losses and diagnostics."""
        return self._of_kind("train")

    @functools.cached_property
    def episodes(self) -> pd.DataFrame:
        """One row per run and training episode: its return and its length."""
        return self._of_kind("episode")

    @property
    def rows(self) -> pd.DataFrame:
        """Everything that the runs logged, of every kind, each run once."""
        return self._levels.rows

    # --- what the report computes -------------------------------------------------------------------------

    @property
    def runs(self) -> pd.DataFrame:
        """One row per sweep and run: its state and its scores."""
        return self._levels.runs

    @property
    def configurations(self) -> pd.DataFrame:
        """One row per sweep and configuration: mean, standard deviation and interval of every score over seeds."""
        return self._levels.configurations

    @property
    def contrasts(self) -> pd.DataFrame:
        """Differences between two configurations, with intervals and corrected p-values."""
        return self._levels.contrasts

    @property
    def effects(self) -> pd.DataFrame:
        """Effects of hyperparameters on returns and diagnostics, and their interactions."""
        return self._levels.effects

    @property
    def odds(self) -> pd.DataFrame:
        """Effects of hyperparameters on the odds of a flag."""
        return self._levels.odds

    @property
    def answers(self) -> pd.DataFrame:
        """The contrasts that answer the questions of the plan."""
        return self._levels.answers

    @property
    def flags(self) -> pd.DataFrame:
        """What every detector says of every run."""
        return self._levels.flags

    @property
    def curves(self) -> pd.DataFrame:
        """Mean over seeds of every metric at every step, with its interval."""
        return self._levels.curves

    @property
    def excluded(self) -> pd.DataFrame:
        """One row per sweep and run that a user left out of the analysis: its final result and the reason."""
        return self._levels.excluded

    # --- how they are made --------------------------------------------------------------------------------

    @functools.cached_property
    def _summary(self) -> Summary:
        from aggregate.analysis.summary import summarise

        return summarise(self._sources)

    @functools.cached_property
    def _levels(self) -> Frames:
        from aggregate.export import frames

        self._warn(self._summary.loaded)
        return frames.frames(self._summary)

    @functools.cached_property
    def _loaded(self) -> Loaded:
        """The logged rows alone, without the statistics."""
        if "_summary" in self.__dict__:
            return self._summary.loaded
        from aggregate.inputs import runs

        loaded = runs.load(self._sources)
        self._warn(loaded)
        return loaded

    def _warn(self, loaded: Loaded) -> None:
        """Say once which shards were left out."""
        for line in loaded.warnings if not self._warned else ():
            warnings.warn(line, stacklevel=2)
        self._warned = True

    def _configs(self) -> Iterator[tuple[str, ConfigSource]]:
        for source in self._sources:
            yield from ((source.name, config) for config in (*source.configs, *source.imported))

    def _of_kind(self, kind: str) -> pd.DataFrame:
        """`_logged` without metrics of other kinds, which are empty."""
        metrics = [metric for source in self._sources for metric in source.agent.catalogue.metrics.values()]
        own = {metric.name for metric in metrics if metric.kind == kind}
        return self._logged(kind).drop(columns={metric.name for metric in metrics} - own, errors="ignore")

    def _logged(self, kind: str) -> pd.DataFrame:
        """The rows of one kind with the columns of their configuration, once per sweep that holds the run.

        A run that trained beyond what the sweep asks for is cut there, as in the report.
        """
        import pandas as pd

        from aggregate.export.frames import with_factors

        parts = [pd.DataFrame({"sweep": [], "config_id": [], "seed": [], "step": []})]
        for sweep, config in self._configs():
            for run in config.runs:
                logged = self._loaded.runs[run.config_id, run.seed].frames((kind,), config.total_steps)
                parts += [rows.assign(sweep=sweep, config_id=run.config_id, seed=run.seed) for rows in logged.values()]
        rows = pd.concat(parts[1:] or parts, ignore_index=True)
        hyperparameters = with_factors(list(self._configs()))
        frame = hyperparameters.merge(rows, on=["sweep", "config_id"], suffixes=("", "_logged"))
        first = [*hyperparameters, *(name for name in _INDEX if name in frame)]
        return frame[[*first, *(name for name in frame if name not in first)]]

    def __repr__(self) -> str:
        runs = {(run.config_id, run.seed): run.state for _, config in self._configs() for run in config.runs}
        states = ", ".join(f"{count} {state}" for state, count in collections.Counter(runs.values()).most_common())
        sizes = {name: self._size(name) for name in FRAMES}
        lines = [
            f"Results in {_shortened(str(self._root), keep_end=True)}",
            _shortened(f"{_counted(len(self._sources), 'sweep')}: {', '.join(s.name for s in self._sources)}"),
            f"{_counted(len({config for config, _ in runs}), 'configuration')}, {_counted(len(runs), 'run')}: {states}",
            "frames: " + ", ".join(name if rows is None else f"{name} ({rows:,} rows)" for name, rows in sizes.items()),
        ]
        if None in sizes.values():
            lines.append("A frame is computed when it is first used; then its size is shown here.")
        return "\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in lines)

    def _size(self, name: str) -> int | None:
        """Rows of a frame, None where it is not computed yet."""
        if isinstance(getattr(Results, name), functools.cached_property):
            frame = self.__dict__.get(name)
        else:
            levels: Any = self.__dict__.get("_levels")
            frame = levels.__dict__.get(name) if levels is not None else None
        return None if frame is None else len(frame)


FRAMES = tuple(
    name
    for name, value in vars(Results).items()
    if isinstance(value, property | functools.cached_property) and not name.startswith("_")
)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _shortened(text: str, *, keep_end: bool = False) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"...{text[3 - _LONGEST :]}" if keep_end else f"{text[: _LONGEST - 3]}..."
