"""The next steps of a plan: the state of every sweep in the current stage, what waits for it, and the commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.backends import registry
from jobs.backends.base import ExecutionOptions
from jobs.decide.adopt import ENDED
from jobs.planning.decisions import moved, standing, values
from jobs.planning.expand import ExpandedSweep, label
from jobs.planning.plan import Plan
from jobs.results.attempts import RunRef
from jobs.results.decision_records import Decision
from jobs.results.records import RequestedOverrides
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE, STATES
from jobs.runs import cost_estimate as cost
from jobs.runs.status import SweepStatus, counts
from jobs.runs.status import sweeps as statuses
from jobs.submit import submit
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import format_value

SUBMIT, RUNNING, RERUN, DECIDE, DECIDED = "to submit", "running", "failed", "to decide", "decided"


@dataclass(frozen=True)
class Words:
    """Parts of a command line. program: `sweeps` with its options. plan: the --plan option. values: submit
    options."""

    program: tuple[str, ...]
    plan: tuple[str, ...]
    values: tuple[str, ...]

    def line(self, command: str, sweep: str, *options: str, with_values: bool = False) -> str:
        plan_options = (*self.plan, *(self.values if with_values else ()))
        return shlex.join([*self.program, command, sweep, *options, *plan_options])


def typed(requested: RequestedOverrides) -> tuple[str, ...]:
    """The command line options for `requested`; numbers keep full precision."""
    options = [("--seeds", requested.seeds), ("--preset", requested.preset)]
    for key, value in requested.values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        options.append((f"--{key}", text) if key in ("task", "steps") else ("--set", f"{key}={text}"))
    return tuple(word for pair in options if pair[1] for word in pair)


def asked_before(store: ResultsFolder, plan: Plan) -> tuple[RequestedOverrides, str]:
    """The overrides of the newest submission of `plan`, and its sweep; "" if there is none or it had no overrides.

    The seeds are those that every configuration has now. Values of keys that any sweep of the plan varies are left
    out, since such a sweep would refuse them.
    """
    views = [(view, sweep) for sweep in plan.sweeps if (view := store.read_sweep(sweep.name)) and view.configs]
    submitted = [(view, sweep) for view, sweep in views if view.plan == plan.name]
    newest, sweep = max(submitted, key=lambda pair: pair[0].time, default=(None, None))
    if newest is None or sweep is None:
        return RequestedOverrides(), ""
    varied = {key for sweep in plan.sweeps for key in sweep.factors}
    varied |= {plan.schema.description.task} if any(sweep.tasks_of for sweep in plan.sweeps) else set()
    shared_values = {key: value for key, value in newest.asked.values.items() if key not in varied}
    seeds = sorted(set[int].intersection(*(set(c.seeds) for c in newest.configs)))
    requested = replace(
        newest.asked, values=shared_values, seeds="" if tuple(seeds) == sweep.seeds else _format_seeds(seeds)
    )
    return requested, newest.name if requested != RequestedOverrides() else ""


def _format_seeds(seeds: Sequence[int]) -> str:
    """Format seeds for `plan_values.parse_seeds`: a count, a range or a list."""
    if not seeds:
        return ""
    low, high = seeds[0], seeds[-1]
    if len(seeds) < high - low + 1:
        return ",".join(map(str, seeds))
    return f"{low}-{high}" if low > 1 else str(high)


@dataclass(frozen=True)
class Item:
    """A sweep of the plan and its state. expanded: the sweep, or one for each of its tasks. details: of the
    state, as text."""

    expanded: tuple[ExpandedSweep, ...]
    state: str
    details: str

    @property
    def name(self) -> str:
        return self.expanded[0].sweep.decided_as

    @property
    def more_seeds(self) -> str:
        """The command that adds seeds."""
        several = self.expanded[0].sweep.tasks_of
        return f"sweeps submit {self.name} --seeds N" if several else f"sweeps more {self.name}"

    @property
    def to_decide(self) -> bool:
        return self.state == DECIDE


@dataclass(frozen=True)
class Agenda:
    """items: sweeps of the current stage, empty if the plan is done. after: sweeps of later stages. missing_runs: of
    the sweeps to submit. expected: their cost, None if it is unknown. cost: both as text, "" without missing runs."""

    stage: int
    stages: int
    items: tuple[Item, ...]
    after: tuple[ExpandedSweep, ...]
    commands: tuple[str, ...]
    missing_runs: int = 0
    expected: cost.Cost | None = None
    cost: str = ""

    @property
    def undecided(self) -> list[str]:
        return [item.name for item in self.items if item.state != DECIDED]


def agenda(
    store: ResultsFolder, plan: Plan, decided: Sequence[Decision], expanded: Mapping[str, ExpandedSweep], words: Words
) -> Agenda:
    """The agenda of the first stage with an undecided sweep. plan: with its decisions. expanded: by sweep name."""
    by_sweep = {decision.sweep: decision for decision in standing(plan, decided)}
    submitted_names = set(store.sweep_names()) & set(expanded)
    status_by_sweep = (
        {status.view.name: status for status in statuses(store, sorted(submitted_names))} if submitted_names else {}
    )
    for number, stage in enumerate(plan.stages, 1):
        members = {name: [s.name for s in stage if s.decided_as == name] for name in (s.decided_as for s in stage)}
        items = tuple(
            _make_item(plan, [expanded[one] for one in names], [status_by_sweep.get(one) for one in names],
                       by_sweep.get(name))
            for name, names in members.items()
        )  # fmt: skip
        if all(item.state == DECIDED for item in items):
            continue
        after = tuple(expanded[sweep.name] for later in plan.stages[number:] for sweep in later)
        to_submit = [one for item in items if item.state == SUBMIT for one in item.expanded]
        expected = _expected(store, to_submit) if to_submit else (0, None, "")
        return Agenda(number, len(plan.stages), items, after, tuple(_list_commands(plan, items, words)), *expected)
    return Agenda(len(plan.stages), len(plan.stages), (), (), ())


def _make_item(
    plan: Plan, expanded: Sequence[ExpandedSweep], statuses: Sequence[SweepStatus | None], decision: Decision | None
) -> Item:
    """The state of one sweep. expanded, statuses: one for each of its tasks."""
    members, runs = tuple(expanded), sum(one.runs for one in expanded)
    if decision is not None:
        settled_text = label(values(plan, decision), plan.names) if decision.settled else "the base stays"
        return Item(members, DECIDED, f"{decision.date[:10]}: {settled_text}")
    submitted = [status for status in statuses if status is not None and status.view.plan == plan.name]
    if not submitted:
        return Item(members, SUBMIT, f"{sum(len(one.configurations) for one in expanded)} configurations, {runs} runs")
    for status in submitted:
        sweep = next(one.sweep for one in expanded if one.sweep.name == status.view.name)
        for key, then, now in moved(plan, sweep, status.view.adopted):
            text = f"its runs have {key}={format_value(then)}, the base {format_value(now)} now: retrain, {runs} runs"
            return Item(members, SUBMIT, text)
    state_counts = counts(run for status in submitted for run in status.runs if not run.is_excluded)
    text = ", ".join(f"{state_counts[state]} {state}" for state in STATES if state_counts[state])
    if any(state_counts[state] for state in ACTIVE):
        return Item(members, RUNNING, text)
    if left := len(expanded) - len(submitted):
        return Item(members, SUBMIT, ", ".join(filter(None, [text, f"{left} of {len(expanded)} tasks not submitted"])))
    if not state_counts or any(state_counts[state] for state in submit.MISSING):
        return Item(members, SUBMIT, text or "none of its configurations can be read")
    return Item(members, DECIDE if set(state_counts) <= ENDED else RERUN, text)


def _list_commands(plan: Plan, items: Sequence[Item], words: Words) -> list[str]:
    """One command per line; a sweep whose options must all be submitted gets a single command."""
    lines: list[str] = []
    waiting = {item.name for item in items if item.state == SUBMIT}
    for item in items:
        name, parent = item.name, item.name.partition(".")[0]
        if item.state == SUBMIT:
            # without the options of a sweep that has a grid
            group = {sweep.decided_as for sweep in plan.select(parent)}
            submit_together = name in group and group <= waiting
            lines.append(words.line("submit", parent if submit_together else name, with_values=True))
        elif item.state == RERUN:
            lines.append(shlex.join([*words.program, "rerun", name, "--failed"]))
        elif item.state == DECIDE:
            lines.append(shlex.join([*words.program, "aggregate", name]))
            lines.append(words.line("adopt", name, "--from-verdict"))
        elif item.state == RUNNING:
            lines.append(shlex.join([*words.program, "status", name]))
    return list(dict.fromkeys(lines))


def _expected(store: ResultsFolder, sweeps: Sequence[ExpandedSweep]) -> tuple[int, cost.Cost | None, str]:
    """The number of missing runs and their expected cost, one run per job, with the default options of a submit; both
    as text."""
    choices = submit.plan_runs(store, sweeps)
    to_submit = [choice for choice in choices if choice.wanted]
    if not to_submit:
        return 0, None, ""
    options = ExecutionOptions()
    try:
        target = submit.choose_target(options)
    except JobsError as error:
        return len(to_submit), None, f"{len(to_submit)} runs; expected cost: unknown, {error}"
    tasks = submit.pack([choice.run for choice in to_submit], options.seeds_per_job)
    width = registry.get(target.backend).width(len(tasks), options, target)
    steps: dict[RunRef, int] = {choice.run: choice.steps for choice in choices}
    estimate = cost.expected(store, tasks, steps, target.device, target.gpus, width)
    return len(to_submit), estimate, f"{len(to_submit)} runs, each once; {cost.format_cost(estimate, target.device)}"
