"""The plan's questions answered in sentences, from effects, intervals and p values; or what is missing to answer
them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.analysis.question_claims import ALIKE, BETTER, STABLE, TRADE_OFF, Claim, claim
from aggregate.analysis.question_contrasts import all_questions
from aggregate.analysis.run_scores import LAST_SHARE
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.plan_questions import Question, endpoint
from aggregate.inputs.runs import DONE
from aggregate.statistics import estimates
from aggregate.verdict.caveats import caveats
from aggregate.verdict.number_format import number, probability, signed
from aggregate.verdict.significance import format_margin
from aggregate.verdict.words import lacks
from sweepwise.core.metrics import Catalogue

MOST_OF_TREND = 0.75  # share of the gain along a trend, for one step to be named
MOST_LEVELS = 8  # of a hyperparameter, whose means are all listed
CERTAINTY = ((0.001, "very sure"), (0.01, "sure"), (estimates.ALPHA, "fairly sure"))  # p after the correction
OPEN, PART, ANSWERED = "not answered", "answered in part", "answered"


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    question: as the plan words it. state: `OPEN`, `PART` or `ANSWERED`. short: the answer without its evidence. text:
    the answer with its evidence. further: what secondary endpoints and flags show. needed: seeds per configuration
    that would answer an open question, NaN if unknown. missing: sweeps that the question needs and that were not
    submitted.
    """

    question: str
    state: str
    short: str
    text: str
    further: str = ""
    needed: float = math.nan
    missing: tuple[str, ...] = ()


def answers(sweep: SweepSummary) -> tuple[Answer, ...]:
    """One per question of the plan, in its order, then one per swept hyperparameter that no question names."""
    contrasts = sweep.question_contrasts
    return tuple(
        _answer(question, contrasts[contrasts["question"] == place], sweep)
        for place, question in enumerate(all_questions(sweep.source))
    )


def _answer(question: Question, lines: pd.DataFrame, sweep: SweepSummary) -> Answer:
    missing = tuple(name for name in question.beside if not sweep.source.beside.get(name))
    deciding = lines[lines["deciding"].astype(bool)]
    if deciding.empty:
        answer = f"Not answered: {_why_not_answered(question, sweep, missing)}"
        return Answer(question.text, OPEN, answer, f"{answer}.", missing=missing)
    by_axis = [lines_of_axis for _, lines_of_axis in deciding.groupby("axis", sort=False)]
    parts = [_answer_factor(question, own, sweep, several=len(by_axis) > 1) for own in by_axis]
    answered = [part.state == ANSWERED for part in parts]
    conditions = f" Compared at equal {' and '.join(question.alike)}." if question.alike else ""
    conditions += f" The runs of {' and '.join(missing)} are missing." if missing else ""
    needed = [part.needed for part in parts if np.isfinite(part.needed)]
    catalogue = sweep.source.agent.catalogue
    return Answer(
        question=question.text,
        state=ANSWERED if all(answered) else PART if any(part.state != OPEN for part in parts) else OPEN,
        short="; ".join(part.short for part in parts),
        text=" ".join(part.text for part in parts) + conditions,
        further=" ".join([*_format_secondary(question, lines, catalogue), *_format_flags(question, sweep)]),
        needed=min(needed, default=math.nan),
        missing=missing,
    )


def _why_not_answered(question: Question, sweep: SweepSummary, missing: tuple[str, ...]) -> str:
    if missing:
        return f"needs the runs of {' and '.join(missing)}, which was not submitted"
    finished = sweep.scores[sweep.scores["complete"].astype(bool)]
    if finished.empty:
        return not_evaluated_late(sweep) or "no run has finished"
    catalogue = sweep.source.agent.catalogue
    if role := lacks(question.on[0], sweep.source.agent):
        return f"no metric has the role {role}"
    deciding = endpoint(question.on[0], catalogue)
    if question.on[0] == "evaluation" and finished[deciding.column].isna().all():
        return f"no run was evaluated after training; `sweeps evaluate {sweep.source.name} --episodes 100` does it"
    if not deciding.rate and finished[deciding.column].isna().all():
        return f"no finished run has enough evaluations for {deciding.title}"
    return "needs at least two finished seeds on both sides, in configurations that differ in nothing else"


# --- the primary endpoint -------------------------------------------------------------------------------


def _answer_factor(question: Question, lines: pd.DataFrame, sweep: SweepSummary, *, several: bool) -> Answer:
    """From the lines of one factor: its slope, and the comparisons of its inner levels with both end levels."""
    catalogue = sweep.source.agent.catalogue
    line = next(iter(lines[lines["inner"] == ""].to_dict("records")))
    up = endpoint(line["endpoint"], catalogue).better == "up"
    claimed = claim(line, lines[lines["inner"] != ""].to_dict("records"), up=up)
    family = int((sweep.question_contrasts["family"] == line["family"]).sum())
    p_text = f"{probability(line['p'])}{f', Holm over {family}' if family > 1 else ''}"
    evidence = f"{_format_change(line, catalogue)}{_format_levels(line)} ({p_text})"
    if claimed.kind in (BETTER, TRADE_OFF):
        return _answer_by_mean(question, line, claimed, sweep, evidence)
    if claimed.kind == STABLE:
        return _answer_by_stability(question, line, claimed, sweep, evidence)
    if claimed.kind == ALIKE:
        return _answer_alike(question, line, sweep, evidence)
    answer = f"{line['factor']} not answered" if several else "Not answered"
    needed = _format_needed(line, sweep)
    limits = caveats(question, line, sweep).text
    short = f"{answer}: {needed.partition(';')[0]}{limits}"
    text = f"{answer}: {evidence}; {needed}{_format_alike_power(line, sweep)}{limits}."
    return Answer(question.text, OPEN, short, text, needed=line["needed"])


def _answer_by_mean(
    question: Question, line: dict[str, Any], claimed: Claim, sweep: SweepSummary, evidence: str
) -> Answer:
    """The answer where the mean of one level is significantly better; a trade-off where more of its seeds are
    unstable."""
    limits, catalogue = caveats(question, line, sweep, claimed.level), sweep.source.agent.catalogue
    if claimed.inner is not None:
        answer = _format_inner(dict(claimed.inner), line)
        evidence = _format_inner_evidence(dict(claimed.inner), line, catalogue)
    else:
        high = claimed.level == line["high"]
        answer = (question.high if high else question.low) or _format_better_level(line, high)
        answer = f"{answer}{' on average' if limits.averages else ''}{_format_where(line, high)}"
        answer = f"{answer}, {_format_certainty(line['p'])}"
    if claimed.kind == TRADE_OFF:
        answer = f"Trade-off: {answer[:1].lower()}{answer[1:]}, of runs that finish, but {_format_unstable(line)}"
        return Answer(question.text, PART, f"{answer}{limits.text}", f"{answer}: {evidence}{limits.text}.")
    unstable = f"; {_format_unstable(line)}" if any(k for _, k, _ in _stability(line)) else ""
    return Answer(question.text, ANSWERED, f"{answer}{limits.text}", f"{answer}: {evidence}{unstable}{limits.text}.")


def _answer_by_stability(
    question: Question, line: dict[str, Any], claimed: Claim, sweep: SweepSummary, evidence: str
) -> Answer:
    """The answer where one end has significantly fewer unstable seeds and the means are not significantly different."""
    high = claimed.level == line["high"]
    answer = (question.high if high else question.low) or f"{line['factor']} {claimed.level} is better"
    limits = caveats(question, line, sweep).text
    answer = f"{answer}, by stability, {_format_certainty(line['p_unstable'])}"
    tested = f"{_format_unstable(line)} ({probability(line['p_unstable'])})"
    means = f"; means are not significantly different: {evidence}" if np.isfinite(line["estimate"]) else ""
    return Answer(question.text, ANSWERED, f"{answer}{limits}", f"{answer}: {tested}{means}{limits}.")


def _answer_alike(question: Question, line: dict[str, Any], sweep: SweepSummary, evidence: str) -> Answer:
    """The answer where all levels are alike within the margin."""
    answer = question.either or f"{line['factor']} makes no relevant difference"
    limits = caveats(question, line, sweep).text
    answer = f"{answer}, {_format_certainty(line['p_alike'])}"
    alike = f"alike within ±{format_margin(sweep)} ({probability(line['p_alike'])}); {evidence}"
    if any(k for _, k, _ in _stability(line)):
        answer += f", of seeds that did not collapse; {_format_unstable(line)}, which is not shown to be alike"
    return Answer(question.text, ANSWERED, f"{answer}{limits}", f"{answer}: {alike}{limits}.")


def _stability(line: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(level, unstable seeds, seeds) of each level; empty for endpoints that stability does not count against."""
    return line["stability"] if isinstance(line["stability"], list) else []


def _format_unstable(line: dict[str, Any]) -> str:
    """As in "0 of 6 seeds diverged or collapsed at 0.005, 2 of 6 at 0.02"; of many levels the sum, the ends and the
    worst."""
    levels = _stability(line)
    if len(levels) <= MOST_LEVELS:
        (first, k, n), *rest = levels
        others = "".join(f", {k} of {n} at {level}" for level, k, n in rest)
        return f"{k} of {n} seeds diverged or collapsed at {first}{others}"
    unstable, seeds = sum(k for _, k, _ in levels), sum(n for _, _, n in levels)
    worst = max(levels, key=lambda level: level[1] / max(1, level[2]))
    named = [f"{k} of {n} at {level}" for level, k, n in (levels[0], levels[-1])]
    if worst not in (levels[0], levels[-1]):
        named.append(f"most, {worst[1]} of {worst[2]}, at {worst[0]}")
    return f"{unstable} of {seeds} seeds diverged or collapsed ({', '.join(named)})"


def _format_alike_power(line: dict[str, Any], sweep: SweepSummary) -> str:
    """With which probability equal levels would have been shown to be alike."""
    if not np.isfinite(line["alike_power"]):
        return ""
    power = f"{100 * line['alike_power']:.0f} %" if line["alike_power"] >= 0.01 else "less than 1 %"
    return f"; equal ones would be shown to be alike within ±{format_margin(sweep)} in {power} of cases"


def _format_inner(inner: dict[str, Any], slope: dict[str, Any]) -> str:
    """The answer where an inner level does better than both end levels."""
    ends = f"{slope['low']} and {slope['high']}"
    return f"{inner['factor']} {inner['high']} does better than {ends}, {_format_certainty(inner['p'])}"


def _format_inner_evidence(inner: dict[str, Any], slope: dict[str, Any], catalogue: Catalogue) -> str:
    return f"{_format_change(inner, catalogue)}{_format_levels(slope)} ({probability(inner['p'])})"


def _format_better_level(line: dict[str, Any], high: bool) -> str:
    """Of more than two levels the trend over all of them, which may not order each pair."""
    ends = (line["low"], line["high"])
    if line["levels"] > 2:
        return f"{'Higher' if high else 'Lower'} {line['factor']} does better"
    return f"{line['factor']} {ends[high]} does better than {ends[not high]}"


def _format_where(line: dict[str, Any], high: bool) -> str:
    """Which step makes most of a trend over more than two levels, where one does: the others are then nearly flat.
    high: whether the high end is better."""
    levels = line["by_level"] if isinstance(line["by_level"], list) else []
    if line["levels"] < 3 or len(levels) < 3:
        return ""
    names, means = [name for name, _ in levels], np.array([mean for _, mean in levels]) * np.sign(line["estimate"])
    if not high:  # from the worse end to the better one
        names, means = names[::-1], -means[::-1]
    steps, gain = np.diff(means), means.max() - means[0]
    largest = int(steps.argmax())
    return f", mostly from {names[largest]} to {names[largest + 1]}" if steps[largest] > MOST_OF_TREND * gain else ""


def _format_certainty(p: float) -> str:
    return next(words for level, words in CERTAINTY if p < level)


def _format_change(line: dict[str, Any], catalogue: Catalogue) -> str:
    """`final return +85 [40, 130] from 1 to 4`."""
    measured = endpoint(line["endpoint"], catalogue)
    title = measured.title
    if measured.rate:
        if _no_flag_raised(line):
            return f"{title}: none of {line['n_low'] + line['n_high']:.0f}"
        counts = [f"{line[f'k_{end}']:.0f} of {line[f'n_{end}']:.0f} at {line[end]}" for end in ("low", "high")]
        return f"{title}: {', '.join(counts)}, {_format_points(line)}"
    if not math.isfinite(line["estimate"]):
        return f"{title}: no two finished seeds to compare at {line['low']} and {line['high']}"
    trend = " along the trend" if line["levels"] > 2 and not line["inner"] else ""
    return f"{title} {signed(line)}{trend} from {line['low']} to {line['high']}"


def _no_flag_raised(line: dict[str, Any]) -> bool:
    """Whether the endpoint counts runs with a flag and no run has it."""
    return bool(line["k_low"] + line["k_high"] == 0)


def _format_points(line: dict[str, Any]) -> str:
    points = {name: 100 * line[name] for name in ("estimate", "ci_low", "ci_high")}
    return f"{signed(points)} percentage points"


def _format_levels(line: dict[str, Any]) -> str:
    """The mean of every level, where there are more than two."""
    levels = line["by_level"]
    if line["levels"] < 3 or not isinstance(levels, list) or len(levels) < 3:
        return ""
    means = [mean for _, mean in levels]
    half = min((line["ci_high"] - line["ci_low"]) / 2, max(means) - min(means))  # digits that tell the means apart
    texts = [f"{name}: {number(mean, half)}" for name, mean in levels]
    if len(texts) > MOST_LEVELS:
        texts = [*texts[: MOST_LEVELS // 2], "...", *texts[-MOST_LEVELS // 2 :]]
    return f", means {', '.join(texts)}"


def _format_needed(line: dict[str, Any], sweep: SweepSummary) -> str:
    """How many more seeds would answer the question, and the minimum detectable difference."""
    if not math.isfinite(line["p"]):
        return "the seeds have no spread, so nothing can be tested"
    more = line["needed"] - median_seeds(sweep)
    seeds = f"{more:.0f} more seeds" if math.isfinite(more) else f"more than {estimates.MOST_SEEDS} seeds"
    needs = (
        f"needs {seeds} for a difference of this size"
        if more > 0
        else "not significant after the correction for several tests"
    )
    leaning = "significant without correction, but " if line["p_raw"] < estimates.ALPHA else ""
    detectable = line["detectable"]
    power = f"; minimum detectable difference {number(detectable)}" if math.isfinite(detectable) else ""
    return f"{leaning}{needs}{power}"


def not_evaluated_late(sweep: SweepSummary) -> str:
    """Why runs that are done have no final result; "" where none is done."""
    if not (sweep.runs["state"] == DONE).any():
        return ""
    return f"no run was evaluated in the last {100 * LAST_SHARE:.0f} % of training"


def median_seeds(sweep: SweepSummary) -> int:
    """Median over the configurations of the number of finished seeds."""
    return int(sweep.ranking["final_primary_n"].median())


# --- secondary endpoints and flags ----------------------------------------------------------------------


def _format_secondary(question: Question, lines: pd.DataFrame, catalogue: Catalogue) -> Iterator[str]:
    """The contrasts on secondary endpoints, in one sentence."""
    parts = []
    for name in question.on[1:]:
        for line in lines[lines["endpoint"] == name].to_dict("records"):
            of = f"{line['factor']}: " if len(question.by) != 1 else ""
            significance = f", significant ({probability(line['p'])})" if line["distinct"] else ", not significant"
            parts.append(f"{of}{_format_change(line, catalogue)}{'' if _no_flag_raised(line) else significance}")
    if parts:
        yield f"Secondary: {'; '.join(parts)}."


def _format_flags(question: Question, sweep: SweepSummary) -> Iterator[str]:
    """Flags whose odds differ significantly between the levels of the question's factors."""
    odds = sweep.effects.odds
    titles = {d.name: d.title for d in flags.DETECTORS}
    endpoints = {endpoint(name, sweep.source.agent.catalogue).column for name in question.on}
    for line in odds[odds["distinct"].astype(bool)].to_dict("records"):
        if line["factor"] in question.by and line["flag"] not in endpoints:
            title = titles[line["flag"]]
            yield (f"{title[0].upper()}{title[1:]}: {line['raised_low']} of {line['n_low']} runs at {line['low']}, "
                   f"{line['raised_high']} of {line['n_high']} at {line['high']}.")  # fmt: skip
