"""The agents of a results folder: their descriptions, and the copies of their code. One file per agent."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.programs import agent_code, registry
from jobs.programs.command import ProgramSource
from jobs.programs.python import AgentSource
from jobs.results.record_files import RecordReader, encode
from jobs.results.records import AgentFile, CodeFile
from sweepwise.core.agent import AgentDescription
from sweepwise.core.atomic import write_json
from sweepwise.core.errors import JobsError, SweepsError
from sweepwise.core.schema import Schema

RETURN = "return"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Agents:
    """Reads and writes agents/<name>.json. code_folder: hash -> the folder of a copy."""

    def __init__(self, root: Path, code_folder: Callable[[str], Path], reader: RecordReader) -> None:
        self._root, self._code_folder, self._reader = root, code_folder, reader

    def path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise JobsError(f"agent name {name!r}: letters, digits, - and _ are expected")
        return self._root / "agents" / f"{name}.json"

    def read(self, name: str) -> AgentFile | None:
        return self._reader.read(self.path(name), AgentFile)

    def check(self, name: str) -> AgentFile:
        """The file. Raises `JobsError` where it is missing or damaged."""
        record = self.read(name)
        if record is None:
            path = self.path(name)
            raise JobsError(self._reader.problems.pop(path, f"{path} is missing; submit the plan again"))
        return record

    def description(self, name: str) -> AgentDescription:
        """What is known of an agent. Raises `JobsError` where it is unknown here.

        The packaged agent is described by this program; folders of earlier versions hold no file of it.
        """
        if name == registry.PACKAGED:
            return registry.PACKAGED_SCHEMA.description
        return self._described(name, self.check(name))

    def _described(self, name: str, record: AgentFile) -> AgentDescription:
        try:
            return AgentDescription.from_json(record.description)
        except SweepsError as error:
            raise JobsError(f"{self.path(name)}: {error}") from error

    def result_words(self, name: str) -> str:
        """What a run of the agent reports while it trains, in words: the result of a training episode, else the primary
        metric. "return" for returns, and where the agent is unknown."""
        try:
            roles = self.description(name).catalogue.roles
        except JobsError:
            return RETURN
        metric = roles.get("training_return") or roles.get("primary")
        return RETURN if metric is None or metric.unit == RETURN else metric.words

    def schema(self, name: str) -> Schema:
        """The hyperparameters of an agent that was submitted here. Raises `JobsError` where it is unknown."""
        if name == registry.PACKAGED:
            return registry.PACKAGED_SCHEMA
        record = self.check(name)
        return self._schema(self._described(name, record), record)

    def schema_of(self, description: AgentDescription) -> Schema:
        """The same as of now in its code: hyperparameters that the first submit did not know are late."""
        return self._schema(description, self.read(description.name))

    def _schema(self, description: AgentDescription, record: AgentFile | None) -> Schema:
        names = [parameter.name for parameter in description.hyperparameters]
        return registry.schema(description, [name for name in names if record and name not in record.first])

    def record(self, source: AgentSource | ProgramSource | None, plan_folder: Path) -> None:
        """Copy the code of the plan's agent and store its description; metrics that runs of before log are kept.
        source: None for the packaged agent."""
        description = source.description if source else registry.PACKAGED_SCHEMA.description
        code = self._take(source, plan_folder) if source else ""
        before = self.read(description.name)
        record = AgentFile(
            description=self._with_old_metrics(description, before).to_json(),
            reference=source.reference if source else registry.PACKAGED_REFERENCE,
            code=code,
            first=before.first if before else [parameter.name for parameter in description.hyperparameters],
            program=source.program.to_json() if isinstance(source, ProgramSource) else {},
        )
        if encode(record) != (encode(before) if before else None):
            self.path(description.name).parent.mkdir(exist_ok=True)
            write_json(self.path(description.name), encode(record))

    def remap(self, source: ProgramSource) -> None:
        """Store what a changed plan says of the metrics of a program. The caller must hold the lock.

        Raises `JobsError` for a program that was never submitted here.
        """
        name = source.description.name
        record = self.check(name)
        if not record.program:
            raise JobsError(
                f"{name} is a Python object, which logs its metrics itself; only metrics of programs can be read again"
            )
        description = {
            **record.description,
            **self._with_old_metrics(source.description, record).catalogue.to_json(),
            "step_words": source.description.step_words,
        }
        program = {**record.program, "metrics": source.program.to_json()["metrics"]}
        write_json(self.path(name), encode(replace(record, description=description, program=program)))

    def merge(self, name: str, archived: Path) -> None:
        """Add the metrics that only the archived file of an agent declares: runs from the archive log them."""
        other, record = self._reader.read(archived, AgentFile), self.check(name)
        if other is not None:
            merged = self._with_old_metrics(AgentDescription.from_json(record.description), other)
            write_json(self.path(name), encode(replace(record, description=merged.to_json())))

    def _with_old_metrics(self, description: AgentDescription, before: AgentFile | None) -> AgentDescription:
        if before is None:
            return description
        try:
            old = AgentDescription.from_json(before.description).catalogue
        except SweepsError:
            return description
        return replace(description, catalogue=registry.extended(old, description.catalogue))

    def _take(self, source: AgentSource | ProgramSource, plan_folder: Path) -> str:
        """The hash of the copy of the code, made unless there is one. Raises `JobsError` if that was changed."""
        if isinstance(source, ProgramSource):
            paths = agent_code.program_files(source)
        else:
            paths = agent_code.files_of(source, plan_folder)
        code = agent_code.digest(source.folder, paths)
        if not self._code_folder(code).exists():
            code = agent_code.copy(source.folder, paths, self._code_folder)
        if isinstance(source, ProgramSource):
            self._write_manifest(code, source, paths)
        self.check_copy(code)
        return code

    def _write_manifest(self, code: str, source: ProgramSource, paths: Sequence[Path]) -> None:
        folder = self._code_folder(code)
        path = folder.with_suffix(".json")
        if self._reader.read(path, CodeFile) is None:
            files = [file.as_posix() for file in paths]
            commit = agent_code.commit(source.folder)
            write_json(path, encode(CodeFile(code, str(source.folder), time.time(), commit=commit, files=files)))
        for name in source.program.link:
            link = folder / name
            if not (source.folder / name).exists():
                raise JobsError(f"program.link: there is no {source.folder / name}")
            if not link.is_symlink() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source.folder / name)

    def check_copy(self, code: str) -> Path:
        """The folder of a copy. Raises `JobsError` if it is missing or was changed."""
        folder = self._code_folder(code)
        if not folder.is_dir():
            raise JobsError(f"{folder}, the copy of the agent's code, is missing; submit the plan again")
        record = self._reader.read(folder.with_suffix(".json"), CodeFile)
        files = [Path(name) for name in record.files] if record is not None else []
        try:
            changed = agent_code.digest(folder, files or agent_code.copied_files(folder)) != code
        except OSError:
            changed = True
        if changed:
            raise JobsError(
                f"{folder} was changed since it was copied at submit (a program must not change its own code); move it "
                "away and submit again"
            )
        return folder
