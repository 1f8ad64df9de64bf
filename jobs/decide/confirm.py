"""Confirm the best configuration of a sweep: train it and the baseline with seeds that neither has had.

The best of several configurations was chosen by its runs, so their mean is too good on average. A difference on fresh
seeds is free of that. It is a sweep of its own, with two configurations and one question, judged by itself.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.decide.adopt import has_ended
from jobs.planning import confirmations
from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.records import RequestedOverrides, SubmittedConfiguration, SubmittedSweep
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import SweepStatus, counts, only_sweep, sweeps
from jobs.submit.submit import MISSING, PlannedRun, choose
from sweepwise.core.errors import JobsError

if TYPE_CHECKING:
    from aggregate.analysis.summary import SweepSummary
    from aggregate.verdict.leader import Final, Leaderboard


@dataclass(frozen=True)
class Confirmation:
    """A confirmation to submit. original: the sweep that it confirms. before: its record if it was submitted already,
    else None. view: its record. messages: texts that explain it."""

    original: SubmittedSweep
    before: SubmittedSweep | None
    view: SubmittedSweep
    messages: tuple[str, ...]

    def choices(self, store: ResultsFolder) -> list[PlannedRun]:
        """Its runs; those that are missing are wanted."""
        labels = {RunRef(config.config_id, seed): config.label for config in self.view.configs for seed in config.seeds}
        steps = {run: store.check_config(run.config_id).steps for run in labels}
        return choose(store, labels, steps, MISSING)

    def record(self, store: ResultsFolder) -> None:
        """Record it; the caller holds the lock. Raises `JobsError` if the sweep has changed, or the seeds are not fresh
        any more."""
        name, original = self.view.name, self.original.name
        if store.read_sweep(original) != self.original or store.read_sweep(name) != self.before:
            raise JobsError(f"{original} or {name} was changed in the meantime; confirm again")
        if self.before is not None:
            return
        ids = {config.config_id for config in self.view.configs}
        if shared := sorted(confirmations.seeds_in_use(store, ids) & set(self.view.configs[0].seeds)):
            raise JobsError(f"seeds {confirmations.format_seeds(shared)} were taken in the meantime; confirm again")
        store.write_sweep(self.view)


@dataclass(frozen=True)
class _Pair:
    """The configuration to confirm, and the one that it is compared with. leads: whether it is the best one of its
    sweep. reason: why these, as text."""

    chosen: Final
    other: Final
    leads: bool
    reason: str

    @property
    def ids(self) -> set[str]:
        return {self.chosen.config_id, self.other.config_id}


def confirm(
    store: ResultsFolder, name: str, *, config: str = "", against: str = "", seeds: int | None = None,
    again: bool = False,
) -> Confirmation:  # fmt: skip
    """The confirmation of `config` of the sweep `name`, of its best configuration if that is "".

    against: what it is compared with, the baseline if that is "". seeds: of each, as many as every configuration of
    the sweep has if None. again: a further confirmation of a pair that was confirmed already. A confirmation of the
    pair whose runs have not all ended is continued. Raises `JobsError` if there is nothing to compare.
    """
    from aggregate.analysis.summary import summarise

    sweep = _check_sweep(store, name, config)
    original = sweep.view
    (summary,) = summarise(sweep_sources(store, [original.name])).sweeps
    pair = _choose_pair(summary, config, against)
    views = confirmations.of(store, original.name)
    earlier = [view for view in views if {c.config_id for c in view.configs} == pair.ids]
    for view in earlier:
        if not _has_ended(store, view):
            _check_count(view, seeds)
            message = f"{view.name} is running on seeds {_seeds_text(view)}; what is missing of it is submitted"
            return Confirmation(original, view, view, (message,))
    if earlier and not again:
        done = earlier[-1]
        raise JobsError(
            f"{done.name} has compared {pair.chosen.label} with {pair.other.label} on seeds {_seeds_text(done)}: "
            f"`sweeps aggregate {done.name}`; --again trains another confirmation with fresh seeds"
        )
    count = seeds or min(len(c.seeds) for c in original.configs)
    used = confirmations.seeds_in_use(store, {c.config_id for c in original.configs})
    view = _make_view(store, original, pair, confirmations.next_seeds(used, count))
    return Confirmation(original, None, view, _explain(summary, view, pair))


# --- what is confirmed ------------------------------------------------------------------------------------


def _check_sweep(store: ResultsFolder, name: str, config: str) -> SweepStatus:
    """The sweep `name`. Raises `JobsError` for several sweeps, an import, a confirmation, a single configuration, and
    for runs that have not ended if `config` does not say what is confirmed."""
    imported = name.partition(".")[0]
    if name not in store.sweep_names() and imported in store.import_names():
        raise JobsError(f"{name} holds imported curves, for which nothing can be trained; name a sweep")
    sweep = only_sweep(store, name, "confirmed")
    if sweep.view.confirms:
        raise JobsError(
            f"{name} is a confirmation itself; `sweeps confirm {sweep.view.confirms} --again` trains another one"
        )
    if len(sweep.view.configs) < 2:
        raise JobsError(f"{name} has one configuration, so there is nothing to compare it with")
    unfinished = [run for run in sweep.runs if not has_ended(run)]
    if unfinished and not config:
        states_text = ", ".join(f"{count} {state}" for state, count in counts(unfinished).items())
        raise JobsError(
            f"{name}: {len(unfinished)} of {len(sweep.runs)} runs have not ended ({states_text}), so another "
            f"configuration may be the best in the end; see `sweeps status {name}`, or choose one with --config ID"
        )
    return sweep


def _choose_pair(summary: SweepSummary, config: str, against: str) -> _Pair:
    """Raises `JobsError` for an unknown configuration, and where there is no other one to compare with."""
    from aggregate.verdict.leader import leaderboard

    board, name = leaderboard(summary), summary.source.name
    for given in filter(None, (config, against)):
        if given not in board.finals:
            legal = "; ".join(f"{final.config_id} ({final.label})" for final in board.finals.values())
            raise JobsError(f"configuration {given!r} is not in {name}: {legal}")
    chosen = board.finals[config] if config else board.leader
    other = _compared_with(board, chosen, against, name)
    leads = chosen.config_id == board.leader.config_id
    what = f"{chosen.label} ({chosen.config_id}){f', best of {name},' if leads else ''}"
    if chosen.config_id == board.baseline and not against:
        reason = f"{what} is the baseline: it is compared with the best other configuration, {other.label}"
    else:
        word = "the baseline " if other.config_id == board.baseline else ""
        reason = f"{what} is compared with {word}{other.label}"
    return _Pair(chosen, other, leads, f"{reason} ({other.config_id})")


def _compared_with(board: Leaderboard, chosen: Final, against: str, name: str) -> Final:
    """The configuration that `chosen` is compared with: `against`, else the baseline, else the best other one."""
    if against == chosen.config_id:
        raise JobsError(f"--against {against}: that is the configuration to confirm; name another one of {name}")
    if against:
        return board.finals[against]
    if not board.baseline:
        raise JobsError(
            f"none of the configurations of {name} is its baseline; give --against ID, the "
            f"configuration that {chosen.label} ({chosen.config_id}) is compared with"
        )
    if chosen.config_id != board.baseline:
        return board.finals[board.baseline]
    rest = [final for final in board.finals.values() if final.seeds and final.config_id != chosen.config_id]
    if not rest:
        raise JobsError(
            f"{chosen.label} is the baseline, and no other configuration of {name} has a finished run; "
            "give --against ID, the configuration to compare it with"
        )
    return rest[0]


# --- an earlier confirmation ------------------------------------------------------------------------------


def _has_ended(store: ResultsFolder, view: SubmittedSweep) -> bool:
    (status,) = sweeps(store, [view.name])
    return all(map(has_ended, status.runs))


def _check_count(view: SubmittedSweep, seeds: int | None) -> None:
    if seeds is not None and seeds != len(view.configs[0].seeds):
        raise JobsError(
            f"--seeds {seeds}: {view.name} is running with {len(view.configs[0].seeds)} seeds, fixed when it was "
            "submitted; leave --seeds out"
        )


def _seeds_text(view: SubmittedSweep) -> str:
    return confirmations.format_seeds(view.configs[0].seeds)


# --- the record -------------------------------------------------------------------------------------------


def _make_view(store: ResultsFolder, original: SubmittedSweep, pair: _Pair, seeds: Sequence[int]) -> SubmittedSweep:
    by_id = {config.config_id: config for config in original.configs}
    configs = [dataclasses.replace(by_id[final.config_id], seeds=list(seeds)) for final in (pair.other, pair.chosen)]
    other, chosen = configs
    number = 1 + len(confirmations.of(store, original.name))
    return SubmittedSweep(
        name=confirmations.new_name(store, original.name),
        plan=original.plan,
        goal=(
            f"Confirm {chosen.label} of {original.name} against {_name_of(other)} on fresh seeds"
            f"{f' (confirmation {number})' if number > 1 else ''}: one comparison, fixed before these runs"
        ),
        questions=[_question(chosen, other)],
        factors=original.factors,
        configs=configs,
        time=time.time(),
        adopted=original.adopted,
        asked=RequestedOverrides(values=original.asked.values, preset=original.asked.preset),
        agent=original.agent,
        margin=original.margin,
        confirms=original.name,
    )


def _name_of(config: SubmittedConfiguration) -> str:
    return f"the baseline {config.label}" if config.is_baseline else config.label


def _question(chosen: SubmittedConfiguration, other: SubmittedConfiguration) -> dict[str, Any]:
    """The question of the confirmation, which compares these two and nothing else."""
    from aggregate.inputs.plan_questions import Question, term_of

    # Where a key has no effect in one of them, another one differs that has: the first such key names the contrast.
    differing = [
        key
        for key, value in chosen.factors.items()
        if value is not None and other.factors.get(key) is not None and value != other.factors[key]
    ]
    text = f"Is {_name_of(chosen)} better than {_name_of(other)} on fresh seeds?"
    question = Question(text, on=("final",), low=f"No, {other.label} does better", high="Yes")
    if differing:
        key = differing[0]
        levels = (other.factors[key], chosen.factors[key])
        question = dataclasses.replace(question, by=(term_of(key),), alike=(), levels=levels)
    return dataclasses.asdict(question)


def _explain(summary: SweepSummary, view: SubmittedSweep, pair: _Pair) -> tuple[str, ...]:
    """What is compared, on which seeds, and what that can show."""
    import numpy as np

    from aggregate.analysis.factor_effects import PRIMARY
    from aggregate.statistics import estimates
    from aggregate.verdict.number_format import number
    from aggregate.verdict.words import words

    count = len(view.configs[0].seeds)
    lines = [f"{view.name}: {pair.reason}, on seeds {_seeds_text(view)}, which no run of {view.confirms} has"]
    samples = estimates.samples_of(summary.scores, "config_id", PRIMARY)
    chosen, other = (samples.get(final.config_id, np.empty(0)) for final in (pair.chosen, pair.other))
    fewest = min(chosen.size, other.size)
    if fewest < 2:
        return tuple(lines)
    contrast = estimates.welch(chosen, other)
    detectable = float(contrast.detectable(1, count / fewest))
    selected = ", an overestimate on average, since the best configuration was chosen by these runs"
    lines.append(
        f"{count} seeds of each detect a difference of {number(detectable)} in 4 of 5 cases; so far the "
        f"{words(summary).primaries} differ by {number(abs(float(contrast.estimate)))}{selected if pair.leads else ''}"
    )
    return tuple(lines)
