"""Any program, trained through the command line: killed, stopped, resumed, judged, and what it may do wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from driver import PATIENCE_S, Sweeps, rows
from slurm_cluster import wait_until

from jobs.backends.debug import DebugBackend
from jobs.results.attempts import RunRef
from jobs.results.results_folder import ResultsFolder
from jobs.worker.guarded_program import end_processes
from jobs.worker.train_job import AttemptRunner

WALKER = Path(__file__).parent / "programs" / "walker.py"
PLAN = """
plan: mine
program:
  name: walker
  command: {python} walker.py --out {{run}} {{overrides}}
  hyperparameters: {{lr: 1e-3, steps: 40, pause: 0.0, trouble: ""}}
  seed: seed
  ignore: pause
  steps: steps
  {resume}
  environment: {{MY_API_KEY: , MODE: fast}}
  metrics:
    read: [{{jsonl: metrics.jsonl}}]
    primary: {{name: eval/return, better: up, unit: points, title: score}}
    roles: {{training_return: train/return}}
seeds: 1
sweeps:
  rate:
    goal: which learning rate
    grid: {{lr: [1e-3, 3e-3]}}
    questions: is the higher rate better?
  one: {{goal: see that it survives, grid: {{lr: [1e-3]}}}}
"""
RESUME = 'resume: {when: "{run}/checkpoint.json", add: --resume, grace: 2}'
LOCAL = ("--plan", "plan.yaml", "--cluster", "local")
DEBUG = ("--plan", "plan.yaml", "--cluster", "debug")
LONG = ("--set", "pause=0.1")  # 4 s of training
LOADER = "sleep 4242"


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    made = Sweeps(tmp_path)
    shutil.copy(WALKER, tmp_path)
    write_plan(made)
    return made


def write_plan(sweeps: Sweeps, resume: str = RESUME, **changes: str) -> None:
    text = PLAN.format(python=sys.executable, resume=resume)
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    (sweeps.folder / "plan.yaml").write_text(text)


def attempt(sweeps: Sweeps) -> dict[str, Any]:
    """The newest of the first run."""
    return dict(json.loads(sweeps.results("runs/*/seed-1/attempts/*.json")[-1].read_text()))


def outcome(sweeps: Sweeps) -> dict[str, Any]:
    return dict(json.loads(sweeps.results("runs/*/seed-1/outcome/*.json")[-1].read_text()))


def logged_steps(sweeps: Sweeps) -> int:
    """How far the program of the first run is, by its own file."""
    files = sweeps.results("runs/*/seed-1/work/**/metrics.jsonl")
    return sum(len(path.read_text().splitlines()) for path in files)


def of_the_guard(worker: int) -> int:
    (guard,) = (int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split())
    return guard


def values(sweeps: Sweeps, results: str, sweep: str) -> Any:
    return rows(sweeps.folder / results, sweep).drop(columns=["attempt", "time"]).reset_index(drop=True)


@pytest.mark.parametrize("victim", ["program", "worker", "guard"])
def test_killed_it_leaves_no_process_and_resumes_as_if_never_killed(sweeps: Sweeps, victim: str) -> None:
    sweeps.here("submit", "one", *LOCAL, *LONG, "--set", "trouble=loaders")
    wait_until("a half", lambda: logged_steps(sweeps) >= 25, PATIENCE_S, pause=0.02)
    worker = int(attempt(sweeps)["pid"])
    pids = {"worker": worker, "guard": of_the_guard(worker), "program": sweeps.processes("walker.py")[0]}
    assert len(sweeps.processes(LOADER)) == 1
    os.kill(pids[victim], signal.SIGKILL)
    wait_until("its failure", lambda: sweeps.states() == ["failed"], PATIENCE_S, pause=0.2)
    wait_until("the end of all its processes", lambda: not sweeps.processes(), PATIENCE_S, pause=0.05)
    assert "0 to submit" in sweeps.here("submit", "one", *LOCAL, *LONG, "--set", "trouble=loaders")
    sweeps.here("rerun", "one", "--failed", "--wait")
    assert sweeps.states() == ["done"]
    assert "0 to submit" in sweeps.here("submit", "one", *LOCAL, *LONG, "--set", "trouble=loaders")
    assert logged_steps(sweeps) > 40, "it went on from its checkpoint at step 20, and logged some steps twice"
    assert not sweeps.processes()
    sweeps.here("--results", "whole", "submit", "one", *DEBUG, "--set", "trouble=loaders")
    assert values(sweeps, "results", "one").equals(values(sweeps, "whole", "one"))


def test_it_is_judged_by_the_roles_of_its_metrics(sweeps: Sweeps) -> None:
    sweeps.here("submit", "rate", *LOCAL, "--seeds", "3", "--wait")
    answer = sweeps.here("aggregate", "--out", "report.html", "--format", "json")
    assert "lr 0.003 does better than 1e-3" in answer
    report = (sweeps.folder / "report.html").read_text()
    assert "final score" in report
    assert "policy_entropy: entropy collapses early" in report
    final = rows(sweeps.folder / "results", "rate").query("kind == 'eval' and step == 40")["eval/return"]
    assert sorted(round(value, 1) for value in final) == pytest.approx([4.0] * 3 + [12.0] * 3, abs=0.11)


def test_the_best_configuration_is_confirmed_on_fresh_seeds(sweeps: Sweeps) -> None:
    sweeps.here("submit", "rate", *LOCAL, "--seeds", "2", "--wait")
    before = values(sweeps, "results", "rate")
    told = " ".join(sweeps.here("confirm", "rate", "--cluster", "local", "--wait").split())
    assert "best of rate, is compared with the baseline lr=1e-3" in told
    assert "4 to submit" in told
    fresh = rows(sweeps.folder / "results", "rate-confirm")
    assert sorted(fresh["seed"].unique()) == [3, 4]
    assert values(sweeps, "results", "rate").equals(before)
    assert sweeps.states() == ["done"] * 8
    answer = sweeps.here("aggregate", "rate-confirm", "--out", "report.html")
    assert "Is lr=0.003 better than the baseline lr=1e-3 on fresh seeds?" in answer
    assert "Yes, " in answer
    assert "agent walker keeps no weights that `sweeps evaluate` can use" in sweeps.refusal("evaluate", "rate")
    sweeps.here("archive", "rate-confirm", "--out", "confirm.tar")
    sweeps.here("--results", "elsewhere", "unarchive", "confirm.tar")
    assert values(sweeps, "elsewhere", "rate-confirm").equals(values(sweeps, "results", "rate-confirm"))


def test_without_resume_it_begins_anew_and_its_old_rows_are_dropped(sweeps: Sweeps) -> None:
    write_plan(sweeps, resume="")
    sweeps.here("submit", "one", *LOCAL, *LONG)
    wait_until("a half", lambda: logged_steps(sweeps) >= 25, PATIENCE_S, pause=0.02)
    os.kill(sweeps.processes("walker.py")[0], signal.SIGKILL)
    wait_until("its failure", lambda: sweeps.states() == ["failed"], PATIENCE_S, pause=0.2)
    assert "killed by SIGKILL" in outcome(sweeps)["message"]
    sweeps.here("rerun", "one", "--failed", "--wait")
    assert sorted(path.name for path in sweeps.results("runs/*/seed-1/work/*")) == ["001", "002"]
    trained = values(sweeps, "results", "one").query("kind == 'train'")
    assert trained["step"].tolist() == list(range(1, 41))


@pytest.mark.parametrize("trouble", ["", "ignores signals"])
def test_on_a_cancel_it_saves_its_state_or_is_killed_after_the_grace(sweeps: Sweeps, trouble: str) -> None:
    # 40 steps take 32 s, much longer than the command that cancels takes to start on a busy machine
    given = (*LOCAL, "--set", "pause=0.8", "--set", f"trouble={trouble}")
    sweeps.here("submit", "one", *given)
    wait_until("a start", lambda: logged_steps(sweeps) >= 2, PATIENCE_S, pause=0.02)
    sweeps.here("cancel", "one")
    wait_until("its end", lambda: sweeps.states() == ["interrupted"], PATIENCE_S, pause=0.2)
    assert not sweeps.processes()
    assert ("after the grace" in outcome(sweeps)["message"]) == bool(trouble)
    if not trouble:
        (saved,) = sweeps.results("runs/*/seed-1/work/checkpoint.json")
        assert json.loads(saved.read_text())["step"] == outcome(sweeps)["step"]


def test_what_a_predecessor_left_is_ended_first(sweeps: Sweeps) -> None:
    sweeps.here("submit", "one", *LOCAL, *LONG, "--set", "trouble=loaders")
    wait_until("a start", lambda: logged_steps(sweeps) >= 10, PATIENCE_S, pause=0.02)
    worker = int(attempt(sweeps)["pid"])
    guard = of_the_guard(worker)
    os.kill(guard, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    os.kill(guard, signal.SIGKILL)
    wait_until("its failure", lambda: sweeps.states() == ["failed"], PATIENCE_S, pause=0.2)
    assert sweeps.processes(LOADER), "nobody was left to end them"
    sweeps.here("rerun", "one", "--failed", "--wait")
    assert sweeps.states() == ["done"]
    assert not sweeps.processes()
    assert "of an earlier attempt" in sweeps.logs()


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (
            "ends early and logs astray",
            "ended early: its last logged step is 20 of 40; astray.csv was written next to the code, where all runs "
            'write it: let the program write to {run}, or set `cwd: "{run}"`',
        ),
        ("nan", ""),
    ],
)
def test_exit_0_is_done(sweeps: Sweeps, trouble: str, message: str) -> None:
    write_plan(sweeps, sources=("metrics.jsonl}]", "metrics.jsonl}, {csv: astray.csv}]"))
    sweeps.here("submit", "one", *DEBUG, "--set", f"trouble={trouble}")
    assert (outcome(sweeps)["state"], outcome(sweeps)["step"]) == ("finished", 40)
    assert outcome(sweeps)["message"] == message
    assert sweeps.states() == ["done"]


def test_with_exit_code_3_it_asks_to_go_on_later(sweeps: Sweeps) -> None:
    sweeps("submit", "one", *DEBUG, "--set", "trouble=wants more time", code=1)
    assert outcome(sweeps)["state"] == "interrupted"
    sweeps.here("submit", "one", *DEBUG, "--set", "trouble=wants more time")
    assert sweeps.states() == ["done"]
    assert values(sweeps, "results", "one").query("kind == 'train'")["step"].tolist() == list(range(1, 41))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("walker.py --out", "nothere.py --out"), "exit code 2: "),
        ((sys.executable, "no-such-python"), "no-such-python: No such file or directory"),
        (("  hyperparameters:", "  overrides: fire\n  hyperparameters:"), "exit code 2: walker.py: error: "),
        (("name: eval/return", "name: eval/score"), "metric 'eval/score', the primary one, never appeared; logged: "
                                                    "eval/return, train/loss, train/return"),
        (("--out {run}", "--out ."), "metric 'eval/return' never appeared: metrics.jsonl was written next to the code"),
        (("jsonl: metrics.jsonl", "jsonl: log.jsonl"), "metric 'eval/return' never appeared: nothing at log.jsonl in"),
    ],
)  # fmt: skip
def test_a_failure_says_in_one_line_what_was_wrong(sweeps: Sweeps, change: tuple[str, str], message: str) -> None:
    unknown = {"key": ('trouble: ""', "unknown: 1"), "grid": ("lr: [1e-3]", "unknown: [2]")}
    write_plan(sweeps, change=change, **(unknown if "fire" in change[1] else {}))
    sweeps("submit", "one", *DEBUG, code=1)
    assert outcome(sweeps)["state"] == "failed"
    assert outcome(sweeps)["message"].startswith(message)
    assert "\n" not in outcome(sweeps)["message"]


def test_seeds_of_one_job_are_told_apart_where_one_fails(sweeps: Sweeps) -> None:
    given = ("--set", "trouble=fails with seed 2", "--seeds", "3", "--seeds-per-job", "3")
    sweeps.here("submit", "one", *LOCAL, *given)
    wait_until("their end", lambda: sorted(sweeps.states()) == ["done", "done", "failed"], PATIENCE_S, pause=0.2)
    (failed,) = (run for run in sweeps.runs() if run["state"] == "failed")
    assert failed["seed"] == 2
    assert failed["reason"] == "exit code 1: RuntimeError: no luck"


def test_the_program_has_the_submitters_environment_and_nothing_of_it_is_written_down(sweeps: Sweeps) -> None:
    secret = "correct-horse-battery"
    sweeps.environment |= {
        "MY_API_KEY": secret,
        "OTHER": "staple-hidden",
        "PYTHONPATH": sweeps.environment["PYTHONPATH"],
    }
    for backend in ("local", "debug"):
        sweeps("--results", backend, "submit", "one", "--plan", "plan.yaml", "--cluster", backend, "--set",
               "trouble=prints its environment", *(["--wait"] if backend == "local" else []), code=1)  # fmt: skip
        texts = {path: path.read_bytes() for path in (sweeps.folder / backend).rglob("*") if path.is_file()}
        holding = [path for path, data in texts.items() if secret.encode() in data]
        assert len(holding) == 1
        assert "sweeps-output" in str(holding[0])
        assert not any(b"staple-hidden" in data for data in texts.values())
        assert any(b"no access with ***" in data for data in texts.values())


def test_nothing_is_ended_that_belongs_to_another_run(tmp_path: Path) -> None:
    assert end_processes(str(tmp_path / "work")) == 0


def test_without_a_number_of_steps_training_ends_where_the_longest_run_ended(sweeps: Sweeps) -> None:
    write_plan(sweeps, steps=("  steps: steps\n", ""))
    sweeps.here("submit", "rate", *DEBUG, "--set", "trouble=ends early", "--seeds", "2")
    sweeps.here("submit", "one", *DEBUG, "--seeds", "3-3", "--set", "trouble=")
    assert {run["state"] for run in sweeps.runs()} == {"done"}
    assert "/" not in sweeps.here("status", "rate", "--runs").splitlines()[2].split("done")[1]
    answer = sweeps.here("aggregate", "rate", "--out", "report.html")
    assert "lr=0.003 is best, with a final score of 4.5" in answer
    assert "0 to submit" in sweeps.here("submit", "one", *DEBUG, "--seeds", "3-3", "--set", "trouble=")


def test_after_a_change_of_the_metrics_ended_runs_are_read_again_without_training(sweeps: Sweeps) -> None:
    write_plan(sweeps, name=("name: eval/return", "name: eval/score"))
    sweeps("submit", "rate", *DEBUG, "--seeds", "2", code=1)
    assert set(sweeps.states()) == {"failed"}
    logged = logged_steps(sweeps)
    assert "eval/score' is not in its files" in sweeps("reread", "rate", "--plan", "plan.yaml", code=1)
    write_plan(sweeps)
    assert "read 4 of 4 runs again" in sweeps.here("reread", "rate", "--plan", "plan.yaml")
    assert set(sweeps.states()) == {"done"}
    assert logged_steps(sweeps) == logged
    assert "0 to submit" in sweeps.here("submit", "rate", *DEBUG, "--seeds", "2")
    read_again = values(sweeps, "results", "rate")
    sweeps.here("--results", "whole", "submit", "rate", *DEBUG, "--seeds", "2")
    assert read_again.equals(values(sweeps, "whole", "rate"))
    sweeps.here("aggregate", "rate", "--out", "report.html")
    write_plan(sweeps, roles=("{training_return: train/return}", "{consistency: train/loss}"))
    sweeps.here("reread", "rate", "--plan", "plan.yaml")
    assert values(sweeps, "results", "rate").equals(read_again)
    (described,) = sweeps.results("agents/walker.json")
    metrics = {one["name"]: one["role"] for one in json.loads(described.read_text())["description"]["metrics"]}
    assert (metrics["eval/return"], metrics["train/loss"]) == ("primary", "consistency")


def test_what_cannot_resume_is_not_started_for_ever_by_preemptions(
    sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that Slurm queues again comes back with the same number."""
    write_plan(sweeps, resume="")
    (sweeps.folder / "walker.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    sweeps("submit", "one", *DEBUG, code=1)
    (record,) = sweeps.results("runs/*/seed-1/attempts/001.json")
    for number in (2, 3, 4):
        again = json.loads(record.read_text()) | {"number": number, "slurm_job": "77"}
        record.with_name(f"{number:03d}.json").write_text(json.dumps(again))
    monkeypatch.setattr(DebugBackend, "current_task", lambda self: "77")
    store = ResultsFolder(sweeps.folder / "results")
    (submission,) = store.submissions.all()
    run = RunRef(submission.tasks[0].config_id, 1)
    runner = AttemptRunner(store, "cpu", 1, submission.id, 0, DebugBackend())
    assert runner.train([run]) == []
    assert outcome(sweeps)["message"] == "preempted 3 times, and it cannot resume; it is not started again"
    assert outcome(sweeps)["cause"] == "preempted"


def test_a_dry_run_shows_each_command_and_changed_code_is_said(sweeps: Sweeps) -> None:
    shown = sweeps.here("submit", "rate", *DEBUG, "--dry-run")
    for lr in ("0.001", "0.003"):
        assert f"--lr={lr} --steps=40 --pause=0.0 --trouble= --seed=1" in shown.replace("\n", " ")
    sweeps.here("submit", "rate", *DEBUG)
    assert "other code" not in sweeps.here("submit", "rate", *DEBUG)
    with (sweeps.folder / "walker.py").open("a") as code:
        code.write("\n# changed\n")
    assert "2 finished runs used other code; raise `version:`" in sweeps.here("submit", "rate", *DEBUG)
    write_plan(sweeps, version=("name: walker", "name: walker\n  version: 2"))
    assert "2 to submit" in sweeps.here("submit", "rate", *DEBUG)


def test_a_value_that_the_style_cannot_express_is_refused_before_submit(sweeps: Sweeps) -> None:
    write_plan(
        sweeps, layers=('trouble: ""', 'trouble: "", layers: null'), grid=("lr: [1e-3, 3e-3]", "layers: [[[1], [2]]]")
    )
    refused = sweeps.refusal("submit", "rate", *DEBUG)
    assert "layers" in refused
    assert "argparse" in refused
    assert not sweeps.results("runs/*")


def test_resumed_at_its_end_it_is_done_by_what_it_logged_before(sweeps: Sweeps) -> None:
    """Killed after its last step and before it was recorded, it logs nothing more."""
    sweeps("submit", "one", *DEBUG)
    before = values(sweeps, "results", "one")
    for path in (*sweeps.results("runs/*/seed-1/outcome/*"), *sweeps.results("runs/*/seed-1/metrics/*")):
        path.unlink()
    shutil.rmtree(sweeps.folder / "results" / "cache")
    assert sweeps.states() == ["failed"]
    sweeps.here("rerun", "one", "--failed")
    assert sweeps.states() == ["done"]
    assert values(sweeps, "results", "one").equals(before)


def test_the_log_has_the_newest_evaluation(sweeps: Sweeps) -> None:
    sweeps("submit", "one", *LOCAL, "--wait")
    (folder,) = sweeps.results("runs/*/seed-1")
    run = f"{folder.parent.name}/{folder.name}"
    lines = [line for line in sweeps.here("logs", run).splitlines() if ": step " in line]
    start, _, score = lines[-1].partition(" of 40: score ")
    assert (start, float(score.partition(",")[0])) == (f"{run}: step 40", pytest.approx(4, abs=0.1))
    assert len(lines) <= 2  # of four, as it takes less than the time between two lines


def test_logs_show_the_output_of_the_program(sweeps: Sweeps) -> None:
    write_plan(sweeps, resume="")
    sweeps("submit", "one", *LOCAL, "--set", "trouble=fails with seed 1", "--wait", code=1)
    (folder,) = sweeps.results("runs/*/seed-1")
    shown = sweeps.here("logs", f"{folder.parent.name}/{folder.name}")
    assert "walker.py --out" in shown
    assert "RuntimeError: no luck" in shown
    assert "Traceback (most recent call last):" in shown
