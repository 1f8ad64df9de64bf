"""Serves the page of `jobs.reports.live` on 127.0.0.1, to those who know its address.

Other users of the machine reach the port too. A random token in the address keeps them out, and a check of the Host
header keeps out pages of other sites whose name was made to lead here (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import gzip
import hmac
import html
import secrets
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jobs.reports.live import LivePage, ReportUpdate
from sweepwise.core.errors import JobsError

ADDRESS = "127.0.0.1"
_HOSTS = (ADDRESS, "localhost")
_TOKEN_BYTES = 24
_IDLE_S = 30.0  # a connection that sends nothing is closed
_MOST = 64  # connections at once
_STOP_S = 0.1  # until the server notices that it is to stop
_NOTHING = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_FRAMED = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# Without a report there is no script: the page loads itself again.
_WAITING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="2"><meta name="color-scheme" content="light dark"><title>Sweep report</title>
<link rel="icon" href="data:,"><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60ch;margin:15vh auto;
padding:0 20px;overflow-wrap:anywhere}}</style></head>
<body><main><h1>Sweep report</h1><p>{}</p><p>This page shows the report as soon as there is one.</p></main></body>
</html>
"""


class LiveServer(ThreadingHTTPServer):
    """page: what is served. token: part of every address. Listens on `ADDRESS` alone once it is made."""

    daemon_threads = False  # `server_close` waits for the threads
    request_queue_size = 16

    def __init__(self, page: LivePage, port: int = 0, token: str = "") -> None:
        self.page, self.token = page, token or secrets.token_urlsafe(_TOKEN_BYTES)
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        super().__init__((ADDRESS, port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}/{self.token}/"

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._lock:
            return len(self._open) <= _MOST

    def get_request(self) -> tuple[Any, Any]:
        request, address = super().get_request()
        with self._lock:
            self._open.add(request)
        return request, address

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that closes a connection is no error."""

    def stop(self) -> None:
        """Close the port and every connection, and wait for their threads. The server must be running."""
        self.shutdown()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):  # it was closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    protocol_version = "HTTP/1.1"  # an open page keeps its connection
    timeout = _IDLE_S
    policy = _NOTHING

    def do_GET(self) -> None:
        refusal = self._refusal()
        if refusal:
            self._answer(HTTPStatus.FORBIDDEN, f"{refusal}\n".encode(), "text/plain; charset=utf-8")
            return
        part = self.path.partition("?")[0].removeprefix(f"/{self.server.token}/")
        if part == "version":
            self._answer(HTTPStatus.OK, self.server.page.ask(), "application/json")
        elif part == "":
            self.server.page.ask()
            self._page(self.server.page.newest)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n", "text/plain; charset=utf-8")

    do_HEAD = do_GET

    def _refusal(self) -> str:
        """Why a request is not answered, "" where it is."""
        legal = [f"{host}:{self.server.port}" for host in _HOSTS]
        if self.headers.get_all("Host", []) not in ([name] for name in legal):
            return f"open this report as {' or '.join(legal)}; a tunnel must have the same port at both ends"
        given = self.path.partition("?")[0].encode("utf-8", "replace")
        if not hmac.compare_digest(given[: len(self.server.token) + 2], f"/{self.server.token}/".encode()):
            return "open the whole address that `sweeps view` printed"
        return ""

    def _page(self, newest: ReportUpdate) -> None:
        if newest.page is None:
            text = newest.error or "The results are being read."
            self._answer(HTTPStatus.OK, _WAITING.format(html.escape(text)).encode(), "text/html; charset=utf-8")
            return
        self.policy = newest.policy
        takes_gzip = "gzip" in self.headers.get("Accept-Encoding", "")
        body = newest.page if takes_gzip else gzip.decompress(newest.page)
        self._answer(HTTPStatus.OK, body, "text/html; charset=utf-8", "gzip" if takes_gzip else "")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str, encoding: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        """The headers of every answer, those of errors of the protocol too."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", f"{self.policy}; {_FRAMED}")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def version_string(self) -> str:
        return "sweeps"

    def log_message(self, format: str, *words: Any) -> None:
        """Nothing: the terminal shows what happens to the report."""


@contextlib.contextmanager
def serving(page: LivePage, port: int = 0) -> Iterator[LiveServer]:
    """Serves `page` inside the block. Raises `JobsError` where the port cannot be had."""
    try:
        server = LiveServer(page, port)
    except OSError as error:
        raise JobsError(f"--port {port}: {error.strerror}; name another, or leave it out for a free one") from error
    thread = threading.Thread(target=server.serve_forever, args=(_STOP_S,), name="live report")
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
