"""Tries the faults of `tests/cluster/faults.py` on a real, throw-away Slurm; writes what came of them to docs/slurm.md.

    python benchmarks/faults.py [--accounting] [NAME ...]

Needs Linux and root; a quarter of an hour on an idle machine with two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

import rows  # noqa: E402 - found on the path that was set above
import slurm_cluster  # noqa: E402
from driver import Sweeps  # noqa: E402
from faults import FAULTS  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}; all otherwise")
    parser.add_argument("--accounting", action="store_true", help="on a cluster with slurmdbd")
    options = parser.parse_args()
    unknown = set(options.names) - set(FAULTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    failed = 0
    for name in options.names or FAULTS:
        # a cluster of its own for each: some leave nodes drained behind
        conf = slurm_cluster.start(settings=slurm_cluster.Settings(accounting=options.accounting))
        with tempfile.TemporaryDirectory(prefix="sweeps-fault-") as folder:
            begun = time.monotonic()
            try:
                came = FAULTS[name].try_it(Sweeps(Path(folder), conf))
            except Exception:  # noqa: BLE001 - the table tells it, and the other faults are tried too
                traceback.print_exc()
                came, failed = "NOT AS IT MUST BE, see above", failed + 1
            finally:
                slurm_cluster.stop(conf.parent)
        line = f"| {name} | {FAULTS[name].what} | {came} | {time.monotonic() - begun:.0f} s | {rows.code()} |"
        print(line, flush=True)
        rows.record("faults", list(FAULTS), {name: line})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
