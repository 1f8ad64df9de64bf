"""Runs tests/cluster on the Slurm of each Debian, in chroots, and writes what came of them to docs/slurm.md.

    python benchmarks/slurm_versions.py --root FOLDER [--base FOLDER] [--share PATH ...] [--faults] [SUITE ...]
    python benchmarks/slurm_versions.py --root FOLDER trixie -- -k array    # further words are pytest's; no table

Needs Linux, root and debootstrap. The chroots are FOLDER/SUITE, made where they are absent (some 700 MB each, minutes),
and they stay; --base names a folder of SUITE.base folders that debootstrap made, to be copied. This interpreter and its
packages are used in there, so a suite must not be older than this system. --capture writes what each Slurm said to
tests/jobs/slurm_says.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import rows
from chroots import MIRROR, SUITES, Chroot, ChrootError

# python3 for the libraries that an interpreter of another system needs; gcc for the agent's C kernels
PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server", "python3", "python3-venv", "gcc", "libc6-dev")
RESULT = "cluster-tests.xml"
SAID = rows.ROOT / "tests" / "jobs" / "slurm_says"


def slurm_version(chroot: Chroot) -> str:
    said = chroot.run(["slurmctld", "-V"], stdout=subprocess.PIPE, text=True)
    return said.stdout.split()[-1]


def run_tests(chroot: Chroot, words: list[str], faults: bool, capture: bool) -> str:
    """The cells passed, failed and skipped."""
    result, said = chroot.root / "tmp" / RESULT, chroot.root / "tmp" / "said"
    said.mkdir(exist_ok=True)
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"--junitxml=/tmp/{RESULT}"]
    # the checkout is read-only in there
    env = {"PYTHONPATH": str(rows.ROOT), "PYTHONDONTWRITEBYTECODE": "1", "SWEEPS_CAPTURE": "/tmp/said"}
    env |= {"SWEEPS_FAULTS": "all"} if faults else {}
    chroot.run([*command, *(words or ["-q"]), "tests/cluster"], cwd=str(rows.ROOT), env=env, check=False)
    if not result.exists():
        raise ChrootError("the tests did not begin, see above")
    for path in said.glob("*.txt") if capture else ():
        shutil.copy(path, SAID)
    suite = next(ElementTree.parse(result).getroot().iter("testsuite"))
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    return f"{count['tests'] - failed - count['skipped']} | {failed} | {count['skipped']}"


def try_suite(suite: str, options: argparse.Namespace) -> str:
    """The row of the table."""
    shared = [Path(sys.base_prefix), Path(sys.prefix), rows.ROOT, *options.share]
    base = options.base / f"{suite}.base" if options.base else None
    with Chroot(options.root / suite, suite, base=base, share=shared, mirror=options.mirror) as chroot:
        chroot.install(*PACKAGES)
        (chroot.root / "root").chmod(0o711)  # another user submits too, and this interpreter may lie below it
        begun = time.monotonic()
        cells = run_tests(chroot, options.words, options.faults, options.capture)
        minutes = (time.monotonic() - begun) / 60
        return f"| {suite} | {slurm_version(chroot)} | {cells} | {minutes:.0f} min | {rows.code()} |"


def main() -> int:
    arguments, words = sys.argv[1:], []
    if "--" in arguments:
        position = arguments.index("--")
        arguments, words = arguments[:position], arguments[position + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"default: {', '.join(SUITES)}")
    parser.add_argument("--root", type=Path, required=True, metavar="FOLDER", help="of the chroots")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="of what debootstrap made before")
    parser.add_argument("--share", type=Path, action="append", default=[], metavar="PATH", help="seen in it, read-only")
    parser.add_argument("--mirror", default=MIRROR)
    parser.add_argument("--faults", action="store_true", help="all faults, not the quick ones alone")
    parser.add_argument("--capture", action="store_true", help="keep what each Slurm said, for the tests without one")
    options = parser.parse_args(arguments)
    options.words = words
    failed = 0
    for suite in options.suites or SUITES:
        try:
            row = try_suite(suite, options)
        except (ChrootError, subprocess.CalledProcessError) as error:
            print(f"slurm_versions.py: {suite}: {error}", file=sys.stderr)
            failed += 1
            continue
        print(row, flush=True)
        failed += row.split("|")[4].strip() != "0"
        if not words:
            rows.record("versions", tuple(SUITES), {suite: row})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
