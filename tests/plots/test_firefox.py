"""The report in Firefox, driven by its own remote protocol, Marionette: no driver has to be installed.

Protocol: https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

NAMES = ("firefox", "firefox-esr")
PATIENCE_S = 120.0
PREFERENCES = {
    "marionette.port": 0,  # a free one, which it writes to its profile
    "browser.download.folderList": 2,
    "browser.download.alwaysOpenPanel": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.disabledForTesting": True,
}
KEYS = {"Home": "\ue011", "Escape": "\ue00c", "Space": " "}
PLANNER = "#sweep-1-fig-eval_return_planner"
PICTURE = f"{PLANNER} .wide .picture"

pytestmark = pytest.mark.browser


def until(what: str, ready: Callable[[], Any]) -> Any:
    """The first true value of `ready`."""
    end = time.monotonic() + PATIENCE_S
    while not (value := ready()):
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.05)
    return value


class Firefox:
    """A session with a page of 1280 pixels. Methods raise `AssertionError` for what Firefox refuses."""

    def __init__(self, port: int, downloads: Path) -> None:
        self.downloads = downloads
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._answers = self._socket.makefile("rb")
        self._read()  # what it says of itself
        self._number = 0
        self("WebDriver:NewSession", capabilities={})
        self("WebDriver:SetWindowRect", width=1280, height=1000)

    def __call__(self, command: str, **parameters: Any) -> Any:
        self._number += 1
        text = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, result = self._read()
        assert error is None, f"{command}: {error}"
        return result["value"] if isinstance(result, dict) and set(result) == {"value"} else result

    def _read(self) -> Any:
        size = b""
        while (byte := self._answers.read(1)) != b":":
            size += byte
        return json.loads(self._answers.read(int(size)))

    def open(self, path: Path, at: str = "") -> None:
        self("WebDriver:Navigate", url=path.as_uri() + at)

    def run(self, script: str, *values: Any) -> Any:
        """The value of an expression in the page; `arguments` are the values."""
        return self("WebDriver:ExecuteScript", script=f"return {script}", args=list(values))

    def text(self, selector: str) -> str:
        return str(self.run("document.querySelector(arguments[0]).textContent", selector))

    def click(self, selector: str, place: int = 0) -> None:
        self.run("document.querySelectorAll(arguments[0])[arguments[1]].click()", selector, place)

    def press(self, *keys: str) -> None:
        """Real keys, to what has the focus."""
        strokes = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self("WebDriver:PerformActions", actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def drag(self, selector: str, first: float, last: float) -> None:
        """From one share of the width of an element to another, at half its height."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        left, top, width, height = self.run(
            "(({x, y, width, height}) => [x, y, width, height])"
            "(document.querySelector(arguments[0]).getBoundingClientRect())", selector,
        )  # fmt: skip
        at = [{"type": "pointerMove", "duration": 50, "x": round(left + share * width), "y": round(top + height / 2)}
              for share in (first, (first + last) / 2, last)]  # fmt: skip
        moves = [at[0], {"type": "pointerDown", "button": 0}, *at[1:], {"type": "pointerUp", "button": 0}]
        self("WebDriver:PerformActions", actions=[{"type": "pointer", "id": "mouse", "actions": moves}])

    def saved(self, name: str) -> Path:
        """A download that is complete."""
        path = self.downloads / name
        until(name, lambda: path.exists() and path.stat().st_size and not path.with_name(f"{name}.part").exists())
        return path

    def complaints(self, path: Path) -> list[str]:
        """What the page made Firefox write to its console."""
        self("Marionette:SetContext", value="chrome")
        try:
            messages = self.run(
                "Services.console.getMessageArray().filter(one => one instanceof Ci.nsIScriptError)"
                ".map(one => [one.sourceName, one.errorMessage])"
            )
        finally:
            self("Marionette:SetContext", value="content")
        return [text for source, text in messages if source.startswith(path.as_uri())]


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """The Firefox of this machine; without one the test is skipped."""
    path = next((browser for name in NAMES if (browser := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Firefox here (Debian's package firefox-esr)")
    profile, downloads = tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads")
    lines = {**PREFERENCES, "browser.download.dir": str(downloads)}
    (profile / "user.js").write_text(
        "".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in lines.items())
    )
    command = [path, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile"]
    with subprocess.Popen([*command, str(profile)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port_file = profile / "MarionetteActivePort"
            port = until("its port", lambda: port_file.exists() and port_file.read_text().strip())
            yield Firefox(int(port), downloads)
        finally:
            process.kill()


@pytest.fixture
def page(firefox: Firefox, report: Path) -> Iterator[Firefox]:
    """The report; afterwards there must have been no error and no request."""
    firefox.open(report)
    yield firefox
    assert firefox.complaints(report) == []
    assert firefox.run("performance.getEntriesByType('resource').map(one => one.name).filter("
                       "name => !name.startsWith('data:') && !name.startsWith('blob:'))") == []  # fmt: skip


def drawn(page: Firefox, within: str = PICTURE) -> int:
    """Mean curves in a picture that the script has drawn."""
    return int(page.run("document.querySelectorAll(arguments[0]).length", f"{within} .drawn path.mean"))


def test_configurations_are_switched_off_and_the_address_keeps_it(page: Firefox, report: Path) -> None:
    page.run("document.querySelector(arguments[0]).scrollIntoView()", PICTURE)
    page.click(".legend button", 1)
    until("two curves", lambda: drawn(page) == 2)
    assert page.text(".status").startswith("1 of 3 configurations hidden")
    address = page.run("location.href")
    assert "off:1" in address
    page.open(report, address.partition("report.html")[2])
    pressed = "[...document.querySelectorAll('.legend button')].map(one => one.getAttribute('aria-pressed'))"
    assert page.run(pressed) == ["true", "false", "true"]


def test_dragging_and_keys_zoom(page: Firefox) -> None:
    page.drag(PICTURE, 0.3, 0.7)
    until("the zoom", lambda: "Steps" in page.text(".status"))
    first, last = (int(n.replace(",", "")) for n in re.findall(r"[\d,]+", page.text(".status")))
    assert 2_000 < first < 8_000 < 12_000 < last < 18_000
    assert "zoom:" in page.run("location.href")
    page.run("document.querySelector(arguments[0]).focus()", PICTURE)
    page.press("0")
    assert page.text(".status") == ""
    page.press("Home", "+")
    assert "Steps 0 to 10,000." in page.text(".status")


def test_a_figure_is_enlarged_and_closed_by_keyboard(page: Firefox) -> None:
    page.run(
        "[...document.querySelectorAll('#sweep-1-fig-log_std button')].find(one => /Enlarge/.test("
        "one.textContent + one.getAttribute('aria-label'))).click()"
    )
    until("the curves", lambda: drawn(page, "dialog") == 3)
    assert page.run("document.querySelector('dialog').getBoundingClientRect().width") > 1000
    page.press("Escape")
    until("the end", lambda: page.run("document.querySelector('dialog') === null"))


def test_figures_are_saved(page: Firefox) -> None:
    for kind in ("csv", "svg", "png"):
        page.click(f"{PLANNER} button.{kind}")
    assert page.saved("ensemble-eval_return_planner.csv").read_text().startswith("configuration,label,step,mean,")
    root = ElementTree.parse(page.saved("ensemble-eval_return_planner.svg")).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert page.saved("ensemble-eval_return_planner.png").read_bytes().startswith(b"\x89PNG")


def test_the_theme_is_switched_and_nothing_is_wider_than_the_page(page: Firefox) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.run(background)
    for _ in range(2):  # from auto, which is light here, to light and to dark
        page.run("[...document.querySelectorAll('button')].find(one => /Theme/.test(one.textContent)).click()")
    assert page.run(background) != before
    page("WebDriver:SetWindowRect", width=500, height=900)
    until("a narrow window", lambda: page.run("innerWidth") < 640)
    page.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert page.run("document.documentElement.scrollWidth") <= page.run("innerWidth")
    page("WebDriver:SetWindowRect", width=1280, height=1000)


def test_an_audit_finds_nothing_serious(page: Firefox) -> None:
    axe = pytest.importorskip("axe_playwright_python")
    (script,) = Path(axe.__file__).parent.rglob("axe.min.js")
    # from outside the page, whose content policy allows its own script alone
    violations = page(
        "WebDriver:ExecuteAsyncScript", args=[],
        script=f"{script.read_text()}; const done = arguments[arguments.length - 1];"
        "window.axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations), "
        "error => done(String(error)))",
        scriptTimeout=int(1000 * PATIENCE_S),
    )  # fmt: skip
    severe = [(v["id"], v["nodes"][0]["html"][:150]) for v in violations if v["impact"] in ("serious", "critical")]
    assert severe == []
