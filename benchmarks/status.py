"""How long `sweeps status` takes with many runs: makes a results folder up and times the command.

    python benchmarks/status.py [--runs 2000]

Half of the runs are done, the others train in jobs that a stand-in for squeue lists. Told apart from the start of the
interpreter (`python -c ""`) and from the imports (`sweeps --version`); medians of five. Writes them to docs/slurm.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

import rows  # noqa: E402 - found on the path that was set above
from fake_slurm import FakeSlurm  # noqa: E402

from jobs.results.attempts import RunRef  # noqa: E402
from jobs.results.records import (  # noqa: E402
    Attempt,
    AttemptOutcome,
    Chunk,
    Status,
    Submission,
    SubmittedConfiguration,
    SubmittedSweep,
    TaskRuns,
)
from jobs.results.results_folder import ResultsFolder  # noqa: E402
from sweepwise.core.shard_name import FOLDER, ShardName  # noqa: E402
from tdmpc.config import TrainConfig, config_id  # noqa: E402
from tdmpc.description import SCHEMA  # noqa: E402

SEEDS = 10
SHARDS = 20  # of every run
COMMANDS = (["status"], ["status", "--runs"], ["status", "--json"])


def fill(store: ResultsFolder, slurm: FakeSlurm, runs: int) -> None:
    """`runs` runs of ten seeds a configuration, all of one submission; every second one is done."""
    store.prepare()
    now, asked, tasks = time.time(), [], []
    name, job = store.submissions.create("many"), slurm.add("many", runs, state="RUNNING", node="n1")
    for number in range(runs // SEEDS):
        config = TrainConfig(batch_size=number + 2)
        store.write_config(SCHEMA.resolve(vars(config)))
        identity = config_id(config)
        asked.append(SubmittedConfiguration(identity, f"batch {number}", {}, number == 0, list(range(1, SEEDS + 1))))
        for seed in range(1, SEEDS + 1):
            run = RunRef(identity, seed)
            attempt = Attempt(0, "n1", 1, "", now, "cpu", name, len(tasks), f"{job}_{len(tasks)}")
            store.attempts.claim(run, attempt)
            store.attempts.write_status(run, Status(1, 500, config.steps, 10.0, 100.0, now))
            names = [ShardName("a001", part) for part in range(SHARDS)]
            if seed % 2:
                names[-1] = ShardName("a001", SHARDS - 1, config.steps)
                store.attempts.write_outcome(
                    run, 1, AttemptOutcome("finished", config.steps, "", now, last_shard=str(names[-1]))
                )
            (store.attempts.folder(run) / FOLDER).mkdir()
            for shard in names:
                (store.attempts.folder(run) / FOLDER / str(shard)).touch()
            tasks.append(TaskRuns(identity, [seed]))
    chunk = Chunk("many", 0, runs, job_id=job)
    store.submissions.write(
        Submission(name, "many", "slurm", "n1", "u", now, tasks, 0, 1, "many", {}, [chunk], handed_over=True)
    )
    store.write_sweep(SubmittedSweep("many", "many", "", [], [], asked, now))


def seconds(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """By the clock and of the processor, which a busy machine shares out; medians of five."""
    elapsed, busy = [], []
    for _ in range(5):
        begun, before = time.perf_counter(), os.times()
        subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        elapsed.append(time.perf_counter() - begun)
        after = os.times()
        busy.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return statistics.median(elapsed), statistics.median(busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        slurm = FakeSlurm(Path(folder) / "slurm")
        fill(ResultsFolder(Path(folder) / "results"), slurm, runs)
        environment = {**os.environ, "PATH": str(slurm.bin), "PYTHONPATH": str(ROOT)}
        sweeps = [sys.executable, "-P", "-m", "jobs.cli", "--results", "results"]
        start = seconds([sys.executable, "-P", "-c", ""], environment, Path(folder))
        imports = seconds([*sweeps, "--version"], environment, Path(folder))
        print(f"interpreter {start[0]:.2f} s, sweeps --version {imports[0]:.2f} s")
        lines = {}
        for words in COMMANDS:
            before = len(slurm.calls("squeue")) + len(slurm.calls("sacct"))
            taken = seconds([*sweeps, *words], environment, Path(folder))
            asked = (len(slurm.calls("squeue")) + len(slurm.calls("sacct")) - before) / 5
            name = f"`sweeps {' '.join(words)}`"
            beyond = [f"{whole - alone:.2f} s" for whole, alone in zip(taken, start, strict=True)]
            cells = (name, f"{runs:,}", *beyond, f"{asked:.0f}", rows.code())
            lines[name] = f"| {' | '.join(cells)} |"
            print(lines[name])
        rows.record("status", list(lines), lines)


if __name__ == "__main__":
    main()
