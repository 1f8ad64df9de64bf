"""Plans: counts worked by hand, schema errors with their line, values by declared type."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.planning import plan, plan_values
from jobs.planning.expand import ExpandedSweep, combinations, expand
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import format_value

SWEEPS = {  # configurations of the packaged plan, as the plan counts them
    "ensemble": 2 * 2 * 2,
    "update-freq.pi-lr": 4,
    "update-freq.pi-update-freq": 3,
    "update-freq.tau": 3,
    "update-freq.policy-ema": 1 + 3,
    "update-freq.lr-vs-freq": 3 * 2,
    "gamma": 3,
    "entropy": 3 * 3,
    "entropy.fixed": 3,
}

GOLDEN = Path(__file__).parent / "golden"  # config_ids_N.json: of version N of the packaged agent


def packaged(name: str) -> list[ExpandedSweep]:
    loaded = plan.load()
    return [expand(loaded, sweep) for sweep in loaded.select(name)]


def ids(sweeps: list[ExpandedSweep]) -> set[str]:
    return {c.config_id for sweep in sweeps for c in sweep.configurations}


@pytest.mark.parametrize("version", [1, 2])
def test_configuration_ids_do_not_change(version: int) -> None:
    """Runs that are on disk are found by these IDs, those of an earlier version of the agent too."""
    loaded, golden_ids = plan.load(), json.loads((GOLDEN / f"config_ids_{version}.json").read_text())
    for suffix, preset in (("", {}), (" --preset small", dict(plan.load_preset("small").values))):
        for sweep in loaded.sweeps:
            made = expand(loaded, sweep, preset).configurations
            ids = {c.label: loaded.schema.resolve(c.config.values, version=version).config_id for c in made}
            assert ids == golden_ids[sweep.name + suffix]
            assert version != 2 or ids == {c.label: c.config_id for c in made}
    assert len(golden_ids) == 2 * len(loaded.sweeps)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return path


def expanded(tmp_path: Path, text: str, **layers: object) -> ExpandedSweep:
    loaded = plan.load(written(tmp_path, text))
    return expand(loaded, loaded.sweeps[0], **layers)  # type: ignore[arg-type]


# --- the packaged plan ------------------------------------------------------------------------------------


def test_packaged_plan_has_the_sweeps_and_counts_of_the_plan() -> None:
    loaded = plan.load()
    assert {s.name: len(expand(loaded, s).configurations) for s in loaded.sweeps} == SWEEPS
    assert {s.name: expand(loaded, s).runs for s in loaded.sweeps} == {n: 6 * c for n, c in SWEEPS.items()}


def test_sweeps_run_in_the_plans_priority_order() -> None:
    order = {s.name.split(".")[0]: s.priority for s in plan.load().sweeps}
    assert order == {"ensemble": 1, "update-freq": 2, "gamma": 3, "entropy": 4}
    assert [s.name for s in plan.load().sweeps if s.parallel] == ["gamma"]


def test_the_baseline_is_one_configuration_in_every_sweep_that_holds_it() -> None:
    loaded = plan.load()
    baselines = {s.name: [c for c in expand(loaded, s).configurations if c.is_baseline] for s in loaded.sweeps}
    assert baselines.pop("entropy.fixed") == []
    assert {len(found) for found in baselines.values()} == {1}
    assert len({found[0].config_id for found in baselines.values()}) == 1


def test_sharing_between_sweeps_is_what_the_plan_says() -> None:
    # options of update-freq: 20 rows, the baseline in all five of them, (0.3, 2) in two
    assert len(ids(packaged("update-freq"))) == 20 - 4 - 1
    grid, fixed = packaged("entropy")[0], packaged("entropy.fixed")[0]
    shared = ids([grid]) & ids([fixed])
    assert [c.label for c in fixed.configurations if c.config_id in shared] == ["start=1e-5, end=1e-5"]


def test_lr_vs_freq_holds_pairs_of_equal_product() -> None:
    products = [
        c.config.values["pi_lr_scale"] / c.config.values["pi_update_freq"]
        for c in packaged("update-freq.lr-vs-freq")[0].configurations
    ]
    assert sorted(products) == pytest.approx([0.075, 0.15, 0.15, 0.3, 0.3, 0.6])


def test_a_name_means_the_sweeps_own_grid_or_else_all_its_options() -> None:
    assert [e.sweep.name for e in packaged("entropy")] == ["entropy"]
    assert len(packaged("update-freq")) == 5
    assert [e.sweep.name for e in packaged("update-freq.tau")] == ["update-freq.tau"]


def test_what_a_sweep_fixes_is_in_every_configuration_of_it() -> None:
    assert {
        (c.config.values["num_q"], c.config.values["multi_gamma_head"]) for c in packaged("gamma")[0].configurations
    } == {(2, "joint")}


@pytest.mark.parametrize("name", ["ensembel", "update-freq.ta", "../ensemble", ""])
def test_unknown_sweep_or_option_names_what_there_is(name: str) -> None:
    with pytest.raises(JobsError, match=r"unknown (sweep|option)"):
        plan.load().select(name)


def test_unknown_option_names_the_near_match() -> None:
    with pytest.raises(JobsError, match=r"did you mean update-freq\.tau"):
        plan.load().select("update-freq.ta")


def test_presets_are_legal_configurations() -> None:
    loaded = plan.load()
    for preset in plan.load_presets().values():
        for sweep in loaded.sweeps:
            assert len(expand(loaded, sweep, preset.values).configurations) == SWEEPS[sweep.name]


# --- layers -----------------------------------------------------------------------------------------------

LAYERS = """
base: {batch_size: 32, tau: 0.02, lr: 1e-3}
sweeps:
  s:
    fixed: {tau: 0.03}
    grid: {num_q: [1, 2]}
"""


def test_layers_base_preset_fixed_levels_command_line(tmp_path: Path) -> None:
    preset = {"batch_size": 64, "tau": 0.5, "num_q": 5}
    found = expanded(tmp_path, LAYERS, preset=preset, overrides={"lr": "3e-4"})
    configs = [SimpleNamespace(**c.config.values) for c in found.configurations]
    assert [c.num_q for c in configs] == [1, 2]  # levels over the preset
    assert {(c.batch_size, c.tau, c.lr) for c in configs} == {(64, 0.03, 3e-4)}


def test_command_line_overrides_what_is_fixed(tmp_path: Path) -> None:
    assert {c.config.values["tau"] for c in expanded(tmp_path, LAYERS, overrides={"tau": "0.04"}).configurations} == {
        0.04
    }


def test_setting_a_swept_key_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JobsError, match="sweep 's' varies num_q"):
        expanded(tmp_path, LAYERS, overrides={"num_q": 1})


def test_grid_is_a_product_and_zip_goes_level_by_level(tmp_path: Path) -> None:
    text = "sweeps: {s: {grid: {num_q: [1, 2]}, zip: {tau: [0.1, 0.2], lr: [1e-3, 1e-4]}}}"
    rows = [tuple(row.values()) for row in combinations(plan.load(written(tmp_path, text)).sweeps[0])]
    assert rows == [(1, 0.1, 1e-3), (1, 0.2, 1e-4), (2, 0.1, 1e-3), (2, 0.2, 1e-4)]


def test_levels_that_change_nothing_are_merged_and_left_out_of_labels() -> None:
    ema = packaged("update-freq.policy-ema")[0]
    assert [c.label for c in ema.configurations][:2] == ["policy_ema=false", "policy_ema=true, ema_tau=0.01"]
    assert ema.configurations[0].factors == {"policy_ema_enabled": False, "policy_ema_tau": None}


def test_a_swept_key_that_is_inactive_everywhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JobsError, match=r"plan.yaml:1: .*policy_ema_tau changes nothing"):
        expanded(tmp_path, "sweeps: {s: {grid: {policy_ema_tau: [0.1, 0.2]}}}")


def test_task_steps_and_seeds_for_the_plan_and_for_one_sweep(tmp_path: Path) -> None:
    text = """
    task: walker-walk
    steps: 5000
    seeds: 2
    sweeps:
      a: {grid: {num_q: [1, 2]}}
      b: {grid: {num_q: [1, 2]}, steps: 6000, seeds: 4-6}
      c: {grid: {num_q: [1, 2]}, seeds: [3]}
    """
    loaded = plan.load(written(tmp_path, text))
    a, b, c = (expand(loaded, sweep) for sweep in loaded.sweeps)
    assert (a.configurations[0].config.values["task"], a.configurations[0].config.steps, a.seeds) == (
        "walker-walk",
        5000,
        (1, 2),
    )
    assert (b.configurations[0].config.steps, b.seeds, c.seeds) == (6000, (4, 5, 6), (3,))


def test_values_are_read_by_declared_type_not_by_yamls_looks(tmp_path: Path) -> None:
    # plain YAML 1.1 makes a string of 3e-4 and booleans of no and on
    text = "base: {lr: 3e-4, tf32: no, discount: auto}\nsweeps: {s: {grid: {policy_ema_enabled: [off, on]}}}"
    configs = [SimpleNamespace(**c.config.values) for c in expanded(tmp_path, text).configurations]
    assert [(c.lr, c.tf32, c.discount, c.policy_ema_enabled) for c in configs] == [
        (3e-4, False, None, False), (3e-4, False, None, True),
    ]  # fmt: skip


# --- errors -----------------------------------------------------------------------------------------------

BROKEN = {
    "": "empty",
    "a: [1": "plan.yaml:1: broken YAML",
    "a: b: c": "plan.yaml:1: broken YAML",
    "- 1": "give `key: value` lines",
    "base: {num_q: 1}": "needs `sweeps:`",
    "sweeps:\n  s:\n    gird: {num_q: [1]}": "plan.yaml:3: unknown 'gird' in sweeps.s; did you mean grid",
    "sweeps:\n  s: {grid: {num_q: []}}": "plan.yaml:2: .*empty grid",
    "sweeps:\n  s: {grid: {}}": "plan.yaml:2: .*empty grid",
    "sweeps: {s: {}}": "varies nothing",
    "sweeps: {}": "give at least one sweep",
    "base:\n  num_q: 1\n  num_q: 2\nsweeps: {s: {grid: {tau: [0.1]}}}": "plan.yaml:3: 'num_q' occurs twice",
    "sweeps: {s: {grid: {num_qq: [1]}}}": "unknown hyperparameter 'num_qq'; did you mean num_q",
    "sweeps: {s: {grid: {num_q: 1}}}": "give a list",
    "sweeps: {s: {grid: {num_q: [1.5]}}}": "num_q='1.5': not a whole number",
    "sweeps: {s: {grid: {num_q: [1, 1]}}}": "the same level occurs twice",
    "sweeps: {s: {zip: {num_q: [1, 2], tau: [0.1]}}}": "num_q has 2, tau has 1",
    "sweeps: {s: {grid: {num_q: [1]}, zip: {num_q: [1]}}}": "in both grid and zip",
    "sweeps: {s: {fixed: {num_q: 1}, grid: {num_q: [1, 2]}}}": "fixed and varied",
    "sweeps: {../s: {grid: {num_q: [1]}}}": "name '../s'",
    "sweeps: {'s\\n': {grid: {num_q: [1]}}}": "name",
    "sweeps: {s: {options: {'a.b': {grid: {num_q: [1]}}}}}": "name 'a.b'",
    "sweeps: {s: {issues: [x], grid: {num_q: [1]}}}": "unknown issue 'x'",
    "seeds: 0\nsweeps: {s: {grid: {num_q: [1]}}}": "plan.yaml:1: seeds='0'",
    "paired: true\nsweeps: {s: {grid: {lr: [1e-3], num_q: [1, 2]}}}": "paired: num_q changes the shapes of networks, "
    "so runs with one seed start differently; give this sweep `paired: false`",
    "sweeps:\n  s:\n    paired: maybe\n    grid: {lr: [1e-3]}": "plan.yaml:3: sweeps.s.paired: 'maybe' is neither",
    "margin: 0\nsweeps: {s: {grid: {num_q: [1]}}}": "plan.yaml:1: margin: '0': give a number above 0",
    "sweeps:\n  s:\n    margin: -1e1\n    grid: {num_q: [1]}": "plan.yaml:3: margin: '-1e1': give a number above 0",
    "margin: ten\nsweeps: {s: {grid: {num_q: [1]}}}": "margin: 'ten': give a number above 0",
    "margin: inf\nsweeps: {s: {grid: {num_q: [1]}}}": "margin: 'inf': give a number above 0",
    "margin: nan\nsweeps: {s: {grid: {num_q: [1]}}}": "margin: 'nan': give a number above 0",
    "margin: [1]\nsweeps: {s: {grid: {num_q: [1]}}}": "margin: give one value here",
    "steps: 5\nbase: {steps: 6}\nsweeps: {s: {grid: {num_q: [1]}}}": "steps is given twice",
    "base: {num_q: &a [*a]}": "an alias is inside",
    "base: {multi_gamma_gammas: &a [*a]}\nsweeps: {s: {grid: {num_q: [1]}}}": "an alias is inside",
    "!!python/object/apply:os.system ['id']": "give `key: value` lines",
}


@pytest.mark.parametrize("text", BROKEN)
def test_schema_errors_are_one_line_with_file_line_and_fix(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobsError, match=BROKEN[text]) as caught:
        plan.load(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "plan.yaml" in str(caught.value)


def test_pairing_is_declared_by_the_plan_a_sweep_or_an_option(tmp_path: Path) -> None:
    text = """
paired: true
sweeps:
  plain: {grid: {lr: [1e-3, 1e-4]}}
  own: {paired: false, grid: {num_q: [1, 2]}, options: {o: {grid: {mlp_dim: [64]}}, p: {paired: true, grid: {lr: [1]}}}}
"""
    declared = {sweep.name: sweep.paired for sweep in plan.load(written(tmp_path, text)).sweeps}
    assert declared == {"plain": True, "own": False, "own.o": False, "own.p": True}
    assert not any(sweep.paired for sweep in plan.load().sweeps)


def test_the_margin_of_a_sweep_or_option_overrides_that_of_the_plan(tmp_path: Path) -> None:
    text = """
margin: 3e1
sweeps:
  plain: {grid: {num_q: [1, 2]}}
  own: {margin: 7, grid: {num_q: [1, 2]}, options: {o: {grid: {tau: [0.01, 0.02]}}, p: {margin: 2, grid: {lr: [1e-3]}}}}
"""
    margins = {sweep.name: sweep.margin for sweep in plan.load(written(tmp_path, text)).sweeps}
    assert margins == {"plain": 30.0, "own": 7.0, "own.o": 7.0, "own.p": 2.0}
    assert plan.load().sweeps[0].margin is None  # the packaged plan leaves it to the baseline's gain


def test_an_illegal_combination_names_sweep_and_levels(tmp_path: Path) -> None:
    with pytest.raises(JobsError, match=r"sweep 's' \(planner_num_dynamics_heads=1\): td_num_dynamics_heads=2"):
        expanded(tmp_path, "sweeps: {s: {grid: {planner_num_dynamics_heads: [1, 4]}}}")


def test_files_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JobsError, match="not a text file"):
        plan.load(path)
    with pytest.raises(JobsError, match="cannot read"):
        plan.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", (1, 2, 3)),
        ("4-6", (4, 5, 6)),
        ("1,3,5", (1, 3, 5)),
        ("5,1-2,2", (1, 2, 5)),
        ("7-7", (7,)),
        ("0-1", (0, 1)),
    ],
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert plan_values.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "-1", "a", "", "1,", "5-3", "1.5", "1-99999", "9999999999"])
def test_seeds_errors(text: str) -> None:
    with pytest.raises(JobsError, match="seeds="):
        plan_values.parse_seeds(text)


def test_values_are_shown_as_they_are_written() -> None:
    shown = [format_value(v) for v in (1e-3, 1e-5, 3e-4, 0.005, 0.3, 1.0, 2, True, (0.9, 0.95), "min", None, 0.0)]
    assert shown == ["1e-3", "1e-5", "3e-4", "0.005", "0.3", "1", "2", "true", "[0.9, 0.95]", "min", "auto", "0"]


def test_a_former_key_is_accepted_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "former.yaml"
    text = "plan: mine\nlooks: 3\nsweeps:\n  q: {grid: {num_q: [1, 2]}}\n"
    file.write_text(text)
    for _ in range(2):
        (sweep,) = plan.load(file).sweeps
    assert sweep.interim_analyses == 3
    assert capsys.readouterr().err == f"note: {file}:2: 'looks' is called 'interim_analyses' now; rename it\n"
    file.write_text(text + "interim_analyses: 2\n")
    with pytest.raises(JobsError, match="'interim_analyses' occurs twice in plan"):
        plan.load(file)
