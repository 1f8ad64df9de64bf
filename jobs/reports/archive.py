"""Archive sweeps to one file that another machine can aggregate: a tar of records, metric shards, code and report.

The first file is archive.json, the last is files.json with the checksum of every other file. `archivable` decides which
files are legal in between: no checkpoints, replay buffers, logs or submissions (another machine must not resume their
jobs). The archive holds no time of writing, so the same runs give the same bytes, and is read back before it gets its
name.

Code of an archive never runs by itself: it is put into a folder of its own, from which nothing is imported.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from jobs import process
from jobs.programs import agent_code
from jobs.reports import report as judge
from jobs.results import code_snapshot, secret_rules
from jobs.results.attempts import RunRef
from jobs.results.lock import alone
from jobs.results.record_files import RecordError, decode, encode
from jobs.results.records import Archive, Checksums
from jobs.results.results_folder import ResultsFolder, archivable
from jobs.results.run_state import ACTIVE
from sweepwise.core import atomic
from sweepwise.core.errors import JobsError

_HEAD, _TAIL = "archive.json", "files.json"
_LARGEST_RECORD = 64 * 2**20  # bytes, of archive.json or files.json
# For these, an existing file is kept if it differs. Any other existing file that differs is an error.
_KEPT = ("annotations", "code", "decisions.json", "reports")


@dataclass(frozen=True)
class Unpacked:
    """files: number of new files. kept: existing files that differ from the archive and were not changed."""

    head: Archive
    files: int
    kept: list[str]


is_archive = atomic.begins_with(f"{_HEAD}\0".encode())  # for `atomic.output`


# --- writing --------------------------------------------------------------------------------------------


def write(store: ResultsFolder, names: Sequence[str], out: Path, warn: judge.Tell, with_diffs: bool = False) -> Archive:
    """Archive `names` (sweeps and imports; default: all) as `sweeps aggregate` would read them, with its report.

    with_diffs: also what differed from the commit that the code was copied from.

    Raises `JobsError` for an unknown name and if `out` cannot be written, `AggregateError` if there are no logged
    metrics.
    """
    sources = judge.sources(store, names, warn)
    views = set(store.sweep_names()) & {name for sweep in sources for name in (sweep.name, *sweep.beside)}
    configs = [config for sweep in sources for config in (*sweep.all_configs, *sweep.imported)]
    imported = {config.imported for config in configs if config.imported}
    states = [run.state for config in configs for run in config.every_run]
    if active := sum(state in ACTIVE for state in states):
        warn(f"{active} runs are active: the archive holds what they have written so far")
    runs = {RunRef(run.config_id, run.seed) for config in configs if not config.imported for run in config.every_run}
    codes = {attempt.code for run in runs for attempt in store.attempts.all(run) if attempt.code}
    agents = {config.agent for run in runs if (config := store.read_config(run.config_id)) is not None}
    codes |= {record.code for name in agents if (record := store.agents.read(name)) is not None and record.code}
    head = Archive(sorted(views), sorted(imported), len(runs), process.versions())
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        judge.report(sources, report, (), lambda line: None, warn)
        files = {name: store.root / name for name in store.archived(views, runs, imported, codes, agents)}
        files |= _code_files(store, codes, warn)
        files |= {} if with_diffs else _without_diffs(store, codes, Path(folder))
        files[f"reports/{sources[0].name if len(sources) == 1 else 'sweeps'}.html"] = report
        target = atomic.output(out, is_archive)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(target, lambda part: _write(part, head, files))
        except OSError as error:
            raise JobsError(f"--out {out}: {error.strerror or error}; choose a place you may write to") from error
    return head


def _code_files(store: ResultsFolder, codes: Iterable[str], warn: judge.Tell) -> dict[str, Path]:
    """Name in the archive -> path, of the copies of code that are still what their hash says; warns of others."""
    files: dict[str, Path] = {}
    for code in sorted(codes):
        folder = store.find_code(code)
        if folder is None:
            continue
        record = store.read_code(code)
        paths = _listed(folder, code, [Path(name) for name in record.files] if record is not None else [])
        if paths is None:
            warn(f"{folder} was changed since it was copied, or has names that cannot be archived: it is left out")
        else:
            files |= {f"code/{code}/{path.as_posix()}": folder / path for path in paths}
    for name, path in files.items():
        if provider := secret_rules.provider(path.read_text(encoding="utf-8", errors="replace")):
            warn(f"{name} may contain a secret ({provider}): check it before you share the archive")
    return files


def _listed(folder: Path, code: str, manifest: Sequence[Path]) -> list[Path] | None:
    """The files that the hash is over; None where no list of them gives it."""
    for paths in (manifest, agent_code.copied_files(folder), code_snapshot.package_files(folder)):
        try:
            legal = all(agent_code.is_code_path(path.as_posix()) for path in paths)
            if paths and legal and agent_code.digest(folder, paths) == code:
                return list(paths)
        except OSError:  # a file of the manifest is missing
            continue
    return None


def _without_diffs(store: ResultsFolder, codes: Iterable[str], folder: Path) -> dict[str, Path]:
    """Name in the archive -> path of a record without its diff, which may hold what nobody meant to hand on."""
    files: dict[str, Path] = {}
    for code in codes:
        record = store.read_code(code)
        if record is not None and record.diff:
            path = folder / f"{code}.json"
            path.write_bytes(_dump(encode(replace(record, diff="", note="the diff was left out of the archive"))))
            files[f"code/{code}.json"] = path
    return files


def _write(path: Path, head: Archive, files: dict[str, Path]) -> None:
    """Write the archive and read it back. Raises `JobsError` where it could not be unpacked."""
    _write_members(path, head, files)
    with tempfile.TemporaryDirectory() as staged:
        try:
            _extract(path, Path(staged), keep=lambda name: name.startswith("code/"))
        except (tarfile.TarError, ValueError) as error:
            raise JobsError(f"the archive could not be unpacked again: {error}; nothing was written") from error


def _write_members(path: Path, head: Archive, files: dict[str, Path]) -> None:
    from aggregate.inputs.progress import tracked

    sums = {}
    with tarfile.open(path, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, _HEAD, _dump(encode(head)))
        for name in tracked(sorted(files), len(files), "writing files"):
            data = files[name].read_bytes()
            sums[name] = hashlib.sha256(data).hexdigest()
            _add(tar, name, data)
        _add(tar, _TAIL, _dump(encode(Checksums(sums))))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, time 0: the bytes must depend on the contents only
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _dump(record: dict[str, object]) -> bytes:
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()


# --- reading --------------------------------------------------------------------------------------------


def unpack(store: ResultsFolder, path: Path) -> Unpacked:
    """Unpack an archive into the results folder without changing existing files.

    Raises `JobsError` for a file that is not a complete archive, and if an existing run, sweep or import differs; the
    results folder is then unchanged.
    """
    store.prepare()
    with store.staging() as staged:
        try:
            head, files = _extract(path, staged)
        except (tarfile.TarError, ValueError, RecursionError) as error:
            reason = (
                str(error)
                if isinstance(error, _InvalidArchive | RecordError)
                else "damaged, cut off, or not an archive"
            )
            raise JobsError(f"{path}: {reason}; `sweeps archive` writes a new one") from error
        except OSError as error:
            raise JobsError(f"{error.filename or path}: {error.strerror or error}") from error
        os.sync()
        with alone(store):
            return _move_into_place(store, staged, head, files)


class _InvalidArchive(ValueError):
    """The reason why a file is not a valid archive."""


def _extract(path: Path, staged: Path, keep: Callable[[str], bool] = bool) -> tuple[Archive, dict[str, str]]:
    """Extract the files to `staged`, at their paths in the results folder; returns (head, path -> checksum).

    keep: the names that are extracted, of others only the checksum is taken; all by default.

    Extracts the content of plain files at legal paths only: no links, owners or modes. Raises `ValueError`,
    `tarfile.TarError` and `RecursionError` for an invalid archive.
    """
    from aggregate.inputs.progress import tracked

    head, tail, sums = None, None, {}
    atomic.check_plain(path)
    with tarfile.open(path, "r:") as tar:
        for member in tracked(tar, None, "reading files"):
            content = tar.extractfile(member) if member.type == tarfile.REGTYPE and not member.issparse() else None
            if content is None or tail is not None or member.name in sums:
                raise _InvalidArchive(f"{member.name!r:.80} is not a plain file, or occurs twice")
            if head is None:
                if member.name != _HEAD:
                    raise _InvalidArchive("not an archive of this program")
                head = decode(Archive, _read_record(content))
            elif member.name == _TAIL:
                tail = decode(Checksums, _read_record(content))
            elif archivable(member.name):
                sums[member.name] = (
                    _copy_with_checksum(content, staged / member.name)
                    if keep(member.name)
                    else hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
                )
            else:
                raise _InvalidArchive(f"{member.name!r:.80} is not allowed in an archive")
    if head is None or tail is None or sums != tail.files:
        raise _InvalidArchive("its files are not those that it lists: damaged or cut off")
    for code in {name.split("/")[1] for name in sums if name.startswith("code/") and name.count("/") > 1}:
        folder = staged / "code" / code
        if not (code_snapshot.has_only(folder, code) or agent_code.is_copy(folder, code)):
            raise _InvalidArchive(f"code/{code} is not the code of that hash")
    return head, sums


def _read_record(content: IO[bytes]) -> object:
    data = content.read(_LARGEST_RECORD + 1)
    if len(data) > _LARGEST_RECORD:
        raise _InvalidArchive("its list of files is larger than any archive's")
    return json.loads(data)


def _copy_with_checksum(content: IO[bytes], target: Path) -> str:
    """Copy `content` to `target`; returns its checksum."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
    return _checksum(target)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move_into_place(store: ResultsFolder, staged: Path, head: Archive, files: dict[str, str]) -> Unpacked:
    """Move the staged files into the results folder; sweep files last, since sweeps are found by them."""
    new, kept = [], []
    for name, checksum in files.items():
        target = store.root / name
        if name.startswith("code/") and name.count("/") > 1:
            continue  # moved below, one folder at a time
        if not target.exists():
            new.append(name)
        elif name.startswith("agents/"):
            store.agents.merge(target.stem, staged / name)
        elif _checksum(target) != checksum:
            if name.split("/")[0] not in _KEPT:
                raise JobsError(f"{target} exists and differs; nothing was unpacked: choose another --results")
            kept.append(name)
    for folder in (staged / "code").glob("*/"):
        target = store.archived_code_folder(folder.name)
        if not target.exists() and not store.code_folder(folder.name).exists():
            target.parent.mkdir(exist_ok=True)
            folder.replace(target)
    for name in sorted(new, key=lambda name: (name.startswith("sweeps/"), name)):
        target = store.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (staged / name).replace(target)
    return Unpacked(head, len(new), kept)
