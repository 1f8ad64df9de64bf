"""Which script a command starts, and what its parser takes."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.assist.parsers import hook
from jobs.programs import command
from jobs.programs.command import Places, Program
from jobs.runs.logs import tail
from jobs.worker.guarded_program import End, GuardedProgram
from sweepwise.core.value_format import shown

TIMEOUT_S = 60.0
ASKED = ("argparse", "click", "tyro", "absl", "fire", "pyrallis", "draccus", "jsonargparse")  # styles with a parser
_PAUSE_S = 0.02
_ANSWER = 8_000_000  # bytes at the end of the output that are searched for the answer
_PYTHON = re.compile(r"(python|pypy)[0-9.]*")
_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")  # options of Python that have a value in the next word


@dataclass(frozen=True)
class ScriptCall:
    """A command that runs a Python script. python: starts the interpreter. target: the script, or -m and the module.
    file: of the script, None where it is not found. arguments: those that follow."""

    python: tuple[str, ...]
    target: tuple[str, ...]
    file: Path | None
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class ParserOption:
    """One argument of a parser.

    flags: as they are spelled, none for a positional one. kind: store, true and false (a flag without a value), pair
    (--k and --no-k), append, extend, count, const or help. default: as JSON, None for none. type: name of the function
    that reads a value. nargs: as argparse has it, as text.
    """

    flags: tuple[str, ...]
    dest: str
    kind: str
    default: Any
    type: str
    nargs: str | None
    choices: tuple[Any, ...]
    required: bool

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ParserOption:
        return cls(**{**stored, "flags": tuple(stored["flags"]), "choices": tuple(stored["choices"])})

    @property
    def name(self) -> str:
        """The long flag as it is spelled, without its dashes; "" where there is none."""
        return next((flag[2:] for flag in self.flags if flag.startswith("--")), "")


@dataclass(frozen=True)
class ParserAnswer:
    """What a program's parser takes. is_all: whether it refuses everything else. error: why there is no answer."""

    options: tuple[ParserOption, ...] = ()
    is_all: bool = False
    error: str = ""


def script_call(words: Sequence[str], code: Path) -> ScriptCall | None:
    """The script that a command starts; None where it starts none of Python. code: the folder that it runs in."""
    for position, word in enumerate(words):
        if _PYTHON.fullmatch(Path(word).name):
            return _after_python(words, position, code)
        if word.endswith(".py") and (position == 0 or not word.startswith("-")):
            is_own = position == 0 or Path(words[0]).name not in ("uv", "poetry", "pdm", "conda", "micromamba", "env")
            python = _shebang(code / word) if position == 0 else ()
            python = python or (*(() if is_own else words[:position]), _any_python())
            return ScriptCall(tuple(python), (word,), _file(code / word), tuple(words[position + 1 :]))
    return _executable(words, code)


def _after_python(words: Sequence[str], position: int, code: Path) -> ScriptCall | None:
    at = position + 1
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-m", "-c", "-"):
        at += 2 if words[at] in _WITH_VALUE else 1
    python = tuple(words[:at])
    if at + 1 < len(words) and words[at] == "-m":
        place = code.joinpath(*words[at + 1].split("."))
        file = _file(place.with_suffix(".py")) or _file(place / "__main__.py")
        return ScriptCall(python, ("-m", words[at + 1]), file, tuple(words[at + 2 :]))
    if at < len(words) and words[at] not in ("-c", "-"):
        return ScriptCall(python, (words[at],), _file(code / words[at]), tuple(words[at + 1 :]))
    return None


def _executable(words: Sequence[str], code: Path) -> ScriptCall | None:
    """A script that is started by its own name."""
    if not words:
        return None
    path = str(code / words[0]) if "/" in words[0] else shutil.which(words[0])
    python = _shebang(Path(path)) if path else ()
    return ScriptCall(python, (str(path),), Path(str(path)), tuple(words[1:])) if python else None


def _shebang(path: Path) -> tuple[str, ...]:
    """The words that a script's first line starts it with, where that is Python."""
    try:
        with path.open("rb") as file:
            line = file.readline(500).decode(errors="replace")
    except OSError:
        return ()
    return tuple(shlex.split(line[2:])) if line.startswith("#!") and "python" in line else ()


def _any_python() -> str:
    return "python" if shutil.which("python") else "python3"


def _file(path: Path) -> Path | None:
    return path if path.is_file() else None


def ask(
    program: Program, call: ScriptCall, places: Places, environment: Mapping[str, str], style: str = "argparse",
    seconds: float = TIMEOUT_S,
) -> ParserAnswer:  # fmt: skip
    """The parser of a program. It starts in its environment or container, and ends where it would read its arguments.

    places.run: a folder for its output. style: one of `ASKED`.
    """
    mark = uuid.uuid4().hex
    text = Path(hook.__file__).read_text(encoding="utf-8")
    words = (*call.python, "-c", text, mark, style, *call.target, *call.arguments)
    asking = dataclasses.replace(program, command=words, style="argparse", seed=(), resume=None)
    output = places.run.parent / f"parser-{mark}.log"
    line = command.command_line(asking, {}, places)
    try:
        end = run(line.argv, command.working_folder(program, places), environment, output, seconds)
    except OSError as error:
        return ParserAnswer(error=f"{error.filename or line.argv[0]}: {error.strerror}")
    return _answer(tail(output, _ANSWER), mark, end, style, seconds)


def run(argv: Sequence[str], cwd: Path, environment: Mapping[str, str], output: Path, seconds: float) -> End | None:
    """Run to the end and leave no process; None where that takes longer than `seconds`."""
    guarded = GuardedProgram(argv, cwd, environment, output)
    limit = time.monotonic() + seconds
    try:
        while (end := guarded.poll()) is None and time.monotonic() < limit:
            time.sleep(_PAUSE_S)
    finally:
        guarded.close()
    return end


def _answer(text: str, mark: str, end: End | None, style: str, seconds: float) -> ParserAnswer:
    if end is None:
        return ParserAnswer(error=f"the program parsed no arguments within {seconds:g} s")
    _, mark_found, rest = text.partition(f"\n{mark}")
    if not mark_found:
        return ParserAnswer(error=end.reason or last_line(text) or f"exit code {end.exit_code}")
    answer = json.loads(rest.partition("\n")[0])
    options = tuple(map(ParserOption.from_json, answer["options"]))
    if options:
        return ParserAnswer(options, answer["is_all"])
    return ParserAnswer(error=shown(answer["error"]) or f"the program reads its arguments without {style}")


def last_line(text: str) -> str:
    return next((shown(line.strip()) for line in reversed(text.splitlines()) if line.strip()), "")
