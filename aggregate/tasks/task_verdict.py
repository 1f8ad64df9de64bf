"""The analysis across tasks in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aggregate.tasks.analysis import BEHIND, NO_REFERENCE, SINGLE, TaskAnalysis
from aggregate.verdict.number_format import estimate, probability, signed_estimate
from aggregate.verdict.verdict import Verdict
from sweepwise.core.value_format import listed

MOST_NAMED = 5  # tasks or algorithms that a sentence names
FEW_TASKS = 10  # below these the measured coverage is lower where runs collapse
CAUTION = "Benchmarks are no random sample of tasks"


def verdict(analysis: TaskAnalysis) -> Verdict:
    """The verdict on the mean normalised score. Its headline names the best algorithm and what holds against it."""
    points = [
        ("Other algorithms", _others(analysis)),
        ("Single tasks", _single_tasks(analysis)),
        ("Tasks like these", _similar(analysis)),
        ("Missing", _missing(analysis)),
        ("Precision", _precision(analysis)),
        ("Next", analysis.next_command),
    ]
    return Verdict(_headline(analysis), (), tuple(point for point in points if point[1]))


def _headline(analysis: TaskAnalysis) -> str:
    if analysis.pairs.empty:
        return "No two algorithms have results of the same tasks with a reference, so nothing can be compared."
    if not analysis.common:
        return f"No task has results of all {len(analysis.algorithms)} algorithms: only pairs are compared."
    best, count = analysis.algorithms[0], len(analysis.common)
    own = analysis.aggregates[
        (analysis.aggregates["algorithm"] == best) & (analysis.aggregates["name"] == "mean")
    ].iloc[0]
    mean = estimate(own["estimate"], own["low"], own["high"])
    rivals = [line for line in analysis.pairs.to_dict("records") if line["a"] == best]
    above = [line["b"] for line in rivals if line["distinct"] and line["difference"] < 0]  # on more tasks than `count`
    equal = [line["b"] for line in rivals if not line["distinct"]]
    others = "each of the others" if len(rivals) > 1 else rivals[0]["b"]
    task_count = analysis.runs["task"].nunique()
    tasks = f"these {count}" if count == task_count else f"{count} of {task_count}"
    texts = [f"On {tasks} tasks {best} has the highest mean normalised score, {mean}"]
    if equal:
        texts.append(f"{_listed(equal)} {'do' if len(equal) > 1 else 'does'} not differ significantly from it")
    if above:
        texts.append(f"{_listed(above)} {'are' if len(above) > 1 else 'is'} better on the tasks that both have")
    claim = "; ".join(texts) if len(texts) > 1 else f"{texts[0]}: better than {others}"
    return f"{claim}. {_other_way(rivals[0])}."


def _other_way(second: Mapping[str, Any]) -> str:
    """On how many tasks the second best is ahead of the best."""
    if not second["behind"]:
        return f"{second['b']} is ahead on no task"
    clear = f"on {second['clear_behind']} of them" if second["clear_behind"] else "on none of them"
    return f"{second['b']} is ahead on {second['behind']} of {second['tasks']} tasks, significantly {clear}"


def _others(analysis: TaskAnalysis) -> str:
    """Every algorithm against the best."""
    if analysis.pairs.empty:
        return ""
    best = analysis.algorithms[0]
    texts = []
    for line in analysis.pairs[analysis.pairs["a"] == best].to_dict("records"):
        text = signed_estimate(line["difference"], line["low"], line["high"])
        p = f", {probability(line['p'])}" if math.isfinite(line["p"]) else ", without any spread"
        texts.append(
            f"{best} \N{MINUS SIGN} {line['b']}: {text}{p}, on {line['tasks']} task{'s' if line['tasks'] > 1 else ''}"
        )
    pairs = len(analysis.pairs)
    corrections = [f"by Holm over {pairs} pairs"] if pairs > 1 else []
    corrections += [f"for {analysis.analyses} interim analyses"] if analysis.analyses > 1 else []
    by = f" p values are corrected {' and '.join(corrections)}." if corrections else ""
    return f"{listed(texts, MOST_NAMED, '; ')}.{by}" if texts else ""


def _single_tasks(analysis: TaskAnalysis) -> str:
    """The tasks where it goes the other way."""
    if analysis.pairs.empty:
        return ""
    best = analysis.algorithms[0]
    worse = analysis.by_task[(analysis.by_task["a"] == best) & (analysis.by_task["relation"] == BEHIND)]
    texts = [f"{name} is better than {best} on {listed(own.sort_values('difference')['task'].tolist(), MOST_NAMED)}"
             for name, own in worse.groupby("b", sort=False)]  # fmt: skip
    rule = "5 % of such findings over the tasks of a pair are expected to be false."
    if not texts:
        return f"No algorithm is significantly better than {best} on any single task; {rule}"
    return f"{'; '.join(texts)}. {rule}"


def _similar(analysis: TaskAnalysis) -> str:
    """The claim beyond these tasks, about the best and the second."""
    own = analysis.pairs[analysis.pairs["a"] == analysis.algorithms[0]] if analysis.algorithms else analysis.pairs
    if own.empty or not math.isfinite(own.iloc[0]["similar_p"]):
        return ""
    line = own.iloc[0]
    text = signed_estimate(line["similar"], line["similar_low"], line["similar_high"])
    p = probability(line["similar_p"])
    return (
        f"If these tasks were drawn at random, {line['a']} \N{MINUS SIGN} {line['b']} would be {text}, {p}. {CAUTION}."
    )


def _missing(analysis: TaskAnalysis) -> str:
    texts = []
    frame = analysis.missing
    unknown = list(frame.loc[frame["reason"] == NO_REFERENCE, "task"])
    if unknown:
        verbs = "have no reference and are" if len(unknown) > 1 else "has no reference and is"
        texts.append(f"{listed(unknown, MOST_NAMED)} {verbs} left out: --references FILE names the results that count "
                     "as 0 and 1")  # fmt: skip
    unusable = frame[(frame["algorithm"] == "") & (frame["reason"] != NO_REFERENCE)]
    for reason, own in unusable.groupby("reason", sort=False):
        texts.append(
            f"{listed(own['task'].tolist(), MOST_NAMED)} {'is' if len(own) == 1 else 'are'} left out: {reason}"
        )
    for (name, reason), own in frame[frame["algorithm"] != ""].groupby(["algorithm", "reason"], sort=False):
        tasks = listed(own["task"].tolist(), MOST_NAMED)
        if reason == "no runs":
            texts.append(f"{name} has no runs of {tasks}")
        elif reason == SINGLE:
            every = len(own) == (analysis.cells.loc[analysis.cells["algorithm"] == name, "n"] > 0).sum()
            spread = "so that there is no interval" if every else "whose spread is taken from its other tasks"
            texts.append(f"{name} has a single run of {tasks}, {spread}")
        else:
            count = int(own["runs"].sum())
            texts.append(f"{count} {'runs' if count > 1 else 'run'} of {name} without a result ({reason}): {tasks}")
    left_out = len(analysis.tasks) - len(analysis.common)
    if texts and left_out and analysis.common:
        texts.append(f"aggregates are over the {len(analysis.common)} tasks of which all algorithms have results")
    return f"{'; '.join(texts)}." if texts else ""


def _precision(analysis: TaskAnalysis) -> str:
    if not 0 < len(analysis.common) < FEW_TASKS:
        return ""
    return (
        f"With fewer than {FEW_TASKS} tasks, intervals have 95 % coverage only if seeds are near-normal; docs/tasks.md "
        "has the coverage that was measured otherwise."
    )


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMED or len(names) < 2:
        return listed(names, MOST_NAMED)
    return f"{', '.join(names[:-1])} and {names[-1]}"
