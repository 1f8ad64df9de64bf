"""Errors that a user can act on. The command line prints their message as it is, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from sweepwise.core.value_format import LONGEST, shortened, shown


class SweepsError(Exception):
    """Base class. The message is one line: the value, what is legal, the fix."""


class JobsError(SweepsError):
    """A plan, an option, the results folder or a backend is not as it must be."""


class AggregateError(SweepsError):
    """There is nothing to aggregate, or the output cannot be written."""


def one_line(error: Exception, hint: str = "") -> str:
    """The message of any error on one line that is not too long to read. hint: follows one that should not happen."""
    if isinstance(error, SweepsError):
        return as_line(str(error))
    if isinstance(error, OSError) and error.strerror:
        return as_line(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    return as_line(f"{type(error).__name__}: {as_line(str(error))}; this is an internal error{hint}")


def as_line(text: str) -> str:
    """`text` on one line that is not too long to read; control characters are shown as escapes."""
    return shortened(shown(" ".join(text.split())), LONGEST)


def near(word: str, legal: Iterable[str]) -> str:
    """The end of an error about an unknown `word`: near matches, else everything that is legal."""
    known = list(legal)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"choose from {', '.join(known)}" if known else "none is defined"
