"""The table of the terminal, line by line."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from jobs.terminal.table import Table


def shown(table: Table, width: int = 40, color: bool = False) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=color, color_system="standard" if color else None).print(table)
    return file.getvalue().split("\n")[:-1]


def test_columns_are_as_wide_as_their_cells_and_numbers_stand_right() -> None:
    table = Table(("id", "steps", "why"), right=("steps",), title="tried")
    table.add_row("a", "5", "")
    table.add_row("bcd", "1,000", Text("late"))
    assert shown(table) == ["tried", "id   steps  why", "a        5", "bcd  1,000  late"]


def test_an_empty_table_has_its_header() -> None:
    assert shown(Table(("id", "why"))) == ["id  why"]


def test_what_is_too_wide_folds_and_what_is_kept_does_not() -> None:
    table = Table(("id", "why", "steps"), right=("steps",), keep=("id",))
    table.add_row("0123456789", "no node is free for it", "7")
    assert shown(table, width=31) == [
        "id          why           steps",
        "0123456789  no node is        7",
        "            free for it",
    ]


def test_on_the_narrowest_terminal_every_column_folds() -> None:
    table = Table(("id", "run"), keep=("id",))
    table.add_row("0123456789", "abcdefghijklmnop")
    lines = shown(table, width=10)
    assert max(map(len, lines)) == 10
    assert "".join(line[:4].strip() for line in lines[1:]) == "0123456789"


def test_markup_and_control_characters_of_a_message_are_no_more_than_text() -> None:
    table = Table(("why",))
    table.add_row("[red]no[/red]\x1b[2J\nline")
    assert shown(table, color=True)[1] == "[red]no[/red]\\x1b[2J"


def test_styles_of_a_cell_are_kept() -> None:
    table = Table(("state", "x"))
    table.add_row(Text(", ").join([Text("1 done", style="green"), Text("2 lost", style="yellow")]), "y")
    assert shown(table, color=True)[1] == "\x1b[32m1 done\x1b[0m, \x1b[33m2 lost\x1b[0m  y"


def test_wide_characters_count_twice() -> None:
    table = Table(("id", "n"))
    table.add_row("日本", "1")
    table.add_row("a", "2")
    assert shown(table)[1:] == ["日本  1", "a     2"]


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table(("a", "b")).add_row("x")
