"""Checkpoints: the complete state of one run, whole or absent, verified before it is believed.

`checkpoints/step-<step>-u<update>.pt` holds the state; the `.json` beside it, written last, is its done-marker
and carries its SHA-256. A file without a fitting marker does not count, so a damaged checkpoint falls back
to the one before it. Loaded with `weights_only=True`: a checkpoint cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tdmpc.shards import Superseded, atomic_write

FOLDER = "checkpoints"
SNAPSHOTS = "snapshots"
_SNAPSHOT = re.compile(r"step-(\d{9})\.pt")
# What torch.load raises on bytes that are no checkpoint, or only half of one.
_DAMAGED = (RuntimeError, OSError, EOFError, pickle.UnpicklingError, LookupError, ValueError)
FORMAT = 1
KEPT = 2  # the newest and the one to fall back to


class NoWeights(Exception):
    """There is no readable snapshot where one was asked for; the message is one line."""


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
    for path in _complete(folder):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except _DAMAGED:
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


def save_weights(folder: Path, weights: dict[str, Any], step: int, guard: Callable[[], bool]) -> None:
    """Publish a snapshot: the weights of one step, kept for evaluation. Raises `Superseded` for an old attempt."""
    target = folder / SNAPSHOTS
    target.mkdir(parents=True, exist_ok=True)
    if not guard():
        raise Superseded(f"{folder} belongs to a newer attempt")
    content = {"format": FORMAT, "step": step, "weights": weights}
    atomic_write(target / f"step-{step:09d}.pt", lambda part: torch.save(content, part))


def weights_at(folder: Path, step: int | None) -> tuple[int, dict[str, Any]]:
    """(step, weights) of the snapshot of `step`, of the newest where None. Raises `NoWeights`."""
    found = [(_SNAPSHOT.fullmatch(path.name), path) for path in (folder / SNAPSHOTS).glob("*.pt")]
    files = {int(match[1]): path for match, path in found if match}
    if not files:
        raise NoWeights(f"{folder} holds no snapshot: none was reached yet, or they were switched off")
    wanted = max(files) if step is None else step
    if wanted not in files:
        raise NoWeights(f"no snapshot of step {wanted:,}; there are {', '.join(f'{s:,}' for s in sorted(files))}")
    try:
        content = torch.load(files[wanted], map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        raise NoWeights(f"{files[wanted]} cannot be read: {str(error).splitlines()[0]}") from error
    return wanted, content["weights"]


def _complete(folder: Path) -> list[Path]:
    """Checkpoints whose marker fits, newest first."""
    found = []
    for path in sorted((folder / FOLDER).glob("step-*.pt"), reverse=True):
        try:
            marker = json.loads(path.with_suffix(".json").read_text())
        except (OSError, ValueError):
            continue
        if marker.get("sha256") == _digest(path):
            found.append(path)
    return found


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
