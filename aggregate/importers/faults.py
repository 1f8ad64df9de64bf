"""Faults of files that an import refuses unless the user accepts them by name."""

from __future__ import annotations

from collections.abc import Collection

from sweepwise.core.errors import SweepsError, near

# What `--accept KIND` does.
KINDS = {
    "cut": "leaves an incomplete last line out",
    "repeated": "counts identical repeated lines once",
    "two-runs": "takes runs under one seed apart",
    "resumed": "keeps the later of what a resumed run logged twice",
    "spread": "takes a chart's mean of several points or runs",
}


class CurveImportError(SweepsError):
    """A file or an option that cannot be used; the message is one line with the file, the place and the fix."""


class Faults:
    """accepted: kinds of faults to go on with. notes: a line for each that was met."""

    def __init__(self, accepted: Collection[str] = ()) -> None:
        for kind in accepted:
            if kind not in KINDS:
                raise CurveImportError(f"--accept {kind!r}: {near(kind, KINDS)}")
        self.accepted = frozenset(accepted)
        self.notes: list[str] = []

    def meet(self, kind: str, where: str, what: str, done: str, more: str = "") -> None:
        """Raises `CurveImportError` unless `kind` is accepted. where: file and place. what: the fault. done: what
        happened then, for the notes. more: a further way out, for the error."""
        if kind not in self.accepted:
            raise CurveImportError(f"{where}: {what}; --accept {kind} {KINDS[kind]}{more}")
        self.notes.append(f"{where}: {done}")
