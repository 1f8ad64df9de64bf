"""A plan walked as `sweeps next` leads: submit, report, decide, until nothing is left; then what must be true of it."""

from __future__ import annotations

import html
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from driver import PATIENCE_S, Sweeps
from slurm_cluster import wait_until

from aggregate.analysis.summary import summarise
from aggregate.verdict.answers import answers
from jobs.planning import decisions, plan
from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import ACTIVE


def walk(
    sweeps: Sweeps, values: Sequence[str], backend: Sequence[str], file: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> None:  # fmt: skip
    """Type every command that `next` says. values: what the first `next` is given, which the later ones must know of
    themselves. backend: what is added to every submit. file: the plan's, the packaged one without."""
    typed: list[list[str]] = []
    while wanted := _commands(sweeps.here("next", *_given(file), *(values if not typed else ()))):
        assert wanted not in typed, f"`next` says the same again: {wanted}"
        typed += [wanted]
        for line in wanted:
            _, command, sweep, *words = shlex.split(line)
            if command == "adopt":
                _decide(sweeps, sweep, words)
            else:
                assert command in ("submit", "aggregate"), line
                if command == "submit":
                    sweeps(command, sweep, *words, *backend)
                else:
                    sweeps.here(command, sweep, *words)
        wait_until("the end of the runs", lambda: not set(sweeps.states()) & ACTIVE, patience_s, pause=0.5)


def _given(file: Path | None) -> tuple[str, ...]:
    return ("--plan", str(file)) if file is not None else ()


def _commands(text: str) -> list[str]:
    """What `next` says is to be typed now."""
    return [line.strip() for line in text.splitlines() if line.startswith("  sweeps ")]


def _decide(sweeps: Sweeps, sweep: str, words: Sequence[str]) -> None:
    """By the verdict; where it is not clear the last configuration beside the baseline; else the base stays."""
    told = sweeps.refusal("adopt", sweep, *words)
    if "has no clearly best configuration" in told:
        view = json.loads((sweeps.folder / "results" / "sweeps" / f"{sweep}.json").read_text())
        other = [c["config_id"] for c in view["configs"] if not c["is_baseline"]][-1]
        told = sweeps.refusal("adopt", sweep, "--config", other, *words[1:])
    if told:
        assert " settled " in told, told  # what a sweep before it, or beside it, decided
        sweeps("adopt", sweep, "--keep", *words[1:])


def check(sweeps: Sweeps, file: Path | None = None) -> str:
    """What must be true of a plan that was walked to its end, in a line. file: the plan's, the packaged one without."""
    store, walked = ResultsFolder(sweeps.folder / "results"), plan.load(file)
    assert sweeps.here("next", *_given(file)).startswith("the plan is done")
    runs, tasks = _each_once(sweeps)
    moved = _carried(store, walked)
    sweeps.here("aggregate", "--out", "verdict.html")
    answered = _answered(store, walked, html.unescape((sweeps.folder / "verdict.html").read_text()))
    made = Counter(decision.how for decision in store.read_decisions())
    told = ", ".join(f"{count} by {how}" for how, count in sorted(made.items()))
    assert sum(made.values()) == len(walked.sweeps), made
    return (
        f"{len(walked.sweeps)} sweeps in {len(walked.stages)} stages, {runs} runs done once in {tasks} tasks; decided: "
        f"{told}; {moved} configurations trained on an adopted base; {answered} questions answered in the report"
    )


def _each_once(sweeps: Sweeps) -> tuple[int, int]:
    """Every run is done in its only attempt, and was handed over once; numbers of runs and of tasks."""
    listed = sweeps.runs()
    assert {(run["state"], run["attempts"]) for run in listed} == {("done", 1)}, sweeps("status", "--runs")
    tasks = [task for submission in sweeps.submissions() for task in submission["tasks"]]
    trained = [RunRef(task["config_id"], seed) for task in tasks for seed in task["seeds"]]
    on_disk = {RunRef(p.parent.name, int(p.name[5:])) for p in sweeps.folder.glob("results/runs/*/seed-*")}
    assert len(trained) == len(set(trained))
    assert set(trained) == on_disk
    return len(trained), len(tasks)


def _carried(store: ResultsFolder, walked: plan.Plan) -> int:
    """Every configuration has what the stages before decided, but for what its sweep holds or varies; how many have
    another base than the plan's."""
    adopted: dict[str, Any] = {}
    moved = set()
    made = {decision.sweep: decision for decision in store.read_decisions()}
    for stage in walked.stages:
        for sweep in stage:
            view = store.read_sweep(sweep.name)
            assert view is not None
            kept = {key: v for key, v in adopted.items() if key not in (*sweep.fixed, *sweep.factors)}
            base = {key: decisions.in_base(walked, {}, key) for key in kept}
            for asked in view.configs:
                config = store.check_config(asked.config_id)
                assert {key: config.values[key] for key in kept} == kept, (sweep.name, asked.label)
                moved |= {asked.config_id} if base != kept else set()
        for sweep in stage:
            adopted |= decisions.values(walked, made[sweep.name])
    assert moved, "no decision changed the base: nothing was carried"
    return len(moved)


def _answered(store: ResultsFolder, walked: plan.Plan, page: str) -> int:
    """The report says an answer to every question of the plan."""
    found = summarise(sweep_sources(store, [sweep.name for sweep in walked.sweeps])).sweeps
    replies = [answer for sweep in found for answer in answers(sweep)]
    assert len(replies) >= sum(len(sweep.questions) for sweep in walked.sweeps)
    for reply in replies:
        assert reply.question in page, reply
        assert reply.short, reply
        assert reply.short in page, reply
    return len(replies)
