"""The words of what users read: phrases that were replaced by standard terms do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from jobs.cli import cli

# Phrase -> what to write instead. Few and exact: each is wrong wherever it stands in text for users.
INSTEAD = {
    "told apart": "significantly different",
    "flatters": "selection bias",
    "hopeless": "underperforming",
    "not its business": "out of scope",
    "puts up with": "accepts",
    "unless told": "default: ...",
    "unless asked": "default: ...",
    "as fits": "auto",
    "uprights": "vertical dashed lines",
    "would be seen": "minimum detectable difference",
    "series of deaths": "repeated failures",
    "what killed": "the cause of the failure",
    "without a word": "without an outcome",
    "stands there twice": "occurs twice",
    "of one's own": "your own",
    "the honest": "name the options",
    "two chances to be deceived": "two chances of a false positive",
    "nothing speaks against": "name the conditions",
    "run is told": "name who does what",
    "beyond chance": "significant",
    "the leader": "the best configuration",
    "clear leader": "clearly best configuration",
    "leads with": "is best, with",
    "policy alone": "policy without MPC",
    "hold the truth": "contain the true value",
    "died alike": "failed alike",
    "enters nothing": "is left out",
    "for want of": "because ... is missing",
    "luck of": "variation between",
    "asked for": "requested",
    "at hand": "available",
    "goes on": "continues",
    "anew": "again",
    "stands twice": "occurs twice",
    "looks as if": "may",
    "look it over": "check it",
}
PHRASE = re.compile(rf"\b({'|'.join(map(re.escape, INSTEAD))})\b", re.I)
PACKAGES = ("aggregate", "jobs", "plots", "slurm_templates", "sweepwise", "tdmpc")


def hits(text: str) -> list[str]:
    """The phrases of a text, also across lines of text or comments, with the words around and what to write instead."""
    text = " ".join(re.sub(r"\n\s*(#|//)", "\n", text).split())
    return [
        f"...{text[max(found.start() - 30, 0) : found.end() + 30]}...: {INSTEAD[found[1].lower()]}"
        for found in PHRASE.finditer(text)
    ]


def literals(source: str) -> str:
    """The string literals of a module, f-strings without their values; no docstrings and no comments."""
    nodes = list(ast.walk(ast.parse(source)))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return "\n".join(node.value for node in texts if isinstance(node.value, str))


def pages(repository: Path) -> Iterator[tuple[str, str]]:
    for path in (
        repository / "README.md",
        *(repository / "docs").rglob("*.md"),
        *(repository / "docs").rglob("*.yaml"),
    ):
        yield path.name, path.read_text()


def templates(repository: Path) -> Iterator[tuple[str, str]]:
    """What the report's page is made of, and the packaged plan, presets and profiles."""
    for path in (repository / "plots" / "page").iterdir():
        yield path.name, path.read_text()
    for package in PACKAGES:
        for path in (repository / package).rglob("*.yaml"):
            yield path.name, path.read_text()


def help_texts(repository: Path) -> Iterator[tuple[str, str]]:
    for name, command in {"": cli, **cli.commands}.items():
        with click.Context(command, info_name=name) as context:
            yield f"sweeps {name} --help", command.get_help(context)


def messages(repository: Path) -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in (repository / package).rglob("*.py"):
            yield path.relative_to(repository).as_posix(), literals(path.read_text())


@pytest.mark.parametrize("texts", [pages, templates, help_texts, messages])
def test_text_for_users_has_standard_terms(
    texts: Callable[[Path], Iterator[tuple[str, str]]], repository: Path
) -> None:
    found = {name: hits(text) for name, text in texts(repository)}
    assert len(found) > 3
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


def test_a_phrase_is_found_across_lines_and_in_literals_only() -> None:
    assert hits("not Told\n    apart") == ["...not Told apart...: significantly different"]
    assert hits("# default: 1 unless\n  # told") == ["...# default: 1 unless told...: default: ..."]
    assert hits("untold aparthotels, as fitsch") == []
    source = (
        '"""told apart"""\n# hopeless\ndef f(n):\n    "flatters"\n    return f"{n} would be " "seen", "puts up with"\n'
    )
    assert sorted(found.split(": ")[1] for found in hits(literals(source))) == ["accepts", INSTEAD["would be seen"]]
