"""`sweeps aggregate`: write the report, once or repeatedly while runs are active."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jobs.reports import imported_curves
from jobs.reports.notifications import send_collapses
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE
from sweepwise.core import atomic
from sweepwise.core.atomic import IsOwn, is_report
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.analysis.summary import Summary
    from aggregate.inputs.runs import SweepSource
    from aggregate.tasks.analysis import TaskAnalysis
    from aggregate.tasks.references import Declared
    from plots.paper.sweep_figures import Choices

Tell = Callable[[str], None]


def sources(
    store: ResultsFolder, names: Sequence[str], warn: Tell, max_age_s: float = 0.0
) -> list[SweepSource]:  # fmt: skip
    """The sources for `names` (`imported_curves.sources`); warns of imports that were left out."""
    sweep_sources, notes = imported_curves.sources(store, names, max_age_s)
    for line in notes:
        warn(line)
    return sweep_sources


class Judged(NamedTuple):
    """What the report shows. across: None where there are not several tasks. left_out: names of the sweeps that have no
    section of their own. files: the report and the data frames beside it."""

    summary: Summary
    across: TaskAnalysis | None
    left_out: list[str]
    files: list[Path]


def report(
    sweep_sources: Sequence[SweepSource], out: Path, formats: Sequence[str], tell: Tell, warn: Tell,
    references: Path | None = None,
) -> Judged:  # fmt: skip
    """Summarise, and write the report and the data frames beside it; prints each path and the warnings. references: a
    YAML file, see `aggregate.tasks.references`."""
    from aggregate.export import frames
    from plots.report import shown_sweeps, write_report

    summary, across = judge(sweep_sources, references, in_full=bool(formats))
    for line in summary.loaded.warnings:
        warn(line)
    files = [out.absolute()]
    write_report(summary, out, across)
    tell(f"wrote {files[0]}")
    for path in frames.write(frames.frames(summary), out, formats) if formats else ():
        files.append(path.absolute())
        tell(f"wrote {files[-1]}")
    return Judged(summary, across, shown_sweeps(summary, across)[1], files)


def judge(
    sweep_sources: Sequence[SweepSource], references: Path | None = None, *, in_full: bool = False
) -> tuple[Summary, TaskAnalysis | None]:
    """The sweeps, and the analysis across their tasks. in_full: whether sweeps are judged by themselves that are only
    shown across tasks otherwise."""
    from aggregate.analysis.summary import summarise
    from aggregate.tasks.from_sweeps import across_tasks
    from plots.report import without_section

    declared, where = read_references(references), f"--references {references}"
    brief = [] if in_full else without_section(sweep_sources)
    summary = summarise(sweep_sources, brief)
    across = across_tasks(summary, declared, where)
    return (summarise(sweep_sources), None) if across is None and brief else (summary, across)


def figures(
    sweep_sources: Sequence[SweepSource], out: Path, formats: Sequence[str], choices: Choices, only: Sequence[str],
    references: Path | None = None,
) -> Iterator[Path]:  # fmt: skip
    """Write the figures across tasks, then those of the sweeps that the report shows one by one; yields their paths.
    only: names of figures; empty for all."""
    from plots.paper import sweep_figures, task_figures

    summary, across = judge(sweep_sources, references)
    of_tasks = [name for name in only if name in task_figures.FIGURES]
    if across is not None and (of_tasks or not only):
        yield from task_figures.write(across, out, formats, choices.columns, of_tasks)
    elif of_tasks:
        raise JobsError(
            f"--only {of_tasks[0]}: needs configurations with runs of several tasks, and there are none; leave it out"
        )
    of_sweeps = [name for name in only if name not in task_figures.FIGURES]
    for sweep in summary.sweeps if of_sweeps or not only else ():
        yield from sweep_figures.write(sweep, out, formats, choices, of_sweeps)


def read_references(path: Path | None) -> dict[str, Declared]:
    """Raises `JobsError`, or `AggregateError` for what is no reference."""
    import yaml

    from aggregate.tasks.references import parse_references

    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise JobsError(f"--references {path}: {error.strerror}; name a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise JobsError(f"--references {path}: not YAML: {' '.join(str(error).split())}") from error
    return parse_references(content, f"--references {path}")


def keep_reporting(
    store: ResultsFolder, names: Sequence[str], out: Path, formats: Sequence[str], every: float, tell: Tell, warn: Tell,
    sleep: Callable[[float], None] = time.sleep, references: Path | None = None,
) -> Judged:  # fmt: skip
    """`report` every `every` seconds until no run is active; waits for the first logged metrics."""
    from sweepwise.core.errors import AggregateError

    warned: set[str] = set()

    def warn_once(line: str) -> None:
        if line not in warned:
            warned.add(line)
            warn(line)

    while True:
        sweep_sources = sources(store, names, warn_once)
        states = Counter(run.state for sweep in sweep_sources for config in sweep.configs for run in config.runs)
        active = any(state in ACTIVE for state in states)
        try:
            judged = report(sweep_sources, out, formats, lambda line: None, warn_once, references)
        except AggregateError as error:
            if not active:
                raise
            outcome = f"nothing to report yet: {error}"
        else:
            outcome = f"wrote {out.absolute()}"
            send_collapses(store, judged.summary.sweeps)
        states_text = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        tell(f"{time.strftime('%H:%M:%S')} {outcome} ({states_text})")
        if not active:
            return judged
        sleep(every)


def check_out(out: Path, is_own: IsOwn = is_report) -> None:
    """Raises `JobsError` if the folder of `out` does not exist, `OutputError` if `out` must not be written."""
    if not out.absolute().parent.is_dir():
        raise JobsError(f"--out {out}: there is no folder {out.absolute().parent}")
    atomic.output(out, is_own)
