"""`sweeps compare RUN RUN`: what differs between two runs in configuration, code, versions and place."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.programs import agent_code
from jobs.results import code_snapshot
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import format_value

MOST_LINES = 200  # of the difference of the code that is printed
_LARGEST = 2**20  # bytes of a file that is compared by lines


@dataclass(frozen=True)
class RunSide:
    """A run with its newest attempt. code: the folder of the copy of its code, None if it is not there."""

    store: ResultsFolder
    ref: RunRef
    attempt: Attempt
    code: Path | None


def side(store: ResultsFolder, ref: RunRef) -> RunSide:
    """Raises `JobsError` for a run that never started."""
    attempts = store.attempts.all(ref)
    if not attempts:
        raise JobsError(f"run {ref} was never started in {store.root}")
    return RunSide(store, ref, attempts[-1], _code_folder(store, attempts[-1].code))


def _code_folder(store: ResultsFolder, code: str) -> Path | None:
    folders = (store.code_folder(code), store.archived_code_folder(code)) if code else ()
    return next((folder for folder in folders if folder.is_dir()), None)


def differences(a: RunSide, b: RunSide) -> Iterator[str]:
    """One line for each kind of thing that differs, or that nothing does."""
    lines = [*_configuration(a, b), *_code(a, b), *_versions(a, b), *_place(a, b)]
    yield from lines or ["no difference in configuration, code, versions and place"]


def _configuration(a: RunSide, b: RunSide) -> Iterator[str]:
    configs = [one.store.check_config(one.ref.config_id) for one in (a, b)]
    values = [config.to_dict() for config in configs]
    keys = sorted({*values[0], *values[1]})
    differ = [f"{key} {format_value(values[0].get(key))} / {format_value(values[1].get(key))}"
              for key in keys if values[0].get(key) != values[1].get(key)]  # fmt: skip
    if differ:
        yield f"hyperparameters: {', '.join(differ)}"
    if configs[0].agent != configs[1].agent:
        yield f"agent: {configs[0].agent} / {configs[1].agent}"
    elif configs[0].version != configs[1].version:
        yield f"agent {configs[0].agent}: version {configs[0].version} / {configs[1].version}"
    if a.ref.seed != b.ref.seed:
        yield f"seed: {a.ref.seed} / {b.ref.seed}"


def _code(a: RunSide, b: RunSide) -> Iterator[str]:
    if a.attempt.code == b.attempt.code and a.attempt.commit == b.attempt.commit:
        return
    commits = [one.attempt.commit or "no commit" for one in (a, b)]
    if a.attempt.code == b.attempt.code:
        yield f"code: the same files, of commit {commits[0]} / {commits[1]}"
        return
    known = [one.attempt.code or "not copied" for one in (a, b)]
    files = changed_files(a, b)
    listed = f": {', '.join(files[:8])}{f' and {len(files) - 8} more' if len(files) > 8 else ''}" if files else ""
    count = "; a copy is missing, so the files are not compared" if files is None else f"; {len(files)} files differ"
    yield f"code: {known[0]} (commit {commits[0]}) / {known[1]} (commit {commits[1]}){count}{listed}"


def changed_files(a: RunSide, b: RunSide) -> list[str] | None:
    """The files that differ or that only one has, by their path in the copy; None where a copy is missing."""
    if a.code is None or b.code is None:
        return None
    files = [_files(one, folder) for one, folder in ((a, a.code), (b, b.code))]
    return sorted(
        name for name in {*files[0], *files[1]}
        if name not in files[0] or name not in files[1] or files[0][name].read_bytes() != files[1][name].read_bytes()
    )  # fmt: skip


def _files(one: RunSide, folder: Path) -> dict[str, Path]:
    record = one.store.read_code(one.attempt.code)
    manifest = [Path(name) for name in record.files] if record is not None else []
    paths = manifest or agent_code.copied_files(folder) or code_snapshot.package_files(folder)
    return {path.as_posix(): folder / path for path in paths if (folder / path).is_file()}


def _versions(a: RunSide, b: RunSide) -> Iterator[str]:
    versions = [one.attempt.versions for one in (a, b)]
    names = sorted({*versions[0], *versions[1]})
    differ = [f"{name} {versions[0].get(name, 'not recorded')} / {versions[1].get(name, 'not recorded')}"
              for name in names if versions[0].get(name) != versions[1].get(name)]  # fmt: skip
    if differ:
        yield f"versions: {', '.join(differ)}"


def _place(a: RunSide, b: RunSide) -> Iterator[str]:
    for name in ("device", "gpu", "driver", "cluster", "host"):
        values = [getattr(one.attempt, name) or "none" for one in (a, b)]
        if values[0] != values[1]:
            yield f"{name}: {values[0]} / {values[1]}"


def code_difference(a: RunSide, b: RunSide) -> Iterator[str]:
    """The lines of the code that differ, as `diff -u` shows them."""
    files = changed_files(a, b)
    if files is None:
        raise JobsError("the copy of the code of one of the runs is missing; without --code-diff the rest is compared")
    assert a.code is not None
    assert b.code is not None
    for name in files:
        before, after = (_lines(folder / name) for folder in (a.code, b.code))
        yield from difflib.unified_diff(before, after, f"{a.ref}/{name}", f"{b.ref}/{name}", lineterm="")


def _lines(path: Path) -> list[str]:
    """Empty for a file that is not there, one line for what is no text or too large."""
    if not path.is_file():
        return []
    if path.stat().st_size > _LARGEST:
        return [f"({path.stat().st_size:,} bytes)"]
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
