"""The documents of `sweeps aggregate --json` and `compare --json`, see `jobs.terminal.documents`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.terminal.documents import Document

if TYPE_CHECKING:
    from aggregate.analysis.summary import SweepSummary
    from aggregate.tasks.analysis import TaskAnalysis
    from aggregate.verdict.compare_two import Comparison
    from aggregate.verdict.verdict import Verdict
    from jobs.reports.compare import Side
    from jobs.reports.report import Judged


def judged(results: Judged) -> Document:
    """The verdict across tasks and of every sweep, with the results that it is about."""
    return {
        "files": results.files,
        "across_tasks": _across_tasks(results.across) if results.across is not None else None,
        "sweeps": [_sweep(sweep) for sweep in results.summary.sweeps if sweep.source.name not in results.left_out],
        "left_out": results.left_out,
    }


def _sweep(sweep: SweepSummary) -> Document:
    from aggregate.verdict.verdict import verdict
    from aggregate.verdict.words import words

    judgement = verdict(sweep)
    return {
        "name": sweep.source.name,
        "result": words(sweep).final,
        **_verdict(judgement),
        "answers": [_answer(answer) for answer in judgement.answers],
        **_ranking(sweep),
    }


def _answer(answer: Any) -> Document:
    return {
        "question": answer.question, "state": answer.state, "answer": answer.short, "text": answer.text,
        "seeds_needed": answer.needed, "missing_sweeps": answer.missing,
    }  # fmt: skip


def _verdict(judgement: Verdict) -> Document:
    return {
        "headline": judgement.headline,
        "points": [{"topic": topic, "text": text} for topic, text in judgement.points],
    }


def _ranking(sweep: SweepSummary) -> Document:
    """The configurations, best first; none where no run has finished."""
    from aggregate.verdict.leader import leaderboard
    from sweepwise.core.errors import AggregateError

    try:
        board = leaderboard(sweep)
    except AggregateError:
        return {"best": None, "adoptable": False, "configurations": []}
    relations = {rival.config_id: rival.relation for rival in board.rivals}
    ranked = [board.leader, *(final for final in board.finals.values() if final is not board.leader)]
    return {
        "best": board.leader.config_id,
        "adoptable": board.clear,
        "configurations": [
            {
                **dataclasses.asdict(final),
                "is_baseline": final.config_id == board.baseline,
                "relation": relations.get(final.config_id),
            }
            for final in ranked
        ],
    }


def _across_tasks(analysis: TaskAnalysis) -> Document:
    from aggregate.tasks import task_verdict

    return {
        **_verdict(task_verdict.verdict(analysis)),
        "algorithms": analysis.algorithms,
        "tasks": analysis.common,
        "aggregates": analysis.aggregates[["algorithm", "name", "estimate", "low", "high"]].to_dict("records"),
    }


def comparison(sweep: SweepSummary, result: Comparison, sides: Sequence[Side], out: Path | None) -> Document:
    """out: the report of both, None for none."""
    from aggregate.flags import BY_NAME
    from aggregate.verdict.words import words
    from jobs.reports.compare import differing

    a, b = (sweep.config(name).config for name in (result.a, result.b))
    return {
        "a": _side(sweep, result.a, sides[0]),
        "b": _side(sweep, result.b, sides[1]),
        "endpoints": [_endpoint(line, words(sweep).outcomes) for line in result.endpoints.to_dict("records")],
        "claims": result.claims,
        "flags": [
            {
                "flag": line["flag"],
                "title": BY_NAME[line["flag"]].title,
                "a": {"raised": line["a_raised"], "assessable": line["a_assessable"]},
                "b": {"raised": line["b_raised"], "assessable": line["b_assessable"]},
            }
            for line in result.flags.to_dict("records")
        ],
        "differences": [{"key": key, "a": one, "b": other} for key, (one, other) in differing(a, b).items()],
        "report": out,
    }


def _side(sweep: SweepSummary, config_id: str, side: Side) -> Document:
    config = sweep.config(config_id)
    return {
        "config_id": config_id, "label": config.name, "agent_version": config.version,
        "best_of": side.text if side.is_sweep else None,
    }  # fmt: skip


def _endpoint(line: Mapping[str, Any], outcomes: Mapping[str, str]) -> Document:
    sides = {side: {part: line[f"{side}_{part}"] for part in ("mean", "low", "high", "n")} for side in "ab"}
    return {
        "endpoint": line["outcome"],
        "title": outcomes[line["outcome"]],
        **sides,
        "difference": {"estimate": line["difference"], "low": line["d_low"], "high": line["d_high"]},
        "p": line["p"],
        "permutation_p": line["permutation"],
        "b_better": line["better"],
    }
