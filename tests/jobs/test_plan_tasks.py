"""Sweeps of several tasks: what a plan becomes, what is refused, and the chain from submit to the next stage."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from driver import Sweeps

from aggregate.tasks import task_verdict
from jobs.planning import plan as plans
from jobs.planning.expand import expand
from jobs.planning.plan import Plan
from jobs.reports import report
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError

SEVERAL = """
base: {lr: 0.001}
seeds: 3
sweeps:
  heads:
    tasks: [walker-walk, cheetah_run, hopper-hop]
    steps: {cheetah-run: 20000}
    references: {"walker-*": [20, 960], "*": [random, num_q=2]}
    grid: {num_q: [1, 2]}
    questions: [{ask: "do more heads pay?", by: num_q, with: one}]
  one: {tasks: [hopper-hop, walker-walk, cheetah-run], grid: {num_q: [2, 3]}}
"""
PROGRAM = """
program:
  name: mine
  command: python train.py {overrides}
  seed: seed
  task_key: env
  metrics: {primary: eval/return}
sweeps:
  rate:
    tasks: [ALE/Pong-v5, 7]
    grid: {lr: [1, 2]}
"""


def load(tmp_path: Path, text: str = SEVERAL, *changes: tuple[str, str]) -> Plan:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (tmp_path / "plan.yaml").write_text(text)
    return plans.load(tmp_path / "plan.yaml")


def test_every_task_is_a_sweep_whose_runs_are_those_of_a_sweep_of_that_task(tmp_path: Path) -> None:
    plan = load(tmp_path)
    sweeps = plan.select("heads")
    assert [sweep.name for sweep in sweeps] == ["heads.walker-walk", "heads.cheetah-run", "heads.hopper-hop"]
    assert {sweep.tasks_of for sweep in sweeps} == {"heads"}
    assert [sweep.reference for sweep in sweeps] == [(20, 960), ("random", "num_q=2"), ("random", "num_q=2")]
    assert [sweep.questions[0].beside for sweep in sweeps] == [
        ("one.walker-walk",), ("one.cheetah-run",), ("one.hopper-hop",),
    ]  # fmt: skip
    single = load(tmp_path, """
base: {lr: 0.001}
sweeps: {alone: {task: cheetah-run, steps: 20000, grid: {num_q: [1, 2]}}}
""")  # fmt: skip
    ids = [[c.config_id for c in expand(one, one.select(name)[0]).configurations]
           for one, name in ((plan, "heads.cheetah-run"), (single, "alone"))]  # fmt: skip
    assert ids[0] == ids[1]
    assert [sum(c.is_baseline for c in expand(plan, sweep).configurations) for sweep in sweeps] == [1, 1, 1]


def test_options_and_sweeps_take_the_tasks_of_what_they_are_part_of(tmp_path: Path) -> None:
    plan = load(tmp_path, """
tasks: [walker-walk, cheetah-run]
steps: {walker-walk: 5000}
sweeps:
  a: {options: {x: {grid: {num_q: [1, 2]}}, y: {tasks: [hopper-hop], steps: 9000, grid: {num_q: [1, 2]}}}}
  b: {task: hopper-hop, grid: {num_q: [1, 2]}}
  c: {}
""")  # fmt: skip
    fixed = {sweep.name: dict(sweep.fixed) for sweep in plan.sweeps}
    assert fixed == {
        "a.x.walker-walk": {"task": "walker-walk", "steps": 5000}, "a.x.cheetah-run": {"task": "cheetah-run"},
        "a.y.hopper-hop": {"task": "hopper-hop", "steps": 9000}, "b": {"task": "hopper-hop"},
        "c.walker-walk": {"task": "walker-walk", "steps": 5000}, "c.cheetah-run": {"task": "cheetah-run"},
    }  # fmt: skip
    assert [c.label for c in expand(plan, plan.select("c")[0]).configurations] == ["base"]


def test_any_hyperparameter_of_a_program_may_be_its_task(tmp_path: Path) -> None:
    plan = load(tmp_path, PROGRAM)
    assert [sweep.name for sweep in plan.sweeps] == ["rate.ALE-Pong-v5", "rate.7"]
    assert [sweep.fixed for sweep in plan.sweeps] == [{"env": "ALE/Pong-v5"}, {"env": 7}]
    with pytest.raises(JobsError, match=r"mine has no hyperparameter 'task'; set `task_key:` of the program"):
        load(tmp_path, PROGRAM.replace("task_key: env", "hyperparameters: {lr: 1}"))
    with pytest.raises(JobsError, match="task_key: unknown hyperparameter 'env'; choose from lr"):
        load(tmp_path, PROGRAM.replace("task_key: env", 'task_key: env\n  hyperparameters: {lr: 1}')
             .replace("tasks: [ALE/Pong-v5, 7]", ""))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("cheetah_run", "cheetah-rum"), r"plan.yaml:6: task='cheetah-rum': not a .* did you mean cheetah-run"),
        (("hopper-hop]\n    steps", "cheetah-run]\n    steps"), r"plan.yaml:6: .*tasks: cheetah-run occurs twice"),
        (("[walker-walk, cheetah_run, hopper-hop]", "[]"), "0 tasks; give 1 to 1000"),
        (("[walker-walk, cheetah_run, hopper-hop]", "walker-walk"), "tasks: give a list"),
        (("tasks: [walker-walk, cheetah_run", "task: dog-run\n    tasks: [walker-walk, cheetah_run"), "keep one"),
        (("grid: {num_q: [1, 2]}\n", "grid: {task: [dog-run]}\n"), "task is set for each task already"),
        (("grid: {num_q: [1, 2]}\n", "fixed: {task: dog-run}\n    grid: {num_q: [1]}\n"), "keep one of both"),
        (("grid: {num_q: [1, 2]}\n", "grid: {steps: [1, 2]}\n"), "steps is set for each task already"),
        (("steps: {cheetah-run", "steps: {cheetah-rum"), "'cheetah-rum' is not one of the tasks; did you mean"),
        (("{cheetah-run: 20000}", "{cheetah-run: many}"), "plan.yaml:7: steps='many'"),
        (("one: {tasks: [hopper-hop, walker-walk, cheetah-run]", "one: {steps: {dog-run: 1}"), "need `tasks:`"),
        (("one: {tasks: [hopper-hop, walker-walk, cheetah-run]", "one: {references: {a: [0, 1]}"), "need `tasks:`"),
        (('{"walker-*": [20, 960], "*"', '{"walker-*": [20, 960], "dog-*"'), "there is no task 'dog-\\*'"),
        (('[20, 960]', '[20]'), "is not two numbers or names"),
        (("hopper-hop, walker-walk, cheetah-run]", "walker-walk, cheetah-run]"),
         "compares with one, which is not on the task hopper-hop; add it"),
        (("tasks: [hopper-hop, walker-walk, cheetah-run]", "task: hopper-hop"), "which is not on the task walker-walk"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(JobsError, match=says) as refused:
        load(tmp_path, SEVERAL, change)
    assert "\n" not in str(refused.value)


def test_tasks_need_a_reference_where_some_are_declared_and_names_of_their_own(tmp_path: Path) -> None:
    known = "[ALE/Pong-v5, 7]\n    references: "
    with pytest.raises(JobsError, match=r"references: 7 is missing; give its values that count as 0 and 1"):
        load(tmp_path, PROGRAM, ("[ALE/Pong-v5, 7]", known + "{ALE/*: [0, 20]}"))
    with pytest.raises(JobsError, match="a/b and a-b are both a-b in names of files"):
        load(tmp_path, PROGRAM, ("[ALE/Pong-v5, 7]", "[a/b, a-b]"))
    option = 'grid: {lr: [1, 2]}\n    options: {"7": {task: x, grid: {lr: [3]}}}'
    with pytest.raises(JobsError, match=r"an option has the name of a task, rate\.7"):
        load(tmp_path, PROGRAM, ("grid: {lr: [1, 2]}", option))


# --- commands -------------------------------------------------------------------------------------------


@pytest.fixture
def heads(typed: Callable[[str], Callable[..., Result]]) -> Callable[..., Result]:
    """Three tasks, two configurations and three seeds; one of the tasks as a sweep of its own too."""
    return typed("""
plan: mine
seeds: 3
sweeps:
  heads: {tasks: [walker-walk, cheetah-run, hopper-hop], grid: {num_q: [1, 2]}}
  alone: {task: cheetah-run, grid: {num_q: [2, 3]}, parallel: true}
  after: {task: cheetah-run, grid: {tau: [0.01, 0.02]}}
""")


def test_tasks_are_submitted_together_and_share_their_runs(heads: Callable[..., Result]) -> None:
    assert "6 runs requested: 6 new; 6 to submit" in heads("submit", "alone").output
    assert "18 runs requested: 3 pending, 15 new; 15 to submit" in heads("submit", "heads").output
    said = " ".join(heads("status", "heads").output.split())
    for task in ("cheetah-run", "hopper-hop", "walker-walk"):
        assert f"heads.{task} 6 pending" in said
    assert "num_q=1" in heads("status", "heads.hopper-hop").output
    assert "walker-walk: num_q=1" in heads("submit", "heads", "--dry-run").output
    assert "sweep 'heads' varies task" in heads("submit", "heads", "--task", "dog-run", code=1).output


def test_what_is_of_one_task_names_the_tasks(heads: Callable[..., Result]) -> None:
    heads("submit", "heads")
    for command in (("more",), ("confirm",), ("prune",), ("evaluate",)):
        said = heads(*command, "heads", code=1).output
        assert "heads has 3 tasks, each " in said, command
        assert " separately: heads.cheetah-run, heads.hopper-hop, heads.walker-walk\n" in said, command
    said = heads("compare", "heads", "heads.hopper-hop", code=1).output
    assert "give heads.cheetah-run, or `sweeps aggregate heads`" in said
    assert heads("cancel", "heads").output.endswith("18 runs cancelled\n")


def test_a_sweep_of_several_tasks_is_decided_as_one(heads: Callable[..., Result], tmp_path: Path) -> None:
    plan = ("--plan", str(tmp_path / "mine.yaml"))
    assert "heads  to submit  6 configurations, 18 runs" in heads("next", *plan).output
    said = heads("adopt", "heads.hopper-hop", "--keep", *plan, code=1).output
    assert "heads.hopper-hop is one task of heads, which is decided for all of them: `sweeps adopt heads`" in said
    heads("adopt", "heads", "--set", "num_q=1", *plan)
    heads("adopt", "alone", "--keep", *plan)
    assert "num_q=1" in heads("plan", "after", *plan).output
    assert "after  to submit" in heads("next", *plan).output
    assert "task [walker-walk, cheetah-run, hopper-hop] x num_q [1, 2]" in heads("plan", *plan).output
    heads("adopt", "--undo", "heads", *plan)
    assert "num_q=1" not in heads("plan", "after", *plan).output


def test_the_name_of_a_sweep_of_one_task_is_not_taken_for_several(heads: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    heads("submit", "alone")
    file.write_text(file.read_text().replace("alone: {task: cheetah-run", "alone: {tasks: [cheetah-run]"))
    said = heads("submit", "alone", code=1).output
    assert "alone was submitted as a sweep of one task" in said
    assert not list(tmp_path.glob("results/sweeps/alone.*-run.json"))


TRAINING = """
import argparse, json, os, pathlib, random
parser = argparse.ArgumentParser()
for name, kind in (("env", str), ("lr", int), ("steps", int), ("seed", int)):
    parser.add_argument(f"--{name}", type=kind)
a = parser.parse_args()
if a.env == "pole" and pathlib.Path(FOLDER, "broken").exists():
    raise SystemExit("there is no pole")
noise = random.Random(a.seed)
with open(os.path.join(os.environ["SWEEPS_RUN"], "metrics.jsonl"), "w") as file:
    for step in range(0, a.steps + 1, a.steps // 10):
        score = {"walk": 400, "run": 100, "pole": 1}[a.env] * a.lr * step / a.steps * noise.uniform(0.95, 1.05)
        file.write(json.dumps({"step": step, "eval/return": score}) + chr(10))
"""
CHAIN = f"""
program:
  name: toy
  command: {sys.executable} train.py {{overrides}}
  seed: seed
  steps: steps
  task_key: env
  metrics: {{primary: eval/return}}
seeds: 3
steps: 40
sweeps:
  rate:
    tasks: [walk, run, pole]
    steps: {{run: 20}}
    references: {{walk: [0, 1000], run: [0, lr=2], pole: [0, 2]}}
    grid: {{lr: [1, 2]}}
  after: {{task: walk, grid: {{width: [1, 2]}}}}
"""


def test_three_tasks_from_submit_to_the_next_stage_with_one_that_fails_at_first(tmp_path: Path) -> None:
    sweeps = Sweeps(tmp_path)
    (tmp_path / "train.py").write_text(TRAINING.replace("FOLDER", repr(str(tmp_path))))
    (tmp_path / "plan.yaml").write_text(CHAIN)
    (tmp_path / "broken").touch()
    plan = ("--plan", "plan.yaml")
    sweeps("submit", "rate", *plan, "--cluster", "local", "--seeds-per-job", "3", "--wait", code=1)
    said = sweeps.here("status")
    assert [" ".join(line.split()) for line in said.splitlines() if line.startswith("rate.")] == [
        "rate.pole 6 failed 0%",
        "rate.run 6 done 100%",
        "rate.walk 6 done 100%",
    ]
    assert "6 failed: exit code 1: there is no pole" in said
    _, across = report.judge(report.sources(ResultsFolder(tmp_path / "results"), ["rate"], pytest.fail))
    assert across is not None
    partial = task_verdict.verdict(across)
    assert partial.headline.startswith("On 2 of 3 tasks lr=2 has the highest mean normalised score")
    assert "3 runs of lr=1 without a result (crashed): pole" in dict(partial.points)["Missing"]
    assert dict(partial.points)["Next"] == "sweeps rerun rate --failed"
    (tmp_path / "broken").unlink()
    sweeps.here("rerun", "rate", "--failed", "--wait")
    assert sweeps.states() == ["done"] * 18
    steps = {run["steps"] for run in sweeps.runs()}
    assert steps == {20, 40}
    said = " ".join(sweeps.here("aggregate", "rate").split())
    assert "On these 3 tasks lr=2 has the highest mean normalised score" in said
    assert "better than lr=1. lr=1 is ahead on no task" in said
    assert "Next: sweeps adopt rate --from-verdict, then `sweeps next`" in said
    page = (tmp_path / "report.html").read_text()
    assert page.index('id="tasks"') < page.index('id="sweep-1"')
    assert "sweeps adopt rate --from-verdict" in sweeps.here("next", *plan)
    said = sweeps.here("adopt", "rate", "--from-verdict", *plan)
    assert "lr auto -> 2; " in said
    assert "mean normalised score on 3 tasks" in said
    assert "after  to submit" in sweeps.here("next", *plan)
