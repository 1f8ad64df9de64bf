"""`sweeps archive` and `unarchive`: the same bytes, the same report elsewhere, and nothing taken that is no archive."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from aggregate.inputs import progress
from jobs import process
from jobs.cli import cli
from jobs.programs import agent_code
from jobs.reports import archive, imported_curves
from jobs.results import code_snapshot
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome, CodeFile
from jobs.results.results_folder import ResultsFolder, archivable
from sweepwise.core.errors import JobsError

TOTAL = 20_000


def sweeps(root: Path, *words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["--results", str(root), *map(str, words)])
    assert result.exit_code == code, result.output
    assert code == 0 or result.stderr.count("\n") == 1
    return result


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> ResultsFolder:
    """Two configurations with two seeds each, an import beside them, decisions, code and what is not archived."""
    folder = tmp_path_factory.mktemp("origin")
    store: ResultsFolder = synthetic.submitted(folder / "results", seeds=2, total=TOTAL)
    (folder / "SAC").mkdir()
    lines = "".join(f"{step},{step / 10},{seed}\n" for seed in (1, 2) for step in range(0, TOTAL + 1, 1000))
    (folder / "SAC" / "quadruped-walk.csv").write_text("step,reward,seed\n" + lines)
    imported_curves.take(store, "published", [folder / "SAC"], ["step=step,eval_return=reward,seed=seed"])
    store.write_decisions([])
    run = RunRef(store.config_ids()[0], 1)
    code = code_snapshot.take(store).hash
    attempt = store.attempts.claim(run, Attempt(0, "here", 1, "1", 0.0, "cpu", code=code))
    store.attempts.write_outcome(run, attempt.number, AttemptOutcome("finished", TOTAL, "", 0.0))
    (store.attempts.folder(run) / "checkpoints").mkdir()
    (store.attempts.folder(run) / "checkpoints" / "step-000002000-u000000001-a001.pt").write_bytes(b"pickle")
    return store


@pytest.fixture(scope="module")
def archived(origin: ResultsFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archived") / "all.tar"
    assert sweeps(origin.root, "archive", "--out", out).stdout.startswith(f"wrote {out} (4 runs, ")
    return out


def content(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def files(root: Path) -> dict[str, bytes]:
    """What a results folder holds, but for its locks."""
    found = (path for path in root.rglob("*") if path.is_file() and "locks" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def test_elsewhere_it_gives_the_same_report(origin: ResultsFolder, archived: Path, tmp_path: Path) -> None:
    place = tmp_path / "else" / "where"
    told = sweeps(place, "unarchive", archived).stdout
    assert told.splitlines()[-1] == "`sweeps aggregate ensemble published` reports on them"
    sweeps(place, "aggregate", "--out", tmp_path / "there.html")
    report = content(archived)["reports/ensemble.html"]
    assert (tmp_path / "there.html").read_bytes() == report
    assert b"SAC" in report
    counts = [sweeps(root, "status").stdout for root in (origin.root, place)]
    assert counts[0] == counts[1]


def test_a_terminal_shows_how_far_it_is(origin: ResultsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(progress, "_is_hidden", False)
    archive.write(origin, [], tmp_path / "all.tar", lambda line: None)
    assert "writing files" in screen.getvalue()
    assert "reading files" in screen.getvalue()  # it is read back
    before = screen.getvalue().count("reading files")
    archive.unpack(ResultsFolder(tmp_path / "elsewhere"), tmp_path / "all.tar")
    assert screen.getvalue().count("reading files") > before


def test_the_same_runs_give_the_same_bytes(archived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps(tmp_path / "place", "unarchive", archived)
    report = content(archived)["reports/ensemble.html"]  # the same wherever it is made, see above
    monkeypatch.setattr(archive.judge, "report", lambda found, out, *_: out.write_bytes(report))
    sweeps(tmp_path / "place", "archive", "--out", tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archived.read_bytes()


def test_all_that_is_needed_is_in_it_and_no_more(origin: ResultsFolder, archived: Path) -> None:
    held = content(archived)
    assert next(iter(held)) == "archive.json"
    assert list(held)[-1] == "files.json"
    head = json.loads(held["archive.json"])
    assert (head["format"], head["sweeps"], head["imports"], head["runs"]) == (1, ["ensemble"], ["published"], 4)
    assert head["versions"]["python"]
    assert {name.split("/")[0] for name in held} == {
        "archive.json", "code", "decisions.json", "files.json", "imports", "reports", "runs", "sweeps",
    }  # fmt: skip
    assert sum(name.endswith(".parquet") for name in held) == 4 + 2
    assert [name for name in held if name.endswith(".pt")] == []
    sums = json.loads(held["files.json"])["files"]
    assert sums == {n: hashlib.sha256(data).hexdigest() for n, data in held.items() if n in sums}
    assert len(sums) == len(held) - 2


def test_a_second_time_nothing_is_new(archived: Path, tmp_path: Path) -> None:
    sweeps(tmp_path / "place", "unarchive", archived)
    before = files(tmp_path / "place")
    assert sweeps(tmp_path / "place", "unarchive", archived).stdout.startswith("0 new files of 4 runs")
    assert files(tmp_path / "place") == before


def test_what_was_cut_off_while_it_was_moved_is_completed(archived: Path, tmp_path: Path) -> None:
    whole, place = tmp_path / "whole", tmp_path / "place"
    sweeps(whole, "unarchive", archived)
    shutil.copytree(whole, place)
    (place / "sweeps" / "ensemble.json").unlink()
    next(place.rglob("*.parquet")).unlink()
    assert sweeps(place, "unarchive", archived).stdout.startswith("2 new files")
    assert files(place) == files(whole)


@pytest.mark.parametrize(
    "pattern", ["sweeps/ensemble.json", "runs/*/config.json", "runs/*/seed-1/metrics/*", "imports/*/*.json"]
)
def test_a_run_that_differs_is_not_overwritten(archived: Path, tmp_path: Path, pattern: str) -> None:
    place = tmp_path / "place"
    sweeps(place, "unarchive", archived)
    path = next(place.glob(pattern))
    path.write_bytes(b"{}")
    next(place.glob("runs/*/seed-2/metrics/*")).unlink()
    before = files(place)
    assert f"{path} exists and differs; nothing was unpacked" in sweeps(place, "unarchive", archived, code=1).stderr
    assert files(place) == before
    assert list(place.glob(".*")) == []


def test_decisions_that_differ_stay_as_they_are(archived: Path, tmp_path: Path) -> None:
    store = ResultsFolder(tmp_path / "place")
    store.prepare()
    store.decisions_path().write_text("{}")
    told = sweeps(store.root, "unarchive", archived).stderr
    assert told == f"warning: decisions.json differs from the archive; the file in {store.root} is kept\n"
    assert store.decisions_path().read_text() == "{}"


# --- what is no archive ---------------------------------------------------------------------------------


def made(members: dict[str, bytes | tarfile.TarInfo], target: Path) -> Path:
    """A tar of these, with a list of its files that fits."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target


def refused(path: Path, place: Path) -> str:
    """What is told; nothing may be left behind."""
    with pytest.raises(JobsError) as raised:
        archive.unpack(ResultsFolder(place), path)
    assert files(place) == {}
    assert list(place.glob(".*")) == []
    assert "\n" not in str(raised.value)
    return str(raised.value)


HEAD = json.dumps({"format": 1, "sweeps": [], "imports": [], "runs": 0, "versions": {}}).encode()


def tail(*names: str) -> bytes:
    return json.dumps({"format": 1, "files": {name: hashlib.sha256(b"x").hexdigest() for name in names}}).encode()


@pytest.mark.parametrize(
    "name",
    ["../decisions.json", "/decisions.json", "sweeps/../../x.json", "sweeps/..",
     "runs/0123456789/seed-1/checkpoints/x.pt",
     "runs/0123456789/seed-1/metrics/../../x", "code/0123456789abcdef/tdmpc/../../../x", "code/0123456789abcdef/.git/x",
     "submissions/x/submission.json", "decisions.json/x", "imports/a/0123456789abcdef/0123456789/seed-1/metrics/x.pt",
     "sweeps/a.json\n", "runs/0123456789/seed-1/attempts/x.json"],
)  # fmt: skip
def test_a_path_that_has_no_place_is_refused(name: str, tmp_path: Path) -> None:
    assert not archivable(name)
    path = made({"archive.json": HEAD, name: b"x", "files.json": tail(name)}, tmp_path / "x.tar")
    assert "is not allowed in an archive" in refused(path, tmp_path / "place")
    assert sorted(child.name for child in tmp_path.iterdir()) == ["place", "x.tar"]


def link(kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo("sweeps/a.json")
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_plain_files_are_taken(kind: bytes, tmp_path: Path) -> None:
    members = {"archive.json": HEAD, "sweeps/a.json": link(kind), "files.json": tail()}
    assert "is not a plain file" in refused(made(members, tmp_path / "x.tar"), tmp_path / "place")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({}, "its files are not those that it lists"),
        ({"README": b"x"}, "not an archive of this program"),
        ({"archive.json": b"{}"}, "not a file of this program"),
        ({"archive.json": b"[" * 100_000}, "damaged, cut off, or not an archive"),
        ({"archive.json": HEAD.replace(b'"format": 1', b'"format": 2')}, "format 2, this program reads up to 1"),
        ({"archive.json": HEAD, "sweeps/a.json": b"x", "files.json": tail("sweeps/b.json")}, "not those that it lists"),
        ({"archive.json": HEAD, "sweeps/a.json": b"y", "files.json": tail("sweeps/a.json")}, "not those that it lists"),
        ({"archive.json": HEAD, "files.json": tail(), "sweeps/a.json": b"x"}, "not a plain file, or occurs twice"),
        ({"archive.json": HEAD, "code/0123456789abcdef/tdmpc/a.py": b"x",
          "files.json": tail("code/0123456789abcdef/tdmpc/a.py")}, "is not the code of that hash"),
    ],
)  # fmt: skip
def test_what_is_no_archive_is_one_line(members: dict[str, bytes], told: str, tmp_path: Path) -> None:
    assert told in refused(made(members, tmp_path / "x.tar"), tmp_path / "place")


def test_a_file_of_something_else_or_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("hello" * 1000)
    assert "or not an archive" in refused(tmp_path / "x.tar", tmp_path / "place")
    assert "No such file" in refused(tmp_path / "none.tar", tmp_path / "place")
    assert "Is a directory" in refused(tmp_path, tmp_path / "place" / "x")


def test_one_that_is_cut_off_anywhere_is_refused_whole(tmp_path: Path) -> None:
    members = {"archive.json": HEAD, "sweeps/a.json": b"x", "decisions.json": b"x"}
    path = made({**members, "files.json": tail(*list(members)[1:])}, tmp_path / "x.tar")
    data = path.read_bytes()
    end = data.rindex(b"}") + 1
    for length in (0, 1, 511, 512, *range(600, end, 97), end - 1):
        path.write_bytes(data[:length])
        refused(path, tmp_path / "place")
    path.write_bytes(data)
    assert archive.unpack(ResultsFolder(tmp_path / "place"), path).files == 2


def test_where_it_cannot_be_written_there_is_nothing(
    origin: ResultsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no folder" in sweeps(origin.root, "archive", "--out", tmp_path / "no" / "x.tar", code=1).stderr

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_add", full)
    monkeypatch.setattr(archive.judge, "report", lambda *_: None)
    assert "No space left on device" in sweeps(origin.root, "archive", "--out", tmp_path / "x.tar", code=1).stderr
    assert list(tmp_path.iterdir()) == []


# --- code -----------------------------------------------------------------------------------------------


def with_code(extra: dict[str, bytes], target: Path) -> Path:
    """An archive with a copy of the packages as they are, and `extra` files in it."""
    root = process.ROOT
    held = {path.as_posix(): (root / path).read_bytes() for path in code_snapshot.package_files(root)} | extra
    code = code_snapshot.digest(root)
    files = {f"code/{code}/{name}": data for name, data in held.items()}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    listed = json.dumps({"format": 1, "files": sums}).encode()
    return made({"archive.json": HEAD, **files, "files.json": listed}, target)


def test_code_of_an_archive_is_put_where_nothing_imports_it_from(tmp_path: Path) -> None:
    place = ResultsFolder(tmp_path / "place")
    archive.unpack(place, with_code({}, tmp_path / "x.tar"))
    code = code_snapshot.digest(process.ROOT)
    assert not place.code_folder(code).exists()
    assert code_snapshot.digest(place.archived_code_folder(code)) == code
    assert code_snapshot.take(place).folder == place.code_folder(code)  # a copy of the installed code


@pytest.mark.parametrize("extra", ["numpy.py", "torch/__init__.py", "jobs/resource.so", "sitecustomize.py"])
def test_code_of_a_known_hash_with_more_beside_it_is_refused(extra: str, tmp_path: Path) -> None:
    """The hash is over the packages only, and jobs import from the folder that holds them."""
    assert "is not the code of that hash" in refused(with_code({extra: b"x"}, tmp_path / "x.tar"), tmp_path / "place")


@pytest.mark.parametrize(
    "extra", ["jobs/__pycache__/entry.cpython-311.pyc", "jobs/entry.pyc", ".git/config", "a/.GIT/x"]
)
def test_what_runs_in_place_of_code_has_no_place(extra: str, tmp_path: Path) -> None:
    assert "is not allowed in an archive" in refused(with_code({extra: b"x"}, tmp_path / "x.tar"), tmp_path / "place")


def test_a_copy_with_more_in_it_is_not_imported_from(tmp_path: Path) -> None:
    store = ResultsFolder(tmp_path)
    store.prepare()
    copy = code_snapshot.take(store).folder
    (copy / "jobs" / "__pycache__").mkdir(exist_ok=True)
    (copy / "jobs" / "__pycache__" / "entry.pyc").touch()  # of an import
    assert code_snapshot.take(store).folder == copy
    (copy / "numpy.py").touch()
    with pytest.raises(JobsError, match="was changed since it was copied"):
        code_snapshot.take(store)


@pytest.mark.parametrize(
    ("names", "is_taken"),
    [
        (["train.py", "agent copy.py", ".gitignore", "conf/é.yaml", "a~", "-x", ".github/w.yml"], True),
        (["train.py", "line\nend.py"], False),
        (["train.py", "right\u202eleft.py"], False),
    ],
)
def test_every_name_that_is_archived_can_be_unpacked(
    names: list[str], is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultsFolder(tmp_path / "results")
    (tmp_path / "src").mkdir()
    for name in names:
        (tmp_path / "src" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "src" / name).write_text(name)
    store.prepare()
    code = agent_code.copy(tmp_path / "src", sorted(map(Path, names)), store.code_folder)
    store.write_code(CodeFile(code, "/x", 1.0, diff="-key\n+other", files=sorted(names)))
    (store.code_folder(code) / "written by a run.log").touch()
    said: list[str] = []
    files = archive._code_files(store, [code], said.append)
    assert [name.split("/", 2)[2] for name in files] == (sorted(names, key=Path) if is_taken else [])
    assert len(said) == (not is_taken)
    files |= archive._without_diffs(store, [code], tmp_path)
    archive._write(tmp_path / "x.tar", archive.Archive([], [], 0, {}), files)
    place = ResultsFolder(tmp_path / "place")
    archive.unpack(place, tmp_path / "x.tar")
    assert place.archived_code_folder(code).is_dir() == is_taken
    assert place.read_code(code).diff == ""  # type: ignore[union-attr]
    assert archive._code_files(place, [code], said.append).keys() == files.keys() - {f"code/{code}.json"}


def test_an_archive_that_cannot_be_unpacked_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(JobsError, match="could not be unpacked again: 'checkpoints/x' is not allowed"):
        archive._write(tmp_path / "x.tar", archive.Archive([], [], 0, {}), {"checkpoints/x": tmp_path / "x"})
