"""Sends values through real command-line libraries and compares what arrives, for each style of overrides.

    python benchmarks/override_styles.py [--folder FOLDER] [--only hydra ...] [--random 200] [--seed 0]

Makes a virtual environment in FOLDER (default: a temporary folder) with the libraries from PyPI, once. The programs are
in benchmarks/override_programs; each gets all values in one command line. Prints a table of values and styles: same,
refused (a `StyleError`), "-" where the program cannot declare the type, or CHANGED. Exits with 1 after a change or a
program that failed. --random sends so many random texts and numbers too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from jobs.programs import override_styles as styles  # noqa: E402

PROGRAMS = Path(__file__).resolve().parent / "override_programs"
PACKAGES = (
    "hydra-core", "click", "tyro", "absl-py", "fire", "pyrallis", "draccus", "jsonargparse", "omegaconf", "PyYAML",
)  # fmt: skip
ALPHABET = "aZ_09 .,:;=-+~#&|!?%@^*/\\'\"`$(){}[]<>\t\n\rüé世😀\x7f\x85\u2028"
PIECES = ("${x}", "\\${", "$HOME", "null", "true", "1e-3", "--", " #", ": ", "\\'", "{", "[", "include ", "None")
AWKWARD = "run (a=1, b) {x} 'y' \"z\" é $HOME #1 ~ : \\"  # the name of a folder


@dataclass(frozen=True)
class Case:
    """A value, the type that the program declares for it (see override_programs/keys.py) and its key."""

    key: str
    kind: str
    value: Any


@dataclass(frozen=True)
class Target:
    """A program. rules: by kind of case. without: the kinds that it cannot declare."""

    style: str
    variant: str = ""
    rules: Mapping[str, styles.KeyRule] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.style} {self.variant}".strip()

    def takes(self, case: Case) -> bool:
        if self.name == "file omegaconf" and "${" in repr(case.value):
            return False  # resolved, as `config_text` says
        return not {case.kind, "nested" if "." in case.key else ""} & set(self.without)


def by_kind(rule: styles.KeyRule, *kinds: str) -> dict[str, styles.KeyRule]:
    return dict.fromkeys(kinds, rule)


LISTS = ("floats", "ints", "texts", "switches")
FLAGGED = by_kind(styles.KeyRule(switch="flag"), "on", "off")
PAIRED = by_kind(styles.KeyRule(switch="pair"), "on", "off")
VALUED = by_kind(styles.KeyRule(switch="value"), "on", "off", "switches")
UNTYPED = ("any", "any_text", "optional", "hydra")  # kinds that a library of typed flags does not have
# jsonargparse reads a text for Any as YAML and one for str as it is. It cannot be written so that both are right.
JSONARGPARSE = ("any_text", "hydra")
TARGETS = (
    Target("argparse", without=UNTYPED),
    Target("argparse", "append", {**FLAGGED, **by_kind(styles.KeyRule(split="repeat"), *LISTS)}, UNTYPED),
    Target("argparse", "comma", {**FLAGGED, **by_kind(styles.KeyRule(split="comma"), *LISTS)}, UNTYPED),
    Target("click", without=UNTYPED),
    Target("click", "flag", FLAGGED, UNTYPED),
    Target("click", "value", VALUED, UNTYPED),
    Target("tyro", without=("any", "any_text", "hydra")),
    Target("absl", without=UNTYPED),
    Target("absl", "multi", {**PAIRED, **by_kind(styles.KeyRule(split="repeat"), *LISTS)}, (*UNTYPED, "switches")),
    Target("fire", without=("hydra",)),
    Target("fire", "signature", PAIRED, ("nested", "hydra")),
    Target("pyrallis", without=("hydra",)),
    Target("draccus", without=("hydra",)),
    Target("jsonargparse", without=JSONARGPARSE),
    Target("jsonargparse", "pair", PAIRED, JSONARGPARSE),
    Target("omegaconf", without=("hydra",)),
    Target("omegaconf", "structured", without=("hydra",)),
    Target("hydra"),
    Target("hydra", "structured"),
    Target("file", "json", without=("hydra",)),
    Target("file", "yaml", without=("hydra",)),
    Target("file", "omegaconf", without=("hydra",)),
)

TEXTS = (
    "word", "12", "1e-3", "yes", "null", "None", "true", "inf", "0x10", "010", "12:30", "1_000", "a=b,c", "it's",
    '"double"', "'single'", "$HOME", "${x}", "\\${x}", "back\\slash", "ends with\\", "\\'", "ünïcode", "-dash",
    "--dash", "-1e-3", "-1", "a b", " a ", "", "#hash", "a#b", "a #b", "~tilde", "~", "[1,2]", "{a: 1}", "a: b", "(x)",
    "@file", "--", "-", "include x", "two\nlines", "tab\t", "!tag", "&a", "*a", "%", "1,2", "a/b.c-d", "/tmp/run", "7b",
)  # fmt: skip
NUMBERS = (1e-4, 1e-05, -1e-3, -1e-05, -2.5e22, 1e22, 0.1 + 0.2, 1.0, -0.0, 5e-324, math.inf, -math.inf, math.nan)


def fixed_cases() -> Iterator[tuple[str, Any]]:
    """The kind and the value of each case, without those that need a key of their own."""
    yield from (("float", number) for number in NUMBERS)
    yield from (("int", number) for number in (0, -5, 10**20))
    yield from (("off", True), ("on", False), ("null", None))
    yield from (("str", text) for text in TEXTS)
    yield from (("floats", values) for values in ((0.1, -1e-3), (-1e-05, 1e-05), (1.0,), ()))
    yield from (("ints", values) for values in ((1, 2), (-1, -2), (5,), ()))
    texts: tuple[tuple[str, ...], ...] = (("a", "b,c"), ("",), ("x", ""), ("12", "yes", "null"), ("it's", '"q"'))
    yield from (
        ("texts", values)
        for values in (*texts, ("-dash", "--k"), ("--", "-"), (" a ",), ("${x}", "a b"), ("None",), ())
    )
    yield from (("switches", (True, False)), ("lists", ((1, 2), (3,))), ("mapping", {"x": 1}))
    yield from (("optional", text) for text in ("12", "1e-3", "yes", "null", "None", "", "a: b", None))
    yield from (("any_text", text) for text in ("12", "1e-3", "yes", "null", "None", ""))
    any_values = (1e-05, 3, True, None, "word", "a b", (1, "a", None, 0.5))
    yield from (("any", value) for value in (*any_values, {"x": (1, {"y": "z,"})}))


def random_cases(count: int, seed: int) -> Iterator[tuple[str, Any]]:
    draw = random.Random(seed)

    def text() -> str:
        parts = (
            draw.choice(PIECES) if draw.random() < 0.2 else draw.choice(ALPHABET) for _ in range(draw.randint(1, 7))
        )
        return "".join(parts)

    for number in range(count):
        kind = ("str", "texts", "float", "floats")[number % 4]
        numbers = tuple(draw.choice((-1, 1)) * draw.random() * 10.0 ** draw.randint(-30, 30) for _ in range(3))
        texts = tuple(text() for _ in range(3))
        yield kind, {"str": texts[0], "texts": texts, "float": numbers[0], "floats": numbers}[kind]


def all_cases(count: int, seed: int) -> list[Case]:
    cases = [Case(f"key_{i}", *case) for i, case in enumerate([*fixed_cases(), *random_cases(count, seed)])]
    nested: list[tuple[str, str, Any]] = [
        ("float", "optimizer.lr", 1e-4),
        ("off", "optimizer.nesterov", True),
        ("on", "optimizer.amsgrad", False),
    ]
    nested += [("str", "optimizer.schedule.name", "a b"), ("floats", "optimizer.betas", (0.9, 0.999))]
    cases += [Case(key, kind, value) for kind, key, value in nested]
    groups = [Case("model", "group", "small"), Case("data", "group", "7b")]
    return [*cases, *(Case(case.key, "hydra", case.value) for case in groups)]


def same(one: Any, other: Any) -> bool:
    """Whether they are equal and of the same types, with tuples as lists."""
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and repr(one) == repr(other)


def environment(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, which is made where it is absent."""
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        venv.create(folder, with_pip=True)
    have = subprocess.run([str(interpreter), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    if not set(PACKAGES) <= {entry["name"] for entry in json.loads(have.stdout)}:
        subprocess.run([str(interpreter), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return interpreter


def versions(interpreter: Path) -> str:
    script = f"from importlib.metadata import version; print(', '.join(f'{{n}} {{version(n)}}' for n in {PACKAGES}))"
    return subprocess.run([str(interpreter), "-c", script], capture_output=True, text=True, check=True).stdout.strip()


class Runner:
    """Runs the programs of one environment, in a temporary folder."""

    def __init__(self, interpreter: Path, work: Path) -> None:
        self.interpreter, self.work = interpreter, work

    def written(self, target: Target, cases: list[Case]) -> styles.Overrides:
        """The overrides of `cases`. Raises `StyleError`."""
        rules = {case.key: target.rules.get(case.kind, styles.KeyRule()) for case in cases}
        return styles.overrides(target.style, {case.key: case.value for case in cases}, rules)

    def run(self, target: Target, words: Iterable[str], kinds: Mapping[str, str]) -> dict[str, Any]:
        """What the program reads from `words`, by key; {"": the error} where it fails. kinds: of its keys."""
        argv = [str(self.interpreter), str(PROGRAMS / f"with_{target.style}.py"), *words]
        env = {**os.environ, "OVERRIDE_KEYS": json.dumps(kinds), "OVERRIDE_VARIANT": target.variant}
        done = subprocess.run(argv, cwd=self.work, env=env, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            if line.startswith("VALUES "):
                return dict(json.loads(line.removeprefix("VALUES ")))
        return {"": (done.stderr.strip() or done.stdout.strip() or "no output")[-300:]}

    def read(self, target: Target, cases: list[Case]) -> dict[str, Any]:
        made = self.written(target, cases)
        words = list(made.argv)
        if target.style == "file":
            path = self.work / "config.json"
            path.write_text(styles.config_text(made.config), encoding="utf-8")
            words.append(str(path))
        return self.run(target, words, {case.key: case.kind for case in cases if case.kind != "hydra"})

    def results(self, target: Target, cases: list[Case]) -> dict[str, str]:
        """The cell of each case by its key."""
        cells = {case.key: "-" for case in cases if not target.takes(case)}
        sent = []
        for case in cases:
            if case.key in cells:
                continue
            try:
                self.written(target, [case])
                sent.append(case)
            except styles.StyleError:
                cells[case.key] = "refused"
        return cells | self.compared(target, sent)

    def compared(self, target: Target, cases: list[Case]) -> dict[str, str]:
        """As `results`, for cases that are written. Where a program fails, half as many at a time."""
        read = self.read(target, cases)
        if "" in read and len(cases) > 1:
            middle = len(cases) // 2
            return self.compared(target, cases[:middle]) | self.compared(target, cases[middle:])
        if "" in read:
            return {cases[0].key: f"CHANGED: failed: {read['']}"}
        cells = {}
        for case in cases:
            got: Any = read if case.key not in read else {case.key: read[case.key]}
            for part in [case.key] if case.key in read else case.key.split("."):
                got = got[part] if isinstance(got, dict) and part in got else "(absent)"
            cells[case.key] = "same" if same(case.value, got) else f"CHANGED: {got!r}"
        return cells

    def folder(self, target: Target) -> str:
        """The cell of a folder with an awkward name, written by `quote_path`. Hydra makes it."""
        path = str(self.work / AWKWARD)
        quoted = styles.quote_path(target.style, path)
        if target.style == "file":
            return "same" if quoted == path else f"CHANGED: {quoted!r}"
        key, kinds = ("hydra.run.dir", {}) if target.style == "hydra" else ("out", {"out": "str"})
        word = f"{key}={quoted}" if target.style in ("hydra", "omegaconf") else f"--{key}={quoted}"
        read = self.run(target, [word], kinds)
        made = target.style != "hydra" or (self.work / AWKWARD).is_dir()
        return "same" if read.get(key) == path and made else f"CHANGED: {read}"

    def hydra_keys(self) -> str:
        """The cell of the keys with +, ++ and ~."""
        sent = {"+new": "12", "++there": 3, "++added": (1, "b"), "~gone": None, "+deep.er": {"x": "y z"}}
        wanted = {"there": 3, "new": "12", "added": [1, "b"], "deep": {"er": {"x": "y z"}}}
        read = self.run(Target("hydra"), styles.overrides("hydra", sent).argv, {})
        got = {key: value for key, value in read.items() if key not in ("hydra.run.dir", "model", "data")}
        return "same" if same(wanted, got) else f"CHANGED: {got}"


def table(cases: list[Case], results: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Markdown; a row for each value."""
    yield f"| value | {' | '.join(results)} |"
    yield "|---" * (len(results) + 1) + "|"
    for case in cases:
        shown = f"{case.key}={case.value!r}" if "." in case.key or case.kind == "hydra" else repr(case.value)
        cells = [result[case.key].replace("\n", " ").replace("|", "\\|") for result in results.values()]
        shown = shown.replace("|", "\\|")
        yield f"| `{shown}` ({case.kind}) | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the virtual environment")
    parser.add_argument("--only", nargs="*", default=list(styles.STYLES), choices=styles.STYLES, metavar="STYLE")
    parser.add_argument("--random", type=int, default=0, metavar="COUNT")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) / "work"
        work.mkdir()
        runner = Runner(environment(options.folder or Path(temporary) / "env"), work)
        cases = all_cases(options.random, options.seed)
        targets = [target for target in TARGETS if target.style in options.only]
        results = {target.name: runner.results(target, cases) for target in targets}
        folders = {target.name: runner.folder(target) for target in targets}
        extra = {"hydra + ++ ~": runner.hydra_keys()} if "hydra" in options.only else {}
        print(f"{versions(runner.interpreter)}\n")
    print("\n".join(table(cases, results)))
    print(f"| a folder by `quote_path` | {' | '.join(folders.values())} |\n")
    counts = {name: Counter(cell.partition(":")[0] for cell in cells.values()) for name, cells in results.items()}
    for name, count in counts.items():
        print(f"{name}: {', '.join(f'{number} {word}' for word, number in sorted(count.items()) if word != '-')}")
    print(*(f"{name}: {cell}" for name, cell in extra.items()), sep="\n")
    every = [*(cell for cells in results.values() for cell in cells.values()), *folders.values(), *extra.values()]
    return int(any(cell.startswith("CHANGED") for cell in every))


if __name__ == "__main__":
    sys.exit(main())
