"""Submitting: what is missing, in which order, packed how; and extending, refusing, running again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_slurm import FakeSlurm

from jobs.cli import cli
from jobs.planning import plan
from jobs.results.attempts import RunRef
from jobs.results.records import TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.submit.submit import pack

PLAN = """
plan: mine
base: {steps: 5000, detach_encoder_ratio: 0, start_entropy_coeff: 1e-5, end_entropy_coeff: 1e-5}
seeds: 2
sweeps:
  q: {goal: how many, grid: {num_q: [1, 2]}}
  other: {grid: {num_q: [2, 3]}}
"""

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`sweeps --results FOLDER ...` in this process; submits go to the debug backend."""
    plan = tmp_path / "mine.yaml"
    plan.write_text(PLAN)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("jobs.process.gpus", lambda: [])

    def invoke(*words: str, code: int = 0) -> Result:
        line = ["--results", str(tmp_path / "results"), *words]
        if words[0] == "submit":
            line += ["--plan", str(plan)]
            if "--cluster" not in words:
                line += ["--cluster", "debug"]
        result = CliRunner().invoke(cli, line)
        assert result.exit_code == code, result.output
        return result

    return invoke


def trained(agent: Any) -> list[Any]:
    return [tag for call in agent.calls for tag in call["runs"]]


def states(run: Any) -> list[str]:
    found = json.loads(run("status", "--json").stdout)
    return [r["state"] for s in found["sweeps"] for c in s["configurations"] for r in c["runs"]]


def end(state: str, step: int = 100) -> Any:
    from sweepwise.core.trainable import Outcome

    return Outcome(state, step, "why")


def refs(*seeds: tuple[str, int]) -> list[RunRef]:
    return [RunRef(config * 10, seed) for config, seed in seeds]


def test_the_first_seed_of_every_configuration_goes_before_the_second_of_any() -> None:
    runs = refs(("a", 1), ("a", 2), ("a", 3), ("b", 2), ("b", 5))
    assert [(t.config_id[0], t.seeds) for t in pack(runs, 1)] == [
        ("a", [1]), ("b", [2]), ("a", [2]), ("b", [5]), ("a", [3]),
    ]  # fmt: skip
    assert pack(runs, 2) == [TaskRuns("a" * 10, [1, 2]), TaskRuns("b" * 10, [2, 5]), TaskRuns("a" * 10, [3])]
    assert pack([], 2) == []


def test_submitting_twice_trains_nothing_twice(run: Any, agent: Any) -> None:
    run("submit", "q")
    again = run("submit", "q")
    assert len(agent.calls) == 4
    assert "4 done; 0 to submit" in again.stdout
    assert states(run) == ["done"] * 4


def test_more_seeds_train_only_those_that_are_new(run: Any, agent: Any) -> None:
    run("submit", "q")
    run("submit", "q", "--seeds", "4")
    assert [seed for seed, _ in trained(agent)] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_configuration_in_two_sweeps_is_trained_once(run: Any, agent: Any) -> None:
    run("submit", "q")
    assert "2 done, 2 new; 2 to submit" in run("submit", "other").stdout
    assert len(trained(agent)) == 6


def test_seeds_of_a_job_are_packed(run: Any, agent: Any) -> None:
    run("submit", "q", "--seeds", "3", "--seeds-per-job", "2")
    assert [[seed for seed, _ in call["runs"]] for call in agent.calls] == [[1, 2], [1, 2], [3], [3]]


def test_more_steps_continue_a_run_where_that_is_exact(run: Any, agent: Any) -> None:
    run("submit", "q")
    result = run("submit", "q", "--steps", "8000")
    assert "4 interrupted; 4 to submit" in result.stdout
    assert [call["steps"] for call in agent.calls] == [5000] * 4 + [8000] * 4
    assert {tag for _, tag in trained(agent)[4:]} == {"a002"}
    assert "4 done; 0 to submit" in run("submit", "q", "--steps", "6000").stdout  # fewer never shortens


def test_more_steps_are_new_runs_where_a_schedule_depends_on_them(run: Any, agent: Any) -> None:
    run("submit", "q", "--set", "detach_encoder_ratio=0.5")
    result = run("submit", "q", "--set", "detach_encoder_ratio=0.5", "--steps", "8000")
    assert "4 new; 4 to submit" in result.stdout
    assert "2 configurations of the submit before are no longer part of it" in result.stdout


def test_failed_runs_wait_for_rerun_which_takes_them_only(run: Any, agent: Any) -> None:
    agent.ends = {1: ValueError("bad"), 2: end("diverged")}
    run("submit", "q", code=1)
    assert states(run) == ["failed", "diverged"] * 2
    advice = run("submit", "q").stdout
    assert "rerun q --failed" in advice
    assert "rerun q --diverged" in advice
    agent.ends, agent.calls[:] = {}, []
    run("rerun", "q", "--failed")
    assert trained(agent) == [(1, "a002"), (1, "a002")]
    assert states(run) == ["done", "diverged"] * 2
    run("rerun", "q", "--all")
    assert states(run) == ["done"] * 4


def test_interrupted_runs_go_on_with_the_next_submit(run: Any, agent: Any) -> None:
    agent.ends = {1: end("interrupted")}
    run("submit", "q", code=1)
    agent.ends = {}
    assert "2 done, 2 interrupted; 2 to submit" in run("submit", "q").stdout


def test_missing_runs_are_those_of_a_sweep_that_never_began(run: Any, agent: Any, store: ResultsFolder) -> None:
    run("submit", "q")
    view = store.read_sweep("q")
    assert view is not None
    view.configs[0].seeds.append(9)
    store.write_sweep(view)
    agent.calls.clear()
    run("rerun", "q", "--missing")
    assert trained(agent) == [(9, "a001")]


def test_a_refused_submission_holds_no_runs(
    run: Any, agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no sbatch here
    result = run("submit", "q", "--cluster", "slurm", code=1)
    assert "sbatch is not on PATH" in result.output
    assert states(run) == ["new"] * 4
    run("submit", "q")
    assert states(run) == ["done"] * 4


@pytest.fixture
def nothing_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setattr("jobs.backends.slurm.commands._CONFIGURATIONS", ())


def auto(run: Any, code: int = 0) -> str:
    text: str = run("submit", "q", "--cluster", "auto", "--profile", "cpu", "--dry-run", code=code).output
    return text


def test_auto_takes_slurm_where_it_answers_and_says_so(run: Any, slurm: FakeSlurm) -> None:
    slurm.configure(ClusterName="atlas")
    text = auto(run)
    assert text.startswith("submits to the Slurm cluster 'atlas', since sbatch is on PATH\n")
    assert "4 tasks for slurm" in text


def test_auto_takes_no_login_node_while_slurm_is_silent(run: Any, slurm: FakeSlurm, store: ResultsFolder) -> None:
    slurm.fault("scontrol", "before")
    text = auto(run, code=1)
    assert text.startswith("Error: sbatch is on PATH, but Slurm's controller does not answer")
    assert "--cluster local" in text
    assert text.count("\n") == 1
    assert store.submissions.all() == []


@pytest.mark.usefixtures("nothing_of_slurm")
def test_auto_takes_this_machine_where_nothing_tells_of_slurm(run: Any) -> None:
    text = auto(run)
    assert text.startswith("submits to this machine, since sbatch is not on PATH\n")
    assert "4 tasks for local" in text


@pytest.mark.usefixtures("nothing_of_slurm")
def test_auto_takes_no_machine_of_a_cluster_whose_sbatch_is_out_of_sight(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("jobs.backends.slurm.commands._CONFIGURATIONS", (tmp_path,))
    assert f"Error: {tmp_path} indicates a Slurm cluster, but sbatch is not on PATH; load" in auto(run, code=1)
    monkeypatch.setenv("SLURM_CONF", "/x")
    assert "$SLURM_CONF indicates a Slurm" in auto(run, code=1)


def test_dry_run_writes_nothing(run: Any, tmp_path: Path) -> None:
    for cluster in ("debug", "local", "slurm"):
        result = run("submit", "q", "--cluster", cluster, "--dry-run")
        assert "4 runs requested: 4 new; 4 to submit" in result.stdout
    assert "#SBATCH --array=0-3%4" in result.stdout
    assert not (tmp_path / "results").exists()


def test_submit_says_how_much_memory_is_expected(run: Any) -> None:
    """Once for the process and for each of its seeds; more than the profile requests is said with what to request."""
    one, two = (
        run("submit", "q", "--dry-run", "--cluster", "local", "--seeds-per-job", seeds).stdout for seeds in ("1", "2")
    )
    assert (one.count("expected memory: "), two.count("expected memory: ")) == (1, 1)
    assert float(one.split("expected memory: ")[1].split()[0]) < float(two.split("expected memory: ")[1].split()[0])
    little = run("submit", "q", "--dry-run", "--cluster", "local", "--profile", "cpu", "--option", "mem_gb=0.5").stdout
    assert "more than the 0.5 GB of the profile: --option mem_gb=1" in " ".join(little.split())


def test_dry_run_of_local_shows_the_commands(run: Any) -> None:
    lines = run("submit", "q", "--cluster", "local", "--dry-run").stdout.splitlines()
    assert sum(" -P -m jobs.entry " in line for line in lines) == 4


def test_status_counts_and_rows(run: Any, agent: Any) -> None:
    agent.ends = {2: end("diverged")}
    run("submit", "q", code=1)
    table = run("status").stdout
    assert table.count("1 done, 1 diverged") == 2
    assert "2 done, 2 diverged" in table
    rows = [line for line in run("status", "q", "--runs").stdout.splitlines() if "/seed-" in line]
    assert len(rows) == 4
    assert "100/5,000" in rows[1]
    assert "why" in rows[1]


def test_damaged_files_are_warnings_in_status(run: Any, agent: Any, store: ResultsFolder) -> None:
    run("submit", "q")
    (store.root / "sweeps" / "broken.json").write_text('{"format": 1')
    (store.root / "notes.txt").write_text("mine")
    result = run("status")
    assert "4 done" in result.stdout
    assert "warning:" in result.stderr
    assert "broken.json" in result.stderr


def test_a_damaged_configuration_stops_a_submit_in_one_line(run: Any, agent: Any, store: ResultsFolder) -> None:
    run("submit", "q")
    path = next((store.root / "runs").glob("*/config.json"))
    path.write_text("{")
    result = run("submit", "q", code=1)
    assert result.stderr.count("\n") == 1
    assert str(path) in result.stderr
    path.unlink()
    run("submit", "q")
    assert states(run) == ["done"] * 4


def test_train_trains_one_configuration_here(run: Any, agent: Any) -> None:
    run("train", "--preset", "small", "--seeds", "2", "--device", "cpu", "--threads", "1")
    assert trained(agent) == [(1, "a001"), (2, "a001")]
    assert agent.calls[0]["steps"] == int(plan.load_presets()["small"].values["steps"])
    assert states(run) == ["done", "done"]
    agent.ends = {3: end("interrupted")}
    assert (
        "interrupted at step 100"
        in run("train", "--preset", "small", "--seeds", "3-3", "--device", "cpu", code=1).stderr
    )


def test_sweep_sources_are_what_aggregate_wants(run: Any, agent: Any, store: ResultsFolder) -> None:
    pytest.importorskip("aggregate.inputs.runs")
    from jobs.reports.inputs import sweep_sources

    run("submit", "q")
    (source,) = sweep_sources(store, [])
    assert (source.name, source.goal, source.factors) == ("q", "how many", ("num_q",))
    assert [(c.label, c.factors, c.is_baseline, c.total_steps) for c in source.configs] == [
        ("num_q=1", {"num_q": 1}, False, 5000), ("num_q=2", {"num_q": 2}, True, 5000),
    ]  # fmt: skip
    assert [(r.seed, r.state, r.attempts, r.folder) for r in source.configs[0].runs] == [
        (seed, "done", 1, store.attempts.folder(RunRef(source.configs[0].config_id, seed))) for seed in (1, 2)
    ]


def test_how_a_run_is_trained_reaches_it_and_its_rerun(run: Any, agent: Any) -> None:
    agent.ends = {1: end("interrupted"), 2: end("interrupted")}
    run("submit", "q", "--snapshots", "7", "--checkpoint-minutes", "0.5", "--deterministic", "--compile", code=1)
    run("rerun", "q", "--all", code=1)
    run("rerun", "q", "--all", "--snapshots", "0", code=1)
    run("train", "--preset", "small", "--device", "cpu", "--checkpoint-minutes", "0", "--deterministic", code=1)
    names = ("snapshots", "checkpoint_minutes", "deterministic", "compile")
    told = [tuple(call[name] for name in names) for call in agent.calls]
    assert told == [(7, 0.5, True, True)] * 8 + [(0, 0.5, True, True)] * 4 + [(4, 0, True, False)]


def test_cuda_graphs_reach_a_gpu_and_no_cpu(run: Any, agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.ends = {1: end("interrupted")}
    monkeypatch.setattr("jobs.process.gpus", lambda: ["0"])
    run("submit", "q", "--cuda-graphs", code=1)
    run("rerun", "q", "--all", code=1)
    assert {(call["device"], call["cuda_graphs"]) for call in agent.calls} == {("cuda", True)}
    monkeypatch.setattr("jobs.process.gpus", lambda: [])
    calls = len(agent.calls)
    assert "give --no-cuda-graphs" in run("rerun", "q", "--all", code=1).output
    assert len(agent.calls) == calls
    run("rerun", "q", "--all", "--no-cuda-graphs", code=1)
    assert (agent.calls[-1]["device"], agent.calls[-1]["cuda_graphs"]) == ("cpu", False)
