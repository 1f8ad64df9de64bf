"""The packaged plan walked from its first sweep to the last decision, six seeds of seconds each, two of them a task.

    python benchmarks/walk.py [NAME ...]

`sweeps next` leads: ensemble, adopt, update-freq and gamma together, adopt, entropy, adopt, report. On this machine and
on a throw-away Slurm (Linux and root); writes what came of each to docs/decisions.md. Over 200 runs a time: a quarter
of an hour each on an idle machine with two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

import plan_walk  # noqa: E402 - found on the path that was set above
import rows  # noqa: E402
import slurm_cluster  # noqa: E402
from driver import Sweeps  # noqa: E402

BACKENDS = ("local", "slurm")
# Episodes of ten agent steps; of everything so little that a run takes seconds, most of them imports.
TINY = {
    "action_repeat": 100, "seed_steps": 20, "batch_size": 16, "iterations": 1, "num_samples": 8, "num_pi_trajs": 4,
    "num_elites": 4, "log_freq": 5, "eval_freq": 10, "eval_episodes": 1, "final_eval_episodes": 2,
}  # fmt: skip
VALUES = ("--preset", "small", "--steps", "40", *(w for k, v in TINY.items() for w in ("--set", f"{k}={v}")))
PATIENCE_S = 3600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = rows.chosen(parser, BACKENDS).names
    return rows.try_each(names, _walked, "walks", BACKENDS, ROOT / "docs" / "decisions.md")


def _walked(backend: str) -> str:
    conf = slurm_cluster.start() if backend == "slurm" else None
    try:
        with tempfile.TemporaryDirectory(prefix="sweeps-walk-") as folder:
            sweeps = Sweeps(Path(folder), conf)
            asked = ("--cluster", backend, "--profile", "cpu", "--seeds-per-job", "2")
            plan_walk.walk(sweeps, VALUES, asked, patience_s=PATIENCE_S)
            return plan_walk.check(sweeps)
    finally:
        if conf is not None:
            slurm_cluster.stop(conf.parent)


if __name__ == "__main__":
    sys.exit(main())
