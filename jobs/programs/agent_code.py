"""Copies of code: their hash, and which files of an agent's code are copied at submit."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
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
_LONGEST_PART = 255  # bytes of a part of a path


def files_of(source: AgentSource, plan_folder: Path) -> list[Path]:
    """Relative paths of the code, sorted: all of the plan's folder if the agent lies there, since it may import its
    neighbours; else only its own top-level module. Where Git tracks files (`git add`), these only, and nothing that it
    ignores.

    Raises `JobsError` for more than `MAX_FILES` files or `MAX_BYTES` bytes, and for an agent that Git does not track.
    """
    if source.code.is_file() and source.folder != plan_folder.resolve():
        paths = [source.code]
    else:
        paths = list(_walk(source.folder if source.folder == plan_folder.resolve() else source.code))
    known = tracked(source.folder)
    own = {path.relative_to(source.folder) for path in paths}
    chosen = sorted(own & known if known is not None else own - _ignored(source.folder))
    if source.code.is_file() and source.code.relative_to(source.folder) not in chosen:
        raise JobsError(f"{source.code}: Git does not track it, and only tracked files are copied; `git add` it")
    size = sum((source.folder / path).stat().st_size for path in chosen)
    if len(chosen) > MAX_FILES or size > MAX_BYTES:
        raise JobsError(
            f"{source.folder}: {len(chosen):,} files with {size / 1e6:,.0f} MB would be copied as the agent's code; "
            f"the limit is {MAX_FILES:,} with {MAX_BYTES / 1e6:.0f} MB: move data elsewhere, or the agent to a folder"
        )
    return chosen


def program_files(source: ProgramSource) -> list[Path]:
    """Relative paths of a program's code, sorted: what Git tracks and `include` names; without a repository, all but
    hidden files, environments, results folders and what programs write (`RESULTS`). The plan is no part of it.

    Raises `JobsError` as `files_of`.
    """
    known = tracked(source.folder)
    if known is not None:
        chosen = set(known)
    else:
        paths = (path for path in _walk(source.folder, any_suffix=True) if path.suffix.lower() not in RESULTS)
        chosen = {path.relative_to(source.folder) for path in paths} - _ignored(source.folder)
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
            f"the limit is {MAX_FILES:,} with {MAX_BYTES / 1e6:.0f} MB: let Git ignore data, and name it in `link:`"
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


def tracked(folder: Path) -> set[Path] | None:
    """Relative paths of the files that Git tracks in a folder; None where it tracks none, as outside a repository."""
    text = process.run_quietly(["git", "-C", str(folder), "ls-files", "-z"])
    return {Path(name) for name in text.split("\0") if name} if text else None


def _ignored(folder: Path) -> set[Path]:
    """Relative paths of the files that Git ignores; none outside a repository."""
    options = ["--others", "--ignored", "--exclude-standard", "-z"]
    text = process.run_quietly(["git", "-C", str(folder), "ls-files", *options])
    return {Path(name) for name in (text or "").split("\0") if name}


def left_out(folder: Path, inside: Sequence[str] = (".",)) -> list[str]:
    """Names of code files that are not copied, since Git neither tracks nor ignores them; none outside a repository."""
    options = ["--others", "--exclude-standard", "-z"]
    text = process.run_quietly(["git", "-C", str(folder), "ls-files", *options, "--", *inside])
    return sorted(name for name in (text or "").split("\0") if Path(name).suffix in SUFFIXES)


def is_code_path(name: str) -> bool:
    """Whether `name`, relative and with slashes, may be a file of a copy: it can be stored anywhere, and is no bytecode
    and nothing of Git's own, both of which run by themselves."""
    return not name.endswith((".pyc", ".pyo")) and all(map(_is_plain, name.split("/")))


def _is_plain(part: str) -> bool:
    if part.lower() in ("", ".", "..", "__pycache__", ".git") or "\\" in part:
        return False
    return part.isprintable() and len(part.encode()) <= _LONGEST_PART


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


def is_copy(folder: Path, code: str) -> bool:
    """Whether the hash `code` is over all files of a folder."""
    return digest(folder, copied_files(folder)) == code


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
