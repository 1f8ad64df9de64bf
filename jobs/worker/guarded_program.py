"""A program under its guard, as the job sees it (`jobs.worker.guard`)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.worker import guard

OUTPUT_CAP = 50_000_000  # bytes of output that are kept, of the newest
_GUARD_S = 15.0  # a guard that has lost its job kills what runs for `guard._LAST_S`
MARK = "SWEEPS_RUN"  # in the environment of every process of a run


@dataclass(frozen=True)
class End:
    """exit_code: negative for a signal, None where the guard did not say. reason: why it did not start, "" else.
    lost: the end of its output, where the disk had no room for it."""

    exit_code: int | None
    reason: str = ""
    lost: str = ""


class GuardedProgram:
    """Starts a program. Raises `OSError` where the guard cannot be started."""

    def __init__(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str], output: Path) -> None:
        program = {
            "argv": list(argv), "cwd": str(cwd), "env": dict(environment), "output": str(output), "cap": OUTPUT_CAP,
        }  # fmt: skip
        self.work = environment[MARK]
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._guard.stdout is not None
        os.set_blocking(self._guard.stdout.fileno(), False)
        self._heard = b""
        self._command(json.dumps(program))  # by the pipe: command lines can be read by others

    def _command(self, line: str) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):  # the guard has ended
            self._guard.stdin.write((line + "\n").encode())
            self._guard.stdin.flush()

    def signal(self, number: int) -> None:
        """To the program's own process only."""
        self._command(f"signal {int(number)}")

    def terminate_all(self) -> None:
        self._command("terminate")

    def kill_all(self) -> None:
        self._command("kill")

    def kill_guard(self) -> None:
        """Where it does not end by itself, as while the program does not get started."""
        self._guard.kill()

    def processor_seconds(self) -> float | None:
        """Of the processes of the program that run now; None where that cannot be known."""
        return guard.processor_seconds(self._guard.pid)

    def poll(self) -> End | None:
        """How the program ended, and all of its processes with it; None while it runs."""
        ended = self._guard.poll() is not None
        assert self._guard.stdout is not None
        while data := self._read(self._guard.stdout.fileno()):
            self._heard += data
        news: dict[str, object] = {}
        for line in self._heard.splitlines():
            with contextlib.suppress(ValueError):
                news |= json.loads(line)
        if "exit_code" in news or "error" in news:
            self.close()
            code = news.get("exit_code")
            return End(code if isinstance(code, int) else None, str(news.get("error", "")), str(news.get("lost", "")))
        if not ended:
            return None
        end_processes(self.work)
        return End(None, "the process that guards the program was killed")

    @staticmethod
    def _read(descriptor: int) -> bytes:
        try:
            return os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """End the guard, and with it whatever runs."""
        for stream in (self._guard.stdin, self._guard.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self._guard.wait(_GUARD_S)
        except subprocess.TimeoutExpired:
            self.kill_guard()
            self._guard.wait()
            end_processes(self.work)


def end_processes(work: str) -> int:
    """Kill the processes of this user whose run's folder is `work` or lies in it, on this machine; their number.

    For what a guard that was killed left behind.
    """
    killed = 0
    for _ in range(100):
        left = _marked(work)
        if not left:
            break
        killed = max(killed, len(left))
        guard.send(left, signal.SIGKILL)
        time.sleep(0.02)
    return killed


def _marked(work: str) -> list[int]:
    mark = f"\0{MARK}={work}".encode()
    marked = []
    for process in guard.PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = b"\0" + (process / "environ").read_bytes()
            if (mark + b"\0" in environment or mark + b"/" in environment) and int(process.name) != os.getpid():
                marked.append(int(process.name))
    return marked
