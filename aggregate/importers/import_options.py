"""Options of an import: the meaning of columns, of parts of a path, and of a step."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aggregate.importers.faults import CurveImportError, Faults
from aggregate.importers.tables import stem_of
from sweepwise.core.metrics import Catalogue

INDEX = ("step", "seed", "task", "algorithm", "time")
RETURN, PRIMARY = "eval_return", "primary"  # short names of the primary metric
# Default columns: those of a Weights & Biases history.
USUAL = {"step": "_step", "time": "_timestamp"}
TABLE_PATH, EVENTS_PATH = "{algorithm}/{task}", "{algorithm}/{task}/{seed}"

_PAIR = re.compile(r",(?=[\w/]+=)")
_FIELD = re.compile(r"(\{algorithm\}|\{task\}|\{seed\}|\*)")
_PATTERNS = {"{algorithm}": "(?P<algorithm>[^/]+)", "{task}": "(?P<task>[^/]+)", "{seed}": "(?P<seed>[^/]*?[0-9]+)",
             "*": "[^/]*"}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()=-]{0,79}")
_SEED = re.compile(r".*?([0-9]+)")
_LARGEST = 2**53  # whole numbers a float holds


@dataclass(frozen=True)
class ImportOptions:
    """How files are to be read.

    catalogue: the metrics of the agent that the curves are shown beside. index: any of `INDEX` -> column. metrics: name
    in the catalogue -> column, where one * stands for the seed, or tag of TensorBoard; "a|b" where a file has either.
    What neither names is taken from the layout of a file that is recognised. path: pattern of the end of a file's path,
    for names that no column has. frames_per_step: environment frames to an agent step; None where the files count agent
    steps. steps_per_iteration: agent steps to an iteration, for files that count these. faults: what is accepted.
    folders: that are imported, of a file its own; names above them mean nothing unless `path` says so.
    """

    catalogue: Catalogue
    metrics: Mapping[str, str]
    index: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    algorithm: str | None = None
    path: str | None = None
    frames_per_step: int | None = None
    steps_per_iteration: int | None = None
    faults: Faults = field(default_factory=Faults)
    folders: Sequence[Path] = ()

    @classmethod
    def of(
        cls, pairs: Sequence[str], catalogue: Catalogue, accept: Sequence[str] = (), **others: Any
    ) -> ImportOptions:  # fmt: skip
        """From the values of --map, such as "step=frames,eval_return=reward", and of --accept. Raises
        `CurveImportError`."""
        short = _short_name(catalogue)
        metrics: dict[str, str] = {}
        index: dict[str, str] = {}
        for pair in [pair for text in pairs for pair in _PAIR.split(text)]:
            key, equals, column = (part.strip() for part in pair.partition("="))
            if not equals or not key or not column:
                raise CurveImportError(f"--map {pair!r}: give name=column, such as --map {short}=reward")
            into, name = (index, key) if key in INDEX else (metrics, _metric(key, catalogue))
            if name in into:
                raise CurveImportError(f"--map gives {key} twice; keep one")
            into[name] = column
        options = cls(catalogue=catalogue, metrics=metrics, index=index, faults=Faults(accept), **others)
        for option, value in (("--task", options.task), ("--algorithm", options.algorithm)):
            if value is not None:
                checked_name(value, option)
        if options.path is not None and not _FIELD.search(options.path):
            raise CurveImportError(f"--path {options.path!r}: none of {{algorithm}}, {{task}} and {{seed}} is in it")
        return options

    @property
    def primary(self) -> str:
        """Name of the metric that layouts fill."""
        return self.catalogue.primary.name

    @property
    def short(self) -> str:
        """How messages name it in --map."""
        return _short_name(self.catalogue)

    def named(self, path: Path, usual: str) -> dict[str, str]:
        """Algorithm, task and seed from the end of `path` (of a file without its suffix), by the user's pattern, or by
        `usual` if that matches from the name of an imported folder on. Raises `CurveImportError` where the user's
        pattern does not match."""
        known, template = path.absolute() if self.path else self._imported_part(path), self.path or usual
        if path.is_file():
            known, template = stem_of(known), stem_of(Path(template)).as_posix()
        pattern = "".join(_PATTERNS.get(part) or re.escape(part) for part in _FIELD.split(template.strip("/")))
        match = re.search(f"/{pattern}$", f"/{known.as_posix()}")
        if match is None and self.path is not None:
            raise CurveImportError(
                f"{path}: its path does not end as --path {self.path} says; of {{algorithm}}, {{task}}, {{seed}} and * "
                "for anything, with / between folders"
            )
        given = {"task": self.task, "algorithm": self.algorithm}
        return (match.groupdict() if match else {}) | {key: value for key, value in given.items() if value is not None}

    def _imported_part(self, path: Path) -> Path:
        """`path` from the name of the innermost imported folder on."""
        above = [folder for folder in self.folders if path == folder or folder in path.parents]
        folder = max(above, key=lambda folder: len(folder.parts), default=path.parent)
        return Path(folder.name if folder.name != ".." else "") / path.relative_to(folder)


def _short_name(catalogue: Catalogue) -> str:
    """How messages name the primary metric in --map."""
    return RETURN if catalogue.primary.unit == "return" else PRIMARY


def _metric(key: str, catalogue: Catalogue) -> str:
    """The name of a metric, or of the primary one for a short name that is no metric itself."""
    short = _short_name(catalogue)
    name = catalogue.primary.name if key in (RETURN, PRIMARY) and key not in catalogue.metrics else key
    try:
        metric = catalogue.metric(name)
    except KeyError as error:
        raise CurveImportError(
            f"--map {key}=...: {error.args[0]}; {', '.join(INDEX)} and {short} are known too"
        ) from None
    if metric.is_list or metric.unit == "bool":
        raise CurveImportError(f"--map {key}=...: holds no single number; give one that does, such as {short}")
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
        seed = float(text)
    except ValueError:
        match = _SEED.fullmatch(text)
        seed = float(match[1]) if match else math.nan
    if not 0 <= seed < _LARGEST or not seed.is_integer():
        raise CurveImportError(
            f"{where}: {text!r:.60} is no seed: a whole number is expected, or a word that ends in one"
        )
    return int(seed)


def parse_number(value: object, where: str) -> float | None:
    """A cell as a number; None for an empty one and for NaN. Raises `CurveImportError`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise CurveImportError(f"{where}: {str(value)!r:.60} is no number") from None
    return None if math.isnan(number) else number


def parse_step(value: object, where: str) -> int:
    """A cell as a step. Raises `CurveImportError`."""
    step = parse_number(value, where)
    if step is None or not 0 <= step < _LARGEST or not step.is_integer():
        cell = "an empty cell" if step is None else repr(str(value))
        raise CurveImportError(f"{where}: {cell} is no step: a whole number from 0 on is expected")
    return int(step)
