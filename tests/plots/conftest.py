"""A headless Chromium, and pages in it that must neither complain nor ask for anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aggregate.analysis.summary import Summary, summarise
from plots.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser of this machine; without one the test is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next((browser for name in NAMES if (browser := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium here (Debian's package chromium)")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    small = ["--disable-dev-shm-usage"]  # containers give /dev/shm 64 MB
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=root + small)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file (with `at`: at that place) in a page of its own; afterwards there must have been no message on the
    console, no error and no request but for the file itself."""
    opened: list[Any] = []
    wrong: list[str] = []
    own = ("file:", "blob:", "data:")

    def visit(path: Path, at: str = "", *, width: int = 1280, bypass_csp: bool = False, **options: Any) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, accept_downloads=True, bypass_csp=bypass_csp, **options
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda request: request.url.startswith(own) or wrong.append(request.url[:80]))
        page.goto(path.as_uri() + at)
        opened.append(context)
        return page

    yield visit
    for context in opened:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> Summary:
    """Three configurations with three seeds: A healthy, B oscillates, C collapses, its third seed failed."""
    special = {1: {"oscillate": True}, 2: {"collapse": True}}
    root = tmp_path_factory.mktemp("runs")
    return summarise([synthetic.make_sweep(root, (600.0, 550.0, 500.0), 3, special=special, states={(2, 3): "failed"})])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, summary: Summary) -> Path:
    """Its report."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(summary, path)
    return path
