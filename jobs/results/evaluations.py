"""Evaluations of trained runs on disk: who claimed one, and the returns of its episodes.

An evaluation of a run has attempts, outcomes and heartbeats as its training has, in a folder of its own, and its steps
are episodes. So status, submit and canaries work on `EvaluationFolder` as they do on `ResultsFolder`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.results.attempts import Attempts, RunRecord, RunRef
from jobs.results.record_files import RecordReader, encode, names_in
from jobs.results.records import EvaluationFile, Submission
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.atomic import write_json

FOLDER, RETURNS = "evaluations", "returns.json"
NAME = re.compile(r"(?P<planner>[a-z]+)-(?P<episodes>\d+)-step-(?P<step>\d{9,})(-last-(?P<snapshots>\d+))?")


@dataclass(frozen=True)
class EvaluationSpec:
    """What is evaluated: the weights of step `at`, None for those of a run's last step, with `planner`, for
    `episodes` episodes. snapshots: number of the last snapshots up to that step, among which the episodes are divided
    equally."""

    planner: str
    episodes: int
    at: int | None = None
    snapshots: int = 1

    def folder_name(self, last_step: int) -> str:
        """The name of its folder, below that of a run with `last_step` agent steps."""
        several = f"-last-{self.snapshots}" if self.snapshots > 1 else ""
        return f"{self.planner}-{self.episodes}-step-{self.at or last_step:09d}{several}"

    def to_json(self) -> dict[str, Any]:
        """Without `snapshots` where it is 1, as earlier versions wrote it."""
        return {key: value for key, value in vars(self).items() if key != "snapshots" or value > 1}

    def __str__(self) -> str:
        over = f" over the last {self.snapshots} snapshots" if self.snapshots > 1 else ""
        at = f", step {self.at:,}" if self.at else ""
        return f"{self.episodes} episodes{over}, planner {self.planner}{at}"


def parse(stored: Mapping[str, Any]) -> EvaluationSpec:
    """The specification in `Submission.evaluation`."""
    return EvaluationSpec(stored["planner"], stored["episodes"], stored["at"], stored.get("snapshots", 1))


class EvaluationAttempts(Attempts):
    """The evaluations of runs as `spec` says. last_step: config_id -> agent steps of its runs."""

    def __init__(
        self, root: Path, config_folder: Callable[[str], Path], reader: RecordReader, spec: EvaluationSpec,
        last_step: Callable[[str], int],
    ) -> None:  # fmt: skip
        super().__init__(root, config_folder, reader)
        self._spec, self._last_step = spec, functools.cache(last_step)

    def folder(self, run: RunRef) -> Path:
        return super().folder(run) / FOLDER / self._spec.folder_name(self._last_step(run.config_id))

    def load(self, run: RunRef, steps: int) -> RunRecord:
        """Done where its returns are there, whether or not the process could record that it had finished."""
        record = super().load(run, steps)
        return dataclasses.replace(record, finished_step=steps if self.read_returns(run) is not None else 0)

    def read_returns(self, run: RunRef) -> EvaluationFile | None:
        return self._reader.read(self.folder(run) / RETURNS, EvaluationFile)

    def write_returns(self, run: RunRef, number: int, record: EvaluationFile) -> None:
        """Write them as attempt `number`. Raises `Superseded` if a newer attempt owns the evaluation."""
        owned = functools.partial(self.is_newest, run, number)
        write_json(self.folder(run) / RETURNS, encode(record), owned)


class EvaluationFolder(ResultsFolder):
    """A results folder of which `attempts` are evaluations."""

    def __init__(self, root: Path, spec: EvaluationSpec) -> None:
        super().__init__(root)
        self.spec, self.evaluation = spec, spec.to_json()
        self.attempts: EvaluationAttempts = EvaluationAttempts(
            self.root, self._config_folder, self.reader, spec, lambda config: self.check_config(config).steps
        )

    def run_length(self, config: str) -> int:
        return self.spec.episodes


def folder_of(store: ResultsFolder, submission: Submission) -> ResultsFolder:
    """The results folder as the tasks of `submission` see it: with evaluations in place of trained runs, or `store`."""
    if submission.evaluation == store.evaluation:
        return store
    if not submission.evaluation:
        return ResultsFolder(store.root)
    return EvaluationFolder(store.root, parse(submission.evaluation))


def complete_evaluations(store: ResultsFolder, run: RunRef, planner: str, step: int) -> list[EvaluationFile]:
    """The complete evaluations of `run` at `step`, or of snapshots up to it, with `planner`."""
    folder = store.attempts.folder(run) / FOLDER
    matches = (match for name in names_in(folder) if (match := NAME.fullmatch(name)))
    complete = []
    for match in matches:
        if (match["planner"], int(match["step"])) != (planner, step):
            continue
        record = store.reader.read(folder / match[0] / RETURNS, EvaluationFile)
        episodes_and_snapshots = (int(match["episodes"]), int(match["snapshots"] or 1))
        if record is not None and (len(record.returns), len(record.snapshots) or 1) == episodes_and_snapshots:
            complete.append(record)
    return complete
