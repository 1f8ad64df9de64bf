"""The code that runs: its hash, its origin, and the copy of it that jobs run from.

A job may wait for days, and later edits must not affect it. `results/code/<hash>/` holds the packages as they were at
submit, shared by all submissions of the same code; `<hash>.json` beside it records the commit and the differences from
it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs import process
from jobs.programs import agent_code
from jobs.results import secret_rules
from jobs.results.records import CodeFile, Submission
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

# Append new packages at the end, so that the hashes of existing copies stay the same.
PACKAGES = ("tdmpc", "jobs", "aggregate", "plots", "slurm_templates", "sweepwise")
AGENT = ("tdmpc",)  # the packages that determine a run's results
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of each part of a path in the packages
_LARGEST_DIFF = 1_000_000  # characters


@dataclass(frozen=True)
class CodeRef:
    """hash: over every file of the packages. folder: the one that jobs import them from."""

    hash: str
    folder: Path


def digest(root: Path, packages: Sequence[str] = PACKAGES) -> str:
    """A hash over the names and contents of all files of `packages` below `root`."""
    return agent_code.digest(root, _files(root, packages))


def _files(root: Path, packages: Sequence[str]) -> Iterator[Path]:
    """Relative paths, sorted: what Git tracks where `root` is a checkout, else all files, without bytecode caches,
    hidden files and what editors leave beside them."""
    known = agent_code.tracked(root) if (root / ".git").exists() else None
    for package in packages:
        for path in sorted((root / package).rglob("*")):
            relative = path.relative_to(root)
            if path.is_file() and _is_code(relative) and (known is None or relative in known):
                yield relative


def _is_code(path: Path) -> bool:
    return all(map(_PLAIN.fullmatch, path.parts)) and agent_code.is_code_path(path.as_posix())


def has_only(root: Path, code: str) -> bool:
    """Whether `root` holds the code of the hash `code` and, bytecode and hidden files aside, nothing else.

    Jobs import from `root`: another file there, such as numpy.py, would be imported too.
    """
    others = (path for path in agent_code.copied_files(root) if not any(part.startswith(".") for part in path.parts))
    return set(others) == set(_files(root, PACKAGES)) and digest(root) == code


def package_files(root: Path) -> list[Path]:
    """Relative paths of the files of all packages below `root`, in the order of the hash."""
    return list(_files(root, PACKAGES))


def left_out() -> list[str]:
    """Names of files of the packages that are not copied, since Git does not track them."""
    return agent_code.left_out(process.ROOT, PACKAGES) if (process.ROOT / ".git").exists() else []


def planned(store: ResultsFolder) -> CodeRef:
    """The result of `take`, without copying."""
    code = digest(process.ROOT)
    return CodeRef(code, store.code_folder(code))


def take(store: ResultsFolder) -> CodeRef:
    """Copy the code of this process, unless a copy exists. Raises `JobsError` if that copy was changed."""
    code = planned(store)
    if os.pathsep in str(store.root):
        raise JobsError(
            f"--results {store.root}: a path with {os.pathsep!r} cannot be on PYTHONPATH, where jobs find their code; "
            "choose another"
        )
    if not code.folder.exists():
        copied = agent_code.copy(process.ROOT, _files(process.ROOT, PACKAGES), store.code_folder)
        code = CodeRef(copied, store.code_folder(copied))
    if not has_only(code.folder, code.hash):
        raise JobsError(f"{code.folder} was changed since it was copied; move it away and submit again")
    record(store, code.hash)
    return code


def folder(store: ResultsFolder, submission: Submission) -> Path:
    """The folder that the jobs of `submission` import their code from."""
    return store.code_folder(submission.code) if submission.code else process.ROOT


def check(store: ResultsFolder, submission: Submission) -> None:
    """Raises `JobsError` unless this process runs the code that `submission` was made with."""
    if not submission.code:
        return
    expected = store.code_folder(submission.code)
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parents[1] != expected.resolve():
            raise JobsError(
                f"this job would import {package} from {spec and spec.origin}, not from the copy made at submit, "
                f"{expected}: something in its set-up changes PYTHONPATH"
            )
    if not has_only(expected, submission.code):
        raise JobsError(f"{expected} was changed since it was copied at submit; move it away and submit again")


def record(store: ResultsFolder, code: str) -> CodeFile:
    """The origin of the running code, whose hash is `code`; recorded when this hash is seen for the first time."""
    recorded = store.read_code(code)
    if recorded is not None:
        return recorded
    origin = _describe(code)
    store.write_code(origin)
    return origin


def _describe(code: str) -> CodeFile:
    head = _git("rev-parse", "HEAD") if (process.ROOT / ".git").exists() else None
    if head is None:
        return CodeFile(code, str(process.ROOT), time.time())
    diff = _git("diff", "--no-color", "--no-ext-diff", "HEAD", "--", *PACKAGES) or ""
    untracked = (_git("ls-files", "--others", "--exclude-standard", "--", *PACKAGES) or "").splitlines()
    note = ""
    if secret_rules.looks_secret(diff):
        note = "the diff may contain a secret: only its hash is kept"
    elif len(diff) > _LARGEST_DIFF:
        note = f"the diff has {len(diff):,} characters: only its hash is kept"
    return CodeFile(
        hash=code,
        root=str(process.ROOT),
        time=time.time(),
        commit=head.strip() + ("+" if diff or untracked else ""),
        diff="" if note else diff,
        diff_sha256=hashlib.sha256(diff.encode()).hexdigest() if diff else "",
        untracked=untracked,
        note=note,
    )


def _git(*arguments: str) -> str | None:
    return process.run_quietly(["git", "-C", str(process.ROOT), *arguments])
