"""Plain lines of at most 80 columns: a subject, and what is said of it."""

from __future__ import annotations

import textwrap

WIDTH = 80
_SUBJECT = 12


def said(subject: str, text: str) -> str:
    """Later lines stand below the text. A word that is longer than a line is not cut."""
    return textwrap.fill(
        text or "-", WIDTH, initial_indent=f"{subject:<{_SUBJECT}} ", subsequent_indent=" " * (_SUBJECT + 1),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
