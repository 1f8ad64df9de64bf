"""Checkpoints: the complete state of one run, written atomically and verified by checksums.

`checkpoints/step-<step>-u<update>-<tag>.pt` holds the state except the rows of growing buffers, which are in
append-only files in the same folder (`tdmpc.training.append_only_file`). The `.json` file is written last and marks the
checkpoint as complete. It has the SHA-256 of the state and of the rows. Where a checksum differs, the checkpoint is
damaged and the one before it is used. Loaded with `weights_only=True`, so that a checkpoint cannot run code.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sweepwise.core import atomic
from sweepwise.core.atomic import Superseded
from sweepwise.core.shard_name import tag_order
from sweepwise.core.trainable import NoWeights
from tdmpc.training.append_only_file import FILE_NAME, Journal, JournalError, read_rows

FOLDER = "checkpoints"
SNAPSHOTS = "snapshots"
_NAME = re.compile(r"step-(?P<step>\d{9,})-u(?P<update>\d{9,})-(?P<tag>[a-z0-9]+)\.(?:pt|json)")
_PART = re.compile(r"\.(?P<whole>.+?)\.\d+(\.[0-9a-f]{8})?\.part")  # temporary file of a killed writer
_SNAPSHOT = re.compile(r"step-(\d{9})\.pt")
# Exceptions of torch.load for truncated or foreign files.
_UNREADABLE = (
    RuntimeError, OSError, EOFError, pickle.UnpicklingError, LookupError, ValueError, TypeError, AttributeError,
    ArithmeticError, MemoryError, AssertionError,
)  # fmt: skip
FORMAT = 3
KEPT = 2  # the newest, and the one used where the newest is damaged


class _Damaged(Exception):
    """A checkpoint that training cannot resume from; the message says why."""


class Checkpoints:
    """Writes the checkpoints of one run, only while `guard()` returns True.

    growing: buffers whose rows are appended to journals instead of being written again with every checkpoint.
    """

    def __init__(self, folder: Path, tag: str, guard: Callable[[], bool], growing: Sequence[str]) -> None:
        self._folder, self._tag, self._guard = folder / FOLDER, tag, guard
        self._journals = {name: Journal(self._folder, name.rstrip("/"), tag) for name in growing}

    def on_disk(self, buffer: str) -> int:
        """Number of first rows of a buffer that are on disk already; `save` takes the rows after them."""
        return self._journals[buffer].rows if buffer in self._journals else 0

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of `load_newest`, whose rows are on disk already."""
        for name, journal in self._journals.items():
            journal.resume(state["journals"][name])

    def save(self, state: Mapping[str, Any], step: int, update: int) -> None:
        """Write a checkpoint and remove all but the newest two. Raises `Superseded` for an old attempt.

        state["buffers"][name]["rows"]: (n, W) rows from `on_disk(name)` on. The last one may still change, so it is
        stored in the state and not in the journal.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._guard():
            raise Superseded(f"{self._folder.parent} belongs to a newer attempt")
        buffers = dict(state["buffers"])
        for name, journal in self._journals.items():
            rows = buffers[name]["rows"]
            journal.append(rows[:-1])
            buffers[name] = {**buffers[name], "rows": rows[-1:].clone()}
        path = self._folder / f"step-{step:09d}-u{update:09d}-{self._tag}.pt"
        data = _dump({"format": FORMAT, **state, "buffers": buffers})
        atomic.write(path, lambda part: part.write_bytes(data), self._guard)
        marker = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "journals": {name: journal.extents for name, journal in self._journals.items()},
        }
        atomic.write(path.with_suffix(".json"), lambda part: part.write_text(json.dumps(marker)), self._guard)
        self.prune(KEPT)

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep` complete checkpoints, and journals that those do not need.

        Files of newer attempts are not removed.
        """
        complete = [(path, marker) for path in _newest_first(self._folder) if (marker := _marker(path)) is not None]
        kept = {name for path, _ in complete[:keep] for name in (path.name, path.with_suffix(".json").name)}
        kept |= {e["file"] for _, marker in complete[:keep] for extents in marker["journals"].values() for e in extents}
        for path in self._folder.glob("*"):
            tag = _tag(path.name)
            if tag is not None and path.name not in kept and tag_order(tag) <= tag_order(self._tag):
                path.unlink(missing_ok=True)


def load_newest(folder: Path, tell: Callable[[str], None] = lambda line: None) -> dict[str, Any] | None:
    """The newest undamaged state, with all rows of its buffers; None where there is none.

    tell: called with a message for each damaged checkpoint.
    """
    paths = _newest_first(folder / FOLDER)
    for path in paths:
        try:
            return _load(path)
        except _Damaged as error:
            tell(f"checkpoint {path.name} is skipped: {error}")
    if paths:
        tell("no checkpoint can be read: training begins again at step 0")
    return None


def _load(path: Path) -> dict[str, Any]:
    marker = _marker(path)
    if marker is None:
        raise _Damaged("it was never finished")
    try:
        data = atomic.read_bytes(path, largest=math.inf)
        if hashlib.sha256(data).hexdigest() != marker["sha256"]:
            raise _Damaged("its content changed")
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if state.get("format") != FORMAT:
            raise _Damaged(f"format {state.get('format')}, this program reads {FORMAT}")
        state["journals"] = marker["journals"]
        for name, extents in marker["journals"].items():
            buffer = state["buffers"][name]
            last = buffer["rows"]
            buffer["rows"] = torch.cat([read_rows(path.parent, extents, last.shape[1]), last])
    except (JournalError, *_UNREADABLE) as error:
        raise _Damaged(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return state


def save_weights(folder: Path, weights: dict[str, Any], step: int, guard: Callable[[], bool]) -> None:
    """Write a snapshot: the weights at one step, for evaluation. Raises `Superseded` for an old attempt."""
    snapshots = folder / SNAPSHOTS
    snapshots.mkdir(parents=True, exist_ok=True)
    data = _dump({"format": FORMAT, "step": step, "weights": weights, "sha256": _checksum(weights)})
    atomic.write(snapshots / f"step-{step:09d}.pt", lambda part: part.write_bytes(data), guard)


def snapshots_in(folder: Path) -> dict[int, Path]:
    """Step -> file of the snapshots of a run."""
    matches = [(_SNAPSHOT.fullmatch(path.name), path) for path in (folder / SNAPSHOTS).glob("*.pt")]
    return {int(match[1]): path for match, path in matches if match}


def weights_at(folder: Path, step: int | None) -> tuple[int, dict[str, Any]]:
    """(step, weights) of the snapshot of `step`; None: of the newest. Raises `NoWeights`."""
    files = snapshots_in(folder)
    if not files:
        raise NoWeights(f"{folder} holds no snapshot: none was reached yet, or they were switched off")
    chosen = max(files) if step is None else step
    if chosen not in files:
        raise NoWeights(f"no snapshot of step {chosen:,}; there are {', '.join(f'{s:,}' for s in sorted(files))}")
    return chosen, _weights(files[chosen])


def _weights(path: Path) -> dict[str, Any]:
    """The weights in a snapshot. Raises `NoWeights` where it is damaged or foreign."""
    fix = "evaluate another step with --at, or move it away"
    try:
        content = torch.load(io.BytesIO(atomic.read_bytes(path)), map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise NoWeights(f"{path} is not a snapshot of this program; {fix}")
        if content["format"] != FORMAT:
            raise NoWeights(f"{path} has format {content['format']}, this program reads {FORMAT}: train it again")
        weights = content.get("weights")
        if weights is None or not _is_weights(weights):
            raise NoWeights(f"{path} holds no weights; {fix}")
        if content.get("sha256", _checksum(weights)) != _checksum(weights):  # earlier versions wrote none
            raise NoWeights(f"{path} was changed since it was written: its checksum differs; {fix}")
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NoWeights(f"{path} cannot be read: {reason}; {fix}") from error
    return weights


def _is_weights(weights: object) -> bool:
    """Whether these are tensors by module and name."""
    modules = weights.values() if isinstance(weights, dict) else [None]
    return all(isinstance(m, dict) and all(isinstance(value, torch.Tensor) for value in m.values()) for m in modules)


def _checksum(weights: Mapping[str, Mapping[str, torch.Tensor]]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    hasher = hashlib.sha256()
    for module, tensors in sorted(weights.items()):
        for name, value in sorted(tensors.items()):
            hasher.update(f"{module}\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
            hasher.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _newest_first(folder: Path) -> list[Path]:
    """Checkpoints of all attempts. A later attempt resumed from an earlier one, so all of its checkpoints are newer."""
    matches = [(match, path) for path in folder.glob("step-*.pt") if (match := _NAME.fullmatch(path.name))]
    order = [(tag_order(m["tag"]), int(m["step"]), int(m["update"]), path) for m, path in matches]
    return [path for *_, path in sorted(order, reverse=True)]


def _marker(path: Path) -> dict[str, Any] | None:
    """Content of the `.json` of the checkpoint at `path`; None where it is missing or not valid."""
    try:
        marker = json.loads(atomic.read_bytes(path.with_suffix(".json")))
    except (OSError, ValueError, RecursionError):
        return None
    return marker if isinstance(marker, dict) and {"sha256", "journals"} <= marker.keys() else None


def _tag(name: str) -> str | None:
    """Tag of the attempt that wrote the file `name`, or its temporary file; None for other files."""
    part = _PART.fullmatch(name)
    final_name = part["whole"] if part else name
    match = _NAME.fullmatch(final_name) or FILE_NAME.fullmatch(final_name)
    return match["tag"] if match else None


def _dump(content: Mapping[str, Any]) -> bytes:
    """The bytes of `torch.save`, which would not report a full disk as such if it wrote to a file."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    return buffer.getvalue()
