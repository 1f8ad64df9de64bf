"""A process that works for `aggregate.inputs.parallel`: calls come in by a pipe, what they return goes out by another.

Not `multiprocessing`: to fork a process whose libraries run threads (BLAS, Arrow) may hang, and its other ways import
the caller's main module again, which begins a script without a guard, or a notebook's, from the start.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from sweepwise.core.errors import AggregateError

# It imports the packages from where its parent imports them, and ends silently if its parent has ended before.
_START = """
import pickle, sys
try:
    sys.path[:] = pickle.load(sys.stdin.buffer)
except (EOFError, pickle.UnpicklingError):
    sys.exit()
from aggregate.inputs.mapping_process import serve
serve()
"""
_KILLED = "a process that read runs was killed; if memory ran out, name fewer sweeps"


class MappingProcess:
    """A process in which functions are called that it can import. It ends with this one, however that ends.

    Another thread may `close` it during a call, which then raises `AggregateError`.

    with_group: it leads a process group of its own, which is killed as a whole where `close` interrupts a call; other
    processes that it started end when they notice that it is gone. is_ready: for another call; it stays False after
    one that was not answered.
    """

    def __init__(self, *, with_group: bool = False) -> None:
        self._with_group = with_group
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # there is one for each core
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **one_thread}, start_new_session=with_group,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._calls, self._answers = self._process.stdin, self._process.stdout
        self.is_ready = True
        self._send(pickle.dumps(sys.path))

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """What it returns for each; raises what it raised, and `AggregateError` where the process is gone."""
        call = pickle.dumps((function, items))
        self.is_ready = False
        self._send(call)
        try:
            is_done, answer = pickle.load(self._answers)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:  # ValueError: `close` closed the pipe
            raise AggregateError(_KILLED) from error
        self.is_ready = True
        if not is_done:
            raise answer
        return list(answer)

    def _send(self, words: bytes) -> None:
        try:
            self._calls.write(words)
            self._calls.flush()
        except (OSError, ValueError) as error:  # ValueError: `close` closed the pipe
            self.is_ready = False
            raise AggregateError(_KILLED) from error

    def close(self) -> None:
        """Ends it."""
        if not self.is_ready:
            self._kill()
        with contextlib.suppress(OSError):  # it was killed before it had read all
            self._calls.close()
        self._answers.close()
        self._process.wait()

    def _kill(self) -> None:
        if not self._with_group:
            self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(self._process.pid, signal.SIGKILL)


def serve() -> None:
    """Answers calls until there are no more. Ignores interrupts, which its parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a function prints must not come between the answers
        while True:
            try:
                function, items = pickle.load(sys.stdin.buffer)
            except (EOFError, pickle.UnpicklingError):  # the parent closed the pipe, or ended while it wrote
                return
            answers.write(_answer(function, items))
            answers.flush()


def _answer(function: Callable[[Any], Any], items: Sequence[Any]) -> bytes:
    try:
        return pickle.dumps((True, [function(item) for item in items]))
    except Exception as error:  # noqa: BLE001 - it is raised there
        return pickle.dumps((False, error))
