"""The tests on the newest or the lowest versions that setup.cfg allows, in an environment of their own.

    python benchmarks/versions.py newest [--python 3.12] [--torch WHEEL] [-- PYTEST OPTIONS]
    python benchmarks/versions.py lowest

Needs uv. The environment is .venv.newest or .venv.lowest, made anew each time. torch is the build for CPUs, from
PyTorch's own index, or the wheel that is given. Prints the versions that were run and how the tests ended.
"""

from __future__ import annotations

import argparse
import configparser
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESOLUTIONS = {"newest": "highest", "lowest": "lowest-direct"}


def requirements() -> dict[str, str]:
    """Those of the project and of its tests by name, without markers."""
    read = configparser.ConfigParser()
    read.read(ROOT / "setup.cfg")
    text = f"{read['options']['install_requires']}\n{read['options.extras_require']['test']}"
    lines = [line.partition(";")[0].strip() for line in text.splitlines() if line]
    return {re.split(r"[=<>~!]", line)[0]: line for line in lines}


def install(which: str, python: str, wheel: Path | None) -> Path:
    """Makes the environment; its interpreter."""
    folder = ROOT / f".venv.{which}"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", python, str(folder)], check=True)
    interpreter = folder / "bin" / "python"
    pip = [*uv, "pip", "install", "--quiet", "--python", str(interpreter)]
    stated = requirements()
    torch = stated["torch"].replace(">=", "==") if which == "lowest" else stated["torch"]
    subprocess.run([*pip, *(["--no-deps", str(wheel)] if wheel else ["--torch-backend", "cpu", torch])], check=True)
    script = "from importlib.metadata import version; print('torch==' + version('torch'))"
    held = subprocess.run([str(interpreter), "-c", script], capture_output=True, text=True, check=True).stdout
    (folder / "torch.txt").write_text(held)  # so that nothing that follows takes another build
    options = ["--resolution", RESOLUTIONS[which], "-c", str(folder / "torch.txt")]
    # dm_control by name: the project does not require it on every Python. uv leaves labmaze out there (pyproject.toml).
    subprocess.run([*pip, *options, "-e", ".[test]", stated["dm_control"]], cwd=ROOT, check=True)
    return interpreter


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=list(RESOLUTIONS))
    parser.add_argument("--python", default=sys.executable, metavar="VERSION")
    parser.add_argument("--torch", type=Path, metavar="WHEEL")
    parser.add_argument("pytest", nargs="*", metavar="PYTEST OPTION")
    options = parser.parse_args()
    try:
        interpreter = install(options.which, options.python, options.torch)
    except subprocess.CalledProcessError as error:
        print(f"versions.py: `{' '.join(map(str, error.cmd))}` failed, see above", file=sys.stderr)
        return 1
    names = sorted(requirements())
    script = f"from importlib.metadata import version; print(', '.join(f'{{n}} {{version(n)}}' for n in {names}))"
    subprocess.run([str(interpreter), "-V"], check=True)
    subprocess.run([str(interpreter), "-c", script], check=True)
    tests = options.pytest or ["-q", "-n", "auto"]
    return subprocess.run([str(interpreter), "-m", "pytest", *tests], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
