"""Slurm: the batch script by golden files, squeue's words, and the hand-over, on stand-in programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from jobs import profiles, slurm
from jobs.entry import TrainJob
from jobs.errors import JobsError
from jobs.profiles import Profile
from jobs.records import Submission, TaskRuns

GOLDEN = Path(__file__).parent / "golden"
FULL = Profile(
    "full", gpus=2, gpu_type="a100", cpus=4, mem_gb=1.5, time_min=90, partition="gpu,long", account="lab", qos="high",
    constraint="ib&nvme", exclude="n[1-3]", max_parallel=4, checkpoint_signal_s=60, modules=("cuda/12.4",),
    env={"WHERE": "it's here"}, setup=("source activate",), sbatch={"mail-type": "FAIL", "exclusive": True},
)  # fmt: skip


def submission(name: str, tasks: int = 3) -> Submission:
    runs = [TaskRuns("0" * 10, [1])] * tasks
    return Submission(name, "s", "slurm", "h", "u", 1.0, runs, 0, 1, f"sweeps-{name}", {})


def script(monkeypatch: pytest.MonkeyPatch, profile: Profile, tasks: int, max_parallel: int | None = None) -> str:
    monkeypatch.setattr("jobs.process.sys.executable", "/env/bin/python")
    monkeypatch.setattr("jobs.process.code_path", lambda: "/code")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    return slurm.script(profile, Path("/results/sub missions/x/logs"), "sweeps-x", tasks, max_parallel)


@pytest.mark.parametrize(
    ("name", "profile", "tasks", "max_parallel"),
    [("array", "gpu", 48, 8), ("single", "cpu", 1, None), ("full", None, 10, None)],
)
def test_script_is_the_golden_one(
    monkeypatch: pytest.MonkeyPatch, name: str, profile: str | None, tasks: int, max_parallel: int | None
) -> None:
    chosen = profiles.load(profile) if profile else FULL
    text = script(monkeypatch, chosen, tasks, max_parallel)
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_the_task_ignores_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    text = script(monkeypatch, profiles.load("cpu"), 2)
    assert "/env/bin/python -P -u -m submitit.core._submit" in text
    assert "export PYTHONSAFEPATH=1" in text


@pytest.mark.parametrize("folder", ["/a%j/logs", "/a\nb/logs"])
def test_folders_that_slurm_would_misread_are_refused(folder: str) -> None:
    with pytest.raises(JobsError, match="% or control"):
        slurm.script(profiles.load("cpu"), Path(folder), "n", 1, None)


@pytest.mark.parametrize(
    ("job", "indices"),
    [
        ("7", [0]), ("7_3", [3]), ("7_[4-6%2]", [4, 5, 6]), ("7_[0-9:3,12]", [0, 3, 6, 9, 12]), ("7_[5]", [5]),
        ("7_[1,3,8-9%4]", [1, 3, 8, 9]),
    ],
)  # fmt: skip
def test_indices_of_squeues_job_column(job: str, indices: list[int]) -> None:
    assert slurm.task_indices(job) == indices


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    program(folder, "srun", "")
    return folder


def test_states_are_read_with_one_question(path: Path, tmp_path: Path) -> None:
    program(path, "squeue", f"""
open({str(tmp_path / "asked")!r}, "a").write(" ".join(sys.argv[1:]) + os.environ["SLURM_BITSTR_LEN"] + "\\n")
print("sweeps-a|5_0|RUNNING|None")
print("sweeps-a|5_[1-2%1]|PENDING|JobArrayTaskLimit")
print("sweeps-b|9_1|FAILED|NonZeroExitCode")
print("other|5_3|RUNNING|None")
""")  # fmt: skip
    found = slurm.task_states([submission("a", 4), submission("b", 2)])
    words = {key: (state.word, state.reason) for key, state in found.items()}
    assert words == {
        ("a", 0): ("running", ""), ("a", 1): ("pending", "JobArrayTaskLimit"),
        ("a", 2): ("pending", "JobArrayTaskLimit"),
        ("a", 3): ("ended", ""), ("b", 0): ("ended", ""), ("b", 1): ("ended", "Slurm: FAILED, NonZeroExitCode"),
    }  # fmt: skip
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--noheader --format=%j|%i|%T|%r --name=sweeps-a,sweeps-b0"
    ]


@pytest.mark.parametrize("body", [None, "sys.exit(1)"])
def test_without_an_answer_nothing_is_known(path: Path, body: str | None) -> None:
    if body is not None:
        program(path, "squeue", body)
    assert {s.word for s in slurm.task_states([submission("a")]).values()} == {"unknown"}


def test_without_live_submissions_slurm_is_not_asked(path: Path) -> None:
    program(path, "squeue", "raise SystemExit('asked')")
    assert slurm.task_states([]) == {}


def hand_over(tmp_path: Path, tasks: int) -> list[str]:
    jobs = [TrainJob("/results", "s", index) for index in range(tasks)]
    return slurm.hand_over(jobs, profiles.load("cpu"), tmp_path / "logs", "sweeps-x", None)


def test_hand_over_submits_the_previewed_script(path: Path, tmp_path: Path) -> None:
    program(path, "sbatch", f"""
open({str(tmp_path / "got")!r}, "w").write(open(sys.argv[1]).read())
print("Submitted batch job 77")
""")  # fmt: skip
    assert hand_over(tmp_path, 3) == ["77_0", "77_1", "77_2"]
    assert (tmp_path / "got").read_text() == slurm.script(profiles.load("cpu"), tmp_path / "logs", "sweeps-x", 3, None)
    assert {p.name for p in (tmp_path / "logs").glob("*.pkl")} == {f"77_{i}_submitted.pkl" for i in range(3)}


def test_a_single_task_is_no_array(path: Path, tmp_path: Path) -> None:
    program(path, "sbatch", "print('Submitted batch job 78')")
    assert hand_over(tmp_path, 1) == ["78"]


def test_submitting_inside_a_job_does_not_pass_that_job_on(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(path, "sbatch", f"""
open({str(tmp_path / "env")!r}, "w").write(" ".join(sorted(k for k in os.environ if k.startswith("SLURM"))))
print("Submitted batch job 79")
""")  # fmt: skip
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    hand_over(tmp_path, 2)
    assert (tmp_path / "env").read_text() == "SLURM_CONF"
    assert os.environ["SLURM_JOB_ID"] == "1"


def test_refusal_is_one_line(path: Path, tmp_path: Path) -> None:
    program(path, "sbatch", "sys.exit('sbatch: error: invalid partition\\nsbatch: error: failed')")
    with pytest.raises(JobsError, match=r"sbatch refused: .*invalid partition") as caught:
        hand_over(tmp_path, 2)
    assert "\n" not in str(caught.value)


def test_without_sbatch_the_error_says_so(path: Path, tmp_path: Path) -> None:
    with pytest.raises(JobsError, match="sbatch is not on PATH"):
        hand_over(tmp_path, 2)


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "2"}, "10_2"),
    ],
)
def test_current_job(
    monkeypatch: pytest.MonkeyPatch, outside_slurm: None, variables: dict[str, str], job: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert slurm.current_job() == job
