"""Final scores for who does not load Arrow: kept while the shards stay, and absent where the file is damaged."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from aggregate.inputs import kept_scores
from aggregate.inputs.kept_scores import FinalScore


class Run:
    """A run with one shard, and its cache."""

    def __init__(self, root: Path, seed: int) -> None:
        self.seed, self.folder = seed, root / "runs" / f"seed-{seed}"
        self.cache = root / "cache" / f"seed-{seed}.rows"
        (self.folder / "metrics").mkdir(parents=True)
        self.write("a001-p00000.parquet", b"rows")
        (self.folder / "metrics" / ".a001-p00001.parquet.1.part").write_bytes(b"")  # of a killed writer

    def write(self, name: str, content: bytes) -> None:
        (self.folder / "metrics" / name).write_bytes(content)

    def score(self, final: float) -> FinalScore:
        shards = [(path.name, path.stat().st_size, path.stat().st_mtime_ns)
                  for path in (self.folder / "metrics").glob("[!.]*")]  # fmt: skip
        return FinalScore(self.cache, self.seed, shards, final)


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return [Run(tmp_path, seed) for seed in (1, 2, 3)]


def finals(runs: list[Run]) -> dict[int, float]:
    return kept_scores.finals({run.seed: run.cache for run in runs}, {run.seed: run.folder for run in runs})


def test_scores_are_kept_beside_those_of_other_seeds(runs: list[Run]) -> None:
    kept_scores.keep([runs[0].score(1.5), runs[1].score(math.nan)])
    assert finals(runs) == {1: 1.5}
    kept_scores.keep([runs[1].score(2.0)])
    assert finals(runs) == {1: 1.5, 2: 2.0}
    kept_scores.keep([runs[0].score(math.nan)])
    assert finals(runs) == {2: 2.0}


def test_a_score_counts_until_a_shard_is_new_or_replaced(runs: list[Run]) -> None:
    kept_scores.keep([run.score(float(run.seed)) for run in runs])
    runs[0].write("a001-p00001.parquet", b"more rows")
    shard = runs[1].folder / "metrics" / "a001-p00000.parquet"
    os.utime(shard, ns=(0, shard.stat().st_mtime_ns + 1))
    assert finals(runs) == {3: 3.0}


def test_the_same_scores_are_not_written_again(runs: list[Run]) -> None:
    kept_scores.keep([runs[0].score(1.5)])
    path = runs[0].cache.with_name(kept_scores.NAME)
    written = path.stat().st_ino
    kept_scores.keep([runs[0].score(1.5)])
    assert path.stat().st_ino == written


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"1": 5, "2": [[], "x"]}', b"[" * 100_000])
def test_a_damaged_file_counts_as_absent_and_is_written_again(runs: list[Run], content: bytes) -> None:
    path = runs[0].cache.with_name(kept_scores.NAME)
    path.parent.mkdir()
    path.write_bytes(content)
    assert finals(runs) == {}
    kept_scores.keep([runs[0].score(1.5)])
    assert finals(runs) == {1: 1.5}


def test_where_nothing_can_be_written_nothing_happens(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    kept_scores.keep([runs[0].score(1.5)])
    assert finals(runs) == {}
