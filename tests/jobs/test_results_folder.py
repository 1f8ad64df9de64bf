"""The results folder: exclusive attempts, fencing, damaged files, configurations that stay."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from pathlib import Path

import pytest

from jobs.planning import plan
from jobs.results.attempts import RunRef
from jobs.results.record_files import RecordError, decode, encode
from jobs.results.records import Attempt, AttemptOutcome, Status, Submission, SubmittedSweep, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.runs.status import sweeps
from sweepwise.core.atomic import write_bytes
from sweepwise.core.errors import JobsError
from tdmpc.config import TrainConfig, config_id
from tdmpc.description import SCHEMA

ATTEMPT = Attempt(number=0, host="h", pid=1, pid_start="5", started=10.0, device="cpu")
EXTENDABLE = TrainConfig(detach_encoder_ratio=0.0, start_entropy_coeff=1e-5, end_entropy_coeff=1e-5)


def run_of(config: TrainConfig, seed: int = 1) -> RunRef:
    return RunRef(config_id(config), seed)


def test_attempts_count_up_and_only_the_newest_owns_the_run(store: ResultsFolder) -> None:
    run = run_of(TrainConfig())
    first, second = store.attempts.claim(run, ATTEMPT), store.attempts.claim(run, ATTEMPT)
    assert (first.number, second.number) == (1, 2)
    assert (store.attempts.is_newest(run, 1), store.attempts.is_newest(run, 2)) == (False, True)


def test_attempts_claimed_at_once_are_all_different(store: ResultsFolder) -> None:
    run, numbers = run_of(TrainConfig()), []
    gate = threading.Barrier(8)

    def claim() -> None:
        gate.wait()
        numbers.append(store.attempts.claim(run, ATTEMPT).number)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))


def test_a_superseded_attempt_leaves_the_heartbeat_alone(store: ResultsFolder) -> None:
    run = run_of(TrainConfig())
    store.attempts.claim(run, ATTEMPT)
    store.attempts.claim(run, ATTEMPT)
    store.attempts.write_status(run, Status(2, 20, 100, 1.0, None, 5.0))
    assert not store.attempts.write_status(run, Status(1, 99, 100, 1.0, None, 6.0))
    assert beat(store, run) == 20


def test_an_attempt_that_was_stopped_before_the_move_overwrites_no_newer_heartbeat(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(TrainConfig())
    store.attempts.claim(run, ATTEMPT)
    guard = store.attempts.is_newest

    def stopped_after(run: RunRef, number: int) -> bool:
        answer = guard(run, number)
        monkeypatch.undo()
        store.attempts.claim(run, ATTEMPT)
        store.attempts.write_status(run, Status(2, 20, 100, 1.0, None, 5.0))
        return answer

    monkeypatch.setattr(store.attempts, "is_newest", stopped_after)
    store.attempts.write_status(run, Status(1, 99, 100, 1.0, None, 6.0))
    assert beat(store, run) == 20


def test_until_its_first_heartbeat_an_attempt_stands_where_the_one_before_stood(store: ResultsFolder) -> None:
    run = run_of(TrainConfig())
    store.attempts.claim(run, ATTEMPT)
    store.attempts.write_status(run, Status(1, 30, 100, 1.0, None, 5.0))
    store.attempts.claim(run, ATTEMPT)
    assert beat(store, run) == 30


def beat(store: ResultsFolder, run: RunRef) -> int:
    """Step of the newest heartbeat."""
    status = store.attempts.load(run, 100).status
    assert status is not None
    return status.step


def test_done_is_what_any_attempt_finished(store: ResultsFolder) -> None:
    run = run_of(TrainConfig())
    store.attempts.claim(run, ATTEMPT)
    store.attempts.write_outcome(run, 1, AttemptOutcome("finished", 100, "", 1.0))
    assert store.attempts.load(run, 100).done
    assert not store.attempts.load(run, 101).done
    store.attempts.claim(run, ATTEMPT)  # one more, which found nothing to do and died
    assert store.attempts.load(run, 100).done


def shard(store: ResultsFolder, run: RunRef, name: str) -> Path:
    path = store.attempts.folder(run) / "metrics" / name
    write_bytes(path, b"rows")
    return path


def test_done_is_the_last_shard_where_the_outcome_is_lost(store: ResultsFolder) -> None:
    run = run_of(TrainConfig())
    store.attempts.claim(run, ATTEMPT)
    shard(store, run, "a001-p00000.parquet")
    assert not store.attempts.load(run, 100).done
    shard(store, run, "a001-p00001-end100.parquet")
    assert store.attempts.load(run, 100).done
    assert not store.attempts.load(run, 101).done


def test_an_end_is_none_that_a_later_attempt_went_on_from_before(store: ResultsFolder) -> None:
    """Its rows beyond that attempt's start do not count, see `aggregate.inputs.runs`."""
    run = run_of(TrainConfig())
    for _ in range(2):
        store.attempts.claim(run, ATTEMPT)
    shard(store, run, "a001-p00007-end100.parquet")
    shard(store, run, "a002-p00000.parquet")
    assert not store.attempts.load(run, 100).done


def test_an_outcome_whose_last_shard_is_gone_is_not_done(store: ResultsFolder) -> None:
    run = run_of(TrainConfig())
    store.attempts.claim(run, ATTEMPT)
    path = shard(store, run, "a001-p00001-end100.parquet")
    store.attempts.write_outcome(run, 1, AttemptOutcome("finished", 100, "", 1.0, last_shard=path.name))
    assert store.attempts.load(run, 100).done
    path.unlink()
    assert (store.attempts.load(run, 100).done, store.attempts.load(run, 100).lost_shard) == (False, path.name)


@pytest.mark.parametrize("name", ["../../config.json", "a\0b", "x"])
def test_an_outcome_that_names_no_shard_is_not_done(store: ResultsFolder, name: str) -> None:
    run = run_of(TrainConfig())
    store.write_config(SCHEMA.resolve(vars(TrainConfig())))
    store.attempts.claim(run, ATTEMPT)
    store.attempts.write_outcome(run, 1, AttemptOutcome("finished", 100, "", 1.0, last_shard=name))
    assert not store.attempts.load(run, 100).done


def test_an_interrupted_outcome_at_the_last_step_is_not_done(store: ResultsFolder) -> None:
    run = run_of(TrainConfig())
    store.attempts.claim(run, ATTEMPT)
    store.attempts.write_outcome(run, 1, AttemptOutcome("interrupted", 100, "", 1.0))
    assert not store.attempts.load(run, 100).done


def test_a_configuration_stays_but_its_steps_may_rise(store: ResultsFolder) -> None:
    identity = config_id(EXTENDABLE)
    for steps, stored in ((5000, 5000), (9000, 9000), (6000, 9000)):
        store.write_config(SCHEMA.resolve(vars(dataclasses.replace(EXTENDABLE, steps=steps))))
        assert store.check_config(identity).steps == stored


def test_a_configuration_that_is_not_its_identity_is_an_error(store: ResultsFolder) -> None:
    store.write_config(SCHEMA.resolve(vars(TrainConfig())))
    path = store.config_path(config_id(TrainConfig()))
    path.write_text(path.read_text().replace('"batch_size": 256', '"batch_size": 128'))
    with pytest.raises(JobsError, match="its values are not those of"):
        store.check_config(config_id(TrainConfig()))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', '{"format": 1}', '{"format": 99}', "\x00\xff", "[" * 99999, "NaN"]
)
def test_damaged_files_are_reported_and_no_crash(store: ResultsFolder, text: str) -> None:
    store.write_config(SCHEMA.resolve(vars(TrainConfig())))
    run = run_of(TrainConfig())
    store.attempts.claim(run, ATTEMPT)
    folder = store.attempts.folder(run)
    damaged = [
        folder / "attempts" / "001.json", folder / "outcome" / "001.json", folder / "status" / "001.json",
        store.root / "sweeps" / "s.json", store.config_path(run.config_id),
    ]  # fmt: skip
    for path in damaged:
        write_bytes(path, text.encode("latin-1"))
    record = store.attempts.load(run, 100)
    assert (record.attempts, record.attempt, record.outcome, record.status) == (1, None, None, None)
    assert store.read_sweep("s") is None
    assert store.read_config(run.config_id) is None
    assert set(store.problems) == set(damaged)
    assert all("\n" not in problem and str(path) in problem for path, problem in store.problems.items())


def test_foreign_files_beside_ours_are_not_looked_at(store: ResultsFolder) -> None:
    for path in ("notes.txt", "sweeps/README", "sweeps/.x.json.1.part", "runs/other/file", "submissions/mine/x"):
        write_bytes(store.root / path, b"x")
    assert (store.sweep_names(), store.submissions.all(), store.problems) == ([], [], {})


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a.b.c", "a b"])
def test_names_cannot_leave_the_folder(store: ResultsFolder, name: str) -> None:
    with pytest.raises(JobsError):
        store.sweep_path(name)
    with pytest.raises(JobsError):
        store.config_path(name)
    with pytest.raises(JobsError):
        store.submissions.folder(name)
    with pytest.raises(JobsError):
        store.code_folder(name)


def test_a_view_with_paths_for_ids_is_foreign(store: ResultsFolder) -> None:
    view = SubmittedSweep("s", "p", "", [], [], [], 1.0)
    data = {
        **encode(view),
        "configs": [{"config_id": "../../x", "label": "", "factors": {}, "is_baseline": False, "seeds": [1]}],
    }
    write_bytes(store.sweep_path("s"), json.dumps(data).encode())
    assert store.read_sweep("s") is None
    assert "not a sweep of this program" in store.problems[store.sweep_path("s")]


def test_a_new_results_folder_is_private_and_an_old_one_stays(tmp_path: Path) -> None:
    ResultsFolder(tmp_path / "a" / "results").prepare()
    assert (tmp_path / "a" / "results").stat().st_mode & 0o777 == 0o700
    (tmp_path / "shared").mkdir(mode=0o755)
    ResultsFolder(tmp_path / "shared").prepare()
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755


def test_results_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JobsError, match=r"cannot write to the results folder .*--results"):
        ResultsFolder(tmp_path / "file").prepare()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sweepwise.core.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_records_survive_the_way_to_disk_and_back() -> None:
    submission = Submission(
        "i", "s", "local", "h", "u", 1.5, [TaskRuns("0" * 10, [1, 2])], 0, 2, "n", {"profile": None}
    )
    assert decode(Submission, json.loads(json.dumps(encode(submission)))) == submission


def test_what_is_not_finite_is_none_on_disk() -> None:
    encoded = encode(Status(1, 2, 3, math.inf, math.nan, 4.0))
    assert (encoded["steps_per_s"], encoded["last_return"]) == (None, None)
    assert decode(Status, encoded).last_return is None


@pytest.mark.parametrize(
    "change", [{"pid": "1"}, {"pid": True}, {"versions": []}, {"host": None}, {"started": "now"}, {"task": 1.5}]
)
def test_wrong_types_are_record_errors(change: dict[str, object]) -> None:
    with pytest.raises(RecordError, match=next(iter(change))):
        decode(Attempt, {**encode(ATTEMPT), **change})


def test_submissions_are_new_and_in_order(store: ResultsFolder) -> None:
    names = [store.submissions.create("s") for _ in range(3)]
    assert names == sorted(set(names))


def test_sweeps_are_listed_in_the_order_of_their_plan(store: ResultsFolder) -> None:
    store.prepare()
    for name, position in (("entropy", 2), ("ensemble", 1), ("other", 0), ("another", 0)):
        store.write_sweep(SubmittedSweep(name, "plan", "", [], [], [], 1.0, position=position))
    assert [s.view.name for s in sweeps(store)] == ["ensemble", "entropy", "another", "other"]
    assert [s.view.name for s in sweeps(store, ["entropy", "ensemble"])] == ["entropy", "ensemble"]


def test_a_plan_knows_the_order_of_its_sweeps() -> None:
    packaged = plan.load()
    names = ["ensemble", "update-freq.pi-lr", "update-freq.lr-vs-freq", "gamma", "entropy.fixed", "none"]
    assert [packaged.position(name) for name in names] == [1, 2, 6, 7, 9, 0]
