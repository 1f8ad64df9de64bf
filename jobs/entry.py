"""`python -P -m jobs.entry SUBMISSION_FOLDER TASK`: the command of every task.

Scripts that wait in Slurm's queue hold this name, so the module stays here; the work is in `jobs.worker.train_job`.
"""

from __future__ import annotations

import sys

from jobs.worker.train_job import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
