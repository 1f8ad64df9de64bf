"""Any program as the thing that is trained: what a plan says of it, as data, and the command line of one run."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.programs import override_styles
from jobs.programs.metric_sources.base import SourceSpec
from jobs.programs.override_styles import KeyRule
from sweepwise.core.agent import AgentDescription
from sweepwise.core.metrics import Catalogue, Kind, Metric

PLACEHOLDERS = ("overrides", "run", "code", "seed", "config_file", "gpus", "port")
_PLACEHOLDER = re.compile(rf"(?<!\$)\{{({'|'.join(PLACEHOLDERS)})\}}")
_OF_EVALUATIONS = ("primary", "primary_episodes", "policy_without_mpc", "policy_without_mpc_episodes")
_IS_LIST = ("primary_episodes", "policy_without_mpc_episodes", "log_std_per_dim")
CONFIG_FILE = "config.json"
WORK = "work"  # in a run's folder: what programs write
OUTPUT = "sweeps-output"  # in {run}


@dataclass(frozen=True)
class Resume:
    """How a program goes on from a checkpoint of its own.

    when: glob in the run's folder; `add` joins the command where it matches a file. signal: name of the signal on which
    the program saves its state and ends. grace: seconds that it has for that.
    """

    when: str
    add: tuple[str, ...] = ()
    signal: str = "SIGTERM"
    grace: float = 60.0


@dataclass(frozen=True)
class LoggedMetrics:
    """Where a program logs its metrics. step: name of the step. keep: patterns of the metrics that are kept beside
    those with a role; empty for all."""

    read: tuple[SourceSpec, ...]
    step: str = "step"
    frames_per_step: int = 1
    keep: tuple[str, ...] = ()

    def keeps(self, name: str) -> bool:
        return not self.keep or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.keep)


@dataclass(frozen=True)
class Program:
    """A command in a plan. What it is called, its hyperparameters and its metrics are in its `AgentDescription`.

    command: words with placeholders. style: of the overrides, see `override_styles`. rules: exceptions by key.
    seed: keys that take the seed. cwd: code or run. link: names in the code's folder that link to the originals.
    activate: shell lines before the program. container: image of Apptainer. environment: name -> value, None for the
    submitter's. named: hyperparameters that the plan gives a value, which are always passed to the program; others,
    from its own configuration, only where they differ from `defaults`.
    """

    command: tuple[str, ...]
    style: str
    metrics: LoggedMetrics
    rules: Mapping[str, KeyRule] = field(default_factory=dict)
    seed: tuple[str, ...] = ()
    cwd: str = "code"
    link: tuple[str, ...] = ()
    activate: tuple[str, ...] = ()
    container: str = ""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    resume: Resume | None = None
    named: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)},
            "metrics": {**vars(self.metrics), "read": [spec.to_json() for spec in self.metrics.read]},
            "rules": {key: dataclasses.asdict(rule) for key, rule in self.rules.items()},
            "resume": None if self.resume is None else dataclasses.asdict(self.resume),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Program:
        """Of what `to_json` gives. Raises `KeyError` or `TypeError` for anything else."""
        metrics, resume = dict(stored["metrics"]), stored["resume"]
        return cls(**{
            **{name: _tuples(value) for name, value in stored.items() if name in cls.__dataclass_fields__},
            "metrics": LoggedMetrics(**{
                **metrics,
                "read": tuple(map(SourceSpec.from_json, metrics["read"])),
                "keep": tuple(metrics["keep"]),
            }),
            "rules": {key: KeyRule(**rule) for key, rule in stored["rules"].items()},
            "defaults": {name: _tuples(value) for name, value in stored["defaults"].items()},
            "resume": None if resume is None else Resume(**{**resume, "add": tuple(resume["add"])}),
        })  # fmt: skip

    def passed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters that the program gets; it has the others by itself."""
        return {name: value for name, value in values.items() if name in self.named or value != self.defaults.get(name)}

    def overrides(self, values: Mapping[str, Any], seed: int) -> override_styles.Overrides:
        """How a run's hyperparameters reach the program. Raises `StyleError`."""
        passed = {**self.passed(values), **dict.fromkeys(self.seed, seed)}
        return override_styles.overrides(self.style, passed, self.rules)


@dataclass(frozen=True)
class Places:
    """What the placeholders of a run stand for. port: a free one, for programs that talk to each other."""

    run: Path
    code: Path
    seed: int
    gpus: int = 0
    port: int = 0

    def of(self, placeholder: str) -> str:
        if placeholder == "config_file":
            return str(self.run / CONFIG_FILE)
        return str(getattr(self, placeholder))


@dataclass(frozen=True)
class CommandLine:
    """argv: literal words. environment: hyperparameters that go by it. config_text: for {config_file}, "" without."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    config_text: str


def command_line(program: Program, values: Mapping[str, Any], places: Places) -> CommandLine:
    """The command of one run, in its environment or container. Raises `StyleError` for a value that the style cannot
    express."""
    passed = program.overrides(values, places.seed)
    words = [*program.command, *(program.resume.add if program.resume and resumes(program, places.run) else ())]
    argv: list[str] = []
    for word in words:
        argv += passed.argv if word == "{overrides}" else [_filled(program.style, word, places)]
    return CommandLine(
        argv=_wrapped(program, argv, places),
        environment=passed.environment,
        config_text=override_styles.config_text(passed.config) if program.style == "file" else "",
    )


def resumes(program: Program, run: Path) -> bool:
    """Whether the run has a checkpoint to go on from."""
    return program.resume is not None and any(run.glob(program.resume.when))


def checkpoints(program: Program, run: Path) -> dict[Path, tuple[int, int]]:
    """Checkpoints to go on from: path -> size and time of change."""
    by_step = {}
    for path in run.glob(program.resume.when) if program.resume is not None else ():
        with contextlib.suppress(OSError):
            status = path.stat()
            by_step[path] = status.st_size, status.st_mtime_ns
    return by_step


def _filled(style: str, word: str, places: Places) -> str:
    """A word of the command with its placeholders replaced; the right-hand side of `key={run}` is quoted where the
    style needs it."""
    if not _PLACEHOLDER.search(word):
        return word
    head, equals, tail = word.partition("=")
    if equals and not _PLACEHOLDER.search(head) and not head.startswith("-"):
        return f"{head}={override_styles.quote_path(style, _replaced(tail, places))}"
    return _replaced(word, places)


def _replaced(text: str, places: Places) -> str:
    return _PLACEHOLDER.sub(lambda match: places.of(match[1]), text)


def _wrapped(program: Program, argv: Sequence[str], places: Places) -> tuple[str, ...]:
    """`argv` in the container and after the activation."""
    if program.container:
        gpu = ["--nv"] if places.gpus else []
        binds = [word for path in (places.code, places.run) for word in ("--bind", str(path))]
        argv = ["apptainer", "exec", *gpu, *binds, "--pwd", str(working_folder(program, places)),
                program.container, *argv]  # fmt: skip
    return tuple(activated(program.activate, argv))


def activated(lines: Sequence[str], argv: Sequence[str]) -> list[str]:
    """`argv` after shell lines, which end in exec so that signals reach the program."""
    return ["bash", "-c", "\n".join([*lines, 'exec "$@"']), "sweeps", *argv] if lines else list(argv)


def run_folder(program: Program, folder: Path, attempt: int) -> Path:
    """{run}: one folder for all attempts of a program that resumes, else one for each. folder: of the run."""
    return folder / WORK if program.resume is not None else folder / WORK / f"{attempt:03d}"


def output_file(run: Path, attempt: int) -> Path:
    """Where the output of an attempt goes. run: {run}."""
    return run / OUTPUT / f"{attempt:03d}.log"


def newest_output(folder: Path) -> list[Path]:
    """The output of the newest attempt of a run, as a list of at most one. folder: of the run."""
    files = [path for pattern in (f"{OUTPUT}/*.log", f"*/{OUTPUT}/*.log") for path in (folder / WORK).glob(pattern)]
    numbered = {int(path.stem): path for path in files if path.stem.isdecimal()}
    return [numbered[max(numbered)]] if numbered else []


def working_folder(program: Program, places: Places) -> Path:
    return places.run if program.cwd == "run" else places.code


def shell_text(line: CommandLine) -> str:
    """The command as a shell would take it, for people to read."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in line.environment.items()),
                     shlex.join(line.argv)])  # fmt: skip


def metric(name: str, is_evaluation: bool, is_list: bool) -> Metric:
    """A metric that the plan does not describe."""
    return Metric(name, "eval" if is_evaluation else "train", "program", is_list=is_list)


def declared_metrics(primary: Metric, roles: Mapping[str, str]) -> Catalogue:
    """The metrics that the plan describes. roles: role -> name of the metric. Raises `MetricError`."""
    metrics = {primary.name: primary}
    for role, name in roles.items():
        kind: Kind = "eval" if role in _OF_EVALUATIONS else "train"
        result = role in ("policy_without_mpc", "training_return")
        metrics[name] = Metric(
            name, kind, "program", primary.unit if result else "1", primary.better if result else "none",
            is_list=role in _IS_LIST, role=role,
        )  # fmt: skip
    return Catalogue(metrics, {})


@dataclass(frozen=True)
class ProgramSource:
    """A program of a plan. folder: of its code. plan: the plan's file, which is no part of the code. include: globs of
    files that Git does not track and are copied too."""

    description: AgentDescription
    program: Program
    folder: Path
    plan: Path
    include: tuple[str, ...] = ()

    reference = ""


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
