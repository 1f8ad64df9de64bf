"""Starts a program and ends all of its processes with it. Run by its path; standard library only.

A process group is not enough: workers of a data loader outlive a killed leader, and `setsid` leaves it. The guard
becomes the parent of every process of the program that is orphaned (a subreaper, see prctl(2)). It kills all of them
when the program ends, and when the job that started the guard ends, however that ends.

Its standard input: the program as one line of JSON, then commands: `signal N` (to the program's own process only, since
forked data loaders inherit its handlers), `terminate` and `kill` (to all). Its standard output: JSON lines with `pid`,
then `exit_code`, or `error`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_SET_CHILD_SUBREAPER, _SET_PARENT_DEATH_SIGNAL = 36, 1  # of prctl
# Slurm and terminals send these to every process of a job; what the program gets is decided by the job.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_READ = 1 << 16
_LOST = 4_000  # bytes of output that are kept in memory on a full disk
_LAST_S = 10.0  # a process that waits for a dead file server does not end even so
PREVIOUS = ".previous.log"
PROC = Path("/proc")  # of Linux; elsewhere there is none


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the process group is all there is
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(of: int) -> list[int]:
    """Processes below `of`, children first, without zombies."""
    children: dict[int, list[int]] = {}
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(process.name))
    below, processes = list(children.get(of, [])), []
    while below:
        processes.append(below.pop(0))
        below += children.get(processes[-1], [])
    return processes


def processor_seconds(of: int) -> float | None:
    """Processor time of the processes below `of`; None where that cannot be known."""
    if not PROC.is_dir():
        return None
    ticks = 0
    for pid in descendants(of):
        with contextlib.suppress(OSError, ValueError, IndexError):
            user, system = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[11:13]
            ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class Output:
    """A file that keeps the end of what is written: at half of `cap` bytes it becomes `<stem>.previous.log`. lost: the
    end of what could not be written since the last write."""

    def __init__(self, path: str, cap: int) -> None:
        self._path, self._half = Path(path), cap // 2
        self._file = self._path.open("ab", buffering=0)
        self.lost = b""

    def write(self, data: bytes) -> None:
        try:
            if self._file.tell() + len(data) > self._half:
                self._rotate()
            while data:
                data = data[self._file.write(data) :]
            self.lost = b""
        except OSError:  # a full disk must not end the program
            self.lost = (self.lost + data)[-_LOST:]

    def _rotate(self) -> None:
        part = self._path.with_suffix(".part")  # where it cannot be made, the old file goes on
        new = part.open("wb", buffering=0)
        os.replace(self._path, self._path.with_name(self._path.stem + PREVIOUS))
        os.replace(part, self._path)
        self._file.close()
        self._file = new


class Guard:
    def __init__(self, program: dict[str, Any], commands: bytes = b"") -> None:
        self._output = Output(program["output"], program["cap"])
        # Until the program has started, which takes as long as its file system, nothing is read: end with the job then.
        _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        self._child = subprocess.Popen(
            program["argv"], cwd=program["cwd"], env=program["env"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_before_exec,
        )  # fmt: skip
        _prctl(_SET_PARENT_DEATH_SIGNAL, 0)
        assert self._child.stdout is not None
        self._pipe = self._child.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._exit_code: int | None = None
        self._commands = commands

    def run(self) -> None:
        """Until the program has ended, or the job has."""
        wake, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        _report(pid=self._child.pid)
        with selectors.DefaultSelector() as selector:
            for source in (0, self._pipe, wake):
                selector.register(source, selectors.EVENT_READ)
            while self._exit_code is None:
                for key, _ in selector.select(timeout=1.0):
                    if key.fd == self._pipe and not self._pump():
                        selector.unregister(self._pipe)  # the program closed its output
                    elif key.fd == wake:
                        os.read(wake, _READ)
                    elif key.fd == 0 and not self._obey():
                        self._end_all()
                        return
                self._reap()
        self._end_all()
        self._pump()
        _report(exit_code=self._exit_code, lost=self._output.lost.decode(errors="replace"))

    def _pump(self) -> bool:
        """Copies what the program wrote; False at the end of it."""
        while True:
            try:
                data = os.read(self._pipe, _READ)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._output.write(data)
            if len(data) < _READ:
                return True

    def _obey(self) -> bool:
        """Commands of the job; False where the job has ended."""
        data = os.read(0, _READ)
        if not data:
            return False
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            word, _, number = line.decode().partition(" ")
            if word == "signal":
                send([self._child.pid], int(number))
            else:
                self._send_all(signal.SIGKILL if word == "kill" else signal.SIGTERM)
        return True

    def _send_all(self, number: int) -> None:
        if PROC.is_dir():
            send(descendants(os.getpid()), number)
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._child.pid:
                self._exit_code = os.waitstatus_to_exitcode(status)

    def _end_all(self) -> None:
        """Kills what is left, again and again, since a process may fork meanwhile."""
        self._send_all(signal.SIGKILL)
        give_up = time.monotonic() + _LAST_S
        while (left := descendants(os.getpid())) and time.monotonic() < give_up:
            send(left, signal.SIGKILL)
            time.sleep(0.01)
            self._reap()
        self._reap()


def _before_exec() -> None:
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    # Slurm's warning before the time limit reaches every process of a job and would end those without a handler.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)  # where the guard itself is killed


def _report(**news: Any) -> None:
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps(news) + "\n").encode())


def main() -> int:
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _prctl(_SET_CHILD_SUBREAPER, 1)
    received = b""
    while b"\n" not in received:
        data = os.read(0, _READ)
        if not data:
            return 1
        received += data
    line, _, commands = received.partition(b"\n")
    program = json.loads(line)
    try:
        guard = Guard(program, commands)
    except OSError as error:
        _report(error=f"{error.filename or program['argv'][0]}: {error.strerror}")
        return 1
    guard.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
