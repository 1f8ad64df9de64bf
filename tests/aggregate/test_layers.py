"""Imports inside `aggregate` point one way: from the summary in words down to the statistics."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# A package may import those of later lines, and its own modules.
LAYERS = (
    {"verdict", "export"},
    {"analysis"},
    {"flags", "importers"},
    {"inputs"},
    {"statistics"},
)
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
FORBIDDEN = ("jobs", "plots", "torch")


def imported(source: str) -> Iterator[str]:
    """Dotted names of all imports, those inside functions too; of `from a.b import c` it is a.b.c."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: write the package's name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(package: str, source: str) -> list[str]:
    """Imports of a module of `aggregate.<package>` that do not point down."""
    wrong = []
    for name in imported(source):
        top, _, rest = name.partition(".")
        if top in FORBIDDEN:
            wrong.append(name)
        elif top == "aggregate":
            other = rest.partition(".")[0]
            if other != package and LEVEL[other] <= LEVEL[package]:
                wrong.append(name)
    return wrong


def test_every_package_has_its_layer(repository: Path) -> None:
    folders = {path.parent.name for path in (repository / "aggregate").glob("*/__init__.py")}
    assert folders == set(LEVEL)


def test_imports_point_down(repository: Path) -> None:
    modules = sorted((repository / "aggregate").glob("*/*.py"))
    assert len(modules) > len(LEVEL)
    wrong = {str(path): names for path in modules if (names := violations(path.parent.name, path.read_text()))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("statistics", "from aggregate.inputs.runs import load"),
        ("inputs", "from aggregate.analysis import summary"),
        ("inputs", "def f():\n    import aggregate.flags.votes"),
        ("flags", "from aggregate import importers"),
        ("analysis", "from aggregate.verdict.leader import standing"),
        ("verdict", "from aggregate.export import Folder"),
        ("export", "from jobs.results import records"),
        ("verdict", "from plots.theme import PALETTE"),
        ("statistics", "import torch.nn"),
    ],
)
def test_an_import_that_points_up_is_seen(package: str, line: str) -> None:
    assert violations(package, line)


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("verdict", "from aggregate.analysis.summary import SweepSummary"),
        ("export", "from aggregate.importers.event_files import checksum"),
        ("inputs", "from aggregate.inputs import run_cache"),
        ("statistics", "import scipy"),
    ],
)
def test_an_import_that_points_down_is_none(package: str, line: str) -> None:
    assert violations(package, line) == []
