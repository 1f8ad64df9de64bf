"""`sweeps compare` of two sweeps as wholes and of two runs, as text and as documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from jobs.reports.compare_runs import MOST_LINES, TwoRuns
from jobs.terminal.table import Table
from jobs.terminal.tables import table, wrap_lines

if TYPE_CHECKING:
    from aggregate.comparison.two_sweeps import TwoSweeps

Document = dict[str, Any]


def whole_sweeps(two_sweeps: TwoSweeps, places: Sequence[str], width: int) -> Iterator[Table | Text]:
    """places: what A and B are, such as the name of a sweep and its results folder."""
    from aggregate.comparison.two_sweeps import format_two_sweeps
    from aggregate.verdict.number_format import number, short_probability, signed_estimate

    for name, place, sweep in zip("AB", places, (two_sweeps.a, two_sweeps.b), strict=True):
        count = len(sweep.source.configs)
        yield from wrap_lines(f"{name}  {place}, {count} configurations, {len(sweep.runs)} runs", width, style="bold")
    columns = ("configuration", "seeds", "A", "B", "B - A", "p", "same", "unstable A", "unstable B")
    result = table(*columns, right=columns[1:])
    for line in two_sweeps.pairs.to_dict("records"):
        half = (line["high"] - line["low"]) / 2
        means = [number(line[f"{side}_mean"], half) for side in "ab"]
        unstable = [f"{line[f'{side}_unstable']}/{line[f'{side}_starts']}" for side in "ab"]
        tested = [signed_estimate(line["difference"], line["low"], line["high"]), short_probability(line["p"])]
        result.add_row(line["label"], str(line["n"]), *means, *tested, str(line["identical"]), *unstable)
    yield result
    for text in format_two_sweeps(two_sweeps):
        yield from wrap_lines(text, width)


def whole_sweeps_document(two_sweeps: TwoSweeps, places: Sequence[str]) -> Document:
    from aggregate.comparison.two_sweeps import format_two_sweeps

    mean = two_sweeps.mean
    half = float(mean.half_width()) if mean is not None else None
    pairs = [
        {
            "label": line["label"],
            **{side: {"config_id": line[side], "mean": line[f"{side}_mean"], "unstable": line[f"{side}_unstable"],
                      "starts": line[f"{side}_starts"]} for side in "ab"},
            "n": line["n"],
            "difference": {"estimate": line["difference"], "low": line["low"], "high": line["high"]},
            "p": line["p"],
            "identical": line["identical"],
        }
        for line in two_sweeps.pairs.to_dict("records")
    ]  # fmt: skip
    return {
        "a": {"sweep": places[0], "only": list(two_sweeps.only_a)},
        "b": {"sweep": places[1], "only": list(two_sweeps.only_b)},
        "pairs": pairs,
        "mean": None if mean is None or half is None else {
            "estimate": float(mean.estimate), "low": float(mean.estimate) - half, "high": float(mean.estimate) + half,
            "p": float(mean.p),
        },
        "differences": [{"key": key, "a": one, "b": two} for key, (one, two) in two_sweeps.differ.items()],
        "origins": [{"kind": kind, "a": one, "b": two} for kind, (one, two) in two_sweeps.origins.items()],
        "claims": list(format_two_sweeps(two_sweeps)),
    }  # fmt: skip


def two_runs(runs: TwoRuns, with_code: bool) -> Iterator[str]:
    """with_code: also the lines of the code that differ."""
    for name, one in (("A", runs.a), ("B", runs.b)):
        yield f"{name}  {one.ref} in {one.store.root}"
    yield from runs.differences()
    if with_code:
        lines = list(runs.code_difference())
        yield from lines[:MOST_LINES]
        if len(lines) > MOST_LINES:
            yield f"... {len(lines) - MOST_LINES:,} more lines"


def two_runs_document(runs: TwoRuns, with_code: bool) -> Document:
    return {
        **{name: {"run": str(one.ref), "results": str(one.store.root), "code": one.attempt.code or None,
                  "commit": one.attempt.commit} for name, one in (("a", runs.a), ("b", runs.b))},
        "differences": list(runs.differences()),
        "changed_files": runs.changed_files,
        "code_difference": list(runs.code_difference()) if with_code else None,
    }  # fmt: skip
