"""`sweeps view`: who is answered, when the report is rendered, what stays after an error, and how it ends."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.reports import live, live_server, report
from jobs.reports.live import LivePage, ReportRequest, ReportUpdate
from jobs.reports.live_server import LiveServer
from jobs.results.attempts import RunRef
from jobs.results.records import AttemptOutcome
from jobs.results.results_folder import ResultsFolder
from sweepwise.core.errors import AggregateError, JobsError

POLICY = "default-src 'none'; script-src 'sha256-abc'"


def found(text: str, version: str = "1", **more: Any) -> ReportUpdate:
    """A new page."""
    return ReportUpdate(version, gzip.compress(text.encode()), POLICY, **more)


# --- the server -----------------------------------------------------------------------------------------


@pytest.fixture
def page() -> LivePage:
    return LivePage()


@pytest.fixture
def server(page: LivePage) -> Iterator[LiveServer]:
    with live_server.serving(page) as served:
        yield served


class Answer:
    def __init__(self, server: LiveServer, path: str, method: str = "GET", **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        connection.close()


def test_only_this_machine_is_listened_to(server: LiveServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}/{server.token}/"


def test_tokens_are_random(page: LivePage) -> None:
    tokens = []
    for _ in range(2):
        with live_server.serving(page) as one:
            tokens.append(one.token)
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 32


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/version", "/{short}/", "/{token}", "/{wrong}/", "/%00", "/é/"])
def test_without_the_token_nothing_is_shown(page: LivePage, server: LiveServer, path: str) -> None:
    page.take(found("the report"), 1.0)
    wrong = server.token[:-1] + ("a" if server.token[-1] != "a" else "b")
    asked = path.format(token=server.token, short=server.token[:-1], wrong=wrong)
    with socket.create_connection(("127.0.0.1", server.port), timeout=600) as raw:
        raw.sendall(f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"the report" not in answer
    assert server.token.encode() not in answer


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost:{port}.evil.example", ""]
)
def test_a_name_that_was_made_to_lead_here_is_refused(page: LivePage, server: LiveServer, host: str) -> None:
    page.take(found("the report"), 1.0)
    answer = Answer(server, f"/{server.token}/", Host=host.format(port=server.port))
    assert answer.status == 403
    assert f"open this report as 127.0.0.1:{server.port}" in answer.body.decode()


def test_a_request_with_two_hosts_or_none_is_refused(server: LiveServer) -> None:
    for hosts in ("", f"Host: 127.0.0.1:{server.port}\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=600) as raw:
            raw.sendall(f"GET /{server.token}/ HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
            assert raw.recv(12) == b"HTTP/1.1 403"


def test_the_page_is_served_by_both_names_packed_or_not(page: LivePage, server: LiveServer) -> None:
    page.take(found("the report"), 1.0)
    for host in ("127.0.0.1", "localhost"):
        plain = Answer(server, f"/{server.token}/", Host=f"{host}:{server.port}")
        packed = Answer(server, f"/{server.token}/", Host=f"{host}:{server.port}", Accept_Encoding="br, gzip")
        assert (plain.status, plain.body, plain.headers["Content-Encoding"]) == (200, b"the report", None)
        assert gzip.decompress(packed.body) == b"the report"
        assert packed.headers["Content-Encoding"] == "gzip"
    head = Answer(server, f"/{server.token}/", "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/{token}/", "GET", 200), ("/{token}/version", "GET", 200), ("/{token}/x", "GET", 404), ("/", "GET", 403),
     ("/{token}/", "POST", 501)],
)  # fmt: skip
def test_every_answer_bears_the_headers(
    page: LivePage, server: LiveServer, path: str, method: str, status: int
) -> None:
    page.take(found("the report"), 1.0)
    answer = Answer(server, path.format(token=server.token), method)
    assert answer.status == status
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (policy,) = answer.headers.get_all("Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert ("sha256-abc" in policy) == (path == "/{token}/" and method == "GET")


def test_before_the_first_report_a_page_says_why_and_loads_itself_again(page: LivePage, server: LiveServer) -> None:
    assert b"The results are being read" in Answer(server, f"/{server.token}/").body
    page.take(ReportUpdate("", error="no metrics in <b>runs</b>"), 1.0)
    body = Answer(server, f"/{server.token}/").body.decode()
    assert "no metrics in &lt;b&gt;runs&lt;/b&gt;" in body
    assert '<meta http-equiv="refresh"' in body


def test_a_port_that_is_taken_is_one_line(server: LiveServer, page: LivePage) -> None:
    with (
        pytest.raises(JobsError, match=f"--port {server.port}: Address already in use; name another"),
        live_server.serving(page, server.port),
    ):
        pass


def test_it_stops_at_once_with_connections_open(page: LivePage) -> None:
    before = set(threading.enumerate())
    with live_server.serving(page) as server:
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        kept.request("GET", f"/{server.token}/version")
        kept.getresponse().read()
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=600)
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=600)
    kept.close()
    silent.close()


def test_more_connections_than_are_served_are_closed(page: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_server, "_MOST", 1)
    with live_server.serving(page) as server, socket.create_connection(("127.0.0.1", server.port)) as first:
        first.sendall(f"GET /{server.token}/version HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode())
        assert first.recv(12) == b"HTTP/1.1 200"
        with socket.create_connection(("127.0.0.1", server.port), timeout=600) as second:
            assert second.recv(1) == b""


# --- following ------------------------------------------------------------------------------------------


class Ended(Exception):
    """No more checks."""


class Following:
    """`follow` with updates made up: what was asked with, told and waited for."""

    def __init__(self, page: LivePage, updates: list[ReportUpdate | Exception]) -> None:
        self.asked: list[str] = []
        self.told: list[str] = []
        self.waited: list[float] = []
        self._updates = updates
        with pytest.raises(Ended):
            live.follow(page, ReportRequest(Path("r")), self._ask, self.told.append, self._wait)

    def _ask(self, request: ReportRequest) -> ReportUpdate:
        self.asked.append(request.seen)
        answer = self._updates.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        if not self._updates:
            raise Ended


def end(seconds: float) -> None:
    raise Ended


def state(page: LivePage) -> dict[str, Any]:
    told = json.loads(page.ask())
    assert isinstance(told, dict)
    return told


def test_a_new_version_takes_the_place_of_the_page(page: LivePage) -> None:
    following = Following(
        page, [found("first"), ReportUpdate("1"), found("second", "2", notes=("a file was set aside",))]
    )
    assert following.asked == ["", "1", "1"]
    assert following.told == ["a file was set aside"]
    assert gzip.decompress(page.newest.page or b"") == b"second"
    assert state(page)["version"] == "2"
    assert state(page)["notes"] == ["a file was set aside"]


def test_after_an_error_the_last_page_stays_and_the_error_is_told_once(page: LivePage) -> None:
    gone = ReportUpdate("", error="sweep 'q' was not submitted")
    following = Following(page, [found("first"), gone, gone])
    assert following.told == ["sweep 'q' was not submitted"]
    assert gzip.decompress(page.newest.page or b"") == b"first"
    assert (state(page)["version"], state(page)["error"]) == ("1", "sweep 'q' was not submitted")
    following = Following(page, [ReportUpdate("1"), gone])
    assert following.told == ["sweep 'q' was not submitted"]
    Following(page, [ReportUpdate("1")])
    assert state(page)["error"] == ""


def test_a_process_that_was_killed_is_an_error_and_asked_again(page: LivePage) -> None:
    following = Following(page, [found("first"), AggregateError("a process was killed"), found("second", "2")])
    assert following.told == ["a process was killed"]
    assert state(page)["error"] == ""
    assert gzip.decompress(page.newest.page or b"") == b"second"


@pytest.mark.parametrize(
    ("update", "took_s", "pause_s"),
    [
        (found("x", cost_s=8.0), 8.0, 8.0),  # half of a processor
        (found("x", cost_s=24.0), 8.0, 40.0),  # by several processes
        (found("x", cost_s=0.5), 0.5, live.CHECK_S),
        (ReportUpdate("1", cost_s=0.5), 0.5, 4.5),  # a tenth
        (ReportUpdate("", error="gone", cost_s=0.5), 0.5, 4.5),
        (ReportUpdate("1", cost_s=0.01), 0.01, live.CHECK_S),
    ],
)
def test_rests_are_as_long_as_the_cost_asks(update: ReportUpdate, took_s: float, pause_s: float) -> None:
    assert live.pause_after(update, took_s) == pytest.approx(pause_s)


def test_nothing_is_done_while_no_page_is_open(page: LivePage) -> None:
    now = [0.0]
    page = LivePage(lambda: now[0])
    assert page.is_watched()  # the first page is made for who opens it
    page.take(found("first"), 1.0)
    now[0] = live.WATCHED_S - 1
    assert page.is_watched()
    now[0] = live.WATCHED_S + 1
    assert not page.is_watched()
    with pytest.raises(Ended):
        live.follow(page, ReportRequest(Path("r")), pytest.fail, pytest.fail, end)
    page.ask()
    assert page.is_watched()


# --- checking results -----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, synthetic: ModuleType) -> ResultsFolder:
    made: ResultsFolder = synthetic.submitted(tmp_path / "results")
    return made


def test_without_a_change_nothing_is_judged(store: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = live.report_update(ReportRequest(store.root))
    assert first.error == ""
    assert first.page is not None
    text = gzip.decompress(first.page).decode()
    assert f'data-version="{first.version}"' in text
    assert f'content="{first.policy}"' in text
    monkeypatch.setattr(report, "judge", lambda *words: pytest.fail("judged again"))
    again = live.report_update(ReportRequest(store.root, seen=first.version))
    assert (again.version, again.page, again.error) == (first.version, None, "")
    assert again.cost_s > 0


def new_shard(store: ResultsFolder, synthetic: ModuleType) -> None:
    """More metrics of a run, by a second attempt."""
    run = RunRef(store.read_sweep("ensemble").configs[0].config_id, 1)  # type: ignore[union-attr]
    synthetic.write_run(store.attempts.folder(run), 1, tag="a002", final=900.0, lean=True)


def new_state(store: ResultsFolder, synthetic: ModuleType) -> None:
    """A failed run instead of one that is done."""
    run = RunRef(store.read_sweep("ensemble").configs[0].config_id, 1)  # type: ignore[union-attr]
    for shard in (store.attempts.folder(run) / "metrics").iterdir():
        shard.unlink()
    store.attempts.write_outcome(run, 1, AttemptOutcome("failed", 10, "it broke", 1.0))


@pytest.mark.parametrize("change", [new_shard, new_state])
def test_a_change_makes_a_new_page(
    store: ResultsFolder, synthetic: ModuleType, change: Callable[[ResultsFolder, ModuleType], None]
) -> None:
    first = live.report_update(ReportRequest(store.root))
    change(store, synthetic)
    second = live.report_update(ReportRequest(store.root, seen=first.version))
    assert second.error == ""
    assert second.page is not None
    assert second.version != first.version


def test_a_damaged_shard_is_a_note_and_a_sweep_that_is_gone_an_error(store: ResultsFolder) -> None:
    first = live.report_update(ReportRequest(store.root, ("ensemble",)))
    run = RunRef(store.read_sweep("ensemble").configs[0].config_id, 1)  # type: ignore[union-attr]
    (store.attempts.folder(run) / "metrics" / "a001-p00099.parquet").write_bytes(b"PAR1 and no more")
    second = live.report_update(ReportRequest(store.root, ("ensemble",), seen=first.version))
    (note,) = second.notes
    assert note.startswith("files set aside: 1, the first in ")
    assert second.page is not None
    store.sweep_path("ensemble").unlink()
    third = live.report_update(ReportRequest(store.root, ("ensemble",), seen=second.version))
    assert (third.page, third.version) == (None, "")
    assert third.error.startswith("sweep 'ensemble' was not submitted to ")


def test_an_unexpected_error_is_one_line(store: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object) -> None:
        raise ValueError("a\nb \x1b[31m")

    monkeypatch.setattr(report, "judge", broken)
    assert live.report_update(ReportRequest(store.root)).error == r"ValueError: a b \x1b[31m; this is an internal error"


def test_other_references_are_a_change(store: ResultsFolder, tmp_path: Path) -> None:
    file = tmp_path / "references.yaml"
    file.write_text("quadruped-walk: [0, 1000]\n")
    first = live.report_update(ReportRequest(store.root, references=file))
    assert live.report_update(ReportRequest(store.root, references=file, seen=first.version)).page is None
    file.write_text("quadruped-walk: [0, 900]\n")
    assert live.report_update(ReportRequest(store.root, references=file, seen=first.version)).page is not None
    file.write_text("quadruped-walk: 900\n")
    assert "--references" in live.report_update(ReportRequest(store.root, references=file, seen=first.version)).error


def test_a_renderer_is_started_again_after_it_was_killed(store: ResultsFolder) -> None:
    renderer = live.Renderer()
    try:
        first = renderer(ReportRequest(store.root))
        assert first.page is not None
        worker = renderer._process
        assert worker is not None
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(AggregateError, match="was killed"):
            renderer(ReportRequest(store.root, seen=first.version))
        # the version holds in another process: nothing is rendered again
        assert renderer(ReportRequest(store.root, seen=first.version)).page is None
        assert renderer._process is not worker
    finally:
        renderer.close()


# --- the command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_rendering", [True, False])
def test_a_signal_ends_it_and_all_its_processes(
    store: ResultsFolder, number: signal.Signals, is_rendering: bool
) -> None:
    command = [sys.executable, "-P", "-m", "jobs.cli", "--results", str(store.root), "view"]
    environment = {**os.environ, "PYTHONPATH": str(Path(live.__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as view:
        assert view.stdout is not None
        url = view.stdout.readline().split()[-1]
        tunnel = [view.stdout.readline() for _ in range(2)][-1]
        port = url.split(":")[2].partition("/")[0]
        assert f"ssh -N -L {port}:127.0.0.1:{port} " in tunnel
        while not is_rendering and not is_rendered(int(port), url):
            time.sleep(0.05)
        view.send_signal(number)
        # the error output is inherited: it ends when no process is left
        _, errors = view.communicate(timeout=600)
        assert (view.returncode, errors) == (0, "")


def test_a_signal_whose_exception_is_dropped_ends_it_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python drops what is raised while an object is destroyed; `view` then went on, deaf to further signals."""

    class Destroyed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    printed: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    before, reached = signal.getsignal(signal.SIGINT), []
    with live.until_interrupted() as wait:
        object_ = Destroyed()
        del object_
        reached.append("after the signal")
        os.kill(os.getpid(), signal.SIGTERM)  # while it ends: ignored
        reached.append("after another")
        wait(60)
        reached.append("after the wait")
    assert reached == ["after the signal", "after another"]
    assert signal.getsignal(signal.SIGINT) is before
    assert (printed, sys.unraisablehook) == ([], printed.append)


def is_rendered(port: int, url: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", url.partition(str(port))[2])
    text = connection.getresponse().read().decode()
    connection.close()
    return "<article" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ensembel"], "sweep 'ensembel' was not submitted to {root}; did you mean ensemble?"),
        (["--references", "none.yaml"], "--references none.yaml: No such file or directory; name a YAML file"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_served(
    store: ResultsFolder, words: list[str], message: str
) -> None:
    result = CliRunner().invoke(cli, ["--results", str(store.root), "view", *words])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {message.format(root=store.root)}\n"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["--results", str(tmp_path), "view"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: nothing was submitted to {tmp_path}; ")
