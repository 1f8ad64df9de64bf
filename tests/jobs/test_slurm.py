"""Slurm: the batch script by golden files, and the hand-over, on stand-in programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from jobs import process
from jobs.backends import formats
from jobs.backends import profile as profiles
from jobs.backends.profile import Profile
from jobs.backends.slurm import (
    batch_script,
    cancelling,
    commands,
    job_environment,
    limits,
    programs,
    squeue,
)
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


INHERITED = ("SLURM_JOB_ID", "SBATCH_TIMELIMIT", "SQUEUE_USERS", "SACCT_FEDERATION", "SCANCEL_STATE", "SALLOC_QOS",
             "SRUN_EXPORT_ENV", "SINFO_PARTITION", "SLURM_CLUSTERS")  # fmt: skip


def test_no_program_of_slurms_sees_the_variables_around_us(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for SLURM_CONF, and what the profile names for sbatch; said once."""
    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sacctmgr"):
        program(path, name, f"""
names = sorted(k for k in os.environ if k.startswith(("S", "SLURM")) and "_" in k and not k.startswith("SWEEPS"))
open({str(tmp_path / name)!r}, "w").write(" ".join(names) + "|" + " ".join(sys.argv[1:]))
print("squeue: 79")
""")  # fmt: skip
    for name in [name for name in os.environ if name.startswith("S") and "_" in name]:
        monkeypatch.delenv(name)
    for name in INHERITED[1:]:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    programs._note_dropped.cache_clear()
    commands.sbatch(Path("/x.sh"), ["5", "6"], {"SBATCH_RESERVATION": "mine"})
    assert (tmp_path / "sbatch").read_text() == (
        "SBATCH_RESERVATION SLURM_CONF|--parsable --hold --dependency=afterany:5:6 /x.sh"
    )
    squeue.mine()
    commands.find("x", 1e9)
    cancelling.scancel({("n", "u"): ["1"]})
    limits.submit_limits(profiles.load("cpu"), "c")
    job_environment.requeue("7")
    assert {
        (tmp_path / name).read_text().partition("|")[0] for name in ("sacct", "scontrol", "scancel", "sacctmgr")
    } == {"SLURM_CONF"}
    assert (tmp_path / "squeue").read_text().partition("|")[0] in ("SLURM_BITSTR_LEN SLURM_CONF", "SLURM_CONF")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(name in said for name in INHERITED[1:])
    assert "SLURM_CONF" not in said


@pytest.mark.parametrize(("text", "seconds"), [("", 20.0), ("90", 90.0), ("0", None), ("soon", None), ("1e9", None)])
def test_the_time_limit_of_questions_can_be_set(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float | None
) -> None:
    monkeypatch.setenv(programs.TIMEOUT_VARIABLE, text)
    if seconds is not None:
        assert programs.timeout_s() == seconds
        return
    with pytest.raises(JobsError, match="give seconds"):
        programs.timeout_s()


BANNERS = "*** maintenance on 2026-12-01 ***\nsbatch: error: Memory specification can not be satisfied\n"


def test_the_reason_of_a_refusal_is_sbatchs_last_error(path: Path) -> None:
    program(path, "sbatch", f"sys.exit({BANNERS + 'sbatch: error: invalid partition' + chr(10) + 'Connection: bye'!r})")
    with pytest.raises(JobsError, match=r"sbatch refused: sbatch: error: invalid partition$") as caught:
        commands.sbatch(Path("/x.sh"), [])
    assert not isinstance(caught.value, commands.NoResponse)


def test_a_job_is_found_by_its_name_and_user_among_banners(path: Path) -> None:
    """Numbers of a wrapper's banner, and jobs of others, are not believed; a purged job is found by sacct."""
    me = process.user()
    program(path, "squeue", f"print('2026\\nquota|9\\n11|other|name\\nx|{me}|name')")
    program(path, "sacct", f"print('7\\n13_0|other|name\\n12_0|{me}|name\\n12_[1-3]|{me}|name')")
    assert commands.find("name", 1e9) == "12"


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


@pytest.mark.parametrize(
    ("job", "tasks"),
    [
        ("7", ["7"]), ("7_3", ["7_3"]), ("7_[4-6%2]", ["7_4", "7_5", "7_6"]), ("7_[5]", ["7_5"]), ("x", []),
        ("7_[0-9:3,12]", ["7_0", "7_3", "7_6", "7_9", "7_12"]), ("7_[1,8-9%4]", ["7_1", "7_8", "7_9"]),
        ("7_[0-60:30]", ["7_0", "7_30", "7_60"]),
    ],
)  # fmt: skip
def test_tasks_of_squeues_job_column(job: str, tasks: list[str]) -> None:
    assert formats.task_ids(job) == tasks
    assert [task for part in formats.task_list(tasks) for task in formats.task_ids(part)] == tasks


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("n1", ["n1"]), ("n[1-2],m", ["n1", "n2", "m"]), ("a-b[009-010]", ["a-b009", "a-b010"]),
        ("r[1-2]c[3,05]", ["r1c3", "r1c05", "r2c3", "r2c05"]), ("n1,n1", ["n1"]),
    ],
)  # fmt: skip
def test_lists_of_nodes(text: str, nodes: list[str]) -> None:
    assert formats.node_names(text) == nodes


def test_counts_sizes_and_gpus_as_slurm_writes_them() -> None:
    assert [formats.count(text) for text in ("4", "4+", "1.5K", "N/A", "UNLIMITED", "")] == [
        4,
        4,
        1536,
        None,
        None,
        None,
    ]
    texts = ("1048576K", "512M", "1.5G", "2T", "1P", "0", "", "1G+")
    assert [formats.gigabytes(text) for text in texts] == [1.0, 0.5, 1.5, 2048.0, 1024.0**2, 0.0, 0.0, 1.0]
    gres = ("gpu:a100:4(S:0-1)", "gpu:2", "nogpu:3", "mps:400,gpu:v100:2(S:0),shard:8", "(null)", "gpu:4(IDX:0-3)")
    assert [formats.gpus(text) for text in gres] == [(4, "a100"), (2, ""), (0, ""), (2, "v100"), (0, ""), (4, "")]
