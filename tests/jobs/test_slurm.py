"""Slurm: the batch script by golden files, and the hand-over, on stand-in programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from jobs.backends import profile as profiles
from jobs.backends.profile import Profile
from jobs.backends.slurm import batch_script, commands, job_environment
from jobs.results.records import Chunk
from sweepwise.core.errors import JobsError

GOLDEN = Path(__file__).parent / "golden"
FULL = Profile(
    "full", gpus=2, gpu_type="a100", gpu_request="gres",
    cpus=4, mem_gb=1.5, time_min=90, partition="gpu,long", account="lab", qos="high",
    constraint="ib&nvme", exclude="n[1-3]", max_parallel=4, checkpoint_signal_s=60, modules=("cuda/12.4",),
    activate="source /conda/bin/activate x", scratch="/scratch/$USER", compile_cache="/cache", mujoco_gl="egl",
    env={"WHERE": "it's here"}, setup=("ulimit -n 4096",), sbatch={"mail-type": "FAIL", "exclusive": True},
)  # fmt: skip


def script(monkeypatch: pytest.MonkeyPatch, profile: Profile, tasks: int, throttle: int, start: int = 0) -> str:
    monkeypatch.setattr("jobs.process.sys.executable", "/env/bin/python")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    folder = Path("/results/sub missions/x")
    command = batch_script.chunk_command(folder, Chunk("q-1234", start, tasks))
    return batch_script.script(profile, "q-1234", command, throttle, tasks, code=Path("/code"), folder=folder / "logs")


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
        batch_script.script(profiles.load("cpu"), "n", "true", code=Path("/code"), folder=Path(folder))


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
    assert commands.sbatch(Path("/x.sh"), ["5", "6"]) == "79"
    assert (tmp_path / "env").read_text() == "SLURM_CONF"
    assert (tmp_path / "got").read_text() == "--parsable --hold --dependency=afterany:5:6 /x.sh"


def test_refusal_is_one_line(path: Path) -> None:
    program(path, "sbatch", "sys.exit('sbatch: error: invalid partition\\nsbatch: error: failed')")
    with pytest.raises(JobsError, match=r"sbatch refused: .*invalid partition") as caught:
        commands.sbatch(Path("/x.sh"), [])
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, commands.NoResponse)


def test_a_purged_job_is_found_by_sacct(path: Path) -> None:
    program(path, "squeue", "")
    program(path, "sacct", "print('12_0\\n12_[1-3]')")
    assert commands.find("name", 0.0) == "12"


@pytest.mark.parametrize(("waiting", "held"), [("7_[0-3]|None", False), ("7_[1-3]|JobHeldUser", True)])
def test_a_release_that_fails_is_an_error_where_a_job_stays_held(path: Path, waiting: str, held: bool) -> None:
    program(path, "scontrol", "sys.exit('Job has already finished')")
    program(path, "squeue", f"spec, reason = '{waiting}'.split('|'); print(spec + '|PENDING||u|n|' + reason)")
    if not held:
        commands.release(["7"])
        return
    with pytest.raises(commands.NoResponse, match="did not release 7"):
        commands.release(["7"])


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
    assert job_environment.current_job() == job
