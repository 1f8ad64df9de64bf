"""Rows of the documentation's tables: those that were measured are replaced, the others stay."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
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


def test_a_section_takes_the_place_of_the_one_before(rows: ModuleType) -> None:
    page = "# T\n<!-- written by benchmarks/x.py: -->\nold\n<!-- up to here -->\nmore\n"
    once = rows.spliced(page, "x.py", "new")
    assert once == "# T\n<!-- written by benchmarks/x.py: -->\n\nnew\n\n<!-- up to here -->\nmore\n"
    assert rows.spliced(once, "x.py", "new") == once
    with pytest.raises(ValueError, match=r"benchmarks/y.py.* are expected"):
        rows.spliced(page, "y.py", "new")


@pytest.mark.parametrize("page", ["statistics", "paired_tests", "flags", "learning"])
def test_sections_have_their_place_in_the_documentation(rows: ModuleType, repository: Path, page: str) -> None:
    script = {"statistics": "intervals"}.get(page, page)
    page = {"paired_tests": "statistics"}.get(page, page)
    text = (repository / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert "\n\nnew\n\n" in rows.spliced(text, f"{script}.py", "new")


@pytest.mark.parametrize("table", ["b", "c"])
def test_a_table_that_is_not_there_is_an_error(rows: ModuleType, table: str) -> None:
    with pytest.raises(ValueError, match=f"<!-- {table} -->"):
        rows.recorded(PAGE, table, [], {})


def test_what_fails_is_told_and_the_others_are_tried(
    rows: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)

    def attempt(name: str) -> str:
        if name == "one":
            raise AssertionError("5 runs, 6 were expected")
        return "as it must be"

    assert rows.try_each(["one", "two"], attempt, "a", ["one", "two"], page, {"one": "A", "two": "B"}) == 1
    table = page.read_text().partition("<!-- end -->")[0].splitlines()[-2:]
    assert [line.split(" | ")[:3] for line in table] == [
        ["| one", "A", "NOT AS IT MUST BE, see above"],
        ["| two", "B", "as it must be"],
    ]
    assert "5 runs, 6 were expected" in capsys.readouterr().err
    assert rows.try_each(["two"], attempt, "a", ["one", "two"], page) == 0


def test_names_that_are_not_there_end_the_program(
    rows: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed, names in (([], ["one", "two"]), (["two"], ["two"])):
        monkeypatch.setattr("sys.argv", ["walk.py", *typed])
        assert rows.chosen(argparse.ArgumentParser(), ["one", "two"]).names == names
    monkeypatch.setattr("sys.argv", ["walk.py", "three"])
    with pytest.raises(SystemExit):
        rows.chosen(argparse.ArgumentParser(), ["one", "two"])
    assert "unknown: three; there are one, two" in capsys.readouterr().err
