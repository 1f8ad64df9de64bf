"""Results folders, archives and jobs of the code before the packages were divided still work.

The code before is taken from the repository and runs as its own process; the present code runs on what it left.
"""

from __future__ import annotations

import fcntl
import io
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from driver import ROOT, Sweeps
from fake_slurm import FakeSlurm

COMMIT = "9682294348be889540b865acc417f0b582b0bbb4"  # the last one with all modules of `jobs` in one folder
PACKAGES = ("tdmpc", "jobs", "aggregate", "plots", "slurm_templates")
CLOCKED = ("time", "steps_per_s", "updates_per_s")
SHORT = ("--plan", "plan.yaml", "--profile", "cpu", "--steps", "40", "--set", "eval_freq=10")
ONE = ("submit", "one", *SHORT)
PAIR = ("submit", "pair", *SHORT)
RENAMED = re.compile(rb"\b(final|auc|fall|large|noise|healthy|worst)_planner")
# When the fourth shard is about to be moved to its name, the process gets a signal. SIGKILL leaves half of the file.
SIGNALLED = """
import os, signal, sys
number, shards, replace = int(sys.argv.pop(1)), 0, os.replace
def signalled(part, path):
    global shards
    shards += "/metrics/" in str(path)
    if shards == 4 and "/metrics/" in str(path):
        if number == signal.SIGKILL:
            os.truncate(part, os.path.getsize(part) // 2)
        os.kill(os.getpid(), number)
    return replace(part, path)
os.replace = signalled
from jobs.cli import main
main()
"""


class Folder(Sweeps):
    """A working directory with a plan, in which the code before and the present code run in turn."""

    def __init__(self, folder: Path, before: Path) -> None:
        super().__init__(folder)
        self.before = before
        # The C kernels round in another way since they give the same bits with every compiler; these operations do not.
        self.environment["SWEEPS_KERNELS"] = "torch"

    def python_before(self, *words: str) -> subprocess.CompletedProcess[str]:
        self.environment["PYTHONPATH"] = str(self.before)
        try:
            return self.python_with(*words)
        finally:
            self.environment["PYTHONPATH"] = str(ROOT)

    def old(self, *words: str) -> str:
        """What a command of the code before prints."""
        done = self.python_before("-m", "jobs.cli", *words)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def tasks(self) -> list[int]:
        """Number of tasks of every submission, the oldest first."""
        return [len(submission["tasks"]) for submission in self.submissions()]


@pytest.fixture(scope="module")
def before(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code before."""
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("the code before is taken from a clone of the repository with git")
    command = ["git", "-C", str(repository), "archive", "--format=tar", COMMIT, *PACKAGES]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"commit {COMMIT[:7]} is not in this clone: {done.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def sweeps(tmp_path: Path, before: Path) -> Folder:
    return Folder(tmp_path, before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, before: Path) -> Folder:
    """Sweep `pair` with two seeds, trained by the code before; tests copy its results."""
    made = Folder(tmp_path_factory.mktemp("trained"), before)
    made.old(*PAIR, "--seeds", "2", "--seeds-per-job", "2", "--cluster", "debug")
    return made


@pytest.fixture
def copy(trained: Folder, sweeps: Folder) -> Folder:
    shutil.copytree(trained.folder / "results", sweeps.folder / "results")
    return sweeps


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, before: Path) -> Folder:
    """The run of sweep `one`, trained by the code before in one go."""
    made = Folder(tmp_path_factory.mktemp("undisturbed"), before)
    made.old(*ONE, "--cluster", "debug")
    return made


def rows(sweeps: Sweeps) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of the only run, of each the last that was logged, without the columns that depend on a clock."""
    found = {}
    for path in sweeps.results("runs/*/seed-1/metrics/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            kept = {name: value for name, value in row.items() if name not in CLOCKED and value is not None}
            found[row["kind"], row["step"], row["event"]] = kept
    return found


def csv_files(folder: Path, stem: str) -> dict[str, bytes]:
    """Level -> its file."""
    return {path.stem.removeprefix(f"{stem}-"): path.read_bytes() for path in folder.glob(f"{stem}-*.csv")}


def test_finished_runs_are_done_and_of_version_1_of_the_agent(copy: Folder) -> None:
    """A new submit trains the same hyperparameters under other IDs, and says why."""
    old, new = (
        json.loads(status)["sweeps"] for status in (copy.old("status", "--json"), copy.here("status", "--json"))
    )
    shown = ("config_id", "label")
    for one, other in zip(old, new, strict=True):
        assert one["name"] == other["name"] == "pair"
        for config, present in zip(one["configurations"], other["configurations"], strict=True):
            assert [present[name] for name in shown] == [config[name] for name in shown]
            assert [(run["seed"], run["state"]) for run in present["runs"]] == [(1, "done"), (2, "done")]
    assert VERSIONS in copy.here("status", "pair")
    before = copy.results("runs/*")
    told = copy(*PAIR, "--seeds", "1", "--cluster", "debug")
    assert VERSIONS in told
    assert "so all runs are trained again" in told
    assert set(before) < set(copy.results("runs/*"))
    assert len(copy.results("runs/*/seed-*/attempts/*.json")) == 4 + 2
    assert VERSIONS not in copy.here("status", "pair")
    named = "num_q=1"
    (present,) = (c["config_id"] for c in json.loads(copy.here("status", "--json"))["sweeps"][0]["configurations"]
                  if c["label"] == named)  # fmt: skip
    (old_id,) = (c["config_id"] for c in old[0]["configurations"] if c["label"] == named)
    compared = " ".join(copy.here("compare", old_id, present).split())
    assert "They were trained by two versions of the agent: A by version 1, B by version 2." in compared
    assert "They differ in: no hyperparameter." in compared


VERSIONS = "2 configurations are of version 1 of the agent tdmpc, which is now at version 2"

# What the verdict is made of has changed since; curves have not, nor what a column of the same name holds.
WITHOUT = {f"worst_primary{ending}" for ending in ("", "_mean", "_sd", "_low", "_high", "_n")}  # columns
JUDGED_ANEW = ("flags", "odds")


def test_the_csv_files_hold_the_same_numbers(copy: Folder) -> None:
    """Apart from the columns that are called after the role of their metric now, and from flags. The present code finds
    the cache of the code before for one configuration, and none for the other."""
    copy.old("aggregate", "--format", "csv", "--out", "old.html")
    expected = {level: RENAMED.sub(rb"\1_primary", text) for level, text in csv_files(copy.folder, "old").items()}
    expected["contrasts"] = expected["contrasts"].replace(b"leader", b"best")  # a family
    expected["answers"] = expected["answers"].replace(b"the swept keys do", b"the swept hyperparameters do")
    assert len(expected) == 9
    assert expected["runs"].count(b"\n") == 5
    cached, other = copy.results("cache/*")
    shutil.rmtree(other)
    copy.here("aggregate", "--format", "csv", "--out", "new.html")
    assert (
        "trained by version 1 of the agent tdmpc, which is now at version 2" in (copy.folder / "new.html").read_text()
    )
    assert copy.results("cache/*") == [cached, other]
    found = csv_files(copy.folder, "new")
    assert found.keys() == {*expected, "excluded"}
    assert found["curves"] == expected["curves"]
    for level in expected.keys() - {"curves", *JUDGED_ANEW}:
        before, now = (pd.read_csv(io.BytesIO(files[level])) for files in (expected, found))
        assert set(before.columns) - set(now.columns) <= WITHOUT, level
        common = [column for column in before.columns if column in now]
        pd.testing.assert_frame_equal(now[common], before[common], rtol=1e-9, obj=level)


@pytest.mark.parametrize("by", ["old", "new"])
def test_an_archive_is_read(copy: Folder, by: str) -> None:
    archive = ("archive", "--out", "sweeps.tar")
    (copy.old if by == "old" else copy.here)(*archive)
    copy.here("--results", "read", "unarchive", "sweeps.tar")
    kept = [path.relative_to(copy.folder / "results") for path in copy.results("runs/*/seed-*/metrics/*.parquet")]
    assert len(kept) >= 4
    assert all((copy.folder / "read" / path).read_bytes() == (copy.folder / "results" / path).read_bytes()
               for path in kept)  # fmt: skip
    listed = json.loads(copy.here("--results", "read", "status", "--json"))["sweeps"]
    states = [run["state"] for sweep in listed for config in sweep["configurations"] for run in config["runs"]]
    assert states == ["done"] * 4


@pytest.mark.parametrize(
    ("number", "state", "option"),
    [(signal.SIGKILL, "failed", "--failed"), (signal.SIGTERM, "interrupted", "--interrupted")],
)
def test_a_run_that_did_not_end_is_not_continued_by_another_version_of_the_agent(
    sweeps: Folder, undisturbed: Folder, number: signal.Signals, state: str, option: str
) -> None:
    """Its rows would be those of neither. The code before still continues it to the rows of an undisturbed one."""
    submit = (*ONE, "--cluster", "debug", "--checkpoint-minutes", "0")
    code = sweeps.python_before("-c", SIGNALLED, str(int(number)), *submit).returncode
    assert code == -number if number == signal.SIGKILL else code >= 0
    assert sweeps.states() == [state]
    refused = sweeps.python_with("-m", "jobs.cli", "rerun", "one", option, "--cluster", "debug")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "1 configuration is of version 1 of the agent tdmpc, which is now at version 2" in refused.stderr
    assert (sweeps.states(), sweeps.attempts(), sweeps.tasks()) == ([state], 1, [1])
    sweeps.old("rerun", "one", option, "--cluster", "debug")
    assert (sweeps.states(), sweeps.attempts()) == (["done"], 2)
    (first, *_) = sweeps.results("runs/*/seed-1/metrics/a002-*.parquet")
    assert 20 < int(pq.read_schema(first).metadata[b"start_step"]) < 40  # it continues from a checkpoint
    assert rows(sweeps) == rows(undisturbed)


def start_queued(sweeps: Sweeps) -> None:
    """Run the job of the only submission as its batch script does, with the set-up of the script."""
    (script,) = sweeps.results("submissions/*/*.sh")
    text = script.read_text()
    exported = dict(re.findall(r"^export (\w+)=(.*)$", text, re.M))
    (line,) = re.findall(r"^srun .*$", text, re.M)
    words = shlex.split(line)
    command = words[words.index(sys.executable) :]
    assert command[1:-2] == ["-P", "-u", "-m", "jobs.entry"]
    environment = {**sweeps.environment, **exported, "SLURM_JOB_ID": "100", "SLURM_PROCID": "0"}
    done = subprocess.run(command, cwd=sweeps.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_job_queued_by_the_code_before_starts_and_finishes(sweeps: Folder, undisturbed: Folder) -> None:
    """It waits in Slurm's queue while the present code is used on the folder."""
    slurm = FakeSlurm(sweeps.folder / "slurm")
    sweeps.environment["PATH"] = f"{slurm.bin}{os.pathsep}{sweeps.environment['PATH']}"
    sweeps.old(*ONE, "--cluster", "slurm")
    assert sweeps.states() == ["pending"]
    sweeps(*PAIR, "--cluster", "debug", "--dry-run")
    slurm.set("100", state="RUNNING", node="n1")
    start_queued(sweeps)
    slurm.set("100", state="COMPLETED")
    assert sweeps.states() == ["done"]
    assert sweeps.tasks() == [1]
    assert rows(sweeps) == rows(undisturbed)


def test_local_schedulers_of_both_share_the_slots(sweeps: Folder) -> None:
    one_slot = ("--cluster", "local", "--max-parallel", "1")
    slot = sweeps.folder / "results" / "slots" / "000.lock"
    slot.parent.mkdir(parents=True)
    with slot.open("w") as held:  # nothing starts before both submissions wait
        fcntl.flock(held, fcntl.LOCK_EX)
        sweeps.old(*ONE, *one_slot)
        assert sweeps.states() == ["pending"]
        sweeps(*PAIR, *one_slot)
        assert sweeps.states() == ["pending"] * 3
        assert sweeps.tasks() == [1, 2]
    sweeps.until(*["done"] * 3)
    attempts = [json.loads(path.read_text()) for path in sweeps.results("runs/*/seed-1/attempts/*.json")]
    ends = sweeps.outcomes(3)
    assert [end["state"] for end in ends] == ["finished"] * 3
    spans = sorted((attempt["started"], end["time"]) for attempt, end in zip(attempts, ends, strict=True))
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))  # one at a time
    copies = [sweeps.folder / "results" / "code" / attempt["code"] / "sweepwise" for attempt in attempts]
    assert sorted(path.is_dir() for path in copies) == [False, True, True]
