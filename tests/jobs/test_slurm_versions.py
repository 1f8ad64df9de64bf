"""What Slurm of each version said of a known set of jobs (`slurm_says`) is read as it is meant, without a Slurm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import slurm_says

from jobs import process

SAID = sorted((Path(__file__).parent / "slurm_says").glob("*.txt"))


def test_there_are_answers_of_several_versions() -> None:
    assert {"22.05", "24.11"} <= {path.stem for path in SAID}


@pytest.mark.parametrize("path", SAID, ids=lambda path: path.stem)
def test_the_answers_of_a_version_are_understood(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, list[slurm_says.Answer]] = {}
    for question, answer in slurm_says.read(path.read_text(encoding="utf-8")):
        answers.setdefault(question, []).append(answer)

    def run(command: list[str], timeout_s: float, env: dict[str, str] | None = None) -> slurm_says.Answer:
        asked = slurm_says.question(command)
        assert asked in answers, f"a new question; capture the answers again: {asked}"
        return answers[asked].pop(0)

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(process, "user", lambda: "root")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.chdir(tmp_path)
    slurm_says.check(tmp_path)
