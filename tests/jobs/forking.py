"""Commands in forks of this process, which has one thread: pytest's have several, and to fork these may hang.

Reads lines of JSON: requests to carry out at once, each with the words of a command, the environment, and where it dies
at the n-th call of a function, these functions and n. Answers with their exit codes, negative for a signal.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from jobs.cli import cli


def dying(effect: Callable[..., Any], steps: itertools.count[int], last: int) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return effect(*arguments, **named)

    return wrapped


def carry_out(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["environment"])
    steps: itertools.count[int] = itertools.count()
    for place, name in request["effects"]:
        module = importlib.import_module(place)
        setattr(module, name, dying(getattr(module, name), steps, request["step"]))
    cli.main(request["words"], prog_name="sweeps")


def begin(request: dict[str, Any]) -> int:
    with warnings.catch_warnings(action="error"):
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(2, 1)  # what commands print is no answer
        carry_out(request)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        children = [begin(request) for request in json.loads(line)]
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
