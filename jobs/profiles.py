"""Cluster profiles: YAML to what `jobs.slurm` asks of sbatch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from jobs import yamlfile
from jobs.errors import JobsError, near
from jobs.yamlfile import Entry

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]?\d)(?::(?P<seconds>[0-5]?\d))?")
_WORD = re.compile(r"[A-Za-z0-9_.:/+@,=-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPTION = re.compile(r"[a-z][a-z-]*")
# sbatch options that are made elsewhere: twice would add up or contradict
_OWNED = {
    "array": "max_parallel", "time": "time", "mem": "mem_gb", "gres": "gpus", "gpus": "gpus",
    "gpus-per-node": "gpus", "gpus-per-task": "gpus", "cpus-per-task": "cpus", "partition": "partition",
    "account": "account", "qos": "qos", "exclude": "exclude", "constraint": "constraint",
    "signal": "checkpoint_signal_s",
}  # fmt: skip
_FORBIDDEN = ("job-name", "output", "error", "open-mode", "wrap", "chdir", "export", "nodes", "ntasks")


@dataclass(frozen=True)
class Profile:
    """What a task asks of a cluster.

    time_min: limit in minutes. mem_gb: memory per task. checkpoint_signal_s: seconds before the limit at which
    the task is told to checkpoint. max_parallel: tasks of one array at a time. setup: shell lines, run as they
    are before the task: a profile is trusted like a script. sbatch: further options of sbatch.
    """

    name: str
    gpus: int = 0
    gpu_type: str | None = None
    cpus: int = 1
    mem_gb: float | None = None
    time_min: int = 1440
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    max_parallel: int = 256
    checkpoint_signal_s: int = 120
    modules: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    sbatch: Mapping[str, str | bool] = field(default_factory=dict)


def names() -> list[str]:
    """The profiles that come with the program."""
    files = resources.files("slurm_templates").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def load(name: str) -> Profile:
    """A packaged profile by name, or a file of the user's by its path. Raises `JobsError`."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return _profile(yamlfile.read(Path(name)), Path(name).stem)
    if name not in names():
        raise JobsError(f"unknown profile {name!r}; {near(name, names())}; or give the path of a .yaml file")
    text = resources.files("slurm_templates").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return _profile(yamlfile.parse(text, f"{name}.yaml"), name)


def _profile(root: Entry, name: str) -> Profile:
    values: dict[str, Any] = {}
    for key, entry in root.mapping(_READERS).items():
        values["time_min" if key == "time" else key] = _READERS[key](entry)
    profile = Profile(name, **values)
    if profile.gpu_type and not profile.gpus:
        raise root.error(f"gpu_type={profile.gpu_type!r} needs gpus of at least 1")
    return profile


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


def _minutes(entry: Entry) -> int:
    text = entry.text()
    match = _TIME.fullmatch(text)
    if text.isdigit() and int(text) > 0:
        return int(text)
    if match is None:
        raise entry.error(f"time={text!r}: give minutes, hours:minutes:seconds or days-hours:minutes:seconds")
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    total = (part["days"] * 24 + part["hours"]) * 60 + part["minutes"] + (part["seconds"] > 0)
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
        values[key] = True if _line(value).lower() == "true" else _line(value)
    return values


_READERS: dict[str, Callable[[Entry], Any]] = {
    "partition": _word,
    "account": _word,
    "qos": _word,
    "constraint": _line,
    "exclude": _line,
    "gpus": _count(0),
    "gpu_type": _word,
    "cpus": _count(1),
    "mem_gb": _gigabytes,
    "time": _minutes,
    "max_parallel": _count(1),
    "checkpoint_signal_s": _count(1),
    "modules": lambda entry: tuple(_word(item) for item in entry.items()),
    "env": _environment,
    "setup": lambda entry: tuple(_line(item) for item in entry.items()),
    "sbatch": _options,
}
