"""The summary of a sweep in sentences: best configuration, answers, significance, what is missing, next command."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from aggregate import flags
from aggregate.analysis.configuration_comparison import TRADE_OFF
from aggregate.analysis.summary import SweepSummary
from aggregate.flags import hypotheses
from aggregate.inputs.provenance import mixture
from aggregate.inputs.runs import DIVERGED, DONE, STOPPED
from aggregate.verdict.answers import ANSWERED, Answer, answers, median_seeds, not_evaluated_late
from aggregate.verdict.caveats import confounded
from aggregate.verdict.evaluation_gain import format_measured, suggest_evaluation
from aggregate.verdict.evaluation_noise import format_evaluation_noise
from aggregate.verdict.leader import clear_leader, leaderboard, rivals
from aggregate.verdict.not_assessed import format_not_assessed
from aggregate.verdict.number_format import number
from aggregate.verdict.seeds_needed import AFFORDABLE_SEEDS, format_more, ties
from aggregate.verdict.significance import explain_margin, format_headline, format_seed_effect, format_significance
from aggregate.verdict.stability import format_missing, format_stability
from aggregate.verdict.words import sentence, words
from sweepwise.core.value_format import listed

FEWEST_SEEDS = 2  # of a configuration that is proposed for adoption
MOST_NAMED = 3  # configurations whose flags are listed one by one
# State of a run -> option of `sweeps rerun`. A diverged run would diverge again; a stuck one waits in Slurm.
RERUN = {"failed": "--failed", "interrupted": "--interrupted", "lost": "--missing", "new": "--missing"}


@dataclass(frozen=True)
class Verdict:
    """headline: one sentence. answers: to the plan's questions. points: (topic, text), one or more sentences each."""

    headline: str
    answers: tuple[Answer, ...]
    points: tuple[tuple[str, str], ...]


def verdict(sweep: SweepSummary) -> Verdict:
    """The verdict on the final value of the primary metric."""
    ranking = sweep.ranking
    known = answers(sweep)
    points = [
        ("Missing", format_missing(sweep)),
        ("Excluded", format_excluded(sweep)),
        _stopped(sweep),
        _interim_analyses(sweep),
        _confounded(sweep),
        _origins(sweep),
        ("Not assessed", format_not_assessed(sweep)),
        _next_command(sweep, known),
    ]
    if not ranking["final_primary_n"].any():
        headline, unfinished = _nothing_finished(sweep, [_raised_flags(sweep), *points])
        return Verdict(headline, known, unfinished)
    points = [
        ("Other configurations", format_significance(sweep)),
        ("Stability", format_stability(sweep)),
        ("Relevant difference", explain_margin(sweep)),
        _raised_flags(sweep),
        ("Is evaluation random?", format_evaluation_noise(sweep)),
        ("Seeds", format_seed_effect(sweep)),
        ("Evaluation", sentence(f"{text}.") if (text := format_measured(sweep)) else ""),
        _against_random(sweep),
        *points,
    ]
    return Verdict(
        f"{format_headline(sweep)}{_without_excluded(sweep)}", known, tuple(point for point in points if point[1])
    )


def _nothing_finished(sweep: SweepSummary, points: list[tuple[str, str]]) -> tuple[str, tuple[tuple[str, str], ...]]:
    total, step = sweep.total_steps, int(sweep.runs["step"].max()) if len(sweep.runs) else 0
    headline = f"No run has finished yet: the furthest is at step {step:,} of {total:,}"
    if late := not_evaluated_late(sweep):
        headline = f"No run has a {words(sweep).final}: {late}"
    runs = "" if late else " of runs that are still training"
    so_far = ("So far", f"Curves and the ranking below show the last evaluations{runs}; "
                        f"they are not final {words(sweep).primaries} and runs at different steps do not compare."
    )  # fmt: skip
    return headline, tuple(p for p in [so_far, *points] if p[1])


def _next_command(sweep: SweepSummary, known: tuple[Answer, ...]) -> tuple[str, str]:
    """The command to run next."""
    name, states = sweep.source.name, set(sweep.runs["state"])
    options_of_rerun = dict.fromkeys(option for state, option in RERUN.items() if state in states)
    if options_of_rerun:
        return "Next", f"sweeps rerun {name} {' '.join(options_of_rerun)}"
    if states - {DONE, DIVERGED, STOPPED}:
        return "Next", f"sweeps status {name}, until the rest has finished"
    if sweep.source.confirms:
        return "Next", _after_confirmation(sweep)
    options = "with the options it was first submitted with"
    for answer in known:
        for other in answer.missing:
            return (
                "Next",
                f"sweeps submit {other} --seeds {_planned_seeds(sweep)}, {options}; a question needs its runs",
            )
    if whole := sweep.source.tasks_of:
        return "Next", f"sweeps aggregate {whole}: a sweep of several tasks is decided for all of them"
    ours = not any(config.imported for config in sweep.source.configs)
    if ours and sweep.source.factors and clear_leader(sweep):
        return "Next", f"sweeps adopt {name} --from-verdict, then `sweeps next`"
    open_ways = (_adopt_command(sweep, known), suggest_evaluation(sweep), _add_seeds_command(sweep))
    if ours and (ways := [way for way in open_ways if way]):
        return "Next", "; or ".join(ways)
    needed = [answer.needed for answer in known if math.isfinite(answer.needed) and answer.needed > median_seeds(sweep)]
    if not needed and any(rival.relation == TRADE_OFF for rival in rivals(sweep)):
        return "Next", f"sweeps adopt {name} --config ID: you decide which side of the trade-off counts"
    if not needed:
        return "Next", ""
    if min(needed) > AFFORDABLE_SEEDS:
        return "Next", (
            f"More than {AFFORDABLE_SEEDS} seeds a configuration ({min(needed):.0f}) would answer the next question: "
            "take either value."
        )
    return "Next", f"sweeps submit {name} --seeds {min(needed):.0f}, {options}"


def _after_confirmation(sweep: SweepSummary) -> str:
    """How the confirmed sweep can be decided."""
    confirmed, best = sweep.source.confirms, clear_leader(sweep)
    if best:
        return f"sweeps adopt {confirmed} --config {best}, then `sweeps next`: confirmed on fresh seeds"
    return (
        f"sweeps adopt {confirmed} --keep, or --config of either configuration: the fresh seeds show no significant "
        "difference, which does not mean that there is none"
    )


def _adopt_command(sweep: SweepSummary, known: Sequence[Answer]) -> str:
    """The command that adopts the best configuration, where all questions are answered though others tie; else ""."""
    if not known or any(answer.state != ANSWERED for answer in known):
        return ""
    leader = leaderboard(sweep).leader
    if leader.seeds < FEWEST_SEEDS:
        return ""
    return (
        f"sweeps adopt {sweep.source.name} --config {leader.config_id}, then `sweeps next`: all questions are answered"
    )


def _stopped(sweep: SweepSummary) -> tuple[str, str]:
    """Runs that `sweeps prune` stopped, and how they are scored."""
    runs = sweep.runs[sweep.runs["state"] == STOPPED]
    if runs.empty:
        return "Stopped", ""
    labels = {config.config_id: config.name for config in sweep.source.configs}
    planned = sweep.runs["config_id"].value_counts()
    of = [f"{count} of {planned[config]} seeds of {labels[config]}"
          for config, count in runs.groupby("config_id", sort=False).size().items()]  # fmt: skip
    return "Stopped", (
        f"{listed(of, MOST_NAMED, '; ')}, as underperforming (median stopping rule), before their last step. They "
        f"have no {words(sweep).final} and are part of no mean, rank or test."
    )


def format_excluded(sweep: SweepSummary) -> str:
    """The runs that a user left out with their reasons, and whether the best configuration depends on it."""
    runs = sweep.excluded.runs
    if runs.empty:
        return ""
    labels = {config.config_id: config.name for config in sweep.source.configs}
    named, groups = [], list(runs.groupby(["config_id", "reason"], sort=False))
    for (config, reason), own in groups[:MOST_NAMED]:
        seeds = f"seed{'s' if len(own) > 1 else ''} {', '.join(map(str, sorted(own['seed'])))}"
        named.append(f"{seeds} of {labels[config]} ({reason})")
    rest = len(groups) - len(named)
    more = f" and {rest} more groups of runs, which the report lists" if rest else ""
    text = f"{len(runs)} run{'s were' if len(runs) > 1 else ' was'} excluded by hand: {'; '.join(named)}{more}."
    if sweep.excluded.leader:
        other = _other_leader(sweep)
        which = f"{other} is the best configuration" if other else "the best configuration is the same"
        text += f" With {'them' if len(runs) > 1 else 'it'}, {which}."
    return text


def _without_excluded(sweep: SweepSummary) -> str:
    """The end of the headline: how many runs were excluded, and whether another configuration is best with them."""
    count, other = len(sweep.excluded.runs), _other_leader(sweep)
    if not count:
        return ""
    runs = f"{count} excluded run{'s' if count > 1 else ''}"
    return f"; this leaves out {runs}, with which {other} is best" if other else f"; this leaves out {runs}"


def _other_leader(sweep: SweepSummary) -> str:
    """The best configuration with the excluded runs, "" where it is the same or nothing can be said."""
    best = sweep.contrasts["config_id"].iloc[0] if len(sweep.contrasts) else ""
    return "" if sweep.excluded.leader in ("", best) else sweep.config(sweep.excluded.leader).name


def _interim_analyses(sweep: SweepSummary) -> tuple[str, str]:
    """Which interim analysis this is, where there is more than one."""
    analyses = sweep.source.interim_analyses
    if analyses.count == 1:
        return "Interim analyses", ""
    before = f", after {' and '.join(map(str, analyses.seeds[:-1]))} seeds" if analyses.number > 1 else ""
    were = "was" if analyses.planned == 1 else "were"
    beyond = f" Only {analyses.planned} {were} planned, and the first report used a level of 5 %, more than its share."
    return "Interim analyses", (
        f"Analysis {analyses.number} of {analyses.count}{before}: p values are corrected for all of them; one test "
        f"alone must reach p < {analyses.level():.2g}.{beyond if analyses.number > analyses.planned else ''}"
    )


def _add_seeds_command(sweep: SweepSummary) -> str:
    """The command that adds seeds to rivals of the best configuration; "" where too many would be needed."""
    tied = ties(sweep)
    return f"sweeps more {sweep.source.name}: {format_more(sweep, tied)}" if tied.more else ""


def _planned_seeds(sweep: SweepSummary) -> int:
    return int(sweep.ranking["planned"].max())


def _against_random(sweep: SweepSummary) -> tuple[str, str]:
    if not sweep.source.agent.diagnostics.random_until:
        return "Random actions", ""
    if sweep.random is None:
        return "Random actions", "No run recorded episodes of random actions to compare with."
    random, finals = sweep.random, sweep.scores["final_primary"].dropna()
    sign, side = sweep.source.agent.catalogue.sign, words(sweep).better
    better = int((sign * finals > sign * random.best).sum())
    text = (
        f"{better} of {len(finals)} finished runs end {side} the best of {random.n} episodes of random actions "
        f"(mean {number(random.mean)}, best {number(random.best)})"
    )
    best = sweep.ranking.iloc[0]
    gap = sign * (best["final_primary_mean"] - random.mean)
    worst = best["final_primary_low" if sign > 0 else "final_primary_high"]  # the end of the interval nearer to chance
    if not np.isfinite(worst):
        end = f"the best configuration is {number(gap)} from their mean, on one seed."
    elif sign * worst > sign * random.mean:
        end = f"the whole interval of the best configuration is {side} their mean, by {number(gap)} on average."
    else:
        end = (
            f"the interval of the best configuration over {best['final_primary_n']} seeds does not exclude their mean."
        )
    return "Random actions", f"{text}; {end}"


def _confounded(sweep: SweepSummary) -> tuple[str, str]:
    """Swept hyperparameters that also change something else: the two effects are confounded."""
    by_switch: dict[str, list[str]] = {}
    for note, switch in confounded(sweep).values():
        by_switch.setdefault(switch, []).append(note)
    texts = [
        f"{'; '.join(notes)}{f' ({switch})' if switch else ''}: what it shows is the effect of both."
        for switch, notes in by_switch.items()
    ]
    rates = all(note.endswith("learning rate") for notes in by_switch.values() for note in notes)
    return "Learning rates" if rates else "Confounded", " ".join(texts)


def _origins(sweep: SweepSummary) -> tuple[str, str]:
    mixed = mixture(sweep.origins)
    texts = [f"The runs come from {mixed}: differences may too."] if mixed else []
    return "Origin", " ".join([*texts, *_versions(sweep)])


def _versions(sweep: SweepSummary) -> list[str]:
    """Sentences about configurations of another version of the agent than the present one, or of several versions."""
    source = sweep.source
    own = {config.version for config in source.configs} - {None}
    beside = {name: {config.version for config in configs} - {None} for name, configs in source.beside.items()}
    texts = []
    if own - {source.agent.version}:
        texts.append(
            f"The runs were trained by version {_list_versions(own)} of the agent {source.agent.name}, which is now at "
            f"version {source.agent.version}: the same hyperparameters give other results there."
        )
    for name, versions in beside.items():
        if versions - own:
            texts.append(
                f"The questions that also use {name} compare runs of version {_list_versions(own)} with runs of "
                f"version {_list_versions(versions - own)}."
            )
    return texts


def _list_versions(versions: Iterable[int | None]) -> str:
    return " and ".join(map(str, sorted(version for version in versions if version is not None)))


def _raised_flags(sweep: SweepSummary) -> tuple[str, str]:
    """Flags by configuration with the best supported hypothesis; of many configurations, how many raise each flag."""
    topic, raised = "What went wrong", sweep.votes[sweep.votes["state"] == flags.FLAG]
    if raised.empty:
        judged = (sweep.votes["state"] != flags.NOT_ASSESSABLE).any()
        which = "No flag of those that were assessed" if format_not_assessed(sweep) else "No flag"
        return topic, f"{which} is raised by half of a configuration's seeds." if judged else "Nothing to judge yet."
    titles = {d.name: d.title for d in flags.DETECTORS}
    if raised["config_id"].nunique() > MOST_NAMED:
        counts = raised.groupby("flag")["config_id"].nunique()
        named = ", ".join(f"{title} ({counts[name]})" for name, title in titles.items() if name in counts)
        return topic, f"Flags of at least half of the seeds, with the number of configurations: {named}."
    sentences = []
    for config_id, own in raised.groupby("config_id", sort=False)["flag"]:
        named = ", ".join(titles[name] for name in own)
        sentences.append(f"{sweep.config(config_id).name}: {named}{_best_hypothesis(sweep, config_id)}.")
    return topic, f"{' '.join(sentences)} Each in at least half of the seeds."


def _best_hypothesis(sweep: SweepSummary, config_id: str) -> str:
    """The best supported hypothesis about what causes the flags of a configuration, "" for none."""
    causes = sweep.source.agent.diagnostics.causes
    for best in hypotheses.of_configuration(
        config_id, sweep.findings, sweep.votes, sweep.events, sweep.total_steps, causes
    )[:1]:
        signs = f"{len(best.signs)} of {best.judged} signs"
        return f" ({best.cause.as_question} {signs}; {best.cause.knob})"
    return ""
