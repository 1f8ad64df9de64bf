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
from jobs.backends import formats
from jobs.yaml_reader import Entry
from sweepwise.core.errors import JobsError, near

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
    "job-name", "output", "error", "open-mode", "wrap", "chdir", "export", "nodes", "ntasks", "ntasks-per-node",
    "hold", "requeue", "no-requeue", "dependency", "parsable", "wait", "test-only", "clusters", "cluster-constraint",
    "uid", "gid", "help", "usage", "version",
)  # fmt: skip
_CLUSTER_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_CLUSTERS", "SQUEUE_CLUSTERS", "SCANCEL_CLUSTERS")
_GPU_REQUESTS = ("gpus-per-node", "gres")
DEFAULT = "gpu"  # the profile for clusters
_RENDERERS = ("disabled", "egl", "osmesa", "glfw")


@dataclass(frozen=True)
class Profile:
    """The resources that a task requests from a cluster.

    gpu_request: the sbatch option that requests GPUs. time_min: time limit in minutes, None for none. mem_gb: memory
    per task.
    checkpoint_signal_s: how many seconds before the time limit the task receives the signal to checkpoint.
    max_parallel: tasks at a time. max_submit: largest number of tasks that a user may have in the queue. scratch,
    compile_cache: folders, in which the job's variables are expanded. activate, setup: shell lines that run unchanged
    before the task, so a profile must be as trusted as a script. sbatch: further options of sbatch. notify: a command
    for the shell that is run for events, see `jobs.runs.notify`.
    """

    name: str
    gpus: int = 0
    gpu_type: str | None = None
    gpu_request: str = "gpus-per-node"
    cpus: int = 1
    mem_gb: float | None = None
    time_min: int | None = 1440
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
    notify: str | None = None

    @property
    def excluded_nodes(self) -> list[str]:
        return formats.node_names(self.exclude) if self.exclude else []


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
            f"unknown profile {name!r}; {near(name, names())}; or give a .yaml file (yours are in {own_folder()})"
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
    return dataclasses.replace(profile, gpus=0, gpu_type=None, cpus=1, time_min=min(profile.time_min or 60, 60))


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
    number = formats.gigabytes(entry.text(), unit="G")
    if not 0 < number < 1e6:
        raise entry.error(
            f"{entry.name}={entry.text()!r}: give gigabytes as a number above 0, such as 16, or with a unit, such as 1T"
        )
    return number


def _minutes(entry: Entry) -> int | None:
    text = entry.text()
    try:
        total = formats.minutes(text)
    except ValueError as error:
        raise entry.error(f"time={text!r}: {error}") from None
    if total == 0:
        raise entry.error(f"time={text!r}: must be at least a minute")
    return total


def _list_of(read: Callable[[Entry], str]) -> Callable[[Entry], str]:
    """A list as Slurm writes it, `a,b`, or as a list of YAML."""

    def read_list(entry: Entry) -> str:
        return ",".join(map(read, entry.items())) if entry.is_list() else read(entry)

    return read_list


def _nodes(entry: Entry) -> str:
    text = _value(entry)
    try:
        formats.node_names(text)
    except ValueError as error:
        raise entry.error(f"{entry.name}={text!r}: {error}") from None
    return text


def _environment(entry: Entry) -> dict[str, str]:
    values = {}
    for key, value in entry.mapping().items():
        if not _VARIABLE.fullmatch(key):
            raise value.error(f"env: {key!r} is not the name of a variable")
        if key in _CLUSTER_VARIABLES:
            raise value.error(f"env: {key!r} would send jobs to another cluster; submit on that cluster")
        values[key] = _line(value)
    return values


def _options(entry: Entry) -> dict[str, str | bool]:
    values: dict[str, str | bool] = {}
    for raw, value in entry.mapping().items():
        key = raw.removeprefix("--").replace("_", "-")
        # sbatch takes any unambiguous beginning of an option's name for the option
        owned = next((name for name in _OWNED if name.startswith(key)), None)
        if owned is not None:
            raise value.error(f"sbatch: {raw!r} is set by a key of the profile; use {_OWNED[owned]}")
        if any(name.startswith(key) for name in _FORBIDDEN) or not _OPTION.fullmatch(key):
            raise value.error(f"sbatch: {raw!r} cannot be set here")
        values[key] = True if _value(value).lower() == "true" else _value(value)
    return values


_READERS: dict[str, Callable[[Entry], Any]] = {
    "partition": _list_of(_word),
    "account": _word,
    "qos": _word,
    "constraint": _value,
    "exclude": _list_of(_nodes),
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
    "notify": _line,
}
