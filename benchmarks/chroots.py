"""Another Debian or Ubuntu in a folder: made by debootstrap, entered by chroot. Standard library only; Linux, as root.

    python benchmarks/chroots.py SUITE FOLDER [--base FOLDER] [--share PATH ...] [--install PACKAGE ...] -- COMMAND ...

Its mounts and its processes lie in namespaces of their own, which end with the process that entered: nothing of it is
mounted in the rest of the system, no deletion can reach what is shared, and no daemon stays behind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13", "forky": "Debian testing"}
MIRROR = "http://deb.debian.org/debian"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How the network is reached: proxies, certificates, pip's own. The rest of the caller's environment stays out.
PASSED = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# The first process of the namespaces ($1: the root; then what is shared). It lives as long as its standard input is
# open, so that it ends with whoever entered, however that ends, and everything else in there with it. SIGCHLD is
# ignored so that the kernel reaps what daemons leave.
INIT = """\
set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
for path in "$@"; do
    mount --rbind "$path" "$root$path"
    mount -o remount,bind,ro "$root$path"
done
read -r pid rest < /proc/self/stat
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -m 1777 "$root/run/lock"
echo "$pid"
trap '' CHLD
exec cat
"""


class ChrootError(RuntimeError):
    """Why there is no such system, in one line."""


class Chroot:
    """`suite` in the folder `root`, which is made where it is absent, and stays. Enter it with `with`.

    base: a folder with the same suite, freshly installed, that is copied instead; made first where it is absent.
    share: files and folders of this system, seen read-only at the same path: wheels, certificates, apt's configuration.
    """

    def __init__(
        self, root: Path, suite: str, *, base: Path | None = None, share: Sequence[Path] = (), mirror: str = MIRROR
    ) -> None:
        self.root, self.suite, self.base, self.mirror = root.absolute(), suite, base and base.absolute(), mirror
        self.share = [path.absolute() for path in share]
        self._init: subprocess.Popen[str] | None = None
        self._pid = ""

    def __enter__(self) -> Chroot:
        missing = [name for name in ("debootstrap", "unshare", "nsenter") if shutil.which(name, path=_path()) is None]
        if sys.platform != "linux" or os.geteuid() != 0 or missing:
            raise ChrootError(f"a chroot needs Linux, root{', and '.join(['', *missing])}")
        self._make()
        for name in ("resolv.conf", "hosts"):
            shutil.copyfile(f"/etc/{name}", self.root / "etc" / name)
        for path in self.share:
            inside = self.root / path.relative_to("/")
            if path.is_dir():
                inside.mkdir(parents=True, exist_ok=True)
            else:
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.touch()
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INIT, "sh"]
        self._init = subprocess.Popen(
            [*command, str(self.root), *map(str, self.share)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._init.stdout is not None
        self._pid = self._init.stdout.readline().strip()
        if not self._pid:
            raise ChrootError(f"{self.root}: no namespaces or mounts of its own")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._init is not None
        self._init.communicate()  # closes its input

    def run(
        self, command: Sequence[str], *, user: str = "root", env: Mapping[str, str] = {}, cwd: str = "/",
        check: bool = True, **more: Any,
    ) -> subprocess.CompletedProcess[Any]:  # fmt: skip
        """Runs it inside, with little of this environment (`PASSED`). more: as for `subprocess.run`.

        What it leaves running goes on until the chroot is left.
        """
        home = {"HOME": "/root" if user == "root" else "/tmp", "USER": user, "LOGNAME": user}
        passed = {name: value for name, value in os.environ.items() if name.upper().startswith(PASSED)}
        enter = ["nsenter", f"--target={self._pid}", "--mount", "--pid", "chroot", f"--userspec={user}", str(self.root)]
        return subprocess.run(
            [*enter, "env", "-C", cwd, *command], check=check,
            env={"PATH": PATH, "LANG": "C.UTF-8", **home, **passed, **env}, **more,
        )  # fmt: skip

    def install(self, *packages: str) -> None:
        """Packages of the suite, without what they only recommend; those that are there already cost nothing."""
        query = self.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", *packages], check=False,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        missing = set(packages) - {
            line.split()[1] for line in query.stdout.splitlines() if line.startswith("installed ")
        }
        if not missing:
            return
        # Packages may write where something is shared, as ca-certificates does; apt's own configuration is needed.
        hidden = [str(path) for path in self.share if Path("/etc/apt") not in path.parents]
        program = 'for path in $HIDDEN; do umount -l "$path"; done; exec apt-get -qq "$@"'
        for words in (["update"], ["install", "-y", "--no-install-recommends", *sorted(missing)]):
            done = self.run(
                ["unshare", "--mount", "sh", "-c", program, "sh", *words], check=False, text=True,
                env={"DEBIAN_FRONTEND": "noninteractive", "HIDDEN": " ".join(hidden)},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            if done.returncode != 0:
                raise ChrootError(f"apt-get {' '.join(words)}: {' / '.join(done.stdout.splitlines()[-10:])}")

    def _make(self) -> None:
        if not (self.root / "etc" / "os-release").exists():
            if self.base is None:
                _debootstrap(self.suite, self.root, self.mirror)
            else:
                if not (self.base / "etc" / "os-release").exists():
                    _debootstrap(self.suite, self.base, self.mirror)
                subprocess.run(["cp", "-a", "--reflink=auto", f"{self.base}/.", str(self.root)], check=True)
        policy = self.root / "usr" / "sbin" / "policy-rc.d"  # no package starts its daemons
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        # Of a mirror that lags behind, the index of testing has expired.
        apt = self.root / "etc" / "apt" / "apt.conf.d" / "90-expired"
        apt.parent.mkdir(parents=True, exist_ok=True)
        apt.write_text('Acquire::Check-Valid-Until "false";\n')


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:{PATH}"


def _debootstrap(suite: str, root: Path, mirror: str) -> None:
    """Made under another name and moved, so that what was interrupted is not taken for a system."""
    made = root.with_name(f"{root.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    command = ["debootstrap", "--variant=minbase", suite, str(made), mirror]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": _path()}, check=False)
    if done.returncode != 0:
        raise ChrootError(f"debootstrap {suite}: {(done.stdout.strip().splitlines() or ['failed'])[-1]}")
    made.rename(root)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", help=f"such as {', '.join(SUITES)}")
    parser.add_argument("root", type=Path, metavar="FOLDER", help="where it lies, or is made")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="copied from there, to save the download")
    parser.add_argument("--share", type=Path, action="append", default=[], metavar="PATH", help="seen in it, read-only")
    parser.add_argument("--install", action="append", default=[], metavar="PACKAGE")
    parser.add_argument("--mirror", default=MIRROR)
    parser.add_argument("--user", default="root")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        with Chroot(
            options.root, options.suite, base=options.base, share=options.share, mirror=options.mirror
        ) as chroot:
            if options.install:
                chroot.install(*options.install)
            return chroot.run(options.command, user=options.user, check=False).returncode
    except ChrootError as error:
        print(f"chroots.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
