"""What the plan wants now: of every sweep what became of it, what it waits for, and the command to type."""

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
from jobs.planning.plan import Plan, Sweep
from jobs.results.attempts import RunRef
from jobs.results.records import Decision, RequestedOverrides
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
    """What a command is given: `sweeps`, then what stands before its name; the plan's file; what a submit is given."""

    program: tuple[str, ...]
    plan: tuple[str, ...]
    values: tuple[str, ...]

    def line(self, command: str, sweep: str, *options: str, with_values: bool = False) -> str:
        given = (*self.plan, *(self.values if with_values else ()))
        return shlex.join([*self.program, command, sweep, *options, *given])


def typed(asked: RequestedOverrides) -> tuple[str, ...]:
    """The options that ask for it, numbers with all their digits."""
    given = [("--seeds", asked.seeds), ("--preset", asked.preset)]
    for key, value in asked.values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        given.append((f"--{key}", text) if key in ("task", "steps") else ("--set", f"{key}={text}"))
    return tuple(word for pair in given if pair[1] for word in pair)


def asked_before(store: ResultsFolder, plan: Plan) -> tuple[RequestedOverrides, str]:
    """What the newest submit of `plan` was given, and its sweep, "" where there is none or it was given nothing.

    Its seeds are those that every configuration has by now. Not its value of a key that a sweep of the plan varies: no
    other sweep can be asked for it.
    """
    views = [(view, sweep) for sweep in plan.sweeps if (view := store.read_sweep(sweep.name)) and view.configs]
    there = [(view, sweep) for view, sweep in views if view.plan == plan.name]
    newest, sweep = max(there, key=lambda pair: pair[0].time, default=(None, None))
    if newest is None or sweep is None:
        return RequestedOverrides(), ""
    varied = {key for sweep in plan.sweeps for key in sweep.factors}
    kept = {key: value for key, value in newest.asked.values.items() if key not in varied}
    seeds = sorted(set[int].intersection(*(set(c.seeds) for c in newest.configs)))
    asked = replace(newest.asked, values=kept, seeds="" if tuple(seeds) == sweep.seeds else _spelled(seeds))
    return asked, newest.name if asked != RequestedOverrides() else ""


def _spelled(seeds: Sequence[int]) -> str:
    """As `plan.parse_seeds` reads them: a count, a range or a list."""
    if not seeds:
        return ""
    low, high = seeds[0], seeds[-1]
    if len(seeds) < high - low + 1:
        return ",".join(map(str, seeds))
    return f"{low}-{high}" if low > 1 else str(high)


@dataclass(frozen=True)
class Item:
    """A sweep of the plan. told: what is known of it."""

    expanded: ExpandedSweep
    state: str
    told: str

    @property
    def sweep(self) -> Sweep:
        return self.expanded.sweep

    @property
    def to_decide(self) -> bool:
        return self.state == DECIDE


@dataclass(frozen=True)
class Agenda:
    """items: of the stage that is on, none where the plan is done. after: of the stages that wait for it."""

    stage: int
    stages: int
    items: tuple[Item, ...]
    after: tuple[ExpandedSweep, ...]
    commands: tuple[str, ...]
    cost: str

    @property
    def undecided(self) -> list[str]:
        return [item.sweep.name for item in self.items if item.state != DECIDED]


def agenda(
    store: ResultsFolder, plan: Plan, decided: Sequence[Decision], expanded: Mapping[str, ExpandedSweep], words: Words
) -> Agenda:
    """Of the first stage that is not all decided. plan: with what was adopted. expanded: by sweep."""
    by_sweep = {decision.sweep: decision for decision in standing(plan, decided)}
    there = set(store.sweep_names()) & set(expanded)
    found = {status.view.name: status for status in statuses(store, sorted(there))} if there else {}
    for number, stage in enumerate(plan.stages, 1):
        items = tuple(_item(plan, expanded[s.name], found.get(s.name), by_sweep.get(s.name)) for s in stage)
        if all(item.state == DECIDED for item in items):
            continue
        after = tuple(expanded[sweep.name] for later in plan.stages[number:] for sweep in later)
        asked = [item.expanded for item in items if item.state == SUBMIT]
        told = _cost(store, asked) if asked else ""
        return Agenda(number, len(plan.stages), items, after, tuple(_commands(plan, items, words)), told)
    return Agenda(len(plan.stages), len(plan.stages), (), (), (), "")


def _item(plan: Plan, expanded: ExpandedSweep, status: SweepStatus | None, decision: Decision | None) -> Item:
    """What became of one sweep."""
    if decision is not None:
        kept = label(values(decision), plan.names) if decision.settled else "the base stays"
        return Item(expanded, DECIDED, f"{decision.date[:10]}: {kept}")
    if status is None or status.view.plan != plan.name:
        return Item(expanded, SUBMIT, f"{len(expanded.configurations)} configurations, {expanded.runs} runs")
    for key, then, now in moved(plan, expanded.sweep, status.view.adopted):
        told = f"its runs have {key}={format_value(then)}, the base {format_value(now)} now: anew, {expanded.runs} runs"
        return Item(expanded, SUBMIT, told)
    found = counts(status.runs)
    told = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    if any(found[state] for state in ACTIVE):
        return Item(expanded, RUNNING, told)
    if not found or any(found[state] for state in submit.MISSING):
        return Item(expanded, SUBMIT, told or "none of its configurations can be read")
    return Item(expanded, DECIDE if set(found) <= ENDED else RERUN, told)


def _commands(plan: Plan, items: Sequence[Item], words: Words) -> list[str]:
    """Each on a line; the options of one sweep that are all to be submitted go together."""
    lines: list[str] = []
    waiting = {item.sweep.name for item in items if item.state == SUBMIT}
    for item in items:
        name, parent = item.sweep.name, item.sweep.name.partition(".")[0]
        if item.state == SUBMIT:
            group = {sweep.name for sweep in plan.select(parent)}  # not the options of one with a grid of its own
            together = name in group and group <= waiting
            lines.append(words.line("submit", parent if together else name, with_values=True))
        elif item.state == RERUN:
            lines.append(shlex.join([*words.program, "rerun", name, "--failed"]))
        elif item.state == DECIDE:
            lines.append(shlex.join([*words.program, "aggregate", name]))
            lines.append(words.line("adopt", name, "--from-verdict"))
        elif item.state == RUNNING:
            lines.append(shlex.join([*words.program, "status", name]))
    return list(dict.fromkeys(lines))


def _cost(store: ResultsFolder, asked: Sequence[ExpandedSweep]) -> str:
    """Of what is missing of the sweeps, a run to a job, with what a submit would take without options."""
    choices = submit.plan_runs(store, asked)
    wanted = [choice for choice in choices if choice.wanted]
    if not wanted:
        return ""
    options = ExecutionOptions()
    try:
        target = submit.choose_target(options)
    except JobsError as error:
        return f"{len(wanted)} runs; expected cost: unknown, {error}"
    tasks = submit.pack([choice.run for choice in wanted], options.seeds_per_job)
    width = registry.get(target.backend).width(len(tasks), options, target)
    steps: dict[RunRef, int] = {choice.run: choice.steps for choice in choices}
    found = cost.expected(store, tasks, steps, target.device, target.gpus, width)
    return f"{len(wanted)} runs, each once; {cost.format_cost(found, target.device)}"
