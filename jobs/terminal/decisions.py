"""What the terminal says of decisions and of what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from jobs.planning.decisions import values
from jobs.planning.plan import Plan
from jobs.results.records import Decision, Measured
from jobs.terminal.table import Table
from jobs.terminal.tables import pairs, table
from sweepwise.core.value_format import format_value

if TYPE_CHECKING:
    from jobs.decide.next_steps import Agenda


def base_lines(plan: Plan, decided: Sequence[Decision]) -> Iterable[Text]:
    """The base as it is now, and the decisions that made it so, taken back ones too."""
    now = {**plan.base, **{key: v for d in decided if not d.undone for key, v in values(d).items()}}
    yield Text.assemble(("base: ", "bold"), pairs(now))
    yield from decision_lines(decided)


def decision_lines(decided: Sequence[Decision]) -> Iterable[Text]:
    """A line a decision: what it settled, when, by whom, on what; one taken back is dim."""
    for decision in decided:
        changes = [
            f"{s.key} {format_value(s.old)} -> {format_value(s.new)}" for s in decision.settled if s.old != s.new
        ]
        same = [f"{s.key} stays {format_value(s.new)}" for s in decision.settled if s.old == s.new]
        told = ", ".join([*changes, *same]) or "the base stays as it is"
        line = Text(f"  {decision.date[:10]} {decision.sweep}: {told}; by {decision.user}, {_evidence(decision)}")
        if decision.why:
            line.append(f": {decision.why}")
        if decision.undone:
            line = Text(f"{line.plain} (taken back {decision.undone[:10]})", style="dim")
        yield line


def _evidence(decision: Decision) -> str:
    """`verdict 3dffecba6e: final return 812 [790, 833], n=6, baseline 700 [640, 760], n=6`."""
    found = decision.evidence
    if found is None:
        return "by hand"
    beside = f", baseline {_final(found.baseline)}" if found.baseline else ""
    if found.leader.config_id != found.chosen.config_id:
        beside += f", leader {_final(found.leader)}"
    if found.ties:
        beside += f"; not told apart from the leader: {'; '.join(tied.label for tied in found.ties)}"
    return f"{decision.how} {decision.config_id}: final return {_final(found.chosen)}{beside}"


def _final(measured: Measured) -> str:
    if measured.mean is None:
        return "unknown"
    between = f" [{measured.low:.0f}, {measured.high:.0f}]" if None not in (measured.low, measured.high) else ""
    return f"{measured.mean:.0f}{between}, n={measured.seeds}"


def agenda_parts(found: Agenda) -> Iterable[Table | Text]:
    """What `sweeps next` says."""
    if not found.items:
        yield Text("the plan is done: every sweep is decided; `sweeps plan` shows the base and how it came about")
        return
    together = "; these can run at the same time" if len(found.items) > 1 else ""
    made = table("sweep", "state", "", title=f"stage {found.stage} of {found.stages}{together}")
    for item in found.items:
        made.add_row(item.sweep.name, item.state, item.told)
    yield made
    if found.cost:
        yield Text(found.cost)
    yield Text("\n".join(["", "now:", *(f"  {line}" for line in found.commands)]))
    if open_ := [item.sweep.name for item in found.items if item.to_decide]:
        more = " or ".join(f"`sweeps more {name}`" for name in open_)
        yield Text(
            f"  (where the verdict leaves it open: {more} adds seeds to what is tied with the leader,\n"
            "  or `adopt` with --config ID, --keep, or --set KEY=VALUE decides)"
        )
    if found.after:
        names = ", ".join(expanded.sweep.name for expanded in found.after)
        yield Text(f"\nthen {names}: {'waits' if len(found.after) == 1 else 'wait'} for {', '.join(found.undecided)}")
