"""What a results folder keeps of an agent: its description, its configuration IDs over time, the copy of its code."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from jobs.programs import agent_code, registry
from jobs.programs.python import AgentSource
from jobs.results.results_folder import ResultsFolder, archivable
from sweepwise.core.agent import AgentDescription, Capabilities, Cause, DescriptionError, Diagnostics
from sweepwise.core.errors import JobsError
from sweepwise.core.hyperparameters import ConfigError, Hyperparameter
from sweepwise.core.metrics import Catalogue, Metric, MetricError
from tdmpc.description import DESCRIPTION

SCORE = Metric("score", "eval", role="primary")
LR, STEPS = Hyperparameter("lr", 1e-3, above=0), Hyperparameter("steps", 100, low=1)
AGENT = AgentDescription("mine", (LR, STEPS), Catalogue({"score": SCORE}, {}))


@pytest.fixture
def source(tmp_path: Path) -> AgentSource:
    folder = tmp_path / "plans"
    folder.mkdir()
    (folder / "mine.py").write_text("import helper\n")
    (folder / "helper.py").write_text("")
    return AgentSource("mine:Agent", AGENT, folder, folder / "mine.py")


def described(source: AgentSource, **changes: object) -> AgentSource:
    return dataclasses.replace(source, description=dataclasses.replace(source.description, **changes))


def config_id(store: ResultsFolder, description: AgentDescription, **values: object) -> str:
    return store.agents.schema_of(description).resolve(values).config_id


def test_a_hyperparameter_added_later_keeps_the_ids_of_runs_from_before(
    store: ResultsFolder, source: AgentSource
) -> None:
    store.agents.record(source, source.folder)
    before = config_id(store, AGENT, lr=0.1)
    later = described(source, hyperparameters=(LR, STEPS, Hyperparameter("clip", 5.0)))
    store.agents.record(later, source.folder)
    assert config_id(store, later.description, lr=0.1) == before
    assert config_id(store, later.description, lr=0.1, clip=5) == before
    assert config_id(store, later.description, lr=0.1, clip=6) != before
    fresh = registry.schema(later.description).resolve({"lr": 0.1}).config_id
    assert fresh != before  # in a folder that always knew it, it is part of the ID


def test_a_stored_configuration_keeps_its_id_where_the_folder_knows_the_agent_otherwise(
    store: ResultsFolder, source: AgentSource
) -> None:
    """As after `unarchive` from a folder that saw the agent before a hyperparameter was added."""
    later = described(source, hyperparameters=(LR, STEPS, Hyperparameter("clip", 5.0)))
    store.agents.record(later, source.folder)  # here it was always known
    archived = registry.schema(AGENT).resolve({"lr": 0.1})
    store.write_config(archived)
    read = store.check_config(archived.config_id)
    assert read.values == {"lr": 0.1, "steps": 100, "clip": 5.0}
    assert read.config_id == archived.config_id != config_id(store, later.description, lr=0.1)


def test_a_stored_configuration_is_read_where_its_hyperparameters_were_removed_or_changed(
    store: ResultsFolder, source: AgentSource
) -> None:
    store.agents.record(source, source.folder)
    stored = store.agents.schema("mine").resolve({"lr": 0.1})
    store.write_config(stored)
    for changed in ((STEPS,), (Hyperparameter("lr", 1, type="int"), STEPS), (Hyperparameter("lr", 2.0, low=1), STEPS)):
        store.agents.record(described(source, hyperparameters=changed), source.folder)
        read = store.check_config(stored.config_id)
        assert (read.values["lr"], read.steps, read.config_id) == (0.1, 100, stored.config_id)


def test_runs_of_an_earlier_version_of_an_agent_are_read_and_their_version_is_named(
    store: ResultsFolder, source: AgentSource
) -> None:
    store.agents.record(source, source.folder)
    old = store.agents.schema("mine").resolve({"lr": 0.1})
    store.write_config(old)
    assert store.other_version([old.config_id]) == ""
    store.agents.record(described(source, version=2), source.folder)
    new = store.agents.schema("mine").resolve({"lr": 0.1})
    store.write_config(new)
    assert (old.version, new.version, old.values == new.values) == (1, 2, True)
    assert new.config_id != old.config_id
    assert store.check_config(old.config_id) == old
    assert store.check_config(new.config_id) == new
    sentence = "1 configuration is of version 1 of the agent mine, which is now at version 2"
    assert store.other_version([old.config_id, new.config_id]) == sentence


def test_a_packaged_configuration_from_before_versions_were_stored_is_of_version_1(store: ResultsFolder) -> None:
    old = registry.PACKAGED_SCHEMA.resolve({"lr": 0.1}, version=1)
    store.write_config(old)
    path = store.config_path(old.config_id)
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "agent_version"}))
    assert store.check_config(old.config_id) == old


def test_version_name_and_values_are_the_identity_and_ignored_values_are_not(store: ResultsFolder) -> None:
    workers = Hyperparameter("workers", 4, identity=False)
    agent = dataclasses.replace(AGENT, hyperparameters=(LR, STEPS, workers))
    base = config_id(store, agent)
    assert config_id(store, agent, workers=8) == base
    assert config_id(store, agent, lr=0.1) != base
    assert config_id(store, dataclasses.replace(agent, version=2)) != base
    assert config_id(store, dataclasses.replace(agent, name="other")) != base


def test_metrics_that_a_new_description_dropped_are_still_declared_and_roles_are_those_of_now(
    store: ResultsFolder, source: AgentSource
) -> None:
    old = Catalogue(
        {"score": SCORE, "entropy": Metric("entropy", "train", role="policy_entropy")}, {"reset": "a reset"}
    )
    store.agents.record(described(source, catalogue=old), source.folder)
    new = Catalogue({"value": Metric("value", "eval", role="primary")}, {})
    store.agents.record(described(source, catalogue=new), source.folder)
    catalogue = store.agents.description("mine").catalogue
    assert set(catalogue.metrics) == {"value", "score", "entropy"}
    assert catalogue.primary.name == "value"
    assert catalogue.roles["policy_entropy"].name == "entropy"
    assert set(catalogue.events) == {"reset"}


def test_the_copy_holds_what_may_be_imported_and_nothing_else(store: ResultsFolder, source: AgentSource) -> None:
    folder = source.folder
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    (folder / ".gitignore").write_text("secret.py\n")
    for name in ("secret.py", "data.bin", ".hidden.py", "lib/part.py", "venv/pyvenv.cfg", "venv/x.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    for name in ("runs", "submissions", "locks"):
        (folder / "results" / name).mkdir(parents=True)
    (folder / "results" / "runs" / "config.json").write_text("{}")
    names = [path.as_posix() for path in agent_code.files_of(source, folder)]
    assert names == ["helper.py", "lib/part.py", "mine.py"]
    store.agents.record(source, folder)
    code = store.agents.check("mine").code
    copied = store.agents.check_copy(code)
    assert sorted(path.name for path in copied.rglob("*.py")) == ["helper.py", "mine.py", "part.py"]
    assert all(archivable(f"code/{code}/{path.relative_to(copied).as_posix()}") for path in copied.rglob("*.py"))
    (copied / "mine.py").write_text("changed")
    with pytest.raises(JobsError, match="was changed since it was copied"):
        store.agents.check_copy(code)


def test_once_git_tracks_files_only_these_are_copied(source: AgentSource) -> None:
    folder = source.folder
    (folder / "draft.py").touch()
    for words in (["init", "-q"], ["add", "helper.py"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    with pytest.raises(JobsError, match=r"mine.py: Git does not track it, .*; `git add` it"):
        agent_code.files_of(source, folder)
    subprocess.run(["git", "-C", str(folder), "add", "mine.py"], check=True)
    assert [path.as_posix() for path in agent_code.files_of(source, folder)] == ["helper.py", "mine.py"]
    assert agent_code.left_out(folder) == ["draft.py"]


def test_too_much_code_is_refused(source: AgentSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_code, "MAX_FILES", 1)
    with pytest.raises(JobsError, match=r"2 files with 0 MB would be copied.*the limit is 1 "):
        agent_code.files_of(source, source.folder)


def test_an_installed_agent_is_copied_without_its_neighbours(source: AgentSource, tmp_path: Path) -> None:
    assert [path.name for path in agent_code.files_of(source, tmp_path)] == ["mine.py"]


def test_descriptions_survive_json() -> None:
    full = dataclasses.replace(
        AGENT,
        capabilities=Capabilities("exact", evaluate=True, seeds_batched=True),
        diagnostics=Diagnostics(
            {"plateau": 0.4},
            1.5,
            (
                Cause("lr", ("plateau",), "lower lr", ("lr",)),
                Cause(
                    "warm-up", ("plateau",), "a longer one", (), against=("diverged",), events=("warm",), question="?"
                ),
            ),
        ),
    )
    for description in (full, DESCRIPTION):
        assert AgentDescription.from_json(json.loads(json.dumps(description.to_json()))) == description


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": [{"name": 5, "kind": "eval"}]},
        {"metrics": [{"name": "a", "kind": "eval", "help": ["<b>"]}]},
        {"metrics": [{"name": "a", "kind": "odd"}]},
        {
            "metrics": [
                {"name": "a", "kind": "eval", "role": "primary"},
                {"name": "b", "kind": "eval", "role": "primary"},
            ]
        },
        {"hyperparameters": "x"},
        {"hyperparameters": []},
        {"capabilities": None},
        {"name": "../up"},
    ],
)
def test_a_damaged_description_is_one_line(
    store: ResultsFolder, source: AgentSource, change: dict[str, object]
) -> None:
    with pytest.raises((DescriptionError, MetricError, ConfigError)) as raised:
        AgentDescription.from_json({**json.loads(json.dumps(AGENT.to_json())), **change})
    assert "\n" not in str(raised.value)


def test_a_configuration_of_an_unknown_agent_is_a_problem_and_no_crash(
    store: ResultsFolder, source: AgentSource
) -> None:
    store.agents.record(source, source.folder)
    config = store.agents.schema("mine").resolve({})
    store.write_config(config)
    assert store.check_config(config.config_id) == config
    store.agents.path("mine").unlink()
    assert store.read_config(config.config_id) is None
    (problem,) = store.problems.values()
    assert "agents/mine.json is missing; submit the plan again" in problem
