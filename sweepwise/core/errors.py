"""Errors that a user can act on. The command line prints their message as it is, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SweepsError(Exception):
    """Base class. The message is one line: the value, what is legal, the fix."""


class JobsError(SweepsError):
    """A plan, an option, the results folder or a backend is not as it must be."""


class AggregateError(SweepsError):
    """There is nothing to aggregate, or the output cannot be written."""


def near(word: str, legal: Iterable[str]) -> str:
    """The end of an error about an unknown `word`: near matches, else everything that is legal."""
    known = list(legal)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there is {', '.join(known)}" if known else "there is none"
