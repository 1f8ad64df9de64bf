#!/usr/bin/env python3
"""Sets up an environment in .venv and runs the demo or the tests. Standard library only.

    python3 bootstrap.py demo     train a small sweep on this machine and write demo/report.html
    python3 bootstrap.py test     lint, types and tests
    python3 bootstrap.py setup    only the environment

Interrupted or run twice at once it does no harm: run it again. This file parses on any Python, old ones too
(no annotations, no f-strings), so that the wrong version is told in one line.
"""

import argparse
import contextlib
import ctypes.util
import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

SUPPORTED = ((3, 11), (3, 12))
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "bin")
# Made before anything else is in .venv; holds the fingerprint of what is installed, and nothing while it is not whole.
MARKER = os.path.join(VENV, "sweeps-bootstrap")
DEMO = os.path.join(ROOT, "demo")
MOST_WORKERS = 8  # each holds torch in memory, and the tests on a Slurm, which one of them runs alone, take the longest
DRIVER = "/proc/driver/nvidia/version"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# They would send packages elsewhere or let foreign modules in.
UNWANTED = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")


class Stop(Exception):
    """What is missing and what to do about it, in one line."""


def say(line):
    print("== " + line)
    sys.stdout.flush()


def run(command, **options):
    """Exit code of the command; an interrupt reaches the child too, which is given the time to end by itself."""
    environment = {key: value for key, value in os.environ.items() if key not in UNWANTED}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    child = subprocess.Popen(command, cwd=ROOT, env=environment, **options)
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise


def quietly(command):
    """Exit code and the last line of what it wrote to standard error."""
    with open(os.path.join(VENV, "setup.log"), "ab") as log:
        start = log.tell()
        code = run(command, stderr=log)
    with open(log.name, "rb") as log:
        log.seek(start)
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return code, lines[-1].replace("ERROR: ", "") if lines else "no reason given"


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
        "Python 3.11 or 3.12 is needed and this is %d.%d (dm_control has no wheels for others): "
        "install python3.11 and run this again" % tuple(version[:2])
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
    return (
        subprocess.call(["apt-get", "install", "-y", "-qq", "--no-install-recommends"] + list(packages), **quiet) == 0
    )


def require_ensurepip():
    """Debian keeps ensurepip, without which a venv is left half made, in a package of its own."""
    present = [sys.executable, "-c", "import ensurepip, venv"]
    if subprocess.call(present, stderr=subprocess.DEVNULL) == 0:
        return
    package = "python%d.%d-venv" % sys.version_info[:2]
    if not (apt_install(package) and subprocess.call(present, stderr=subprocess.DEVNULL) == 0):
        raise Stop("this Python cannot make environments: run `sudo apt-get install %s`, then this again" % package)


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


def fingerprint(build):
    """Changes with whatever would install something else."""
    digest = hashlib.sha256(("%s %s %s" % (sys.version, build, ROOT)).encode())
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt"):
        with open(os.path.join(ROOT, name), "rb") as source:
            digest.update(source.read())
    return digest.hexdigest()


def installed():
    """(fingerprint, build of torch, extras) of the environment; "-" for the fingerprint of half of one."""
    if not os.path.exists(MARKER):
        return "-", "", []
    with open(MARKER) as marker:
        words = marker.read().split()
    if len(words) < 2:  # a marker that a full disk or an older bootstrap.py left
        return "-", "", []
    return words[0], words[1], words[2:]


def mark(key, build, extras):
    """Notes what the environment holds, or is about to hold (key "-")."""
    with open(MARKER + ".new", "w") as marker:
        marker.write(" ".join([key, build] + extras))
    os.replace(MARKER + ".new", MARKER)


def make_venv(build):
    if os.path.exists(os.path.join(BIN, "pip")) and not os.path.exists(MARKER):
        raise Stop("%s is an environment that bootstrap.py did not make: move it away, then run this again" % VENV)
    if os.path.lexists(VENV):
        say("removing an old or half-made .venv")
        os.replace(VENV, os.path.join(tempfile.mkdtemp(prefix=".venv.old-", dir=ROOT), "venv"))
    for old in glob.glob(os.path.join(ROOT, ".venv.old-*")):
        shutil.rmtree(old)
    require_ensurepip()
    say("making .venv")
    os.mkdir(VENV)
    mark("-", build, [])
    if run([sys.executable, "-m", "venv", VENV]) != 0:
        raise Stop("`%s -m venv` failed, see above" % sys.executable)


def pip(*arguments):
    return [os.path.join(BIN, "python"), "-m", "pip", "install"] + list(arguments)


def install_torch(build):
    """Installs torch ahead of the rest, so that nothing after it can pull in another build."""
    with open(os.path.join(ROOT, "constraints.txt")) as constraints:
        version = re.search(r"^torch==(\S+)", constraints.read(), re.M).group(1)
    if build != "cpu":
        # Three equals signs: not a build with a local label such as +cpu.
        say("installing torch %s" % version)
        code, reason = quietly(pip("torch===" + version))
        if code != 0:
            raise Stop("torch %s could not be installed: %s" % (version, reason))
        return
    say("installing torch %s for the CPU (no NVIDIA GPU here; --torch cuda for the other build)" % version)
    wanted = "torch==%s+cpu" % version
    if quietly(pip("--no-deps", wanted))[0] == 0:
        return
    say("not among the configured package sources, asking PyTorch's own")
    code, reason = quietly(pip("--no-deps", "--index-url", CPU_INDEX, "--timeout", "15", "--retries", "1", wanted))
    if code != 0:
        raise Stop(
            "no CPU build of torch %s: %s is out of reach, and CUDA is not downloaded in its place; get the wheel, "
            "set PIP_FIND_LINKS to its folder and run this again (%s)" % (version, CPU_INDEX, reason)
        )


def setup(extras, wanted):
    """Makes .venv whole: pinned dependencies and this checkout, editable."""
    with locked():
        current, had, more = installed()
        build = torch_build(wanted)
        if wanted == "auto" and had == "cuda":
            build = had  # somebody said so, on a login node without a GPU
        key = fingerprint(build)
        if current == key and set(extras) <= set(more):
            return
        if current != key:
            make_venv(build)
            install_torch(build)
        extras = sorted(set(extras) | set(more))
        mark("-", build, extras)
        say("installing the project and its dependencies")
        project = "." + ("[%s]" % ",".join(extras) if extras else "")
        code, reason = quietly(pip("-c", "constraints.txt", "-e", project))
        if code != 0:
            raise Stop("pip failed: %s (all of it in .venv/setup.log)" % reason)
        if build == "cuda" and run([os.path.join(BIN, "python"), "-c", "import torch; torch.zeros(1).cuda()"]) != 0:
            say("torch does not reach the GPU from here (see above): jobs that ask for one will refuse to start")
        mark(key, build, extras)


# ------------------------------------------------------------------------------------------------- commands


def demo(options):
    setup([], options.torch)
    sweeps = [os.path.join(BIN, "sweeps"), "--results", os.path.join(DEMO, "results")]
    report = os.path.join(DEMO, "report.html")
    again = os.path.isdir(DEMO)
    if not again:
        os.mkdir(DEMO)
    say("the tutorial's sweep: two learning rates, five seeds each; five to six minutes on two cores")
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
        say("on from here: docs/tutorial.md, after `. .venv/bin/activate; export SWEEPS_RESULTS=demo/results`")
    return code


def test(options):
    setup(["test"], options.torch)
    linux = platform.system() == "Linux"
    if linux and not shutil.which("slurmctld") and not apt_install("slurm-wlm", "munge"):
        say("the tests on a real Slurm are skipped: they want root and the Debian packages slurm-wlm and munge")
    if linux and not shutil.which("chromium") and not apt_install("chromium"):
        say("the tests of the report in a browser are skipped: they want the Debian package chromium")
    if linux and not ctypes.util.find_library("OSMesa") and not apt_install("libosmesa6"):
        say("the test that films is skipped where nothing else draws: it wants the Debian package libosmesa6")
    tests = ["pytest", "-q", "-n", str(min(processors(), MOST_WORKERS))]
    checks = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], tests)
    failed = []
    for check in checks:
        say(" ".join(check))
        if run([os.path.join(BIN, "python"), "-m"] + check) != 0:
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
        help="which build; auto looks for a GPU here, so say cuda on a login node without one",
    )
    options = parser.parse_args()
    try:
        check_python(sys.version_info, os.environ.get("PATH", ""))
        if platform.system() not in ("Linux", "Darwin"):
            raise Stop("Linux or macOS is needed and this is %s: use WSL" % platform.system())
        return COMMANDS[options.command](options)
    except Stop as reason:
        sys.stderr.write("bootstrap.py: %s\n" % reason)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("bootstrap.py: interrupted; run the same command again to go on\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
