"""Values as text."""

from __future__ import annotations

from typing import Any

import pytest

from sweepwise.core.value_format import cell, format_value, shortened, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-3, "1e-3"), (1e-5, "1e-5"), (3e-4, "3e-4"), (0.005, "0.005"), (0.3, "0.3"), (1.0, "1"), (0.0, "0"),
        (2, "2"), (True, "true"), ("min", "min"), (None, "auto"),
        ((0.9, 0.95), "[0.9, 0.95]"), ([1, None], "[1, auto]"),
    ],
)  # fmt: skip
def test_values_are_written_as_a_researcher_writes_them(value: Any, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("text", "on_a_terminal"),
    [
        ("plain", "plain"), ("a\tb\nc", "a\tb\nc"), ("\x1b]0;title\x07", r"\x1b]0;title\x07"), ("a\rb", r"a\rb"),
        ("\x9b2J", r"\x9b2J"), ("right\u202eleft", r"right\u202eleft"), ("\udcff", r"\udcff"), ("a\xa0é漢", "a\xa0é漢"),
        ("\x00\x7f\b", r"\x00\x7f\x08"), ("\U000e0041", r"\U000e0041"), ("\u2028", r"\u2028"),
    ],
)  # fmt: skip
def test_what_a_terminal_would_obey_is_shown(text: str, on_a_terminal: str) -> None:
    assert shown(text) == shown(shown(text)) == on_a_terminal


@pytest.mark.parametrize(
    ("text", "in_a_spreadsheet"),
    [
        ('=HYPERLINK("x")', '\'=HYPERLINK("x")'), ("@SUM(1)", "'@SUM(1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"), ("-2.5", "-2.5"), ("+1e-4", "+1e-4"), ("\t=1", "'\t=1"), ("\r=1", "' =1"), ("\n=1", "' =1"),
        ("  =1", "'  =1"), ("＝1+1", "'＝1+1"), ("lr=1e-4", "lr=1e-4"), ("a\r\nb", "a b"), ("", ""), ("-", "'-"),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(text: str, in_a_spreadsheet: str) -> None:
    assert cell(text) == in_a_spreadsheet


def test_the_middle_of_a_long_text_is_left_out() -> None:
    assert shortened("abcd", 4) == "abcd"
    assert shortened("a" * 9 + "z", 4) == "aa ... (6 characters) ... az"
