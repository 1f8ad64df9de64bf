"""`python -P -m jobs.programs.describe REFERENCE FOLDER OUT`: import an agent and write its description."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.programs.python import describe_to

if __name__ == "__main__":
    describe_to(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
