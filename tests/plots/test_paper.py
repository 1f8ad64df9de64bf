"""Figures for a paper: sized, named, the same every time, with the report's intervals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from aggregate.analysis.summary import SweepSummary, summarise
from plots.paper import sweep_figures
from plots.paper.layout import guides
from plots.paper.sweep_figures import Choices
from sweepwise.core.errors import AggregateError

CURVE = "evaluation-with-planning"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> SweepSummary:
    """Two configurations with three seeds; B oscillates. Names that matplotlib could take for something else."""
    made = synthetic.make_sweep(
        tmp_path_factory.mktemp("runs"), (600.0, 500.0), 3, lean=True, special={1: {"oscillate": True}},
        name="a/b <sweep>", labels=("_reduce=$min$", "reduce=mean & more"),
    )  # fmt: skip
    return summarise([made]).sweeps[0]


@pytest.mark.slow
def test_every_figure_that_there_is_something_for_is_written(sweep: SweepSummary, tmp_path: Path) -> None:
    names = [path.name for path in sweep_figures.write(sweep, tmp_path / "new", ["svg"], Choices(), [])]
    assert names == [
        f"a-b-sweep-{name}.svg"
        for name in (CURVE, "evaluation-of-the-policy-without-mpc", "training-episodes", "final", "effects", "flags",
                     "policy", "spread")
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)


@pytest.mark.parametrize(("columns", "points"), [(1, 234), (2, 486)])
def test_a_figure_is_as_wide_as_its_columns(sweep: SweepSummary, tmp_path: Path, columns: int, points: int) -> None:
    (path,) = sweep_figures.write(sweep, tmp_path, ["svg"], Choices(columns), [CURVE])
    text = path.read_text()
    assert f'width="{points}pt"' in text
    for words in ("_reduce=$min$", "reduce=mean &amp; more", "agent steps", ">return<"):
        assert words in text


def test_the_same_runs_give_the_same_bytes_in_every_format(sweep: SweepSummary, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        list(sweep_figures.write(sweep, tmp_path / folder, ["svg", "pdf", "png"], Choices(), ["final"]))
    begins = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    for ending, magic in begins.items():
        one, two = ((tmp_path / folder / f"a-b-sweep-final.{ending}").read_bytes() for folder in ("one", "two"))
        assert one.startswith(magic)
        assert one == two


def test_one_metric_alone(sweep: SweepSummary, tmp_path: Path) -> None:
    (path,) = sweep_figures.write(sweep, tmp_path, ["svg"], Choices(), ["pi_loss"])
    assert path.name == "a-b-sweep-pi_loss.svg"
    # two configurations: both means, and a band each
    assert len(re.findall(r"fill-opacity: 0.16", path.read_text())) == 2


def test_an_unknown_figure_and_a_bad_place_are_one_line(sweep: SweepSummary, tmp_path: Path) -> None:
    with pytest.raises(AggregateError, match="--only nope: sweep a/b <sweep> has evaluation-with-planning, "):
        list(sweep_figures.write(sweep, tmp_path, ["svg"], Choices(), ["nope"]))
    (tmp_path / "file").write_text("")
    with pytest.raises(AggregateError, match="choose a place you may write to") as caught:
        list(sweep_figures.write(sweep, tmp_path / "file" / "x", ["svg"], Choices(), ["final"]))
    assert "\n" not in str(caught.value)


def test_the_interval_is_students() -> None:
    # t(0.975, 2) = 4.3027, sd 1, n 3
    low, high = sweep_figures._interval(pd.Series([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)
    assert np.isnan(sweep_figures._interval(pd.Series([1.0, 2.0]))).all()


# --- choices ------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn_frames(monkeypatch: pytest.MonkeyPatch) -> list[tuple[pd.DataFrame, dict]]:  # type: ignore[type-arg]
    """What seaborn is given for each picture of curves."""
    calls = []
    draw = sweep_figures.sns.lineplot

    def lineplot(frame, **options):  # type: ignore[no-untyped-def]
        calls.append((frame, options))
        return draw(frame, **options)

    monkeypatch.setattr(sweep_figures.sns, "lineplot", lineplot)
    return calls


def test_chosen_configurations_keep_their_colours(
    sweep: SweepSummary,
    tmp_path: Path,
    drawn_frames: list[tuple[pd.DataFrame, dict]],  # type: ignore[type-arg]
) -> None:
    for place, configs in enumerate(((), ("B",), (sweep.source.configs[1].config_id,))):
        list(sweep_figures.write(sweep, tmp_path / str(place), ["svg"], Choices(configs=configs), [CURVE]))
    every, *chosen = drawn_frames
    for frame, options in chosen:
        assert set(frame["config_id"].astype(str)) == {sweep.source.configs[1].config_id}
        (label,) = options["palette"]
        assert options["palette"][label] == every[1]["palette"][label]


@pytest.mark.parametrize("average", ["median", "iqm"])
def test_other_averages_and_their_quartiles(average: str) -> None:
    values = pd.Series([1.0, 2.0, 3.0, 5.0, 100.0, np.nan])
    assert sweep_figures._quartiles(values) == (2.0, 5.0)
    assert np.isnan(sweep_figures._quartiles(values[:2])).all()
    of = sweep_figures.AVERAGES[average]
    found = values.median() if of == "median" else of(values)
    assert found == pytest.approx({"median": 3.0, "iqm": (2 + 3 + 5) / 3}[average])


def test_a_figure_says_its_task_its_metric_and_what_its_lines_are(sweep: SweepSummary, tmp_path: Path) -> None:
    only = [CURVE, "evaluation-of-the-policy-without-mpc", "final", "log_std"]
    texts = {path.stem.removeprefix("a-b-sweep-"): path.read_text()
             for path in sweep_figures.write(sweep, tmp_path, ["svg"], Choices(), only)}  # fmt: skip
    for name, words in {
        CURVE: ("quadruped-walk, evaluation with planning", ">return<", "random actions", "schedule events"),
        "evaluation-of-the-policy-without-mpc": ("quadruped-walk, evaluation of the policy without MPC", ">return<"),
        "final": ("quadruped-walk", "final return with planning", "random actions"),
        "log_std": ("quadruped-walk", "log_std (nat)"),
    }.items():
        for text in words:
            assert text in texts[name], (name, text)
    assert "random actions" not in texts["log_std"]


def test_events_are_named_where_the_legend_has_room() -> None:
    events = ("training starts", "encoder frozen, entropy falls")
    named = "training starts, encoder frozen, entropy falls"
    assert list(guides(True, events, (), 3.25)) == ["random actions", named]
    assert list(guides(False, events, ("a long label of a configuration, with two values",), 3.25)) == [named]
    assert list(guides(False, events, ("a", "b"), 3.25)) == ["schedule events"]
    assert not guides(False, (), ("a", "b"), 3.25)


def test_an_average_is_named_on_the_axis(sweep: SweepSummary, tmp_path: Path) -> None:
    (path,) = sweep_figures.write(sweep, tmp_path, ["svg"], Choices(average="iqm"), [CURVE])
    assert "return, IQM, quartiles" in path.read_text()


def test_environment_steps_are_agent_steps_times_action_repeat(
    sweep: SweepSummary,
    tmp_path: Path,
    drawn_frames: list[tuple[pd.DataFrame, dict]],  # type: ignore[type-arg]
) -> None:
    source = sweep.source
    repeated = [replace(c, config={**c.config, "action_repeat": 2}) for c in source.configs]
    same = replace(sweep, source=replace(source, configs=tuple(repeated)))
    (path,) = sweep_figures.write(same, tmp_path, ["svg"], Choices(environment_steps=True), [CURVE])
    assert "environment steps" in path.read_text()
    assert drawn_frames[0][0]["step"].max() == 2 * sweep.total_steps
    mixed = replace(sweep, source=replace(source, configs=(repeated[0], source.configs[1])))
    with pytest.raises(AggregateError, match="have no common action_repeat"):
        list(sweep_figures.write(mixed, tmp_path, ["svg"], Choices(environment_steps=True), [CURVE]))


@pytest.mark.parametrize(
    ("text", "message"), [("C", "names no configuration of"), ("0000", "names 2 configurations of")]
)
def test_unknown_configurations_are_one_line(sweep: SweepSummary, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AggregateError, match=f"--configs {text}: {message} .*; give A to B as in the report"):
        list(sweep_figures.write(sweep, tmp_path, ["svg"], Choices(configs=(text,)), [CURVE]))


def test_no_figure_of_flags_without_a_raised_one(sweep: SweepSummary, tmp_path: Path) -> None:
    raised = sweep.votes[sweep.votes["raised"] > 0]
    assert set(raised["config_id"].astype(str)) == {sweep.source.configs[1].config_id}
    drawn = []
    for letter in "AB":
        paths = sweep_figures.write(sweep, tmp_path / letter, ["svg"], Choices(configs=(letter,)), [])
        drawn.append(any(path.stem.endswith("-flags") for path in paths))
    assert drawn == [False, True]
