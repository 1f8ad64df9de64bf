"""Checkpoints: the complete state of one run, whole or absent, verified before it is believed.

`checkpoints/step-<step>-u<update>-<tag>.pt` holds the state but for the rows of growing buffers, which lie in
append-only files beside it (`tdmpc.training.append_only_file`); the `.json`, written last, is its done-marker with the
SHA-256 of the state and of every piece of these. Where a checksum differs the checkpoint is damaged, and the one before
it is used. Loaded with `weights_only=True`: a checkpoint cannot run code.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sweepwise.core import atomic
from sweepwise.core.atomic import Superseded
from sweepwise.core.shard_name import tag_order
from tdmpc.training.append_only_file import FILE_NAME, Journal, JournalError, read_rows

FOLDER = "checkpoints"
SNAPSHOTS = "snapshots"
_NAME = re.compile(r"step-(?P<step>\d{9,})-u(?P<update>\d{9,})-(?P<tag>[a-z0-9]+)\.(?:pt|json)")
_PART = re.compile(r"\.(?P<whole>.+?)\.\d+(\.[0-9a-f]{8})?\.part")  # what a killed writer leaves behind
_SNAPSHOT = re.compile(r"step-(\d{9})\.pt")
# What torch.load raises on bytes that are no checkpoint, or only half of one.
_UNREADABLE = (RuntimeError, OSError, EOFError, pickle.UnpicklingError, LookupError, ValueError, TypeError)
FORMAT = 3
KEPT = 2  # the newest and the one to fall back to


class NoWeights(Exception):
    """There is no readable snapshot where one was asked for; the message is one line."""


class _Damaged(Exception):
    """A checkpoint that cannot be gone on from; the message says why."""


class Checkpoints:
    """Publishes the states of one run, each only while `guard()` holds.

    growing: the buffers of a state whose rows are appended to journals, not written again with every checkpoint.
    """

    def __init__(self, folder: Path, tag: str, guard: Callable[[], bool], growing: Sequence[str]) -> None:
        self._folder, self._tag, self._guard = folder / FOLDER, tag, guard
        self._journals = {name: Journal(self._folder, name.rstrip("/"), tag) for name in growing}

    def on_disk(self, buffer: str) -> int:
        """How many of a buffer's first rows need not be handed to `save` again."""
        return self._journals[buffer].rows if buffer in self._journals else 0

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `load_newest`: the rows it came with stay where they are."""
        for name, journal in self._journals.items():
            journal.resume(state["journals"][name])

    def save(self, state: Mapping[str, Any], step: int, update: int) -> None:
        """Publish a state and drop all but the newest two. Raises `Superseded` for an old attempt.

        state["buffers"][name]["rows"]: (n, W) rows from `on_disk(name)` on; the last one may still change.
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
        """Remove all but the newest `keep` checkpoints with a marker, and journals that none of those names.

        What a newer attempt wrote is left alone, finished or not.
        """
        whole = [(path, marker) for path in _newest_first(self._folder) if (marker := _marker(path)) is not None]
        kept = {name for path, _ in whole[:keep] for name in (path.name, path.with_suffix(".json").name)}
        kept |= {c["file"] for _, marker in whole[:keep] for named in marker["journals"].values() for c in named}
        for path in self._folder.glob("*"):
            tag = _tag(path.name)
            if tag is not None and path.name not in kept and tag_order(tag) <= tag_order(self._tag):
                path.unlink(missing_ok=True)


def load_newest(folder: Path, tell: Callable[[str], None] = lambda line: None) -> dict[str, Any] | None:
    """The newest state that is whole, buffers complete; None where there is none. tell: called with what is damaged."""
    found = _newest_first(folder / FOLDER)
    for path in found:
        try:
            return _load(path)
        except _Damaged as error:
            tell(f"checkpoint {path.name} is passed over: {error}")
    if found:
        tell("no checkpoint can be read: training begins again at step 0")
    return None


def _load(path: Path) -> dict[str, Any]:
    marker = _marker(path)
    if marker is None:
        raise _Damaged("it was never finished")
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != marker["sha256"]:
            raise _Damaged("its content changed")
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if state.get("format") != FORMAT:
            raise _Damaged(f"format {state.get('format')}, this program reads {FORMAT}")
        state["journals"] = marker["journals"]
        for name, named in marker["journals"].items():
            buffer = state["buffers"][name]
            last = buffer["rows"]
            buffer["rows"] = torch.cat([read_rows(path.parent, named, last.shape[1]), last])
    except (JournalError, *_UNREADABLE) as error:
        raise _Damaged(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return state


def save_weights(folder: Path, weights: dict[str, Any], step: int, guard: Callable[[], bool]) -> None:
    """Publish a snapshot: the weights of one step, kept for evaluation. Raises `Superseded` for an old attempt."""
    target = folder / SNAPSHOTS
    target.mkdir(parents=True, exist_ok=True)
    data = _dump({"format": FORMAT, "step": step, "weights": weights})
    atomic.write(target / f"step-{step:09d}.pt", lambda part: part.write_bytes(data), guard)


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
    except _UNREADABLE as error:
        raise NoWeights(f"{files[wanted]} cannot be read: {str(error).splitlines()[0]}") from error
    its_format = content.get("format")
    if its_format != FORMAT:
        raise NoWeights(f"{files[wanted]} has format {its_format}, this program reads {FORMAT}: train it anew")
    return wanted, content["weights"]


def _newest_first(folder: Path) -> list[Path]:
    """States of all attempts; a later attempt went on from an earlier one, so all of its are newer."""
    found = [(match, path) for path in folder.glob("step-*.pt") if (match := _NAME.fullmatch(path.name))]
    order = [(tag_order(m["tag"]), int(m["step"]), int(m["update"]), path) for m, path in found]
    return [path for *_, path in sorted(order, reverse=True)]


def _marker(path: Path) -> dict[str, Any] | None:
    """What the done-marker of the state at `path` says; None where it is missing or foreign."""
    try:
        found = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"sha256", "journals"} <= found.keys() else None


def _tag(name: str) -> str | None:
    """The attempt that wrote the file `name`, also where it was killed at it; None for a foreign file."""
    part = _PART.fullmatch(name)
    whole = part["whole"] if part else name
    match = _NAME.fullmatch(whole) or FILE_NAME.fullmatch(whole)
    return match["tag"] if match else None


def _dump(content: Mapping[str, Any]) -> bytes:
    """As `torch.save` writes it. To a file it would report a full disk as something else."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    return buffer.getvalue()
