"""Decisions and next steps as terminal output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from jobs.planning.plan import Plan
from jobs.results.decision_records import Decision, Measured
from jobs.terminal import documents
from jobs.terminal.table import Table
from jobs.terminal.tables import format_last, pairs, table
from sweepwise.core.value_format import format_value

if TYPE_CHECKING:
    from jobs.decide.next_steps import Agenda


def base_lines(plan: Plan, decided: Sequence[Decision], primary: str) -> Iterable[Text]:
    """The current base, and all decisions, including undone ones. primary: the primary metric of the agent in words."""
    yield Text.assemble(("base: ", "bold"), pairs(documents.base(plan, decided)), no_wrap=True)
    yield from decision_lines(decided, primary)


def decision_lines(decided: Sequence[Decision], primary: str) -> Iterable[Text]:
    """One line per decision: date, sweep, values, user and evidence; undone decisions are dim. primary: as in
    `base_lines`."""
    for decision in decided:
        changes = [
            f"{s.key} {format_value(s.old)} -> {format_value(s.new)}" for s in decision.settled if s.old != s.new
        ]
        unchanged = [f"{s.key} stays {format_value(s.new)}" for s in decision.settled if s.old == s.new]
        settled_text = ", ".join([*changes, *unchanged]) or "the base stays as it is"
        evidence = _format_evidence(decision, primary)
        why = f": {decision.why}" if decision.why else ""
        line = f"  {decision.date[:10]} {decision.sweep}: {settled_text}; by {decision.user}, {evidence}{why}"
        if decision.undone:
            yield Text(f"{line} (undone {decision.undone[:10]})", style="dim", no_wrap=True)
        else:
            yield Text(line, no_wrap=True)


def _format_evidence(decision: Decision, primary: str) -> str:
    """`verdict 3dffecba6e: final return 812 [790, 833], n=6, baseline 700 [640, 760], n=6`."""
    evidence = decision.evidence
    if evidence is None:
        return "by hand"
    what = f"mean normalised score on {evidence.tasks} tasks" if evidence.tasks else f"final {primary}"
    primary = "" if evidence.tasks else primary
    details = f", baseline {_format_measured(evidence.baseline, primary)}" if evidence.baseline else ""
    if evidence.leader.config_id != evidence.chosen.config_id:
        details += f", best configuration {_format_measured(evidence.leader, primary)}"
    if evidence.ties:
        ties_text = "; ".join(tied.label for tied in evidence.ties)
        details += f"; not significantly different from the best configuration: {ties_text}"
    chosen = _format_measured(evidence.chosen, primary)
    return f"{decision.how} {decision.config_id}: {what} {chosen}{details}"


def _format_measured(measured: Measured, primary: str) -> str:
    """Returns as whole numbers; anything else, such as a small loss, with three significant digits."""
    if measured.mean is None:
        return "unknown"
    interval = ""
    if measured.low is not None and measured.high is not None:
        interval = f" [{format_last(measured.low, primary)}, {format_last(measured.high, primary)}]"
    return f"{format_last(measured.mean, primary)}{interval}, n={measured.seeds}"


def agenda_parts(agenda: Agenda) -> Iterable[Table | Text | str]:
    """The output of `sweeps next`."""
    if not agenda.items:
        yield "the plan is done: every sweep is decided; `sweeps plan` shows the base and its history"
        return
    parallel_note = "; these can run at the same time" if len(agenda.items) > 1 else ""
    stage_table = table("sweep", "state", "", title=f"stage {agenda.stage} of {agenda.stages}{parallel_note}")
    for item in agenda.items:
        stage_table.add_row(item.name, item.state, item.details)
    yield stage_table
    if agenda.cost:
        yield Text(agenda.cost, no_wrap=True)
    yield "\n".join(["", "now:", *(f"  {line}" for line in agenda.commands)])
    if any(item.to_decide for item in agenda.items):
        more_commands = " or ".join(dict.fromkeys(f"`{item.more_seeds}`" for item in agenda.items if item.to_decide))
        yield Text(
            f"  (if the verdict is open: {more_commands} adds seeds if these could decide it,\n"
            "  or decide by `adopt` with --config ID, --keep, or --set KEY=VALUE)", no_wrap=True,
        )  # fmt: skip
    if agenda.after:
        names = list(dict.fromkeys(expanded.sweep.decided_as for expanded in agenda.after))
        wait = "waits" if len(names) == 1 else "wait"
        yield Text(f"\nthen {', '.join(names)}: {wait} for {', '.join(agenda.undecided)}", no_wrap=True)
