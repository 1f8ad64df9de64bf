"""The plan's questions answered in words: from effects and intervals, with how sure, or what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aggregate import flags
from aggregate.analysis.question_contrasts import asked
from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.plan_questions import ENDPOINTS, Question
from aggregate.statistics import estimates
from aggregate.verdict.caveats import caveats
from aggregate.verdict.number_format import number, probability, signed

SURE = ((0.001, "very sure"), (0.01, "sure"), (estimates.ALPHA, "fairly sure"))  # p after the correction
OPEN, PART, ANSWERED = "not answered", "answered in part", "answered"


@dataclass(frozen=True)
class Answer:
    """question: as the plan words it. state: `OPEN`, `PART` or `ANSWERED`. short: the answer
    without its evidence. text: what is known. beside: what further
    endpoints, other factors and flags say. needed: seeds a configuration that would answer what is open, NaN where
    that is not known. missing: sweeps it needs that were not submitted."""

    question: str
    state: str
    short: str
    text: str
    beside: str = ""
    needed: float = math.nan
    missing: tuple[str, ...] = ()


def answers(sweep: SweepSummary) -> tuple[Answer, ...]:
    """One per question of the plan, in its order, then one for what it does not ask about."""
    found = sweep.replies
    return tuple(
        _answer(question, found[found["question"] == number], sweep)
        for number, question in enumerate(asked(sweep.source))
    )


def _answer(question: Question, lines: pd.DataFrame, sweep: SweepSummary) -> Answer:
    missing = tuple(name for name in question.beside if not sweep.source.beside.get(name))
    deciding = lines[lines["deciding"].astype(bool)]
    if deciding.empty:
        said = f"Not answered: {_why_not(question, sweep, missing)}"
        return Answer(question.text, OPEN, said, f"{said}.", missing=missing)
    split = [own for _, own in deciding.groupby("axis", sort=False)]
    parts = [_part(question, own, sweep, several=len(split) > 1) for own in split]
    known = [part.state == ANSWERED for part in parts]
    held = f" Compared at equal {' and '.join(question.alike)}." if question.alike else ""
    held += f" The runs of {' and '.join(missing)} are missing." if missing else ""
    needed = [part.needed for part in parts if np.isfinite(part.needed)]
    return Answer(
        question=question.text,
        state=ANSWERED if all(known) else PART if any(known) else OPEN,
        short="; ".join(part.short for part in parts),
        text=" ".join(part.text for part in parts) + held,
        beside=" ".join([*_beside(question, lines), *_flagged(question, sweep)]),
        needed=min(needed, default=math.nan),
        missing=missing,
    )


def _why_not(question: Question, sweep: SweepSummary, missing: tuple[str, ...]) -> str:
    if missing:
        return f"needs the runs of {' and '.join(missing)}, which was not submitted"
    finished = sweep.scores[sweep.scores["complete"].astype(bool)]
    if finished.empty:
        return "no run has finished"
    endpoint = ENDPOINTS[question.on[0]]
    if not endpoint.rate and finished[endpoint.column].isna().all():
        return f"no finished run has enough evaluations for {endpoint.title}"
    return "needs at least two finished seeds on both sides, in configurations that differ in nothing else"


# --- what decides ---------------------------------------------------------------------------------------


def _part(question: Question, lines: pd.DataFrame, sweep: SweepSummary, *, several: bool) -> Answer:
    """From the lines of one factor: its slope, and the levels between its ends."""
    line = next(iter(lines[lines["inner"] == ""].to_dict("records")))
    inner = lines[(lines["inner"] != "") & lines["distinct"].astype(bool)].sort_values("p").to_dict("records")
    if inner:
        hidden = caveats(line, sweep, inner[0]["high"])
        said = _in_between(inner[0], line)
        return Answer(question.text, ANSWERED, f"{said}{hidden}", f"{said}: {_inner_evidence(inner[0], line)}{hidden}.")
    better = ENDPOINTS[line["endpoint"]].better
    family = int((sweep.replies["family"] == line["family"]).sum())
    chance = f"{probability(line['p'])}{f', Holm over {family}' if family > 1 else ''}"
    evidence = f"{_change(line)}{_by_level(line)} ({chance})"
    if line["distinct"]:
        high = (line["estimate"] > 0) == (better == "up")
        said = (question.high if high else question.low) or _which(line, high)
        hidden = caveats(line, sweep, line["high"] if high else line["low"])
        said = f"{said}{' on average' if hidden else ''}, {_sure(line['p'])}"
        return Answer(question.text, ANSWERED, f"{said}{hidden}", f"{said}: {evidence}{hidden}.")
    said = f"{line['factor']} not answered" if several else "Not answered"
    lack = _lack(line, sweep)
    hidden = caveats(line, sweep)
    short = f"{said}: {lack.partition(';')[0]}{hidden}"
    return Answer(question.text, OPEN, short, f"{said}: {evidence}; {lack}{hidden}.", needed=line["needed"])


def _in_between(inner: dict[str, Any], slope: dict[str, Any]) -> str:
    """The answer where a level between the ends does better than both."""
    return f"{inner['factor']} {inner['high']} does better than {slope['low']} and {slope['high']}, {_sure(inner['p'])}"


def _inner_evidence(inner: dict[str, Any], slope: dict[str, Any]) -> str:
    return f"{_change(inner)}{_by_level(slope)} ({probability(inner['p'])})"


def _which(line: dict[str, Any], high: bool) -> str:
    ends = (line["low"], line["high"])
    return f"{line['factor']} {ends[high]} does better than {ends[not high]}"


def _sure(p: float) -> str:
    return next(words for level, words in SURE if p < level)


def _change(line: dict[str, Any]) -> str:
    """`final return +85 [40, 130] from 1 to 4`."""
    title = ENDPOINTS[line["endpoint"]].title
    if ENDPOINTS[line["endpoint"]].rate:
        if _none(line):
            return f"{title}: none of {line['n_low'] + line['n_high']:.0f}"
        counts = [f"{line[f'k_{end}']:.0f} of {line[f'n_{end}']:.0f} at {line[end]}" for end in ("low", "high")]
        return f"{title}: {', '.join(counts)}, {_points(line)}"
    return f"{title} {signed(line)} from {line['low']} to {line['high']}"


def _none(line: dict[str, Any]) -> bool:
    """Whether it is about runs with a flag, and there are none."""
    return bool(line["k_low"] + line["k_high"] == 0)


def _points(line: dict[str, Any]) -> str:
    points = {name: 100 * line[name] for name in ("estimate", "ci_low", "ci_high")}
    return f"{signed(points)} percentage points"


def _by_level(line: dict[str, Any]) -> str:
    """The means of the levels, where there are more than the two that are named."""
    levels = line["by_level"]
    if line["levels"] < 3 or not isinstance(levels, list) or len(levels) < 3:
        return ""
    half = (line["ci_high"] - line["ci_low"]) / 2
    return f" ({', '.join(f'{name}: {number(mean, half)}' for name, mean in levels)})"


def _lack(line: dict[str, Any], sweep: SweepSummary) -> str:
    """What would answer it."""
    if not math.isfinite(line["p"]):
        return "the seeds do not differ, so nothing says what chance does"
    more = line["needed"] - seeds(sweep)
    enough = f"{more:.0f} more seeds" if math.isfinite(more) else f"more than {estimates.MOST_SEEDS} seeds"
    needs = f"needs {enough} for a difference of this size" if more > 0 else "undone by the correction for several"
    leaning = "it leans that way, but " if line["p_raw"] < estimates.ALPHA else ""
    seen = f"; {number(line['detectable'])} would be seen" if math.isfinite(line["detectable"]) else ""
    return f"{leaning}{needs}{seen}"


def seeds(sweep: SweepSummary) -> int:
    """Finished seeds of a configuration, the median."""
    return int(sweep.ranking["final_planner_n"].median())


# --- what stands beside it ------------------------------------------------------------------------------


def _beside(question: Question, lines: pd.DataFrame) -> Iterator[str]:
    """What the further endpoints say, in one sentence."""
    told = []
    for endpoint in question.on[1:]:
        for line in lines[lines["endpoint"] == endpoint].to_dict("records"):
            of = f"{line['factor']}: " if len(question.by) != 1 else ""
            beyond = f", beyond chance ({probability(line['p'])})" if line["distinct"] else ", not beyond chance"
            told.append(f"{of}{_change(line)}{'' if _none(line) else beyond}")
    if told:
        yield f"Secondary: {'; '.join(told)}."


def _flagged(question: Question, sweep: SweepSummary) -> Iterator[str]:
    """Flags that go with its factors."""
    odds = sweep.effects.odds
    titles = {d.name: d.title for d in flags.DETECTORS}
    told = {ENDPOINTS[name].column for name in question.on}
    for line in odds[odds["distinct"].astype(bool)].to_dict("records"):
        if line["factor"] in question.by and line["flag"] not in told:
            title = titles[line["flag"]]
            yield (f"{title[0].upper()}{title[1:]}: {line['raised_low']} of {line['n_low']} runs at {line['low']}, "
                   f"{line['raised_high']} of {line['n_high']} at {line['high']}.")  # fmt: skip
