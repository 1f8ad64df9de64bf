"""The agents of a results folder: their descriptions, and the copies of their code. One file per agent."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jobs.programs import agent_code, registry
from jobs.programs.python import AgentSource
from jobs.results.record_files import RecordReader, encode
from jobs.results.records import AgentFile
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

    def record(self, source: AgentSource | None, plan_folder: Path) -> None:
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
        )
        if encode(record) != (encode(before) if before else None):
            self.path(description.name).parent.mkdir(exist_ok=True)
            write_json(self.path(description.name), encode(record))

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

    def _take(self, source: AgentSource, plan_folder: Path) -> str:
        """The hash of the copy of the code, made unless there is one. Raises `JobsError` if that was changed."""
        paths = agent_code.files_of(source, plan_folder)
        code = agent_code.digest(source.folder, paths)
        if not self._code_folder(code).exists():
            code = agent_code.copy(source.folder, paths, self._code_folder)
        self.check_copy(code)
        return code

    def check_copy(self, code: str) -> Path:
        """The folder of a copy. Raises `JobsError` if it is missing or was changed."""
        folder = self._code_folder(code)
        if not folder.is_dir():
            raise JobsError(f"{folder}, the copy of the agent's code, is missing; submit the plan again")
        if agent_code.digest(folder, agent_code.copied_files(folder)) != code:
            raise JobsError(f"{folder} was changed since it was copied at submit; move it away and submit again")
        return folder
