"""docs/verification.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path


def missing(repository: Path, text: str) -> list[str]:
    """The tests named in `text` as `file.py::test`, below tests/, that are not there."""
    gone = []
    for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", text):
        path = repository / "tests" / file
        tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
        if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            gone.append(f"{file}::{name}")
    return gone


def test_every_test_that_is_named_exists(repository: Path) -> None:
    text = (repository / "docs" / "verification.md").read_text()
    text = re.sub("<!-- [a-z]+ -->.*?<!-- end -->", "", text, flags=re.S)  # what benchmarks measured
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| | ")]
    assert len(rows) > 50
    assert [row for row in rows if "::test_" not in row] == []
    assert missing(repository, text) == []


def test_a_test_that_is_gone_would_be_seen(repository: Path) -> None:
    text = "`tdmpc/test_math.py::test_nothing` and `nowhere.py::test_math` and `test_verification.py::missing`"
    assert missing(repository, text) == ["tdmpc/test_math.py::test_nothing", "nowhere.py::test_math"]
