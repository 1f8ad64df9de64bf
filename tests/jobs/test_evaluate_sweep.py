"""`sweeps evaluate SWEEP`: every run once, what is missing again, nothing published by who lost the claim."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aggregate.analysis.summary import summarise
from jobs.backends.debug import DebugBackend
from jobs.cli import cli
from jobs.reports.inputs import sweep_sources
from jobs.results.attempts import RunRef
from jobs.results.evaluations import EvaluationFolder, EvaluationSpec, complete_evaluations, folder_of
from jobs.results.records import Attempt
from jobs.results.results_folder import ResultsFolder
from jobs.runs import evaluations
from jobs.runs.status import load_statuses, sweeps
from jobs.worker.evaluate_job import EvaluationRunner
from sweepwise.core.trainable import Evaluation, NoWeights

Typed = Callable[..., Result]
DEBUG = ("--cluster", "debug")
SPEC = EvaluationSpec("eval", 4)
STEPS = 20_000

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture(scope="module")
def judged(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one sweep of two configurations and three seeds that have finished."""
    root: Path = tmp_path_factory.mktemp("evaluate") / "results"
    synthetic.submitted(root, (600.0, 500.0), 3)
    return root


@pytest.fixture
def store(judged: Path, tmp_path: Path) -> ResultsFolder:
    shutil.copytree(judged, tmp_path / "results")
    return ResultsFolder(tmp_path / "results")


class Plays:
    """Evaluates in place of the agent: episode i of seed s with num_q = c returns 100 c + 10 s + i. trouble: seed ->
    error. during: called with the seed, in the midst of an evaluation. change: of the returns."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, Any, int]] = []
        self.trouble: dict[int, Exception] = {}
        self.during: Callable[[int], None] = lambda seed: None
        self.change: Callable[[list[float]], list[float]] = lambda returns: returns

    def __call__(
        self, config: Any, seed: int, folder: Path, *, at: int, planners: list[str], episodes: int, device: str,
        threads: int,
    ) -> Iterator[Evaluation]:  # fmt: skip
        assert folder.name == f"seed-{seed}"
        self.calls.append((config["num_q"], seed, at, episodes))
        self.during(seed)
        if seed in self.trouble:
            raise self.trouble[seed]
        returns = [100.0 * config["num_q"] + 10 * seed + i for i in range(episodes)]
        yield Evaluation(seed, at, planners[0], tuple(self.change(returns)), ())


@pytest.fixture
def plays(agent: Any) -> Plays:
    agent.evaluate = Plays()
    return agent.evaluate  # type: ignore[no-any-return]


@pytest.fixture
def kept(agent: Any, plays: Plays) -> dict[str, list[int]]:
    """Name of a run's folder -> steps of its snapshots, in any order; evaluations with weights of other steps fail."""
    steps = {f"seed-{seed}": [STEPS, 5_000, 15_000, 10_000] for seed in (1, 2, 3)}
    agent.snapshots = lambda folder: steps[folder.name]
    return steps


def runs(store: ResultsFolder) -> list[RunRef]:
    (sweep,) = sweeps(store, ["ensemble"])
    return [run.record.ref for run in sweep.runs]


def returns_of(store: ResultsFolder) -> list[list[float]]:
    """Of the evaluations of the first run."""
    return [record.returns for record in complete_evaluations(store, runs(store)[0], "eval", STEPS)]


def status(typed_in_store: Typed) -> str:
    return " ".join(typed_in_store("status").stdout.split())


def states(store: ResultsFolder, spec: EvaluationSpec = SPEC) -> list[str]:
    folder = EvaluationFolder(store.root, spec)
    return [run.state.state for run in load_statuses(folder, dict.fromkeys(runs(store), spec.episodes)).values()]


def test_every_run_is_evaluated_once(typed_in_store: Typed, store: ResultsFolder, plays: Plays) -> None:
    told = typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG).stdout
    assert "6 runs requested: 6 new; 6 to submit" in told
    assert "expected cost: 24 episodes in all, time unknown; no earlier evaluation on cpu" in " ".join(told.split())
    assert sorted(plays.calls) == [(q, seed, STEPS, 4) for q in (1, 2) for seed in (1, 2, 3)]
    assert returns_of(store) == [[110.0, 111.0, 112.0, 113.0]]
    assert states(store) == ["done"] * 6
    plays.calls.clear()
    assert (
        "6 runs requested: 6 done; 0 to submit"
        in typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG).stdout
    )
    assert plays.calls == []
    typed_in_store("evaluate", "ensemble", "--episodes", "5", "--planner", "policy", *DEBUG)
    assert len(plays.calls) == 6
    (path, _) = store.root.glob("runs/*/seed-1/evaluations/policy-5-step-000020000/returns.json")
    record = json.loads(path.read_text())
    assert (record["step"], record["planner"], len(record["returns"]), record["attempt"]) == (STEPS, "policy", 5, 1)
    assert record["code"]
    assert record["agent_code"]


def test_training_does_not_see_it(typed_in_store: Typed, store: ResultsFolder, plays: Plays) -> None:
    before = {run: status.state for run, status in load_statuses(store, dict.fromkeys(runs(store), STEPS)).items()}
    attempts = {run: store.attempts.load(run, STEPS).attempts for run in runs(store)}
    typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG)
    after = load_statuses(store, dict.fromkeys(runs(store), STEPS))
    assert {run: status.state for run, status in after.items()} == before
    assert [status.submission for status in after.values()] == [None] * 6
    assert {run: store.attempts.load(run, STEPS).attempts for run in runs(store)} == attempts
    (submission,) = store.submissions.all()
    assert submission.evaluation == {"planner": "eval", "episodes": 4, "at": None}
    assert isinstance(folder_of(store, submission), EvaluationFolder)
    trained = dataclasses.replace(submission, evaluation={})
    assert folder_of(EvaluationFolder(store.root, SPEC), trained).evaluation == {}


def test_a_failure_is_shown_and_the_same_command_repeats_what_is_missing(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays
) -> None:
    plays.trouble[2] = NoWeights("holds no snapshot")
    typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG, code=1)
    assert sorted(set(states(store))) == ["done", "failed"]
    told = status(typed_in_store)
    assert "evaluation (4 episodes, planner eval): 4 done, 2 failed; again: " in told
    assert "`sweeps evaluate ensemble --episodes 4`" in told
    assert "2 failed: holds no snapshot" in told
    listed = json.loads(typed_in_store("status", "--json").stdout)["evaluations"]
    assert [run["state"] for run in listed[0]["runs"]].count("failed") == 2
    plays.trouble.clear()
    plays.calls.clear()
    assert "4 done, 2 failed; 2 to submit" in typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG).stdout
    assert sorted(plays.calls) == [(1, 2, STEPS, 4), (2, 2, STEPS, 4)]
    assert states(store) == ["done"] * 6
    assert "again" not in status(typed_in_store)


def test_logs_of_evaluations_are_shown_beside_that_of_the_training(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays
) -> None:
    run = runs(store)[0]
    assert "was not evaluated by a job" in typed_in_store("logs", str(run), "--evaluation", code=1).stderr
    for episodes in ("4", "5", "4"):  # the second time, what the first one left is evaluated again
        for path in store.root.glob("runs/*/*/evaluations/eval-4-*/returns.json"):
            path.unlink()
        typed_in_store("evaluate", "ensemble", "--episodes", episodes, *DEBUG)
    for number, submission in enumerate(store.submissions.all(), 1):
        task = [(task.config_id, *task.seeds) for task in submission.tasks].index((run.config_id, run.seed))
        store.submissions.log_path(submission.id, task).write_text(f"log of submission {number}\n")
    shown = typed_in_store("logs", str(run), "--evaluation")
    assert shown.stdout == "log of submission 2\nlog of submission 3\n"
    assert shown.stderr.count("==> ") == 2
    assert typed_in_store("logs", str(run), "--evaluation", "-f").stdout == shown.stdout


def test_one_failure_does_not_keep_the_other_seeds_of_its_task(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays
) -> None:
    plays.trouble[1] = RuntimeError("no luck")
    typed_in_store("evaluate", "ensemble", "--episodes", "4", "--seeds-per-job", "3", *DEBUG, code=1)
    assert states(store).count("done") == 4


def test_a_newer_attempt_owns_the_evaluation(store: ResultsFolder, plays: Plays) -> None:
    folder, run = EvaluationFolder(store.root, SPEC), runs(store)[0]
    plays.during = lambda seed: folder.attempts.claim(run, Attempt(0, "elsewhere", 1, "1", 0.0, "cpu")) and None
    (outcome,) = EvaluationRunner(folder, "cpu", 1).train([run])
    assert outcome.state == "superseded"
    assert folder.attempts.read_returns(run) is None
    assert returns_of(store) == []


def test_what_is_evaluated_elsewhere_is_left_alone(store: ResultsFolder, plays: Plays) -> None:
    from jobs import process

    folder, run = EvaluationFolder(store.root, SPEC), runs(store)[0]
    pid = os.getpid()
    folder.attempts.claim(run, Attempt(0, process.host(), pid, process.start_time(pid), 0.0, "cpu"))
    assert EvaluationRunner(folder, "cpu", 1).train([run]) == []
    assert plays.calls == []


@pytest.mark.parametrize(
    ("number", "state", "cause"), [(signal.SIGTERM, "interrupted", ""), (signal.SIGUSR2, "failed", "timeout")]
)
def test_a_signal_ends_it(store: ResultsFolder, plays: Plays, number: int, state: str, cause: str) -> None:
    folder, (first, second, *_) = EvaluationFolder(store.root, SPEC), runs(store)
    plays.during = lambda seed: os.kill(os.getpid(), number)
    before = signal.getsignal(number)
    runner = EvaluationRunner(folder, "cpu", 1, backend=DebugBackend())
    if state == "failed":
        with pytest.raises(Exception, match="the time limit was reached"):
            runner.train([first, second])
    else:
        runner.train([first, second])
    outcome = folder.attempts.read_outcome(first, 1)
    assert outcome is not None
    assert (outcome.state, outcome.cause) == (state, cause)
    assert folder.attempts.load(second, 4).attempts == 0
    assert signal.getsignal(number) == before


def test_returns_that_are_there_count_though_the_outcome_is_missing(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays
) -> None:
    """The process was killed between the two."""
    typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG)
    for path in store.root.glob("runs/*/*/evaluations/*/outcome/001.json"):
        path.unlink()
    assert states(store) == ["done"] * 6
    for path in store.root.glob("runs/*/seed-1/evaluations/*/returns.json"):
        path.write_text("{")
    assert states(store).count("done") == 4


@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda r: [float("nan"), *r[1:]], "not finite: nan"), (lambda r: r[:-1], "played 3 episodes, 4 were requested")],
)
def test_returns_that_are_no_use_are_a_failure(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays, change: Callable[[list[float]], list[float]], told: str
) -> None:
    plays.change = change
    typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG, code=1)
    assert states(store) == ["failed"] * 6
    assert told in status(typed_in_store)
    assert not list(store.root.glob("runs/*/*/evaluations/*/returns.json"))


def test_runs_that_have_not_finished_are_left_out(typed_in_store: Typed, store: ResultsFolder, plays: Plays) -> None:
    first = runs(store)[0]
    shutil.rmtree(store.attempts.folder(first))
    told = typed_in_store("evaluate", "ensemble", "--episodes", "4", "--dry-run", *DEBUG).stdout
    assert "1 runs have not finished; they are left out" in told
    assert "5 to submit" in told
    assert not list(store.root.glob("runs/*/*/evaluations"))
    typed_in_store("evaluate", "ensemble", "--episodes", "4", "--at", "10000", *DEBUG)
    assert {at for _, _, at, _ in plays.calls} == {10_000}
    assert list(store.root.glob("runs/*/seed-2/evaluations/eval-4-step-000010000/returns.json"))


def test_excluded_runs_are_not_evaluated(typed_in_store: Typed, store: ResultsFolder, plays: Plays) -> None:
    typed_in_store("exclude", str(runs(store)[0]), "--why", "bad node")
    told = typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG).stdout
    assert "5 runs requested" in told
    assert "have not finished" not in told
    assert len(plays.calls) == 5


def test_the_episodes_are_divided_among_the_last_snapshots(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays, kept: dict[str, list[int]]
) -> None:
    command = ("evaluate", "ensemble", "--episodes", "6", "--last-snapshots", "3")
    told = " ".join(typed_in_store(*command, *DEBUG).stdout.split())
    assert "snapshots of steps 10,000, 15,000 and 20,000: the mean is over the last 50 % of training; `--snap" in told
    assert "expected cost: 36 episodes in all" in told
    assert "with 6 episodes of the last 3 snapshots a difference of" in told
    late = (10_000, 15_000, STEPS)
    assert sorted(plays.calls) == [(q, seed, at, 2) for q in (1, 2) for seed in (1, 2, 3) for at in late]
    (path, _) = store.root.glob("runs/*/seed-1/evaluations/eval-6-step-000020000-last-3/returns.json")
    record = json.loads(path.read_text())
    assert (record["step"], record["snapshots"], len(record["returns"])) == (STEPS, list(late), 6)
    shutil.rmtree(store.root / "runs" / runs(store)[0].config_id / "seed-1" / "snapshots", ignore_errors=True)
    kept["seed-1"] = []  # what was evaluated needs no weights any more
    assert "6 runs requested: 6 done; 0 to submit" in typed_in_store(*command, *DEBUG).stdout
    assert "evaluation (6 episodes over the last 3 snapshots, planner eval): 6 done" in status(typed_in_store)
    listed = json.loads(typed_in_store("status", "--json").stdout)["evaluations"]
    assert (listed[0]["episodes"], listed[0]["snapshots"]) == (6, 3)


def test_evaluations_over_snapshots_are_compared_with_such_alone(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays, kept: dict[str, list[int]]
) -> None:
    typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG)
    plays.change = lambda returns: [value + 1000 for value in returns]
    plays.trouble[3] = NoWeights("damaged")
    typed_in_store("evaluate", "ensemble", "--episodes", "4", "--last-snapshots", "2", *DEBUG, code=1)

    def scores() -> dict[int, float]:
        (summary,) = summarise(sweep_sources(store, ["ensemble"])).sweeps
        own = summary.scores[summary.scores["config_id"] == runs(store)[0].config_id]
        return dict(zip(own["seed"], own["evaluation_primary"], strict=True))

    assert scores() == {1: 111.5, 2: 121.5, 3: 131.5}, "most runs were evaluated with the last weights"
    plays.trouble.clear()
    typed_in_store("evaluate", "ensemble", "--episodes", "4", "--last-snapshots", "2", *DEBUG)
    assert scores() == {1: 1110.5, 2: 1120.5, 3: 1130.5}, "equally frequent: more snapshots"


def test_runs_without_enough_snapshots_are_named(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays, kept: dict[str, list[int]]
) -> None:
    def refused(*words: str) -> str:
        stderr = typed_in_store("evaluate", "ensemble", "--last-snapshots", *words, *DEBUG, code=1).stderr
        assert stderr.count("\n") == 1
        return str(stderr)

    lacking = refused("5")
    assert "seed-1: 5 snapshots up to step 20,000 are needed, it has kept 5,000, 10,000, 15,000, 20,000" in lacking
    assert "3 other runs lack some too; give a smaller --last-snapshots, or train with more" in lacking
    assert "snapshots up to step 12,000 are needed, it has kept 5,000, 10,000" in refused("2", "--at", "12000")
    assert "--episodes 4: not a multiple of --last-snapshots 3; give 3 or 6" in refused("3", "--episodes", "4")
    kept["seed-2"] = [12_000, STEPS]
    assert "the last 2 snapshots of the runs differ: " in refused("2")
    assert "seed-2 has 12,000, 20,000; give" in refused("2")
    kept["seed-2"] = []
    assert "seed-2: 2 snapshots up to step 20,000 are needed, it has kept none" in refused("2")
    named = typed_in_store("evaluate", str(runs(store)[0]), "--last-snapshots", "2", code=1).stderr
    assert "--last-snapshots: only for a sweep; runs are evaluated in this process" in named
    assert store.submissions.all() == []


def test_an_agent_that_does_not_list_its_snapshots_is_named(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays
) -> None:
    told = typed_in_store("evaluate", "ensemble", "--last-snapshots", "2", *DEBUG, code=1).stderr
    assert (
        told == "Error: agent tdmpc does not list its snapshots (`Evaluable.snapshots`); leave out --last-snapshots\n"
    )


def test_the_mean_is_a_score_of_the_run_and_an_endpoint(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays
) -> None:
    typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG)
    (summary,) = summarise(sweep_sources(store, ["ensemble"])).sweeps
    scores = summary.scores.set_index(["config_id", "seed"])["evaluation_primary"]
    first = runs(store)[0]
    assert scores[first.config_id, 2] == 121.5
    assert scores.notna().all()


def test_the_expected_gain_is_said_before_and_the_measured_one_after(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays
) -> None:
    before = typed_in_store("evaluate", "ensemble", "--episodes", "4", "--cluster", "local", "--dry-run").stdout
    assert "4 episodes of the last weights are" in before
    assert "lies between episodes of one evaluation" in before
    told = typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG).stdout
    assert "with 4 episodes of the last weights a difference of" in told.splitlines()[-1]
    assert "(3 seeds)" in told.splitlines()[-1]


def test_an_archive_holds_the_returns(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays, tmp_path: Path
) -> None:
    typed_in_store("evaluate", "ensemble", "--episodes", "4", *DEBUG)
    typed_in_store("archive", "ensemble", "--out", str(tmp_path / "e.tar"))
    elsewhere = tmp_path / "elsewhere"
    done = CliRunner().invoke(cli, ["--results", str(elsewhere), "unarchive", str(tmp_path / "e.tar")])
    assert done.exit_code == 0, done.output
    copied = ResultsFolder(elsewhere)
    assert returns_of(copied) == [[110.0, 111.0, 112.0, 113.0]]


def test_what_cannot_be_evaluated_is_refused_in_one_line(
    typed_in_store: Typed, store: ResultsFolder, plays: Plays
) -> None:
    refused = {
        ("nope",): "sweep 'nope' was not submitted",
        ("ensemble", "--video", "a.gif"): "--video: only for runs (ID/seed-N); a sweep is evaluated as jobs",
        ("ensemble", "--planner", "eval", "--planner", "train"): "one planner at a time, not eval, train",
        ("ensemble", "--at", "30000"): "no run has reached step 30,000",
        (f"{runs(store)[0]}", "--wait"): "--wait: only for a sweep; runs are evaluated in this process",
        ("ensemble", "other"): "run 'ensemble': give ID/seed-N",
    }
    for words, told in refused.items():
        stderr = typed_in_store("evaluate", *words, code=1).stderr
        assert told in stderr
        assert stderr.count("\n") == 1
    assert store.submissions.all() == []


def test_the_command_that_is_told_is_the_one_that_was_typed(store: ResultsFolder) -> None:
    spec = EvaluationSpec("policy", 9, 500)
    told = evaluations.command(evaluations.EvaluationStatus("ensemble", EvaluationFolder(store.root, spec), ()))
    assert told == "sweeps evaluate ensemble --episodes 9 --at 500 --planner policy"
    spec = EvaluationSpec("eval", 9, snapshots=3)
    told = evaluations.command(evaluations.EvaluationStatus("ensemble", EvaluationFolder(store.root, spec), ()))
    assert told == "sweeps evaluate ensemble --episodes 9 --last-snapshots 3"
