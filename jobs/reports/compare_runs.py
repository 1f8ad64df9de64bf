"""`sweeps compare RUN RUN`: what differs between two runs in configuration, code, versions and place."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jobs.programs import agent_code
from jobs.reports.compare import differing, format_differing
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import listed

MOST_LINES = 200  # of the difference of the code that is printed
_LARGEST = 2**20  # bytes of a file that is compared by lines


@dataclass(frozen=True)
class RunSide:
    """A run with its newest attempt. code: the folder of the copy of its code, None if it is not there."""

    store: ResultsFolder
    ref: RunRef
    attempt: Attempt
    code: Path | None

    @property
    def files(self) -> dict[str, Path]:
        """The files of its code, by their path in the copy; none where the copy is missing."""
        if self.code is None:
            return {}
        record = self.store.read_code(self.attempt.code)
        manifest = [Path(name) for name in record.files] if record is not None else []
        paths = manifest or agent_code.copied_files(self.code)
        return {path.as_posix(): self.code / path for path in paths if (self.code / path).is_file()}


def side(store: ResultsFolder, ref: RunRef) -> RunSide:
    """Raises `JobsError` for a run that never started."""
    attempts = store.attempts.all(ref)
    if not attempts:
        raise JobsError(f"run {ref} was never started in {store.root}")
    return RunSide(store, ref, attempts[-1], store.find_code(attempts[-1].code))


@dataclass(frozen=True)
class TwoRuns:
    """What differs between two runs."""

    a: RunSide
    b: RunSide

    @cached_property
    def changed_files(self) -> list[str] | None:
        """The files that differ or that only one has, by their path in the copy; None where a copy is missing."""
        if self.a.code is None or self.b.code is None:
            return None
        a, b = self.a.files, self.b.files
        both = a.keys() & b.keys()
        return sorted((a.keys() ^ b.keys()) | {name for name in both if a[name].read_bytes() != b[name].read_bytes()})

    def differences(self) -> Iterator[str]:
        """One line for each kind of thing that differs, or that nothing does."""
        lines = [*self._configuration(), *self._code(), *self._versions(), *self._place()]
        yield from lines or ["no difference in configuration, code, versions or machine"]

    def _configuration(self) -> Iterator[str]:
        a, b = (one.store.check_config(one.ref.config_id) for one in (self.a, self.b))
        if differ := differing(a.to_dict(), b.to_dict()):
            yield f"hyperparameters: {format_differing(differ)}"
        if a.agent != b.agent:
            yield f"agent: {a.agent} / {b.agent}"
        elif a.version != b.version:
            yield f"agent {a.agent}: version {a.version} / {b.version}"
        if self.a.ref.seed != self.b.ref.seed:
            yield f"seed: {self.a.ref.seed} / {self.b.ref.seed}"

    def _code(self) -> Iterator[str]:
        a, b = self.a.attempt, self.b.attempt
        commits = [one.commit or "no commit" for one in (a, b)]
        if a.code != b.code:
            known = [one.code or "not copied" for one in (a, b)]
            yield f"code: {known[0]} (commit {commits[0]}) / {known[1]} (commit {commits[1]}){self._count_files()}"
        elif a.commit != b.commit:
            yield f"code: the same files, of commit {commits[0]} / {commits[1]}"

    def _count_files(self) -> str:
        files = self.changed_files
        if files is None:
            return "; a copy is missing, so the files are not compared"
        count = "1 file differs" if len(files) == 1 else f"{len(files)} files differ"
        return f"; {count}: {listed(files, 8)}" if files else f"; {count}"

    def _versions(self) -> Iterator[str]:
        differ = differing(self.a.attempt.versions, self.b.attempt.versions)
        if differ:
            known = {name: tuple(one or "not recorded" for one in values) for name, values in differ.items()}
            yield f"versions: {', '.join(f'{name} {one} / {other}' for name, (one, other) in known.items())}"

    def _place(self) -> Iterator[str]:
        for name in ("device", "gpu", "driver", "cluster", "host"):
            values = [getattr(one.attempt, name) or "none" for one in (self.a, self.b)]
            if values[0] != values[1]:
                yield f"{name}: {values[0]} / {values[1]}"

    def code_difference(self) -> Iterator[str]:
        """The lines of the code that differ, as `diff -u` shows them. Raises `JobsError` where a copy is missing."""
        files = self.changed_files
        if files is None:
            raise JobsError(
                "the copy of the code of one of the runs is missing; without --code-diff the rest is compared"
            )
        for name in files:
            before, after = (_lines(one.code / name) if one.code else [] for one in (self.a, self.b))
            yield from difflib.unified_diff(before, after, f"{self.a.ref}/{name}", f"{self.b.ref}/{name}", lineterm="")


def _lines(path: Path) -> list[str]:
    """Empty for a file that is not there, one line for what is no text or too large."""
    if not path.is_file():
        return []
    if path.stat().st_size > _LARGEST:
        return [f"({path.stat().st_size:,} bytes)"]
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
