"""Agents that are Python objects, `package.module:NAME`: describe one without importing it here, and load one to train.

Only jobs import the object. Every other command asks a second process for its description once, and stores it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from jobs import process
from jobs.programs import registry
from sweepwise.core.agent import AgentDescription, DescriptionError
from sweepwise.core.errors import JobsError, SweepsError
from sweepwise.core.trainable import Trainable
from sweepwise.core.value_format import shown

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_TIMEOUT_S = 300.0
_NEEDED = ("description", "train")
_ON_PATH: list[Path] = []  # the copy of an agent's code that this process imports


@dataclass(frozen=True)
class AgentSource:
    """An agent of a plan. reference: `package.module:NAME`. code: the file or folder of its top-level module.
    folder: what Python imports it from."""

    reference: str
    description: AgentDescription
    folder: Path
    code: Path


def check_reference(reference: str) -> None:
    """Raises `JobsError` unless `reference` has the form `package.module:NAME`."""
    if not _REFERENCE.fullmatch(reference):
        raise JobsError(f"agent {reference!r}: give package.module:NAME, such as my_agents.sac:SAC")


def describe(reference: str, folder: Path) -> AgentSource:
    """Import the agent in a second process, with `folder` first on its path, and return its description.

    Raises `JobsError` with the reason in one line.
    """
    check_reference(reference)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "description.json"
        command = [*process.python(), "-m", "jobs.programs.describe", reference, str(folder), str(out)]
        try:
            ended = subprocess.run(
                command, env=_environment(), check=False, capture_output=True, text=True, timeout=_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise JobsError(f"agent {reference}: its import took more than {_TIMEOUT_S:.0f} s") from error
        if not out.is_file():
            last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
            raise JobsError(f"agent {reference}: {shown(last)}")
        answer = json.loads(out.read_bytes())
    if "error" in answer:
        raise JobsError(f"agent {reference}: {shown(answer['error'])}")
    description = AgentDescription.from_json(answer["description"])
    if description.name == registry.PACKAGED:
        raise JobsError(
            f"agent {reference}: the name {registry.PACKAGED!r} is that of the packaged agent; choose another"
        )
    return AgentSource(reference, description, Path(answer["folder"]), Path(answer["code"]))


def _environment() -> dict[str, str]:
    before = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(process.ROOT), before]))}


def load(reference: str, folder: Path | None) -> Trainable:
    """The object itself. folder: the copy of its code, first on the path; None for an agent of this project.

    Raises `JobsError` where it cannot be imported, comes from elsewhere, or is not an agent.
    """
    module_name, _, name = reference.partition(":")
    if folder is not None:
        _put_on_path(folder)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise JobsError(f"agent {reference}: {type(error).__name__}: {error}") from error
    origin = Path(getattr(module, "__file__", None) or "").resolve()
    if folder is not None and folder.resolve() not in origin.parents:
        raise JobsError(f"agent {reference}: this process imports {module_name} from {origin}, not from {folder}")
    if not hasattr(module, name):
        raise JobsError(f"agent {reference}: {module_name} has no {name}")
    loaded = getattr(module, name)
    agent = loaded() if isinstance(loaded, type) else loaded
    for needed in _NEEDED:
        if not hasattr(agent, needed):
            raise JobsError(f"agent {reference}: it has no {needed!r}; docs/howto.md says what an agent needs")
    if not isinstance(agent.description, AgentDescription):
        raise JobsError(f"agent {reference}: its description is not a sweepwise.core.agent.AgentDescription")
    if "primary" not in agent.description.catalogue.roles:
        raise JobsError(f"agent {reference}: no metric has the role 'primary'; give it to the result of an evaluation")
    return cast(Trainable, agent)


def _put_on_path(folder: Path) -> None:
    """Import from `folder` first, from now on: the agent may import more of its code later. Modules of another copy of
    the code are forgotten."""
    for other in [entry for entry in _ON_PATH if entry != folder]:
        sys.path.remove(str(other))
        _ON_PATH.remove(other)
        for name, module in list(sys.modules.items()):
            if other.resolve() in Path(getattr(module, "__file__", None) or "/").resolve().parents:
                del sys.modules[name]
    if folder not in _ON_PATH:
        sys.path.insert(0, str(folder))
        _ON_PATH.append(folder)
    importlib.invalidate_caches()


def code_of(module_name: str) -> tuple[Path, Path]:
    """(folder, code) of the top-level module, as in `AgentSource`."""
    spec = importlib.util.find_spec(module_name.partition(".")[0])
    if spec is None or spec.origin is None:
        raise DescriptionError(f"{module_name} has no file")
    origin = Path(spec.origin).resolve()
    code = origin.parent if spec.submodule_search_locations else origin
    return code.parent, code


def describe_to(reference: str, folder: Path, out: Path) -> None:
    """In the second process: write the description, or the error, to `out` as JSON."""
    sys.path.insert(0, str(folder))
    try:
        description = load(reference, None).description
        source, code = code_of(reference.partition(":")[0])
        answer = {"description": description.to_json(), "folder": str(source), "code": str(code)}
        text = json.dumps(answer)
    except SweepsError as error:
        text = json.dumps({"error": str(error).removeprefix(f"agent {reference}: ")})
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        text = json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})
    out.write_text(text)
