"""What the terminal shows. Names and reasons never pass as markup."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from jobs.planning.decisions import inherited
from jobs.planning.expand import ExpandedSweep
from jobs.planning.plan import Plan
from jobs.results.records import Import
from jobs.results.run_state import STATES, State
from jobs.runs.status import RunStatus, SweepStatus, counts, failures
from jobs.terminal.table import Table
from sweepwise.core.value_format import format_value

if TYPE_CHECKING:
    from aggregate.analysis.summary import SweepSummary
    from aggregate.verdict.compare_two import Comparison
    from jobs.doctor.checks import CheckResult
    from jobs.reports.compare import Side
    from jobs.runs.usage import Report
    from jobs.submit.submit import PlannedRun

_STYLE: dict[State, str] = {
    "done": "green", "running": "cyan", "pending": "blue", "stalled": "yellow", "interrupted": "yellow",
    "stuck": "bold yellow", "lost": "yellow", "failed": "bold red", "diverged": "magenta", "new": "dim",
    "stopped": "magenta",
}  # fmt: skip
_NARROW = 120  # width where there is no terminal to ask


def console() -> Console:
    """Writes to standard output; wide enough for the tables where that is a file or a pipe."""
    plain = Console(file=sys.stdout, highlight=False)
    return plain if plain.is_terminal else Console(file=sys.stdout, highlight=False, width=max(_NARROW, plain.width))


def table(*columns: str, right: Iterable[str] = (), title: str | None = None) -> Table:
    return Table(columns, tuple(right), keep=("sweep", "id", "run", "state"), title=title)


def state_text(state: State, count: int | None = None) -> Text:
    return Text(state if count is None else f"{count} {state}", style=_STYLE[state])


def counts_text(found: dict[State, int]) -> Text:
    """`12 done, 3 running`."""
    return Text(", ").join(state_text(state, found[state]) for state in STATES if found.get(state))


# --- the plan ---------------------------------------------------------------------------------------------


def plan_table(plan: Plan, sweeps: Sequence[ExpandedSweep]) -> Table:
    """Sweeps in priority order with factors, configurations, runs, and what they share with those above."""
    made = table(
        "priority", "sweep", "factors", "configs", "seeds", "runs", "shared",
        right=("configs", "runs", "seeds"), title=f"{plan.name}: {plan.title}" if plan.title else plan.name,
    )  # fmt: skip
    seen: dict[str, str] = {}
    for expanded in sweeps:
        sweep = expanded.sweep
        by: dict[str, int] = {}
        for config in expanded.configurations:
            if config.config_id in seen:
                by[seen[config.config_id]] = by.get(seen[config.config_id], 0) + 1
        for config in expanded.configurations:
            seen.setdefault(config.config_id, sweep.name)
        made.add_row(
            f"{sweep.priority}{', parallel' if sweep.parallel else ''}",
            sweep.name,
            " x ".join(_factor(plan, expanded)),
            str(len(expanded.configurations)),
            str(len(expanded.seeds)),
            str(expanded.runs),
            ", ".join(f"{count} with {name}" for name, count in by.items()),
        )
    return made


def _factor(plan: Plan, expanded: ExpandedSweep) -> list[str]:
    sweep = expanded.sweep
    names = {key: plan.names.get(key, key) for key in sweep.factors}
    named = [f"{names[key]} {format_value(levels)}" for key, levels in sweep.grid.items()]
    if sweep.zipped:
        named.append(" with ".join(f"{names[key]} {format_value(levels)}" for key, levels in sweep.zipped.items()))
    return named


def totals(sweeps: Sequence[ExpandedSweep]) -> str:
    """Distinct configurations and runs of `sweeps` together."""
    runs = {(c.config_id, seed) for s in sweeps for c in s.configurations for seed in s.seeds}
    configurations = {config for config, _ in runs}
    return (
        f"together {len(configurations)} distinct configurations, {len(runs)} runs "
        f"({sum(s.runs for s in sweeps)} if nothing were shared)"
    )


def sweep_details(plan: Plan, expanded: ExpandedSweep) -> list[Text | Table]:
    """One sweep in full: goal, questions, what is held, its configurations."""
    sweep = expanded.sweep
    lines = [Text(f"{sweep.name}: {sweep.goal}" if sweep.goal else sweep.name, style="bold")]
    if sweep.why:
        lines.append(Text(f"  priority {sweep.priority}: {sweep.why}"))
    lines += [Text(f"  ? {question.text}") for question in sweep.questions]
    lines += [Text(f"  ! {plan.issues[name]}") for name in sweep.issues]
    if sweep.fixed:
        lines.append(Text(f"  fixed: {pairs(sweep.fixed)}"))
    adopted = plan.adopted.get(sweep.name, {})
    if reaching := inherited(sweep, adopted):
        lines.append(Text(f"  adopted: {pairs(reaching)}"))
    if held := {key: value for key, value in adopted.items() if sweep.fixed.get(key, value) != value}:
        lines.append(Text(f"  adopted, and fixed otherwise here: {pairs(held)}"))
    made = table("id", "configuration", "")
    for config in expanded.configurations:
        made.add_row(config.config_id, config.label, "baseline" if config.is_baseline else "")
    return [*lines, made, Text(f"{len(expanded.configurations)} configurations, {expanded.runs} runs")]


def pairs(values: Mapping[str, Any]) -> str:
    """`num_q=2, tau=0.01`."""
    return ", ".join(f"{key}={format_value(value)}" for key, value in values.items())


# --- runs -------------------------------------------------------------------------------------------------


def choice_table(choices: Sequence[PlannedRun]) -> Table:
    """The runs of a submit, for `--dry-run`."""
    made = table("run", "configuration", "seed", "steps", "state", "", right=("seed", "steps"))
    for choice in choices:
        made.add_row(
            choice.run.config_id, choice.label, str(choice.run.seed), f"{choice.steps:,}",
            state_text(choice.state.state), "submit" if choice.wanted else "",
        )  # fmt: skip
    return made


def difference_text(choices: Sequence[PlannedRun]) -> Text:
    """`48 runs asked for: 40 done, 8 new; 8 to submit`."""
    found: dict[State, int] = {}
    for choice in choices:
        found[choice.state.state] = found.get(choice.state.state, 0) + 1
    wanted = sum(choice.wanted for choice in choices)
    return Text.assemble(f"{len(choices)} runs asked for: ", counts_text(found), f"; {wanted} to submit")


def configuration_table(sweep: SweepStatus) -> Table:
    """One row per configuration: the counts of its runs' states, how far they are, when the last will be."""
    made = table(
        "id", "configuration", "runs", "progress", "steps/s", "left", "last return",
        right=("progress", "steps/s", "left", "last return"), title=sweep.view.name,
    )  # fmt: skip
    for config, runs in sweep.rows:
        share = sum(min(1.0, r.record.step / r.record.steps) for r in runs) / len(runs) if runs else 0.0
        returns = [r.record.status.last_return for r in runs if r.record.status is not None]
        known = [value for value in returns if value is not None]
        speeds = [r.steps_per_s for r in runs if r.steps_per_s is not None]
        left = [r.seconds_left for r in runs if r.seconds_left is not None]
        made.add_row(
            config.config_id, config.label, counts_text(counts(runs)), f"{share:.0%}",
            f"{sum(speeds) / len(speeds):.1f}" if speeds else "", duration(max(left)) if left else "",
            f"{sum(known) / len(known):.0f}" if known else "",
        )  # fmt: skip
    return made


def run_table(sweep: SweepStatus) -> Table:
    """One row per run; # is what `--indices` counts."""
    made = table(
        "#", "run", "configuration", "state", "step", "steps/s", "left", "last return", "attempt", "node", "reason",
        right=("#", "step", "steps/s", "left", "last return", "attempt"), title=sweep.view.name,
    )  # fmt: skip
    for number, (label, run) in enumerate(((c.label, run) for c, runs in sweep.rows for run in runs), 1):
        made.add_row(str(number), *_run_cells(label, run))
    return made


def _run_cells(label: str, run: RunStatus) -> list[str | Text]:
    record, status = run.record, run.record.status
    last = status.last_return if status is not None else None
    return [
        str(record.ref),
        label,
        state_text(run.state.state),
        f"{record.step:,}/{record.steps:,}",
        f"{run.steps_per_s:.1f}" if run.steps_per_s is not None else "",
        duration(run.seconds_left) if run.seconds_left is not None else "",
        f"{last:.0f}" if last is not None else "",
        str(record.attempts or ""),
        run.node,
        run.state.reason,
    ]


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


def status_tables(found: Sequence[SweepStatus], by_run: bool, now: float) -> Iterable[Table | Text]:
    """All that `sweeps status` shows of some sweeps."""
    for sweep in found:
        yield run_table(sweep) if by_run else configuration_table(sweep)
        yield counts_text(counts(sweep.runs))
        yield from _failures(sweep)
        yield Text()
    old = [run.state.as_of for sweep in found for run in sweep.runs if run.state.as_of is not None]
    if old:
        when = f"this is what it said {duration(now - min(old))} ago" if min(old) else "it never did"
        yield Text(f"Slurm does not answer; {when}", style="yellow")


def _failures(sweep: SweepStatus) -> Iterable[Text]:
    """Failed runs by what they failed with, each with one that can be looked at."""
    for reason, runs in failures(sweep.runs):
        yield Text.assemble(
            state_text("failed", len(runs)), f": {reason or 'no reason'}; `sweeps logs {runs[0].record.ref}`"
        )


def usage_table(reports: Sequence[Report]) -> Table:
    """What was used of what was asked for, one row per submission."""
    made = table(
        "submission", "tasks", "CPUs", "busy", "memory GB", "most", "GPUs", "GPU GB", "limit", "longest", "ask for",
        right=("tasks", "CPUs", "busy", "memory GB", "most", "GPUs", "GPU GB", "limit", "longest"),
    )  # fmt: skip
    for report in reports:
        uses, gpus = report.uses, report.submission.gpus
        made.add_row(
            report.submission.id, str(len(uses)), str(report.submission.threads),
            f"{sum(use.cpus for use in uses) / len(uses):.1f}", f"{report.mem_gb:g}" if report.mem_gb else "",
            f"{max(use.memory_gb for use in uses):.1f}", str(gpus) if gpus else "",
            f"{report.gpu_gb:.1f}" if report.gpu_gb else "",
            duration(60 * report.time_min) if report.time_min else "", duration(max(use.seconds for use in uses)),
            report.suggestion or "as it is",
        )  # fmt: skip
    return made


# --- the doctor -------------------------------------------------------------------------------------------


def finding_text(finding: CheckResult) -> Text:
    """`ok    limits   MaxArraySize 1001`, with the advice below it."""
    sign, style = {True: ("ok", "green"), False: ("wrong", "bold red"), None: ("", "")}[finding.fine]
    line = Text.assemble((f"{sign:6}", style), f"{finding.what:24} ", finding.found)
    return line if not finding.advice else Text.assemble(line, f"\n{'':31} -> {finding.advice}")


# --- evaluations ------------------------------------------------------------------------------------------


def evaluations(found: Iterable[dict[str, Any]]) -> Table:
    """Mean return over episodes with its 95 % Student-t interval, and the spread of single episodes."""
    import numpy as np

    from aggregate.statistics.estimates import Interval

    columns = ("run", "step", "planner", "episodes", "mean", "95 % CI", "sd", "lowest", "highest")
    made = table(*columns, right=columns[3:])
    for record in found:
        returns = np.array(record["returns"])
        count, mean = len(returns), float(returns.mean())
        sd = float(returns.std(ddof=1)) if count > 1 else float("nan")
        half = float(Interval().half_width(np.array([sd]), np.array([count]))[0])
        interval = f"{mean - half:.1f} to {mean + half:.1f}" if count > 1 else "-"
        numbers = (f"{mean:.1f}", interval, f"{sd:.1f}" if count > 1 else "-", f"{returns.min():.1f}",
                   f"{returns.max():.1f}")  # fmt: skip
        made.add_row(record["run"], f"{record['step']:,}", record["planner"], str(count), *numbers)
    return made


# --- imports ------------------------------------------------------------------------------------------------


def imports_table(found: Sequence[Import]) -> Table:
    """A line per import and algorithm."""
    made = table("name", "algorithm", "tasks", "seeds", "curves", "last step", "imported",
                 right=("tasks", "seeds", "curves", "last step"))  # fmt: skip
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.time))
        for algorithm in dict.fromkeys(config.algorithm for config in one.configs):
            own = [config for config in one.configs if config.algorithm == algorithm]
            tasks = own[0].task if len(own) == 1 else str(len(own))
            seeds = [len(config.seeds) for config in own]
            made.add_row(Text(one.name), Text(algorithm), Text(tasks), _span(seeds), str(sum(seeds)),
                         _span([config.last_step for config in own]), when)  # fmt: skip
    return made


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


# --- what runs are worth ----------------------------------------------------------------------------------

_MARKS = {"answered": ("\u2713", "green"), "answered in part": ("~", "yellow"), "not answered": ("?", "dim")}


def verdict_lines(sweep: SweepSummary, width: int) -> Iterator[Text]:
    """The first screen of the report."""
    from aggregate.verdict.verdict import verdict

    said = verdict(sweep)
    yield Text()
    yield from _wrapped(f"{sweep.source.name}: {said.headline}", width, style="bold")
    for answer in said.answers:
        mark, style = _MARKS[answer.state]
        yield from _wrapped(f"{mark} {answer.question}", width, style=style)
        yield from _wrapped(answer.text, width, indent="  ")
    for topic, text in said.points:
        yield from _wrapped(f"{topic}: {text}", width, indent="  ")


def _wrapped(text: str, width: int, indent: str = "", style: str = "") -> Iterator[Text]:
    for line in textwrap.wrap(text, width, initial_indent=indent, subsequent_indent="  "):
        yield Text(line, style=style)


def comparison(sweep: SweepSummary, found: Comparison, sides: Sequence[Side], width: int) -> Iterator[Table | Text]:
    """Who is who, a table of endpoints, flags, and the keys that differ."""
    from aggregate.flags import BY_NAME

    configs = [sweep.config(found.a), sweep.config(found.b)]
    for name, config, side in zip("AB", configs, sides, strict=True):
        leads = f", which leads {side.text} (picked after the fact, so its mean flatters it)" if side.is_sweep else ""
        yield from _wrapped(f"{name}  {config.config_id}  {config.name}{leads}", width, style="bold")
    yield _endpoints(found)
    yield from _wrapped("The first decides (Welch's p, one comparison); the others explain.", width, style="dim")
    for line in found.flags.to_dict("records"):
        counts = (f"{line[f'{side}_raised']} of {line[f'{side}_assessable']}" for side in "ab")
        told = ", ".join(f"{name} {count}" for name, count in zip("AB", counts, strict=True))
        yield from _wrapped(f"{BY_NAME[line['flag']].title}: {told} seeds", width)
    a, b = (config.config for config in configs)
    keys = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
    differ = ", ".join(f"{key} {format_value(a.get(key))} / {format_value(b.get(key))}" for key in keys)
    yield from _wrapped(f"They differ in: {differ}." if differ else "They differ in nothing but their seeds.", width)


_ENDPOINTS = {"final_planner": "final return, planning", "auc_planner": "area under curve",
              "fall_planner": "fall at the end", "final_policy": "final return, policy alone"}  # fmt: skip


def _endpoints(found: Comparison) -> Table:
    from aggregate.verdict.number_format import estimate, number, signed

    columns = ("endpoint", "A", "n", "B", "n ", "B less A", "p", "permutation", "P(B above A)")
    made = table(*columns, right=columns[1:])
    for line in found.endpoints.to_dict("records"):
        cells = [_ENDPOINTS[line["outcome"]]]
        for side in "ab":
            cells.append(estimate(line[f"{side}_mean"], line[f"{side}_low"], line[f"{side}_high"]))
            cells.append(str(line[f"{side}_n"]))
        difference = {"estimate": line["difference"], "ci_low": line["d_low"], "ci_high": line["d_high"]}
        rest = [number(line[name]) for name in ("p", "permutation", "better")]
        made.add_row(*cells, signed(difference), *rest)
    return made
