"""Every script under benchmarks/ that the documentation names is run in small, or has parts that another test runs."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# Script -> the test that runs it in small.
SMALL = {
    "fuzz": "../test_fuzz.py::test_hostile_input_is_refused_or_taken",
    "flags": "test_flags.py::test_the_page_is_written_between_its_markers",
    "gpu": "test_small.py::test_gpu",
    "intervals": "test_small.py::test_intervals",
    "learning": "test_learning.py::test_it_trains_what_is_missing_and_says_what_cannot_be_compared",
    "paired_seeds": "test_small.py::test_paired_seeds",
    "paired_tests": "test_small.py::test_paired_tests",
    "report": "test_small.py::test_report",
    "secret_samples": "../jobs/test_secret_rules.py::test_made_up_secrets_of_every_provider_are_found",
    "speed": "test_small.py::test_speed",
    "status": "test_small.py::test_status",
    "tasks": "test_tasks.py::test_intervals_hold_their_level_and_the_bootstrap_of_three_seeds_does_not",
    "verdicts": "test_small.py::test_verdicts",
}
# Script that takes a Slurm of its own or many processes -> the tests that run what it is made of.
PARTS = {
    "compilers": "../tdmpc/test_compilers.py::test_every_compiler_gives_the_same_bits_with_any_number_of_threads",
    "faults": "../cluster/test_faults.py::test_it_recovers",
    "fresh_machines": "test_machines.py::test_a_row_for_each_machine_and_command",
    "hosts": "../jobs/test_local.py::test_another_machines_tasks_are_unknown_here_until_its_scheduler_is_silent",
    "live_view": "../plots/test_live_page.py::test_an_update_keeps_the_readers_place_and_choices",
    "init_programs": "../jobs/test_init.py::test_other_libraries_are_asked_too",
    "override_styles": "../jobs/test_override_styles.py::test_elements_of_a_style",
    "program_overhead": "../jobs/test_guard.py::test_all_that_was_written_is_there_when_it_has_ended",
    "real_programs": "../jobs/test_program_runs.py::test_killed_it_leaves_no_process_and_resumes_as_if_never_killed",
    "wandb_files": "../jobs/test_metric_sources.py::test_records_that_wandb_wrote",
    "memory": "../tdmpc/test_memory.py::test_the_numbers_of_the_networks_are_those_of_the_agent",
    "loading": "test_loading.py::test_all_that_is_timed_reads_all_rows",
    "slurm_versions": "test_chroots.py::test_a_command_sees_its_own_root_and_only_what_is_shared",
    "versions": "test_machines.py::test_versions_are_resolved_from_one_end_of_the_ranges",
    "walk": "../test_end_to_end.py::test_a_plan_is_walked_as_next_leads",
    "whole_sweep": "../cluster/test_slurm_end_to_end.py::test_an_array_trains_and_is_reported",
}
Run = Callable[..., dict[str, str]]


def test_every_script_that_is_named_is_run(repository: Path) -> None:
    docs = runpy.run_path(str(repository / "tests" / "test_docs.py"))
    lines = {line for text in docs["pages"](repository).values() for line in docs["scripts"](text)}
    named = {Path(path).stem for line in lines if (path := line.split()[1]).startswith("benchmarks/")}
    assert named == set(SMALL) | set(PARTS)
    for test in [*SMALL.values(), *PARTS.values()]:
        file, name = test.split("::")
        assert f"\ndef {name}(" in (Path(__file__).parent / file).read_text(), test


@pytest.fixture
def run(
    load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Calls a script's `main` with words; what it would write into a page, by name."""

    def main(name: str, *words: str, **instead: Any) -> dict[str, str]:
        script = load_script(f"benchmarks/{name}.py")
        written: dict[str, str] = {}
        if hasattr(script, "rows"):
            monkeypatch.setattr(script.rows, "record", lambda table, order, rows, *page: written.update(rows))
        for what, by in instead.items():
            monkeypatch.setattr(script, what, by(getattr(script, what)))
        monkeypatch.setattr(sys, "argv", [name, *words])
        script.main()
        return {**written, "said": capsys.readouterr().out}

    return main


def test_intervals(run: Run, tmp_path: Path) -> None:
    run("intervals", "--trials", "2", "--out", str(tmp_path))
    assert re.search(r"found in 80 % of sweeps", (tmp_path / "docs" / "statistics.md").read_text())


def test_paired_tests(run: Run, tmp_path: Path) -> None:
    run("paired_tests", "--trials", "400", "--out", str(tmp_path))
    text = (tmp_path / "docs" / "statistics.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (0(?:\.\d)?) \| ([\d. |]+) \|$", text, re.M)
    rates = {(truth, rho): [float(rate) for rate in cells.split("|")] for truth, rho, cells in rows}
    assert len(rates) == 16
    for (_, rho), (paired, _, _, of_eight, coverage, power, welch) in rates.items():
        assert paired < 0.09
        assert of_eight < 0.09
        assert coverage > 0.91
        assert power > welch or float(rho) < 0.6


def test_verdicts(run: Run, tmp_path: Path) -> None:
    few = {"POPULATION": lambda seeds: 100, "WORLDS": lambda worlds: dict(list(worlds.items())[:2])}
    run("verdicts", "--draws", "1", "--out", str(tmp_path), **few)
    text = (tmp_path / "docs" / "verdict.md").read_text()
    rows = re.findall(r"^\| (\S+) \| ([a-z]+) \| (\d\.\d+) \| (\d\.\d+) \| (\d\.\d+) \| (\d\.\d+) \| ", text, re.M)
    assert {name for name, *_ in rows} >= {"ensemble", "update-freq.tau", "gamma", "entropy"}
    assert all(abs(sum(map(float, shares)) - 1) < 0.01 for _, _, *shares in rows)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not on the path")
def test_report(run: Run) -> None:
    with ThreadPoolExecutor(1) as thread:  # another test may hold a browser open in this one, which Playwright refuses
        lines = thread.submit(run, "report", "--sizes", "1x1").result()
    assert re.match(r"\| 1x1 \| 0\.\d+ MB \|( \d+\.\d\d s \|){5}", lines["1x1"])


SMALL_AGENT = [
    word
    for value in ("batch_size=8", "mlp_dim=32", "enc_dim=32", "latent_dim=32", "num_samples=8", "num_pi_trajs=4",
                  "num_elites=4", "iterations=1")
    for word in ("--set", value)
]  # fmt: skip


def test_gpu(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """On the CPU, which has no graphs: the line says so, and the exit code."""
    words = ["--device", "cpu", "--seeds", "1,3", "--ways", "eager,graphs", "--precisions", "bfloat16", *SMALL_AGENT]
    monkeypatch.setattr("sys.argv", ["gpu.py", *words])
    script = load_script("benchmarks/gpu.py")
    assert script.main() == 1
    said = capfd.readouterr()
    assert re.search(r"^\| bfloat16 \| eager \| \d+\.\d \| \d+\.\d \|$", said.out, re.M)
    assert "| bfloat16 | graphs | failed | failed |" in said.out
    assert "--cuda-graphs is for a GPU" in said.err
    (line,) = script.CELL.finditer("   12 steps/s     211.5, 13000 MB on the GPU\n")
    assert script._words(script.Cell(float(line["steps"]), int(line["mb"])), 12) == "211.5 (1083 MB)"
    monkeypatch.setattr("sys.argv", ["gpu.py", "--ways", "eager,fast", "--device", "cpu"])
    with pytest.raises(SystemExit):
        script.main()
    assert "--ways 'fast': legal are eager, compiled" in capfd.readouterr().err


def test_speed(run: Run) -> None:
    """As few repetitions as it allows."""
    said = run("speed", "--seconds", "0", *SMALL_AGENT)
    assert re.findall(r"^ +1 (\w+) +\d", said["said"], re.M) == ["update", "action"]
    assert re.search(r"^ +1 steps/s +\d", said["said"], re.M)


def test_speed_of_a_gpu_that_is_not_there_is_refused_in_a_line(
    load_script: Callable[[str], ModuleType], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["speed.py", "--device", "cuda"])
    with pytest.raises(SystemExit):
        load_script("benchmarks/speed.py").main()
    assert "torch finds no GPU here" in capfd.readouterr().err


def test_the_start_of_a_run_is_measured_part_by_part(
    load_script: Callable[[str], ModuleType], capfd: pytest.CaptureFixture[str]
) -> None:
    load_script("benchmarks/speed.py")._start({"mlp_dim": 32, "latent_dim": 32}, 1)
    so_far = [float(line.split()[1]) for line in capfd.readouterr().out.splitlines()[3:]]
    assert so_far == sorted(so_far)
    assert so_far[-1] > 0.1


def test_status(run: Run) -> None:
    """Every command once instead of five times."""

    def once(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
        done = subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, text=True)
        assert command[-1] != "status" or "10 done" in done.stdout
        return 0.0, 0.0

    found = run("status", "--runs", "20", seconds=lambda known: once)
    assert [line.split("|")[2].strip() for name, line in found.items() if name != "said"] == ["20"] * 3


def test_paired_seeds(run: Run) -> None:
    """Two episodes of each seed after the random actions, in a process of their own for each value."""
    lengths = ("--set", "action_repeat=100", "--set", "steps=40", "--set", "seed_steps=20")
    found = run("paired_seeds", "--seeds", "2", *lengths, *SMALL_AGENT)["said"]
    head, _, *lines = found.splitlines()
    assert head == "num_q=1 and 2, 2 seeds, code of this folder"
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert all(len(line.split()) == 5 for line in lines)
