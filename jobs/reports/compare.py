"""`sweeps compare A B`: which configurations are meant, and the one source that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobs.reports.inputs import sweep_sources
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError, near

if TYPE_CHECKING:
    from aggregate.inputs.runs import ConfigSource, SweepSource

LEAST = 4  # characters of an identity


@dataclass(frozen=True)
class Side:
    """What A or B means: one configuration, or all of a sweep, of which the leading one is compared."""

    text: str
    configs: tuple[ConfigSource, ...]

    @property
    def is_sweep(self) -> bool:
        return len(self.configs) > 1


def sides(store: ResultsFolder, texts: Sequence[str]) -> tuple[Side, Side]:
    """Raises `JobsError` where one is unknown, both are the same, or they play different tasks."""
    known = sweep_sources(store, ())
    a, b = (_side(store, known, text) for text in texts)
    ids = [{config.config_id for config in side.configs} for side in (a, b)]
    if ids[0] == ids[1]:
        raise JobsError(f"{a.text} and {b.text} are the same; name two")
    tasks = [sorted({str(config.config.get("task")) for config in side.configs}) for side in (a, b)]
    if len({*tasks[0], *tasks[1]}) > 1:
        told = " and ".join(f"{side.text} is of {', '.join(own)}" for side, own in zip((a, b), tasks, strict=True))
        raise JobsError(f"{told}: returns of different tasks do not compare")
    return a, b


def source(a: Side, b: Side, *chosen: str) -> SweepSource:
    """Both sides as one sweep, or only those configurations that are `chosen`, with what tells them apart as factors;
    the first one is the baseline."""
    from aggregate.inputs.runs import SweepSource

    every = {c.config_id: c for side in (a, b) for c in side.configs}
    configs = [every[name] for name in chosen] if chosen else list(every.values())
    keys = sorted({key for config in configs for key in config.config})
    differ = tuple(key for key in keys if len({str(config.config.get(key)) for config in configs}) > 1)
    made = [
        replace(config, factors={key: _frozen(config.config.get(key)) for key in differ}, is_baseline=place == 0)
        for place, config in enumerate(configs)
    ]
    return SweepSource(f"{a.text} and {b.text}", "", (), differ, tuple(made))


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _side(store: ResultsFolder, known: Sequence[SweepSource], text: str) -> Side:
    for sweep in known:
        if sweep.name == text:
            return Side(text, sweep.configs)
    named, colon, letters = text.rpartition(":")
    for sweep in known:
        if colon and sweep.name == named:
            return Side(text, (_lettered(sweep, letters),))
    every = {config.config_id: config for sweep in known for config in sweep.configs}
    found = [config for identity, config in every.items() if len(text) >= LEAST and identity.startswith(text)]
    if len(found) == 1:
        return Side(text, (found[0],))
    if found:
        raise JobsError(f"{text!r} begins {len(found)} identities: {', '.join(c.config_id for c in found)}")
    raise JobsError(
        f"{text!r} is no sweep of {store.root} and no configuration: give a sweep, SWEEP:LETTER as in the report, or "
        f"an identity as `sweeps status` shows; {near(text, [sweep.name for sweep in known])}"
    )


def _lettered(sweep: SweepSource, letters: str) -> ConfigSource:
    from aggregate.inputs.runs import config_letter

    by_letter = {config_letter(place): config for place, config in enumerate(sweep.configs)}
    if letters not in by_letter:
        raise JobsError(f"sweep {sweep.name} has no configuration {letters!r}; it has {', '.join(by_letter)}")
    return by_letter[letters]
