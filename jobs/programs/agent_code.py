"""Copies of code: their hash, and which files of an agent's code are copied at submit."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from jobs import process
from jobs.programs.command import ProgramSource
from jobs.programs.python import AgentSource
from sweepwise.core.errors import JobsError

SUFFIXES = {".py", ".pyi", ".yaml", ".yml", ".json", ".toml", ".txt", ".cfg", ".ini", ".xml",
            ".c", ".cc", ".cpp", ".h", ".cu"}  # fmt: skip
# Suffixes of what programs write. Copied with the code, each new file would make other code of it.
RESULTS = {".html", ".log", ".out", ".err", ".csv", ".jsonl", ".parquet", ".png", ".pdf", ".svg", ".mp4", ".gif",
           ".tar", ".zip", ".gz", ".pt", ".pth", ".ckpt", ".npz", ".npy", ".pkl", ".h5", ".wandb", ".pyc"}  # fmt: skip
MAX_FILES, MAX_BYTES = 5_000, 50_000_000
_RESULTS = {"runs", "submissions", "locks"}  # a folder that holds these is a results folder
_DIGITS = 16


def files_of(source: AgentSource, plan_folder: Path) -> list[Path]:
    """Relative paths of the code, sorted: all of the plan's folder if the agent lies there, since it may import its
    neighbours; else only its own top-level module. In a Git repository, what Git ignores is left out.

    Raises `JobsError` for more than `MAX_FILES` files or `MAX_BYTES` bytes.
    """
    if source.code.is_file() and source.folder != plan_folder.resolve():
        paths = [source.code]
    else:
        paths = list(_walk(source.folder if source.folder == plan_folder.resolve() else source.code))
    ignored = _ignored(source.folder, paths)
    chosen = sorted(path.relative_to(source.folder) for path in paths if path not in ignored)
    size = sum((source.folder / path).stat().st_size for path in chosen)
    if len(chosen) > MAX_FILES or size > MAX_BYTES:
        raise JobsError(
            f"{source.folder}: {len(chosen):,} files with {size / 1e6:,.0f} MB would be copied as the agent's code; "
            f"at most {MAX_FILES:,} with {MAX_BYTES / 1e6:.0f} MB are: move data elsewhere, or the agent to a folder"
        )
    return chosen


def program_files(source: ProgramSource) -> list[Path]:
    """Relative paths of a program's code, sorted: what Git tracks and `include` names; without a repository, all but
    hidden files, environments, results folders and what programs write (`RESULTS`). The plan is no part of it.

    Raises `JobsError` as `files_of`.
    """
    tracked = process.run_quietly(["git", "-C", str(source.folder), "ls-files", "-z"])
    if tracked:
        chosen = {Path(name) for name in tracked.split("\0") if name}
    else:
        paths = (path for path in _walk(source.folder, any_suffix=True) if path.suffix.lower() not in RESULTS)
        chosen = {path.relative_to(source.folder) for path in paths}
    for pattern in source.include:
        included = {path.relative_to(source.folder) for path in source.folder.glob(pattern) if path.is_file()}
        if not included:
            raise JobsError(f"program.include: {pattern!r} matches no file in {source.folder}")
        chosen |= included
    linked = {Path(name) for name in source.program.link}
    own = (path for path in chosen if not linked & {path, *path.parents} and source.folder / path != source.plan)
    files = sorted(path for path in own if (source.folder / path).is_file())
    size = sum((source.folder / path).stat().st_size for path in files)
    if len(files) > MAX_FILES or size > MAX_BYTES:
        raise JobsError(
            f"{source.folder}: {len(files):,} files with {size / 1e6:,.0f} MB would be copied as the program's code; "
            f"at most {MAX_FILES:,} with {MAX_BYTES / 1e6:.0f} MB are: let Git ignore data, and name it in `link:`"
        )
    return files


def commit(folder: Path) -> str | None:
    """The commit of a folder, with "+" where files differ from it; None outside a repository."""
    head = process.run_quietly(["git", "-C", str(folder), "rev-parse", "HEAD"])
    if head is None:
        return None
    changed = process.run_quietly(["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"])
    return head.strip() + ("+" if changed else "")


def _walk(folder: Path, any_suffix: bool = False) -> Iterator[Path]:
    for where, names, files in os.walk(folder):
        if set(names) >= _RESULTS or "pyvenv.cfg" in files:
            names.clear()
            continue
        names[:] = [name for name in names if not name.startswith(".") and name not in ("__pycache__", "site-packages")]
        yield from (Path(where) / name for name in files
                    if (any_suffix or Path(name).suffix in SUFFIXES) and not name.startswith("."))  # fmt: skip


def _ignored(folder: Path, paths: list[Path]) -> set[Path]:
    """Those of `paths` that Git ignores; none outside a repository."""
    text = process.run_quietly(
        ["git", "-C", str(folder), "ls-files", "--others", "--ignored", "--exclude-standard", "-z"]
    )
    return {folder / name for name in (text or "").split("\0") if name} & set(paths)


def digest(folder: Path, paths: Iterable[Path]) -> str:
    """A hash over names and contents."""
    hasher = hashlib.sha256()
    for path in paths:
        data = (folder / path).read_bytes()
        hasher.update(f"{path.as_posix()}\0{len(data)}\0".encode())
        hasher.update(data)
    return hasher.hexdigest()[:_DIGITS]


def copied_files(folder: Path) -> list[Path]:
    """The files of a copy, without bytecode that an import wrote."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if "__pycache__" not in path.parts)


def copy(root: Path, paths: Iterable[Path], folder_of: Callable[[str], Path]) -> str:
    """Copy files below `root` to the folder of their hash, which appears whole or not at all; returns the hash.

    It is that of the copied files, since the code may be edited meanwhile.
    """
    files = list(paths)
    part = folder_of("0" * _DIGITS).with_name(f".{uuid.uuid4().hex}.part")
    try:
        for path in files:
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / path, part / path)  # with its mode: a program may be executable
        code = digest(part, files)
        try:
            part.rename(folder_of(code))
        except OSError:
            if not folder_of(code).exists():  # otherwise another submit made the same copy first
                raise
        return code
    finally:
        shutil.rmtree(part, ignore_errors=True)
