"""The wheel and the editable install work from any folder, whatever that folder holds."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

PACKAGES = ("sweepwise", "tdmpc", "jobs", "aggregate", "plots", "slurm_templates")
# What a user's folder may hold under the very names of our packages and dependencies.
HOSTILE = ("plots", "jobs", "aggregate", "tdmpc", "sweepwise", "sweeps", "yaml", "click")
TINY = """\
plan: tiny
seeds: 1-1
base: {task: pendulum-swingup, action_repeat: 100, steps: 30, seed_steps: 20, utd_ratio: 1, batch_size: 8, mlp_dim: 32,
  enc_dim: 32, latent_dim: 32, num_rollouts: 1, iterations: 1, num_samples: 8, num_pi_trajs: 4, num_elites: 4,
  eval_freq: 1000, eval_episodes: 1, final_eval_episodes: 1, log_freq: 5}
sweeps:
  one: {goal: see that it trains, grid: {tau: [0.01]}}
"""
LOAD = """
import json, sys
import sweepwise
try:
    print(json.dumps(sweepwise.load(sys.argv[1]).runs["state"].tolist()))
except sweepwise.SweepsError as error:
    print(f"error: {error}")
"""


def pip(*arguments: str, python: Path | str = sys.executable) -> None:
    """Runs pip without the network: setuptools is taken from this environment."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments, "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--no-index", "-q"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sources(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked and new files: a build writes beside its sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in PACKAGES:  # without what is written while others import
        shutil.copytree(repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", str(sources), "-w", str(folder))
    (found,) = folder.glob("sweepwise-*.whl")
    return found


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This environment's packages but for the project itself, however that is installed here."""
    folder = tmp_path_factory.mktemp("dependencies")
    installed = sorted(Path(sysconfig.get_path("purelib")).iterdir())
    for path in installed:
        if not re.match(r"(sweepwise-|__editable__|.*\.pth$|__pycache__)", path.name) and path.name not in PACKAGES:
            (folder / path.name).symlink_to(path)
    return folder


def environment(folder: Path, dependencies: Path) -> Path:
    """A fresh environment that sees the dependencies; its python."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module", params=["wheel", "editable"])
def what(request: pytest.FixtureRequest) -> list[str]:
    """What pip is to install: one way or the other."""
    wheel = request.param == "wheel"
    return [str(request.getfixturevalue("wheel"))] if wheel else ["-e", str(request.getfixturevalue("sources"))]


@pytest.fixture(scope="module")
def sweeps(what: list[str], dependencies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `sweeps` of an environment that no test changes."""
    python = environment(tmp_path_factory.mktemp("shared") / "venv", dependencies)
    pip("install", *what, python=python)
    return python.with_name("sweeps")


@pytest.fixture
def own_sweeps(what: list[str], dependencies: Path, tmp_path: Path) -> Path:
    """The command `sweeps` of an environment of the test's own."""
    python = environment(tmp_path / "venv", dependencies)
    pip("install", *what, python=python)
    return python.with_name("sweeps")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working directory with files of those names, and with a folder `sweeps` as a results folder has."""
    folder = tmp_path / "elsewhere"
    (folder / "sweeps").mkdir(parents=True)
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(f"raise SystemExit('the user\\'s own {name}.py was imported')\n")
    return folder


@pytest.fixture(scope="module")
def other_sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources of a distribution `sweeps` with a package `sweeps`, as PyPI has one; its import fails."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "sweeps").mkdir()
    (folder / "sweeps" / "__init__.py").write_text("raise SystemExit('the other package sweeps was imported')\n")
    (folder / "setup.cfg").write_text("[metadata]\nname = sweeps\nversion = 9.9.9\n[options]\npackages = sweeps\n")
    (folder / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n')
    return folder


def call(sweeps: Path, folder: Path, *arguments: str) -> str:
    """What a command prints, run in the folder with a clean environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SWEEPS"))}
    done = subprocess.run([sweeps, *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_installed_it_runs_in_a_folder_with_the_same_names(sweeps: Path, hostile: Path) -> None:
    assert "Usage: sweeps" in call(sweeps, hostile, "--help")
    assert "ensemble" in call(sweeps, hostile, "plan")  # reads the packaged plan
    assert "profile" in call(sweeps, hostile, "submit", "--help")


def test_a_local_job_does_not_see_the_folder_either(sweeps: Path, hostile: Path) -> None:
    """The plan for a job is its exact command: it starts with -P, and the folder is not on its path."""
    text = call(sweeps, hostile, "submit", "ensemble", "--seeds", "1", "--cluster", "local", "--dry-run")
    commands = [line for line in text.splitlines() if "jobs.entry" in line]
    assert commands
    assert all(" -P -m jobs.entry" in line for line in commands)
    assert not (hostile / "results").exists()


def test_local_jobs_train_in_a_folder_with_the_same_names(sweeps: Path, hostile: Path) -> None:
    """The command, the scheduler, the task and the Python API, each with the user's files in or beside its folder."""
    results = hostile / "results"
    results.mkdir()
    for name in HOSTILE:  # tasks run in the results folder
        shutil.copy(hostile / f"{name}.py", results)
    (hostile / "plan.yaml").write_text(TINY)
    call(sweeps, hostile, "submit", "one", "--plan", "plan.yaml", "--profile", "cpu", "--cluster", "local", "--wait")
    (outcome,) = results.glob("runs/*/seed-1/outcome/001.json")
    assert json.loads(outcome.read_text())["state"] == "finished"
    assert call(sweeps.with_name("python"), hostile, "-P", "-c", LOAD, str(results)) == '["done"]\n'


def test_a_script_beside_a_file_that_hides_a_package_gets_a_one_line_error(sweeps: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LOAD)
    (tmp_path / "sweeps.py").touch()
    (tmp_path / "plots.py").touch()
    missing = tmp_path / "missing"
    python = sweeps.with_name("python")
    assert call(python, tmp_path, str(script), str(missing)).startswith(f"error: nothing was submitted to {missing};")
    (tmp_path / "jobs.py").touch()
    said = f"error: import jobs finds {tmp_path / 'jobs.py'}, which hides the package of sweepwise; rename that file\n"
    assert call(python, tmp_path, str(script), str(missing)) == said


def test_a_distribution_sweeps_beside_it_does_no_harm(own_sweeps: Path, other_sweeps: Path, tmp_path: Path) -> None:
    python = own_sweeps.with_name("python")
    before = [call(own_sweeps, tmp_path, *words) for words in (["--version"], ["plan"], ["plan", "ensemble"])]
    pip("install", str(other_sweeps), python=python)
    after = [call(own_sweeps, tmp_path, *words) for words in (["--version"], ["plan"], ["plan", "ensemble"])]
    assert after == before
    assert re.fullmatch(r"sweeps \d+\.\d+\.\d+\n", after[0])
    assert call(python, tmp_path, "-c", "import sweepwise; print(sweepwise.load.__name__)") == "load\n"
    installed = "from importlib.metadata import version; print(version('sweeps'))"
    assert call(python, tmp_path, "-c", installed) == "9.9.9\n"


def test_every_module_and_every_data_file_is_in_the_wheel(wheel: Path, sources: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    suffixes = {".py", ".yaml", ".j2", ".css", ".js", ".sh", ".c", ".h", ".typed"}
    files = {p.relative_to(sources).as_posix() for name in PACKAGES for p in (sources / name).rglob("*")}
    expected = {name for name in files if Path(name).suffix in suffixes}
    assert {"jobs/planning/stability.yaml", "jobs/planning/presets.yaml", "slurm_templates/gpu.yaml"} <= expected
    assert held == expected


def test_the_wheel_names_its_licence_and_its_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    assert any(name.endswith("LICENSE") for name in names)
    (entry,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "sweeps = jobs.cli:main" in archive.read(entry).decode()


def declared(repository: Path) -> dict[str, str]:
    """Requirement names -> their ranges, of install_requires and all extras."""
    read = configparser.ConfigParser()
    read.read(repository / "setup.cfg")
    lines = f"{read['options']['install_requires']}\n{read['options.extras_require']['test']}".splitlines()
    split = [re.fullmatch(r"([A-Za-z0-9_.-]+?)([=<>!~][^;]*)?(;.*)?", line) for line in lines]
    return {match[1].lower().replace("_", "-"): match[2] or "" for match in split if match}


def pinned(repository: Path) -> dict[str, str]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    return dict(line.partition(" ")[0].split("==") for line in lines if line and not line.startswith("#"))


def test_every_requirement_is_pinned_within_its_range(repository: Path) -> None:
    specifiers = pytest.importorskip("packaging.specifiers")
    pins = pinned(repository)
    ranges = declared(repository)
    assert len(ranges) > 12
    outside = [name for name, span in ranges.items() if pins.get(name, "0") not in specifiers.SpecifierSet(span)]
    assert outside == []


def test_mujoco_and_dm_control_are_the_pair_that_works(repository: Path) -> None:
    ranges = declared(repository)
    assert (ranges["mujoco"], ranges["dm-control"]) == ("==3.17.0", "==1.0.50")


def test_the_lock_is_of_these_requirements(repository: Path) -> None:
    """`uv lock --check` needs the package index; `uv export` does not."""
    uv = [sys.executable, "-m", "uv", "--directory", str(repository)]
    done = subprocess.run([*uv, "lock", "--check"], capture_output=True, text=True, check=False)
    if any(word in done.stderr for word in ("Failed to fetch", "error sending request", "network")):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr


def test_the_constraints_are_the_versions_of_the_lock(repository: Path) -> None:
    command = (repository / "constraints.txt").read_text().splitlines()[1].removeprefix("#").split()
    assert command[:2] == ["uv", "export"]
    assert command[-2:] == ["-o", "constraints.txt"]
    options = [*command[2:-2], "--no-header", "--frozen", "--offline", "--quiet"]
    uv = [sys.executable, "-m", "uv", "--directory", str(repository)]
    done = subprocess.run([*uv, "export", *options], capture_output=True, text=True, check=True)
    pins = [line for line in (repository / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert done.stdout.splitlines() == pins


def test_every_file_of_the_lock_has_a_hash(repository: Path) -> None:
    packages = tomllib.loads((repository / "uv.lock").read_text())["package"]
    fetched = [package for package in packages if "registry" in package["source"]]
    assert len(fetched) > 80
    files = [file for package in fetched for file in [*package.get("wheels", []), package.get("sdist")] if file]
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]) for file in files)
    assert {package["name"] for package in packages} - {package["name"] for package in fetched} == {"sweepwise"}


def test_the_sdist_holds_every_file(repository: Path, tmp_path: Path) -> None:
    """The tests run from it, so it is all that is tracked."""
    listed = subprocess.run(["git", "-C", repository, "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("no git checkout")
    files = [name for name in listed.stdout.splitlines() if (repository / name).is_file()]
    for name in files:
        (tmp_path / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, tmp_path / "sources" / name)
    build = "from setuptools.build_meta import build_sdist; build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "sources", check=True, capture_output=True)
    (archive,) = tmp_path.glob("sweepwise-*.tar.gz")
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    assert [name for name in files if name not in held] == []
