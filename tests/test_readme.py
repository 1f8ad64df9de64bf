"""README.md and the plan of docs/plans.md; commands and links are tested by tests/test_docs.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.planning import plan


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def test_the_plan_of_the_guide_loads(repository: Path, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (repository / "docs" / "plans.md").read_text(), re.S)
    (tmp_path / "mine.yaml").write_text(text)
    (sweep,) = plan.load(tmp_path / "mine.yaml").select("rates")
    assert sweep.name == "rates"


def test_the_first_screen_holds_the_two_commands(readme: str) -> None:
    top = "\n".join(readme.splitlines()[:24])
    assert "python3 bootstrap.py demo" in top
    assert "python3 bootstrap.py test" in top


def test_it_is_short(readme: str) -> None:
    assert len(readme.split()) < 900
