"""A folder of exported runs.

`<configuration>/<task>/seed-<n>/` holds the rows as rows.csv or as event files, and run.json, which identifies the run
and records which rows were written. The next export continues from there, so that no row is written twice.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aggregate.export import table, tensorboard
from aggregate.export.new_rows import ExportState, RunInfo, new_rows
from aggregate.export.wandb_runs import WandbRuns
from aggregate.inputs.progress import tracked
from aggregate.inputs.runs import DONE, ConfigSource, RunRows, SweepSource, load
from sweepwise.core import atomic
from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import AggregateError
from sweepwise.core.metrics import Catalogue

FORMAT_VERSION = 1  # of run.json
_RECORD = "run.json"
# Characters that neither paths nor names of algorithms and tasks in `sweeps import` may have.
_FOREIGN = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9 ._+()=-]+")
_LONGEST = 60


class ExportedConfig(NamedTuple):
    """A configuration to export. sweep: "" for runs that were named individually. agent: what its runs train."""

    sweep: str
    config: ConfigSource
    agent: AgentDescription


class Exported(NamedTuple):
    """Number of new rows and of runs with new rows; files that could not be read, each with the reason."""

    rows: int
    runs: int
    refused: list[str]


@dataclass
class _Place:
    """The folder of a run. written: by format, for W&B also by project."""

    folder: Path
    written: dict[str, ExportState] = field(default_factory=dict)


class Folder:
    """The folder `out`, into which one process at a time exports. forms: csv, tensorboard, wandb. project: of W&B.

    Methods raise `AggregateError` where the folder holds something else or cannot be written.
    """

    def __init__(self, out: Path, forms: Sequence[str], project: str) -> None:
        self._out = out
        self._targets = {form: f"{form} {project}" if form == "wandb" else form for form in forms}
        self._places = dict(_read(path) for path in sorted(out.glob(f"*/*/*/{_RECORD}")))
        self._owners = {place.folder.parent: config_id for (config_id, _), place in self._places.items()}
        self._wandb = WandbRuns(out, project) if "wandb" in forms else None
        self._seen: dict[tuple[str, int], Any] = {}  # shards of a run at its last export

    def export(self, configs: Sequence[ExportedConfig], live: bool) -> Exported:
        """Write the new rows of `configs`. live: runs that are not done may log more."""
        loaded = load([SweepSource(one.sweep, "", (), (), (one.config,), one.agent) for one in configs])
        runs = [(RunInfo(config.config_id, source.seed, config.label or config.config_id, sweep, config.config,
                         config.task_of(agent)),
                 loaded.runs[source.config_id, source.seed], agent.catalogue)
                for sweep, config, agent in configs for source in config.every_run]  # fmt: skip
        try:
            counts = [self._export(about, run, catalogue, live and run.source.state != DONE)
                      for about, run, catalogue in tracked(runs, len(runs), "exporting runs")
                      if run.count]  # fmt: skip
        except OSError as error:
            raise AggregateError(f"--out {self._out}: {error.strerror or error}; choose another place") from error
        refused = [f"{bad['config_id']}/seed-{bad['seed']}: {bad['file']}: {bad['reason']}; left out"
                   for bad in loaded.quarantine.to_dict("records")]  # fmt: skip
        return Exported(sum(counts), sum(count > 0 for count in counts), refused)

    def close(self) -> None:
        """End the export."""
        if self._wandb is not None:
            self._wandb.close_all()

    def _export(self, about: RunInfo, run: RunRows, catalogue: Catalogue, live: bool) -> int:
        """The number of new rows, in the format that lacks most."""
        key = (about.config_id, about.seed)
        if self._seen.get(key) == (run.files, live):
            return 0
        place = self._places.get(key) or self._new_place(about)
        count = max(self._export_as(form, place, about, run, catalogue) for form in self._targets)
        if self._wandb is not None and not live:
            self._wandb.close(about)
        self._places[key], self._seen[key] = place, (run.files, live)
        return count

    def _export_as(self, form: str, place: _Place, about: RunInfo, run: RunRows, catalogue: Catalogue) -> int:
        """The number of new rows in one format."""
        before = place.written.get(self._targets[form], ExportState())
        new = new_rows(run, before, catalogue, can_replace=form != "wandb")
        if not new.rows:
            return 0
        place.folder.mkdir(parents=True, exist_ok=True)
        if form == "csv":
            table.write(place.folder / "rows.csv", run, catalogue)
        elif form == "tensorboard":
            tensorboard.write(place.folder, new.written.batches, new.rows, new.back_to)
        elif self._wandb is not None:
            self._wandb.write(about, before.rows, new.rows)
        place.written[self._targets[form]] = new.written
        _write(place, about)
        return len(new.rows)

    def _new_place(self, about: RunInfo) -> _Place:
        """Named by the label, with the config ID appended where another configuration has the same label and task."""
        name = _clean(about.label) or about.config_id
        task = _clean(about.task) or "task"
        if self._owners.setdefault(self._out / name / task, about.config_id) != about.config_id:
            name = f"{name} {about.config_id}"
            self._owners[self._out / name / task] = about.config_id
        return _Place(self._out / name / task / f"seed-{about.seed}")


def _clean(text: str) -> str:
    return _FOREIGN.sub("", text)[:_LONGEST].strip()


def _write(place: _Place, about: RunInfo) -> None:
    record = {
        "format": FORMAT_VERSION,
        **about._asdict(),
        "written": {target: dataclasses.asdict(written) for target, written in sorted(place.written.items())},
    }
    text = json.dumps(record, indent=1) + "\n"
    atomic.write(place.folder / _RECORD, lambda part: part.write_text(text, encoding="utf-8"))


def _read(path: Path) -> tuple[tuple[str, int], _Place]:
    """((config_id, seed), its place)."""
    fix = "it was not exported by this program; choose another --out"
    try:
        record = json.loads(atomic.read_bytes(path))
        if record["format"] > FORMAT_VERSION:
            fix = f"format {record['format']}, this program reads up to {FORMAT_VERSION}; choose another --out"
            raise ValueError
        written = {target: ExportState(**_checked(state)) for target, state in record["written"].items()}
        return (str(record["config_id"]), int(record["seed"])), _Place(path.parent, written)
    except OSError as error:
        raise AggregateError(f"{path}: cannot be read: {error.strerror}; choose another --out") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AggregateError(f"{path}: {fix}") from error


def _checked(state: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an `ExportState`, as whole numbers. Raises `ValueError` and `TypeError`."""
    marks = {str(kind): [int(step), int(count)] for kind, (step, count) in state["marks"].items()}
    return {**{name: int(state[name]) for name in ("attempt", "batches", "rows")}, "marks": marks}
