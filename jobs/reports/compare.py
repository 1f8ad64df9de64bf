"""`sweeps compare A B`: resolve A and B to configurations, and put both into one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jobs.reports.inputs import run_sources, sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.agent import AgentDescription
from sweepwise.core.errors import JobsError, near
from sweepwise.core.value_format import format_value

if TYPE_CHECKING:
    from aggregate.inputs.runs import ConfigSource, SweepSource

LEAST = 4  # characters of a config ID


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys whose values differ, sorted, with the value of each side, None for a missing one."""
    return {key: (a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key)}


def format_differing(differences: Mapping[str, tuple[Any, Any]]) -> str:
    """Such as: lr 0.0003 / 0.001, num_q 2 / 5."""
    return ", ".join(f"{key} {format_value(one)} / {format_value(other)}" for key, (one, other) in differences.items())


@dataclass(frozen=True)
class Side:
    """The configurations that A or B stands for: one, or all of a sweep; of a sweep, the best one is compared. agent:
    what their runs train."""

    text: str
    configs: tuple[ConfigSource, ...]
    agent: AgentDescription

    @property
    def is_sweep(self) -> bool:
        return len(self.configs) > 1


def sides(store: ResultsFolder, texts: Sequence[str]) -> tuple[Side, Side]:
    """Resolve both texts. Raises `JobsError` if one is unknown, both are the same, or their agents or tasks differ."""
    from aggregate.verdict.words import AgentWords

    known = sweep_sources(store, ())
    a, b = (_parse_side(store, known, text) for text in texts)
    ids = [{config.config_id for config in side.configs} for side in (a, b)]
    if ids[0] == ids[1]:
        raise JobsError(f"{a.text} and {b.text} are the same; name two")
    if a.agent.name != b.agent.name:
        agents = f"{a.text} is of agent {a.agent.name}, {b.text} of {b.agent.name}"
        raise JobsError(f"{agents}; compare configurations of one agent")
    tasks = [sorted({config.task_of(side.agent) for config in side.configs}) for side in (a, b)]
    if len({*tasks[0], *tasks[1]}) > 1:
        tasks_text = " and ".join(
            f"{side.text} is of {', '.join(side_tasks)}" for side, side_tasks in zip((a, b), tasks, strict=True)
        )
        raise JobsError(
            f"{tasks_text}: {AgentWords(a.agent.catalogue).primaries} of different tasks cannot be compared"
        )
    return a, b


def source(a: Side, b: Side, *chosen: str) -> SweepSource:
    """Both sides as one sweep, or only the `chosen` configurations. The keys that differ become the factors, and the
    first configuration the baseline."""
    from aggregate.inputs.runs import SweepSource

    by_id = {c.config_id: c for side in (a, b) for c in side.configs}
    configs = [by_id[name] for name in chosen] if chosen else list(by_id.values())
    keys = sorted({key for config in configs for key in config.config})
    differ = tuple(key for key in keys if len({str(config.config.get(key)) for config in configs}) > 1)
    sources = [
        replace(
            config, factors={key: _to_hashable(config.config.get(key)) for key in differ}, is_baseline=position == 0
        )
        for position, config in enumerate(configs)
    ]
    return SweepSource(f"{a.text} and {b.text}", "", (), differ, tuple(sources), a.agent)


def _to_hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _parse_side(store: ResultsFolder, known: Sequence[SweepSource], text: str) -> Side:
    for sweep in known:
        if sweep.name == text:
            return Side(text, sweep.configs, sweep.agent)
    if tasks := [sweep.name for sweep in known if sweep.tasks_of == text]:
        raise JobsError(
            f"{text} has {len(tasks)} tasks, and two configurations are compared on one: give {tasks[0]}, or "
            f"`sweeps aggregate {text}`, which compares them over all tasks"
        )
    sweep_name, colon, letters = text.rpartition(":")
    for sweep in known:
        if colon and sweep.name == sweep_name:
            return Side(text, (_find_by_letter(sweep, letters),), sweep.agent)
    # a confirmation has few runs of its configurations: the sweep that they come from counts
    in_order = sorted(known, key=lambda sweep: not sweep.confirms)
    by_id = {config.config_id: (config, sweep.agent) for sweep in in_order for config in sweep.configs}
    matches = [
        known_config for config_id, known_config in by_id.items() if len(text) >= LEAST and config_id.startswith(text)
    ]
    matches = matches or _without_sweep(store, text)
    if len(matches) == 1:
        ((config, agent),) = matches
        return Side(text, (config,), agent)
    if matches:
        raise JobsError(f"{text!r} matches {len(matches)} configurations: {', '.join(c.config_id for c, _ in matches)}")
    raise JobsError(
        f"{text!r} is neither a sweep of {store.root} nor a configuration: give a sweep, SWEEP:LETTER as in the "
        f"report, or a configuration ID as `sweeps status` shows; {near(text, [sweep.name for sweep in known])}"
    )


def _without_sweep(store: ResultsFolder, text: str) -> list[tuple[ConfigSource, AgentDescription]]:
    """Stored configurations whose ID begins with `text` and that no sweep has any more: those that a later submit
    replaced, because the plan or the version of the agent changed."""
    stored_configs = []
    for config_id in store.config_ids() if len(text) >= LEAST else []:
        stored = store.read_config(config_id) if config_id.startswith(text) else None
        runs = [RunRef(config_id, seed) for seed in store.attempts.seeds(config_id)]
        if stored is not None and runs:
            (config,) = run_sources(store, runs)
            stored_configs.append(
                (replace(config, label="no longer part of a sweep"), store.agents.description(stored.agent))
            )
    return stored_configs


def _find_by_letter(sweep: SweepSource, letters: str) -> ConfigSource:
    from aggregate.inputs.runs import config_letter

    by_letter = {config_letter(position): config for position, config in enumerate(sweep.configs)}
    if letters not in by_letter:
        raise JobsError(f"sweep {sweep.name} has no configuration {letters!r}; it has {', '.join(by_letter)}")
    return by_letter[letters]
