"""Values as text."""

from __future__ import annotations

from typing import Any

import pytest

from sweepwise.core.value_format import format_value


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
