"""The page and the figures of an agent with metrics of its own, some of which try to break out of the page."""

from __future__ import annotations

import base64
import csv
import dataclasses
import gzip
import html
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aggregate.analysis.summary import Summary, SweepSummary
from plots import figures
from plots.paper import sweep_figures
from plots.paper.sweep_figures import Choices
from plots.report import render
from tdmpc.metrics import CATALOGUE, METRICS


@pytest.fixture(scope="module")
def foreign(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("tests/aggregate/foreign.py")


@pytest.fixture(scope="module")
def summary(foreign: ModuleType, tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> Summary:
    made: Summary = foreign.make_summary(tmp_path_factory.mktemp("runs"), synthetic)
    return made


@pytest.fixture(scope="module")
def sweep(summary: Summary) -> SweepSummary:
    return summary.sweeps[0]


@pytest.fixture(scope="module")
def page(summary: Summary) -> str:
    return render(summary)


class Visible(HTMLParser):
    """The text of a page and of its labels, and the tags that it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = tag
        self.texts += [value or "" for name, value in attrs if name in ("title", "aria-label")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.texts.append(data)


def test_the_page_speaks_of_no_other_agent(page: str) -> None:
    text = " ".join(Visible(page).texts)
    detectors = text.index("How the flags are judged")  # the definitions of flags are not written by the page
    for word in ("return", "planning", "policy without MPC", "tdmpc", "Random actions", "action repeat"):
        assert word.lower() not in text[:detectors].lower()
    for said in ("Final test/loss, difference from the baseline", "a seed is below one of the baseline", "Units: nat.",
                 "Rise at the end"):  # fmt: skip
        assert said in text


def test_the_primary_figure_has_the_name_of_the_metric(page: str) -> None:
    assert "<figcaption><h3>test/loss</h3></figcaption>" in page


def test_the_best_configuration_stands_first(page: str, sweep: SweepSummary) -> None:
    ranking = page[page.index('<table class="ranking">') :]
    rows = re.findall(r'<td class="lead">([^<]*)</td>', ranking)
    assert rows == ["0.410 [0.385, 0.435]", "0.620 [0.570, 0.670]"]
    assert "<td>0.210 [0.168, 0.252]<small>worse</small>" in ranking


def test_columns_that_the_agent_cannot_have_are_left_out(page: str) -> None:
    ranking = page[page.index('<table class="ranking">') :]
    headings = re.findall(r"<th scope=\"col\"[^>]*>([^<]+)</th>", ranking[: ranking.index("</thead>")])
    assert headings == ["Configuration", "Final test/loss", "n", "Rank", "Difference from the best"]
    scores = ranking[ranking.index('<table class="scores">') :]
    assert re.findall(r"<th scope=\"col\"[^>]*>([^<]+)</th>", scores[: scores.index("</thead>")]) == [
        "Configuration", "area under curve"
    ]  # fmt: skip


def test_flags_without_a_metric_are_listed_as_not_assessed(page: str) -> None:
    flags = page[page.index('id="sweep-1-flags"') :]
    assert "Not assessed, as no metric has the role policy_entropy: entropy collapses early." in flags
    raised = re.search(r"Raised by no run: ([^<]*)\.", flags)
    assert raised is not None
    assert raised[1] == "evaluation collapses late, value heads disagree"
    assert 'flag-0000000000-pi_loss_spikes"' in flags
    assert "entropy_collapse" not in flags  # no card, no cell and no definition


def test_the_report_says_what_flags_cannot_find(page: str) -> None:
    listed = page.partition("What these flags cannot find in runs of this length and noise")[2].partition("</details>")[
        0
    ]
    assert re.findall("<li>([^<]*)</li>", listed) == [
        "evaluation collapses late: less than 0.3 x.", "value heads disagree: less than 0.2 x.",
    ]  # fmt: skip


def test_nothing_of_an_agent_is_markup(page: str, foreign: ModuleType) -> None:
    assert {"img", "u", "i"} & Visible(page).tags == set()
    for metric in foreign.METRICS:
        for text in (metric.name, metric.help, metric.unit, metric.group):
            if "<" in text:
                assert text not in page
    assert html.escape(foreign.SCRIPT) in page
    assert "alert(1)" not in page.replace(html.escape(foreign.SCRIPT), "").replace(r"\u003cscript\u003ealert(1)", "")


def test_tables_take_no_name_for_a_formula(page: str, foreign: ModuleType) -> None:
    (link,) = re.findall(r'id="sweep-1-curves-train-csv"[^>]*href="data:[^,]*,([^"]*)"', page)
    rows = list(csv.reader(io.StringIO(gzip.decompress(base64.b64decode(link)).decode())))
    assert rows[0] == ["config_id", "seed", "step", "spread", foreign.SCRIPT, "'=1+1", foreign.PATH]
    assert {len(row) for row in rows} == {7}
    assert '"columns":{"eval":["test/loss"],"train":["spread",' in page  # by which the script finds its columns


def test_names_of_files_are_safe(sweep: SweepSummary, foreign: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "in" / "here"
    written = list(
        sweep_figures.write(
            sweep, out, ["svg"], Choices(), [foreign.SCRIPT, foreign.FORMULA, foreign.PATH, "test/loss"]
        )
    )
    assert [path.name for path in written] == [
        "digits-script-alert-1-script.svg", "digits-1-1.svg", "digits-x-y.svg", "digits-test-loss.svg",
    ]  # fmt: skip
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.svg")) == sorted(
        f"in/here/{path.name}" for path in written
    )
    assert "<i>unit" not in written[0].read_text()
    assert "&lt;i&gt;unit" in written[0].read_text()


def test_names_that_become_equal_stay_apart() -> None:
    assert sweep_figures._file_stems(["a/b", "a-b", "a b", "///"]) == {
        "a/b": "a-b", "a-b": "a-b-2", "a b": "a-b-3", "///": "metric"
    }  # fmt: skip


def test_figures_of_a_paper_are_named_by_what_they_show(sweep: SweepSummary, tmp_path: Path) -> None:
    names = [path.stem for path in sweep_figures.write(sweep, tmp_path, ["svg"], Choices(), [])]
    assert names == ["digits-evaluation", "digits-final", "digits-flags", "digits-policy", "digits-other",
                     "digits-b-group-b"]  # fmt: skip
    final = (tmp_path / "digits-final.svg").read_text()
    assert "final test/loss" in final
    assert final.index("width=1") < final.index("width=2")


def test_results_are_never_logarithmic(foreign: ModuleType) -> None:
    own = {metric.name: figures.may_be_log(metric, foreign.AGENT.catalogue) for metric in foreign.METRICS}
    assert own == {"test/loss": False, "spread": True, foreign.SCRIPT: True, foreign.FORMULA: True, foreign.PATH: True}
    packaged = {name for name, metric in METRICS.items() if not figures.may_be_log(metric, CATALOGUE)}
    assert packaged == {name for name, metric in METRICS.items() if metric.group == "return"}


def test_a_plain_group_keeps_its_metrics_from_no_logarithm(foreign: ModuleType) -> None:
    metrics = [dataclasses.replace(metric, group="other") for metric in foreign.METRICS]
    catalogue = dataclasses.replace(foreign.AGENT.catalogue, metrics={metric.name: metric for metric in metrics})
    assert [figures.may_be_log(metric, catalogue) for metric in metrics] == [False, True, True, True, True]


def test_titles_of_the_packaged_agent_are_unchanged() -> None:
    assert [(metric.name, title) for metric, title in figures.results(CATALOGUE)] == [
        ("eval_return_planner", "Evaluation with planning"),
        ("eval_return_policy", "Evaluation of the policy without MPC"),
        ("episode_return", "Training episodes"),
    ]


# --- in a browser ---------------------------------------------------------------------------------------


def test_the_script_finds_curves_by_any_name(
    visit: Callable[..., Any], summary: Summary, foreign: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(render(Summary((foreign.with_random_actions(summary.sweeps[0]),), summary.loaded)))
    page = visit(path)
    page.locator(".legend button").nth(1).click()  # one configuration off: what is in sight is drawn anew
    for metric, of_random in ((foreign.SCRIPT, 0), (foreign.FORMULA, 0), (foreign.PATH, 0), ("test/loss", 1)):
        figure = page.locator(f"figure[id={json.dumps(f'sweep-1-fig-{metric}')}]")
        picture = figure.locator(".picture:visible")
        picture.scroll_into_view_if_needed()
        picture.locator(".drawn path.mean").first.wait_for(state="attached")
        assert picture.locator(".drawn path.mean").count() == 1
        assert picture.locator('.drawn path[stroke-dasharray="1.4 1.4"]').count() == of_random
