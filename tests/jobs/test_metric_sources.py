"""Files that a program writes while they are read: every row once, none that is half-written, every fault counted."""

from __future__ import annotations

import base64
import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from jobs.programs.metric_sources import search, tail
from jobs.programs.metric_sources.base import LoggedRow, MetricReader, SourceSpec
from sweepwise.core.errors import JobsError
from sweepwise.core.event_files import checksum

# The start of a file that wandb 0.31.0 wrote (its header and one record), and three records of history from it: wandb
# was given {"global_step": 0, "loss": 0.5, "nested": {"inner": {"value": 1}}, "hist": a histogram}, then
# {"global_step": 10, "loss": nan, "low": -inf, "done": True, "word": "hi", "list": [1, 2.5]}, then {"loss": 0.25} with
# step=7.
WANDB_START = base64.b64decode(
    "OlcmQuG+AKfyaNxNAAEIAcIMCgoIcmFlOXEyZXiqATsKOQovMC4zMS4wKzE1ZjhjYmM1ODFkMWM1Y2ZjNmUzMWY2OGI0OGJkZDEzY2VjMmRkMmMS"
    "BjAuNzAuMA=="
)
WANDB_HISTORY = [base64.b64decode(text) for text in (
    "CAoS2QEKGhIGbmVzdGVkEgVpbm5lchIFdmFsdWWCAQExChsSBGhpc3QSBV90eXBlggELImhpc3RvZ3JhbSIKFhIEaGlzdBIGdmFsdWVzggEFWzEs"
    "Ml0KFhIEaGlzdBIEYmluc4IBB1swLDEsMl0KJBIKX3RpbWVzdGFtcIIBFTEuNzk2MDIzNzEwODY4NDg2ZSswOQoYEghfcnVudGltZYIBCzAuMzE3"
    "MDU4MTc3CgsSBV9zdGVwggEBMAoREgtnbG9iYWxfc3RlcIIBATAKDBIEbG9zc4IBAzAuNRIA",
    "CA0StwEKEhILZ2xvYmFsX3N0ZXCCAQIxMAoMEgRsb3NzggEDTmFOChESA2xvd4IBCS1JbmZpbml0eQoNEgR3b3JkggEEImhpIgoQEgRsaXN0ggEH"
    "WzEsMi41XQolEgpfdGltZXN0YW1wggEWMS43OTYwMjM3MTA4NzAzMDQ4ZSswOQoYEghfcnVudGltZYIBCzAuMzE3OTUxNDk4Cg0SBGRvbmWCAQR0"
    "cnVlCgsSBV9zdGVwggEBMRICCAE=",
    "CBMSYQolEgpfdGltZXN0YW1wggEWMS43OTYwMjM3MTA4NzEzNjc3ZSswOQoYEghfcnVudGltZYIBCzAuMzE5ODc4ODg0CgsSBV9zdGVwggEBNwoN"
    "EgRsb3NzggEEMC4yNRICCAc=",
)]  # fmt: skip


class Run:
    """A run's folder with files that the test writes as a program would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output = folder / "run", folder / "logs" / "output.log"
        self.folder.mkdir()
        self.output.parent.mkdir()

    def reader(self, *specs: SourceSpec, step: str = "step") -> MetricReader:
        return MetricReader(specs, step, self.folder, self.output)

    def write(self, name: str, content: str | bytes) -> Path:
        """In place, as `open(..., "w")`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def append(self, name: str, content: str | bytes) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def plain(rows: Iterable[LoggedRow]) -> list[tuple[int, dict[str, Any]]]:
    return [(row.step, dict(row.metrics)) for row in rows]


def line(step: object, **metrics: object) -> str:
    return json.dumps({"step": step, **metrics}) + "\n"


JSONL = SourceSpec("jsonl", "metrics.jsonl")
CSV = SourceSpec("csv", "progress.csv")


# --- specifications -------------------------------------------------------------------------------------


def test_a_specification_survives_json() -> None:
    spec = SourceSpec("stdout", "", r"(?P<step>\d+)", is_evaluation=True, step="step")
    assert SourceSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert SourceSpec.from_json({"kind": "csv", "path": "a.csv", "of_a_later_version": 1}) == SourceSpec("csv", "a.csv")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (SourceSpec("jsnl", "a"), "kind 'jsnl': did you mean jsonl"),
        (SourceSpec("jsonl", "/etc/passwd"), "only files in the run's folder"),
        (SourceSpec("csv", "a/../../b.csv"), "only files in the run's folder"),
        (SourceSpec("tensorboard", ".."), "only files in the run's folder"),
        (SourceSpec("csv", "logs/**.csv"), "stands for whole folders"),
        (SourceSpec("csv", ""), "a path is missing"),
        (SourceSpec("stdout", "", "(?P<step>[0-9]+"), "not a regular expression"),
        (SourceSpec("stdout", "", "loss=(?P<loss>.*)"), r"no group has the step; write \(\?P<step>"),
        (SourceSpec("stdout", "", "(?P<step>.*)", step="epoch"), r"write \(\?P<epoch>"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(run: Run, spec: SourceSpec, said: str) -> None:
    with pytest.raises(JobsError, match=said) as raised:
        run.reader(spec)
    assert "\n" not in str(raised.value)


def test_a_source_without_the_name_of_a_step_is_refused_where_it_needs_one(run: Run) -> None:
    with pytest.raises(JobsError, match=r"jsonl 'metrics.jsonl': give the name of the step"):
        run.reader(JSONL, step="")
    run.reader(SourceSpec("wandb", "."), SourceSpec("tensorboard", "."), step="")


def test_rows_say_where_they_come_from(run: Run) -> None:
    run.write("metrics.jsonl", line(1, loss=2))
    run.write("eval.csv", "epoch,return\n3,4\n")
    reader = run.reader(JSONL, SourceSpec("csv", "eval.csv", is_evaluation=True, step="epoch"))
    assert reader.read() == [LoggedRow(1, {"loss": 2.0}), LoggedRow(3, {"return": 4.0}, None, True, 1)]
    assert reader.names == {"loss", "return"}
    assert reader.files == [run.folder / "metrics.jsonl", run.folder / "eval.csv"]
    assert reader.problems == []


# --- JSON lines -----------------------------------------------------------------------------------------


def test_a_half_written_line_waits_for_its_end(run: Run) -> None:
    reader = run.reader(JSONL)
    assert reader.read() == []  # no file yet
    run.write("metrics.jsonl", line(1, loss=0.5) + '{"step": 2, "lo')
    assert plain(reader.read()) == [(1, {"loss": 0.5})]
    assert reader.read() == []
    run.append("metrics.jsonl", 'ss": 0.25}\n{"step": 3, "loss": 0.125}')
    assert plain(reader.read()) == [(2, {"loss": 0.25})]
    assert plain(reader.finish()) == [(3, {"loss": 0.125})]
    assert reader.problems == []


def test_a_line_that_was_cut_off_is_left_out_at_the_end(run: Run) -> None:
    run.write("metrics.jsonl", line(1, loss=0.5) + '{"step": 2, "loss": 0.2')
    assert plain(run.reader(JSONL).finish()) == [(1, {"loss": 0.5})]


def test_values_of_json(run: Run) -> None:
    run.write(
        "metrics.jsonl",
        '{"step": 1, "a": {"b": {"c": 1}, "d": 2.5}, "yes": true, "no": false, "text": "x", "none": null, "list": '
        '[1, 2.5, true], "mixed": [1, "x"], "empty": [], "nan": NaN, "up": Infinity, "down": -Infinity}\n'
        f'{{"step": 2, "huge": {10**400}}}\n{{"step": 3, "text": "no metric"}}\n',
    )
    (first, second) = plain(run.reader(JSONL).read())
    assert math.isnan(first[1].pop("nan"))
    assert first == (
        1,
        {"a/b/c": 1.0, "a/d": 2.5, "yes": 1.0, "no": 0.0, "list": (1.0, 2.5, 1.0), "up": math.inf, "down": -math.inf},
    )
    assert second == (2, {"huge": math.inf})


def test_columns_of_the_shards_are_renamed_and_the_step_is_no_metric(run: Run) -> None:
    names = ("kind", "step", "frames", "update", "time", "event", "attempt", "nonfinite", "config_id", "seed")
    run.write("metrics.jsonl", json.dumps({"info": {"at": 5}, **dict.fromkeys(names, 1), "loss": 2}) + "\n")
    reader = run.reader(SourceSpec("jsonl", "metrics.jsonl", step="info/at"))
    expected = {f"logged/{name}": 1.0 for name in names} | {"loss": 2.0}
    assert plain(reader.read()) == [(5, expected)]
    assert reader.names == set(expected)
    run.write("progress.csv", "step,time,loss\n1,2,3\n")
    assert plain(run.reader(CSV).read()) == [(1, {"logged/time": 2.0, "loss": 3.0})]


@pytest.mark.parametrize("written", [1000, 1000.0, "1000", "1000.0", " 1e3 "])
def test_a_step_may_be_text_or_a_float(run: Run, written: object) -> None:
    run.write("metrics.jsonl", line(written, loss=1))
    assert plain(run.reader(JSONL).read()) == [(1000, {"loss": 1.0})]


@pytest.mark.parametrize("written", [-1, 0.5, math.nan, math.inf, "x", "", True, [1], 2**63, "9" * 19])
def test_other_steps_are_problems(run: Run, written: object) -> None:
    run.write("metrics.jsonl", line(0, loss=1) + line(written, loss=1))
    reader = run.reader(JSONL)
    assert len(reader.read()) == 1
    assert reader.problems == ["metrics.jsonl: 1 line whose 'step' is not a whole number of at least 0, at line 2"]


def test_bad_lines_are_counted_and_the_rest_is_read(run: Run) -> None:
    deep = '{"step":' + "[" * 100_000
    run.write(
        "metrics.jsonl", "\n".join(['{"step": 1, "a": 1}', "oops", "", "[1]", '{"a": 2}', deep, "\0\0", "{}", ""])
    )
    run.append("metrics.jsonl", b'{"step": 2, "caf\xe9": 3, "text": "\xff"}\n')
    reader = run.reader(JSONL)
    assert plain(reader.read()) == [(1, {"a": 1.0}), (2, {"caf\ufffd": 3.0})]
    assert reader.problems == [
        "metrics.jsonl: 3 lines are not JSON, the first is line 2",
        "metrics.jsonl: 1 line is not a JSON object, at line 4",
        "metrics.jsonl: 2 lines without 'step', the first is line 5",
    ]


def replace(path: Path, content: str) -> None:
    """As an atomic writer does."""
    part = path.with_suffix(".part")
    part.write_text(content)
    part.replace(path)


OLD = line(1, loss=1) + line(2, loss=2)


@pytest.mark.parametrize(
    ("content", "again"),
    [
        (line(1, loss=1), lambda path, text: path.write_text(text)),  # shorter
        (line(1, loss=5) + line(2, loss=2) + line(3, loss=3), lambda path, text: path.write_text(text)),  # other start
        (OLD + "oops\n" + line(3, loss=3), replace),  # another file
    ],
)
def test_a_file_that_was_written_again_is_read_from_its_start(
    run: Run, content: str, again: Callable[[Path, str], object]
) -> None:
    path = run.write("metrics.jsonl", OLD + "oops\n")
    reader = run.reader(JSONL)
    assert len(reader.read()) == 2
    again(path, content)
    fresh = plain(run.reader(JSONL).read())
    assert plain(reader.read()) == fresh
    assert len(fresh) == content.count("step")
    assert len(reader.problems) == content.count("oops")  # none of the file that is no more
    assert reader.read() == []


def test_a_change_is_seen_at_the_start_and_where_reading_goes_on(run: Run) -> None:
    rows = [line(step, loss=step) for step in range(100, 200)]
    run.write("metrics.jsonl", "".join(rows))
    reader = run.reader(JSONL)
    assert len(reader.read()) == 100
    run.write("metrics.jsonl", "".join([*rows[:99], line(199, loss=0), line(200, loss=0)]))
    assert len(reader.read()) == 101
    run.write("metrics.jsonl", "".join([line(101, loss=100), *rows[1:99], line(199, loss=0), line(200, loss=0)]))
    assert [row.step for row in reader.read()][:2] == [101, 101]


def test_reading_is_bounded_and_the_end_is_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHUNK", 100)
    run.write("metrics.jsonl", "".join(line(step, loss=step) for step in range(100)))
    reader = run.reader(JSONL)
    steps = [row.step for row in reader.read()]
    assert steps == [0, 1, 2, 3][: len(steps)]
    assert 0 < len(steps) < 6
    steps += [row.step for row in reader.read()]
    steps += [row.step for row in reader.finish()]
    assert steps == list(range(100))


# --- CSV ------------------------------------------------------------------------------------------------


def test_a_csv_is_followed_row_by_row(run: Run) -> None:
    run.write("progress.csv", "\ufeffstep,loss, return ,note,flag\n1,0.5,,ok,True\n2,nan,in")
    reader = run.reader(CSV)
    assert plain(reader.read()) == [(1, {"loss": 0.5, "flag": 1.0})]
    run.append("progress.csv", "f,ok,False\r\n3.0,1,2\r\n")
    (second, third) = plain(reader.read())
    assert math.isnan(second[1].pop("loss"))
    assert [second, third] == [(2, {"return": math.inf, "flag": 0.0}), (3, {"loss": 1.0, "return": 2.0})]
    assert reader.problems == []


def test_a_row_without_its_end_is_left_out_for_its_last_number_may_be_cut(run: Run) -> None:
    run.write("progress.csv", "step,loss\n1,0.5\n2,0.2")
    reader = run.reader(CSV)
    assert plain(reader.finish()) == [(1, {"loss": 0.5})]
    assert reader.problems == ["progress.csv: 1 row has no line end and is left out, at line 3"]


def test_quotes_and_newlines_in_them(run: Run) -> None:
    run.write("progress.csv", 'step,"a, ""b""",note\n1,2,"one\ntwo"\n2,3,"half\n')
    reader = run.reader(CSV)
    assert plain(reader.read()) == [(1, {'a, "b"': 2.0})]
    run.append("progress.csv", 'done"\n3,4,\n-1,4,\n')
    assert plain(reader.read()) == [(2, {'a, "b"': 3.0}), (3, {'a, "b"': 4.0})]
    assert reader.problems == ["progress.csv: 1 row whose 'step' is not a whole number of at least 0, at line 7"]


def test_a_stray_quote_holds_nothing_back_for_ever(run: Run) -> None:
    run.write("progress.csv", 'step,loss,note\n1,2,5" pipe\n2,3,\n')
    reader = run.reader(CSV)
    assert reader.read() == []
    assert plain(reader.finish()) == [(1, {"loss": 2.0}), (2, {"loss": 3.0})]
    run.write("progress.csv", 'step,loss,note\n1,2,5" pipe\n' + "".join(f"{n},3,\n" for n in range(2, 20_000)))
    assert len(run.reader(CSV).read()) == 19_999


def test_a_file_written_again_with_a_new_column_gives_only_what_changed(run: Run) -> None:
    wide = [f"column_{n:03}" for n in range(60)]  # a header of more than 256 bytes
    run.write("progress.csv", ",".join(["step", *wide]) + "\n1,10\n2,nan\n")
    reader = run.reader(CSV)
    assert len(reader.read()) == 2
    new = ",".join(["step", *wide, "return"]) + "\n"
    run.write("progress.csv", new + "1,10" + "," * 60 + "\n2,nan" + "," * 60 + "\n3,30" + "," * 59 + ",7\n")
    assert reader.read() == []  # its writer may be in the middle of it
    assert plain(reader.read()) == [(3, {"column_000": 30.0, "return": 7.0})]
    run.write("progress.csv", new + "1,11\n2,nan\n")
    assert [*reader.read(), *plain(reader.read())] == [(1, {"column_000": 11.0})]
    run.append("progress.csv", "".join(f"{step},1\n" for step in range(3, 60)))
    assert len(reader.read()) == 57
    rows = (run.folder / "progress.csv").read_text()
    run.write("progress.csv", rows.replace("return", "result"))
    assert [*reader.read(), *reader.read()] == []  # no cell of that column
    run.append("progress.csv", "60" + "," * 61 + "5\n")
    assert plain(reader.read()) == [(60, {"result": 5.0})]
    assert reader.problems == []


def test_the_end_does_not_wait_for_a_file_to_settle(run: Run) -> None:
    run.write("progress.csv", "step,a\n1,1\n")
    reader = run.reader(CSV)
    reader.read()
    run.write("progress.csv", "step,a,b\n1,1,\n2,2,2\n")
    assert plain(reader.finish()) == [(2, {"a": 2.0, "b": 2.0})]


def test_a_header_that_is_written_again_replaces_the_first(run: Run) -> None:
    run.write("progress.csv", "step,a\n1,1\nb, step\n5,2\n b,step\nstep,a\n3,4\nx,4\n")
    reader = run.reader(CSV)
    assert plain(reader.read()) == [(1, {"a": 1.0}), (2, {"b": 5.0}), (3, {"a": 4.0})]
    assert reader.problems == ["progress.csv: 1 row whose 'step' is not a whole number of at least 0, at line 8"]


def test_faults_of_a_csv(run: Run) -> None:
    run.write("progress.csv", "step,a\n,1\n1,2,3\n2,3,\n\n" + "4," + "x" * 200_000 + "\n5,6\n")
    run.append("progress.csv", b"6,\xff\n7,8\n")
    reader = run.reader(CSV)
    assert plain(reader.read()) == [(2, {"a": 3.0}), (5, {"a": 6.0}), (7, {"a": 8.0})]
    assert reader.problems == [
        "progress.csv: 1 row without the column 'step', at line 2",
        "progress.csv: 1 row has more cells than the header, at line 3",
        "progress.csv: 1 row is not CSV, at line 6",
    ]
    run.write("other.csv", "epoch,a\n1,2\n2,3\n")
    reader = run.reader(SourceSpec("csv", "other.csv"))
    assert reader.read() == []
    assert reader.problems == ["other.csv: 2 rows without the column 'step', the first is line 2"]


# --- where files are ------------------------------------------------------------------------------------


def test_a_glob_finds_files_as_they_appear(run: Run) -> None:
    reader = run.reader(SourceSpec("csv", "**/progress.csv"))
    run.write("b/progress.csv", "step,loss\n1,1\n")
    run.write("b/other.csv", "step,loss\n9,9\n")
    assert plain(reader.read()) == [(1, {"loss": 1.0})]
    run.write("a/deep/progress.csv", "step,loss\n2,2\n")
    run.append("b/progress.csv", "x,4\n3,3\n")
    assert plain(reader.read()) == [(2, {"loss": 2.0}), (3, {"loss": 3.0})]
    assert reader.files == [run.folder / "a/deep/progress.csv", run.folder / "b/progress.csv"]
    assert reader.problems == ["b/progress.csv: 1 row whose 'step' is not a whole number of at least 0, at line 3"]


def test_a_name_with_brackets_is_taken_as_it_stands(run: Run) -> None:
    run.write("run[1].jsonl", line(1, loss=1))
    assert len(run.reader(SourceSpec("jsonl", "run[1].jsonl")).read()) == 1


def test_links_that_lead_outside_are_not_followed(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "outside" / "secret.jsonl"
    secret.parent.mkdir()
    secret.write_text(line(1, secret=1))
    (secret.parent / "events.out.tfevents.1").write_bytes(event(1, "secret", 1.0))
    (run.folder / "file.jsonl").symlink_to(secret)
    (run.folder / "folder").symlink_to(secret.parent)
    paths = ["file.jsonl", "*.jsonl", "folder/secret.jsonl", "folder/*.jsonl", "**/*.jsonl", "*/*.jsonl"]
    folders = [".", "folder", "fold*"]
    reader = run.reader(
        *(SourceSpec("jsonl", path) for path in paths), *(SourceSpec("tensorboard", path) for path in folders)
    )
    assert [*reader.read(), *reader.finish(), *reader.files] == []
    (run.folder / "inside.jsonl").symlink_to(run.write("data/real.jsonl", line(2, loss=1)))
    assert {row.source for row in reader.read()} == {1, 4, 5}  # the link, the file, the file: each source once


def test_files_that_several_runs_write_are_not_read_and_named(run: Run, tmp_path: Path) -> None:
    """Beside the code, below a folder of it, through a link of the plan, through links of the program's own."""
    code, data = tmp_path / "code", tmp_path / "data"
    for folder in (code / "outputs", data):
        folder.mkdir(parents=True)
    (code / "logs").symlink_to(data)
    (run.folder / "mine").symlink_to(data)

    def where(name: str, kind: str = "csv", path: str = "**/log.csv") -> str:
        file = tmp_path / name
        file.write_text("step,loss\n1,2\n")
        reader = run.reader(SourceSpec(kind, path), SourceSpec("stdout", pattern="(?P<step>1)"))
        assert (reader.read(), reader.unread[0].path) == ([], path)
        told = search.misplaced(kind, path, run.folder, code, ["logs"], file.stat().st_mtime)
        assert not search.misplaced(kind, path, run.folder, code, ["logs"], file.stat().st_mtime + 1), "of others"
        file.unlink()
        return told

    beside = " was written next to the code, where all runs write it"
    assert where("code/log.csv") == f"log.csv{beside}"
    assert where("code/outputs/log.csv", path="log.csv") == f"outputs/log.csv{beside}"
    assert where("code/run-1.wandb", "wandb", "wandb") == f"run-1.wandb{beside}"
    assert where("data/log.csv") == f"mine/log.csv points to {data}/log.csv, outside {{run}}"
    (run.folder / "mine").unlink()
    assert where("data/log.csv") == f"logs/log.csv{beside}"
    (run.folder / "log.csv").symlink_to(data / "log.csv")
    assert where("data/log.csv") == f"log.csv points to {data}/log.csv, outside {{run}}"
    assert where("data/other.csv") == ""


def test_a_file_that_becomes_a_link_to_outside_is_read_no_more(run: Run, tmp_path: Path) -> None:
    path = run.write("metrics.jsonl", line(1, loss=1))
    reader = run.reader(JSONL)
    assert len(reader.read()) == 1
    (tmp_path / "secret.jsonl").write_text(line(2, secret=1))
    path.unlink()
    path.symlink_to(tmp_path / "secret.jsonl")
    assert [*reader.read(), *reader.finish()] == []


def test_a_pipe_is_not_waited_for(run: Run) -> None:
    os.mkfifo(run.folder / "metrics.jsonl")
    reader = run.reader(JSONL)
    assert reader.read() == []
    path = run.folder / "metrics.jsonl"
    path.unlink()
    path.write_text(line(1, loss=1))
    assert len(reader.read()) == 1
    path.unlink()
    os.mkfifo(path)
    assert reader.read() == []
    os.mkfifo(run.output)
    assert run.reader(STDOUT).read() == []


def test_a_slow_search_is_repeated_less_often(run: Run) -> None:
    times = iter([0.0, 0.25, 12.4, 12.5, 12.5, 99.0, 99.0])
    found = search.Search("csv", "*.csv", run.folder, lambda: next(times))
    assert found.files() == []
    path = run.write("a.csv", "")
    assert found.files() == []  # at 12.4
    assert found.files() == [path]  # at 12.5
    other = run.write("b.csv", "")
    assert found.files(now=True) == [path, other]


# --- TensorBoard ----------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(step: int, tag: str, value: float, time: float = 10.0) -> bytes:
    """A record of an event file."""
    summary = field(1, field(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
    data = b"\x09" + struct.pack("<d", time) + b"\x10" + varint(step % 2**64) + field(5, summary)
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", checksum(length)) + data + struct.pack("<I", checksum(data))


TENSORBOARD = SourceSpec("tensorboard", "")


def test_event_files_are_followed_record_by_record(run: Run) -> None:
    records = [event(1, "loss", 0.5, 11.0), event(1, "return", 2.0, 12.0), event(2, "loss", 0.25, 13.0)]
    data = b"".join(records)
    run.write("tb/events.out.tfevents.2", data[:-3])
    run.write("tb/events.out.tfevents.1", event(0, "loss", 1.0) + event(0, "loss", 2.0))
    run.write("tb/notes.txt", "no events")
    reader = run.reader(TENSORBOARD)
    assert reader.read() == [
        LoggedRow(0, {"loss": 1.0}, 10.0),
        LoggedRow(0, {"loss": 2.0}, 10.0),
        LoggedRow(1, {"loss": 0.5, "return": 2.0}, 12.0),
    ]
    assert reader.read() == []
    run.append("tb/events.out.tfevents.2", data[-3:])
    assert reader.read() == [LoggedRow(2, {"loss": 0.25}, 13.0)]
    assert reader.problems == []


def test_every_cut_of_an_event_file_is_resumed(run: Run) -> None:
    data = b"".join(event(step, "loss", step) for step in range(3))
    for cut in range(len(data) + 1):
        name = f"{cut:03}/events.out.tfevents.1"
        run.write(name, data[:cut])
        reader = run.reader(SourceSpec("tensorboard", f"{cut:03}"))
        before = reader.read()
        run.append(name, data[cut:])
        assert plain([*before, *reader.read()]) == [(step, {"loss": float(step)}) for step in range(3)]


def test_damaged_records_are_counted_and_other_files_are_read(run: Run) -> None:
    good, last = event(1, "loss", 1.0), event(3, "loss", 3.0)
    damaged = bytearray(event(2, "loss", 2.0))
    damaged[20] ^= 1
    run.write("events.out.tfevents.1", good + damaged + last)
    run.write("events.out.tfevents.2", good + b"no record of an event file" + last)
    run.write("events.out.tfevents.3", event(-1, "loss", 4.0) + event(4, "loss", 4.0))
    reader = run.reader(TENSORBOARD)
    assert [row.step for row in reader.read()] == [1, 3, 1, 4]
    assert reader.problems == [
        f"events.out.tfevents.1: 1 damaged record, at byte {len(good)}",
        f"events.out.tfevents.2: damaged at byte {len(good)}, the rest is not read",
        "events.out.tfevents.3: 1 record whose 'step' is not a whole number of at least 0",
    ]
    run.append("events.out.tfevents.2", last)
    run.append("events.out.tfevents.1", event(5, "loss", 5.0))
    assert [row.step for row in reader.read()] == [5]


# --- Weights & Biases -----------------------------------------------------------------------------------


def framed(records: Iterable[bytes], start: int) -> bytes:
    """Records as a file holds them from byte `start` on."""
    out = b""
    for record in records:
        first, rest = True, record
        while first or rest:
            left = 32768 - (start + len(out)) % 32768
            if left < 7:
                out += bytes(left)
                continue
            content, rest = rest[: left - 7], rest[left - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not rest]
            crc = zlib.crc32(bytes((kind,)) + content)
            out += struct.pack("<IHB", crc, len(content), kind) + content
            first = False
    return out


def history(number: int, /, **values: object) -> bytes:
    """A record as wandb writes it."""
    items = [(name, json.dumps(value)) for name, value in {"_step": number, "_timestamp": 5.0, **values}.items()]
    content = b"".join(field(1, field(2, name.encode()) + field(16, text.encode())) for name, text in items)
    return b"\x08\x07" + field(2, content + field(2, b"\x08" + varint(number)))


WANDB = SourceSpec("wandb", "wandb")
WANDB_FILE = "wandb/offline-run-20240101_000000-abc/run-abc.wandb"


def test_records_that_wandb_wrote(run: Run) -> None:
    run.write(WANDB_FILE, WANDB_START + framed(WANDB_HISTORY, len(WANDB_START)))
    (first, second, third) = run.reader(WANDB, step="global_step").finish()
    assert first == LoggedRow(0, {"loss": 0.5, "nested/inner/value": 1.0}, 1796023710.868486)
    assert math.isnan(dict(second.metrics)["loss"])  # type: ignore[arg-type]
    assert plain([second])[0][1] | {"loss": 0} == {"loss": 0, "low": -math.inf, "done": 1.0, "list": (1.0, 2.5)}
    assert (second.step, third.step, third.metrics) == (10, 7, {"loss": 0.25})
    assert [row.step for row in run.reader(WANDB, step="").finish()] == [0, 1, 7]


def test_a_file_of_wandb_is_followed_across_blocks(run: Run) -> None:
    size = [0, 100, 40_000, 5, 70_000, 32_700, 32_754, 32_755, 1]  # of a text, so that pieces end everywhere
    records = [history(step, loss=step, text="x" * length) for step, length in enumerate(size)]
    data = WANDB_START + framed(records, len(WANDB_START))
    run.write(WANDB_FILE, b"")
    reader = run.reader(WANDB)
    found = []
    for start in range(0, len(data), 999):
        run.append(WANDB_FILE, data[start : start + 999])
        found += reader.read()
    assert found == [LoggedRow(step, {"loss": float(step)}, 5.0) for step in range(len(size))]
    assert reader.problems == []


@pytest.mark.parametrize("left", range(10))
def test_a_block_of_wandb_may_end_in_padding(run: Run, left: int) -> None:
    overhead = len(history(0, loss=0, text="x" * 30_000)) - 30_000
    filled = history(0, loss=0, text="x" * (32_768 - left - len(WANDB_START) - 7 - overhead))
    data = WANDB_START + framed([filled], len(WANDB_START))
    assert len(data) == 32_768 - left
    run.write(WANDB_FILE, data)
    reader = run.reader(WANDB)
    assert [row.step for row in reader.read()] == [0]
    run.append(WANDB_FILE, framed([history(1, loss=1)], len(data)))
    assert [row.step for row in reader.read()] == [1]
    assert reader.problems == []


def test_a_damaged_block_of_wandb_loses_that_block_alone(run: Run) -> None:
    records = [history(step, loss=step, text="x" * 100) for step in range(1000)]
    data = bytearray(WANDB_START + framed(records, len(WANDB_START)))
    data[32768 + 5000] ^= 1
    run.write(WANDB_FILE, bytes(data[: 32768 + 9000]))
    reader = run.reader(WANDB)
    steps = [row.step for row in reader.read()]
    assert reader.read() == []
    run.append(WANDB_FILE, bytes(data[32768 + 9000 :]))
    steps += [row.step for row in reader.read()]
    lost = sorted(set(range(1000)) - set(steps))
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert 100 < len(lost) < 200
    assert len(reader.problems) == 1
    assert reader.problems[0].startswith(f"{WANDB_FILE}: 1 damaged record, at byte 37")


def test_other_files_and_records_of_wandb(run: Run) -> None:
    other = b"\x08\x01" + field(3, b"\x00")
    older = {"a": 2, "deep": {"html": {"_type": "html-file", "size": 3}}}
    media = history(1, loss=1, image={"_type": "image-file", "size": 3}, _own=4, many="x" * 300, long="y", w=older)
    steps = [history(2, loss=2, step="20"), history(3, loss=3, step="no"), history(4, text="no metric")]
    bad = b"\x08\x07" + field(2, field(1, field(2, b"loss") + field(16, b"{oops")))
    run.write(WANDB_FILE, WANDB_START + framed([other, media, *steps, bad, history(5, loss=5)], len(WANDB_START)))
    run.write("wandb/run-old.wandb", "something else")
    reader = run.reader(WANDB)
    assert plain(reader.read()) == [(1, {"loss": 1.0, "w/a": 2.0}), (20, {"loss": 2.0}), (5, {"loss": 5.0})]
    assert [problem.partition(": ")[2].partition(", at")[0] for problem in reader.problems] == [
        "1 record whose 'step' is not a whole number of at least 0",
        "1 damaged record",
        "not a file of Weights & Biases, or of an unknown version",
    ]


# --- output ---------------------------------------------------------------------------------------------

STDOUT = SourceSpec("stdout", "", r"step=(?P<step>\S+)(?: loss=(?P<loss>\S+))?(?: return=(?P<return>\S+))?;")


class Guard:
    """Writes the output as the guard of a program does."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._file = output.open("ab", buffering=0)

    def write(self, text: str | bytes) -> None:
        self._file.write(text.encode() if isinstance(text, str) else text)

    def rotate(self) -> None:
        self._output.replace(self._output.with_name("output.previous.log"))
        self._file.close()
        self._file = self._output.open("ab", buffering=0)


def printed(*steps: int) -> str:
    return "".join(f"step={step} loss={step};\n" for step in steps)


def test_a_pattern_is_searched_in_every_line(run: Run) -> None:
    reader = run.reader(STDOUT)
    assert reader.read() == []
    guard = Guard(run.output)
    guard.write(
        "start\r\n| step=1 loss=0.5; |\rstep=2 return=3;\rstep=3 loss=nan return=1e3; step=9 loss=1;\nstep=4 lo"
    )
    first, second, third = plain(reader.read())
    assert [first, second] == [(1, {"loss": 0.5}), (2, {"return": 3.0})]
    assert (third[0], third[1]["return"], math.isnan(third[1]["loss"])) == (3, 1000.0, True)
    guard.write("ss=4;\n")
    assert plain(reader.read()) == [(4, {"loss": 4.0})]
    assert reader.files == [run.output]
    assert reader.problems == []


def test_bad_output_is_counted(run: Run) -> None:
    reader = run.reader(STDOUT)
    Guard(run.output).write(b"step=x loss=1;\nstep=1 loss=0.5,;\nstep=2 \xff;\n\xff step=3 loss=1;\nstep=4;\n")
    assert plain(reader.read()) == [(3, {"loss": 1.0})]
    assert reader.problems == [
        "output.log: 1 line whose 'step' is not a whole number of at least 0",
        "output.log: 1 line whose 'loss' is not a number",
    ]


def test_no_line_is_lost_when_the_output_is_rotated(run: Run) -> None:
    guard = Guard(run.output)
    reader = run.reader(STDOUT)
    guard.write(printed(1) + "step=2 ")
    steps = [row.step for row in reader.read()]
    guard.write("loss=2;\nstep=3")  # unread when the file is renamed
    guard.rotate()
    guard.write(" loss=3;\n" + printed(4))
    steps += [row.step for row in reader.read()]
    assert steps == [1, 2, 3, 4]
    guard.rotate()
    steps += [row.step for row in reader.read()]
    guard.write(printed(5))
    guard.rotate()
    guard.write(printed(6))
    guard.rotate()  # the second since the last reading
    guard.write(printed(7))
    steps += [row.step for row in reader.finish()]
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    assert [*reader.read(), *reader.finish()] == []


def test_the_output_may_be_away_between_two_names(run: Run) -> None:
    reader = run.reader(STDOUT)
    run.output.write_text(printed(1))
    assert len(reader.read()) == 1
    run.output.replace(run.output.with_name("output.previous.log"))
    assert reader.read() == []
    run.output.write_text(printed(2))
    assert [row.step for row in reader.read()] == [2]


def test_a_late_reader_begins_with_the_previous_output(run: Run) -> None:
    guard = Guard(run.output)
    guard.write(printed(1))
    guard.rotate()
    guard.write(printed(2))
    reader = run.reader(STDOUT)
    assert [row.step for row in [*reader.read(), *reader.read()]] == [1, 2]


def test_two_patterns_read_the_same_output(run: Run) -> None:
    Guard(run.output).write("epoch 1 acc 0.5;\nstep=2 loss=3;\n")
    reader = run.reader(STDOUT, SourceSpec("stdout", "", r"epoch (?P<epoch>\d+) acc (?P<acc>[\d.]+)", True, "epoch"))
    assert reader.read() == [LoggedRow(2, {"loss": 3.0}), LoggedRow(1, {"acc": 0.5}, None, True, 1)]
    assert reader.files == [run.output]


def test_long_lines_are_cut(run: Run) -> None:
    guard = Guard(run.output)
    reader = run.reader(STDOUT)
    guard.write("x" * 9_980 + "step=1 loss=1;" + "x" * 90_000)
    assert reader.read() == []
    guard.write("step=2 loss=2;" * 10_000 + "\n" + "é" * 9_990 + "step=3 loss=3;\n" + printed(4))
    assert [row.step for row in reader.finish()] == [1, 4]


@pytest.mark.parametrize(("last", "steps"), [("step=2 loss=2; ", [1, 2]), ("step=2 loss=2;", [1, 2]), ("step=2", [1])])
def test_a_last_line_without_its_end_counts_where_it_is_whole(run: Run, last: str, steps: list[int]) -> None:
    Guard(run.output).write(printed(1) + last)
    assert [row.step for row in run.reader(STDOUT).finish()] == steps


def test_a_number_at_the_end_of_a_cut_line_is_not_taken(run: Run) -> None:
    Guard(run.output).write("step=1 loss=0.1")
    assert run.reader(SourceSpec("stdout", "", r"step=(?P<step>\d+) loss=(?P<loss>\S+)")).finish() == []


def test_names_are_safe_in_tables_and_terminals(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "=cmd()": 1, "a\\u001b[31mb": 2, "kind": 3, "a b/c": 4}\n')
    reader = MetricReader([SourceSpec("jsonl", "metrics.jsonl")], "step", tmp_path, tmp_path / "output.log")
    (row,) = reader.finish()
    assert dict(row.metrics) == {"logged/=cmd()": 1, "a?[31mb": 2, "logged/kind": 3, "a b/c": 4}
