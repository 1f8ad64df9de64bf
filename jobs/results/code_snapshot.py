"""The code that runs: its hash, where it comes from, and the copy of it that jobs run from.

A job may wait for days, and edits made meanwhile must not leak into it. `results/code/<hash>/` holds the packages as
they were at submit, shared by all submissions of the same code; `<hash>.json` beside it names the commit and how it
differs from that.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs import process
from jobs.results.records import CodeFile, Submission
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

# New packages go at the end: the hash of a copy made before must stay the same.
PACKAGES = ("tdmpc", "jobs", "aggregate", "plots", "slurm_templates", "sweepwise")
AGENT = ("tdmpc",)  # what decides a run's numbers
_DIGITS = 16
_LARGEST_DIFF = 1_000_000  # characters
# Rather one line too many: what is left out is a convenience, what is let in may be read by others.
_SECRET = re.compile(
    r"(?i)pass(word|wd|phrase)|secret|credential|(api|access|private|auth)[_-]?(key|token)|\btoken\b\s*[:=]"
    r"|bearer\s+\S{8}|-----BEGIN|://[^/\s:@]+:[^/\s:@]+@|\b(AKIA|ASIA)[0-9A-Z]{12}|\b(gh[opsu]|glpat|hf|sk|xox[a-z])[_-]\w{8}"
)


@dataclass(frozen=True)
class CodeRef:
    """hash: over every file of the packages. folder: where jobs import them from."""

    hash: str
    folder: Path


def digest(root: Path, packages: Sequence[str] = PACKAGES) -> str:
    """A hash over names and contents of all files of `packages` below `root`."""
    found = hashlib.sha256()
    for path in _files(root, packages):
        data = (root / path).read_bytes()
        found.update(f"{path.as_posix()}\0{len(data)}\0".encode())
        found.update(data)
    return found.hexdigest()[:_DIGITS]


def _files(root: Path, packages: Sequence[str]) -> Iterator[Path]:
    """Relative paths, sorted; without what Python and editors leave behind."""
    for package in packages:
        for path in sorted((root / package).rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and "__pycache__" not in inside.parts and not path.name.startswith("."):
                yield inside


def planned(store: ResultsFolder) -> CodeRef:
    """What `take` gives, without the copy."""
    found = digest(process.ROOT)
    return CodeRef(found, store.code_folder(found))


def take(store: ResultsFolder) -> CodeRef:
    """A copy of the code that runs here, made unless there is one. Raises `JobsError` where that was changed."""
    code = planned(store)
    if not code.folder.exists():
        code = _copied(store, code.folder.with_name(f".{uuid.uuid4().hex}.part"))
    if digest(code.folder) != code.hash:
        raise JobsError(f"{code.folder} was changed since it was copied; move it away and submit again")
    record(store, code.hash)
    return code


def _copied(store: ResultsFolder, part: Path) -> CodeRef:
    """A new copy, made in `part`, under the hash of what was copied: an edit may come between."""
    try:
        for path in _files(process.ROOT, PACKAGES):
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(process.ROOT / path, part / path)
        code = CodeRef(digest(part), store.code_folder(digest(part)))
        try:
            part.rename(code.folder)
        except OSError:
            if not code.folder.exists():  # else another submit was first
                raise
        return code
    finally:
        shutil.rmtree(part, ignore_errors=True)


def folder(store: ResultsFolder, submission: Submission) -> Path:
    """Where the jobs of `submission` import their code from."""
    return store.code_folder(submission.code) if submission.code else process.ROOT


def check(store: ResultsFolder, submission: Submission) -> None:
    """Raises `JobsError` unless this process runs the code that `submission` was made with."""
    if not submission.code:
        return
    wanted = store.code_folder(submission.code)
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None or Path(found.origin).resolve().parents[1] != wanted.resolve():
            raise JobsError(
                f"this job would import {package} from {found and found.origin}, not from the copy made at submit, "
                f"{wanted}: something in its set-up changes PYTHONPATH"
            )
    if digest(wanted) != submission.code:
        raise JobsError(f"{wanted} was changed since it was copied at submit; move it away and submit again")


def record(store: ResultsFolder, code: str) -> CodeFile:
    """Where the code that runs, of hash `code`, comes from; written down where it is seen for the first time."""
    known = store.read_code(code)
    if known is not None:
        return known
    found = _describe(code)
    store.write_code(found)
    return found


def _describe(code: str) -> CodeFile:
    head = _git("rev-parse", "HEAD") if (process.ROOT / ".git").exists() else None
    if head is None:
        return CodeFile(code, str(process.ROOT), time.time())
    diff = _git("diff", "--no-color", "--no-ext-diff", "HEAD", "--", *PACKAGES) or ""
    untracked = (_git("ls-files", "--others", "--exclude-standard", "--", *PACKAGES) or "").splitlines()
    note = ""
    if _SECRET.search(diff):
        note = "the diff looks as if it held a secret: only its hash is kept"
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
