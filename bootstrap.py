#!/usr/bin/env python3
"""Sets up an environment in .venv and runs the demo or the tests. Standard library only.

    python3 bootstrap.py demo     train a small sweep on this machine and write demo/report.html
    python3 bootstrap.py test     lint, types and tests
    python3 bootstrap.py setup    only the environment

It can be interrupted, and run twice at once: run it again to continue. This file parses on any Python, old ones
too (no annotations, no f-strings), so that it can report the wrong version in one line.
"""

import argparse
import contextlib
import ctypes.util
import errno
import glob
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile

SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))
NO_LABMAZE = (3, 13)  # from here on labmaze, which dm_control requires and its suite does not use, has no wheels
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
# Made before anything else is in .venv; tells what is installed, or about to be.
MARKER = os.path.join(VENV, "sweeps-bootstrap")
DEMO = os.path.join(ROOT, "demo")
MOST_WORKERS = 8  # each holds torch in memory, and the tests on a Slurm, which one of them runs alone, take the longest
ROOM_MB = 2500  # what the environment takes with the CPU build of torch, and pip while it unpacks
LEFT_OUT = ("cluster", "browser", "training", "docs", "slow")  # by test --quick: markers, see pyproject.toml
DRIVER = "/proc/driver/nvidia/version"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# They would send packages elsewhere or let foreign modules in.
UNWANTED = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")


class Stop(Exception):
    """What is missing and what to do about it, in one line."""


def say(line):
    print("== " + line)
    sys.stdout.flush()


def start(command, **options):
    environment = {key: value for key, value in os.environ.items() if key not in UNWANTED}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return subprocess.Popen(command, cwd=ROOT, env=environment, **options)


def run(command):
    """Exit code of the command; an interrupt reaches the child too, which is given the time to end by itself."""
    child = start(command)
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise


# ---------------------------------------------------------------------------------------------- this machine


def find_python(path):
    """A supported interpreter on the path that starts (a shim may not), or None."""
    for version in reversed(SUPPORTED):
        for folder in path.split(os.pathsep):
            candidate = os.path.join(folder, "python%d.%d" % version)
            if not os.access(candidate, os.X_OK):
                continue
            with open(os.devnull, "w") as null:
                if subprocess.call([candidate, "-c", ""], stdout=null, stderr=null) == 0:
                    return candidate
    return None


def check_python(version, path):
    """Starts again on a supported interpreter where this one is not."""
    if tuple(version[:2]) in SUPPORTED:
        return
    other = find_python(path)
    if other:
        os.execv(other, [other] + sys.argv)
    raise Stop(
        "Python 3.%d to 3.%d is needed and this is %d.%d: install one of them (with uv: `uv python install 3.13`) "
        "and run bootstrap.py with it" % (SUPPORTED[0][1], SUPPORTED[-1][1], version[0], version[1])
    )


def is_root():
    return os.geteuid() == 0


def processors():
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def apt_install(*packages):
    """True when it could: Debian or Ubuntu, and root."""
    if not (is_root() and shutil.which("apt-get")):
        return False
    say("apt-get install " + " ".join(packages))
    quiet = {"stdout": subprocess.DEVNULL, "env": dict(os.environ, DEBIAN_FRONTEND="noninteractive")}
    subprocess.call(["apt-get", "update", "-qq"], **quiet)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    return subprocess.call(install + list(packages), **quiet) == 0


def require_ensurepip():
    """Debian keeps ensurepip, without which a venv is left half made, in a package of its own."""
    present = [sys.executable, "-c", "import ensurepip, venv"]
    if subprocess.call(present, stderr=subprocess.DEVNULL) == 0:
        return
    package = "python%d.%d-venv" % sys.version_info[:2]
    if not (apt_install(package) and subprocess.call(present, stderr=subprocess.DEVNULL) == 0):
        raise Stop(
            "this Python cannot make environments: run `sudo apt-get install %s`, then bootstrap.py again" % package
        )


def offer_compiler():
    """The agent trains without a C compiler too, but slowly."""
    if any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return
    if apt_install("gcc", "libc6-dev"):
        return
    command = "xcode-select --install" if platform.system() == "Darwin" else "sudo apt-get install gcc libc6-dev"
    say(
        "no C compiler: on a CPU the agent takes up to three times as long; install one at any time with `%s`" % command
    )


def torch_build(wanted):
    """Which torch: "cuda" where there is an NVIDIA GPU, "cpu" on other Linux, "plain" on macOS (one build only)."""
    if platform.system() == "Darwin":
        return "plain"
    if wanted != "auto":
        return wanted
    if os.path.exists(DRIVER):
        return "cuda"
    query = shutil.which("nvidia-smi")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return "cuda" if query and subprocess.call([query], **quiet) == 0 else "cpu"


# ------------------------------------------------------------------------------------------------------- pip


class Bar:
    """One line of a terminal, for the many that pip writes. Nothing where the output is no terminal."""

    def __init__(self, expected):
        self.expected, self.collected, self.shown = expected, 0, sys.stdout.isatty()

    def show(self, line):
        """line: the next of pip's."""
        if line.startswith("Collecting "):
            self.collected += 1
            self.draw(0.8 * min(self.collected / float(self.expected), 1), line.split()[1])
        elif line.startswith("Installing collected packages"):
            names = line.partition(":")[2].split(",")
            self.draw(0.8, "unpacking %d packages" % len(names) if len(names) > 1 else "unpacking" + names[0])

    def draw(self, share, text):
        if self.shown:
            filled = int(30 * share)
            sys.stdout.write("\r[%s%s] %-45.45s" % ("#" * filled, "." * (30 - filled), text))
            sys.stdout.flush()

    def clear(self):
        if self.shown:
            sys.stdout.write("\r%78s\r" % "")
            sys.stdout.flush()


def cause(lines):
    """Why pip failed, and what helps; None where its lines do not say. Raises `Stop` where no other source helps."""
    text = "\n".join(lines)
    if "No space left on device" in text:
        places = [(shutil.disk_usage(place).free // 10**6, place) for place in (ROOT, tempfile.gettempdir())]
        free, place = min(places)
        raise Stop(
            "the disk is full: %s has %d MB left, about %d MB are needed; make room, then run bootstrap.py again"
            % (place, free, ROOM_MB)
        )
    if re.search("ProxyError|Cannot connect to proxy|Tunnel connection failed", text):
        names = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        setting = next((name for name in names if os.environ.get(name)), "pip's option proxy")
        raise Stop("the proxy does not answer: set %s to one that does, or unset it" % setting)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "the package index has a certificate that pip does not trust: set PIP_CERT to your site's certificates"
    if re.search("NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Network is unreachable", text):
        return "no package index can be reached: connect this machine, or set PIP_INDEX_URL or PIP_FIND_LINKS"
    return None


def logged(command, expected=1):
    """Exit code, and lines written, of a command whose lines go to .venv/setup.log. expected: packages to collect."""
    bar, lines = Bar(expected), []
    child = start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        with open(os.path.join(VENV, "setup.log"), "ab") as log:
            for raw in iter(child.stdout.readline, b""):
                log.write(raw)
                lines.append(raw.decode("utf-8", "replace").strip())
                bar.show(lines[-1])
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)  # it has it already from a terminal
        raise
    finally:
        bar.clear()
        child.wait()
    return child.returncode, lines


def pip(*arguments, **options):
    """Exit code of `pip install` and the reason of a failure. Raises `Stop` as `cause` does."""
    command = [PYTHON, "-m", "pip", "install", "--progress-bar", "off"]
    code, lines = logged(command + list(arguments), **options)
    if code == 0:
        return 0, ""
    errors = [line[len("ERROR: ") :] for line in lines if line.startswith("ERROR: ")]
    return code, cause(lines) or (errors or lines or ["no reason given"])[-1]


# ------------------------------------------------------------------------------------------- the environment


@contextlib.contextmanager
def locked():
    """One set-up at a time in this checkout; the lock ends with the process, however that ends."""
    import fcntl  # not on Windows

    try:
        handle = open(os.path.join(ROOT, ".venv.lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise Stop("cannot write to %s (%s): use a checkout of your own" % (ROOT, error.strerror))
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another bootstrap.py is setting up here: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def read(name):
    with open(os.path.join(ROOT, name)) as source:
        return source.read()


def fingerprint(build):
    """Changes with whatever would install something else."""
    parts = [sys.version, build, ROOT] + [read(name) for name in ("setup.cfg", "pyproject.toml", "constraints.txt")]
    return hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()


def installed():
    """(fingerprint, build of torch, whether it is whole, extras) of the environment."""
    if os.path.exists(MARKER):
        with open(MARKER) as marker:
            words = marker.read().split()
        if len(words) > 2:  # else a marker that a full disk or an older bootstrap.py left
            return words[0], words[1], words[2] == "whole", words[3:]
    return "", "", False, []


def mark(key, build, state, extras):
    with open(MARKER + ".new", "w") as marker:
        marker.write(" ".join([key, build, state] + extras))
    os.replace(MARKER + ".new", MARKER)


def make_venv(build):
    if os.path.exists(os.path.join(VENV, "bin", "pip")) and not os.path.exists(MARKER):
        raise Stop(
            "%s is an environment that bootstrap.py did not make: move it away, then run bootstrap.py again" % VENV
        )
    if os.path.lexists(VENV):
        say("removing an old or incomplete .venv")
        os.replace(VENV, os.path.join(tempfile.mkdtemp(prefix=".venv.old-", dir=ROOT), "venv"))
    for old in glob.glob(os.path.join(ROOT, ".venv.old-*")):
        shutil.rmtree(old)
    require_ensurepip()
    say("making .venv")
    os.mkdir(VENV)
    mark("-", build, "partial", [])  # not the key: what an interrupt leaves of a venv is made anew
    code, lines = logged([sys.executable, "-m", "venv", VENV])
    if code != 0:
        raise Stop(cause(lines) or "`%s -m venv` failed: %s" % (sys.executable, (lines or [""])[-1]))


def repair():
    """Drops what an interrupted pip left: it writes RECORD last, and takes a package without it for installed."""
    for info in glob.glob(os.path.join(VENV, "lib", "python*", "site-packages", "*.dist-info")):
        if not os.path.exists(os.path.join(info, "RECORD")):
            shutil.rmtree(info)


def install_torch(build):
    """Installs torch ahead of the rest, so that nothing after it can pull in another build."""
    version = re.search(r"^torch==(\S+)", read("constraints.txt"), re.M).group(1)
    if build != "cpu":
        # Three equals signs: not a build with a local label such as +cpu.
        say("installing torch %s" % version)
        code, reason = pip("torch===" + version)
        if code != 0:
            raise Stop("torch %s could not be installed: %s" % (version, reason))
        return
    say("installing torch %s for the CPU (no NVIDIA GPU here; --torch cuda for the other build)" % version)
    wanted = "torch==%s+cpu" % version
    if pip("--no-deps", wanted)[0] == 0:
        return
    say("not in the configured package index, trying PyTorch's own")
    code, reason = pip("--no-deps", "--index-url", CPU_INDEX, "--timeout", "15", "--retries", "1", wanted)
    if code != 0:
        raise Stop(
            "no CPU build of torch %s: %s cannot be reached, and the CUDA build is not used instead; get the "
            "wheel, set PIP_FIND_LINKS to its folder and run bootstrap.py again (%s)" % (version, CPU_INDEX, reason)
        )


def install_project(extras):
    """This checkout, editable, with the pinned dependencies."""
    say("installing the project and its dependencies")
    # Those with a marker, after a semicolon, are for other builds of torch and for extras.
    pins = [line for line in read("constraints.txt").splitlines() if line[:1].isalpha() and ";" not in line]
    project = "." + ("[%s]" % ",".join(extras) if extras else "")
    code, reason = pip("-c", "constraints.txt", "-e", project, expected=len(pins))
    if code == 0 and sys.version_info[:2] >= NO_LABMAZE:
        code, reason = pip("--no-deps", re.search(r"dm_control==[\d.]+", read("setup.cfg")).group())
    if code != 0:
        raise Stop("pip failed: %s (full log: .venv/setup.log)" % reason)


def setup(extras, wanted):
    """Makes .venv whole, from where an earlier set-up was interrupted."""
    with locked():
        current, had, whole, more = installed()
        build = torch_build(wanted)
        if wanted == "auto" and had == "cuda":
            build = had  # somebody said so, on a login node without a GPU
        key = fingerprint(build)
        if current == key and whole and set(extras) <= set(more):
            return
        if current != key:
            make_venv(build)
            whole = False
        repair()
        extras = sorted(set(extras) | set(more))
        mark(key, build, "partial", extras)
        if not whole:
            install_torch(build)
        install_project(extras)
        if build == "cuda" and run([PYTHON, "-c", "import torch; torch.zeros(1).cuda()"]) != 0:
            say("torch cannot use the GPU here (see above): jobs that request a GPU will fail to start")
        if build != "cuda":
            offer_compiler()
        mark(key, build, "whole", extras)


# ------------------------------------------------------------------------------------------------- commands


def demo(options):
    setup([], options.torch)
    sweeps = [os.path.join(VENV, "bin", "sweeps"), "--results", os.path.join(DEMO, "results")]
    report = os.path.join(DEMO, "report.html")
    again = os.path.isdir(DEMO)
    if not again:
        os.mkdir(DEMO)
    say("the tutorial's sweep: two learning rates, five seeds each; about three minutes on two cores")
    # On CPU cores even if there is a GPU, which networks this small keep waiting for launches (docs/speed.md).
    where = ["--cluster", "local", "--profile", "cpu", "--option", "cpus=%d" % max(1, processors() // 2)]
    plan = ["--plan", os.path.join(ROOT, "docs", "tutorial", "first.yaml")]
    how = ["--seeds-per-job", "5", "--checkpoint-minutes", "1", "--wait"]
    trained = run(sweeps + ["submit", "rates"] + plan + where + how)
    if again:
        # What a shutdown or a kill left; submit does not repeat failures unasked.
        trained = run(sweeps + ["rerun", "rates", "--all", "--wait"])
    code = run(sweeps + ["aggregate", "rates", "--out", report]) if trained == 0 else trained
    if code == 0:
        say("report: " + report)
        say("next: docs/tutorial.md, after `. .venv/bin/activate; export SWEEPS_RESULTS=demo/results`")
    return code


def test(options):
    setup(["test"], options.torch)
    linux = platform.system() == "Linux" and not options.quick
    if linux and not shutil.which("slurmctld") and not apt_install("slurm-wlm", "munge"):
        say("the tests on a real Slurm are skipped: they need root and the Debian packages slurm-wlm and munge")
    if linux and not shutil.which("chromium") and not apt_install("chromium"):
        say("the tests of the report in a browser are skipped: they need the Debian package chromium")
    if linux and not ctypes.util.find_library("OSMesa") and not apt_install("libosmesa6"):
        say("the video test is skipped if no other renderer works: it needs the Debian package libosmesa6")
    tests = ["pytest", "-q", "-n", str(min(processors() + 1, MOST_WORKERS))]  # one more: some wait for Slurm or a page
    if options.quick:
        tests += ["-m", "not (%s)" % " or ".join(LEFT_OUT)]
    checks = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], tests)
    failed = []
    for check in checks:
        say(" ".join(check))
        if run([PYTHON, "-m"] + check) != 0:
            failed.append(" ".join(check))
    say("failed: " + ", ".join(failed) if failed else "all passed")
    return 1 if failed else 0


def only_setup(options):
    setup([], options.torch)
    say("ready: . .venv/bin/activate && sweeps --help")
    return 0


COMMANDS = {"demo": demo, "test": test, "setup": only_setup}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument(
        "--torch",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="build of torch; auto looks for a GPU here, so give cuda on a login node without one",
    )
    parser.add_argument("--quick", action="store_true", help="test: skip the slow tests")
    options = parser.parse_args()
    try:
        check_python(sys.version_info, os.environ.get("PATH", ""))
        if platform.system() not in ("Linux", "Darwin"):
            raise Stop("Linux or macOS is needed and this is %s: use WSL" % platform.system())
        return COMMANDS[options.command](options)
    except Stop as reason:
        sys.stderr.write("bootstrap.py: %s\n" % reason)
        return 1
    except OSError as error:
        hint = (
            "make room on the disk, then run bootstrap.py again"
            if error.errno == errno.ENOSPC
            else "check its owner and permissions with `ls -ld`"
        )
        sys.stderr.write("bootstrap.py: %s: %s; %s\n" % (error.filename or ROOT, error.strerror, hint))
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("bootstrap.py: interrupted; run the same command again to continue\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
