"""The results folder and all its paths. docs/architecture.md has the layout, `jobs.results.records` the records."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jobs import process
from jobs.programs import registry
from jobs.programs.agent_code import is_code_path
from jobs.results.agents import NAME as AGENT_NAME
from jobs.results.agents import Agents
from jobs.results.attempts import Attempts, RunRef
from jobs.results.decision_records import Annotations, Decision, Decisions
from jobs.results.record_files import CONFIG_ID, NUMBERED, SEED_FOLDER, RecordReader, encode, names_in, numbers_in
from jobs.results.records import (
    CodeFile,
    ConfigFile,
    Import,
    InterimAnalysis,
    InterimAnalysisFile,
    QueueSnapshot,
    SubmittedSweep,
    Worker,
)
from jobs.results.submissions import Submissions
from sweepwise.core import shard_name
from sweepwise.core.atomic import create_json, write_json
from sweepwise.core.errors import JobsError
from sweepwise.core.hyperparameters import ConfigError
from sweepwise.core.schema import IDENTITY_VERSION, ResolvedConfig

_CODE = re.compile(r"[0-9a-f]{16}")
_SWEEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)?")
_IMPORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ANNOTATED = re.compile(rf"{SEED_FOLDER.pattern}\.json")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ResultsFolder:
    """One results folder: configurations, sweeps, decisions, imports, code copies, and the lock on them.

    attempts: the runs in it. submissions: the submissions in it. agents: what they train. Invalid files are collected
    in `problems`. evaluation: as in `Submission`; empty unless `attempts` are evaluations.
    """

    evaluation: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.reader = RecordReader()
        self.attempts = Attempts(self.root, self._config_folder, self.reader)
        self.submissions = Submissions(self.root, self.reader)
        self.agents = Agents(self.root, self.code_folder, self.reader)

    @property
    def problems(self) -> dict[Path, str]:
        """Path -> what is wrong with that file, as a message of one line."""
        return self.reader.problems

    def prepare(self) -> None:
        """Create the folders. Raises `JobsError` if that is impossible."""
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.root.mkdir(mode=0o700)  # logs, diffs and code are private; an existing folder keeps its mode
            for name in ("sweeps", "runs", "submissions", "locks", "reports"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe.{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise JobsError(
                f"cannot write to the results folder {self.root}: {error.strerror}; give another with --results"
            ) from error

    # --- configurations -----------------------------------------------------------------------------------

    def config_path(self, config: str) -> Path:
        if not CONFIG_ID.fullmatch(config):
            raise JobsError(f"configuration id {config!r}: ten hex digits are expected")
        return self.root / "runs" / config / "config.json"

    def _config_folder(self, config: str) -> Path:
        return self.config_path(config).parent

    def read_config(self, config: str) -> ResolvedConfig | None:
        """The configuration; None if it is not stored, or damaged (see `problems`)."""
        path = self.config_path(config)
        record = self.reader.read(path, ConfigFile)
        if record is None:
            return None
        try:
            version = record.agent_version or (1 if record.agent == registry.PACKAGED else 0)
            return self.agents.schema(record.agent).resolve(record.config, record.hashed, version)
        except (ConfigError, JobsError) as error:
            self.problems[path] = f"{path}: {error}"
            return None

    def check_config(self, config: str) -> ResolvedConfig:
        """The configuration. Raises `JobsError` if it is missing, damaged or does not match its config ID."""
        path = self.config_path(config)
        stored = self.read_config(config)
        if stored is None:
            raise JobsError(self.problems.get(path, f"{path} is missing; submit the sweep again"))
        if stored.config_id != config:
            raise JobsError(f"{path}: its values are not those of {config}; restore it or move the folder away")
        return stored

    def run_length(self, config: str) -> int:
        """Agent steps of a run of the configuration; episodes, where `attempts` are evaluations. Raises as
        `check_config`."""
        return self.check_config(config).steps

    def write_config(self, config: ResolvedConfig) -> None:
        """Store `config`. If it is already stored, only its steps may change, and only to a larger value."""
        path = self.config_path(config.config_id)
        if path.exists():
            stored = self.check_config(config.config_id)
            if stored.steps >= config.steps:
                return
            schema = self.agents.schema(stored.agent)
            longer = {**stored.values, schema.description.steps: config.steps}
            config = schema.resolve(longer, stored.hashed, stored.version)
        record = ConfigFile(
            config.config_id, config.to_dict(), IDENTITY_VERSION, config.agent, list(config.hashed), config.version
        )
        write_json(path, encode(record))

    def other_version(self, config_ids: Iterable[str]) -> str:
        """Which of the stored configurations are of another version of their agent than the present one, as in "8
        configurations are of version 1 of the agent tdmpc, which is now at version 2"; "" for none."""
        stored = [config for config in map(self.read_config, config_ids) if config is not None]
        others = Counter(
            (config.version, config.agent, present)
            for config in stored
            if config.version != (present := self.agents.schema(config.agent).description.version)
        )
        return " and ".join(
            f"{count} configuration{'s are' if count > 1 else ' is'} of version {version} of the agent {agent}, which "
            f"is now at version {present}"
            for (version, agent, present), count in sorted(others.items())
        )

    def config_ids(self) -> list[str]:
        """Configurations that are stored here."""
        return sorted(name for name in names_in(self.root / "runs") if CONFIG_ID.fullmatch(name))

    # --- the lock -----------------------------------------------------------------------------------------

    def lock_path(self, number: int) -> Path:
        return self.root / "locks" / f"{number:03d}.json"

    def newest_lock(self) -> tuple[int, Worker | None]:
        """Its number (0 if there is none) and holder (None while it is being written)."""
        number = max(numbers_in(self.root / "locks"), default=0)
        path = self.lock_path(number)
        holder = self.reader.read(path, Worker) if number else None
        self.problems.pop(path, None)
        return number, holder

    def claim_lock(self, number: int, holder: Worker) -> bool:
        """Claim lock `number`; False if it was claimed before."""
        return create_json(self.lock_path(number), encode(holder))

    def write_lock(self, number: int, holder: Worker) -> None:
        write_json(self.lock_path(number), encode(holder), sync=False)

    # --- sweeps -------------------------------------------------------------------------------------------

    def sweep_path(self, name: str) -> Path:
        if not _SWEEP.fullmatch(name):
            raise JobsError(f"sweep name {name!r}: letters, digits, - and _ are expected")
        return self.root / "sweeps" / f"{name}.json"

    def sweep_names(self) -> list[str]:
        """Names of all sweeps that were submitted here."""
        names = names_in(self.root / "sweeps")
        return sorted(n.removesuffix(".json") for n in names if n.endswith(".json") and _SWEEP.fullmatch(n[:-5]))

    def read_sweep(self, name: str) -> SubmittedSweep | None:
        path = self.sweep_path(name)
        view = self.reader.read(path, SubmittedSweep)
        if view is not None and not all(CONFIG_ID.fullmatch(c.config_id) for c in view.configs):
            self.problems[path] = f"{path}: not a sweep of this program"
            return None
        return view

    def write_sweep(self, view: SubmittedSweep) -> None:
        write_json(self.sweep_path(view.name), encode(view))

    # --- interim analyses ---------------------------------------------------------------------------------

    def interim_analyses_path(self, sweep: str) -> Path:
        return self.root / "looks" / self.sweep_path(sweep).name

    def read_interim_analyses(self, sweep: str) -> list[InterimAnalysis]:
        """The oldest first. Raises `JobsError` for a damaged file: without it, results are not corrected for them."""
        path = self.interim_analyses_path(sweep)
        record = self.reader.read(path, InterimAnalysisFile)
        if record is None and path in self.problems:
            raise JobsError(
                self.problems.pop(path).replace("to remove this message", "to forget earlier interim analyses")
            )
        return record.looks if record is not None else []

    def write_interim_analyses(self, sweep: str, looks: list[InterimAnalysis]) -> None:
        """Write them; the caller must hold the lock."""
        write_json(self.interim_analyses_path(sweep), encode(InterimAnalysisFile(looks)))

    # --- decisions ----------------------------------------------------------------------------------------

    def decisions_path(self) -> Path:
        return self.root / "decisions.json"

    def read_decisions(self) -> list[Decision]:
        """The oldest first. Raises `JobsError` for a damaged file: without it, sweeps would start from another base."""
        path = self.decisions_path()
        record = self.reader.read(path, Decisions)
        if record is None and path in self.problems:
            raise JobsError(self.problems.pop(path).replace("to remove this message", "to decide again"))
        return record.decisions if record is not None else []

    def write_decisions(self, decisions: list[Decision]) -> None:
        """Write them; the caller must hold the lock."""
        write_json(self.decisions_path(), encode(Decisions(decisions)))

    # --- annotations --------------------------------------------------------------------------------------

    def annotations_path(self, target: str | RunRef) -> Path:
        """target: name of a sweep, or a run."""
        folder = self.root / "annotations"
        if isinstance(target, str):
            return folder / self.sweep_path(target).name
        return folder / self._config_folder(target.config_id).name / f"seed-{target.seed}.json"

    def read_annotations(self, target: str | RunRef) -> Annotations:
        """Raises `JobsError` for a damaged file: without it, an excluded run would be analysed."""
        path = self.annotations_path(target)
        record = self.reader.read(path, Annotations)
        if record is None and path in self.problems:
            raise JobsError(self.problems.pop(path).replace("to remove this message", "to analyse all runs"))
        return record or Annotations()

    def annotated_runs(self) -> dict[RunRef, Annotations]:
        """The annotations of all runs that have any. Raises `JobsError` as `read_annotations`."""
        folder = self.root / "annotations"
        runs = [RunRef(config_id, int(match[1]))
                for config_id in names_in(folder) if CONFIG_ID.fullmatch(config_id)
                for match in map(_ANNOTATED.fullmatch, names_in(folder / config_id)) if match]  # fmt: skip
        return {run: self.read_annotations(run) for run in sorted(runs)}

    def write_annotations(self, target: str | RunRef, annotations: Annotations) -> None:
        """Write them; the caller must hold the lock."""
        path = self.annotations_path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, encode(annotations))

    # --- imports ------------------------------------------------------------------------------------------

    def import_path(self, name: str) -> Path:
        if not _IMPORT.fullmatch(name):
            raise JobsError(f"name {name!r}: letters, digits, - and _ are expected")
        return self.root / "imports" / name / "import.json"

    def import_names(self) -> list[str]:
        """Names of all imports."""
        names = filter(_IMPORT.fullmatch, names_in(self.root / "imports"))
        return sorted(name for name in names if self.import_path(name).is_file())

    def read_import(self, name: str) -> Import | None:
        path = self.import_path(name)
        record = self.reader.read(path, Import)
        if record is not None and not (
            _CODE.fullmatch(record.data) and all(CONFIG_ID.fullmatch(c.config_id) for c in record.configs)
        ):
            self.problems[path] = f"{path}: not an import of this program"
            return None
        return record

    def write_import(self, record: Import) -> None:
        """Write `record`, after its shards are written. It replaces an earlier import of the same name."""
        write_json(self.import_path(record.name), encode(record))

    def tidy_import(self, name: str) -> None:
        """Remove the shards of imports that were replaced or interrupted."""
        recorded = self.read_import(name)
        folder = self.import_path(name).parent
        for data in names_in(folder):
            if _CODE.fullmatch(data) and (recorded is None or data != recorded.data):
                shutil.rmtree(folder / data, ignore_errors=True)

    def imported_folder(self, name: str, data: str, run: RunRef) -> Path:
        """The folder of an imported curve, with the layout of a run's folder."""
        return self.import_path(name).parent / data / run.config_id / f"seed-{run.seed}"

    # --- code ---------------------------------------------------------------------------------------------

    def code_folder(self, code: str) -> Path:
        """The folder of the copy of the code with that hash."""
        if not _CODE.fullmatch(code):
            raise JobsError(f"code {code!r}: sixteen hex digits are expected")
        return self.root / "code" / code

    def archived_code_folder(self, code: str) -> Path:
        """The folder of a copy that came with an archive. Nothing imports from it."""
        return self.root / "archived_code" / self.code_folder(code).name

    def find_code(self, code: str) -> Path | None:
        """The folder of a copy, made here or from an archive; None where there is none."""
        folders = (self.code_folder(code), self.archived_code_folder(code)) if code else ()
        return next((folder for folder in folders if folder.is_dir()), None)

    def write_code(self, code: CodeFile) -> None:
        write_json(self.code_folder(code.hash).with_suffix(".json"), encode(code))

    def read_code(self, code: str) -> CodeFile | None:
        return self.reader.read(self.code_folder(code).with_suffix(".json"), CodeFile)

    # --- archives -----------------------------------------------------------------------------------------

    def archived(
        self,
        views: Iterable[str],
        runs: Iterable[RunRef],
        imports: Iterable[str],
        codes: Iterable[str],
        agents: Iterable[str] = (),
    ) -> list[str]:
        """The files of these and of the decisions that belong in an archive: paths relative to the root, sorted."""
        paths = [
            self.decisions_path(),
            *(
                path(name)
                for name in views
                for path in (self.sweep_path, self.interim_analyses_path, self.annotations_path)
            ),
        ]
        for run in runs:
            paths += [self.config_path(run.config_id), *self.attempts.folder(run).rglob("*")]
            paths += [self.annotations_path(run)]
        for name in imports:
            record = self.read_import(name)
            folder = self.import_path(name).parent
            paths += [self.import_path(name), *((folder / record.data).rglob("*") if record is not None else ())]
        paths += [self.agents.path(name) for name in agents]
        paths += [self.code_folder(code).with_suffix(".json") for code in codes]
        # Links lead to data that a program reads beside its code.
        files = (path for path in paths if path.is_file() and not path.is_symlink())
        names = {path.relative_to(self.root).as_posix() for path in files}
        return sorted(filter(archivable, names))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A temporary folder in the results folder; files written there can be moved to their final place."""
        folder = self.root / f".{uuid.uuid4().hex}.part"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # --- submissions --------------------------------------------------------------------------------------

    def report_path(self, sweep: str) -> Path:
        """The path of the report that `--then-aggregate` writes."""
        return self.root / "reports" / f"{sweep}.html"

    def read_queue(self) -> QueueSnapshot | None:
        return self.reader.read(self.root / "queue.json", QueueSnapshot)

    def write_queue(self, answers: QueueSnapshot) -> None:
        """Cache the answers of Slurm. Does nothing if the folder is read-only; each command then calls Slurm itself."""
        with contextlib.suppress(OSError):
            write_json(self.root / "queue.json", encode(answers), sync=False)

    def slot_path(self, slot: int) -> Path:
        """Lock file of a slot of the local backend on this host; the process that holds the lock may train."""
        return self._slots() / f"{re.sub('[^A-Za-z0-9.-]', '_', process.host())}-{slot:03d}.lock"

    def older_slot_path(self, slot: int) -> Path:
        """The same for schedulers of versions whose slots did not name the host."""
        return self._slots() / f"{slot:03d}.lock"

    def _slots(self) -> Path:
        folder = self.root / "slots"
        folder.mkdir(exist_ok=True)
        return folder


def archivable(name: str) -> bool:
    """Whether an archive may hold a file at `name`, a path relative to the root: no checkpoints, no paths outside."""
    match name.split("/"):
        case ["decisions.json"]:
            return True
        case ["sweeps" | "looks" | "annotations", view]:
            return view.endswith(".json") and bool(_SWEEP.fullmatch(view[:-5]))
        case ["reports", report]:
            return report.endswith(".html") and bool(_SWEEP.fullmatch(report[:-5]))
        case ["agents", agent]:
            return agent.endswith(".json") and bool(AGENT_NAME.fullmatch(agent[:-5]))
        case ["runs", config, "config.json"]:
            return bool(CONFIG_ID.fullmatch(config))
        case ["runs", config, seed, "stopped.json"]:
            return bool(CONFIG_ID.fullmatch(config) and SEED_FOLDER.fullmatch(seed))
        case ["runs", config, seed, "attempts" | "outcome" | "status", record]:
            return bool(CONFIG_ID.fullmatch(config) and SEED_FOLDER.fullmatch(seed) and NUMBERED.fullmatch(record))
        case ["runs", config, seed, "evaluations", evaluation, "returns.json"]:
            return bool(CONFIG_ID.fullmatch(config) and SEED_FOLDER.fullmatch(seed) and _PLAIN.fullmatch(evaluation))
        case ["runs", config, seed, shard_name.FOLDER, shard]:
            return bool(CONFIG_ID.fullmatch(config) and SEED_FOLDER.fullmatch(seed) and shard_name.parse(shard))
        case ["annotations", config, run]:
            return bool(CONFIG_ID.fullmatch(config) and _ANNOTATED.fullmatch(run))
        case ["imports", imported, "import.json"]:
            return bool(_IMPORT.fullmatch(imported))
        case ["imports", imported, data, config, seed, shard_name.FOLDER, shard]:
            valid = _IMPORT.fullmatch(imported) and _CODE.fullmatch(data)
            return bool(
                valid and CONFIG_ID.fullmatch(config) and SEED_FOLDER.fullmatch(seed) and shard_name.parse(shard)
            )
        case ["code", record] if record.endswith(".json"):
            return bool(_CODE.fullmatch(record[:-5]))
        case ["code", code, *path] if path:
            return bool(_CODE.fullmatch(code)) and is_code_path("/".join(path))
    return False
