"""`--json`: stdout is one document, and docs/json.md lists exactly the fields that are in it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner
from fake_slurm import FakeSlurm

from jobs.backends import registry
from jobs.cli import cli
from jobs.doctor import probe
from jobs.results.attempts import RunRef
from jobs.results.records import Status
from jobs.results.results_folder import ResultsFolder
from jobs.terminal import output
from sweepwise.core.trainable import Evaluation

Shown = Callable[..., dict[str, Any]]
Fields = dict[str, str]
PLAN = """
plan: mine
base: {task: quadruped-walk, steps: 20000}
seeds: 3
sweeps:
  ensemble: {goal: sizes, questions: [{ask: "Does num_q matter?", by: num_q}], grid: {num_q: [1, 2, 3, 4]}}
  later: {priority: 2, grid: {rho: [0.4, 0.5]}}
"""
# What a command's documents are described under, where that is not its name.
SECTIONS = {"rerun": "submit", "more": "submit", "confirm": "submit"}
NONE = {"init", "train", "view", "exclude", "release", "reread", "plots", "export", "archive", "unarchive"}
TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,), "texts": (str,), "integer": (int,), "integers": (int,), "number": (int, float),
    "numbers": (int, float), "boolean": (bool,), "object": (dict,), "objects": (dict,),
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("outside_slurm")


# --- the page -------------------------------------------------------------------------------------------------


def section(repository: Path, name: str) -> Fields:
    """Field -> type of a command's documents."""
    text = (repository / "docs" / "json.md").read_text()
    (body,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    return dict(re.findall(r"^\| `([\w.\[\]]+)` \| ([^|]+) \|", body, re.M))


def fits(value: Any, kind: str) -> bool:
    kind, _, null = kind.partition(" or ")
    if value is None and null == "null":
        return True
    if kind.startswith("list of "):
        return isinstance(value, list) and all(fits(item, kind.removeprefix("list of ")) for item in value)
    return kind == "value" or ((type(value) is not bool or kind == "boolean") and isinstance(value, TYPES[kind]))


def leaves(value: Any, path: str, fields: Fields) -> Iterator[tuple[str, Any]]:
    """Every field of a document with its value. What has no fields on the page is not looked into."""
    if path:
        yield path, value
    if path and not any(name.startswith((f"{path}.", f"{path}[]")) for name in fields):
        return
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}" if path else name, fields)
    elif isinstance(value, list):
        for item in value:
            yield from (pair for pair in leaves(item, f"{path}[]", fields) if pair[0] != f"{path}[]")


def check(fields: Fields, *documents: dict[str, Any]) -> None:
    """The documents have the fields of the page, each with its type, and together all of them."""
    seen = set()
    for document in documents:
        found = [pair for pair in leaves(document, "", fields) if pair[0] != "schema"]
        seen |= {path for path, _ in found}
        assert {path: value for path, value in found if path not in fields or not fits(value, fields[path])} == {}
    assert set(fields) - seen == set()


def test_the_page_lists_the_commands_with_json(repository: Path) -> None:
    shows = {name for name, command in cli.commands.items() if any("--json" in p.opts for p in command.params)}
    assert set(cli.commands) - shows == NONE
    text = (repository / "docs" / "json.md").read_text()
    assert {SECTIONS.get(name, name) for name in shows} == set(re.findall(r"^## ([a-z]+)\n", text, re.M))
    rows = dict(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\w+)", text, re.M))
    assert {name for names, told in rows.items() if told == "none" for name in re.findall(r"\w+", names)} == NONE


def test_a_field_that_is_missing_added_or_of_another_type_is_seen() -> None:
    fields = {"runs": "list of objects", "runs[].seed": "integer", "runs[].host": "text or null", "free": "object"}
    right = {"schema": 1, "runs": [{"seed": 1, "host": None}], "free": {"a": 1}}
    check(fields, right)
    wrong: list[dict[str, Any]] = [
        {**right, "more": 1},
        {**right, "runs": []},
        {**right, "runs": [{"seed": True, "host": None}]},
        {**right, "runs": [{"seed": None, "host": None}]},
        {**right, "runs": None},
    ]
    for document in wrong:
        with pytest.raises(AssertionError):
            check(fields, document)


# --- the documents --------------------------------------------------------------------------------------------


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Shown:
    """The document of `sweeps ... --json` in this process; its exit code is checked."""
    monkeypatch.setattr("jobs.process.gpus", lambda: [])
    (tmp_path / "mine.yaml").write_text(PLAN)

    def invoke(*words: object, code: int = 0) -> dict[str, Any]:
        result = CliRunner().invoke(cli, ["--results", str(tmp_path / "results"), *map(str, words), "--json"])
        assert result.exit_code == code, result.output
        document: dict[str, Any] = json.loads(result.stdout, parse_constant=pytest.fail)
        assert document["schema"] == output.SCHEMA
        return document

    return invoke


@pytest.fixture(scope="module")
def judged(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("json") / "results"
    synthetic.submitted(root, (600.0, 100.0), 3)
    return root


@pytest.fixture
def done(judged: Path, tmp_path: Path) -> ResultsFolder:
    """A sweep of two configurations with three seeds, all done. The speed of a run is known."""
    shutil.copytree(judged, tmp_path / "results")
    store = ResultsFolder(tmp_path / "results")
    run = first_run(store)
    store.attempts.write_status(run, Status(1, 20_000, 20_000, 10.0, 250.0, 2000.0))
    return store


@pytest.fixture
def submitted(shown: Shown, tmp_path: Path, slurm: FakeSlurm, store: ResultsFolder, synthetic: ModuleType) -> FakeSlurm:
    """Twelve runs that wait in the pretended Slurm, four of which stand at 60 % of their steps, the last far behind."""
    submit = ("submit", "ensemble", "--plan", tmp_path / "mine.yaml", "--cluster", "slurm", "--profile", "cpu")
    shown(*submit)
    for index, config in enumerate(store.read_sweep("ensemble").configs):  # type: ignore[union-attr]
        final = (600.0, 610.0, 590.0, 100.0)[index]
        for seed in config.seeds:
            folder = store.attempts.folder(RunRef(config.config_id, seed))
            synthetic.write_run(folder, seed, final=final, rng_key=index, stop_at=0.6, lean=True)
    return slurm


def first_run(store: ResultsFolder) -> RunRef:
    return RunRef(store.read_sweep("ensemble").configs[0].config_id, 1)  # type: ignore[union-attr]


def test_the_plan_and_its_keys(shown: Shown, done: ResultsFolder, tmp_path: Path, repository: Path) -> None:
    plan = ("--plan", tmp_path / "mine.yaml")
    shown("adopt", "ensemble", *plan, "--set", "num_q=1")
    whole, one = shown("plan", *plan), shown("plan", "later", *plan)
    check(section(repository, "plan"), whole, one)
    assert ([sweep["name"] for sweep in whole["sweeps"]], whole["runs"]) == (["ensemble", "later"], 15)
    assert [sweep["name"] for sweep in one["sweeps"]] == ["later"]
    assert whole["base"]["num_q"] == 1
    fields = section(repository, "adopt")
    assert {fields[path] for path in fields if path == "decisions"} == {section(repository, "plan")["decisions"]}
    keys = shown("keys", "num_q", *plan)
    check(section(repository, "keys"), keys)
    assert [key["name"] for key in keys["hyperparameters"]] == ["num_q"]


def test_decisions_and_next_steps(
    shown: Shown, done: ResultsFolder, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.backends.registry.choose", lambda: ("local", ""))
    plan = ("--plan", tmp_path / "mine.yaml")
    first = shown("next", *plan)
    assert first["sweeps"][0]["state"] == "to decide"
    assert first["commands"][0] == f"sweeps --results {done.root} aggregate ensemble"
    adopted = shown("adopt", "ensemble", "--from-verdict", *plan)
    check(section(repository, "adopt"), adopted)
    assert adopted["decisions"][0]["evidence"]["chosen"]["mean"] > 500
    then = shown("next", *plan)
    check(section(repository, "next"), first, then)
    assert (then["missing_runs"], then["expected"]["samples"], then["done"]) == (3, 1, False)
    undone = shown("adopt", "--undo", *plan)
    check(section(repository, "adopt"), undone)
    assert undone["decisions"][0]["undone"]


def test_the_verdict_and_a_comparison(shown: Shown, done: ResultsFolder, tmp_path: Path, repository: Path) -> None:
    one, across = shown("aggregate", "--out", tmp_path / "r.html", "--format", "csv"), published(shown, tmp_path)
    check(section(repository, "aggregate"), one, across)
    assert one["sweeps"][0]["best"] == first_run(done).config_id
    assert [Path(path).exists() for path in one["files"]] == [True] * len(one["files"])
    assert {a["name"] for a in across["across_tasks"]["aggregates"]} >= {"mean", "iqm", "median"}
    both = shown("compare", "ensemble:A", "ensemble:B", "--out", tmp_path / "c.html")
    check(section(repository, "compare"), {**both, "flags": both["flags"] or [FLAG]})
    assert both["differences"] == [{"key": "num_q", "a": 1, "b": 2}]


def test_whole_sweeps_runs_and_annotations(
    shown: Shown, done: ResultsFolder, tmp_path: Path, synthetic: ModuleType, repository: Path
) -> None:
    before = synthetic.submitted(tmp_path / "before", (400.0, 500.0), 3)
    run = first_run(done)
    for target in (run, "ensemble"):
        shown("annotate", target, "--tag", "t", "--note", "n")
    exclude = ["--results", str(done.root), "exclude", str(run), "--why", "bad node"]
    assert CliRunner().invoke(cli, exclude).exit_code == 0
    check(section(repository, "annotate"), shown("annotate", run, "ensemble"))
    whole = shown("compare", "ensemble", "--other-results", before.root)
    one = {"differences": [{"key": "lr", "a": "1", "b": "2"}], "origins": [{"kind": "code", "a": "x", "b": "y"}]}
    check(section(repository, "compare --whole"), {**whole, **one})
    runs = shown("compare", run, f"{run.config_id}/seed-2")
    assert runs["differences"] == ["seed: 1 / 2"]
    check(section(repository, "compare RUN RUN"), runs)


FLAG = {"flag": "x", "title": "x", "a": {"raised": 0, "assessable": 1}, "b": {"raised": 1, "assessable": 1}}


def published(shown: Shown, tmp_path: Path) -> dict[str, Any]:
    """The verdict on imported curves of two algorithms on two tasks."""
    for algorithm, height in (("one", 500.0), ("two", 600.0)):
        for task in ("walker-walk", "cheetah-run"):
            rows = [f"{step},{height * step / 40_000 + 10 * seed},{seed}"
                    for seed in (1, 2, 3) for step in range(0, 40_001, 10_000)]  # fmt: skip
            path = tmp_path / "published" / algorithm / f"{task}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(["step,reward,seed", *rows]))
    shown("import", tmp_path / "published", "--name", "other", "--map", "step=step,eval_return=reward,seed=seed")
    return shown("aggregate", "other", "--out", tmp_path / "other.html")


def test_imports(shown: Shown, tmp_path: Path, repository: Path) -> None:
    published(shown, tmp_path)
    listed = shown("import")
    options = ("--map", "step=step,eval_return=reward,seed=seed", "--dry-run")
    recognised = shown("import", tmp_path / "published", *options)
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    refused = shown("import", tmp_path / "wrong.csv", *options, code=1)
    check(section(repository, "import"), listed, recognised, refused)
    assert [curve["algorithm"] for curve in listed["imports"][0]["curves"]] == ["one", "one", "two", "two"]
    assert len(refused["refused"]) == 1


def test_evaluations_of_runs_and_of_a_sweep(
    shown: Shown, done: ResultsFolder, agent: Any, repository: Path, slurm: FakeSlurm
) -> None:
    agent.evaluate = lambda config, seed, folder, **how: iter([Evaluation(seed, 20_000, "eval", (1.0, 2.0), ())])
    of_run = shown("evaluate", first_run(done))
    check(section(repository, "evaluate"), of_run)
    assert of_run["evaluations"][0]["returns"] == [1.0, 2.0]
    of_sweep = shown("evaluate", "ensemble", "--cluster", "slurm", "--profile", "cpu")
    assert (of_sweep["unit"], len(of_sweep["runs"])) == ("episodes", 6)
    check(section(repository, "status"), shown("status"))


def test_more_and_confirm_are_submits(shown: Shown, done: ResultsFolder, synthetic: ModuleType) -> None:
    confirmed = shown("confirm", "ensemble", "--cluster", "local", "--dry-run")
    assert (confirmed["sweep"], [run["submit"] for run in confirmed["runs"]]) == ("ensemble-confirm", [True] * 6)
    shutil.rmtree(done.root)
    synthetic.submitted(done.root, (615.0, 640.0, 200.0), 4, margin=5.0)
    more = shown("more", "ensemble", "--cluster", "local", "--dry-run")
    assert more["submissions"][0]["runs"] == len(more["runs"]) > 0


def test_submits(shown: Shown, done: ResultsFolder, slurm: FakeSlurm, tmp_path: Path, repository: Path) -> None:
    submit = ("submit", "ensemble", "--plan", tmp_path / "mine.yaml", "--cluster", "slurm", "--profile", "cpu")
    tried = shown(*submit, "--dry-run")
    assert slurm.tasks() == []
    written = shown(*submit, "--export", tmp_path / "all.sh")
    check(section(repository, "submit"), tried, written)
    assert [run["submit"] for run in tried["runs"]] == [False] * 6 + [True] * 6
    assert tried["submissions"][0]["script"].startswith("#!/bin/sh") or "#SBATCH" in tried["submissions"][0]["script"]
    assert written["submissions"][0]["files"] == [str(tmp_path / "all.sh")]


def test_what_is_submitted_goes_again_with_its_id(submitted: FakeSlurm, shown: Shown, store: ResultsFolder) -> None:
    (before,) = store.submissions.all()
    nothing = shown("rerun", "ensemble", "--all")
    assert (len(nothing["runs"]), nothing["submissions"]) == (12, [])
    submitted.set("100_0", state="CANCELLED")
    again = shown("rerun", "ensemble", "--all")
    assert [run["submit"] for run in again["runs"]].count(True) == 1
    (made,) = again["submissions"]
    assert made["submission"] == next(one.id for one in store.submissions.all() if one.id != before.id)


def test_ends_of_runs(submitted: FakeSlurm, shown: Shown, repository: Path) -> None:
    fields = section(repository, "prune")
    pruned = shown("prune", "ensemble", "--dry-run")
    check(fields, {**pruned, "continue": [{"run": "x", "reason": "y"}]})
    assert [line["label"] for line in pruned["configurations"]] == ["num_q=4"]
    assert len(pruned["cancelled"]) == 3
    stopped = shown("cancel", "ensemble", "--where", "num_q=1")
    check(section(repository, "cancel"), {**stopped, "continue": [{"run": "x", "reason": "y"}]})
    assert (stopped["dry_run"], len(stopped["cancelled"]), stopped["continue"]) == (False, 3, [])
    assert shown("prune", "ensemble")["dry_run"] is False
    assert shown("prune", "ensemble")["configurations"] == []


def test_logs_and_usage(submitted: FakeSlurm, shown: Shown, store: ResultsFolder, repository: Path) -> None:
    (submission,) = store.submissions.all()
    task = submission.tasks[0]
    registry.get("slurm").log_paths(store, submission, 0)[-1].write_text("one\ntwo\n\x1b[31mthree")
    logs = shown("logs", RunRef(task.config_id, task.seeds[0]), "--lines", "2")
    check(section(repository, "logs"), logs)
    assert [log["text"] for log in logs["logs"]] == ["two\n\x1b[31mthree"]
    submitted.set("100_0", state="COMPLETED", elapsed_raw=1800, total_cpu="00:24:00", max_rss="1048576K")
    usage = shown("usage")
    check(section(repository, "usage"), usage)
    assert (usage["submissions"][0]["cpus_used"], usage["submissions"][0]["time_s_used"]) == (0.8, 1800)


def test_the_doctor(shown: Shown, slurm: FakeSlurm, tmp_path: Path, repository: Path, monkeypatch: Any) -> None:
    facts = {"host": "here", "cores": 2, "gpus": 0, "torch_error": "ImportError: no torch", "mujoco": "3"}
    monkeypatch.setattr(probe, "facts", lambda: facts)
    slurm.answer("sinfo", "p*|infinite|2|32|256000|(null)|up\n")
    found = shown("doctor", "--no-job", "--write", tmp_path / "p.yaml", code=1)
    check(section(repository, "doctor"), found)
    assert [one["check"] for one in found["checks"] if one["ok"] is False] == ["here: torch"]


def test_a_check_of_a_program(shown: Shown, tmp_path: Path, repository: Path) -> None:
    shutil.copy(Path(__file__).parent / "programs" / "walker.py", tmp_path)
    plan = f"""
plan: mine
program:
  command: {sys.executable} walker.py --out {{run}} {{overrides}}
  hyperparameters: {{lr: 1e-3, steps: 40, trouble: ""}}
  seed: seed
  steps: steps
  metrics: {{read: [{{jsonl: metrics.jsonl}}], primary: eval/return}}
seeds: 2
sweeps:
  rate: {{grid: {{lr: [1e-2, 3e-3]}}}}
"""
    (tmp_path / "walker.yaml").write_text(plan)
    right = shown("check", "--plan", tmp_path / "walker.yaml", "--steps", "30")
    (tmp_path / "walker.yaml").write_text(plan.replace("steps: 40", "steps: 40, nope: 1"))
    wrong = shown("check", "--plan", tmp_path / "walker.yaml", "--steps", "30", code=1)
    check(section(repository, "check"), right, wrong)
    assert (right["ok"], right["problems"], wrong["ok"]) == (True, [], False)
    assert any("nope" in line for line in wrong["output"])


# --- what else is printed -------------------------------------------------------------------------------------


def test_notes_go_to_stderr(submitted: FakeSlurm, tmp_path: Path) -> None:
    words = ["--results", str(tmp_path / "results"), "submit", "ensemble", "--plan", str(tmp_path / "mine.yaml"),
             "--cluster", "slurm", "--profile", "cpu", "--json"]  # fmt: skip
    result = CliRunner().invoke(cli, words)
    assert json.loads(result.stdout)["submissions"] == []
    assert "12 runs requested: 12 pending; 0 to submit" in result.stderr


def test_runs_in_this_process_do_not_write_into_the_document(
    shown: Shown, agent: Any, tmp_path: Path, repository: Path
) -> None:
    agent.before = lambda handles, stop: print("step 1")
    made = shown("submit", "ensemble", "--plan", tmp_path / "mine.yaml", "--cluster", "debug")
    assert len(made["submissions"]) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["status", "nope"], "sweep 'nope' was not submitted"),
        (["status", "--watch"], "--json cannot be combined with --watch"),
        (["plan", "--example"], "--json cannot be combined with --example"),
        (["logs", "0011223344/seed-1", "--follow"], "--json cannot be combined with --follow"),
        (["submit", "nope"], "unknown sweep 'nope'"),
        (["usage", "--nope"], "No such option"),
    ],
)
def test_an_error_is_one_line_on_stderr(tmp_path: Path, words: list[str], reason: str) -> None:
    result = CliRunner().invoke(cli, ["--results", str(tmp_path / "results"), *words, "--json"])
    assert (result.exit_code != 0, result.stdout, result.stderr.count("\n")) == (True, "", 1)
    assert reason in result.stderr


def test_values_that_json_lacks_are_null_and_others_a_bug() -> None:
    import numpy as np

    document = {"a": float("nan"), "b": np.float64("inf"), "c": np.int64(3), "d": (1, Path("x")), "e": "\x1b\u2028"}
    assert json.loads(output.to_json(document)) == {
        "schema": 1, "a": None, "b": None, "c": 3, "d": [1, "x"], "e": "\x1b\u2028",
    }  # fmt: skip
    assert "\x1b" not in output.to_json(document)
    with pytest.raises(TypeError, match="no value of a JSON document"):
        output.to_json({"a": object()})


def test_it_is_the_last_option_of_every_command() -> None:
    for command in cli.commands.values():
        names = [parameter.name for parameter in command.params if isinstance(parameter, click.Option)]
        assert "as_json" not in names[:-1]
