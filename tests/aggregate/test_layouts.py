"""Files as other tools leave them: recognised, imported without --map, refused with a useful line where broken."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aggregate import importers
from aggregate.export import tensorboard
from aggregate.export.new_rows import ExportedRow
from aggregate.importers import Collected, Curve, CurveImportError, ImportOptions
from tdmpc.metrics import CATALOGUE

RETURN = "eval_return_planner"


def collect(*paths: Path, maps: tuple[str, ...] = (), **options: Any) -> Collected:
    return importers.collect(paths, ImportOptions.of(maps, CATALOGUE, **options))


def points(curve: Curve) -> list[tuple[int, float]]:
    return [(step, own[RETURN]) for (_, step), own in sorted(curve.points.items())]


def found(collected: Collected) -> dict[tuple[str, str, int], list[tuple[int, float]]]:
    return {tuple(curve.key): points(curve) for curve in collected.curves}


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") and data[:2] != b"\x1f\x8b" else data)
    return folder


def lines(*records: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


class Case(NamedTuple):
    """files are recognised as `layout` and give `curves`; with `broken` in place of its first file the import is
    refused and says `refusal`."""

    layout: str
    files: dict[str, str | bytes]
    options: dict[str, Any]
    curves: dict[tuple[str, str, int], list[tuple[int, float]]]
    broken: str | bytes
    refusal: str


RAY = "PPO_CartPole-v1_1a2b3_00000_0_2024-05-01_10-00-00"
MONITOR = '#{"t_start": 1700000000.0, "env_id": "CartPole-v1"}\nr,l,t\n9.0,9,0.5\n21.0,11,1.5\n'
SCORES = [{"task": "dmc_walker_walk", "method": "dreamerv3", "seed": "1", "xs": [0, 1000], "ys": [1.0, 2.5]}]
DOPAMINE = [{"Agent": "DQN", "Game": "Pong", "Iteration": i, "Value": value}
            for value in (-20.0, 3.0) for i in (0, 1)]  # fmt: skip
CHART = ('"Step","sac-seed-3 - eval/return","sac-seed-3 - eval/return__MIN","sac-seed-3 - eval/return__MAX"\n'
         '"0","1.5","1.5","1.5"\n"100","2.5","2.5","2.5"\n')  # fmt: skip
RESULT = '{"env_runners": {"episode_return_mean": 9.5}, "num_env_steps_sampled_lifetime": 400}'
SB3 = "eval/mean_reward,rollout/ep_rew_mean,time/total_timesteps\n"
SPINNING_UP = "Epoch\tAverageTestEpRet\tTotalEnvInteracts\n1\t5.5\t4000\n"
CASES = {
    "tdmpc2, returns": Case(
        "TD-MPC2 results", {"sac/walker-walk.csv": "step,reward,seed\n0,1.5,1\n1000,8.5,1\n"}, {"frames_per_step": 2},
        {("sac", "walker-walk", 1): [(0, 1.5), (500, 8.5)]},
        "step,reward,seed\n0,1.5,1\n1000,oops,1\n", "line 3, column 'reward': 'oops' is no number",
    ),
    "tdmpc2, success": Case(
        "TD-MPC2 results", {"sac/mw-push.csv": "step,success,seed\n0,0.0,1\n1000,0.5,1\n"}, {"frames_per_step": 1},
        {("sac", "mw-push", 1): [(0, 0.0), (1000, 0.5)]},
        "step,success,seed\n0,85.0,1\n", "column 'success': 85 is no share between 0 and 1",
    ),
    "rllib table": Case(
        "RLlib",
        {f"{RAY}/progress.csv": "episode_reward_mean,timesteps_total,timestamp\n,4000,17\n21.5,8000,19\n",
         f"{RAY}/params.json": '{"env": "CartPole-v1", "seed": 7}'},
        {}, {("PPO", "CartPole-v1", 7): [(8000, 21.5)]},
        "episode_reward_mean,timesteps_total,timestamp\n21.5,8000,17", "--accept cut leaves an incomplete last line",
    ),
    "rllib lines": Case(
        "RLlib",
        {f"{RAY}/result.json": f"{RESULT}\n"},
        {}, {("PPO", "CartPole-v1", 1): [(400, 9.5)]},
        f"{RESULT}\n{RESULT[:9]}", "line 2: not JSON",
    ),
    "sb3 monitor": Case(
        "stable-baselines3 monitor", {"ppo/cart/2/monitor.csv": MONITOR}, {},
        {("ppo", "CartPole-v1", 2): [(9, 9.0), (20, 21.0)]},
        MONITOR.partition("\n")[2], "line 1: # and a JSON object are expected",
    ),
    "sb3 progress": Case(
        "stable-baselines3 progress",
        {"ppo/cart/2/progress.csv": f"{SB3},8.0,2048\n9.5,9.0,4096\n"},
        {}, {("ppo", "cart", 2): [(4096, 9.5)]},
        f"{SB3}9.5,9,4096\n9.5,9,4096\n", "--accept repeated counts identical repeated lines",
    ),
    "spinning up": Case(
        "Spinning Up", {"sac_s20/progress.txt": f"{SPINNING_UP}2\t7.5\t8000\n"},
        {"task": "Hopper-v4"}, {("sac", "Hopper-v4", 20): [(4000, 5.5), (8000, 7.5)]},
        f"{SPINNING_UP}2\t7.5\n", "line 3: 2 cells, the first line names 3",
    ),
    "dreamer scores": Case(
        "DreamerV3 scores", {"scores.json": json.dumps(SCORES)}, {"frames_per_step": 2},
        {("dreamerv3", "dmc_walker_walk", 1): [(0, 1.0), (500, 2.5)]},
        json.dumps([SCORES[0] | {"ys": [1.0]}]), "row 1: 2 values in xs and 1 in ys",
    ),
    "dreamer metrics": Case(
        "DreamerV3 metrics",
        {"dreamer/walk/1/metrics.jsonl": lines({"step": 100, "train/loss": 1.0}, {"step": 200, "episode/score": 4.5})},
        {"frames_per_step": 1}, {("dreamer", "walk", 1): [(200, 4.5)]},
        lines({"step": 1.5, "episode/score": 4.5}), "line 1, column 'step': '1.5' is no step",
    ),
    "dopamine json": Case(
        "Dopamine JSON", {"pong.json": json.dumps(DOPAMINE)}, {"steps_per_iteration": 250_000},
        {("DQN", "Pong", 1): [(0, -20.0), (250_000, -20.0)], ("DQN", "Pong", 2): [(0, 3.0), (250_000, 3.0)]},
        json.dumps([*DOPAMINE, {"Agent": "DQN", "Game": "Pong", "Iteration": 1, "Value": "x"}]), "'x' is no number",
    ),
    "wandb chart": Case(
        "W&B chart export", {"chart.csv": CHART}, {"task": "walk"},
        {("sac", "walk", 3): [(0, 1.5), (100, 2.5)]},
        CHART.replace('"2.5","2.5","2.5"', '"2.5","2.0","3.0"'), "'sac-seed-3' is a mean of several points or runs",
    ),
    "packed": Case(
        "TD-MPC2 results", {"sac/walker-walk.csv.gz": "step,reward,seed\n0,1.5,1\n"}, {"frames_per_step": 1},
        {("sac", "walker-walk", 1): [(0, 1.5)]},
        gzip.compress(b"step,reward,seed\n0,1.5,1\n")[:-9], "no whole gzip file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_layout_is_recognised_and_imported_without_a_map(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    folder = write(tmp_path, case.files)
    named = [folder / own for own in case.files if "params" not in own]
    collected = collect(*(named if named[0].suffix == ".json" and named[0].name not in ("scores.json", "result.json")
                          else [folder]), **case.options)  # fmt: skip
    assert found(collected) == case.curves
    assert {file.layout.name for file in collected.files if file.layout} == {case.layout}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_file_is_refused_with_a_useful_line(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    first = next(iter(case.files))
    folder = write(tmp_path, case.files | {first: case.broken})
    path = folder / first
    with pytest.raises(CurveImportError) as raised:
        collect(folder if "/" in first else path, **case.options)
    assert case.refusal in str(raised.value)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "option"),
    [("tdmpc2, returns", "--frames-per-step"), ("dreamer scores", "--frames-per-step"),
     ("dopamine json", "--steps-per-iteration"), ("wandb chart", "--task"), ("spinning up", "--task")],
)  # fmt: skip
def test_what_a_layout_does_not_say_is_asked(name: str, option: str, tmp_path: Path) -> None:
    folder = write(tmp_path, CASES[name].files)
    with pytest.raises(CurveImportError, match=option):
        collect(folder / next(iter(CASES[name].files)))


def test_tensorboard_folders_of_cleanrl_and_dopamine(tmp_path: Path) -> None:
    def log(folder: str, tag: str, values: list[tuple[int, float]]) -> Path:
        (tmp_path / folder).mkdir(parents=True)
        rows = [ExportedRow(step, step, 0, 1.7e9, {tag: value}) for step, value in values]
        tensorboard.write(tmp_path / folder, 1, rows, None)
        return tmp_path / folder.partition("/")[0]

    cleanrl = log(
        "Hopper-v4__ppo__3__1700000000", "charts/episodic_return", [(10, 1.0), (10, 3.0), (10, 8.0), (20, 5.0)]
    )
    collected = collect(cleanrl)
    assert found(collected) == {("ppo", "Hopper-v4", 3): [(10, 4.0), (20, 5.0)]}  # several environments: their mean
    assert collected.files[0].counts == "agent steps"
    dopamine = log("dqn/Pong/1", "Train/AverageReturns", [(0, -20.0), (2, -18.0)])
    with pytest.raises(CurveImportError, match="--steps-per-iteration"):
        collect(dopamine)
    assert found(collect(dopamine, steps_per_iteration=10)) == {("dqn", "Pong", 1): [(0, -20.0), (20, -18.0)]}
    with pytest.raises(CurveImportError, match=r"not a layout that is recognised.*it has loss"):
        collect(log("a/b/1", "loss", [(0, 1.0)]))


def test_several_environments_of_one_run_are_put_together_by_time(tmp_path: Path) -> None:
    head = '#{"t_start": 0.0, "env_id": "Ant"}\nr,l,t\n'
    write(tmp_path, {"a/Ant/1/0.monitor.csv": f"{head}1,10,1\n2,10,3\n", "a/Ant/1/1.monitor.csv": f"{head}5,4,2\n"})
    assert found(collect(tmp_path)) == {("a", "Ant", 1): [(10, 1.0), (14, 5.0), (24, 2.0)]}


def test_of_several_records_of_one_run_the_best_is_read(tmp_path: Path) -> None:
    case = CASES["rllib table"]
    write(tmp_path, case.files | {f"{RAY}/result.json": "{}\n", f"{RAY}/events.out.tfevents.1": ""})
    collected = collect(tmp_path)
    assert found(collected) == case.curves
    assert [note.partition(": ")[2] for note in collected.notes] == [
        "left out, progress.csv beside it is of the same run",
        "its event files are left out, the table beside them is of the same run",
    ]


# --- faults ---------------------------------------------------------------------------------------------

HEAD = "step,success,seed\n"
FIRST, SECOND = "0,0.0,1\n100,0.5,1\n200,0.7,1\n", "0,0.0,1\n100,0.2,1\n"


def faulty(tmp_path: Path, text: str, *accept: str) -> Collected:
    return collect(write(tmp_path, {"sac/mw-push.csv": text}), accept=accept, frames_per_step=1)


def test_two_runs_under_one_seed_are_taken_apart_on_request(tmp_path: Path) -> None:
    text = f"{HEAD}{FIRST}{SECOND}100,0.9,2\n"
    with pytest.raises(CurveImportError, match=r"line 5: step 0 .* --accept two-runs .* --accept resumed"):
        faulty(tmp_path, text)
    collected = faulty(tmp_path, text, "two-runs")
    assert found(collected) == {
        ("sac", "mw-push", 1): [(0, 0.0), (100, 0.5), (200, 0.7)],
        ("sac", "mw-push", 2): [(100, 0.9)],
        ("sac", "mw-push", 3): [(0, 0.0), (100, 0.2)],
    }  # fmt: skip
    assert collected.notes[-1] == "sac, mw-push: another run of seed 1 is seed 3"


def test_of_a_resumed_run_the_later_lines_count(tmp_path: Path) -> None:
    text = f"{HEAD}{FIRST}100,0.2,1\n"
    assert found(faulty(tmp_path, text, "resumed")) == {("sac", "mw-push", 1): [(0, 0.0), (100, 0.2)]}
    both = faulty(tmp_path, f"{text}0,0.3,1\n", "resumed", "two-runs")
    assert found(both)["sac", "mw-push", 2] == [(0, 0.3)]


@pytest.mark.parametrize("repeats", ["200,0.7,1\n", FIRST, "0,0.0,1\n100,0.5,1\n"])
def test_identical_lines_count_once_on_request(repeats: str, tmp_path: Path) -> None:
    with pytest.raises(CurveImportError, match="in identical lines; --accept repeated"):
        faulty(tmp_path, f"{HEAD}{FIRST}{repeats}")
    collected = faulty(tmp_path, f"{HEAD}{FIRST}{repeats}", "repeated")
    assert found(collected) == {("sac", "mw-push", 1): [(0, 0.0), (100, 0.5), (200, 0.7)]}


def test_lines_that_contradict_each_other_are_never_accepted(tmp_path: Path) -> None:
    with pytest.raises(CurveImportError, match=r"line 5: step 200 .* with different values"):
        faulty(tmp_path, f"{HEAD}{FIRST}200,0.1,1\n", *importers.KINDS)


def test_an_incomplete_last_line_is_left_out_on_request(tmp_path: Path) -> None:
    with pytest.raises(CurveImportError, match=r"line 5: 1 cells.*mid-line; --accept cut"):
        faulty(tmp_path, f"{HEAD}{FIRST}30")
    assert len(found(faulty(tmp_path, f"{HEAD}{FIRST}30", "cut"))["sac", "mw-push", 1]) == 3
    with pytest.raises(CurveImportError, match="line 2: 1 cells"):  # not the last line
        faulty(tmp_path, f"{HEAD}30\n{FIRST}", "cut")


def test_a_task_measured_in_two_ways_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"sac/mw-push.csv": HEAD + FIRST, "dreamer/mw-push.csv": "step,reward,seed\n0,3.0,1\n"})
    with pytest.raises(CurveImportError, match=r"success of mw-push, and reward in .*dreamer"):
        collect(tmp_path, frames_per_step=1)


def test_shares_of_success_have_a_reference(tmp_path: Path) -> None:
    write(tmp_path, {"sac/mw-push.csv": HEAD + FIRST, "sac/walker-walk.csv": "step,reward,seed\n0,3.0,1\n"})
    assert collect(tmp_path, frames_per_step=1).references == {"mw-push": (0.0, 1.0)}
    either = collect(tmp_path, maps=("step=step,eval_return=reward|success,seed=seed",))
    assert found(either).keys() == {("sac", "mw-push", 1), ("sac", "walker-walk", 1)}
    write(tmp_path, {"sac/walker-walk.csv": "step,reward,success,seed\n0,3.0,1,1\n"})
    with pytest.raises(CurveImportError, match="reward and success are both columns"):
        collect(tmp_path, maps=("step=step,eval_return=reward|success,seed=seed",))


def test_an_unknown_layout_or_fault_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"a/b.csv": "epoch,score\n1,2\n"}) / "a" / "b.csv"
    with pytest.raises(
        CurveImportError, match=r"not a layout that is recognised; .*--map step=COLUMN.*it has epoch, score"
    ):
        collect(path)
    with pytest.raises(CurveImportError, match="--accept 'repeats': did you mean repeated"):
        collect(path, accept=("repeats",))
