"""Rows of the documentation's tables: those that were measured are replaced, the others stay."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

PAGE = (
    "# T\n\n<!-- a -->\n| x | y |\n|---|---|\n| two | old |\n| gone | old |\n<!-- end -->\n\n<!-- b -->\n<!-- end -->\n"
)


@pytest.fixture(scope="module")
def rows(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/rows.py")


def test_a_row_is_replaced_or_added_in_its_place_and_one_that_is_no_more_goes(rows: ModuleType) -> None:
    text = rows.recorded(PAGE, "a", ["one", "two"], {"one": "| one | new |"})
    assert text == PAGE.replace("| two | old |\n| gone | old |\n", "| one | new |\n| two | old |\n")


@pytest.mark.parametrize("table", ["b", "c"])
def test_a_table_that_is_not_there_is_an_error(rows: ModuleType, table: str) -> None:
    with pytest.raises(ValueError, match=f"<!-- {table} -->"):
        rows.recorded(PAGE, table, [], {})
