"""Checkpoints: the complete state of one run, whole or absent, verified before it is believed.

`checkpoints/step-<step>-u<update>.pt` holds the state; the `.json` beside it, written last, is its done-marker
and carries its SHA-256. A file without a fitting marker does not count, so a damaged checkpoint falls back
to the one before it. Loaded with `weights_only=True`: a checkpoint cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tdmpc.shards import Superseded, atomic_write

FOLDER = "checkpoints"
FORMAT = 1
KEPT = 2  # the newest and the one to fall back to


class Found(NamedTuple):
    path: Path
    step: int
    update: int


def save(folder: Path, state: dict[str, Any], step: int, update: int, guard: Callable[[], bool]) -> None:
    """Publish a run's state and drop all but the newest two. Raises `Superseded` for an old attempt."""
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"step-{step:09d}-u{update:09d}.pt"
    if not guard():
        raise Superseded(f"{folder} belongs to a newer attempt")
    atomic_write(path, lambda part: torch.save({"format": FORMAT, **state}, part))
    marker = {"sha256": _digest(path), "step": step, "update": update}
    atomic_write(path.with_suffix(".json"), lambda part: _write_json(part, marker))
    prune(folder, KEPT)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest state that is whole; None where there is none."""
    for found in _complete(folder):
        try:
            state: dict[str, Any] = torch.load(found.path, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
            continue
        if state.get("format") == FORMAT:
            return state
    return None


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints with a marker; one without was never finished."""
    files = sorted((folder / FOLDER).glob("step-*.pt"), reverse=True)
    kept = [path for path in files if path.with_suffix(".json").exists()][:keep]
    for path in set(files) - set(kept):
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _complete(folder: Path) -> list[Found]:
    """Checkpoints whose marker fits, newest first."""
    found = []
    for path in sorted((folder / FOLDER).glob("step-*.pt"), reverse=True):
        try:
            marker = json.loads(path.with_suffix(".json").read_text())
        except (OSError, ValueError):
            continue
        if marker.get("sha256") == _digest(path):
            found.append(Found(path, marker["step"], marker["update"]))
    return found


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
