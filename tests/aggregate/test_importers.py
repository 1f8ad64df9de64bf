"""Files as others write them, read as curves; every fault named with its place."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aggregate import importers
from aggregate.importers import Curve, CurveImportError, ImportOptions
from aggregate.importers.event_files import scalars
from aggregate.inputs.runs import DONE, ConfigSource, RunSource, SweepSource, load
from tdmpc.description import DESCRIPTION
from tdmpc.metrics import CATALOGUE

PUBLISHED = "step=step,eval_return=reward,seed=seed"
RETURN = "eval_return_planner"
# A file that TensorBoard 2.21's own writer made: steps 0, 1000 and 200000 with the scalars eval/return (1.5 x step,
# plain), loss (-0.25) and new/return (2.5 x step, as a tensor), then a histogram.
EVENTS = zlib.decompress(base64.b64decode(
    "eNrzYICAf5M85nIymmwvlTx4y1GKN6koMTNPz7UsNa/EyihIj0unJDWvOL8oKT+xKEWvuDQ3N7GoUq+8KLMktUgvFaQqPi0zJzUeItIyP3ijDtTc"
    "L+vOuHIyMCg4/Am56ailyCXExZ1alpijX5RaUlqUJwpSwsXNxZKTX1wM5DTsU9kZv8QIqldFMuwNQq86lyoXV15qOVSrExcHoxCDFgtIoRc3FycX"
    "e3FyYk5iUXG3meg2fagJubGyASATrP4CTRB4wY7FAQ27XVAcME19voopVPu1o7HPULTjcoODjCuKG55Emv41gBoy9euFeJAhE/aHAg05MIsHiyNq"
    "JnmgOGLK3lXtZlD9/uE971H143KFyhcPFFdcdUpb5QU1ZX357Q1AUxKcQGEpwKlly2XNxZjhpMbBJMQhxAQ0gImDWUmCAQV8sIcyHLz4uHi4uDIy"
    "i0vy04sSc4uPepekAAD0x5fo"
))  # fmt: skip


def read(*paths: Path, maps: str = PUBLISHED, **options: Any) -> dict[tuple[str, str, int], Curve]:
    return {
        tuple(curve.key): curve
        for curve in importers.collect(paths, ImportOptions.of([maps], CATALOGUE, **options)).curves
    }


def points(curve: Curve, metric: str = RETURN) -> list[tuple[int, float]]:
    return [(step, own[metric]) for (_, step), own in sorted(curve.points.items())]


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def written(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return written


# --- tables ---------------------------------------------------------------------------------------------


def test_a_published_table_is_three_curves_in_agent_steps(file: Callable[..., Path]) -> None:
    text = "step,reward,seed\n100000,20.5,3\n0,1.0,3\n0,2.0,1\n100000,21.5,1\n200000,22.5,2\n"
    curves = read(file("TDMPC2/walker-walk.csv", text), frames_per_step=2)
    assert list(curves) == [("TDMPC2", "walker-walk", seed) for seed in (1, 2, 3)]
    assert [points(curve) for curve in curves.values()] == [
        [(0, 2.0), (50_000, 21.5)], [(100_000, 22.5)], [(0, 1.0), (50_000, 20.5)],
    ]  # fmt: skip


def test_a_folder_is_searched_and_names_what_is_in_it(file: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("SAC/walker-run.csv", "SAC/walker-walk.csv", "DreamerV3/walker-walk.csv", "SAC/.hidden.csv"):
        file(name, "step,reward,seed\n0,1,1\n")
    file("SAC/README.md", "# no curve")
    file("SAC/config.json", "{}")
    assert list(read(tmp_path)) == [
        ("DreamerV3", "walker-walk", 1), ("SAC", "walker-run", 1), ("SAC", "walker-walk", 1),
    ]  # fmt: skip


def test_a_wide_table_has_a_seed_a_column(file: Callable[..., Path]) -> None:
    path = file("x.csv", "frame,return 1,return 12,return mean\n0,1,2,3\n5,,4,5\n")
    maps = "step=frame,eval_return=return *"
    with pytest.raises(CurveImportError, match="'mean' is no seed"):
        read(path, maps=maps, task="t", algorithm="a")
    path.write_text("frame,return 1,return 12\n0,1,2\n5,,4\n")
    curves = read(path, maps=maps, task="t", algorithm="a")
    assert {key: points(curve) for key, curve in curves.items()} == {("a", "t", 1): [(0, 1.0)],
                                                                     ("a", "t", 12): [(0, 2.0), (5, 4.0)]}  # fmt: skip


def test_a_weights_and_biases_history_in_all_its_forms(file: Callable[..., Path], tmp_path: Path) -> None:
    history = [
        {"_step": 0, "_timestamp": 1.5e9, "train/loss": 2.5},
        {"_step": 7, "_timestamp": 1.6e9, "eval/reward": 11.0, "train/loss": "NaN"},
        {"_step": 9, "_timestamp": 1.7e9, "eval/reward": None, "train/loss": 1.5},
    ]
    frame = pd.DataFrame(history).assign(**{"train/loss": [2.5, None, 1.5]})
    frame.to_csv(tmp_path / "h.csv", index=False)
    frame.to_parquet(tmp_path / "h.parquet")
    file("h.jsonl", "\n".join(map(json.dumps, history)))
    file("h.json", json.dumps(history))
    for suffix in ("csv", "parquet", "jsonl", "json"):
        (curve,) = read(tmp_path / f"h.{suffix}", maps="eval_return=eval/reward,pi_loss=train/loss").values()
        assert curve.points == {
            ("eval", 7): {RETURN: 11.0, "time": 1.6e9},
            ("train", 0): {"pi_loss": 2.5, "time": 1.5e9}, ("train", 9): {"pi_loss": 1.5, "time": 1.7e9},
        }, suffix  # fmt: skip


def test_columns_may_tell_task_and_algorithm(file: Callable[..., Path]) -> None:
    path = file("all.tsv", "env\talgo\trun\tx\ty\nwalker-run\tPPO\tlucky-sun-3\t1\t2\nwalker-walk\tPPO\tseed-4\t1\t3\n")
    maps = "task=env,algorithm=algo,seed=run,step=x,eval_return=y"
    assert list(read(path, maps=maps)) == [("PPO", "walker-run", 3), ("PPO", "walker-walk", 4)]


def test_a_pattern_says_what_a_path_names(file: Callable[..., Path]) -> None:
    paths = [file(f"walker-walk/PPO-{seed}/log.csv", "step,y\n1,2\n") for seed in (5, 0)]
    maps = "step=step,eval_return=y"
    by_path = read(*paths, maps=maps, path="{task}/{algorithm}-{seed}/*.csv")
    assert list(by_path) == [("PPO", "walker-walk", 0), ("PPO", "walker-walk", 5)]
    counted = read(*paths, maps=maps, algorithm="PPO", task="walker-walk")
    assert list(counted) == [("PPO", "walker-walk", 1), ("PPO", "walker-walk", 2)]


WRONG = {
    "": "empty; a first line with the names of the columns is expected",
    "x,y\n1,2\n": "there is no column 'step'; it has x, y",
    "step,reward\n1,2\n": "there is no column 'seed'",
    "step,reward,seed,reward\n1,2,3,4\n": "two columns are called 'reward'",
    "step,reward,seed\n": "no value of reward in it",
    "step,reward,seed\n1,,3\n": "no value of reward in it",
    "step,reward,seed\n1,2,3\n\n2,3\n": "line 4: 2 cells, the first line names 3",
    "step,reward,seed\n1,2,3\n2,many,3\n": "line 3, column 'reward': 'many' is no number",
    "step,reward,seed\n1.5,2,3\n": "line 2, column 'step': '1.5' is no step",
    "step,reward,seed\n-1,2,3\n": "line 2, column 'step': '-1' is no step",
    "step,reward,seed\n,2,3\n": "line 2, column 'step': an empty cell is no step",
    "step,reward,seed\ninf,2,3\n": "line 2, column 'step': 'inf' is no step",
    "step,reward,seed\n1,2,best\n": "line 2: 'best' is no seed",
    "step,reward,seed\n1,2,-3\n": "line 2: '-3' is no seed",
    "step,reward,seed\n1,2,3\n1,2,3\n": "line 3: step 1 of SAC, walker-walk, seed 3 occurs twice",
    'step,reward,seed\n1,"2,3\n': "line 2: unexpected end of data",
    "step,reward,seed\n1,\xe9,3\n".encode("latin-1"): "not text in UTF-8",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_faulty_table_is_named_with_the_line(text: str | bytes, file: Callable[..., Path]) -> None:
    path = file("SAC/walker-walk.csv", text)
    with pytest.raises(CurveImportError) as raised:
        read(path)
    assert str(raised.value).startswith(str(path))
    assert WRONG[text] in str(raised.value)
    assert "\n" not in str(raised.value)


def test_other_faulty_files_are_named(file: Callable[..., Path], tmp_path: Path) -> None:
    for name, text, words in [
        ("a/t.json", "[1, 2]", "row 1: an object is expected"),
        ("a/t.json", "[{", "not a whole JSON file"),
        ("a/t.jsonl", '{"step": 1}\n{"st', "line 2: not JSON"),
        ("a/t.parquet", "PAR1", "no Parquet file"),
        ("a/t.xlsx", "", "a file of a kind that is not read; .csv"),
        # Python 3.14 takes no suffix from this name.
        ("a/..csv", "step,reward,seed\n1,2,3\n", "'.' is no name|a file of a kind that is not read"),
        ("a/t<b>.csv", "step,reward,seed\n1,2,3\n", "is no name"),
        ("a/events.out.tfevents.1", "no events at all, or", "damaged, or not a TensorBoard event file"),
    ]:
        path = file(name, text)
        with pytest.raises(CurveImportError, match=words) as raised:
            read(path, maps="eval_return=reward" if "tfevents" in name else PUBLISHED)
        assert "\n" not in str(raised.value)
    with pytest.raises(CurveImportError, match="there is no such file"):
        read(tmp_path / "nope.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CurveImportError, match="holds no file of curves"):
        read(tmp_path / "empty")


def test_a_damaged_page_of_parquet_is_named_and_nothing_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a" / "t.parquet"
    path.parent.mkdir()
    steps = list(range(20_000))
    pq.write_table(pa.table({"step": steps, "reward": [s / 7 for s in steps], "seed": [1] * len(steps)}), path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(data)
    with pytest.raises(CurveImportError, match=r"t\.parquet: damaged after row \d+: .*; fetch or write it again"):
        read(path)


@pytest.mark.parametrize(
    ("maps", "options", "words"),
    [
        ("eval_return", {}, "give name=column"),
        ("eval_return=a,eval_return=b", {}, "gives eval_return twice"),
        ("eval_return=a,eval_return_planner=b", {}, "gives eval_return_planner twice"),
        ("eval_retrn=a", {}, "near matches: eval_return"),
        ("eval_return_planner_episodes=a", {}, "holds no single number"),
        ("eval_return=a", {"task": "../x"}, "--task: '../x' is no name"),
        ("eval_return=a", {"algorithm": "a\x1b[2J"}, "--algorithm"),
        ("eval_return=a", {"path": "x.csv"}, "none of {algorithm}, {task} and {seed}"),
    ],
)
def test_wrong_words_are_refused(maps: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(CurveImportError) as raised:
        ImportOptions.of([maps], CATALOGUE, **options)
    assert words in str(raised.value)


def test_a_column_may_hold_a_comma() -> None:
    assert ImportOptions.of(["eval_return=return, mean,step=x"], CATALOGUE).metrics == {RETURN: "return, mean"}


# --- TensorBoard ----------------------------------------------------------------------------------------


def test_event_files_of_tensorboard(file: Callable[..., Path]) -> None:
    path = file("logs/SAC/walker-walk/seed-3/events.out.tfevents.1", EVENTS)
    root = path.parents[3]
    for given, named in ((root, {}), (root / "SAC", {}), (path, {"algorithm": "SAC", "task": "walker-walk"})):
        ((key, curve),) = read(given, maps="eval_return=eval/return,pi_loss=loss", **named).items()
        assert key == ("SAC", "walker-walk", 3 if given != path else 1)
        assert curve.points["eval", 1000] == {RETURN: 1500.0, "time": 1_700_001_000.5}
        assert curve.points["train", 200_000]["pi_loss"] == -0.25
    for given in (path, path.parent):  # what lies above an imported folder names nothing: /home/me/run1
        with pytest.raises(CurveImportError, match="whose algorithm\\? --algorithm NAME"):
            read(given, maps="eval_return=eval/return")
    (curve,) = read(root, maps="eval_return=new/return").values()
    assert points(curve) == [(0, 0.0), (1000, 2500.0), (200_000, 500_000.0)]
    with pytest.raises(CurveImportError, match="no scalar is called 'reward'; it has eval/return, loss"):
        read(path, maps="eval_return=reward")
    with pytest.raises(CurveImportError, match="event files have no columns; leave step out"):
        read(path, maps="eval_return=loss,step=step")


def test_a_record_cut_off_is_left_out_and_a_damaged_one_is_not(file: Callable[..., Path]) -> None:
    whole = [scalar.step for scalar in scalars(file("whole.tfevents", EVENTS))]
    assert whole == [0, 0, 0, 1000, 1000, 1000, 200_000, 200_000, 200_000]
    for end in range(0, len(EVENTS), 13):
        cut = [scalar.step for scalar in scalars(file("cut.tfevents", EVENTS[:end]))]
        assert cut == whole[: len(cut)]
    at = EVENTS.index(b"new/return") + 3
    damaged = file("damaged.tfevents", EVENTS[:at] + b"?" + EVENTS[at + 1 :])
    with pytest.raises(CurveImportError, match=r"damaged.tfevents, byte \d+: a damaged record"):
        list(scalars(damaged))


def test_what_a_later_file_went_back_over_is_lost(file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from aggregate.importers import read_runs
    from aggregate.importers.event_files import Scalar

    logged = {"tfevents.1": [(0, 1.0), (10, 2.0), (20, 3.0)], "tfevents.2": [(10, 5.0), (30, 6.0)]}
    paths = [file(f"SAC/walker-walk/1/{name}", b"") for name in logged]
    monkeypatch.setattr(read_runs, "scalars", lambda path: (Scalar("r", *own, 0.0) for own in logged[path.name]))
    (curve,) = read(paths[0].parents[2], maps="eval_return=r").values()
    assert points(curve) == [(0, 1.0), (10, 5.0), (30, 6.0)]


# --- to shards ------------------------------------------------------------------------------------------


def test_a_written_curve_reads_as_a_run(file: Callable[..., Path], tmp_path: Path) -> None:
    path = file("SAC/walker-walk.csv", "step,reward,seed,loss\n4,1.5,7,\n2,,7,0.25\n")
    asked = ImportOptions.of(["step=step,eval_return=reward,seed=seed,pi_loss=loss"], CATALOGUE, frames_per_step=2)
    curves = importers.collect([path], asked).curves
    importers.write(curves, {curve.key: tmp_path / "run" for curve in curves}, asked)
    run = RunSource("0" * 10, 7, tmp_path / "run", DONE, 1)
    config = ConfigSource("0" * 10, "SAC", {}, False, {}, 10, (run,))
    loaded = load([SweepSource("s", "", (), (), (config,), DESCRIPTION)])
    rows = loaded.rows.sort_values("step")
    assert rows[["kind", "step", "frames"]].to_numpy().tolist() == [["train", 1, 2], ["eval", 2, 4]]
    assert rows["pi_loss"].tolist()[0] == 0.25
    assert rows[RETURN].tolist()[1] == 1.5
    assert loaded.quarantine.empty
