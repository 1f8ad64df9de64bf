"""What the user says of foreign files: which column is what, what a path names, what a step is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepwise.core.errors import SweepsError
from tdmpc.metrics import CATALOGUE

INDEX = ("step", "seed", "task", "algorithm", "time")
RETURN = "eval_return"  # in short: whoever ran it, it is set beside this project's evaluation with planning
ALIASES = {RETURN: "eval_return_planner"}
# Columns of a Weights & Biases history, taken where nothing else is said.
USUAL = {"step": "_step", "time": "_timestamp"}
TABLE_PATH, EVENTS_PATH = "{algorithm}/{task}", "{algorithm}/{task}/{seed}"

_PAIR = re.compile(r",(?=[\w/]+=)")
_FIELD = re.compile(r"(\{algorithm\}|\{task\}|\{seed\}|\*)")
_PATTERNS = {"{algorithm}": "(?P<algorithm>[^/]+)", "{task}": "(?P<task>[^/]+)", "{seed}": "(?P<seed>[^/]*?[0-9]+)",
             "*": "[^/]*"}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()=-]{0,79}")
_SEED = re.compile(r".*?([0-9]+)")
_LARGEST = 2**53  # whole numbers a float holds


class CurveImportError(SweepsError):
    """A file or an option that cannot be taken; the message is one line with the file, the place and the fix."""


@dataclass(frozen=True)
class ImportOptions:
    """How files are to be read.

    index: any of `INDEX` -> column. metrics: name in the catalogue -> column, where one * stands for the seed, or tag
    of TensorBoard. path: how the end of a file's path names what no column does. frames_per_step: environment frames
    to an agent step; None where the files count agent steps.
    """

    metrics: Mapping[str, str]
    index: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    algorithm: str | None = None
    path: str | None = None
    frames_per_step: int | None = None

    @classmethod
    def of(cls, pairs: Sequence[str], **others: Any) -> ImportOptions:
        """From the words of --map: "step=frames,eval_return=reward". Raises `CurveImportError`."""
        metrics: dict[str, str] = {}
        index: dict[str, str] = {}
        for pair in [pair for text in pairs for pair in _PAIR.split(text)]:
            key, equals, column = (part.strip() for part in pair.partition("="))
            if not equals or not key or not column:
                raise CurveImportError(f"--map {pair!r}: give name=column, such as --map {RETURN}=reward")
            into, name = (index, key) if key in INDEX else (metrics, _metric(key))
            if name in into:
                raise CurveImportError(f"--map gives {key} twice; keep one")
            into[name] = column
        if not metrics:
            raise CurveImportError(f"--map names no metric; give one, such as --map {RETURN}=reward")
        asked = cls(metrics=metrics, index=index, **others)
        for option, value in (("--task", asked.task), ("--algorithm", asked.algorithm)):
            if value is not None:
                checked_name(value, option)
        if asked.path is not None and not _FIELD.search(asked.path):
            raise CurveImportError(f"--path {asked.path!r}: none of {{algorithm}}, {{task}} and {{seed}} is in it")
        return asked

    def named(self, path: Path, usual: str) -> dict[str, str]:
        """What `path` names by its end (a file's without its suffix): algorithm, task and seed, as far as the user's
        template says, or `usual` where that fits. Raises `CurveImportError` where the user's does not."""
        known, template = path.absolute().as_posix(), self.path or usual
        if path.is_file():
            known, template = known.removesuffix(path.suffix), template.removesuffix(path.suffix)
        pattern = "".join(_PATTERNS.get(part) or re.escape(part) for part in _FIELD.split(template.strip("/")))
        found = re.search(f"/{pattern}$", known)
        if found is None and self.path is not None:
            raise CurveImportError(
                f"{path}: its path does not end as --path {self.path} says; of {{algorithm}}, {{task}}, {{seed}} and * "
                "for anything, with / between folders"
            )
        given = {"task": self.task, "algorithm": self.algorithm}
        return (found.groupdict() if found else {}) | {key: value for key, value in given.items() if value is not None}


def _metric(key: str) -> str:
    name = ALIASES.get(key, key)
    try:
        metric = CATALOGUE.metric(name)
    except KeyError as error:
        raise CurveImportError(
            f"--map {key}=...: {error.args[0]}; {', '.join(INDEX)} and {RETURN} are known too"
        ) from None
    if metric.is_list or metric.unit == "bool":
        raise CurveImportError(f"--map {key}=...: holds no single number; give one that does, such as {RETURN}")
    return name


def checked_name(text: str, where: str) -> str:
    """`text` as the name of a task or an algorithm. Raises `CurveImportError`."""
    if not _NAME.fullmatch(text):
        raise CurveImportError(
            f"{where}: {text!r:.60} is no name: letters, digits, spaces and . _ + - = ( ) are expected"
        )
    return text


def parse_seed(value: object, where: str) -> int:
    """A seed: a whole number, or a word that ends in one, such as seed-3. Raises `CurveImportError`."""
    text = str(value).strip()
    try:
        made = float(text)
    except ValueError:
        found = _SEED.fullmatch(text)
        made = float(found[1]) if found else math.nan
    if not 0 <= made < _LARGEST or not made.is_integer():
        raise CurveImportError(
            f"{where}: {text!r:.60} is no seed: a whole number is expected, or a word that ends in one"
        )
    return int(made)


def parse_number(value: object, where: str) -> float | None:
    """A cell as a number; None for an empty one and for NaN. Raises `CurveImportError`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        made = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise CurveImportError(f"{where}: {str(value)!r:.60} is no number") from None
    return None if math.isnan(made) else made


def parse_step(value: object, where: str) -> int:
    """A cell as a place on the x axis. Raises `CurveImportError`."""
    made = parse_number(value, where)
    if made is None or not 0 <= made < _LARGEST or not made.is_integer():
        shown = "an empty cell" if made is None else repr(str(value))
        raise CurveImportError(f"{where}: {shown} is no step: a whole number from 0 on is expected")
    return int(made)
