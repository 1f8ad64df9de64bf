"""Peak memory of trainings beside what `submit` expects (`tdmpc.memory`), as Markdown. For docs/speed.md.

    python benchmarks/memory.py             five trainings of a few steps on a CPU, about three minutes of two cores
    python benchmarks/memory.py --cases small

Each case is trained by `sweeps submit` with the local backend; `sweeps usage` says what the process used.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tdmpc.config import TrainConfig  # noqa: E402
from tdmpc.memory import expected  # noqa: E402

GB = 2**30
SHORT = {"steps": 24, "seed_steps": 20, "eval_freq": 22, "eval_episodes": 1, "final_eval_episodes": 1, "log_freq": 22}
SMALL = {"mlp_dim": 128, "latent_dim": 64, "enc_dim": 128, "batch_size": 128, "num_samples": 128, "num_pi_trajs": 24,
         "num_elites": 16, "iterations": 4}  # fmt: skip

FEW = {
    "num_samples": 64,
    "num_pi_trajs": 24,
    "num_elites": 16,
    "iterations": 1,
}  # candidates: they take time, not memory


class Case(NamedTuple):
    seeds: int
    overrides: dict[str, object]


CASES = {
    "small": Case(1, {**SMALL, "task": "cartpole-swingup"}),
    "small, 5 seeds": Case(5, {**SMALL, "task": "cartpole-swingup"}),
    "small, dog-run": Case(2, {**SMALL, "task": "dog-run"}),
    "base": Case(1, FEW),
    "base, num_q=5, 8 dynamics heads": Case(2, {**FEW, "num_q": 5, "planner_num_dynamics_heads": 8}),
}


def measured(case: Case, folder: Path) -> float:
    """Peak of the process in GB."""
    base = json.dumps({**SHORT, **case.overrides})  # a YAML mapping too
    plan = f"plan: memory\ntitle: Memory\nbase: {base}\nsweeps: {{one: {{grid: {{lr: [0.0003]}}}}}}\n"
    (folder / "plan.yaml").write_text(plan)
    here = [sys.executable, "-m", "jobs.cli", "--results", str(folder / "results")]
    submit = ["submit", "one", "--plan", str(folder / "plan.yaml"), "--seeds", str(case.seeds), "--cluster", "local",
              "--profile", "cpu", "--seeds-per-job", str(case.seeds), "--wait"]  # fmt: skip
    subprocess.run([*here, *submit], check=True, stdout=sys.stderr)
    usage = json.loads(subprocess.run([*here, "usage", "--json"], check=True, capture_output=True, text=True).stdout)
    return float(usage["submissions"][0]["memory_gb_used"])


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    args = parser.parse_args(argv)
    print("| configuration | seeds | expected, GB | measured, GB | measured / expected |\n|---|---|---|---|---|")
    for name in args.cases:
        case = CASES[name]
        known = expected(TrainConfig.from_dict({**SHORT, **case.overrides})).of_cpu.of(case.seeds) / GB
        with tempfile.TemporaryDirectory() as folder:
            used = measured(case, Path(folder))
        print(f"| {name} | {case.seeds} | {known:.2f} | {used:.2f} | {used / known:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
