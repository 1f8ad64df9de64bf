"""The `program:` of a plan: parse it, and read what hyperparameters the program has."""

from __future__ import annotations

import difflib
import fnmatch
import re
import shlex
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from jobs.planning import program_config
from jobs.programs import override_styles, registry
from jobs.programs.command import (
    PLACEHOLDERS,
    LoggedMetrics,
    Program,
    ProgramSource,
    Resume,
    declared_metrics,
)
from jobs.programs.metric_sources.base import SourceSpec
from jobs.programs.override_styles import KeyRule
from jobs.yaml_reader import Entry
from sweepwise.core import run_metrics
from sweepwise.core.agent import AgentDescription, Capabilities
from sweepwise.core.errors import SweepsError, near
from sweepwise.core.hyperparameters import ConfigError, Hyperparameter
from sweepwise.core.metrics import DIRECTIONS, ROLES, Metric

KEYS = (
    "name", "command", "code", "include", "cwd", "link", "version", "config", "config_command", "hyperparameters",
    "overrides", "seed", "steps", "task_key", "extendable", "conda", "activate", "container", "environment", "resume",
    "ignore", "metrics",
)  # fmt: skip
_SOURCES = ("config", "config_command", "hyperparameters")
_METRICS = ("read", "step", "step_words", "frames_per_step", "primary", "roles", "keep")
_FILE_KINDS = ("jsonl", "csv", "tensorboard", "wandb")
_RULES = ("switch", "split", "env", "omit_if_null", "name")
_AGENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACES = re.compile(r"(?<!\$)\{(\w+)\}")


def parse(entry: Entry, folder: Path, named: Collection[str]) -> ProgramSource:
    """The program. folder: of the plan. named: hyperparameters that the plan mentions. Raises `JobsError`."""
    fields = entry.mapping(KEYS)
    for needed, such in (("command", "python train.py {overrides}"), ("metrics", "{primary: eval/return}")):
        if needed not in fields:
            raise entry.error(f"program: needs `{needed}:`, such as {such}")
    code = _code(fields, folder)
    activate = _activate(fields)
    style, rules = _overrides(fields["overrides"]) if "overrides" in fields else ("argparse", {})
    command = _command(fields["command"], style)
    seed = _texts(fields, "seed")
    _check_seed(entry, seed, command)
    declared = _declared(fields, code, activate, style)
    steps = fields["steps"].text() if "steps" in fields else ""
    if declared is not None and "hyperparameters" in fields:  # values of the plan, which the program need not share
        named = [*(name for name, value in declared.items() if value is not None), *named]
    defaults = _with_named(declared, named, seed, fields)
    resume = _resume(fields["resume"]) if "resume" in fields else None
    primary, roles, metrics = _metrics(fields["metrics"])
    try:
        description = AgentDescription(
            name=_name(fields, code),
            hyperparameters=_hyperparameters(defaults, fields, steps),
            catalogue=declared_metrics(primary, roles),
            capabilities=Capabilities(resume="checkpoint" if resume else "none", seeds_batched=True),
            version=fields["version"].whole() if "version" in fields else 1,
            steps=steps,
            step_words=_step_words(fields["metrics"]),
            task=_task_key(fields, defaults),
        )
    except SweepsError as error:
        raise entry.error(f"program: {error}") from error
    program = Program(
        command=command, style=style, metrics=metrics, rules=rules, seed=seed,
        cwd=_cwd(fields["cwd"]) if "cwd" in fields else "code",
        link=tuple(_relative(item, item.text()) for item in fields["link"].items()) if "link" in fields else (),
        activate=activate, container=_image(fields["container"].text()) if "container" in fields else "",
        environment=_environment(fields["environment"]) if "environment" in fields else {},
        resume=resume, named=tuple(name for name in dict.fromkeys(named) if name in defaults), defaults=defaults,
    )  # fmt: skip
    return ProgramSource(description, program, code, Path(entry.file).absolute(), _texts(fields, "include"))


def named_in(root: Mapping[str, Entry]) -> list[str]:
    """The hyperparameters that a plan gives a value somewhere, in its order."""
    names: list[str] = []

    def collect(fields: Mapping[str, Entry]) -> None:
        for key in ("base", "fixed", "grid", "zip"):
            if key in fields and isinstance(fields[key].node, yaml.MappingNode):
                names.extend(fields[key].mapping())
        if "task" in fields or "tasks" in fields:
            names.append(task_key)

    def walk(fields: Mapping[str, Entry]) -> Iterator[Entry]:
        for key in ("sweeps", "options"):
            if key in fields and isinstance(fields[key].node, yaml.MappingNode):
                yield from fields[key].mapping().values()

    task_key = _named_task_key(root["program"])
    collect(root)
    waiting = list(walk(root))
    while waiting:
        entry = waiting.pop(0)
        if isinstance(entry.node, yaml.MappingNode):
            collect(entry.mapping())
            waiting += walk(entry.mapping())
    return list(dict.fromkeys(names))


def _texts(fields: Mapping[str, Entry], name: str) -> tuple[str, ...]:
    return fields[name].texts() if name in fields else ()


def _named_task_key(entry: Entry) -> str:
    """The name of the hyperparameter that says the task, before the program is parsed."""
    given = entry.mapping().get("task_key") if isinstance(entry.node, yaml.MappingNode) else None
    return given.text() if given is not None else AgentDescription.task


def _task_key(fields: Mapping[str, Entry], defaults: Collection[str]) -> str:
    if "task_key" not in fields:
        return AgentDescription.task
    entry = fields["task_key"]
    if entry.text() not in defaults:
        raise entry.error(f"{entry.name}: unknown hyperparameter {entry.text()!r}; {near(entry.text(), defaults)}")
    return entry.text()


# --- code, command, environment ---------------------------------------------------------------------------


def _code(fields: Mapping[str, Entry], folder: Path) -> Path:
    given = fields["code"].text() if "code" in fields else "."
    path = (folder / Path(given).expanduser()).resolve()
    if not path.is_dir():
        entry = fields["code"]
        raise entry.error(f"{entry.name}: there is no folder {path}")
    return path


def _name(fields: Mapping[str, Entry], code: Path) -> str:
    name = fields["name"].text() if "name" in fields else re.sub(r"[^A-Za-z0-9_-]+", "-", code.name).strip("-_")
    entry = fields.get("name", fields["command"])
    if not _AGENT_NAME.fullmatch(name):
        raise entry.error(f"program.name: {name!r}: use letters, digits, - and _ only, at most 64")
    if name == registry.PACKAGED:
        raise entry.error(f"program.name: {name!r} is the packaged agent; give another `name:`")
    return name


def _command(entry: Entry, style: str) -> tuple[str, ...]:
    try:
        is_list = isinstance(entry.node, yaml.SequenceNode)
        words = entry.texts() if is_list else tuple(shlex.split(entry.text()))
    except ValueError as error:
        raise entry.error(f"{entry.name}: {error}; quote it as in a shell, or give a list of words") from None
    if not words:
        raise entry.error(f"{entry.name}: is empty; give the program and its arguments")
    _check_placeholders(entry, words)
    needed = "config_file" if style == "file" else "overrides"
    placeholder = f"{{{needed}}}"
    if not any(placeholder in word for word in words):
        raise entry.error(f"{entry.name}: has no {placeholder}, so no hyperparameter would reach the program; add it")
    if needed == "overrides" and placeholder not in words:
        raise entry.error(f"{entry.name}: {placeholder} stands for several words; put spaces around it")
    return words


def _check_placeholders(entry: Entry, words: Sequence[str]) -> None:
    for word in words:
        for name in _BRACES.findall(word):
            if name not in PLACEHOLDERS and difflib.get_close_matches(name, PLACEHOLDERS, 1, 0.6):
                raise entry.error(f"{entry.name}: unknown placeholder {{{name}}}; {near(name, PLACEHOLDERS)}")


def _check_seed(entry: Entry, seed: Sequence[str], command: Sequence[str]) -> None:
    if not seed and not any("{seed}" in word for word in command):
        raise entry.error(
            "program: nothing takes the seed, so all seeds of a configuration would be equal; give `seed:` with the "
            "hyperparameter's name, or {seed} in the command"
        )


def _cwd(entry: Entry) -> str:
    places = {"{code}": "code", "{run}": "run", "code": "code", "run": "run"}
    if entry.text() not in places:
        raise entry.error(f"{entry.name}: {entry.text()!r}: give {{code}} or {{run}}")
    return places[entry.text()]


def _relative(entry: Entry, text: str) -> str:
    if not text or Path(text).is_absolute() or ".." in Path(text).parts:
        raise entry.error(f"{entry.name}: {text!r}: give a path inside the folder")
    return text


def _activate(fields: Mapping[str, Entry]) -> tuple[str, ...]:
    if "conda" in fields and "activate" in fields:
        raise fields["activate"].error("program: conda and activate both start an environment; keep one")
    if "conda" in fields:
        name = shlex.quote(fields["conda"].text())
        return ('eval "$(conda shell.bash hook)"', f"conda activate {name} || exit 1")
    return tuple(line for text in fields["activate"].texts() for line in text.splitlines()) \
        if "activate" in fields else ()  # fmt: skip


def _image(text: str) -> str:
    """The image of a container: a file, with ~ for the home, or an address such as docker://..."""
    return str(Path(text).expanduser()) if text.startswith("~") else text


def _environment(entry: Entry) -> dict[str, str | None]:
    variables: dict[str, str | None] = {}
    for name, value in entry.mapping().items():
        if not _VARIABLE.fullmatch(name):
            raise value.error(f"{value.name}: {name!r} is not the name of an environment variable")
        raw = value.raw()
        if isinstance(raw, list):
            raise value.error(f"{value.name}: give one value, or none to pass the submitter's")
        variables[name] = None if raw is None else str(raw)
    return variables


def _resume(entry: Entry) -> Resume:
    fields = entry.mapping(("when", "add", "signal", "grace"))
    if "when" not in fields:
        raise entry.error(f"{entry.name}: needs `when:`, the file that shows a checkpoint, such as {{run}}/*.pt")
    when = fields["when"].text().removeprefix("{run}/")
    _relative(fields["when"], when)
    name = fields["signal"].text() if "signal" in fields else "SIGTERM"
    legal = [number.name for number in signal.Signals if number.name not in ("SIGKILL", "SIGSTOP", "SIGUSR2")]
    if name not in legal:
        raise fields["signal"].error(f"{fields['signal'].name}: {name!r}: {near(name, legal)}")
    add: tuple[str, ...] = ()
    if "add" in fields:
        is_list = isinstance(fields["add"].node, yaml.SequenceNode)
        add = fields["add"].texts() if is_list else tuple(shlex.split(fields["add"].text()))
        _check_placeholders(fields["add"], add)
    return Resume(when, add, name, _seconds(fields["grace"]) if "grace" in fields else 60.0)


def _seconds(entry: Entry) -> float:
    try:
        seconds = float(entry.text())
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise entry.error(f"{entry.name}: {entry.text()!r}: give seconds, such as 60")
    return seconds


# --- hyperparameters --------------------------------------------------------------------------------------


def _overrides(entry: Entry) -> tuple[str, dict[str, KeyRule]]:
    if isinstance(entry.node, yaml.ScalarNode):
        return _style(entry), {}
    fields = entry.mapping(("style", "keys"))
    if "style" not in fields:
        raise entry.error(f"{entry.name}: needs `style:`; {near('', override_styles.STYLES)}")
    rules = {}
    for key, rule in fields["keys"].mapping().items() if "keys" in fields else ():
        given = rule.mapping(_RULES)
        values = {name: value.flag() if name == "omit_if_null" else value.text() for name, value in given.items()}
        for name, legal in (("switch", override_styles.SWITCHES), ("split", override_styles.SPLITS)):
            if name in values and values[name] not in legal:
                raise given[name].error(f"{given[name].name}: {values[name]!r}: {near(str(values[name]), legal)}")
        rules[key] = KeyRule(**cast(Any, values))
    return _style(fields["style"]), rules


def _style(entry: Entry) -> str:
    if entry.text() not in override_styles.STYLES:
        raise entry.error(f"{entry.name}: unknown style {entry.text()!r}; {near(entry.text(), override_styles.STYLES)}")
    return entry.text()


def _declared(fields: Mapping[str, Entry], code: Path, activate: Sequence[str], style: str) -> dict[str, Any] | None:
    """Hyperparameter -> default, as the program says; None where it says nothing."""
    given = [key for key in _SOURCES if key in fields]
    if len(given) > 1:
        raise fields[given[1]].error(f"program: {' and '.join(given)} both list the hyperparameters; keep one")
    if not given:
        return None
    entry = fields[given[0]]
    if given[0] == "hyperparameters":
        return program_config.flat(entry, style)
    if given[0] == "config_command":
        return program_config.of_command(entry, shlex.split(entry.text()), code, activate, style)
    return program_config.of_file(entry, code / _relative(entry, entry.text()), style)


def _with_named(
    declared: dict[str, Any] | None, named: Collection[str], seed: Sequence[str], fields: Mapping[str, Entry]
) -> dict[str, Any]:
    """All hyperparameters with their defaults. Without a list of the program's own, those that the plan names; Hydra
    adds what begins with +."""
    defaults = dict(declared or {})
    named = [*named, *(fields[key].text() for key in ("steps", "task_key") if key in fields)]
    for name in named:
        if declared is None or name.startswith("+"):
            defaults.setdefault(name, None)
    if "steps" in fields and fields["steps"].text() not in defaults:
        entry = fields["steps"]
        raise entry.error(f"{entry.name}: unknown hyperparameter {entry.text()!r}; {near(entry.text(), defaults)}")
    if isinstance(length := defaults.get(fields["steps"].text()) if "steps" in fields else None, float):
        defaults[fields["steps"].text()] = int(length) if length.is_integer() else length  # 1e6 steps
    # Another choice of a group has other values below it than those that the program printed.
    for name in defaults:
        if name not in named and any(name.startswith(f"{group.replace('/', '.')}.") for group in named):
            defaults[name] = None
    for name in seed:
        if "hyperparameters" not in fields and declared is not None and name not in declared:
            raise fields["seed"].error(f"program.seed: unknown hyperparameter {name!r}; {near(name, declared)}")
        defaults.pop(name, None)
    return defaults


def _hyperparameters(
    defaults: Mapping[str, Any], fields: Mapping[str, Entry], steps: str
) -> tuple[Hyperparameter, ...]:
    ignored = _texts(fields, "ignore")
    for pattern in ignored:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in defaults):
            raise fields["ignore"].error(
                f"program.ignore: no hyperparameter matches {pattern!r}; {near(pattern, defaults)}"
            )
    if any(fnmatch.fnmatchcase(steps, pattern) for pattern in ignored):
        raise fields["ignore"].error(f"program.ignore: {steps} is the number of steps; give `extendable: true` instead")
    extendable = fields["extendable"].flag() if "extendable" in fields else False
    try:
        return tuple(
            Hyperparameter(
                name, default, type="any",
                identity=not (name == steps and extendable) and not any(fnmatch.fnmatchcase(name, p) for p in ignored),
            )
            for name, default in defaults.items()
        )  # fmt: skip
    except ConfigError as error:
        raise fields["command"].error(f"program: {error}") from error


# --- metrics ----------------------------------------------------------------------------------------------


def _metrics(entry: Entry) -> tuple[Metric, dict[str, str], LoggedMetrics]:
    fields = entry.mapping(_METRICS)
    if "primary" not in fields:
        raise entry.error(f"{entry.name}: needs `primary:`, the metric that decides, such as eval/return")
    primary = _primary(fields["primary"])
    roles: dict[str, str] = {}
    for role, name in fields["roles"].mapping().items() if "roles" in fields else ():
        if role not in ROLES or role == "primary":
            raise name.error(f"{name.name}: unknown role {role!r}; {near(role, [r for r in ROLES if r != 'primary'])}")
        if name.text() in (primary.name, *roles.values()):
            raise name.error(f"{name.name}: {name.text()!r} has a role already; a metric can have only one")
        roles[role] = name.text()
    frames = fields["frames_per_step"].whole() if "frames_per_step" in fields else 1
    if frames < 1:
        raise fields["frames_per_step"].error(f"{fields['frames_per_step'].name}: {frames}: give 1 or more")
    step = fields["step"].text() if "step" in fields else "step"
    read: tuple[SourceSpec, ...] = (SourceSpec("jsonl", run_metrics.FILE),)
    if "read" in fields:
        read = tuple(_source(item, step) for item in fields["read"].items())
    if not read:
        raise fields["read"].error(f"{fields['read'].name}: is empty; give at least one file")
    return primary, roles, LoggedMetrics(read, step, frames, _texts(fields, "keep"))


def _step_words(entry: Entry) -> str:
    fields = entry.mapping(_METRICS)
    return fields["step_words"].text() if "step_words" in fields else "steps"


def _primary(entry: Entry) -> Metric:
    if isinstance(entry.node, yaml.ScalarNode):
        return Metric(entry.text(), "eval", "program", "return", "up", role="primary", title="return")
    fields = entry.mapping(("name", "better", "unit", "title"))
    if "name" not in fields:
        raise entry.error(f"{entry.name}: needs `name:`, the metric that decides")
    better = fields["better"].text() if "better" in fields else "up"
    if better not in DIRECTIONS[:2]:
        raise fields["better"].error(f"{fields['better'].name}: {better!r}: give up or down")
    unit = fields["unit"].text() if "unit" in fields else "return"
    name = fields["name"].text()
    title = fields["title"].text() if "title" in fields else ("return" if unit == "return" else name)
    return Metric(name, "eval", "program", unit, better, role="primary", title=title)


def _source(entry: Entry, step: str) -> SourceSpec:
    fields = entry.mapping((*_FILE_KINDS, "stdout", "kind", "step"))
    kinds = [kind for kind in (*_FILE_KINDS, "stdout") if kind in fields]
    if len(kinds) != 1:
        raise entry.error(f"{entry.name}: name one of {', '.join((*_FILE_KINDS, 'stdout'))}, such as csv: progress.csv")
    if "kind" in fields and fields["kind"].text() not in ("eval", "train"):
        raise fields["kind"].error(f"{fields['kind'].name}: {fields['kind'].text()!r}: give eval or train")
    (kind,) = kinds
    is_evaluation = "kind" in fields and fields["kind"].text() == "eval"
    own_step = fields["step"].text() if "step" in fields else ""
    if kind != "stdout":
        path = fields[kind].text().removeprefix("{run}/")
        return SourceSpec(kind, _relative(fields[kind], path), is_evaluation=is_evaluation, step=own_step)
    pattern = fields["stdout"].text()
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise fields["stdout"].error(f"{fields['stdout'].name}: not a regular expression: {error}") from None
    if (own_step or step) not in groups or len(groups) < 2:
        raise fields["stdout"].error(
            f"{fields['stdout'].name}: needs a group named as the step, (?P<{own_step or step}>\\d+), and one for "
            "each metric"
        )
    return SourceSpec(kind, pattern=pattern, is_evaluation=is_evaluation, step=own_step)
