"""What is read first: the next command of a sweep, and the table of several sweeps."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from aggregate.analysis.summary import SweepSummary
from aggregate.inputs.runs import DIVERGED, DONE
from aggregate.verdict.answers import OPEN, Answer
from aggregate.verdict.leader import Leaderboard, Recommended, leaderboard, leading_interval, recommended
from aggregate.verdict.number_format import estimate, signed_estimate
from aggregate.verdict.stability import MOST_NAMED, count_unstable, with_unstable_seeds
from aggregate.verdict.verdict import Verdict, verdict
from aggregate.verdict.words import words
from sweepwise.core.errors import AggregateError
from sweepwise.core.value_format import format_value, listed

NEXT = "Next"  # the topic of the verdict that is shown above all others
_COMMAND = re.compile(r"(sweeps [^,:;]+)[,:;]?\s*(.*)", re.DOTALL)


class NextStep(NamedTuple):
    """command: to copy, "" where there is none. text: why, or what to do instead."""

    command: str
    text: str


def next_step(verdict: Verdict) -> NextStep:
    """What the verdict says comes next."""
    text = dict(verdict.points).get(NEXT, "")
    if match := _COMMAND.fullmatch(text):
        return NextStep(match[1], match[2])
    return NextStep("", text)


def answered_first(answers: Iterable[Answer]) -> list[Answer]:
    """Answers in full or in part, then open questions, each in the given order."""
    return sorted(answers, key=lambda answer: answer.state == OPEN)


def first_screen(sweep: SweepSummary) -> dict[str, Any]:
    """The values of the template that the first screen shows."""
    judged = verdict(sweep)
    return {
        "verdict": judged,
        "next": next_step(judged),
        "answers": answered_first(judged.answers),
        "line": sweep_line(sweep, judged),
        "unstable": _unstable(sweep),
    }


def _unstable(sweep: SweepSummary) -> str:
    """The configurations with seeds that diverged or collapsed, the largest share first."""
    texts = [
        f"{sweep.config(line['config_id']).name}: {count_unstable(sweep, line['config_id'])}"
        for line in with_unstable_seeds(sweep)
    ]
    return listed(texts, MOST_NAMED, "; ")


def totals(sweeps: Sequence[SweepSummary]) -> str:
    """How many sweeps, configurations and runs there are, each run counted once, and the states of the runs."""
    every = pd.concat([sweep.runs[["config_id", "seed", "state"]] for sweep in sweeps], ignore_index=True)
    runs = every.drop_duplicates(["config_id", "seed"])
    by_state = ", ".join(f"{number:,} {state}" for state, number in runs["state"].value_counts().items())
    counts = {"sweep": len(sweeps), "configuration": runs["config_id"].nunique(), "run": len(runs)}
    counted = ", ".join(f"{number:,} {what}{'' if number == 1 else 's'}" for what, number in counts.items())
    return f"{counted}: {by_state}"


def first_command(sweeps: Sequence[Mapping[str, Any]]) -> tuple[str, NextStep] | None:
    """(sweep, its next command) to run first: one that trains failed or missing runs, else that of the first sweep that
    has a command. sweeps: the values of each for the template."""
    steps = [(sweep["source"].name, sweep["next"]) for sweep in sweeps if sweep["next"].command]
    return min(steps, key=lambda step: not step[1].command.startswith("sweeps rerun"), default=None)


class RecommendedRow(NamedTuple):
    """Texts of a hyperparameter of the recommended configuration. changed: whether it differs from the baseline."""

    key: str
    value: str
    baseline: str
    why: str
    changed: bool


def recommended_rows(sweeps: Sequence[SweepSummary]) -> list[RecommendedRow]:
    """See `recommended`; empty where no sweep has decided anything."""
    recommendations = recommended(sweeps)
    if not any(line.decided for line in recommendations):
        return []
    lacking = {sweep.source.name for sweep in sweeps if _count_missing(sweep)}
    return [
        RecommendedRow(
            line.key, format_value(line.value), format_value(line.baseline), _why(line, lacking),
            line.value != line.baseline,
        )
        for line in recommendations
    ]  # fmt: skip


def _why(line: Recommended, lacking: Collection[str]) -> str:
    """lacking: the names of sweeps whose runs have not all finished."""
    if line.conflicts:
        each = ", ".join(f"{sweep} recommends {format_value(value)}" for sweep, value in line.decided.items())
        return f"{each}: the baseline's value is kept"
    used = [sweep for sweep in line.decided if sweep not in line.unused]
    if used:
        return "best in " + ", ".join(
            f"{sweep}, whose runs have not all finished" if sweep in lacking else sweep for sweep in used
        )
    if line.decided:
        each = ", ".join(
            f"{sweep} recommends {format_value(line.decided[sweep])} together with a value of {key} on which another "
            "sweep differs"
            for sweep, key in line.unused.items()
        )
        return f"{each}: the baseline's value is kept"
    return f"no best configuration yet in {', '.join(line.undecided)}"


class QuestionAnswers(NamedTuple):
    """A question with the answers of all sweeps that ask it. state: of the first answer in full or in part. answers:
    (values of the sweep for the template, its answer)."""

    question: str
    state: str
    answers: list[tuple[Mapping[str, Any], Answer]]


def by_question(sections: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[QuestionAnswers]]]:
    """(heading, questions), those that a sweep answers first. sections: the values of each sweep for the template."""
    given: dict[str, list[tuple[Mapping[str, Any], Answer]]] = {}
    for section in sections:
        for answer in section["verdict"].answers:
            given.setdefault(answer.question, []).append((section, answer))
    entries = [
        QuestionAnswers(question, answered_first(answer for _, answer in answers)[0].state, answers)
        for question, answers in given.items()
    ]
    headed = [
        ("Answered", [one for one in entries if one.state != OPEN]),
        ("Not answered", [one for one in entries if one.state == OPEN]),
    ]
    return [(heading, questions) for heading, questions in headed if questions]


def _count_missing(sweep: SweepSummary) -> int:
    return int((~sweep.runs["state"].isin([DONE, DIVERGED])).sum())


def sweep_line(sweep: SweepSummary, verdict: Verdict) -> Mapping[str, Any]:
    """A sweep in the table of all: texts of its best configuration, final result (named `final`) with interval and
    seeds, difference from the baseline, number of configurations not significantly different from the best one,
    unstable seeds, runs without a result."""
    line = {
        "final": words(sweep).final, "best": "", "mean": "", "over_baseline": "", "ties": "", "unstable": "",
        "missing": str(_count_missing(sweep)), "next": next_step(verdict),
    }  # fmt: skip
    try:
        board = leaderboard(sweep)
    except AggregateError:
        return line
    return {
        **line,
        "best": board.leader.label,
        "mean": f"{estimate(board.leader.mean, *leading_interval(sweep))}, n={board.leader.seeds}",
        "over_baseline": "is the baseline"
        if board.leader.config_id == board.baseline
        else _over_baseline(sweep, board),
        "ties": f"{len(board.ties)} of {len(board.rivals)}",
        "unstable": f"{int(sweep.contrasts['unstable'].sum())} of {int(sweep.contrasts['starts'].sum())}",
    }


def _over_baseline(sweep: SweepSummary, board: Leaderboard) -> str:
    """The difference of the best configuration from the baseline, "" where none is known."""
    for line in sweep.baseline.to_dict("records"):
        if line["config_id"] == board.leader.config_id:
            return signed_estimate(line["difference"], line["low"], line["high"])
    return ""
