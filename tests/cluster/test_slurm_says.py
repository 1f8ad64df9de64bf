"""What the Slurm at hand says of a known set of jobs is read as it is meant; see `slurm_says`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
import slurm_says

from jobs import process

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a throw-away Slurm needs Linux and root"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a fresh cluster: job ids begin at 1."""
    conf = slurm_cluster.start(settings=slurm_cluster.Settings(accounting=True))
    yield conf.parent
    slurm_cluster.stop(conf.parent)


def test_every_answer_is_understood(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm_says.prepare(lambda *words: slurm_cluster.ask(folder, *words))
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    run = process.run

    def recorded(
        command: list[str], timeout_s: float, env: dict[str, str] | None = None
    ) -> tuple[int | None, str, str]:
        answer = run(command, timeout_s, env)
        said.append(slurm_says.written(command, answer))
        return answer

    monkeypatch.setattr(process, "run", recorded)
    try:
        slurm_says.check(tmp_path)
    finally:
        if to := os.environ.get("SWEEPS_CAPTURE"):
            name = ".".join(f"{part:02}" for part in slurm_cluster.version())
            (Path(to) / f"{name}.txt").write_text("".join(said))
