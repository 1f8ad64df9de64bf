"""The one exception of this room that a user is meant to see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class JobsError(Exception):
    """Something the user can mend; the message is one line: the value, what is legal, the fix."""


def near(word: str, legal: Iterable[str]) -> str:
    """The end of an error about an unknown `word`: near matches, else everything that is legal."""
    known = list(legal)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there is {', '.join(known)}" if known else "there is none"
