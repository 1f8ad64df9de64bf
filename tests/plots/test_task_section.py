"""The section across tasks of the report: first on the page, complete, folded sections of single tasks below it."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from aggregate.analysis.summary import Summary, summarise
from aggregate.tasks import task_verdict
from aggregate.tasks.analysis import TaskAnalysis
from aggregate.tasks.from_sweeps import across_tasks
from aggregate.tasks.references import Declared
from jobs.cli import cli
from jobs.reports import imported_curves
from jobs.reports import report as judging
from jobs.results.results_folder import ResultsFolder
from plots import report
from plots.paper import task_figures
from sweepwise.core.errors import AggregateError

TASKS = ("walker-run", "walker-walk", "mw-task-3")  # sac lacks the first, dreamerv3 has a fourth run of the last
ACCEPT = ("two-runs", "repeated")


@pytest.fixture(scope="module")
def published_curves(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("tests/plots/published_curves.py")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, published_curves: ModuleType) -> ResultsFolder:
    folder = tmp_path_factory.mktemp("published")
    results = ResultsFolder(folder / "r")
    files = published_curves.publish(folder / "results", TASKS)
    imported_curves.take(results, "published", [files], (), frames_per_step=2, accept=ACCEPT)
    return results


@pytest.fixture(scope="module")
def judged(store: ResultsFolder) -> tuple[Summary, TaskAnalysis]:
    summary = summarise(imported_curves.sources(store, [])[0])
    across = across_tasks(summary, {})
    assert across is not None
    return summary, across


@pytest.fixture(scope="module")
def page(judged: tuple[Summary, TaskAnalysis]) -> str:
    return report.render(*judged)


def test_every_run_of_the_published_folder_is_imported(tmp_path: Path, published_curves: ModuleType) -> None:
    folder = published_curves.publish(tmp_path / "results")
    results = ResultsFolder(tmp_path / "r")
    collected, _ = imported_curves.read(results, [folder], (), collect_errors=True, frames_per_step=2)
    assert len(collected.refusals) == len(published_curves.TWO_RUNS) + len(published_curves.REPEATED)
    collected, _ = imported_curves.read(results, [folder], (), frames_per_step=2, accept=ACCEPT)
    assert len({curve.key.task for curve in collected.curves}) == 104
    assert len(collected.curves) == published_curves.runs()
    assert len(collected.references) == 65
    assert len(collected.notes) == 2 * len(published_curves.TWO_RUNS) + len(published_curves.REPEATED)


def test_the_section_comes_first_and_single_tasks_are_folded(page: str) -> None:
    assert page.index('id="tasks"') < page.index('<details class="single"') < page.index('id="sweep-1"')
    assert page.count('<details class="single"') == 3
    assert re.search(r"On 2 of 3 tasks \w+ has the highest mean normalised score", page)
    assert "sac has no runs of walker-run" in page
    assert page.count('<figcaption title="walker-') == 2


def test_of_many_tasks_imported_curves_have_no_section_of_their_own(
    judged: tuple[Summary, TaskAnalysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_SECTIONS", 2)
    page = report.render(*judged)
    assert 'id="sweep-1"' not in page
    assert "3 tasks have no section of their own here. <code>sweeps aggregate published.mw-task-3</code>" in page
    assert report.shown_sweeps(*judged) == ([], [f"published.{task}" for task in sorted(TASKS)])


def test_tasks_without_a_section_are_not_judged_by_themselves_and_count_the_same(
    store: ResultsFolder, judged: tuple[Summary, TaskAnalysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_SECTIONS", 2)
    sources = imported_curves.sources(store, [])[0]
    summary, across = judging.judge(sources)
    assert (len(summary.sweeps), len(summary.brief)) == (0, 3)
    assert across is not None
    for name in ("runs", "cells", "missing", "aggregates", "pairs", "by_task", "curves", "task_curves"):
        pd.testing.assert_frame_equal(getattr(across, name), getattr(judged[1], name))
    assert 'id="sweep-1"' not in report.render(summary, across)
    assert len(judging.judge(sources, in_full=True)[0].sweeps) == 3
    alone = [dataclasses.replace(source, configs=source.configs[:1]) for source in sources]
    apart = [dataclasses.replace(alone[place], configs=(dataclasses.replace(
        alone[place].configs[0], label=f"{place}", config={"task": f"{place}", "algorithm": f"{place}"}),))
        for place in range(3)]  # fmt: skip
    summary, across = judging.judge(apart)  # no algorithm on two tasks
    assert (len(summary.sweeps), across) == (3, None)


def test_tasks_of_a_sweep_have_a_section_each_up_to_a_number(
    judged: tuple[Summary, TaskAnalysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [dataclasses.replace(
        sweep.source, tasks_of="rate", configs=tuple(dataclasses.replace(c, imported="") for c in sweep.source.configs))
        for sweep in judged[0].sweeps]  # fmt: skip
    other = dataclasses.replace(sources[0], name="alone", tasks_of="")
    assert report.without_section([*sources, other]) == []
    monkeypatch.setattr(report, "MOST_SECTIONS", 2)
    assert report.without_section([*sources, other]) == [source.name for source in sources]


def test_the_numbers_can_be_downloaded(
    page: str, judged: tuple[Summary, TaskAnalysis], published_curves: ModuleType
) -> None:
    for key in ("runs", "pairs", "by_task", "profiles", "references"):
        kind, data = re.findall(rf'id="tasks-{key}-csv"[^>]*href="data:([^;]*)[^,]*,([^"]*)"', page)[0]
        text = base64.b64decode(data)
        frame = pd.read_csv(io.BytesIO(gzip.decompress(text) if "gzip" in kind else text))
        if key == "runs":
            expected = (11 * published_curves.SEEDS) + 1  # no sac on walker-run; one further run
            assert len(frame) == expected == len(judged[1].runs)
        if key == "references":
            assert frame.set_index("task")["one"].to_dict() == {"walker-run": 1000, "walker-walk": 1000, "mw-task-3": 1}


def test_names_are_escaped(judged: tuple[Summary, TaskAnalysis], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_SECTIONS", 0)
    summary, across = judged
    frames = {name: getattr(across, name) for name in ("cells", "task_curves", "by_task")}
    renamed = {name: frame.assign(task=frame["task"].replace("walker-walk", "<i>x")) for name, frame in frames.items()}
    tasks = tuple("<i>x" if task == "walker-walk" else task for task in across.tasks)
    page = report.render(summary, dataclasses.replace(across, tasks=tasks, **renamed))
    assert "<i>x" not in page
    assert "&lt;i&gt;x" in page


def test_declared_references_replace_known_ones(judged: tuple[Summary, TaskAnalysis]) -> None:
    summary, across = judged
    other = across_tasks(summary, {"walker-*": Declared(0, 500)})
    assert other is not None
    one, two = (found.runs.set_index(["algorithm", "task", "seed"])["score"] for found in (across, other))
    ratio = (two / one)[one > 0].groupby("task").mean()
    assert ratio.to_dict() == pytest.approx({"walker-run": 2, "walker-walk": 2, "mw-task-3": 1})
    with pytest.raises(AggregateError, match=r"refs: there is no task 'walker-wlak'; did you mean walker-walk"):
        across_tasks(summary, {"walker-wlak": Declared(0, 1)}, "refs")


def test_results_of_algorithms_may_be_the_references(judged: tuple[Summary, TaskAnalysis]) -> None:
    summary, across = judged
    means = across.runs.groupby(["task", "algorithm"])["value"].mean()
    worse, better = means["walker-walk"][["sac", "tdmpc2"]].sort_values().index
    found = across_tasks(summary, {"*": Declared(worse, better), "mw-*": Declared("random", better)})
    assert found is not None
    scores = found.runs.groupby(["task", "algorithm"])["score"].mean()
    assert scores["walker-walk", worse] == pytest.approx(0)
    assert scores["walker-walk", better] == pytest.approx(1)
    assert found.tasks == ("walker-walk",)
    missing = dict(task_verdict.verdict(found).points)["Missing"]
    assert "walker-run is left out: the reference sac has no result there" in missing
    assert "mw-task-3 is left out: the reference random has no result there" in missing
    turned = across_tasks(summary, {"*": Declared(better, worse), "mw-*": Declared(0, 1)})
    assert turned is not None
    assert f"walker-walk is left out: the reference {worse} is not better there than {better}" in dict(
        task_verdict.verdict(turned).points)["Missing"]  # fmt: skip
    planned = tuple(
        dataclasses.replace(sweep, source=dataclasses.replace(sweep.source, configs=tuple(
            dataclasses.replace(config, reference=(0, "tdmpc3")) for config in sweep.source.configs)))
        for sweep in summary.sweeps
    )  # fmt: skip
    unknown = across_tasks(dataclasses.replace(summary, sweeps=planned), {"walker-walk": Declared(0, 1)})
    assert unknown is not None  # a plan cannot be mended at once, and the rest of the report is whole
    assert set(unknown.missing["reason"]) == {"no algorithm has the name of the reference tdmpc3"}
    with pytest.raises(AggregateError, match=r"refs: there is no algorithm 'tdmpc3'; did you mean tdmpc"):
        across_tasks(summary, {"*": Declared(0, "tdmpc3")}, "refs")


def test_figures_across_tasks_for_a_paper(
    judged: tuple[Summary, TaskAnalysis], sweeps: Callable[..., Result], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found, out = judged[1], tmp_path / "figures"
    written = [path.name for path in task_figures.write(found, out, ["svg"], 2, [])]
    assert written == [f"across-tasks-{name}.svg" for name in task_figures.FIGURES]
    assert 'width="486pt"' in (out / "across-tasks-profile.svg").read_text()
    numbers = (out / "across-tasks-heat-map.svg").read_text()
    own = found.cells.query("algorithm == 'tdmpc2' and task == 'walker-walk'")["mean"].item()
    assert f">{own:.2f}<" in numbers
    monkeypatch.setattr(task_figures, "MOST_NUMBERS", 2)
    (path,) = task_figures.write(found, tmp_path, ["svg"], 2, ["heat-map"])
    assert f">{own:.2f}<" not in path.read_text()
    none = dataclasses.replace(found, common=(), curves=found.curves.iloc[:0])
    with pytest.raises(AggregateError, match="--only profile: there are no results for it; there are for heat-map"):
        list(task_figures.write(none, tmp_path, ["svg"], 1, ["profile"]))
    said = sweeps("plots", "published", "--only", "profile", "--out", tmp_path / "one")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["across-tasks-profile.svg"], said.output
    said = sweeps("plots", "published.walker-walk", "--only", "profile", "--out", tmp_path / "two")
    assert "--only profile: needs configurations with runs of several tasks" in said.stderr


def test_one_task_has_no_section_across_tasks(store: ResultsFolder) -> None:
    assert across_tasks(summarise(imported_curves.sources(store, ["published.walker-walk"])[0]), {}) is None


@pytest.fixture
def sweeps(store: ResultsFolder, tmp_path: Path) -> Callable[..., Result]:
    def invoke(*words: object) -> Result:
        return CliRunner().invoke(cli, ["--results", str(store.root), *map(str, words)])

    return invoke


def test_the_command_says_the_verdict_across_tasks_and_not_those_of_many_tasks(
    sweeps: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_SECTIONS", 0)
    references = tmp_path / "refs.yaml"
    references.write_text("walker-walk: [0, 900]\n'mw-*': [0, 1]\n")
    out = tmp_path / "x.html"
    said = sweeps("aggregate", "published", "--out", out, "--references", references)
    assert said.exit_code == 0
    assert "Across tasks: On 2 of 3 tasks" in said.output
    assert "3 tasks are not shown one by one: sweeps aggregate published.mw-task-3 reports on one" in said.output
    assert "published.mw-task-3: " not in said.output
    references.write_text("walker-walk: [0\n")
    broken = sweeps("aggregate", "published", "--out", out, "--references", references)
    assert broken.exit_code == 1
    assert broken.stderr.count("\n") == 1
    assert "not YAML" in broken.stderr
