"""Tables and texts for the terminal. Names and reasons are never parsed as markup."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from jobs.results.agents import RETURN
from jobs.results.records import Import
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import STATES, State
from jobs.runs.annotations import status_lines
from jobs.runs.evaluations import evaluations as evaluations_of
from jobs.runs.evaluations import format_evaluation
from jobs.runs.final_scores import final_scores
from jobs.runs.status import RunStatus, SweepStatus, counts, failures, waiting
from jobs.terminal.table import Table
from jobs.terminal.wrap import wrap
from sweepwise.core.value_format import format_value, shown

if TYPE_CHECKING:
    from aggregate.analysis.summary import SweepSummary
    from aggregate.verdict.compare_two import Comparison
    from aggregate.verdict.verdict import Verdict
    from aggregate.verdict.words import AgentWords
    from jobs.doctor.checks import CheckResult
    from jobs.reports.compare import Side
    from jobs.reports.report import Judged
    from jobs.runs.usage import Report
    from jobs.submit.submit import PlannedRun
    from jobs.terminal.documents import Document

_STYLE: dict[State, str] = {
    "done": "green", "running": "cyan", "pending": "blue", "stalled": "yellow", "interrupted": "yellow",
    "stuck": "bold yellow", "lost": "yellow", "failed": "bold red", "diverged": "magenta", "new": "dim",
    "stopped": "magenta",
}  # fmt: skip
_NARROW = 120  # characters, the least width if output is not a terminal


class EscapingConsole(Console):
    """Shows control characters of names, reasons and logs as escapes; what rich itself sends stays."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text))


def console() -> Console:
    """A console for standard output, wide enough for the tables if that is a file or a pipe."""
    default_console = EscapingConsole(file=sys.stdout, highlight=False)
    return (
        default_console
        if default_console.is_terminal
        else EscapingConsole(file=sys.stdout, highlight=False, width=max(_NARROW, default_console.width))
    )


_IDS = ("sweep", "id", "run", "state", "submission", "name", "key", "#")
_NAMES = ("configuration", "factors", "ask for", "map", "algorithm", "algorithms")


def table(*columns: str, right: Iterable[str] = (), title: str | None = None, drop: Sequence[str] = ()) -> Table:
    """drop: columns to leave out on a narrow terminal, the first one first."""
    return Table(columns, tuple(right), keep=_IDS, title=title, names=_NAMES, drop=drop)


def state_text(state: State, count: int | None = None) -> Text:
    return Text(state if count is None else f"{count} {state}", style=_STYLE[state])


def counts_text(by_state: dict[State, int]) -> Text:
    """`12 done, 3 running`."""
    return Text(", ").join(state_text(state, by_state[state]) for state in STATES if by_state.get(state))


def pairs(values: Mapping[str, Any]) -> str:
    """`num_q=2, tau=0.01`."""
    return ", ".join(f"{key}={format_value(value)}" for key, value in values.items())


# --- runs -------------------------------------------------------------------------------------------------


def choice_table(choices: Sequence[PlannedRun], unit: str = "steps") -> Table:
    """The runs of a submit, for `--dry-run`. unit: of the length of a run."""
    result = table("run", "configuration", "seed", unit, "state", "", right=("seed", unit), drop=(unit,))
    for choice in choices:
        result.add_row(
            choice.run.config_id, choice.label, str(choice.run.seed), f"{choice.steps:,}",
            state_text(choice.state.state), "submit" if choice.wanted else "",
        )  # fmt: skip
    return result


def difference_text(choices: Sequence[PlannedRun]) -> Text:
    """`48 runs requested: 40 done, 8 new; 8 to submit`."""
    by_state: dict[State, int] = {}
    for choice in choices:
        by_state[choice.state.state] = by_state.get(choice.state.state, 0) + 1
    to_submit = sum(choice.wanted for choice in choices)
    return Text.assemble(f"{len(choices)} runs requested: ", counts_text(by_state), f"; {to_submit} to submit")


def configuration_table(sweep: SweepStatus, result_words: str, finals: Mapping[str, float]) -> Table:
    """One row per configuration: counts of run states, progress, speed, time left and mean of the last results, and of
    final scores where there are any. result_words: see `Agents.result_words`. finals: see `final_scores`."""
    last = f"last {result_words}"
    columns = ["id", "configuration", "runs", "progress", "steps/s", "left", last, *(["final"] if finals else [])]
    right = ("progress", "steps/s", "left", last, "final")
    drop = ("steps/s", *((last, "left") if finals else ("left", last)), "progress")
    result = table(*columns, right=right, title=sweep.view.name, drop=drop)
    for config, runs in sweep.rows:
        returns = [r.record.status.last_return for r in runs if r.record.status is not None]
        known_returns = [value for value in returns if value is not None]
        result.add_row(
            config.config_id, config.label, *_progress_cells(runs),
            format_last(sum(known_returns) / len(known_returns), result_words) if known_returns else "",
            *([_final_cell(finals.get(config.config_id), result_words)] if finals else []),
        )  # fmt: skip
    return result


def _final_cell(final: float | None, result_words: str) -> str:
    return "" if final is None else format_last(final, result_words)


def _progress_cells(runs: Sequence[RunStatus]) -> list[str | Text]:
    """Counts of the states of `runs`, their share of the steps, mean speed and time left."""
    progress = sum(run.record.share for run in runs) / len(runs) if runs else 0.0
    speeds = [run.steps_per_s for run in runs if run.steps_per_s is not None]
    remaining = [run.seconds_left for run in runs if run.seconds_left is not None]
    return [
        counts_text(counts(runs)), f"{progress:.0%}", f"{sum(speeds) / len(speeds):.1f}" if speeds else "",
        duration(max(remaining)) if remaining else "",
    ]  # fmt: skip


def by_tasks(statuses: Iterable[SweepStatus]) -> list[list[SweepStatus]]:
    """The sweeps, those of the tasks of one sweep together."""
    groups: dict[str, list[SweepStatus]] = {}
    for sweep in statuses:
        groups.setdefault(sweep.view.tasks_of or f" {sweep.view.name}", []).append(sweep)
    return list(groups.values())


def task_table(sweeps: Sequence[SweepStatus]) -> Table:
    """One row per task of a sweep of several; `sweeps status SWEEP.TASK` shows the configurations of one."""
    columns = ("sweep", "runs", "progress", "steps/s", "left")
    result = table(*columns, right=columns[2:], title=sweeps[0].view.tasks_of, drop=columns[3:])
    for sweep in sweeps:
        result.add_row(sweep.view.name, *_progress_cells(sweep.runs))
    return result


def run_table(sweep: SweepStatus, result_words: str) -> Table:
    """One row per run; # is the number that `--indices` takes. result_words: see `Agents.result_words`."""
    last = f"last {result_words}"
    result = table(
        "#", "run", "configuration", "state", "step", "steps/s", "left", last, "attempt", "node", "reason",
        right=("#", "step", "steps/s", "left", last, "attempt"), title=sweep.view.name,
        drop=("attempt", "steps/s", "node", last, "left"),
    )  # fmt: skip
    for number, (label, run) in enumerate(((c.label, run) for c, runs in sweep.rows for run in runs), 1):
        result.add_row(str(number), *_run_cells(label, run, result_words))
    return result


def _run_cells(label: str, run: RunStatus, result_words: str) -> list[str | Text]:
    record, status = run.record, run.record.status
    last = status.last_return if status is not None else None
    return [
        str(record.ref),
        label,
        state_text(run.state.state),
        f"{record.step:,}/{record.steps:,}" if record.steps > 1 else f"{record.step:,}",
        f"{run.steps_per_s:.1f}" if run.steps_per_s is not None else "",
        duration(run.seconds_left) if run.seconds_left is not None else "",
        format_last(last, result_words) if last is not None else "",
        str(record.attempts or ""),
        run.node,
        run.state.reason,
    ]


def format_last(value: float, result_words: str) -> str:
    """Returns as whole numbers; anything else, such as a small loss, with three significant digits."""
    return f"{value:.0f}" if result_words == RETURN else f"{value:.3g}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d}"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def status_tables(
    store: ResultsFolder, statuses: Sequence[SweepStatus], by_run: bool, now: float
) -> Iterable[Table | Text]:
    """The output of `sweeps status`."""
    submitted = evaluations_of(store, [sweep.view.name for sweep in statuses])
    for members in by_tasks(statuses) if not by_run else [[sweep] for sweep in statuses]:
        sweep, runs = members[0], [run for member in members for run in member.runs]
        result = store.agents.result_words(sweep.view.agent)
        if len(members) > 1:
            yield task_table(members)
        else:
            finals = {} if by_run else final_scores(store, sweep)
            yield run_table(sweep, result) if by_run else configuration_table(sweep, result, finals)
        yield counts_text(counts(runs))
        yield from _failure_lines(runs)
        yield from waiting_lines(runs)
        if others := store.other_version(dict.fromkeys(run.record.ref.config_id for run in runs)):
            yield Text(f"{others}: compare them with runs of the same version only")
        yield from (Text(line) for member in members for line in status_lines(store, member, by_run))
        sent = [one for member in members for one in store.submissions.notifications(member.view.name)]
        yield from (
            Text(f"notification {one.kind} failed: {one.problem}", style="yellow") for one in sent if one.problem
        )
        names = {member.view.name for member in members}
        own = [evaluation for evaluation in submitted if evaluation.sweep in names]
        yield from (Text(line) for evaluation in own for line in format_evaluation(evaluation))
        yield Text()
    answer_times = [run.state.as_of for sweep in statuses for run in sweep.runs if run.state.as_of is not None]
    if answer_times:
        oldest = min(answer_times)
        age_text = f"its last answer is {duration(now - oldest)} old" if oldest else "it has never answered"
        yield Text(f"Slurm does not answer; {age_text}", style="yellow")


def _failure_lines(every_run: Iterable[RunStatus]) -> Iterable[Text]:
    """Failed runs grouped by reason, each group with the command for the log of one run."""
    for reason, runs in failures(every_run):
        yield Text.assemble(
            state_text("failed", len(runs)), f": {reason or 'no reason'}; `sweeps logs {runs[0].record.ref}`"
        )


def waiting_lines(runs: Iterable[RunStatus]) -> Iterator[Text]:
    """What runs wait for that do not start by themselves, or wait for more than their turn."""
    for state, reason, count in waiting(runs):
        yield Text.assemble(state_text(state, count), f": {shown(reason)}")


def usage_table(reports: Sequence[Report]) -> Table:
    """Used and requested resources, one row per submission."""
    result = table(
        "submission", "tasks", "CPUs", "busy", "memory GB", "most", "GPUs", "GPU GB", "limit", "longest", "ask for",
        right=("tasks", "CPUs", "busy", "memory GB", "most", "GPUs", "GPU GB", "limit", "longest"),
        drop=("tasks", "GPUs", "GPU GB", "limit", "longest"),
    )  # fmt: skip
    for report in reports:
        uses, gpus = report.uses, report.submission.gpus
        result.add_row(
            report.submission.id, str(len(uses)), str(report.submission.threads),
            f"{sum(use.cpus for use in uses) / len(uses):.1f}", f"{report.mem_gb:g}" if report.mem_gb else "",
            f"{max(use.memory_gb for use in uses):.1f}", str(gpus) if gpus else "",
            f"{report.gpu_gb:.1f}" if report.gpu_gb else "",
            duration(60 * report.time_min) if report.time_min else "", duration(max(use.seconds for use in uses)),
            report.suggestion or "no change",
        )  # fmt: skip
    return result


# --- the doctor -------------------------------------------------------------------------------------------


def finding_text(finding: CheckResult, width: int) -> Text:
    """One check, as in `ok    limits   MaxArraySize 1001`, with its advice below."""
    sign, style = {True: ("ok", "green"), False: ("wrong", "bold red"), None: ("", "")}[finding.fine]
    below = " " * 31
    lines = wrap(finding.result, width, f"{sign:6}{finding.what:24} ", below)
    lines += wrap(f"-> {finding.advice}", width, below, below) if finding.advice else []
    result = Text("\n".join(lines))
    result.stylize(style, 0, len(sign))
    return result


# --- evaluations ------------------------------------------------------------------------------------------


def evaluations(records: Iterable[dict[str, Any]]) -> Table:
    """Mean return over episodes with its 95 % Student-t interval, and standard deviation and range of the episodes."""
    import numpy as np

    from aggregate.statistics.estimates import Interval

    columns = ("run", "step", "planner", "episodes", "mean", "95 % CI", "sd", "lowest", "highest")
    result = table(*columns, right=columns[3:], drop=("lowest", "highest", "sd"))
    for record in records:
        returns = np.array(record["returns"])
        count, mean = len(returns), float(returns.mean())
        sd = float(returns.std(ddof=1)) if count > 1 else float("nan")
        half = float(Interval().half_width(np.array([sd]), np.array([count]))[0])
        interval = f"{mean - half:.1f} to {mean + half:.1f}" if count > 1 else "-"
        numbers = (f"{mean:.1f}", interval, f"{sd:.1f}" if count > 1 else "-", f"{returns.min():.1f}",
                   f"{returns.max():.1f}")  # fmt: skip
        result.add_row(record["run"], f"{record['step']:,}", record["planner"], str(count), *numbers)
    return result


# --- imports ------------------------------------------------------------------------------------------------


def imports_table(imports: Sequence[Import]) -> Table:
    """One row per import and algorithm."""
    result = table("name", "algorithm", "tasks", "seeds", "curves", "last step", "imported",
                 right=("tasks", "seeds", "curves", "last step"), drop=("curves", "imported"))  # fmt: skip
    for imported in imports:
        time_text = time.strftime("%Y-%m-%d %H:%M", time.localtime(imported.time))
        for algorithm in dict.fromkeys(config.algorithm for config in imported.configs):
            configs = [config for config in imported.configs if config.algorithm == algorithm]
            tasks = configs[0].task if len(configs) == 1 else str(len(configs))
            seeds = [len(config.seeds) for config in configs]
            result.add_row(Text(imported.name), Text(algorithm), Text(tasks), _format_range(seeds), str(sum(seeds)),
                         _format_range([config.last_step for config in configs]), time_text)  # fmt: skip
    return result


def recognised_table(recognised: Sequence[Document]) -> Table:
    """One row per layout and map of the files that were read. recognised: see `documents.recognised`."""
    result = table(
        "layout", "files", "map", "steps are", "algorithms", "tasks", "curves", right=("files", "tasks", "curves"),
        drop=("curves", "algorithms"),
    )  # fmt: skip
    for one in recognised:
        result.add_row(
            one["layout"], str(len(one["files"])), one["map"], one["unit"], ", ".join(one["algorithms"]),
            str(len(one["tasks"])), str(one["curves"]),
        )  # fmt: skip
    return result


def _format_range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


# --- verdict and comparison -------------------------------------------------------------------------------

_MARKS = {"answered": ("\u2713", "green"), "answered in part": ("~", "yellow"), "not answered": ("?", "dim")}


def judged_lines(judged: Judged, width: int) -> Iterator[Text]:
    """The verdict across tasks, then those of the sweeps that the report shows one by one."""
    from aggregate.tasks import task_verdict
    from aggregate.verdict.verdict import verdict

    if judged.across is not None:
        yield from verdict_lines("Across tasks", task_verdict.verdict(judged.across), width)
    for sweep in judged.summary.sweeps:
        if sweep.source.name not in judged.left_out:
            yield from verdict_lines(sweep.source.name, verdict(sweep), width)
    if others := judged.left_out:
        text = f"{len(others)} tasks are not shown one by one: sweeps aggregate {others[0]} reports on one of them"
        yield Text()
        yield from wrap_lines(text, width)


def verdict_lines(name: str, sweep_verdict: Verdict, width: int) -> Iterator[Text]:
    """The headline, answers and points of a verdict, as at the top of the report."""
    yield Text()
    yield from wrap_lines(f"{name}: {sweep_verdict.headline}", width, style="bold")
    for answer in sweep_verdict.answers:
        mark, style = _MARKS[answer.state]
        yield from wrap_lines(f"{mark} {answer.question}", width, style=style)
        yield from wrap_lines(answer.text, width, indent="  ")
    for topic, text in sweep_verdict.points:
        yield from wrap_lines(f"{topic}: {text}", width, indent="  ")


def wrap_lines(text: str, width: int, indent: str = "", style: str = "") -> Iterator[Text]:
    """`text` in lines of at most `width` characters; the second and later ones are indented."""
    yield from (Text(line, style=style) for line in wrap(text, width, indent))


def comparison(sweep: SweepSummary, result: Comparison, sides: Sequence[Side], width: int) -> Iterator[Table | Text]:
    """The two configurations, a table of endpoints, flags, and the hyperparameters that differ."""
    from aggregate.flags import BY_NAME
    from aggregate.verdict.verdict import format_excluded
    from aggregate.verdict.words import words
    from jobs.reports.compare import differing, format_differing

    configs = [sweep.config(result.a), sweep.config(result.b)]
    for name, config, side in zip("AB", configs, sides, strict=True):
        leads = f", best of {side.text} (selected by its mean, which has selection bias)" if side.is_sweep else ""
        yield from wrap_lines(f"{name}  {config.config_id}  {config.name}{leads}", width, style="bold")
    yield _endpoint_table(result, words(sweep))
    yield from wrap_lines(
        "The first row decides (Welch's p, one comparison); the others are secondary.", width, style="dim"
    )
    if result.claims:
        yield from wrap_lines(result.claims, width)
    for line in result.flags.to_dict("records"):
        counts = (f"{line[f'{side}_raised']} of {line[f'{side}_assessable']}" for side in "ab")
        raised_text = ", ".join(f"{name} {count}" for name, count in zip("AB", counts, strict=True))
        yield from wrap_lines(f"{BY_NAME[line['flag']].title}: {raised_text} seeds", width)
    if excluded := format_excluded(sweep):
        yield from wrap_lines(excluded, width)
    differ = format_differing(differing(*(config.config for config in configs)))
    if configs[0].version != configs[1].version:
        of_each = ", ".join(f"{name} by version {config.version}" for name, config in zip("AB", configs, strict=True))
        yield from wrap_lines(f"They were trained by two versions of the agent: {of_each}.", width)
        differ = differ or "no hyperparameter"
    yield from wrap_lines(f"They differ in: {differ}." if differ else "They differ only in their seeds.", width)


def _endpoint_table(comparison_result: Comparison, words: AgentWords) -> Table:
    from aggregate.verdict.number_format import estimate, number, signed_estimate

    columns = ("endpoint", "A", "n", "B", "n ", "B - A", "p", "permutation", f"P(B {words.better} A)")
    result = table(*columns, right=columns[1:], drop=("permutation", columns[-1], "n", "n "))
    for line in comparison_result.endpoints.to_dict("records"):
        cells = [words.outcomes[line["outcome"]]]
        for side in "ab":
            cells.append(estimate(line[f"{side}_mean"], line[f"{side}_low"], line[f"{side}_high"]))
            cells.append(str(line[f"{side}_n"]))
        difference = signed_estimate(line["difference"], line["d_low"], line["d_high"])
        test_cells = [number(line[name]) for name in ("p", "permutation", "better")]
        result.add_row(*cells, difference, *test_cells)
    return result
