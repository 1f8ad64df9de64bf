"""What is exported of a run: each row once, whatever the run and the exporting process go through."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aggregate.export import ExportedConfig, Folder
from aggregate.importers.event_files import Scalar, scalars
from aggregate.inputs.runs import ConfigSource, RunSource
from sweepwise.core.errors import AggregateError
from sweepwise.core.shards import ShardWriter
from tdmpc.description import DESCRIPTION
from tdmpc.metrics import CATALOGUE

CONFIG = {"task": "walker-walk", "num_q": 2}
PI_LOSS, RETURN = "policy/pi_loss", "return/eval_return_planner"


def config(folder: Path, label: str = "num_q=2, tau=0.1", config_id: str = "a" * 10, state: str = "running") -> Any:
    run = RunSource(config_id, 1, folder, state, 1)
    return ExportedConfig("tried", ConfigSource(config_id, label, {}, False, CONFIG, 100, (run,)), DESCRIPTION)


def log(folder: Path, tag: str, rows: Sequence[tuple[str, int, Mapping[str, Any]]], start: int = 0) -> None:
    """A shard of an attempt that went on from `start`."""
    writer = ShardWriter(folder, tag, {"start_step": str(start)}, lambda: True, CATALOGUE)
    for kind, step, metrics in rows:
        writer.log(kind, step, 2 * step, 3 * step, metrics)  # type: ignore[arg-type]
    writer.flush()


def train(steps: Mapping[int, float]) -> list[tuple[str, int, Mapping[str, Any]]]:
    return [("train", step, {"pi_loss": value}) for step, value in steps.items()]


def export(out: Path, *configs: Any, form: str = "tensorboard", live: bool = True) -> int:
    """As a process of its own would; the rows that were new."""
    folder = Folder(out, [form], "project")
    try:
        return folder.export(configs, live).rows
    finally:
        folder.close()


def events(out: Path) -> dict[str, list[tuple[str, int, float]]]:
    """Name of an event file -> its scalars."""
    files = sorted(out.rglob("*tfevents*"))
    return {path.name: [(s.tag, s.step, s.value) for s in scalars(path)] for path in files}


def names(count: int) -> list[str]:
    return [f"events.out.tfevents.{batch:010d}.sweeps" for batch in range(1, count + 1)]


def test_every_row_is_written_once(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", [*train({10: 1.0, 20: 2.0}), ("eval", 20, {"eval_return_planner": 5.0})])
    assert export(out, config(run)) == 3
    assert export(out, config(run)) == 0
    # of the same step as before and of another kind; and a second evaluation there
    log(run, "a001", [("eval", 20, {"eval_return_planner": 7.0, "eval_is_final": 1.0}), *train({30: 3.0})])
    assert export(out, config(run)) == 2
    assert export(out, config(run)) == 0
    scalars_by_file = events(out / "num_q=2 tau=0.1" / "walker-walk" / "seed-1")
    assert list(scalars_by_file) == names(2)
    assert sorted(scalars_by_file[names(2)[0]]) == [(PI_LOSS, 10, 1.0), (PI_LOSS, 20, 2.0), (RETURN, 20, 5.0)]
    assert scalars_by_file[names(2)[1]] == [(RETURN, 20, 7.0), ("run/eval_is_final", 20, 1.0), (PI_LOSS, 30, 3.0)]


def test_one_process_goes_on_as_several_do(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    folder = Folder(out, ["tensorboard"], "project")
    counts = []
    for step in (10, 20, 30):
        log(run, "a001", train({step: 1.0}))
        counts += [folder.export([config(run)], True).rows, folder.export([config(run)], True).rows]
    assert counts == [1, 0] * 3
    assert list(events(out)) == names(3)


def test_a_file_that_was_not_recorded_any_more_is_written_again(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", train({10: 1.0}))
    export(out, config(run))
    (record,) = out.rglob("run.json")
    before = record.read_bytes()
    log(run, "a001", train({20: 2.0}))
    export(out, config(run))
    record.write_bytes(before)  # as after a kill between the two
    log(run, "a001", train({30: 3.0}))
    assert export(out, config(run)) == 2
    assert list(events(out).values()) == [[(PI_LOSS, 10, 1.0)], [(PI_LOSS, 20, 2.0), (PI_LOSS, 30, 3.0)]]


def test_what_was_lost_with_an_attempt_is_taken_back(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", train({10: 1.0, 20: 2.0, 30: 3.0}))
    export(out, config(run))
    log(run, "a002", train({30: 3.5, 40: 4.5}), start=20)
    assert export(out, config(run)) == 3
    assert export(out, config(run)) == 0
    second = events(out)[names(2)[1]]
    assert second == [(PI_LOSS, 20, 2.0), (PI_LOSS, 30, 3.5), (PI_LOSS, 40, 4.5)]
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loaded = accumulator.EventAccumulator(str(next(out.rglob("*tfevents*")).parent))
    loaded.Reload()
    assert [(s.step, s.value) for s in loaded.Scalars(PI_LOSS)] == [(10, 1.0), (20, 2.0), (30, 3.5), (40, 4.5)]


def test_an_attempt_that_begins_behind_what_was_written_takes_nothing_back(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", train({10: 1.0}))
    export(out, config(run))
    log(run, "a002", train({20: 2.0}), start=15)
    assert export(out, config(run)) == 1
    assert b"\x3a\x02\x08\x01" not in (next(out.rglob(names(2)[1]))).read_bytes()  # session_log {status: START}


def test_lists_are_spread_and_single_episodes_left_out(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", [
        ("train", 10, {"log_std_per_dim": [1.0, 2.0], "grad_norm/value_loss/encoder": 0.5}),
        ("eval", 10, {"eval_return_planner": 4.0, "eval_return_planner_episodes": [3.0, 5.0]}),
    ])  # fmt: skip
    export(out, config(run))
    assert sorted(events(out)[names(1)[0]]) == [
        ("policy/log_std_per_dim/0", 10, 1.0), ("policy/log_std_per_dim/1", 10, 2.0), (RETURN, 10, 4.0),
        ("value/grad_norm/value_loss/encoder", 10, 0.5),
    ]  # fmt: skip


def test_a_number_that_is_none_is_told_and_one_that_is_absent_is_not(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", [("train", 10, {"pi_loss": math.nan}), ("train", 20, {"log_std": 1e300})])
    export(out, config(run))
    first, second = events(out)[names(1)[0]]
    assert first[:2] == (PI_LOSS, 10)
    assert math.isnan(first[2])
    assert second == ("policy/log_std", 20, math.inf)  # what four bytes hold


def test_an_event_and_the_time_are_there(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    writer = ShardWriter(run, "a001", {}, lambda: True, CATALOGUE)
    writer.log("event", 300, 600, 0, {}, "entropy_start")
    writer.flush()
    export(out, config(run))
    (path,) = out.rglob("*tfevents*")
    (scalar,) = scalars(path)
    assert scalar == Scalar("event/entropy_start", 300, 1.0, scalar.time)
    assert scalar.time > 1.7e9


def test_places_are_named_by_the_label_and_stay(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", train({10: 1.0}))
    export(
        out, config(run, "same"), config(run, "same", "b" * 10), config(run, "../../[0.9, 0.95]", "c" * 10),
        config(run, "", "d" * 10),
    )  # fmt: skip
    log(run, "a001", train({20: 1.0}))
    export(out, config(run, "same, renamed"))
    runs = {path.relative_to(out).parts[0]: len(events(path)) for path in out.iterdir()}
    assert runs == {"same": 2, "same bbbbbbbbbb": 1, "0.9 0.95": 1, "dddddddddd": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not exported by this program"),
        ("[1", "not exported by this program"),
        ('{"format": 2}', "format 2, this program reads up to 1"),
        (
            '{"format": 1, "config_id": "a", "seed": 1, "written": {"csv": {"marks": 3}}}',
            "not exported by this program",
        ),
    ],
)
def test_a_record_of_something_else_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a" / "b" / "seed-1" / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(AggregateError, match=message) as raised:
        Folder(tmp_path, ["csv"], "project")
    assert str(path) in str(raised.value)


# --- W&B ------------------------------------------------------------------------------------------------


@dataclass
class FakeRun:
    begun: dict[str, Any]
    logged: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    metrics: list[tuple[str, str | None]] = field(default_factory=list)
    ended: bool = False

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics.append((name, step_metric))

    def log(self, values: dict[str, float], step: int) -> None:
        assert not self.ended
        self.logged.append((step, values))

    def finish(self) -> None:
        self.ended = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """The runs that were begun, in the place of the package."""
    runs: list[FakeRun] = []

    def init(**begun: Any) -> FakeRun:
        runs.append(FakeRun(begun))
        return runs[-1]

    module = types.ModuleType("wandb")
    vars(module).update(init=init, Settings=dict, Error=type("Error", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_a_run_of_wandb_goes_on_where_it_was(tmp_path: Path, wandb: list[FakeRun]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", train({10: 1.0, 20: 2.0, 30: 3.0}))
    assert export(out, config(run), form="wandb") == 3
    log(run, "a002", train({30: 3.5, 40: 4.5}), start=20)
    assert export(out, config(run), form="wandb") == 1  # what W&B has cannot be taken back
    assert export(out, config(run), form="wandb") == 0
    first, second = wandb
    settings = {key: first.begun[key] for key in ("project", "id", "name", "group", "tags", "config", "resume")}
    assert settings == {
        "project": "project", "id": "aaaaaaaaaa-seed-1", "name": "num_q=2, tau=0.1 seed 1", "tags": ["tried"],
        "group": "num_q=2, tau=0.1", "config": {**CONFIG, "seed": 1}, "resume": "allow",
    }  # fmt: skip
    assert first.metrics == [("step", None), ("*", "step")]
    assert [(number, row["step"], row[PI_LOSS]) for number, row in first.logged] == [
        (0, 10, 1.0), (1, 20, 2.0), (2, 30, 3.0),
    ]  # fmt: skip
    assert second.begun["id"] == first.begun["id"]
    assert [(number, row["step"], row["frames"], row["update"]) for number, row in second.logged] == [(3, 40, 80, 120)]
    assert first.ended
    assert second.ended


def test_a_run_of_wandb_stays_open_while_it_trains(tmp_path: Path, wandb: list[FakeRun]) -> None:
    run = tmp_path / "run"
    folder = Folder(tmp_path / "out", ["wandb"], "project")
    for step in (10, 20):
        log(run, "a001", train({step: 1.0}))
        folder.export([config(run)], True)
    assert [(len(made.logged), made.ended) for made in wandb] == [(2, False)]
    folder.export([config(run, state="done")], True)
    assert [made.ended for made in wandb] == [True]


def test_another_project_gets_all_rows(tmp_path: Path, wandb: list[FakeRun]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", train({10: 1.0}))
    for project in ("one", "two", "one"):
        Folder(out, ["wandb"], project).export([config(run)], False)
    assert [(made.begun["project"], len(made.logged)) for made in wandb] == [("one", 1), ("two", 1)]


def test_without_wandb_that_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(AggregateError, match=r"W&B is not installed here; `pip install .*\[wandb\]"):
        Folder(tmp_path, ["wandb"], "project")


def test_what_is_recorded_is_enough_to_know_the_run(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    log(run, "a001", train({10: 1.0}))
    export(out, config(run), form="csv")
    (path,) = out.rglob("run.json")
    record = json.loads(path.read_text())
    assert (record["config_id"], record["seed"], record["label"], record["config"]) == (
        "aaaaaaaaaa", 1, "num_q=2, tau=0.1", CONFIG,
    )  # fmt: skip
    assert path.with_name("rows.csv").read_text().splitlines()[0].startswith('"kind","step","frames","update","time"')
