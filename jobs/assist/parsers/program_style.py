"""The library with which a script reads its command line, by what it imports."""

from __future__ import annotations

import re
from pathlib import Path

_MOST = 500_000  # characters of a script


def _imports(*names: str) -> str:
    """Matches a line that imports one of the packages, also among others: `import os, tyro`."""
    one = "|".join(names)
    return rf"^\s*(import\s(?:[^\n#]*[\s,])?(?:{one})\b|from (?:{one})\b)"


# Style -> what a script has of it, the first that fits counts: many scripts import argparse too.
_SIGNS = (
    ("hydra", _imports("hydra")),
    ("tyro", _imports("tyro")),
    ("jsonargparse", _imports("jsonargparse") + r"|\bLightningCLI\b"),
    ("pyrallis", _imports("pyrallis")),
    ("draccus", _imports("draccus")),
    ("omegaconf", r"\bOmegaConf\.from_cli\b"),
    ("absl", r"^\s*(from absl import [^\n]*\bflags\b|from absl\.flags\b|import absl\.flags\b)"),
    ("fire", _imports("fire")),
    ("click", _imports("click", "typer")),
    ("argparse", _imports("argparse") + r"|\bArgumentParser\("),
)
_IMPORT = re.compile(r"^\s*(?:from|import)\s+([A-Za-z_][\w.]*)", re.M)


def of_script(script: Path) -> tuple[str, str]:
    """(style, name of the file that shows it); ("", "") where neither the script nor a neighbour that it imports
    does."""
    text = _text(script)
    neighbours = [
        script.parent.joinpath(*name.split(".")).with_suffix(".py") for name in dict.fromkeys(_IMPORT.findall(text))
    ]
    for path in (script, *(path for path in neighbours if path.is_file() and path != script)):
        text = _text(path)
        for style, sign in _SIGNS:
            if re.search(sign, text, re.M):
                return style, path.name
    return "", ""


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST)
    except OSError:
        return ""
