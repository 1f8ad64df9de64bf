"""Slurm: the batch script by golden files, squeue's words, and the hand-over, on stand-in programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from jobs import profiles, slurm
from jobs.errors import JobsError
from jobs.profiles import Profile
from jobs.records import Chunk, Submission, TaskRuns

GOLDEN = Path(__file__).parent / "golden"
FULL = Profile(
    "full", gpus=2, gpu_type="a100", gpu_request="gres",
    cpus=4, mem_gb=1.5, time_min=90, partition="gpu,long", account="lab", qos="high",
    constraint="ib&nvme", exclude="n[1-3]", max_parallel=4, checkpoint_signal_s=60, modules=("cuda/12.4",),
    activate="source /conda/bin/activate x", scratch="/scratch/$USER", compile_cache="/cache", mujoco_gl="egl",
    env={"WHERE": "it's here"}, setup=("ulimit -n 4096",), sbatch={"mail-type": "FAIL", "exclusive": True},
)  # fmt: skip


def submission(name: str, *chunks: Chunk, exported: bool = False) -> Submission:
    runs = [TaskRuns("0" * 10, [1])] * sum(chunk.count for chunk in chunks)
    return Submission(name, "s", "slurm", "h", "u", 1.0, runs, 0, 1, name, {}, list(chunks), exported=exported)


def script(monkeypatch: pytest.MonkeyPatch, profile: Profile, tasks: int, throttle: int, start: int = 0) -> str:
    monkeypatch.setattr("jobs.process.sys.executable", "/env/bin/python")
    monkeypatch.setattr("jobs.process.code_path", lambda: "/code")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    folder = Path("/results/sub missions/x")
    command = slurm.task_command(folder, Chunk("q-1234", start, tasks))
    return slurm.script(profile, folder / "logs", "q-1234", command, throttle, tasks)


@pytest.mark.parametrize(
    ("name", "profile", "tasks", "throttle", "start"),
    [("array", "gpu", 48, 8, 0), ("single", "cpu", 1, 1, 0), ("full", None, 10, 4, 20)],
)
def test_script_is_the_golden_one(
    monkeypatch: pytest.MonkeyPatch, name: str, profile: str | None, tasks: int, throttle: int, start: int
) -> None:
    chosen = profiles.load(profile) if profile else FULL
    text = script(monkeypatch, chosen, tasks, throttle, start)
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("folder", ["/a%j/logs", "/a\nb/logs"])
def test_folders_that_slurm_would_misread_are_refused(folder: str) -> None:
    with pytest.raises(JobsError, match="% or control"):
        slurm.script(profiles.load("cpu"), Path(folder), "n", "true")


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
print("a.1|5_0|RUNNING|None")
print("a.1|5_[1-2%1]|PENDING|JobArrayTaskLimit")
print("a.2|6_1|RUNNING|None")
print("b|9_1|FAILED|NonZeroExitCode")
print("other|5_3|RUNNING|None")
""")  # fmt: skip
    chunks = [Chunk("a.1", 0, 4, job_id="5"), Chunk("a.2", 4, 2, job_id="6")]
    open_ones = [submission("a", *chunks), submission("b", Chunk("b", 0, 2, job_id="9"))]
    unknown = [submission("c", Chunk("c", 0, 1)), submission("d", Chunk("d", 0, 1), exported=True)]
    found = slurm.task_states([*open_ones, *unknown])
    words = {key: (state.word, state.reason) for key, state in found.items()}
    assert words == {
        ("a", 0): ("running", ""), ("a", 1): ("pending", "JobArrayTaskLimit"),
        ("a", 2): ("pending", "JobArrayTaskLimit"),
        ("a", 3): ("ended", ""), ("a", 4): ("ended", ""), ("a", 5): ("running", ""),
        ("c", 0): ("pending", "not handed to Slurm yet; the next `sweeps submit` does if need be"),
        ("b", 0): ("ended", ""), ("b", 1): ("ended", "Slurm: FAILED, NonZeroExitCode"),
    }  # fmt: skip
    assert (tmp_path / "asked").read_text().splitlines() == ["--noheader --format=%j|%i|%T|%r --name=a.1,a.2,b,c,d0"]


@pytest.mark.parametrize("body", [None, "sys.exit(1)"])
def test_without_an_answer_nothing_is_known(path: Path, body: str | None) -> None:
    if body is not None:
        program(path, "squeue", body)
    assert {s.word for s in slurm.task_states([submission("a", Chunk("a", 0, 3, job_id="5"))]).values()} == {"unknown"}


def test_without_live_submissions_slurm_is_not_asked(path: Path) -> None:
    program(path, "squeue", "raise SystemExit('asked')")
    assert slurm.task_states([]) == {}


def test_submitting_inside_a_job_does_not_pass_that_job_on(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(path, "sbatch", f"""
open({str(tmp_path / "env")!r}, "w").write(" ".join(sorted(k for k in os.environ if k.startswith("SLURM"))))
open({str(tmp_path / "got")!r}, "w").write(" ".join(sys.argv[1:]))
print("79;elsewhere")
""")  # fmt: skip
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    assert slurm.sbatch(Path("/x.sh"), ["5", "6"]) == "79"
    assert (tmp_path / "env").read_text() == "SLURM_CONF"
    assert (tmp_path / "got").read_text() == "--parsable --hold --dependency=afterany:5:6 /x.sh"


def test_refusal_is_one_line(path: Path) -> None:
    program(path, "sbatch", "sys.exit('sbatch: error: invalid partition\\nsbatch: error: failed')")
    with pytest.raises(JobsError, match=r"sbatch refused: .*invalid partition") as caught:
        slurm.sbatch(Path("/x.sh"), [])
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, slurm.NoAnswer)


def test_a_purged_job_is_found_by_sacct(path: Path) -> None:
    program(path, "squeue", "")
    program(path, "sacct", "print('12_0\\n12_[1-3]')")
    assert slurm.find("name", 0.0) == "12"


@pytest.mark.parametrize(("waiting", "held"), [("None", False), ("JobHeldUser", True)])
def test_a_release_that_fails_is_an_error_where_a_job_stays_held(path: Path, waiting: str, held: bool) -> None:
    program(path, "scontrol", "sys.exit('Job has already finished')")
    program(path, "squeue", f"print('{waiting}')")
    if not held:
        slurm.release(["7"])
        return
    with pytest.raises(slurm.NoAnswer, match="did not release 7"):
        slurm.release(["7"])


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
