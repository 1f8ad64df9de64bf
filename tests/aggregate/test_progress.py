"""A bar for whoever watches a terminal, and only where it takes long."""

from __future__ import annotations

import io
import sys

import pytest

from aggregate.inputs import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [3, None])
@pytest.mark.parametrize(("patience", "shown"), [(-1.0, True), (3600.0, False)])
def test_a_bar_on_a_terminal_after_a_while(
    monkeypatch: pytest.MonkeyPatch, patience: float, shown: bool, total: int | None
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE", patience)
    assert list(progress.tracked(iter("abc"), total, "reading")) == ["a", "b", "c"]
    assert ("reading" in screen.getvalue()) is shown


def test_no_bar_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    assert list(progress.tracked("abc", 3, "reading")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_the_bar_goes_when_an_item_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    with pytest.raises(ZeroDivisionError):
        list(progress.tracked((1 / n for n in (2, 1, 0)), 3, "reading"))
    assert screen.getvalue().endswith("\x1b[2K")  # the line is wiped


def test_no_bar_after_they_were_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(progress, "_is_hidden", False)  # and again after the test
    progress.hide()
    assert list(progress.tracked("abc", 3, "reading")) == ["a", "b", "c"]
    assert screen.getvalue() == ""
