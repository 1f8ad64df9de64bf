"""The README's commands on bare Debians: made by debootstrap, as root and as a user, with and without a compiler.

    python benchmarks/fresh_machines.py --folder /var/tmp/machines [--suite trixie ...] [--user root ...]
        [--command test ...]

Needs Linux, root and debootstrap. Each case is a new system and a new clone of this checkout's last commit. A user's
system has the packages that the README names, as a user cannot install them; root's has Python and git. One row of the
table is printed after each command, and the output of each is kept beside the systems. `--share FOLDER` makes a folder
of this system visible, such as one of wheels that PIP_FIND_LINKS names.
"""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from chroots import SUITES, Chroot, ChrootError

ROOT = Path(__file__).resolve().parent.parent
COMPILER = ("gcc", "libc6-dev")
# What was printed last but for these tells how a command ended.
SUMMARY = re.compile(r"^=+ .*(passed|failed).* in |^== (report|ready|failed|all passed)|^bootstrap\.py: ")
COMMANDS = {
    "demo": "python3 bootstrap.py demo",
    "test": "python3 bootstrap.py test",
    "setup": "python3 bootstrap.py setup",
    "pip": "python3 -m venv /tmp/pip && /tmp/pip/bin/pip install -c constraints.txt -e . && "
    "/tmp/pip/bin/sweeps --version",
    "wheel": "python3 -m venv /tmp/wheel && /tmp/wheel/bin/pip install -c constraints.txt . && "
    "/tmp/wheel/bin/sweeps --version",
}


def machine(folder: Path, suite: str, user: str, compiler: bool) -> Path:
    return folder / f"{suite}-{user}{'-gcc' if compiler else ''}"


def prepare(chroot: Chroot, user: str, compiler: bool) -> str:
    """A clone of the checkout in a new system; its path there."""
    venv = ["python3-venv"] if user != "root" else []
    chroot.install("python3", "ca-certificates", "git", *venv, *(COMPILER if compiler else ()))
    home = "/root" if user == "root" else f"/home/{user}"
    if user != "root":
        chroot.run(["useradd", "--create-home", user], check=False, stderr=subprocess.DEVNULL)
    clone = chroot.root / home.lstrip("/") / "sweeps"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    chroot.run(["chown", "-R", f"{user}:", f"{home}/sweeps"])
    return f"{home}/sweeps"


def used_mb(root: Path) -> int:
    done = subprocess.run(["du", "-xsm", str(root)], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0])


def measure(chroot: Chroot, user: str, clone: str, command: str, log: Path) -> tuple[str, float, int]:
    """(how it ended, minutes, MB that it left on the disk) of a command of the README."""
    before, began = used_mb(chroot.root), time.monotonic()
    with log.open("wb") as output:
        done = chroot.run(
            ["sh", "-c", COMMANDS[command]], user=user, cwd=clone, env={"HOME": str(Path(clone).parent)},
            check=False, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    minutes = (time.monotonic() - began) / 60
    lines = log.read_text(errors="replace").splitlines() or ["nothing printed"]
    ends = [line for line in lines if SUMMARY.search(line)][-2:] or lines[-1:]
    said = "; ".join(line.strip("= ") for line in ends)
    failed = "" if done.returncode == 0 else f"exit code {done.returncode}: "
    return failed + said, minutes, used_mb(chroot.root) - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the systems are made; several GB each")
    parser.add_argument("--suite", action="append", choices=list(SUITES), default=None)
    parser.add_argument("--user", action="append", choices=["root", "user"], default=None)
    parser.add_argument("--compiler", action="append", choices=["yes", "no"], default=None)
    parser.add_argument("--command", action="append", choices=list(COMMANDS), default=None)
    parser.add_argument("--share", action="append", type=Path, default=[], metavar="PATH")
    parser.add_argument("--keep", action="store_true", help="keep the systems")
    options = parser.parse_args()
    cases = itertools.product(
        options.suite or SUITES, options.user or ["root", "user"], options.compiler or ["yes", "no"]
    )
    print("| machine | as | gcc | command | ended with | minutes | MB |\n|---|---|---|---|---|---|---|", flush=True)
    for suite, user, compiler in cases:
        root = machine(options.folder, suite, user, compiler == "yes")
        shutil.rmtree(root, ignore_errors=True)
        try:
            with Chroot(root, suite, base=options.folder / suite, share=options.share) as chroot:
                clone = prepare(chroot, user, compiler == "yes")
                for command in options.command or ["demo", "test"]:
                    log = options.folder / f"{root.name}-{command}.log"
                    said, minutes, size = measure(chroot, user, clone, command, log)
                    cells = (
                        SUITES[suite],
                        user,
                        compiler,
                        command,
                        said.replace("|", "/"),
                        f"{minutes:.1f}",
                        str(size),
                    )
                    print(f"| {' | '.join(cells)} |", flush=True)
        except ChrootError as error:
            print(f"fresh_machines.py: {error}", file=sys.stderr)
            return 1
        if not options.keep:
            shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
