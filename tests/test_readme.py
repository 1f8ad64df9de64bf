"""What README.md tells people to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from jobs import plan
from jobs.cli import cli


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def commands(readme: str) -> list[list[str]]:
    """Every `sweeps ...` line in a shell block or in backticks, as words behind `sweeps`."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", readme, re.S)).splitlines()
    inline = re.findall(r"`(sweeps [^`]+)`", readme)
    lines = [line.split("#")[0] for line in blocks + inline]
    return [shlex.split(line)[1:] for line in lines if line.startswith("sweeps ")]


def unknown(words: list[str]) -> list[str]:
    """The words of a command that the command line does not know: a command, or an option of it."""
    context = click.Context(cli)
    chosen: click.Command = cli
    missing = []
    for word in words:
        if word.startswith("--"):
            known = {name for parameter in chosen.get_params(context) for name in parameter.opts}
            missing += [] if word in known else [word]
        elif chosen is cli and word != "...":
            found = cli.get_command(context, word)
            missing += [] if found else [word]
            chosen = found or cli
    return missing


def test_the_commands_and_their_options_exist(readme: str) -> None:
    found = commands(readme)
    assert {words[0] for words in found} >= {"submit", "status", "rerun", "aggregate", "plan"}
    assert {" ".join(words): unknown(words) for words in found if unknown(words)} == {}


def test_an_unknown_word_would_be_seen() -> None:
    assert unknown(["submit", "ensemble", "--sedes", "6"]) == ["--sedes"]
    assert unknown(["sumbit"]) == ["sumbit"]


def test_the_options_of_submit_are_all_there(readme: str) -> None:
    told = set(re.findall(r"--[a-z][a-z-]+", readme.split("| option of `submit` |")[1].split("\n\n")[0]))
    offered = {name for parameter in cli.commands["submit"].params for name in parameter.opts if name.startswith("--")}
    assert told == offered - {"--help"}


def test_the_plan_in_it_loads(readme: str, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", readme, re.S)
    (tmp_path / "mine.yaml").write_text(text)
    (sweep,) = plan.load(tmp_path / "mine.yaml").select("rates")
    assert sweep.name == "rates"


def test_what_it_links_to_is_there(readme: str, repository: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", readme)
    assert len(links) >= 3
    assert [link for link in links if not (repository / link).exists()] == []


def test_the_first_screen_holds_the_two_commands(readme: str) -> None:
    top = "\n".join(readme.splitlines()[:24])
    assert "python3 bootstrap.py demo" in top
    assert "python3 bootstrap.py test" in top
