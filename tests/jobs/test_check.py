"""`sweeps check`: a short run of a plan's program, and what it finds wrong."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from driver import PATIENCE_S, Sweeps
from slurm_cluster import wait_until

from jobs.assist import cluster_check
from jobs.backends.local import LocalBackend
from jobs.cli import cli
from jobs.planning import plan as plans
from jobs.results import code_snapshot
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import TaskState
from sweepwise.core.errors import JobsError

WALKER = Path(__file__).parent / "programs" / "walker.py"
PYTHON = sys.executable
PLAN = """
plan: mine
program:
  name: walker
  command: {python} walker.py --out {{run}} {{overrides}}
  hyperparameters: {{lr: 1e-3, steps: 40, pause: 0.0, trouble: ""}}
  seed: seed
  steps: steps
  resume: {{when: "{{run}}/checkpoint.json", add: --resume, grace: 2}}
  metrics:
    read: [{{jsonl: metrics.jsonl}}]
    primary: {{name: eval/return, better: up}}
    roles: {{training_return: train/return}}
seeds: 2
sweeps:
  rate: {{goal: which, grid: {{lr: [1e-2, 3e-3]}}}}
"""
SMALL = """
import argparse, os, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--seed", type=int)
parser.add_argument("--amp", action="store_true")
parser.add_argument("--batch-size", type=int)
parser.add_argument("--sizes", nargs="*", type=int)
arguments = parser.parse_args()
"""
SMALL_PLAN = """
plan: small
program:
  name: small
  command: {python} small.py {{overrides}}
  hyperparameters: {{lr: 1e-3, {more}}}
  seed: seed
  metrics: {{read: [{{csv: log.csv}}], primary: eval/return}}
sweeps:
  rate: {{goal: which, grid: {{lr: [1e-2]}}}}
"""
LOGS = 'pathlib.Path(os.environ["SWEEPS_RUN"], "log.csv").write_text("step,eval/return\\n1,2.0\\n2,3.0\\n")\n'


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """`sweeps check` in a folder of its own, where it must leave nothing, and no temporary folder either."""
    temporary = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    folder = tmp_path / "agent"
    folder.mkdir()
    shutil.copy(WALKER, folder)
    (folder / "plan.yaml").write_text(PLAN.format(python=PYTHON))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def check(*words: str, code: int = 0) -> Result:
        before = sorted(folder.rglob("*"))
        result = CliRunner().invoke(cli, ["check", "--plan", "plan.yaml", *words])
        assert result.exit_code == code, result.output
        assert sorted(folder.rglob("*")) == before
        assert list(temporary.iterdir()) == []
        return result

    yield check
    shutil.rmtree(temporary)


def change(old: str, new: str) -> None:
    text = Path("plan.yaml").read_text()
    assert old in text
    Path("plan.yaml").write_text(text.replace(old, new))


def small(body: str, more: str = "") -> None:
    """A small program and its plan. more: hyperparameters."""
    Path("small.py").write_text(SMALL + body)
    Path("plan.yaml").write_text(SMALL_PLAN.format(python=PYTHON, more=more))


def flat(result: Result) -> str:
    return " ".join(result.output.split())


def problems(result: Result) -> list[str]:
    """Each on one line."""
    text = result.output[: -len("ok\n")] if result.output.endswith("\nok\n") else result.output
    return [" ".join(one.split()) for one in text.split("\nproblem ")[1:]]


def test_a_program_that_is_right(check: Callable[..., Result]) -> None:
    result = check("--sweep", "rate", "--steps", "30")
    said = flat(result)
    assert result.output.endswith("\nok\n")
    for text in (
        f"started {PYTHON}",
        f"argv {PYTHON} walker.py --out /tmp/",
        "run --lr=0.01 --steps=30 --pause=0.0 --trouble= --seed=1",
        "(a copy of",
        "passed lr as --lr=0.01; steps as --steps=30;",
        "seed as --seed=1",
        "ended exit code 0 after",
        "files checkpoint.json (12 B), metrics.jsonl (",
        "metric eval/return: 3 rows, step 10 to 30, primary",
        "metric train/return: 30 rows, step 1 to 30, training_return",
        "metric train/loss: 30 rows, step 1 to 30 ",
        "not mapped policy_without_mpc, log_std,",
        "checkpoint {run}/checkpoint.json appeared",
        "a run of 40 steps takes",
        "the sweep's 4 runs",
    ):
        assert text in said, text
    for line in result.output.splitlines():
        assert len(line) <= 80 or "/" in line.split()[-1], line


def test_it_is_stopped_once_the_primary_metric_has_appeared_twice(check: Callable[..., Result]) -> None:
    change("steps: 40", "steps: 1000000000")
    change("pause: 0.0", "pause: 0.001")
    result = check()
    assert "as eval/return had appeared twice" in flat(result)
    assert "--lr=0.001 --steps=1000000000" in flat(result), "the base, as no sweep is named"
    assert result.output.endswith("\nok\n")


def test_it_is_stopped_when_the_time_is_over_and_its_checkpoint_is_missed(check: Callable[..., Result]) -> None:
    small("print('waits', flush=True)\nimport signal\nsignal.pause()\n")
    change("  seed: seed", '  seed: seed\n  resume: {when: "{run}/*.pt", grace: 0}')
    result = check("--seconds", "0.5", code=1)
    assert "as 0.5 s had passed" in flat(result)
    assert problems(result) == ["nothing was logged within 1 s; give more --seconds, or correct `metrics:`"]
    small(LOGS + "import signal\nsignal.pause()\n")
    change("  seed: seed", '  seed: seed\n  resume: {when: "{run}/*.pt", grace: 0}')
    (problem,) = problems(check("--seconds", "600", code=1))
    assert problem.startswith("no file matches resume.when, {run}/*.pt, and none was saved on SIGTERM")


def test_a_metric_that_may_come_later_is_no_problem_unless_its_name_is_near(check: Callable[..., Result]) -> None:
    small(LOGS.replace("step,", "step,train/entropy,").replace("1,2", "1,1,2").replace("2,3", "2,1,3")
          + "import signal\nsignal.pause()\n")  # fmt: skip
    change("primary: eval/return", "primary: eval/return, roles: {log_std: zzz}")
    assert "not seen mapped, but not logged yet: zzz (log_std)" in flat(check())
    change("log_std: zzz", "policy_entropy: train/entropie")
    (problem,) = problems(check(code=1))
    assert problem == "metrics.roles.policy_entropy: train/entropie never appeared; did you mean train/entropy?"
    change("primary: eval/return", "primary: zzz")
    found = problems(check("--seconds", "0.5", code=1))
    assert "metrics.primary: zzz did not appear within 1 s; give more --seconds, or fewer --steps" in found


def test_a_program_that_fails_shows_its_last_lines(check: Callable[..., Result]) -> None:
    small("for n in range(30):\n    print('line', n)\nprint('\\033[31mred')\nparser.error('no such thing')\n")
    result = check(code=1)
    shown = [line for line in result.output.splitlines() if line.startswith("| ")]
    assert len(shown) == 15
    assert shown[-1] == "| small.py: error: no such thing"
    assert "\033" not in result.output
    (problem,) = problems(result)
    assert problem.startswith("the program failed: exit code 2 after")


def test_a_program_that_is_not_there(check: Callable[..., Result]) -> None:
    change(PYTHON, "no-such-python")
    result = check(code=1)
    assert "started no-such-python (not found)" in result.output.replace("  ", "").replace("started", "started ")
    (problem,) = problems(result)
    assert "did not start: no-such-python: No such file or directory" in problem


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("batch: 3", "hyperparameter batch: the parser has no --batch, and argparse reads it as --batch-size"),
        (
            "bach_size: 3",
            "hyperparameter bach_size: the parser has no --bach_size; did you mean --batch-size or --sizes?",
        ),
        ("amp: false", "hyperparameter amp: wrong form for the parser; give `keys: {amp: {switch: flag}}`"),
    ],
)
def test_hyperparameters_that_the_parser_does_not_take(check: Callable[..., Result], more: str, problem: str) -> None:
    small(LOGS, more)
    assert problem in problems(check(code=1))[0]


def test_hyperparameters_that_the_parser_takes(check: Callable[..., Result]) -> None:
    small(LOGS, "batch-size: 3, amp: true, sizes: [1, 2]")
    change("  seed: seed", "  seed: seed\n  overrides: {style: argparse, keys: {amp: {switch: flag}}}")
    change("lr: 1e-3,", "lr: null,")
    said = flat(check())
    assert "not passed at the program's default: lr" in said
    assert "amp as --amp; sizes as --sizes 1 2;" in said
    small(LOGS.replace("arguments", "") + "", "unknown: 1")
    Path("small.py").write_text(
        Path("small.py").read_text().replace("parser.parse_args()", "parser.parse_known_args()")
    )
    assert check().output.endswith("\nok\n"), "another parser may take it"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: eval/return", "name: eval/retrun", "metrics.primary: eval/retrun never appeared; did you mean eval/"),
        ("training_return: train/return", "log_std: zzz", "metrics.roles.log_std: zzz never appeared; logged:"),
        ("jsonl: metrics", "jsonl: log", "no metrics: nothing at log.jsonl in {run}; correct `metrics.read`"),
        ("roles:", "step: update\n    roles:", "metrics.jsonl: 40 lines without 'update', the first is line 1;"),
        ("/checkpoint.json", "/*.pt", "no file matches resume.when, {run}/*.pt, and none was saved when it ended"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_its_fix(check: Callable[..., Result], old: str, new: str, problem: str) -> None:
    change(old, new)
    found = problems(check("--steps", "40", code=1))
    assert any(one.startswith(problem) for one in found), found


def test_files_in_the_copy_of_the_code(check: Callable[..., Result]) -> None:
    small("pathlib.Path('outputs').mkdir()\npathlib.Path('outputs/log.csv').write_text('step,eval/return\\n1,2\\n')\n")
    result = check(code=1)
    assert "wrote outputs/log.csv into the copy" in flat(result)
    (problem,) = problems(result)
    assert "outputs/log.csv was written where the program runs; pass {run}" in problem
    small(LOGS + "pathlib.Path('small.py').write_text('')\n")
    (problem,) = problems(check(code=1))
    assert problem.startswith("the program changed its own code, small.py")


def test_steps_that_end_elsewhere_are_told(check: Callable[..., Result]) -> None:
    change('trouble: ""', "trouble: ends early")
    assert "the last logged step is 20 of 40" in flat(check("--steps", "40"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sweep", "rat"), "unknown sweep 'rat'; did you mean rate?"),
        (("--steps", "0"), "steps=0: must be a whole number of at least 1"),
        (("--steps", "x"), "steps='x': not a number"),
    ],
)
def test_what_cannot_be_run_is_refused(check: Callable[..., Result], words: tuple[str, ...], message: str) -> None:
    said = check(*words, code=1).output
    assert message in said
    assert said.count("\n") == 1


def test_a_plan_without_a_program_is_refused(check: Callable[..., Result]) -> None:
    Path("plan.yaml").write_text(plans.example())
    assert "has no `program:`" in check(code=1).output


def test_secrets_are_not_shown(check: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct-horse")
    change("  resume:", "  environment: {MY_API_KEY: }\n  resume:")
    change('trouble: ""', "trouble: prints its environment")
    result = check(code=1)
    assert "no access with ***" in result.output
    assert "correct-horse" not in result.output


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A job of the local backend runs at once, in this process; what is called for it: run, cancel."""
    called: list[str] = []

    def run(backend: LocalBackend, store: ResultsFolder, submission: Submission, lock: object) -> Submission:
        called.append("run")
        assert cluster_check.run_in_job(store.submissions.folder(submission.id)) == 0
        return submission

    def ended(
        backend: LocalBackend, store: object, submissions: list[Submission], *rest: float
    ) -> dict[Any, TaskState]:
        return {(submissions[0].id, 0): TaskState(submissions[0].id, "ended", node="n1")}

    monkeypatch.setattr(LocalBackend, "submit", run)
    monkeypatch.setattr(LocalBackend, "task_states", ended)
    monkeypatch.setattr(code_snapshot, "check", lambda store, submission: None)
    return called


def test_in_a_job_it_is_the_same_and_the_cost_comes_first(check: Callable[..., Result], job: list[str]) -> None:
    change('trouble: ""', "trouble: ends early")
    result = check("--sweep", "rate", "--steps", "40", "--cluster", "local", "--profile", "cpu", "--seconds", "70")
    said = flat(result)
    assert said.startswith("cost one job of at most 12 min with 1 core, 4 GB (profile cpu), at most 0.2 core-hours job")
    assert (result.output.endswith("\nok\n"), job) == (True, ["run"])
    for text in (
        "check ended on n1 started",
        "passed lr as --lr=0.01; steps as --steps=40;",
        "the last logged step is 20 of 40",
        "metric eval/return: 2 rows, step 10 to 20, primary",
        "a run of 40 steps takes",
        "the sweep's 4 runs",
    ):
        assert text in said, text


def test_a_job_that_cannot_try_the_program_says_why(
    check: Callable[..., Result], job: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(store: object, submission: object) -> None:
        raise JobsError("this job would import jobs from elsewhere")

    monkeypatch.setattr(code_snapshot, "check", changed)
    assert problems(check("--cluster", "local", code=1)) == ["this job would import jobs from elsewhere"]
    monkeypatch.setattr(cluster_check, "run_in_job", lambda folder: 0)
    monkeypatch.setattr(cluster_check, "_VISIBLE_S", 0.0)
    (problem,) = problems(check("--cluster", "local", code=1))
    assert problem == "the job ended before the program was tried; it left no log: correct the profile"
    assert "give --cluster too" in check("--profile", "cpu", code=1).output


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell ignores Ctrl-C in what it starts in the background, and so does what that starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_on_ctrl_c_no_process_is_left(tmp_path: Path) -> None:
    sweeps = Sweeps(tmp_path)
    shutil.copy(WALKER, tmp_path)
    text = PLAN.format(python=PYTHON).replace("pause: 0.0", "pause: 1.0").replace('trouble: ""', "trouble: loaders")
    (tmp_path / "plan.yaml").write_text(text)
    (tmp_path / "temporary").mkdir()
    sweeps.environment["TMPDIR"] = str(tmp_path / "temporary")

    with sweeps.start("check", "--plan", "plan.yaml") as checking:
        wait_until("its loaders", lambda: bool(sweeps.processes("sleep 4242")), PATIENCE_S, pause=0.02)
        os.kill(checking.pid, signal.SIGINT)
        output, _ = checking.communicate(timeout=PATIENCE_S)
    assert checking.returncode == 1, output
    assert sweeps.processes() == []
    assert list((tmp_path / "temporary").iterdir()) == []
