"""Plain lines of at most 80 columns: a subject, and what is said of it."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

WIDTH = 80
_SUBJECT = 12


def said(subject: str, text: str) -> str:
    """Later lines stand below the text. A word that is longer than a line is not cut."""
    return textwrap.fill(
        text or "-", WIDTH, initial_indent=f"{subject:<{_SUBJECT}} ", subsequent_indent=" " * (_SUBJECT + 1),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


OUTPUT = "|"  # the subject of a line that the program printed


class CheckLine(NamedTuple):
    """What is said of a subject, and whether that is a problem. A line without a subject stands as it is."""

    subject: str
    text: str
    is_problem: bool = False

    @property
    def is_output(self) -> bool:
        """Whether the program printed it."""
        return self.subject == OUTPUT

    @property
    def is_finding(self) -> bool:
        return bool(self.subject) and not (self.is_output or self.is_problem)

    def __str__(self) -> str:
        if self.is_output or not self.subject:
            return f"{self.subject} {self.text}".lstrip()
        return said(self.subject, self.text)
