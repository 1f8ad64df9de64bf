"""`python -P -m jobs.entry SUBMISSION_FOLDER TASK`: the command of every task.

Scripts that wait in Slurm's queue hold this name, so the module stays here; the work is in `jobs.worker.train_job`, and
for `sweeps check --cluster` in `jobs.assist.cluster_check`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.worker import train_job


def main(arguments: Sequence[str]) -> int:
    if (Path(arguments[0]) / "check.json").exists():
        from jobs.assist import cluster_check

        return cluster_check.run_in_job(Path(arguments[0]))
    return train_job.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
