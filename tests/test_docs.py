"""What the documentation tells people to type is legal, its links lead somewhere, its generated pages are fresh, and
its tutorial runs as it stands."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import click
import pytest
import yaml
from click.testing import CliRunner
from slurm_cluster import wait_until

from jobs.cli import cli
from jobs.planning import plan

# Lines of shell blocks that no test types, and why.
NOT_RUN = {
    "python3 bootstrap.py demo": "trains for minutes; tests/test_bootstrap.py",
    "python3 bootstrap.py test": "is what runs this test",
    "python3 bootstrap.py setup": "makes an environment; tests/test_bootstrap.py",
    "python3 bootstrap.py setup --torch cuda": "wants a network; tests/test_bootstrap.py",
    ". .venv/bin/activate": "changes the shell",
    **dict.fromkeys(
        (
            "python3 -m venv .venv '&&' . .venv/bin/activate",
            "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu",
            "pip install -c constraints.txt -e .",
            "pip install --no-deps dm_control==1.0.50",
            "uv sync",
            "uv run sweeps --help",
            "uv venv '&&' uv pip install --torch-backend cpu -c constraints.txt -e . dm_control==1.0.50",
        ),
        "wants a network and makes an environment; benchmarks/fresh_machines.py runs pip's",
    ),
    "uv lock": "tests/test_packaging.py checks the lock",
    "uv export --format requirements.txt --all-extras --no-hashes --no-annotate --no-emit-project -o constraints.txt": (
        "tests/test_packaging.py compares what it writes"
    ),
    "cp docs/tutorial/first.yaml .": "the test lays a smaller one there",
}
# Episodes of ten agent steps: a run of the tutorial takes a moment.
TINY = {
    "task": "pendulum-swingup", "action_repeat": 100, "steps": 40, "seed_steps": 20, "batch_size": 8, "mlp_dim": 32,
    "enc_dim": 32, "latent_dim": 32, "num_samples": 8, "num_pi_trajs": 4, "num_elites": 4, "log_freq": 5,
    "eval_freq": 10, "eval_episodes": 1, "final_eval_episodes": 1,
}  # fmt: skip


def pages(repository: Path) -> dict[str, str]:
    """Path -> text of the README and of every page below docs/."""
    found = [repository / "README.md", *sorted((repository / "docs").rglob("*.md"))]
    return {path.relative_to(repository).as_posix(): path.read_text() for path in found}


def typed(text: str) -> list[str]:
    """The lines of a page's shell blocks, without comments and settings of the environment, continued lines joined."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ")
    lines = (re.sub(r"^([A-Z_]+=\S* )+", "", line) for line in blocks.splitlines())
    return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


def told(text: str) -> list[str]:
    """What stands in backticks outside of blocks, each on one line."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))]


def in_prose(text: str) -> list[str]:
    """The command lines of a page's prose. A command's bare name, where it wants arguments, is none."""
    lines = [line for line in told(text) if line.startswith("sweeps ")]
    return [line for line in lines if len(line.split()) > 2 or "Missing " not in refused(words_of(line))]


def refused(words: list[str]) -> str:
    """Why the command line does not take the words, "" where it does. Nothing is carried out."""
    with patch.object(click.Command, "invoke", lambda *_: None):
        done = CliRunner().invoke(cli, words)
    return done.output if done.exit_code else ""


def faults(text: str) -> Iterator[str]:
    """What is wrong with the commands of a page."""
    for line in typed(text):
        if line.startswith("sweeps "):
            yield from filter(None, [refused(shlex.split(line)[1:])])
        elif line not in NOT_RUN and not line.startswith("python "):
            yield f"{line}: run it in a test, or say in NOT_RUN why not"
    for line in in_prose(text):
        yield from filter(None, [refused(words_of(line))])


def words_of(line: str) -> list[str]:
    return ["--help" if word == "..." else word for word in shlex.split(line)[1:]]


def scripts(text: str) -> set[str]:
    """`python FILE ...` in blocks and prose, but for the modules of `python -m`."""
    return {line for line in typed(text) + told(text) if re.match(r"python3? [\w/]+\.py\b", line)}


def test_every_command_is_legal(repository: Path) -> None:
    found = {name: list(faults(text)) for name, text in pages(repository).items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert {line for text in pages(repository).values() for line in typed(text)} >= set(NOT_RUN)


@pytest.mark.parametrize(
    "line",
    ["sweeps sumbit ensemble", "sweeps submit ensemble --sedes 6", "sweeps submit", "sweeps submit a b",
     "sweeps status --json=yes", "sweeps submit ensemble --cluster moon", "sweeps --nope", "make it so"],
)  # fmt: skip
def test_a_wrong_command_would_be_seen(line: str) -> None:
    assert list(faults(f"```sh\n{line}\n```\n"))
    assert list(faults("```sh\nsweeps submit ensemble --seeds 6  # --sedes\n```\nand `sweeps submit`")) == []
    assert list(faults("prose on `sweeps submit\nensemble --sedes 6`"))
    assert list(faults("prose on `sweeps submit --wait`"))


def test_every_script_is_there_and_has_help(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {line for text in pages(repository).values() for line in scripts(text)}
    assert len(lines) > 10
    help = {}
    for path in sorted({line.split()[1] for line in lines}):
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(sys, "argv", [path, "--help"])
            changed.syspath_prepend(str((repository / path).parent))
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(str(repository / path), run_name="__main__")
        assert ended.value.code == 0, path
        help[path] = capsys.readouterr().out
    options = {(line, word) for line in lines for word in line.split()[2:] if word.startswith("--")}
    assert [line for line, word in options if word not in help[line.split()[1]]] == []


def test_the_tests_that_are_to_be_run_are_there(repository: Path) -> None:
    """`python -m pytest ...`: they are what runs this."""
    lines = {line for text in pages(repository).values() for line in typed(text) if line.startswith("python -m ")}
    assert {tuple(line.split()[:3]) for line in lines} == {("python", "-m", "pytest")}
    assert [path for line in lines for path in line.split()[3:] if not (repository / path).exists()] == []


def test_every_command_stands_in_the_reference(repository: Path) -> None:
    text = (repository / "docs" / "reference" / "commands.md").read_text()
    assert set(re.findall(r"^## sweeps (.+)$", text, re.M)) == set(cli.commands)


def test_links_lead_somewhere(repository: Path) -> None:
    gone = [
        f"{name}: {link}"
        for name, text in pages(repository).items()
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        if not (repository / name).parent.joinpath(link).exists()
    ]
    assert gone == []


def test_the_index_names_every_page(repository: Path) -> None:
    index = (repository / "docs" / "README.md").read_text()
    names = [Path(name).relative_to("docs").as_posix() for name in pages(repository) if name.startswith("docs/")]
    assert [name for name in names if name != "README.md" and f"]({name})" not in index] == []


# --- generated pages ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def build(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("docs/build.py")


@pytest.mark.docs
def test_the_reference_is_fresh(repository: Path, tmp_path: Path) -> None:
    """`python docs/build.py`, where nothing is written yet, writes what is there."""
    (tmp_path / "docs").mkdir()
    for name in ("build.py", "flags.md"):
        shutil.copy(repository / "docs" / name, tmp_path / "docs")
    subprocess.run([sys.executable, "docs/build.py"], cwd=tmp_path, check=True, capture_output=True)
    written, there = (
        {path.name: path.read_bytes() for path in (folder / "docs" / "reference").iterdir()}
        for folder in (tmp_path, repository)
    )
    assert sorted(written) == sorted(there)
    stale = [name for name, page in written.items() if page != there[name]]
    assert stale == [], "run `python docs/build.py`"


def test_the_rates_of_the_flags_are_those_that_were_measured(build: ModuleType) -> None:
    rates = build.measured()
    assert rates["log_std oscillates"] == ["0.02% of 68,471", "0.5 (1)", "0.5", "0.5"]
    unmeasured = [d.name for d in build.detectors_of(build.DESCRIPTION) if d.title not in rates]
    assert unmeasured == ["diverged", "stopped_early"]


def test_every_source_of_a_key_is_a_paper_or_this_plan(build: ModuleType) -> None:
    sources = {f.metadata["source"] for f in build.dataclasses.fields(build.TrainConfig)} - {"this plan's"}
    assert [source for source in sources if not any(paper in source for paper in build.PAPERS)] == []
    assert [paper for paper in build.PAPERS if not any(paper in source for source in sources)] == []


# --- the tutorial ---------------------------------------------------------------------------------------


def test_the_tutorials_plan_loads(repository: Path) -> None:
    assert [sweep.name for sweep in plan.load(repository / "docs/tutorial/first.yaml").sweeps] == ["rates", "delay"]


@pytest.mark.docs
def test_the_tutorial_runs(repository: Path, tmp_path: Path) -> None:
    """Every `sweeps ...` of its blocks, in order, on a plan with the same sweeps and shorter runs, whose verdict has no
    leader: the decision is by hand."""
    asked = yaml.safe_load((repository / "docs/tutorial/first.yaml").read_text())
    (tmp_path / "first.yaml").write_text(yaml.safe_dump({**asked, "seeds": 2, "base": {**asked["base"], **TINY}}))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SWEEPS"))}
    lines = [line for line in typed(pages(repository)["docs/tutorial.md"]) if line.startswith("sweeps ")]
    assert {line.split()[1] for line in lines} >= {"plan", "submit", "status", "rerun", "aggregate", "adopt", "next"}
    assert sum("--from-verdict" in line for line in lines) == 1

    def status() -> str:
        return CliRunner().invoke(cli, ["--results", str(tmp_path / "results"), "status", "rates"]).output

    for line in lines:
        words = shlex.split(line.replace("--from-verdict", "--set lr=1e-3"))[1:]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "jobs.cli", *words],
            cwd=tmp_path, env={**kept, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if words[0] == "cancel":  # as the page says: a running job saves its state first
            wait_until("the end of the cancelled runs", lambda: "interrupted" in status() or "4 done" in status())
    assert "4 done" in status()
    assert (tmp_path / "report.html").stat().st_size > 100_000
