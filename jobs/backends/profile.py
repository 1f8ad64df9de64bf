"""Cluster profiles: YAML files with options of sbatch, packaged or in the user's own folder."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from jobs import yaml_reader
from jobs.yaml_reader import Entry
from sweepwise.core.errors import JobsError, near

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]?\d)(?::(?P<seconds>[0-5]?\d))?")
_WORD = re.compile(r"[A-Za-z0-9_.:/+@,=-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FOLDER = re.compile(r"[A-Za-z0-9_./:+@={}$-]+")  # variables, no commands
_OPTION = re.compile(r"[a-z][a-z-]*")
# sbatch options that are set through a profile key: set twice, they would add up or conflict
_OWNED = {
    "array": "max_parallel", "time": "time", "mem": "mem_gb", "gres": "gpus", "gpus": "gpus",
    "gpus-per-node": "gpus", "gpus-per-task": "gpus", "cpus-per-task": "cpus", "partition": "partition",
    "account": "account", "qos": "qos", "exclude": "exclude", "constraint": "constraint",
    "signal": "checkpoint_signal_s",
}  # fmt: skip
# sbatch options that the program sets itself
_FORBIDDEN = (
    "job-name", "output", "error", "open-mode", "wrap", "chdir", "export", "nodes", "ntasks", "hold", "requeue",
    "no-requeue", "dependency", "parsable", "wait", "test-only",
)  # fmt: skip
_GPU_REQUESTS = ("gpus-per-node", "gres")
DEFAULT = "gpu"  # the profile for clusters
_RENDERERS = ("disabled", "egl", "osmesa", "glfw")


@dataclass(frozen=True)
class Profile:
    """The resources that a task requests from a cluster.

    gpu_request: the sbatch option that requests GPUs. time_min: time limit in minutes. mem_gb: memory per task.
    checkpoint_signal_s: how many seconds before the time limit the task receives the signal to checkpoint.
    max_parallel: tasks at a time. max_submit: largest number of tasks that a user may have in the queue. scratch,
    compile_cache: folders, in which the job's variables are expanded. activate, setup: shell lines that run unchanged
    before the task, so a profile must be as trusted as a script. sbatch: further options of sbatch.
    """

    name: str
    gpus: int = 0
    gpu_type: str | None = None
    gpu_request: str = "gpus-per-node"
    cpus: int = 1
    mem_gb: float | None = None
    time_min: int = 1440
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    max_parallel: int = 256
    max_submit: int | None = None
    checkpoint_signal_s: int = 120
    modules: tuple[str, ...] = ()
    activate: str | None = None
    scratch: str | None = None
    compile_cache: str | None = None
    mujoco_gl: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    sbatch: Mapping[str, str | bool] = field(default_factory=dict)


def own_folder() -> Path:
    """The folder of the user's profiles: $SWEEPS_PROFILES, else ~/.config/sweeps/profiles."""
    chosen = os.environ.get("SWEEPS_PROFILES")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return Path(chosen).expanduser() if chosen else config / "sweeps" / "profiles"


def _own_files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(own_folder().glob("*.yaml"))}


def names() -> list[str]:
    """The names of the packaged profiles and of those in the user's folder."""
    files = resources.files("slurm_templates").iterdir()
    return sorted({f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml")} | set(_own_files()))


def load(name: str, options: Sequence[str] = ()) -> Profile:
    """A profile by name (the user's own before a packaged one) or path; `key=value` in `options` override it.

    Raises `JobsError`.
    """
    own_path = _own_files().get(name)
    if _is_path(name) or own_path is not None:
        path = own_path or Path(name)
        return _profile(yaml_reader.read(path), path.stem, options)
    if name not in names():
        raise JobsError(
            f"unknown profile {name!r}; {near(name, names())} Or give a .yaml file; yours lie in {own_folder()}"
        )
    text = resources.files("slurm_templates").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return _profile(yaml_reader.parse(text, f"{name}.yaml"), name, options)


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or "/" in name


def lasting(name: str | None) -> str | None:
    """`name`, made absolute if it is a path, so that it is valid from any working directory."""
    return str(Path(name).absolute()) if name is not None and _is_path(name) else name


def for_report(profile: Profile) -> Profile:
    """The profile of the job that writes the report, derived from `profile` of the tasks."""
    return dataclasses.replace(profile, gpus=0, gpu_type=None, cpus=1, time_min=min(profile.time_min, 60))


def _profile(root: Entry, name: str, options: Sequence[str]) -> Profile:
    values = _values(root)
    for option in options:
        key, equals, value = option.partition("=")
        outer, dot, inner = key.partition(".")
        if not equals or not outer or not option.isprintable():
            raise JobsError(f"--option {option!r}: give key=value, such as --option time=2:00:00")
        text = f"{outer}: {{{inner}: {value}}}" if dot else f"{outer}: {value}"
        try:
            overrides = _values(yaml_reader.parse(text, "option", "profile"))
        except JobsError as error:
            raise JobsError(f"--option {option!r}: {str(error).removeprefix('option:1: ')}") from error
        for field_name, override in overrides.items():
            values[field_name] = {**values.get(field_name, {}), **override} if isinstance(override, dict) else override
    profile = Profile(name, **values)
    if profile.gpu_type and not profile.gpus:
        raise root.error(f"gpu_type={profile.gpu_type!r} needs gpus of at least 1")
    return profile


def _values(root: Entry) -> dict[str, Any]:
    return {"time_min" if key == "time" else key: _READERS[key](e) for key, e in root.mapping(_READERS).items()}


def _word(entry: Entry) -> str:
    text = entry.text()
    if not _WORD.fullmatch(text):
        raise entry.error(f"{entry.name}={text!r}: letters, digits and _.:/+@,=- only")
    return text


def _line(entry: Entry) -> str:
    text = entry.text()
    if not text.isprintable():
        raise entry.error(f"{entry.name}: control characters are not allowed; one line per entry")
    return text


def _value(entry: Entry) -> str:
    """The value of an sbatch option; % is refused, since sbatch expands it."""
    text = _line(entry)
    if "%" in text:
        raise entry.error(f"{entry.name}={text!r}: % is not allowed")
    return text


def _folder(entry: Entry) -> str:
    text = entry.text()
    if not _FOLDER.fullmatch(text) or not text.startswith(("/", "$")):
        raise entry.error(f"{entry.name}={text!r}: give an absolute folder, such as /scratch/$USER")
    return text


def _one_of(legal: Sequence[str]) -> Callable[[Entry], str]:
    def read(entry: Entry) -> str:
        if entry.text() not in legal:
            raise entry.error(f"{entry.name}={entry.text()!r}: give {', '.join(legal)}")
        return entry.text()

    return read


def _count(low: int) -> Callable[[Entry], int]:
    def read(entry: Entry) -> int:
        if entry.whole() < low:
            raise entry.error(f"{entry.name}={entry.whole()}: must be at least {low}")
        return entry.whole()

    return read


def _gigabytes(entry: Entry) -> float:
    try:
        number = float(entry.text())
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise entry.error(f"{entry.name}={entry.text()!r}: give gigabytes as a number above 0, such as 16")
    return number


def minutes(text: str) -> int:
    """The minutes of a time as Slurm writes it, rounded up. Raises `ValueError`."""
    match = _TIME.fullmatch(text)
    if text.isdigit():
        return int(text)
    if match is None:
        raise ValueError("give minutes, hours:minutes:seconds or days-hours:minutes:seconds")
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    return (part["days"] * 24 + part["hours"]) * 60 + part["minutes"] + (part["seconds"] > 0)


def _minutes(entry: Entry) -> int:
    text = entry.text()
    try:
        total = minutes(text)
    except ValueError as error:
        raise entry.error(f"time={text!r}: {error}") from None
    if total < 1:
        raise entry.error(f"time={text!r}: must be at least a minute")
    return total


def _environment(entry: Entry) -> dict[str, str]:
    values = {}
    for key, value in entry.mapping().items():
        if not _VARIABLE.fullmatch(key):
            raise value.error(f"env: {key!r} is no name of a variable")
        values[key] = _line(value)
    return values


def _options(entry: Entry) -> dict[str, str | bool]:
    values: dict[str, str | bool] = {}
    for raw, value in entry.mapping().items():
        key = raw.removeprefix("--").replace("_", "-")
        if key in _OWNED:
            raise value.error(f"sbatch: {raw!r} has a key of its own here; use {_OWNED[key]}")
        if key in _FORBIDDEN or not _OPTION.fullmatch(key):
            raise value.error(f"sbatch: {raw!r} cannot be set here")
        values[key] = True if _value(value).lower() == "true" else _value(value)
    return values


_READERS: dict[str, Callable[[Entry], Any]] = {
    "partition": _word,
    "account": _word,
    "qos": _word,
    "constraint": _value,
    "exclude": _value,
    "gpus": _count(0),
    "gpu_type": _word,
    "gpu_request": _one_of(_GPU_REQUESTS),
    "cpus": _count(1),
    "mem_gb": _gigabytes,
    "time": _minutes,
    "max_parallel": _count(1),
    "max_submit": _count(1),
    "checkpoint_signal_s": _count(1),
    "modules": lambda entry: tuple(_word(item) for item in entry.items()),
    "activate": _line,
    "scratch": _folder,
    "compile_cache": _folder,
    "mujoco_gl": _one_of(_RENDERERS),
    "env": _environment,
    "setup": lambda entry: tuple(_line(item) for item in entry.items()),
    "sbatch": _options,
}
