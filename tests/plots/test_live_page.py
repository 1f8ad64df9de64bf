"""The page of `sweeps view` in a browser: a newer report takes its place, and the reader's place stays."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aggregate.analysis.summary import Summary, summarise
from jobs.reports import live_server
from jobs.reports.live import LivePage, ReportUpdate
from plots.report import content_policy, render, script_of_page, write_report

CURVES = "#sweep-1-fig-eval_return_planner"


def found(summary: Summary, version: str) -> ReportUpdate:
    text = render(summary, version=version)
    return ReportUpdate(version, gzip.compress(text.encode()), content_policy(is_live=True))


def wait_for(page: Any, condition: str) -> None:
    """Asks until it holds: the page's policy forbids what Playwright's own waiting evaluates."""
    for _ in range(3000):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(condition)


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> list[Summary]:
    """A sweep while a run trains; then, when it has ended, with a fourth configuration and another sweep before it."""
    root = tmp_path_factory.mktemp("runs")
    finals = (600.0, 550.0, 500.0)
    special = {1: {"oscillate": True}, 2: {"collapse": True}}
    first = synthetic.make_sweep(root / "a", finals, 3, special=special, states={(0, 1): "running"})
    later = synthetic.make_sweep(root / "b", (*finals, 450.0), 3, special=special)
    other = synthetic.make_sweep(root / "c", (300.0,), 3, name="another", lean=True)
    return [summarise([first]), summarise([other, later])]


@pytest.fixture
def live_page() -> LivePage:
    return LivePage()


@pytest.fixture
def open_page(chromium: Any, live_page: LivePage) -> Iterator[Callable[..., Any]]:
    """Opens the served page; afterwards there must have been no message, no error and no request to others."""
    with live_server.serving(live_page) as server:
        contexts = []
        wrong: list[str] = []

        def visit(**options: Any) -> Any:
            context = chromium.new_context(viewport={"width": 1280, "height": 900}, **options)
            contexts.append(context)
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.on("console", lambda message: wrong.append(f"console: {message.text}"))
            page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
            allowed = (server.url, "blob:", "data:")
            page.on("request", lambda request: request.url.startswith(allowed) or wrong.append(request.url[:80]))
            page.goto(server.url)
            return page

        yield visit
        for context in contexts:
            context.close()
    assert wrong == []


def test_an_update_keeps_the_readers_place_and_choices(
    open_page: Callable[..., Any], live_page: LivePage, summaries: list[Summary]
) -> None:
    live_page.take(found(summaries[0], "1"), 1.0)
    page = open_page()
    flag = page.locator("table.flags tr[data-c='2'] a").first.get_attribute("href") or ""
    card = page.locator(f"details:has({flag})")
    assert not card.evaluate("card => card.open")
    card.locator("summary").click()
    page.locator("details[open] > summary", has_text="Each configuration").first.click()  # was open
    page.locator("details > summary", has_text="Other scores").click()
    page.locator("table.ranking th", has_text="Configuration").locator("button").click()
    page.locator(".legend button").nth(1).click()
    page.get_by_role("combobox", name="Seeds").select_option("on")
    page.get_by_role("slider", name="Smoothing").fill("10")
    page.get_by_role("button", name="Theme").click()
    figure = page.locator(f"{CURVES} .wide .picture")
    figure.locator(".drawn path.seed").first.wait_for(state="attached")
    card.locator("summary").focus()
    card.scroll_into_view_if_needed()
    page.mouse.wheel(0, 137)
    page.wait_for_timeout(200)  # until the wheel has scrolled
    place = card.bounding_box()["y"]
    assert page.evaluate("scrollY") > 1000

    live_page.take(found(summaries[1], "2"), 2.0)
    wait_for(page, "document.querySelectorAll('article').length === 2")
    assert page.title() == "Sweep report: another, ensemble"
    selector = f"details:has({flag.replace('sweep-1', 'sweep-2')})"
    card = page.locator(selector)
    assert card.evaluate("card => card.open")
    top = f"document.querySelector('{selector}').getBoundingClientRect().top"
    wait_for(page, f"Math.abs({top} - {place}) < 2")
    assert card.locator("summary").evaluate("summary => summary === document.activeElement")
    article = page.locator("#sweep-2")
    assert article.locator("details", has_text="Other scores").evaluate("part => part.open")
    assert not article.locator("details", has_text="Each configuration").first.evaluate("part => part.open")
    heading = article.locator("table.ranking th", has_text="Configuration")
    assert heading.get_attribute("aria-sort") == "descending"
    assert article.locator("table.ranking tbody tr:visible .chip > b").all_inner_texts() == ["D", "C", "A"]
    pressed = [chip.get_attribute("aria-pressed") for chip in article.locator(".legend button").all()]
    assert pressed == ["true", "false", "true", "true"]
    assert article.get_by_role("combobox", name="Seeds").input_value() == "on"
    assert article.get_by_role("slider", name="Smoothing").input_value() == "10"
    assert article.locator("output").inner_text() == "10 %"
    assert page.get_by_role("button", name="Theme").inner_text() == "Theme: light"
    drawn = article.locator("#sweep-2-fig-eval_return_planner .wide .picture")
    drawn.scroll_into_view_if_needed()
    drawn.locator(".drawn path.mean").first.wait_for(state="attached")
    assert drawn.locator(".drawn path.seed").count() == 9  # of three configurations
    assert drawn.locator(".drawn path.raw").count() == 3
    article.locator(".legend button").nth(1).click()  # the new page answers
    assert article.locator(".status").inner_text() == ""


def test_the_page_says_an_error_and_waits_while_text_is_selected(
    open_page: Callable[..., Any], live_page: LivePage, summaries: list[Summary]
) -> None:
    live_page.take(ReportUpdate("", error="no readable metric shards"), 1.0)
    page = open_page()
    page.get_by_text("no readable metric shards").wait_for()
    live_page.take(found(summaries[0], "1"), 1.0)
    line = page.locator(".follows")
    line.wait_for()  # it has loaded itself again
    wait_for(page, "document.querySelector('.follows').textContent.startsWith('Live, last change ')")
    live_page.take(ReportUpdate("", error="sweep <b>q</b> was not submitted"), 2.0)
    line.get_by_text("sweep <b>q</b> was not submitted").wait_for()
    assert line.inner_text().startswith("Not updated since ")
    assert page.locator("article").count() == 1
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    live_page.take(found(summaries[1], "2"), 3.0)
    line.get_by_text("sweep <b>q</b>").wait_for(state="detached")
    page.wait_for_timeout(2500)  # in which it asks twice
    assert page.locator("article").count() == 1
    page.evaluate("getSelection().removeAllRanges()")
    wait_for(page, "document.querySelectorAll('article').length === 2")


def test_without_scripts_the_served_page_has_all_but_the_curves(
    open_page: Callable[..., Any], live_page: LivePage, summaries: list[Summary]
) -> None:
    live_page.take(found(summaries[0], "1"), 1.0)
    page = open_page(java_script_enabled=False)
    assert page.get_by_text("Without JavaScript this page has no curves").is_visible()
    assert page.locator("table.ranking").is_visible()
    assert page.locator(".follows, button").count() == 0


def test_the_script_draws_every_figure_in_sight_and_all_for_print(
    open_page: Callable[..., Any], live_page: LivePage, summaries: list[Summary]
) -> None:
    live_page.take(found(summaries[0], "1"), 1.0)
    page = open_page()
    assert not page.get_by_text("Without JavaScript this page has no curves").is_visible()
    every = page.locator(".picture[data-view]")
    drawn = page.locator(".picture[data-view]:has(svg.drawn)")
    height = "document.documentElement.scrollHeight"
    page.locator(f"{CURVES} .wide .picture").scroll_into_view_if_needed()
    page.locator(f"{CURVES} .wide .drawn path.mean").first.wait_for(state="attached")
    assert 0 < drawn.count() < every.count()
    before = page.evaluate(height)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert drawn.count() == every.count() > 20
    assert page.evaluate(height) == before  # a figure keeps its place before it is drawn


def test_a_report_file_asks_nobody(tmp_path: Path, summaries: list[Summary]) -> None:
    write_report(summaries[0], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert script_of_page() in text
    for own in ("connect-src", "data-version", "fetch(", '"aside"'):
        assert own not in text
        assert own in render(summaries[0], version="1")
