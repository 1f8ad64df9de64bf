"""Provenance of runs: whether averaged runs share the version of the code, the kind of device and of torch."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

# Key of the shards' metadata -> plural name of its values.
KINDS = {"code": "versions of the code", "device": "kinds of device", "torch": "versions of torch"}


def mixture(origins: pd.DataFrame) -> str:
    """Differences between runs, as in "2 versions of the code"; "" without any. origins: see `runs.Loaded`."""
    return " and ".join(f"{len(seeds)} {words}" for words, seeds in _mixed(origins))


def seeds_by_origin(origins: pd.DataFrame) -> str:
    """The same for one configuration, with the seeds: "2 versions of the code (1f0c: 1, 2; 77ab: 3)"."""
    return " and ".join(
        f"{len(seeds)} {words} ({'; '.join(f'{value}: {_seeds(own)}' for value, own in seeds.items())})"
        for words, seeds in _mixed(origins)
    )


def _mixed(origins: pd.DataFrame) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """(plural name, value -> seeds) of every key with several values."""
    for key, words in KINDS.items():
        seeds = {
            value or "not recorded": sorted(set(part["seed"].tolist()))
            for value, part in origins.groupby(key, sort=True)
        }
        if len(seeds) > 1:
            yield words, seeds


def _seeds(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))
