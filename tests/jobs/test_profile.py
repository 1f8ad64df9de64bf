"""Cluster profiles: the packaged ones are whole, a user's own is checked word by word."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from jobs.backends import profile
from sweepwise.core.errors import JobsError


@pytest.fixture(autouse=True)
def no_profiles_of_the_tester(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_PROFILES", str(tmp_path / "profiles"))


def own(tmp_path: Path, text: str) -> profile.Profile:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return profile.load(str(path))


def test_packaged_profiles_load() -> None:
    found = {name: profile.load(name) for name in profile.names()}
    assert {name: p.gpus for name, p in found.items()} == {
        "a100": 1, "cpu": 0, "gpu": 1, "h100": 1, "preemptible": 1,
    }  # fmt: skip
    assert found["gpu"].time_min == 12 * 60
    assert (found["a100"].gpu_type, found["h100"].gpu_type) == ("a100", "h100")


def test_the_commented_lines_of_a_packaged_profile_are_legal(tmp_path: Path) -> None:
    text = resources.files("slurm_templates").joinpath("gpu.yaml").read_text()
    body = text.partition("\n\n")[2]
    found = own(tmp_path, re.sub("^# ", "", body, flags=re.M))
    assert (found.partition, found.modules, found.sbatch) == ("gpu", ("cuda/12.4",), {"mail-type": "FAIL"})


def test_a_profile_of_the_users_folder_goes_before_a_packaged_one(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "gpu.yaml").write_text("gpus: 3")
    (tmp_path / "profiles" / "ours.yaml").write_text("gpus: 4")
    assert (profile.load("gpu").gpus, profile.load("ours").gpus) == (3, 4)
    assert "ours" in profile.names()


def test_options_change_single_values(tmp_path: Path) -> None:
    options = ["time=2:00:00", "modules=[a, b]", "sbatch.mail-type=FAIL", "env.X=1", "env.Y=2", "account=mine"]
    found = profile.load("gpu", options)
    assert (found.time_min, found.modules, found.account, found.gpus) == (120, ("a", "b"), "mine", 1)
    assert (found.sbatch, found.env) == ({"mail-type": "FAIL"}, {"X": "1", "Y": "2"})


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (
            "tiem=5",
            r"--option 'tiem=5': unknown 'tiem' in profile; did you mean time or activate\? Legal: partition, account",
        ),
        ("time=soon", "--option 'time=soon': time='soon'"),
        ("time", "give key=value"),
        ("sbatch.hold=true", "cannot be set here"),
        ("account: x\nqos=1", "give key=value"),
    ],
)
def test_wrong_options_are_one_line(option: str, told: str) -> None:
    with pytest.raises(JobsError, match=told) as caught:
        profile.load("gpu", [option])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("12:00:00", 720), ("1-00:00:00", 1440), ("0:30", 1), ("0:00:10", 1), ("2-3:04:05", 3065),
     ("30:00", 30), ("1-12", 36 * 60), ("1-12:30", 36 * 60 + 30), ("90:01", 91), ("UNLIMITED", None),
     ("infinite", None), ("-1", None)],
)  # fmt: skip
def test_a_time_is_read_as_slurm_reads_it(tmp_path: Path, text: str, minutes: int | None) -> None:
    assert own(tmp_path, f"time: {text}").time_min == minutes


@pytest.mark.parametrize(
    ("text", "gigabytes"), [("16", 16), ("1.5", 1.5), ("16384M", 16), ("2T", 2048), ("524288k", 0.5), ("16GB", 16)]
)
def test_memory_takes_slurms_units(tmp_path: Path, text: str, gigabytes: float) -> None:
    assert own(tmp_path, f"mem_gb: {text}").mem_gb == gigabytes


def test_lists_are_written_as_slurm_or_yaml_writes_them(tmp_path: Path) -> None:
    found = own(tmp_path, "partition: [long, gpu]\nexclude: ['gpu-node[001-003]', n7]")
    assert (found.partition, found.exclude) == ("long,gpu", "gpu-node[001-003],n7")


WRONG = {
    "time: soon": "time='soon'",
    "time: 0": "time='0'",
    "partitoin: x": "unknown 'partitoin' in file; did you mean partition",
    "partition: 'a; rm -rf /'": "letters, digits",
    'partition: "a\\nb"': "letters, digits",
    'constraint: "a\\nb"': "control characters",
    'constraint: "50%"': "% is not allowed",
    "scratch: $(rm -rf x)": "absolute folder",
    "mujoco_gl: none": "disabled, egl",
    "gpu_request: both": "gpus-per-node, gres",
    'setup: ["a\\nb"]': "control characters",
    "gpus: -1": "at least 0",
    "gpus: many": "not a whole number",
    "gpus: 0\ngpu_type: a100": "needs gpus",
    "mem_gb: -2": "gigabytes",
    "mem_gb: nan": "gigabytes",
    "env: {'A B': x}": "not the name of a variable",
    "sbatch: {gres: 'gpu:1'}": "use gpus",  # would add up
    "sbatch: {--array: '0-3'}": "use max_parallel",
    "sbatch: {job-name: x}": "cannot be set here",
    "sbatch: {clusters: other}": "cannot be set here",
    "sbatch: {cluster: other}": "cannot be set here",  # sbatch takes beginnings of names
    "sbatch: {tim: 5}": "use time",
    "env: {SBATCH_CLUSTERS: other}": "another cluster",
    "exclude: 'n[1-'": "not a list of nodes",
    "exclude: 'n[a-b]'": "not a list of numbers",
    "time: 1-": "days-hours",
    "mem_gb: 16X": "with a unit",
    "sbatch: {'mail type': x}": "cannot be set here",
    "modules: cuda": "give a list",
    "gpus: 1\ngpus: 2": "occurs twice",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_profiles_are_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobsError, match=WRONG[text]) as caught:
        own(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "mine.yaml:" in str(caught.value)


def test_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(JobsError, match=r"did you mean gpu or cpu.*yours are in"):
        profile.load("gpuu")
