"""What a sweep decided reaches the sweeps after it, and only these; contradictions and stale decisions are refused."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from driver import PATIENCE_S
from slurm_cluster import wait_until

from jobs.cli import cli
from jobs.planning import decisions, plan
from jobs.planning.expand import expand
from jobs.results.results_folder import ResultsFolder

PLAN = """
plan: mine
base: {task: quadruped-walk, steps: 20000, num_q: 2, tau: 0.01}
seeds: 3
sweeps:
  ensemble: {priority: 1, grid: {num_q: [1, 2]}}
  freq:
    priority: 2
    options:
      tau: {grid: {tau: [0.005, 0.01]}}
      both: {grid: {tau: [0.01, 0.02], pi_update_freq: [1, 2]}}
  gamma: {priority: 3, parallel: true, fixed: {num_q: 2}, grid: {rho: [0.4, 0.5]}}
  entropy: {priority: 4, grid: {end_entropy_coeff: [1e-5, 1e-6]}}
"""
Typed = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(PLAN)
    return tmp_path / "results"


@pytest.fixture
def typed(results: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """`sweeps ... --plan mine.yaml` in this process, with its exit code checked."""
    monkeypatch.setattr("jobs.process.gpus", lambda: [])
    monkeypatch.setattr("jobs.backends.registry.choose", lambda: ("local", ""))

    def invoke(*words: str, code: int = 0) -> Result:
        line = ["--results", str(results), *words, "--plan", str(results.parent / "mine.yaml")]
        result = CliRunner().invoke(cli, [*line, "--cluster", "debug"] if words[0] == "submit" else line)
        assert result.exit_code == code, result.output
        return result

    return invoke


def refused(typed: Typed, *words: str) -> str:
    """The one line of a command that is refused, and changes nothing."""
    result = typed(*words, code=1)
    assert result.stderr.count("\n") == 1
    return result.stderr


def configs(results: Path, sweep: str) -> list[SimpleNamespace]:
    found = decisions.load(ResultsFolder(results), plan.load(results.parent / "mine.yaml"))
    return [
        SimpleNamespace(config_id=c.config_id, **c.config.values)
        for c in expand(found, found.select(sweep)[0]).configurations
    ]


def recorded(results: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((results / "decisions.json").read_text())["decisions"]
    return found


# --- the base ---------------------------------------------------------------------------------------------


def test_later_sweeps_start_from_what_was_adopted_and_earlier_ones_stay(typed: Typed, results: Path) -> None:
    before = configs(results, "ensemble")
    typed("adopt", "ensemble", "--set", "num_q=1", "--why", "cheaper")
    typed("adopt", "freq.tau", "--set", "tau=0.005")
    assert configs(results, "ensemble") == before
    assert {(c.num_q, c.tau) for c in configs(results, "freq.tau")} == {(1, 0.005), (1, 0.01)}
    assert {(c.num_q, c.tau) for c in configs(results, "gamma")} == {(2, 0.01)}  # fixed, and beside freq
    assert {(c.num_q, c.tau) for c in configs(results, "entropy")} == {(1, 0.005)}
    first = recorded(results)[0]
    assert first["settled"] == [{"key": "num_q", "old": 2, "new": 1}]
    assert (first["sweep"], first["how"], first["why"], first["undone"]) == ("ensemble", "set", "cheaper", "")


def test_a_parallel_sweep_belongs_to_the_stage_before_it() -> None:
    stages = [[s.name for s in stage] for stage in plan.load().stages]
    assert stages[0] == ["ensemble"]
    assert stages[1][-1] == "gamma"
    assert {name.partition(".")[0] for name in stages[1][:-1]} == {"update-freq"}
    assert stages[2] == ["entropy", "entropy.fixed"]


def test_the_plan_shows_the_base_with_its_history(typed: Typed) -> None:
    typed("adopt", "ensemble", "--set", "num_q=1", "--why", "cheaper")
    typed("adopt", "--undo")
    typed("adopt", "ensemble", "--keep")
    text = typed("plan").stdout
    assert "base: task=quadruped-walk, steps=20000, num_q=2, tau=0.01" in text
    line, kept = (line for line in text.splitlines() if " ensemble: " in line)
    assert "num_q 2 -> 1" in line
    assert "by hand: cheaper (undone " in line
    assert "the base stays as it is" in kept
    typed("adopt", "ensemble", "--set", "num_q=1", "--replace")
    assert "num_q=1, tau=0.01" in typed("plan").stdout
    assert "adopted: num_q=1" in typed("plan", "freq.tau").stdout
    assert "adopted, and fixed otherwise here: num_q=1" in typed("plan", "gamma").stdout


# --- refusals ---------------------------------------------------------------------------------------------


def test_what_contradicts_a_decision_is_refused_unless_it_replaces_it(typed: Typed, results: Path) -> None:
    typed("adopt", "ensemble", "--set", "num_q=1")
    typed("adopt", "freq.tau", "--set", "tau=0.005")
    assert "ensemble was decided on " in refused(typed, "adopt", "ensemble", "--set", "num_q=2")
    told = refused(typed, "adopt", "freq.both", "--set", "tau=0.02", "--set", "pi_update_freq=2")
    assert "freq.tau decided tau=0.005" in told
    assert "--replace replaces it" in told
    typed("adopt", "freq.both", "--set", "pi_update_freq=2")  # says nothing of tau
    typed("adopt", "freq.both", "--set", "tau=0.02", "--replace")
    assert {c.tau for c in configs(results, "entropy")} == {0.02}
    assert [bool(d["undone"]) for d in recorded(results)] == [False, False, True, False]


def test_what_a_later_decision_builds_on_is_taken_back_after_it(typed: Typed, results: Path) -> None:
    typed("adopt", "ensemble", "--set", "num_q=1")
    typed("adopt", "gamma", "--keep")  # holds num_q itself, so it does not build on it
    typed("adopt", "freq.tau", "--keep")
    for words in (("--undo", "ensemble"), ("ensemble", "--keep", "--replace")):
        told = refused(typed, "adopt", *words)
        assert "freq.tau was decided under num_q=1, which would become num_q=2" in told
        assert "first `sweeps adopt --undo freq.tau`" in told
    typed("adopt", "--undo", "freq.tau")
    typed("adopt", "--undo", "ensemble")
    assert {c.num_q for c in configs(results, "entropy")} == {2}
    assert "there is no decision on ensemble to undo; decided: gamma" in refused(typed, "adopt", "--undo", "ensemble")
    typed("adopt", "--undo")
    assert "there is no decision on the plan to undo; `sweeps plan`" in refused(typed, "adopt", "--undo")


def test_a_decision_that_the_plan_no_longer_fits_is_an_error_and_can_be_taken_back(typed: Typed, results: Path) -> None:
    typed("adopt", "gamma", "--set", "rho=0.4")
    file = results.parent / "mine.yaml"
    file.write_text(PLAN.replace("rho: [0.4, 0.5]", "tau: [0.01, 0.02]"))
    assert "gamma decided rho, which it does not vary: tau" in refused(typed, "plan")
    file.write_text(PLAN.replace("  gamma:", "  delta:"))
    for command in (["plan"], ["next"], ["submit", "entropy"]):
        assert "gamma was decided, and plan 'mine' has no such sweep now" in refused(typed, *command)
    typed("adopt", "--undo", "gamma")
    typed("plan")


WRONG = {
    "adopt": "give one of --config ID",
    "adopt ensemble": "give one of --config ID",
    "adopt ensemble --keep --from-verdict": "give one of --config ID",
    "adopt ensemble --undo --keep": "give one of --config ID",
    "adopt --keep": "name the SWEEP to decide",
    "adopt nope --keep": "unknown sweep 'nope'",
    "adopt freq --keep": "freq is several sweeps, each decided separately: freq.tau, freq.both",
    "adopt ensemble --set tau=0.1": "sweep 'ensemble' varies num_q",
    "adopt ensemble --set num_q=x": "num_q='x': not a whole number",
    "adopt entropy --set end_entropy_coeff=-1": "end_entropy_coeff=-1",
    "adopt ensemble --config 0123456789": "ensemble was not submitted to",
    "adopt ensemble --from-verdict": "decide by hand with --set or --keep",
    "adopt --undo": "there is no decision on the plan to undo",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_adopted_is_one_line_and_nothing_is_written(typed: Typed, results: Path, line: str) -> None:
    assert WRONG[line] in refused(typed, *line.split())
    assert not results.exists()


def test_a_damaged_file_is_an_error_and_not_another_base(typed: Typed, results: Path) -> None:
    typed("adopt", "ensemble", "--set", "num_q=1")
    (results / "decisions.json").write_text("{")
    for command in (["plan"], ["next"], ["submit", "entropy"], ["adopt", "--undo"]):
        assert "decisions.json: not a whole JSON file" in refused(typed, *command)


# --- from runs --------------------------------------------------------------------------------------------


def test_the_verdict_is_adopted_where_one_leads_clearly(typed: Typed, results: Path, synthetic: ModuleType) -> None:
    store = synthetic.submitted(results, (600.0, 100.0))
    one, two = (c.config_id for c in store.read_sweep("ensemble").configs)
    told = typed("adopt", "ensemble", "--from-verdict").stdout
    assert "num_q 2 -> 1" in told
    (made,) = recorded(results)
    assert (made["how"], made["config_id"]) == ("verdict", one)
    found = made["evidence"]
    assert found["chosen"] == found["leader"] == found["baseline"]
    assert (found["chosen"]["seeds"], found["ties"]) == (3, [])
    assert found["chosen"]["low"] < found["chosen"]["mean"] < found["chosen"]["high"]
    typed("adopt", "ensemble", "--config", two, "--replace")
    again = recorded(results)[1]
    assert again["settled"] == [{"key": "num_q", "old": 2, "new": 2}]
    assert again["evidence"]["leader"]["config_id"] == one


def test_without_a_clear_leader_the_choice_is_left_to_the_user(
    typed: Typed, results: Path, synthetic: ModuleType
) -> None:
    synthetic.submitted(results, (600.0, 601.0), margin=5.0)
    told = refused(typed, "adopt", "ensemble", "--from-verdict")
    assert "ensemble has no clearly best configuration: num_q=" in told
    assert "is not significantly better than num_q=" in told
    assert not (results / "decisions.json").exists()


def test_runs_that_have_not_ended_decide_nothing(typed: Typed, results: Path, synthetic: ModuleType) -> None:
    store = synthetic.submitted(results, (600.0, 100.0))
    one, two = (c.config_id for c in store.read_sweep("ensemble").configs)
    for path in store.config_path(two).parent.glob("seed-2/*/*"):
        path.unlink()
    told = refused(typed, "adopt", "ensemble", "--config", two)
    assert f"configuration {two} of ensemble: 1 of 3 runs have not ended (1 new)" in told
    assert "ensemble: 1 of 6 runs have not ended" in refused(typed, "adopt", "ensemble", "--from-verdict")
    assert f"configuration '0123456789' is not in ensemble: {one} (num_q=1)" in refused(
        typed, "adopt", "ensemble", "--config", "0123456789"
    )
    typed("adopt", "ensemble", "--config", one)


def test_runs_under_another_base_decide_nothing(typed: Typed, results: Path, agent: Any) -> None:
    typed("submit", "freq.tau")
    store = ResultsFolder(results)
    under_two = [c.config_id for c in store.read_sweep("freq.tau").configs]
    typed("adopt", "ensemble", "--set", "num_q=1")
    told = refused(typed, "adopt", "freq.tau", "--config", under_two[0])
    assert "freq.tau was submitted under num_q=2, and the base has num_q=1 now" in told
    assert "freq.tau   to submit  its runs have num_q=2, the base 1 now: retrain, 6 runs" in typed("next").stdout
    assert [c.config_id for c in store.read_sweep("freq.tau").configs] == under_two  # views stay as they were
    typed("submit", "freq.tau")
    under_one = [c.config_id for c in store.read_sweep("freq.tau").configs]
    assert under_one == [c.config_id for c in configs(results, "freq.tau")]
    assert not set(under_one) & set(under_two)
    assert all(store.attempts.seeds(config) == [1, 2, 3] for config in (*under_one, *under_two))


# --- what comes next --------------------------------------------------------------------------------------


def commands(text: str) -> list[str]:
    """What is to be typed, behind the results folder."""
    typed = [line.split() for line in text.splitlines() if line.startswith("  sweeps --results ")]
    return [" ".join(words[3:]) for words in typed]


def test_next_leads_through_the_whole_plan(typed: Typed, results: Path, agent: Any) -> None:
    given = f" --plan {results.parent / 'mine.yaml'}"
    first = typed("next").stdout
    assert "stage 1 of 3" in first
    assert "2 configurations, 6 runs" in first
    assert "6 runs, each once; expected cost: unknown, no earlier run on cpu" in first
    assert "then freq.tau, freq.both, gamma, entropy: wait for ensemble" in first
    assert commands(first) == [f"submit ensemble{given}"]
    typed("submit", "ensemble")
    done = typed("next").stdout
    assert "to decide  6 done" in done
    assert commands(done) == ["aggregate ensemble", f"adopt ensemble --from-verdict{given}"]
    typed("adopt", "ensemble", "--set", "num_q=1")

    second = typed("next", "--seeds", "2").stdout
    assert "stage 2 of 3; these can run at the same time" in second
    assert "then entropy: waits for freq.tau, freq.both, gamma" in second
    assert commands(second) == [f"submit freq{given} --seeds 2", f"submit gamma{given} --seeds 2"]
    typed("submit", "freq")
    typed("submit", "gamma")
    typed("adopt", "freq.tau", "--keep")
    half = typed("next").stdout
    assert "the base stays" in half
    assert [line for line in commands(half) if line.startswith("adopt")] == [
        f"adopt freq.both --from-verdict{given}", f"adopt gamma --from-verdict{given}",
    ]  # fmt: skip
    typed("adopt", "freq.both", "--keep")
    typed("adopt", "gamma", "--set", "rho=0.4")

    assert commands(typed("next").stdout) == [f"submit entropy{given}"]
    typed("submit", "entropy")
    assert {(c.num_q, c.rho) for c in configs(results, "entropy")} == {(1, 0.4)}
    typed("adopt", "entropy", "--set", "end_entropy_coeff=1e-5")
    assert typed("next").stdout.startswith("the plan is done")


def test_next_goes_on_with_what_the_submit_before_was_given(typed: Typed, agent: Any) -> None:
    given = ["--seeds", "1", "--preset", "small", "--steps", "700", "--set", "lr=0.00123456789", "--set", "rho=0.3"]
    typed("submit", "ensemble", *given)
    typed("adopt", "ensemble", "--keep")
    typed("train", "--preset", "small", "--seeds", "1")  # no sweep of the plan
    text = typed("next").stdout
    words = "--seeds 1 --preset small --steps 700 --set lr=0.00123456789"  # gamma varies rho
    assert text.startswith(f"options of the last submit (ensemble): {words}\n")
    assert "4 configurations, 4 runs" in text
    assert commands(text)[0].endswith(words)
    assert commands(typed("next", "--seeds", "2").stdout)[0].endswith("mine.yaml --seeds 2")


def test_next_asks_for_the_seeds_that_every_configuration_has_by_now(typed: Typed, agent: Any) -> None:
    typed("submit", "ensemble")
    typed("adopt", "ensemble", "--keep")
    assert commands(typed("next").stdout)[0].endswith("mine.yaml")  # the plan's own three
    typed("submit", "ensemble", "--seeds", "4-5")
    assert commands(typed("next").stdout)[0].endswith("mine.yaml --seeds 5")
    typed("submit", "gamma", "--seeds", "2,4")
    assert commands(typed("next").stdout)[0].endswith("mine.yaml --seeds 2,4")


def test_next_names_the_options_of_a_sweep_with_a_grid_of_its_own(typed: Typed, results: Path) -> None:
    (results.parent / "mine.yaml").write_text(
        "plan: mine\nsweeps:\n  both: {grid: {num_q: [1, 2]}, options: {other: {grid: {rho: [0.4, 0.5]}}}}\n"
    )
    given = f" --plan {results.parent / 'mine.yaml'}"
    assert commands(typed("next").stdout) == [f"submit both{given}", f"submit both.other{given}"]


def test_next_says_what_failed(typed: Typed, agent: Any) -> None:
    agent.ends[2] = RuntimeError("broken")
    typed("submit", "ensemble", code=1)
    text = typed("next").stdout
    assert "failed  4 done, 2 failed" in text
    assert commands(text) == ["rerun ensemble --failed"]


# --- two at once, and a crash -----------------------------------------------------------------------------


def begin(results: Path, *words: str, before: str = "") -> subprocess.Popen[str]:
    """`sweeps adopt ... --plan mine.yaml` in a process of its own; before: code that runs first."""
    line = ["--results", str(results), "adopt", *words, "--plan", str(results.parent / "mine.yaml")]
    code = f"import sys\n{before}\nfrom jobs.cli import cli\ncli({line!r})"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], cwd=results.parent, text=True, **pipes)


HOLDS = """
import pathlib, time
from jobs.results.results_folder import ResultsFolder as Store
write = Store.write_decisions
def when_told(self, found):
    pathlib.Path("holds").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    write(self, found)
Store.write_decisions = when_told
"""
WAITS = """
import pathlib
from jobs.results import lock
claim = lock._claim
def told(*given):
    number = claim(*given)
    if number is None:
        pathlib.Path("waits-{}").touch()
    return number
lock._claim = told
"""


def test_who_comes_while_another_writes_waits_and_looks_again(results: Path) -> None:
    """The first is about to write what it decided; two that saw nothing of it come, one of which contradicts it."""
    folder = results.parent
    first = begin(results, "ensemble", "--set", "num_q=1", before=HOLDS)
    wait_until("the first to hold the lock", (folder / "holds").exists, PATIENCE_S)
    others = [
        begin(results, "ensemble", "--set", "num_q=2", before=WAITS.format(0)),
        begin(results, "gamma", "--set", "rho=0.4", before=WAITS.format(1)),
    ]
    for number, other in enumerate(others):
        waits = folder / f"waits-{number}"
        wait_until("it to wait, or to end", lambda: waits.exists() or other.poll() is not None, PATIENCE_S)  # noqa: B023
    assert not (results / "decisions.json").exists()
    (folder / "go").touch()
    errors = [process.communicate()[1] for process in (first, *others)]
    assert [process.returncode for process in (first, *others)] == [0, 1, 0], errors
    assert "ensemble was decided on" in errors[1]
    assert [d["sweep"] for d in recorded(results)] == ["ensemble", "gamma"]


def test_a_crash_at_any_write_leaves_the_old_state_or_the_new(
    typed: Typed, results: Path, killed: Callable[..., bool]
) -> None:
    effects = (
        ("jobs.results.results_folder", "create_json"),
        ("sweepwise.core.atomic", "write"),
        ("os", "replace"),
    )
    typed("adopt", "ensemble", "--set", "num_q=1")
    adopt = ["--results", str(results), "adopt", "gamma", "--keep", "--plan", str(results.parent / "mine.yaml")]
    left = []
    for step in itertools.count():
        before = recorded(results)
        died = killed(adopt, step, effects)
        left.append(len(recorded(results)) - len(before))  # it can be read, and what was there is
        assert recorded(results)[: len(before)] == before
        if not left[-1]:
            typed("adopt", "gamma", "--keep")  # the dead one's lock holds nobody up
        assert "gamma was decided on" in refused(typed, "adopt", "gamma", "--keep")
        typed("adopt", "--undo")
        if not died:
            break
    # the lock is claimed and renewed (filled, moved), then the decisions are written, then the lock is given back
    assert left == [0, 0, 0, 0, 0, 1, 1, 1]


def test_a_decision_in_the_midst_of_a_submit_stops_it(
    typed: Typed, results: Path, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.submit import submit

    difference = submit.plan_runs

    def decided_meanwhile(store: ResultsFolder, sweeps: Any) -> Any:
        if not store.read_decisions():
            mine = plan.load(results.parent / "mine.yaml")
            from jobs.decide.adopt import by_hand

            made = by_hand(mine, mine.select("ensemble"), {"num_q": 1}, "")
            store.write_decisions(decisions.added(mine, [], made, overrule=False))
        return difference(store, sweeps)

    monkeypatch.setattr(submit, "plan_runs", decided_meanwhile)
    assert "a decision was recorded in the meantime" in typed("submit", "entropy", code=1).stderr
    assert agent.calls == []
    assert ResultsFolder(results).sweep_names() == []
