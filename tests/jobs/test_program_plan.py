"""`program:` in a plan: what it is read as, what makes a configuration ID, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.planning import plan as plans
from jobs.planning.expand import expand
from jobs.planning.plan import Plan
from jobs.programs.command import Places, Program, ProgramSource, command_line
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import JobsError
from sweepwise.core.yaml_scalars import PlainText

PLAN = """
plan: mine
program:
  name: fork
  command: python train.py {overrides} hydra.run.dir={run}
  hyperparameters:
    optimizer: {lr: 3e-4, betas: [0.9, 0.999]}
    steps: 1000
    compile: no
    name: "12"
    device: null
    wandb: {mode: offline, tags: []}
  overrides: hydra
  seed: seed
  steps: steps
  ignore: [wandb.*, device]
  metrics:
    primary: eval/return
    read: [{jsonl: metrics.jsonl}]
sweeps:
  rate: {goal: rate, grid: {optimizer.lr: [1e-4, 3e-4]}}
"""


def load(tmp_path: Path, text: str = PLAN, **changes: str) -> Plan:
    for old, new in changes.values():
        assert old in text, old
        text = text.replace(old, new)
    (tmp_path / "train.py").touch()
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    return plans.load(file)


def source(plan: Plan) -> ProgramSource:
    assert isinstance(plan.source, ProgramSource)
    return plan.source


def ids(plan: Plan, **overrides: Any) -> list[str]:
    (sweep,) = plan.select("rate")
    return [one.config_id for one in expand(plan, sweep, overrides=overrides).configurations]


def argv(plan: Plan, **overrides: Any) -> list[tuple[str, ...]]:
    (sweep,) = plan.select("rate")
    places = Places(Path("/results/work"), Path("/code"), seed=7)
    return [
        command_line(source(plan).program, one.config.values, places).argv
        for one in expand(plan, sweep, overrides=overrides).configurations
    ]


def test_values_are_read_by_the_rules_of_yaml_1_2(tmp_path: Path) -> None:
    defaults = source(load(tmp_path)).program.defaults
    assert defaults == {
        "optimizer.lr": 3e-4, "optimizer.betas": (0.9, 0.999), "steps": 1000, "compile": "no", "name": "12",
        "device": None, "wandb.mode": "offline", "wandb.tags": (),
    }  # fmt: skip
    assert isinstance(defaults["optimizer.lr"], float)


def test_the_command_gets_what_the_plan_names_and_what_differs_from_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("optimizer: {lr: 3e-4, betas: [1]}\nsteps: 1000\nname: '12'\nseed: 1\n")
    listed = PLAN[PLAN.index("  hyperparameters:") : PLAN.index("  overrides: hydra")]
    text = PLAN.replace(listed, "  config: config.yaml\n").replace("  ignore: [wandb.*, device]\n", "")
    head, tail = ("python", "train.py"), ("seed=7", "hydra.run.dir=/results/work")
    first, second = argv(load(tmp_path, text))
    assert first == (*head, "optimizer.lr=0.0001", *tail)
    assert second == (*head, "optimizer.lr=0.0003", *tail), "named, though it is the default"
    first, _ = argv(load(tmp_path, text), steps=PlainText("2000"), name=PlainText("013"))
    assert first == (*head, "optimizer.lr=0.0001", "steps=2000", "name='013'", *tail)


def test_values_that_stand_in_the_plan_are_always_passed_and_null_is_not(tmp_path: Path) -> None:
    first, _ = argv(load(tmp_path))
    assert first[2:-1] == ("optimizer.lr=0.0001", "optimizer.betas=[0.9,0.999]", "steps=1000", "compile=no",
                           "name='12'", "wandb.mode=offline", "wandb.tags=[]", "seed=7")  # fmt: skip


def test_a_path_that_the_style_cannot_carry_is_quoted(tmp_path: Path) -> None:
    program = source(load(tmp_path)).program
    places = Places(Path("/results/a=1,b"), Path("/code"), seed=7)
    assert command_line(program, program.defaults, places).argv[-1] == "hydra.run.dir='/results/a=1,b'"


def test_it_survives_its_way_through_a_file(tmp_path: Path) -> None:
    resume = "resume: {when: '*.pt', add: '--resume {run}', signal: SIGUSR1, grace: 5}\n  seed: seed"
    program = source(load(tmp_path, a=("seed: seed", resume))).program
    assert Program.from_json(json.loads(json.dumps(program.to_json()))) == program


def test_the_id_is_of_name_version_and_values_that_are_not_ignored(tmp_path: Path) -> None:
    plan = load(tmp_path)
    assert ids(plan) == ["cf76586119", "3b1f5931f4"]
    assert ids(plan, **{"wandb.mode": "online", "device": "cuda"}) == ids(plan)
    assert ids(load(tmp_path, a=("python train.py", "python3 train.py"))) == ids(plan), "not of the command"
    assert ids(load(tmp_path, a=("primary: eval/return", "primary: score"))) == ids(plan), "not of the metrics"
    for change in (("name: fork", "name: other"), ("  seed: seed", "  version: 2\n  seed: seed")):
        assert not set(ids(load(tmp_path, a=change))) & set(ids(plan))
    assert not set(ids(plan, steps=2000)) & set(ids(plan))
    extendable = load(tmp_path, a=("  seed: seed", "  extendable: true\n  seed: seed"))
    assert ids(extendable, steps=2000) == ids(extendable)


def test_a_hyperparameter_that_is_added_later_keeps_the_ids(tmp_path: Path) -> None:
    plan, store = load(tmp_path), ResultsFolder(tmp_path / "results")
    store.prepare()
    store.agents.record(plan.source, plan.folder)
    text = PLAN.replace("    steps: 1000", "    steps: 1000\n    tau: 0.01")
    (tmp_path / "plan.yaml").write_text(text)
    later = plans.load(tmp_path / "plan.yaml", store.agents)
    assert ids(later) == ids(plan)
    assert not set(ids(later, tau=0.02)) & set(ids(plan))


def test_steps_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    plan = load(tmp_path, a=("steps: 1000\n", "steps: 1e6\n"))
    (sweep,) = plan.select("rate")
    assert [c.config.steps for c in expand(plan, sweep).configurations] == [1_000_000] * 2
    assert argv(plan, steps=PlainText("2e6"))[0][4] == "steps=2000000"


def test_without_a_list_the_plan_names_the_hyperparameters(tmp_path: Path) -> None:
    head, _, rest = PLAN.partition("  hyperparameters:")
    text = (
        head
        + "  overrides: hydra"
        + rest.partition("  overrides: hydra")[2].replace("  ignore: [wandb.*, device]\n", "")
    )
    text = text.replace("  steps: steps\n", "").replace("sweeps:", "base: {+new.key: [1, 2]}\nsweeps:")
    plan = load(tmp_path, text)
    assert argv(plan)[0] == ("python", "train.py", "+new.key=[1,2]", "optimizer.lr=0.0001", "seed=7",
                             "hydra.run.dir=/results/work")  # fmt: skip


@pytest.mark.parametrize("kind", ["config", "config_command"])
def test_hyperparameters_come_from_a_file_or_a_command(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.yaml").write_text(
        "defaults:\n  - _self_\n  - model: small\n  - override hydra/launcher: basic\n"
        "lr: 3e-4\nsteps: 10\nseed: 1\nmust: ???\nnet: {width: 256, act: mish}\nhydra: {run: {dir: x}}\n"
    )
    (tmp_path / "show.py").write_text("print(open('config.yaml').read())")
    given = {"config": "config.yaml", "config_command": f"{sys.executable} show.py"}[kind]
    head, _, rest = PLAN.partition("  hyperparameters:")
    text = f"{head}  {kind}: {given}\n  overrides: hydra" + rest.partition("  overrides: hydra")[2]
    text = text.replace("  ignore: [wandb.*, device]\n", "").replace("optimizer.lr", "net.width")
    text = text.replace("[1e-4, 3e-4]", "[128, 256.0]")
    plan = load(tmp_path, text)
    assert source(plan).program.defaults == {
        "model": "small", "lr": 3e-4, "steps": 10, "must": None, "net.width": 256, "net.act": "mish",
    }  # fmt: skip
    assert argv(plan)[0][2] == "net.width=128"
    assert argv(plan, model="large")[1][2:4] == ("model=large", "net.width=256")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("optimizer.lr: [1e-4", "optimiser.lr: [1e-4", "unknown hyperparameter 'optimiser.lr'; did you mean optimizer"),
        ("[1e-4, 3e-4]", "[fast]", "optimizer.lr='fast': not a number"),
        ("[1e-4, 3e-4]", "[1e-4, 0.0001]", "optimizer.lr: the same level occurs twice"),
        ("{overrides} ", "", "has no {overrides}, so no hyperparameter would reach the program"),
        ("{overrides} hydra", "{override} {overrides} hydra", "unknown placeholder {override}; did you mean overrides"),
        ("{overrides} hydra", "'{overrides}x' hydra", "put spaces around it"),
        ("overrides: hydra", "overrides: hydro", "unknown style 'hydro'; did you mean hydra"),
        ("  seed: seed\n", "", "nothing takes the seed"),
        ("steps: steps", "steps: step", "unknown hyperparameter 'step'; did you mean steps?"),
        ("name: fork", "name: tdmpc", "'tdmpc' is the packaged agent"),
        ("name: fork", "name: a/b", "use letters, digits, - and _ only"),
        ("name: fork", "code: nowhere", "there is no folder"),
        ("ignore: [wandb.*", "ignore: [wand.*", "no hyperparameter matches 'wand.*'"),
        ("ignore: [wandb.*, device]", "ignore: steps", "give `extendable: true` instead"),
        ("jsonl: metrics.jsonl", "json: metrics.jsonl", "unknown 'json' in program.metrics.read; did you mean jsonl?"),
        ("jsonl: metrics.jsonl", "jsonl: /tmp/metrics.jsonl", "give a path inside the folder"),
        ("jsonl: metrics.jsonl", "jsonl: ../metrics.jsonl", "give a path inside the folder"),
        ("jsonl: metrics.jsonl", 'stdout: "step=(\\\\d+)"', "needs a group named as the step"),
        ("jsonl: metrics.jsonl", 'stdout: "("', "not a regular expression"),
        ("primary: eval/return", "primary: {name: x, better: more}", "'more': give up or down"),
        ("primary: eval/return", "roles: {log_sd: x}\n    primary: y", "unknown role 'log_sd'; did you mean log_std"),
        ("primary: eval/return", "roles: {log_std: y}\n    primary: y", "has a role already"),
        ("  seed: seed", "  resume: {add: --resume}\n  seed: seed", "needs `when:`"),
        ("  seed: seed", "  resume: {when: '*', signal: SIGKILL}\n  seed: seed", "'SIGKILL': "),
        ("  seed: seed", "  agent: x\n  seed: seed", "unknown 'agent' in program"),
        ("plan: mine", "plan: mine\nagent: a.b:C", "agent and program are both given"),
        ("  seed: seed", "  conda: a\n  activate: b\n  seed: seed", "keep one"),
        ("  seed: seed", "  environment: {A B: 1}\n  seed: seed", "not the name of an environment variable"),
        ("  seed: seed", "  link: [../data]\n  seed: seed", "give a path inside the folder"),
        ("steps: 1000", "a b: 1\n    steps: 1000", "hyperparameter 'a b'"),
        ("python train.py {overrides}", "python 'train.py {overrides}", "quote it as in a shell"),
    ],
)  # fmt: skip
def test_bad_plans_are_refused_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(JobsError) as refused:
        load(tmp_path, a=(old, new))
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'plan.yaml'}:")
    assert "\n" not in str(refused.value)


def test_code_is_copied_as_git_tracks_it_with_its_modes_and_links(tmp_path: Path) -> None:
    import subprocess

    code = tmp_path / "code"
    (code / "data").mkdir(parents=True)
    for name in ("train.py", "run.sh", "big.bin", "untracked.py", "data/set.npy"):
        (code / name).write_text(name)
    (code / "run.sh").chmod(0o755)
    git = ["git", "-C", str(code), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "train.py", "run.sh"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    extra = "  code: code\n  include: ['*.bin']\n  link: [data]\n  seed: seed"
    plan, store = load(tmp_path, a=("  seed: seed", extra)), ResultsFolder(tmp_path / "results")
    store.prepare()
    store.agents.record(plan.source, plan.folder)
    copied = store.code_folder(store.agents.check("fork").code)
    assert sorted(path.name for path in copied.iterdir()) == ["big.bin", "data", "run.sh", "train.py"]
    assert (copied / "run.sh").stat().st_mode & 0o111
    assert (copied / "data").is_symlink()
    (copied / "outputs").mkdir()
    (copied / "outputs" / "log").touch()
    store.agents.check_copy(copied.name)  # what a program writes beside its code hurts nobody
    (copied / "train.py").write_text("other")
    with pytest.raises(JobsError, match="was changed since it was copied"):
        store.agents.check_copy(copied.name)


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"] + [
        f"a{n}: &a{n} {{b: *a{n - 1}, c: *a{n - 1}, d: *a{n - 1}}}" for n in range(1, 30)
    ]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    text = PLAN.partition("  hyperparameters:")[0] + "  config: config.yaml\n  seed: seed\n  overrides: hydra\n"
    text += "  metrics: {primary: x}\nsweeps: {rate: {goal: x, grid: {a0.x: [1, 2]}}}\n"
    with pytest.raises(JobsError, match="more than"):
        load(tmp_path, text)


def test_the_command_runs_in_its_container_and_after_its_activation(tmp_path: Path) -> None:
    extra = """\
  container: /images/a b.sif
  activate: |
    module load x
    . env/bin/activate
  cwd: "{run}"
  seed: seed"""
    program = source(load(tmp_path, a=("  seed: seed", extra))).program
    places = Places(Path("/results/work"), Path("/code"), seed=7, gpus=1)
    words = command_line(program, program.defaults, places).argv
    assert words[:4] == ("bash", "-c", 'module load x\n. env/bin/activate\nexec "$@"', "sweeps")
    assert words[4:14] == ("apptainer", "exec", "--nv", "--bind", "/code", "--bind", "/results/work", "--pwd",
                           "/results/work", "/images/a b.sif")  # fmt: skip
    assert words[14:16] == ("python", "train.py")


def test_conda_is_activated_by_name(tmp_path: Path) -> None:
    program = source(load(tmp_path, a=("  seed: seed", "  conda: my env\n  seed: seed"))).program
    assert program.activate == ('eval "$(conda shell.bash hook)"', "conda activate 'my env' || exit 1")


COMPOSED = """\
optimizer: {name: adam, lr: 0.001}
steps: 10
seed: 1
hydra:
  run: {dir: outputs/x}
  runtime:
    cwd: /x
    choices: {optimizer: adam, hydra/launcher: basic, hydra/output: default}
"""


def test_choices_of_hydras_groups_are_hyperparameters_and_what_lies_below_is_the_choices(tmp_path: Path) -> None:
    """Values that the program prints below a group are those of one choice."""
    (tmp_path / "show.py").write_text(f"print({COMPOSED!r})")
    head, _, rest = PLAN.partition("  hyperparameters:")
    text = (
        f"{head}  config_command: {sys.executable} show.py\n  overrides: hydra"
        + rest.partition("  overrides: hydra")[2]
    )
    text = text.replace("  ignore: [wandb.*, device]\n", "")
    varied = text.replace("optimizer.lr: [1e-4, 3e-4]", "optimizer: [adam, sgd]")
    program = source(load(tmp_path, varied)).program
    assert program.defaults == {"optimizer": "adam", "optimizer.name": None, "optimizer.lr": None, "steps": 10}
    assert argv(load(tmp_path, varied))[1][2] == "optimizer=sgd"
    both = varied.replace("grid: {", "fixed: {optimizer.lr: 0.01}, grid: {")
    assert argv(load(tmp_path, both))[1][2:4] == ("optimizer.lr=0.01", "optimizer=sgd")
    assert source(load(tmp_path, text)).program.defaults["optimizer.lr"] == 0.001


def test_lists_as_defaults_are_read_back_from_the_results_folder(tmp_path: Path) -> None:
    plan, store = load(tmp_path), ResultsFolder(tmp_path / "results")
    store.prepare()
    store.agents.record(plan.source, plan.folder)
    read = store.agents.schema("fork")
    assert read.parse_value("optimizer.betas", [PlainText("0.5"), PlainText("0.9")]) == (0.5, 0.9)
    assert read.resolve({}).config_id == plan.schema.resolve({}).config_id
