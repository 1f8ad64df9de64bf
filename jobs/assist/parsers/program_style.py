"""The library with which a script reads its command line, by what it imports."""

from __future__ import annotations

import re
from pathlib import Path

_MOST = 500_000  # characters of a script
# Style -> what a script has of it, the first that fits counts: many scripts import argparse too.
_SIGNS = (
    ("hydra", r"^\s*(import hydra\b|from hydra\b)"),
    ("tyro", r"^\s*(import tyro\b|from tyro\b)"),
    ("jsonargparse", r"^\s*(import jsonargparse\b|from jsonargparse\b)|\bLightningCLI\b"),
    ("pyrallis", r"^\s*(import pyrallis\b|from pyrallis\b)"),
    ("draccus", r"^\s*(import draccus\b|from draccus\b)"),
    ("omegaconf", r"\bOmegaConf\.from_cli\b"),
    ("absl", r"^\s*(from absl import [^\n]*\bflags\b|from absl\.flags\b|import absl\.flags\b)"),
    ("fire", r"^\s*(import fire\b|from fire\b)"),
    ("click", r"^\s*(import click\b|from click\b|import typer\b|from typer\b)"),
    ("argparse", r"^\s*(import argparse\b|from argparse\b)|\bArgumentParser\("),
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
