"""`python -P -m jobs.reports.last_job RESULTS SUBMISSION`: what runs when all tasks of a submission have ended.

It writes the report of `--then-aggregate`, and sends that the sweep has ended. Scripts that wait in a queue hold this
name.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.backends.job_command import report_command
from jobs.reports.notifications import send_sweep_ended
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError


def main(arguments: Sequence[str]) -> int:
    store = ResultsFolder(Path(arguments[0]))
    submission = store.submissions.read(arguments[1])
    if submission is None:
        raise JobsError(f"{arguments[0]} has no submission {arguments[1]}")
    code = subprocess.run(report_command(store, submission.sweep), check=False).returncode if submission.report else 0
    send_sweep_ended(store, submission)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
