"""The copy that jobs run from, and what is written down of the code."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import process
from jobs.programs import agent_code
from jobs.results import code_snapshot
from jobs.results.records import CodeFile, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project, as the code that runs."""
    root = tmp_path / "checkout"
    for package in code_snapshot.PACKAGES:
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text(f'"""{package}."""\n')
    (root / "plots" / "report.css").write_text("main{}\n")
    monkeypatch.setattr(process, "ROOT", root)
    return root


@pytest.fixture
def commit(checkout: Path) -> Callable[[], str]:
    """Commits all there is; the commit's name."""

    def git(*arguments: str) -> str:
        named = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(checkout), *named, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit() -> str:
        git("init", "-q")
        git("add", "-A")
        git("commit", "-qm", "c")
        return git("rev-parse", "HEAD")

    return commit


def described(store: ResultsFolder) -> CodeFile:
    return code_snapshot.record(store, code_snapshot.take(store).hash)


def test_the_copy_is_the_code_of_now_and_shared_as_long_as_nothing_changes(
    store: ResultsFolder, checkout: Path
) -> None:
    litters = ("jobs/__pycache__/a.pyc", "jobs/.entry.py.swp", "tdmpc/agent.py~", "tdmpc/agent copy.py",
               "tdmpc/.ipynb_checkpoints/x.py", "tdmpc/#agent.py#")  # fmt: skip
    for litter in litters:
        (checkout / litter).parent.mkdir(exist_ok=True)
        (checkout / litter).write_text("x")
    first = code_snapshot.take(store)
    assert code_snapshot.planned(store) == first
    copied = sorted(str(path.relative_to(first.folder)) for path in first.folder.rglob("*") if path.is_file())
    assert copied == sorted([*(f"{package}/__init__.py" for package in code_snapshot.PACKAGES), "plots/report.css"])
    (checkout / "README.md").write_text("no part of the packages")
    assert code_snapshot.take(store) == first
    (checkout / "plots" / "report.css").write_text("main{color:red}\n")
    second = code_snapshot.take(store)
    assert second != first
    assert (first.folder / "plots" / "report.css").read_text() == "main{}\n"
    assert sorted(path.name for path in first.folder.parent.iterdir()) == sorted(
        name for code in (first, second) for name in (code.hash, f"{code.hash}.json")
    )
    assert code_snapshot.digest(checkout, code_snapshot.AGENT) == code_snapshot.digest(
        first.folder, code_snapshot.AGENT
    )  # the agent is the same


def test_an_edit_during_the_copy_is_under_the_hash_of_what_was_copied(
    store: ResultsFolder, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = agent_code.shutil.copy

    def edited(origin: Path, target: Path) -> None:
        (checkout / "plots" / "report.css").write_text("main{color:red}\n")
        copy(origin, target)

    before = code_snapshot.planned(store)
    monkeypatch.setattr(agent_code.shutil, "copy", edited)
    code = code_snapshot.take(store)
    assert code != before
    assert code_snapshot.digest(code.folder) == code.hash


def test_a_copy_that_was_changed_is_not_used(store: ResultsFolder, checkout: Path) -> None:
    code = code_snapshot.take(store)
    (code.folder / "jobs" / "__init__.py").write_text("print('leaked')\n")
    with pytest.raises(JobsError, match=r"was changed since it was copied; move it away"):
        code_snapshot.take(store)


def test_a_job_refuses_code_that_is_not_its_own(store: ResultsFolder) -> None:
    code = code_snapshot.take(store)  # of this project, but this process imports the checkout
    made = Submission("i", "s", "slurm", "h", "u", 1.0, [TaskRuns("0" * 10, [1])], 0, 1, "n", {}, code=code.hash)
    with pytest.raises(JobsError, match=r"would import tdmpc from .*, not from the copy made at submit, .*PYTHONPATH"):
        code_snapshot.check(store, made)


def test_commit_and_diff_are_written_down(store: ResultsFolder, checkout: Path, commit: Callable[[], str]) -> None:
    name = commit()
    assert described(store).commit == name
    (checkout / "jobs" / "__init__.py").write_text("changed = 1\n")
    (checkout / "jobs" / "new.py").touch()
    (checkout / "README.md").write_text("no part of the packages")
    found = described(store)
    assert found.commit == f"{name}+"
    assert "+changed = 1" in found.diff
    assert (found.untracked, found.note) == (["jobs/new.py"], "")


@pytest.mark.parametrize(
    "line",
    [
        'PASSWORD = "hunter2"', "aws_secret_access_key: x", "api-key=1", "token = 'abc'",
        "-----BEGIN RSA PRIVATE KEY-----", "url = 'https://me:pw@host/'", "x = 'ghp_0123456789abcdef'",
        "x = 'AKIAIOSFODNN7EXAMPLE'",
    ],
)  # fmt: skip
def test_a_diff_that_may_hold_a_secret_is_not_kept_and_that_is_said(
    store: ResultsFolder, checkout: Path, commit: Callable[[], str], line: str
) -> None:
    commit()
    (checkout / "jobs" / "__init__.py").write_text(f"{line}\n")
    found = described(store)
    assert found.diff == ""
    assert len(found.diff_sha256) == 64
    assert "secret" in found.note
    assert line not in store.code_folder(found.hash).with_suffix(".json").read_text()


def test_outside_a_repository_there_is_a_hash_and_no_commit(store: ResultsFolder, checkout: Path) -> None:
    found = described(store)
    assert (found.commit, found.diff, found.hash) == (None, "", code_snapshot.digest(checkout))


def test_a_results_folder_that_cannot_be_on_the_path_is_refused(tmp_path: Path, checkout: Path) -> None:
    store = ResultsFolder(tmp_path / "at:12:30")
    with pytest.raises(JobsError, match=r"a path with ':' cannot be on PYTHONPATH"):
        code_snapshot.take(store)
    assert not (store.root / "code").exists()


def test_untracked_code_is_not_copied_and_named(
    store: ResultsFolder, checkout: Path, commit: Callable[[], str]
) -> None:
    commit()
    clean = code_snapshot.take(store)
    (checkout / "tdmpc" / "new.py").touch()
    (checkout / "tdmpc" / "notes.log").touch()
    assert code_snapshot.take(store) == clean
    assert code_snapshot.left_out() == ["tdmpc/new.py"]
    subprocess.run(["git", "-C", str(checkout), "add", "tdmpc/new.py"], check=True)
    assert (code_snapshot.take(store).folder / "tdmpc" / "new.py").exists()
    assert code_snapshot.left_out() == []
