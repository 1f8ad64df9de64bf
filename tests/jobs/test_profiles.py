"""Cluster profiles: the packaged ones are whole, a user's own is checked word by word."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import profiles
from jobs.errors import JobsError


def own(tmp_path: Path, text: str) -> profiles.Profile:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return profiles.load(str(path))


def test_packaged_profiles_load() -> None:
    found = {name: profiles.load(name) for name in profiles.names()}
    assert {name: p.gpus for name, p in found.items()} == {"cpu": 0, "gpu": 1}
    assert found["gpu"].time_min == 12 * 60


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("12:00:00", 720), ("1-00:00:00", 1440), ("0:30", 30), ("0:00:10", 1), ("2-3:04:05", 3065)],
)
def test_time(tmp_path: Path, text: str, minutes: int) -> None:
    assert own(tmp_path, f"time: {text}").time_min == minutes


WRONG = {
    "time: soon": "time='soon'",
    "time: 0": "time='0'",
    "partitoin: x": "unknown 'partitoin' in file; did you mean partition",
    "partition: 'a; rm -rf /'": "letters, digits",
    'partition: "a\\nb"': "letters, digits",
    'constraint: "a\\nb"': "control characters",
    'setup: ["a\\nb"]': "control characters",
    "gpus: -1": "at least 0",
    "gpus: many": "no whole number",
    "gpus: 0\ngpu_type: a100": "needs gpus",
    "mem_gb: -2": "gigabytes",
    "mem_gb: nan": "gigabytes",
    "env: {'A B': x}": "no name of a variable",
    "sbatch: {gres: 'gpu:1'}": "use gpus",  # would add up
    "sbatch: {--array: '0-3'}": "use max_parallel",
    "sbatch: {job-name: x}": "cannot be set here",
    "sbatch: {'mail type': x}": "cannot be set here",
    "modules: cuda": "give a list",
    "gpus: 1\ngpus: 2": "stands twice",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_profiles_are_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobsError, match=WRONG[text]) as caught:
        own(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "mine.yaml:" in str(caught.value)


def test_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(JobsError, match="did you mean gpu or cpu"):
        profiles.load("gpuu")
