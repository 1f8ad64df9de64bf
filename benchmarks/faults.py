"""Tries the faults of `tests/cluster/faults.py` on a real, throw-away Slurm; writes what came of them to docs/slurm.md.

    python benchmarks/faults.py [--accounting] [NAME ...]

Needs Linux and root; a quarter of an hour on an idle machine with two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]

import rows  # noqa: E402 - found on the path that was set above
import slurm_cluster  # noqa: E402
from driver import Sweeps  # noqa: E402
from faults import FAULTS  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounting", action="store_true", help="on a cluster with slurmdbd")
    options = rows.chosen(parser, FAULTS)

    def attempt(name: str) -> str:
        # a cluster of its own for each: some leave nodes drained behind
        wanted = FAULTS[name].settings
        conf = slurm_cluster.start(settings=replace(wanted, accounting=wanted.accounting or options.accounting))
        try:
            with tempfile.TemporaryDirectory(prefix="sweeps-fault-") as folder:
                return FAULTS[name].try_it(Sweeps(Path(folder), conf))
        finally:
            slurm_cluster.stop(conf.parent)

    about = {name: fault.what for name, fault in FAULTS.items()}
    return rows.try_each(options.names, attempt, "faults", FAULTS, about=about)


if __name__ == "__main__":
    sys.exit(main())
