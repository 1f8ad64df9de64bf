"""The hyperparameters of a program and their defaults, from its configuration file or from what it prints."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from jobs import yaml_reader
from jobs.programs.command import activated
from jobs.yaml_reader import Entry
from sweepwise.core import atomic, yaml_scalars
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import shown

_TIMEOUT_S = 120.0
_MOST = 5_000  # hyperparameters; aliases of YAML can multiply without end
_MISSING = "???"  # OmegaConf's mark of a value that has to be given
_HYDRA_OWN = ("hydra",)  # the part of a Hydra configuration that is not the program's


def of_file(entry: Entry, path: Path, style: str) -> dict[str, Any]:
    """Of a YAML, JSON or TOML file. entry: names it in the plan. Raises `JobsError`."""
    if path.suffix == ".toml":
        import tomllib

        try:
            return _flat_values(tomllib.loads(atomic.read_text(path)))
        except (OSError, ValueError) as error:
            raise entry.error(f"{entry.name}: {path}: {error}") from error
    try:
        return flat(yaml_reader.read(path), style)
    except JobsError as error:
        raise entry.error(f"{entry.name}: {error}") from error


def of_command(entry: Entry, argv: Sequence[str], folder: Path, activate: Sequence[str], style: str) -> dict[str, Any]:
    """Of the YAML or JSON that a command prints, such as `python train.py --cfg all --resolve`. Raises `JobsError`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    try:
        done = subprocess.run(
            activated(activate, argv),
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise entry.error(f"{entry.name}: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise entry.error(f"{entry.name}: the command failed: {shown(last)}")
    try:
        return flat(yaml_reader.parse(done.stdout, "its output"), style)
    except JobsError as error:
        raise entry.error(f"{entry.name}: {error}") from error


def flat(entry: Entry, style: str) -> dict[str, Any]:
    """Nested keys joined by dots, and their values as YAML 1.2 reads them. With Hydra the choices of its `defaults`
    list are hyperparameters too, and what is Hydra's own is left out."""
    values: dict[str, Any] = {}
    for key, child in entry.mapping().items():
        if style == "hydra" and key in _HYDRA_OWN:
            values |= _composed(child)
            continue
        if style == "hydra" and key == "defaults" and isinstance(child.node, yaml.SequenceNode):
            values |= _choices(child)
        elif isinstance(child.node, yaml.MappingNode):
            values |= {f"{key}.{name}": value for name, value in flat(child, style="").items()}
            if len(values) > _MOST:
                raise entry.error(f"{entry.name}: more than {_MOST:,} hyperparameters")
        else:
            values[key] = _value(child.node)
    return values


def _composed(entry: Entry) -> dict[str, Any]:
    """Group -> choice, of Hydra's own part of a configuration that `--cfg all` prints."""
    for name in ("runtime", "choices"):
        fields = entry.mapping() if isinstance(entry.node, yaml.MappingNode) else {}
        if name not in fields:
            return {}
        entry = fields[name]
    return {group: _value(choice.node) for group, choice in entry.mapping().items() if not group.startswith("hydra/")}


def _choices(entry: Entry) -> dict[str, Any]:
    """Group -> choice, of Hydra's defaults list."""
    chosen: dict[str, Any] = {}
    for item in entry.items():
        if isinstance(item.node, yaml.MappingNode):
            for group, choice in item.mapping().items():
                name = group.removeprefix("override ").removeprefix("optional ").strip()
                if not name.startswith("hydra/") and not name.startswith("/hydra/"):
                    chosen[name.lstrip("/")] = _value(choice.node)
    return chosen


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return tuple(_value(child) for child in node.value)
    if isinstance(node, yaml.MappingNode):  # inside a list: no hyperparameter reaches into it
        return json.dumps(yaml.safe_load(yaml.serialize(node)), sort_keys=True, default=str)
    text = str(node.value)
    if text == _MISSING:
        return None
    return text if node.style else yaml_scalars.scalar(text)


def _flat_values(tree: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            values |= {f"{key}.{name}": inner for name, inner in _flat_values(value).items()}
        else:
            values[key] = yaml_scalars.frozen(value) if isinstance(value, (list, int, float, str)) else str(value)
    return values
