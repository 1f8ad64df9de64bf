"""Steps that stand more than once under one seed: repeated lines, several runs, or a run that was resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aggregate.importers.faults import CurveImportError, Faults


class CurveKey(NamedTuple):
    """Identifies a curve."""

    algorithm: str
    task: str
    seed: int

    def __str__(self) -> str:
        return f"{self.algorithm}, {self.task}, seed {self.seed}"


class CurveRow(NamedTuple):
    """Values of one seed at one place of a file. step: in agent steps. where: file and line."""

    key: CurveKey
    step: int
    values: dict[str, float]
    time: float | None
    where: str


def split_runs(rows: Sequence[CurveRow], faults: Faults, runs_follow: bool = False) -> Iterator[list[CurveRow]]:
    """The rows of one key, each step and metric once: one list, or one for each run under its seed. runs_follow: the
    file is known to hold run after run without naming them.

    Raises `CurveImportError` for a repeated step that `faults` does not accept.
    """
    if _first_repeated(rows) is None:
        yield list(rows)
        return
    blocks = _blocks(_without_repeats(rows, faults))
    left: list[list[CurveRow]] = []
    for block in blocks:
        kept = block if runs_follow else _without_known(block, left, faults)
        if kept:
            left.append(kept)
    runs: list[list[CurveRow]] = []
    for block in left:
        repeated = _first_repeated([*runs[-1], *block]) if runs else None
        if not runs or repeated is not None:
            _place(runs, block, repeated, faults, runs_follow)
        else:
            runs[-1] += block  # an unsorted file
    yield from runs


def _place(
    runs: list[list[CurveRow]], block: list[CurveRow], repeated: CurveRow | None, faults: Faults, runs_follow: bool
) -> None:
    """Add a block whose steps stand in the run before it as a run of its own, or as that run's continuation."""
    if not runs or runs_follow or repeated is None:
        runs.append(block)
        return
    begins_later = block[0].step > min(row.step for row in runs[-1])
    what = f"step {repeated.step:,} of {repeated.key} occurs twice: two runs, or one that was resumed"
    if "resumed" in faults.accepted and (begins_later or "two-runs" not in faults.accepted):
        start = block[0].step
        faults.meet(
            "resumed", block[0].where, what, f"{repeated.key} continues from step {start:,}, the later line counts"
        )
        runs[-1] = [row for row in runs[-1] if row.step < start] + block
        return
    other = ", --accept resumed keeps the later lines; or tell seeds apart with --map seed=COLUMN or {seed} in --path"
    faults.meet("two-runs", block[0].where, what, f"another run of {repeated.key} begins", other)
    runs.append(block)


def _first_repeated(rows: Sequence[CurveRow]) -> CurveRow | None:
    """The first row with a metric that an earlier row has at the same step."""
    known: set[tuple[int, str]] = set()
    for row in rows:
        places = {(row.step, metric) for metric in row.values}
        if known & places:
            return row
        known |= places
    return None


def _blocks(rows: Sequence[CurveRow]) -> list[list[CurveRow]]:
    """Split where steps go back."""
    blocks: list[list[CurveRow]] = []
    for row in rows:
        if not blocks or row.step < blocks[-1][-1].step:
            blocks.append([])
        blocks[-1].append(row)
    return blocks


def _without_repeats(rows: Sequence[CurveRow], faults: Faults) -> list[CurveRow]:
    """Of lines with the same step that follow each other, one; they must not contradict each other."""
    kept: list[CurveRow] = []
    for row in rows:
        before = kept[-1] if kept and kept[-1].step == row.step else None
        shared = set(before.values) & set(row.values) if before else set()
        if before is None or not shared:
            kept.append(row)
            continue
        what = f"step {row.step:,} of {row.key} occurs twice"
        if before.values != row.values:
            raise CurveImportError(
                f"{row.where}: {what}, with different values; tell seeds apart with --map seed=COLUMN or {{seed}} in "
                "--path"
            )
        faults.meet("repeated", row.where, f"{what}, in identical lines", "repeats the line before, counted once")
    return kept


def _without_known(block: list[CurveRow], earlier: Sequence[list[CurveRow]], faults: Faults) -> list[CurveRow]:
    """Nothing where all rows of the block, two or more, stand in one earlier block: they were written twice."""
    for before in earlier:
        known = {row.step: row.values for row in before}
        if len(block) > 1 and all(known.get(row.step) == row.values for row in block):
            what = f"step {block[0].step:,} of {block[0].key} occurs twice, in identical lines"
            faults.meet("repeated", block[0].where, what, f"{len(block)} lines repeat earlier ones, counted once")
            return []
    return block
