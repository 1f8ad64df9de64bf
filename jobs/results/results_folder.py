"""The results folder and all its paths. docs/architecture.md has the layout, `jobs.results.records` the records."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.results.records import (
    Attempt,
    CircuitBreaker,
    CodeFile,
    ConfigFile,
    Decision,
    Decisions,
    Import,
    InterimAnalysis,
    InterimAnalysisFile,
    Outcome,
    PrunedRun,
    QueueSnapshot,
    Record,
    RecordError,
    Status,
    Submission,
    SubmittedSweep,
    Worker,
    decode,
    encode,
)
from sweepwise.core import shard_name
from sweepwise.core.atomic import Superseded, create_json, write_json
from sweepwise.core.errors import JobsError
from sweepwise.core.shard_name import ShardName
from tdmpc.config import IDENTITY_VERSION, ConfigError, TrainConfig, config_id

_CONFIG_ID = re.compile(r"[0-9a-f]{10}")
_CODE = re.compile(r"[0-9a-f]{16}")
_NUMBER = re.compile(r"(\d{3,9})\.json")
_CANCELLED = re.compile(r"\d{3,9}\.cancelled")
_SEED = re.compile(r"seed-(\d+)")
_VIEW = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)?")
_IMPORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SUBMISSION = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9]{3}-[A-Za-z0-9_.-]+")


@dataclass(frozen=True, order=True)
class RunRef:
    """A run: configuration and seed."""

    config_id: str
    seed: int

    def __str__(self) -> str:
        return f"{self.config_id}/seed-{self.seed}"


@dataclass(frozen=True)
class RunRecord:
    """What the disk says of a run. steps: agent steps asked for. attempts: how many were claimed.

    attempt, outcome: of the newest attempt. status: the newest heartbeat. finished_step: the furthest step at which any
    attempt finished, by the shard that ends the run, whether its outcome could be written or not. lost_shard: the name
    of such a shard that is no longer there. stopped: why it was given up, see `Stop`.
    """

    ref: RunRef
    steps: int
    attempts: int
    attempt: Attempt | None
    outcome: Outcome | None
    status: Status | None
    finished_step: int
    lost_shard: str = ""
    stopped: PrunedRun | None = None

    @property
    def done(self) -> bool:
        return self.finished_step >= self.steps

    @property
    def step(self) -> int:
        """The furthest step known."""
        return max(self.finished_step, self.outcome.step if self.outcome else 0, self.status.step if self.status else 0)


class ResultsFolder:
    """Reads and writes one results folder. Files that are no records of ours are collected in `problems`."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.problems: dict[Path, str] = {}

    def prepare(self) -> None:
        """Make the folders. Raises `JobsError` where that is impossible."""
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.root.mkdir(mode=0o700)  # logs, diffs and code are nobody else's; one that is there stays as it is
            for name in ("sweeps", "runs", "submissions", "locks", "reports"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe.{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise JobsError(
                f"cannot write to the results folder {self.root}: {error.strerror}; give another with --results"
            ) from error

    # --- JSON ---------------------------------------------------------------------------------------------

    def _read(self, path: Path, kind: type[Record]) -> Record | None:
        """The record at `path`; None where there is none or where it is not ours (see `problems`)."""
        try:
            return decode(kind, json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.problems[path] = f"{path}: cannot be read: {error.strerror}"
        except (ValueError, RecursionError) as error:  # RecordError, JSONDecodeError, UnicodeDecodeError
            reason = str(error) if isinstance(error, RecordError) else "not a whole JSON file"
            self.problems[path] = f"{path}: {reason}; move it away to be rid of this message"
        return None

    # --- configurations -----------------------------------------------------------------------------------

    def config_path(self, config: str) -> Path:
        if not _CONFIG_ID.fullmatch(config):
            raise JobsError(f"configuration id {config!r}: ten hex digits are expected")
        return self.root / "runs" / config / "config.json"

    def read_config(self, config: str) -> TrainConfig | None:
        """The configuration, None where it is not stored, or stored but damaged (see `problems`)."""
        path = self.config_path(config)
        found = self._read(path, ConfigFile)
        if found is None:
            return None
        try:
            return TrainConfig.from_dict(found.config)
        except ConfigError as error:
            self.problems[path] = f"{path}: {error}"
            return None

    def check_config(self, config: str) -> TrainConfig:
        """The configuration, which must be whole and match its identity. Raises `JobsError` otherwise."""
        path = self.config_path(config)
        found = self.read_config(config)
        if found is None:
            raise JobsError(self.problems.get(path, f"{path} is missing; submit the sweep again"))
        if config_id(found) != config:
            raise JobsError(f"{path}: its values are not those of {config}; restore it or move the folder away")
        return found

    def write_config(self, config: TrainConfig) -> None:
        """Store `config`. One that is there already stays, but for `steps`, which may rise."""
        identity = config_id(config)
        path = self.config_path(identity)
        if path.exists():
            stored = self.check_config(identity)
            if stored.steps >= config.steps:
                return
            config = dataclasses.replace(stored, steps=config.steps)
        write_json(path, encode(ConfigFile(identity, config.to_dict(), IDENTITY_VERSION)))

    # --- runs ---------------------------------------------------------------------------------------------

    def run_folder(self, run: RunRef) -> Path:
        return self.config_path(run.config_id).parent / f"seed-{run.seed}"

    def cache_path(self, run: RunRef) -> Path:
        """Where `sweeps aggregate` may keep the run's rows, merged from its shards; can be deleted at any time."""
        folder = self.run_folder(run)
        return self.root / "cache" / folder.parent.name / f"{folder.name}.rows"

    def config_ids(self) -> list[str]:
        """Configurations that are stored here."""
        return sorted(name for name in _listed(self.root / "runs") if _CONFIG_ID.fullmatch(name))

    def run_files(self, run: RunRef) -> list[int]:
        """Sizes of a run's files, bytes."""
        return [path.stat().st_size for path in self.run_folder(run).rglob("*") if path.is_file()]

    def seeds(self, config: str) -> list[int]:
        """Seeds of `config` that were ever started."""
        names = _listed(self.config_path(config).parent)
        return sorted(int(match[1]) for match in map(_SEED.fullmatch, names) if match)

    def _numbers(self, run: RunRef, folder: str) -> list[int]:
        return _numbered(self.run_folder(run) / folder)

    def claim_attempt(self, run: RunRef, attempt: Attempt) -> Attempt:
        """Write `attempt` under the next free number; exclusive creation decides between two who try at once."""
        folder = self.run_folder(run) / "attempts"
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            number = max(self._numbers(run, "attempts"), default=0) + 1
            claimed = dataclasses.replace(attempt, number=number)
            if create_json(folder / f"{number:03d}.json", encode(claimed)):
                return claimed

    def is_newest(self, run: RunRef, number: int) -> bool:
        """Whether attempt `number` still owns the run: nobody claimed a later one."""
        return max(self._numbers(run, "attempts"), default=0) == number

    def read_attempt(self, run: RunRef, number: int) -> Attempt | None:
        return self._read(self.run_folder(run) / "attempts" / f"{number:03d}.json", Attempt)

    def attempts(self, run: RunRef) -> list[Attempt]:
        """Those that can be read, the oldest first."""
        found = (self.read_attempt(run, number) for number in self._numbers(run, "attempts"))
        return [attempt for attempt in found if attempt is not None]

    def read_outcome(self, run: RunRef, number: int) -> Outcome | None:
        return self._read(self.run_folder(run) / "outcome" / f"{number:03d}.json", Outcome)

    def write_outcome(self, run: RunRef, number: int, outcome: Outcome) -> None:
        write_json(self.run_folder(run) / "outcome" / f"{number:03d}.json", encode(outcome))

    def write_status(self, run: RunRef, status: Status) -> bool:
        """Publish a heartbeat; False, and nothing is written, where a newer attempt owns the run."""
        # each attempt has its own file: one that is stopped between the guard and the move overwrites nobody's
        path = self.run_folder(run) / "status" / f"{status.attempt:03d}.json"
        owned = functools.partial(self.is_newest, run, status.attempt)
        try:
            write_json(path, encode(status), owned, sync=False)
        except Superseded:
            return False
        return True

    def load_run(self, run: RunRef, steps: int) -> RunRecord:
        """What the disk says of `run`, of which `steps` agent steps are asked."""
        numbers = self._numbers(run, "attempts")
        newest = numbers[-1] if numbers else 0
        outcomes = {n: self.read_outcome(run, n) for n in self._numbers(run, "outcome")}
        finished, lost = self._finished(run, [o for o in outcomes.values() if o is not None and o.state == "finished"])
        if finished < steps and (last := self.last_shard(run)) is not None:
            finished = max(finished, last.end or 0)
        return RunRecord(
            ref=run,
            steps=steps,
            attempts=len(numbers),
            attempt=self.read_attempt(run, newest) if newest else None,
            outcome=outcomes.get(newest),
            status=next(filter(None, (self._read_status(run, n) for n in reversed(numbers))), None),
            finished_step=finished,
            lost_shard=lost,
            stopped=self._read(self._stop_path(run), PrunedRun),
        )

    def _stop_path(self, run: RunRef) -> Path:
        return self.run_folder(run) / "stopped.json"

    def write_stop(self, run: RunRef, stop: PrunedRun) -> None:
        write_json(self._stop_path(run), encode(stop))

    def clear_stop(self, run: RunRef) -> None:
        self._stop_path(run).unlink(missing_ok=True)

    def _read_status(self, run: RunRef, number: int) -> Status | None:
        return self._read(self.run_folder(run) / "status" / f"{number:03d}.json", Status)

    def _finished(self, run: RunRef, outcomes: Iterable[Outcome]) -> tuple[int, str]:
        """(the furthest step of finished `outcomes`, the name of a last shard that one names and that is gone)."""
        folder = self.run_folder(run) / shard_name.FOLDER
        step, lost = 0, ""
        for outcome in outcomes:
            named = shard_name.parse(outcome.last_shard)
            if outcome.last_shard and not (named and (folder / str(named)).exists()):
                lost = outcome.last_shard
            else:
                step = max(step, outcome.step)
        return step, lost

    def last_shard(self, run: RunRef) -> ShardName | None:
        """The newest metric shard of `run`."""
        return shard_name.last(_listed(self.run_folder(run) / shard_name.FOLDER))

    # --- the lock -----------------------------------------------------------------------------------------

    def _lock_path(self, number: int) -> Path:
        return self.root / "locks" / f"{number:03d}.json"

    def newest_lock(self) -> tuple[int, Worker | None, float]:
        """Its number (0: there was none), its holder (None while it is being written), seconds since it was written."""
        number = max(_numbered(self.root / "locks"), default=0)
        path = self._lock_path(number)
        try:
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return number, None, 0.0
        holder = self._read(path, Worker)
        self.problems.pop(path, None)
        return number, holder, age

    def claim_lock(self, number: int, holder: Worker) -> bool:
        """Take lock `number`; False where somebody has it already."""
        return create_json(self._lock_path(number), encode(holder))

    def write_lock(self, number: int, holder: Worker) -> None:
        write_json(self._lock_path(number), encode(holder), sync=False)

    # --- sweeps -------------------------------------------------------------------------------------------

    def view_path(self, name: str) -> Path:
        if not _VIEW.fullmatch(name):
            raise JobsError(f"sweep name {name!r}: letters, digits, - and _ are expected")
        return self.root / "sweeps" / f"{name}.json"

    def view_names(self) -> list[str]:
        """Names of all sweeps that were submitted here."""
        names = _listed(self.root / "sweeps")
        return sorted(n.removesuffix(".json") for n in names if n.endswith(".json") and _VIEW.fullmatch(n[:-5]))

    def read_view(self, name: str) -> SubmittedSweep | None:
        path = self.view_path(name)
        view = self._read(path, SubmittedSweep)
        if view is not None and not all(_CONFIG_ID.fullmatch(c.config_id) for c in view.configs):
            self.problems[path] = f"{path}: not a sweep of this program"
            return None
        return view

    def write_view(self, view: SubmittedSweep) -> None:
        write_json(self.view_path(view.name), encode(view))

    # --- looks --------------------------------------------------------------------------------------------

    def looks_path(self, sweep: str) -> Path:
        return self.root / "looks" / self.view_path(sweep).name

    def read_looks(self, sweep: str) -> list[InterimAnalysis]:
        """The oldest first. Raises `JobsError` for a damaged file: without it nothing is corrected for them."""
        path = self.looks_path(sweep)
        found = self._read(path, InterimAnalysisFile)
        if found is None and path in self.problems:
            raise JobsError(self.problems.pop(path).replace("to be rid of this message", "to forget earlier looks"))
        return found.looks if found is not None else []

    def write_looks(self, sweep: str, looks: list[InterimAnalysis]) -> None:
        """By whoever holds the lock."""
        write_json(self.looks_path(sweep), encode(InterimAnalysisFile(looks)))

    # --- decisions ----------------------------------------------------------------------------------------

    def decisions_path(self) -> Path:
        return self.root / "decisions.json"

    def read_decisions(self) -> list[Decision]:
        """The oldest first. Raises `JobsError` for a damaged file: without it sweeps would start from another base."""
        path = self.decisions_path()
        found = self._read(path, Decisions)
        if found is None and path in self.problems:
            raise JobsError(self.problems.pop(path).replace("to be rid of this message", "to decide anew"))
        return found.decisions if found is not None else []

    def write_decisions(self, decisions: list[Decision]) -> None:
        """By whoever holds the lock."""
        write_json(self.decisions_path(), encode(Decisions(decisions)))

    # --- imports ------------------------------------------------------------------------------------------

    def import_path(self, name: str) -> Path:
        if not _IMPORT.fullmatch(name):
            raise JobsError(f"name {name!r}: letters, digits, - and _ are expected")
        return self.root / "imports" / name / "import.json"

    def import_names(self) -> list[str]:
        """Names of all that was imported."""
        names = filter(_IMPORT.fullmatch, _listed(self.root / "imports"))
        return sorted(name for name in names if self.import_path(name).is_file())

    def read_import(self, name: str) -> Import | None:
        path = self.import_path(name)
        found = self._read(path, Import)
        if found is not None and not (
            _CODE.fullmatch(found.data) and all(_CONFIG_ID.fullmatch(c.config_id) for c in found.configs)
        ):
            self.problems[path] = f"{path}: not an import of this program"
            return None
        return found

    def write_import(self, made: Import) -> None:
        """Record `made`, whose shards are written: from here on it is what has the name."""
        write_json(self.import_path(made.name), encode(made))

    def tidy_import(self, name: str) -> None:
        """Remove the shards of imports that were replaced, or never came to their end."""
        recorded = self.read_import(name)
        folder = self.import_path(name).parent
        for data in _listed(folder):
            if _CODE.fullmatch(data) and (recorded is None or data != recorded.data):
                shutil.rmtree(folder / data, ignore_errors=True)

    def imported_folder(self, name: str, data: str, run: RunRef) -> Path:
        """Of a curve, like a run's."""
        return self.import_path(name).parent / data / run.config_id / f"seed-{run.seed}"

    # --- code ---------------------------------------------------------------------------------------------

    def code_folder(self, code: str) -> Path:
        """The copy of the code of that hash."""
        if not _CODE.fullmatch(code):
            raise JobsError(f"code {code!r}: sixteen hex digits are expected")
        return self.root / "code" / code

    def write_code(self, code: CodeFile) -> None:
        write_json(self.code_folder(code.hash).with_suffix(".json"), encode(code))

    def read_code(self, code: str) -> CodeFile | None:
        return self._read(self.code_folder(code).with_suffix(".json"), CodeFile)

    # --- archives -----------------------------------------------------------------------------------------

    def archived(
        self, views: Iterable[str], runs: Iterable[RunRef], imports: Iterable[str], codes: Iterable[str]
    ) -> list[str]:
        """Files of these, and the decisions, that belong in an archive: paths from the root, sorted."""
        found = [self.decisions_path(), *(path(name) for name in views for path in (self.view_path, self.looks_path))]
        for run in runs:
            found += [self.config_path(run.config_id), *self.run_folder(run).rglob("*")]
        for name in imports:
            made = self.read_import(name)
            folder = self.import_path(name).parent
            found += [self.import_path(name), *((folder / made.data).rglob("*") if made is not None else ())]
        for code in codes:
            found += [self.code_folder(code).with_suffix(".json"), *self.code_folder(code).rglob("*")]
        names = {path.relative_to(self.root).as_posix() for path in found if path.is_file()}
        return sorted(filter(archivable, names))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder beside what is there, gone at the end: to be filled, then moved from."""
        folder = self.root / f".{uuid.uuid4().hex}.part"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # --- submissions --------------------------------------------------------------------------------------

    def submission_folder(self, name: str) -> Path:
        if not _SUBMISSION.fullmatch(name):
            raise JobsError(f"submission {name!r}: not a name of this program")
        return self.root / "submissions" / name

    def submission_name(self, sweep: str) -> str:
        """A name that sorts by time (UTC, to the millisecond)."""
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        return f"{stamp}-{int(now * 1000) % 1000:03d}-{sweep}"

    def new_submission(self, sweep: str) -> str:
        """The name of a new, empty submission, made by exclusive creation of its folder."""
        while True:
            name = self.submission_name(sweep)
            try:
                self.submission_folder(name).mkdir(mode=0o700)  # its scripts are run as they stand
            except FileExistsError:
                continue
            self.log_folder(name).mkdir()
            (self.submission_folder(name) / "tasks").mkdir()
            return name

    def write_submission(self, submission: Submission) -> None:
        write_json(self.submission_folder(submission.id) / "submission.json", encode(submission))

    def read_submission(self, name: str) -> Submission | None:
        found = self._read(self.submission_folder(name) / "submission.json", Submission)
        if found is not None and not all(_CONFIG_ID.fullmatch(t.config_id) for t in found.tasks):
            path = self.submission_folder(name) / "submission.json"
            self.problems[path] = f"{path}: not a submission of this program"
            return None
        return found

    def submissions(self) -> list[Submission]:
        """All of them, the oldest first."""
        names = sorted(n for n in _listed(self.root / "submissions") if _SUBMISSION.fullmatch(n))
        return [found for found in map(self.read_submission, names) if found is not None]

    def script_path(self, submission: str, chunk: int) -> Path:
        """The batch script of a chunk."""
        return self.submission_folder(submission) / f"{chunk:03d}.sh"

    def _released_path(self, submission: str, config: str) -> Path:
        return self.submission_folder(submission) / "released" / f"{config}.json"

    def mark_released(self, submission: str, config: str) -> None:
        """Note that the seeds of `config` no longer wait for their canary."""
        write_json(self._released_path(submission, config), {"time": time.time()})

    def released(self, submission: str) -> set[str]:
        """Configurations whose seeds no longer wait for their canary."""
        return {name.removesuffix(".json") for name in _listed(self.submission_folder(submission) / "released")}

    def _trip_path(self, submission: str) -> Path:
        return self.submission_folder(submission) / "trip.json"

    def claim_trip(self, submission: str, trip: CircuitBreaker) -> bool:
        """Note that what waits is held; False where that was noted before."""
        return create_json(self._trip_path(submission), encode(trip))

    def write_trip(self, submission: str, trip: CircuitBreaker) -> None:
        write_json(self._trip_path(submission), encode(trip))

    def read_trip(self, submission: str) -> CircuitBreaker | None:
        return self._read(self._trip_path(submission), CircuitBreaker)

    def report_path(self, sweep: str) -> Path:
        """Where `--then-aggregate` has the report written."""
        return self.root / "reports" / f"{sweep}.html"

    def log_folder(self, submission: str) -> Path:
        return self.submission_folder(submission) / "logs"

    def log_path(self, submission: str, task: int) -> Path:
        """The log of a task of the local backend."""
        return self.log_folder(submission) / f"{task:03d}.log"

    def log_paths(self, submission: str, task: int, job: str | None) -> list[Path]:
        """Logs of a task, output before errors; job: its id with Slurm. Some may not exist."""
        if job is None:
            return [self.log_path(submission, task)]
        return [self.log_folder(submission) / f"{job}_0_log.{end}" for end in ("out", "err")]

    def scheduler_log_path(self, submission: str) -> Path:
        return self.log_folder(submission) / "scheduler.log"

    def _worker_path(self, submission: str, task: int | None) -> Path:
        folder = self.submission_folder(submission)
        return folder / "scheduler.json" if task is None else folder / "tasks" / f"{task:03d}.json"

    def write_worker(self, submission: str, task: int | None, worker: Worker) -> None:
        """The process of a task of the local backend, of its scheduler where `task` is None."""
        write_json(self._worker_path(submission, task), encode(worker))

    def read_worker(self, submission: str, task: int | None) -> Worker | None:
        return self._read(self._worker_path(submission, task), Worker)

    def read_answers(self) -> QueueSnapshot | None:
        return self._read(self.root / "queue.json", QueueSnapshot)

    def write_answers(self, answers: QueueSnapshot) -> None:
        """Keep what Slurm said; where this user may only read, each command asks for itself."""
        with contextlib.suppress(OSError):
            write_json(self.root / "queue.json", encode(answers), sync=False)

    def mark_cancelled(self, submission: str, task: int) -> None:
        """Tell the local scheduler that `task` is to end, or not to begin."""
        self._worker_path(submission, task).with_suffix(".cancelled").touch()

    def cancelled(self, submission: str) -> set[int]:
        """Tasks that `mark_cancelled` was told of."""
        names = _listed(self.submission_folder(submission) / "tasks")
        return {int(name.partition(".")[0]) for name in names if _CANCELLED.fullmatch(name)}

    def slot_path(self, slot: int) -> Path:
        """Lock file of a slot of the local backend; whoever holds its lock may train."""
        folder = self.root / "slots"
        folder.mkdir(exist_ok=True)
        return folder / f"{slot:03d}.lock"


def archivable(name: str) -> bool:
    """Whether an archive may hold a file at `name`, a path from the root: never a checkpoint, never one outside."""
    match name.split("/"):
        case ["decisions.json"]:
            return True
        case ["sweeps" | "looks", view]:
            return view.endswith(".json") and bool(_VIEW.fullmatch(view[:-5]))
        case ["reports", report]:
            return report.endswith(".html") and bool(_VIEW.fullmatch(report[:-5]))
        case ["runs", config, "config.json"]:
            return bool(_CONFIG_ID.fullmatch(config))
        case ["runs", config, seed, "stopped.json"]:
            return bool(_CONFIG_ID.fullmatch(config) and _SEED.fullmatch(seed))
        case ["runs", config, seed, "attempts" | "outcome" | "status", record]:
            return bool(_CONFIG_ID.fullmatch(config) and _SEED.fullmatch(seed) and _NUMBER.fullmatch(record))
        case ["runs", config, seed, shard_name.FOLDER, shard]:
            return bool(_CONFIG_ID.fullmatch(config) and _SEED.fullmatch(seed) and shard_name.parse(shard))
        case ["imports", imported, "import.json"]:
            return bool(_IMPORT.fullmatch(imported))
        case ["imports", imported, data, config, seed, shard_name.FOLDER, shard]:
            own = _IMPORT.fullmatch(imported) and _CODE.fullmatch(data)
            return bool(own and _CONFIG_ID.fullmatch(config) and _SEED.fullmatch(seed) and shard_name.parse(shard))
        case ["code", record] if record.endswith(".json"):
            return bool(_CODE.fullmatch(record[:-5]))
        case ["code", code, _, *_] as path:
            return bool(_CODE.fullmatch(code)) and all(map(_PLAIN.fullmatch, path))
    return False


def _listed(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _numbered(folder: Path) -> list[int]:
    """Numbers of the files `<n>.json` in `folder`."""
    return sorted(int(match[1]) for match in map(_NUMBER.fullmatch, _listed(folder)) if match)
