"""Names of metric shards; standard library only, so that who asks how far a run is need not load Arrow.

`metrics/<tag>-p<part>.parquet` in a run's folder; the shard that ends the run, final evaluation included, is
`<tag>-p<part>-end<step>.parquet`. `tag` names the attempt that wrote it ("a001"), so that two attempts never write
the same file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

FOLDER = "metrics"
_NAME = re.compile(r"(?P<tag>[a-z0-9]+)-p(?P<part>\d{5})(-end(?P<end>\d+))?\.parquet")


@dataclass(frozen=True)
class ShardName:
    """end: agent steps of the run that the shard ends, None for any other shard."""

    tag: str
    part: int
    end: int | None = None

    def __str__(self) -> str:
        ending = "" if self.end is None else f"-end{self.end}"
        return f"{self.tag}-p{self.part:05d}{ending}.parquet"

    @property
    def order(self) -> tuple[tuple[int, str], int]:
        """Sorts shards by age."""
        return tag_order(self.tag), self.part


def tag_order(tag: str) -> tuple[int, str]:
    """Sorts the tags of attempts by age: a999 before a1000."""
    return len(tag), tag


def parse(name: str) -> ShardName | None:
    """None for the name of any other file."""
    match = _NAME.fullmatch(name)
    return ShardName(match["tag"], int(match["part"]), int(match["end"]) if match["end"] else None) if match else None


def last(names: Iterable[str]) -> ShardName | None:
    """The newest shard among file names."""
    return max(filter(None, map(parse, names)), key=lambda shard: shard.order, default=None)
