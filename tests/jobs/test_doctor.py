"""The doctor: what Slurm says of itself in rows, a job that looks around, a first profile that loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_slurm import FakeSlurm

from jobs.backends import profile
from jobs.cli import cli
from jobs.doctor import checks, probe
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

SINFO = """\
cpu*|7-00:00:00|20|64|256000|(null)|up
gpu|1-00:00:00|4+|32|512000|gpu:a100:4(S:0-1)|up
old|infinite|9|8|8000|gpu:2|down
"""


def rows(found: Any) -> dict[str, tuple[str, bool | None]]:
    return {finding.what: (finding.result, finding.fine) for finding in found}


def test_what_slurm_says_of_itself(slurm: FakeSlurm) -> None:
    slurm.answer("sinfo", SINFO)
    slurm.accounting(False)
    found = rows(checks.cluster())
    assert found["Slurm"] == ("fake, version unknown", True)
    assert found["limits"][0] == "MaxArraySize 1001, MinJobAge 300 sec"
    assert found["grace time"][0] == "low 0 s, high 120 s"
    assert found["accounting"][1] is None  # not wrong, only told
    assert found["partition cpu (default)"][0] == "20 nodes of 64 CPUs, 250 GB, no GPU; at most 168 h"
    assert found["partition gpu"][0] == "4 nodes of 32 CPUs, 500 GB, 4 a100 GPUs; at most 24 h"
    assert "partition old" not in found
    slurm.accounting(True)
    slurm.answer("sacctmgr", "lab||normal||500|gres/gpu=8\n")
    assert rows(checks.cluster())["account lab"][0] == "qos normal, in the queue 500, together gres/gpu=8"


def test_a_silent_controller_and_a_machine_without_slurm(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.fault("scontrol", "before")
    assert rows(checks.cluster())["Slurm"][1] is False
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rows(checks.cluster())["Slurm"][1] is None


@pytest.mark.parametrize(
    ("gres", "expected"),
    [
        ("gpu:a100:4", {"partition": "p", "gpus": 1, "gpu_type": "a100", "cpus": 8, "mem_gb": 32.0, "time_min": 720}),
        ("(null)", {"partition": "p", "gpus": 0, "gpu_type": None, "cpus": 2, "mem_gb": 14.0, "time_min": 720}),
    ],
)
def test_the_first_profile_loads_and_asks_for_a_tasks_share_of_a_node(
    slurm: FakeSlurm, tmp_path: Path, gres: str, expected: dict[str, Any]
) -> None:
    slurm.answer("sinfo", f"p*|infinite|2|32|256000|{gres}|up\n")
    path = tmp_path / "mine.yaml"
    checks.write_profile(path)
    made = profile.load(str(path))
    assert {name: getattr(made, name) for name in expected} == expected
    with pytest.raises(JobsError, match="the file exists already"):
        checks.write_profile(path)


def test_the_job_is_watched_step_by_step_and_cleaned_up(store: ResultsFolder, slurm: FakeSlurm) -> None:
    """The pause plays the job: it writes what it saw, then that the signal came, then that it began again."""

    def job(seconds: float) -> None:
        (folder,) = store.root.glob(".probe.*")
        facts = {"host": "n1", "cores": 4, "gpus": 1, "torch": "2.4", "cuda": "", "mujoco": "3"}
        told = any("--signal=USR2" in call for call in slurm.calls("scancel"))
        again = slurm.tasks()[0]["restarts"] > 0
        name = probe.AGAIN if again else probe.TOLD if told else probe.FACTS
        (folder / name).write_text(json.dumps(facts))

    found = rows(checks.try_a_job(store, profile.load("cpu"), 5, job))
    assert [found[name][1] for name in ("job", "signals", "requeue", "job: MuJoCo")] == [True] * 4
    assert found["job: torch"] == ("2.4, no GPU found", False)  # though the node has one
    assert list(store.root.glob(".probe.*")) == []
    assert [task["state"] for task in slurm.tasks()] == ["CANCELLED"]


def test_a_job_that_does_not_begin_is_told_with_slurms_reason(store: ResultsFolder, slurm: FakeSlurm) -> None:
    (finding,) = checks.try_a_job(store, profile.load("cpu"), 2, lambda seconds: None)
    assert finding.result == "job 100 wrote nothing in 2 s: PENDING None"
    assert finding.fine is False


def test_without_slurm_it_looks_at_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"host": "here", "cores": 2, "gpus": 0, "torch_error": "ImportError: no torch", "mujoco": "3"}
    monkeypatch.setattr(probe, "facts", lambda: facts)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(cli, ["--results", str(tmp_path / "r"), "doctor"])
    assert result.exit_code == 1
    lines = [line.split()[:3] for line in result.stdout.splitlines()]
    assert ["wrong", "here:", "torch"] in lines
    assert ["ok", "here:", "MuJoCo"] in lines


def test_this_machine_is_looked_at_in_a_process_of_its_own() -> None:
    found = probe.facts()
    assert "torch_error" not in found
    assert "mujoco_error" not in found
    assert "here: C kernels" in rows(checks.machine({**found, "cuda": ""}, "here"))


def test_a_compiler_that_fails_is_told_where_a_cpu_trains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'x.c: fatal error: out of luck' >&2\necho 'compilation ended' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    found = {**probe.facts(), "cuda": ""}
    (kernels,) = (finding for finding in checks.machine(found, "here") if finding.what == "here: C kernels")
    assert (kernels.result, kernels.fine) == (f"{broken}: x.c: fatal error: out of luck", None)
    assert "install gcc" in kernels.advice
    assert "here: C kernels" not in rows(checks.machine({**found, "cuda": "H100"}, "here"))  # a GPU needs none
