"""Logs of tasks: their paths, the cause of a failure in them, and following a log while it grows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.backends import registry
from jobs.programs.command import newest_output
from jobs.results.attempts import RunRef
from jobs.results.records import Submission
from jobs.results.results_folder import ResultsFolder
from jobs.results.run_state import GPU_MEMORY, TaskState

Position = dict[Path, int]

_TAIL = 16_384  # bytes at the end of a log that are searched for a cause
# Messages of slurmstepd, the kernel and CUDA, for tasks that Slurm only lists as FAILED or no longer lists.
_SIGNS = (
    (re.compile(r"DUE TO TIME LIMIT"), "timeout", "its time limit was reached"),
    (re.compile(r"DUE TO NODE FAILURE|srun: error: Node failure on"), "node-fail", "its node failed"),
    (re.compile(r"DUE TO PREEMPTION"), "preempted", "another job took its node"),
    (re.compile(r"oom[-_ ]?kill|Out Of Memory|MemoryError|Cannot allocate memory", re.I), "oom", "out of memory"),
    (re.compile(r"^sweeps: failed: (.*)"), "", r"`\1` failed"),
    (re.compile(r"execve\(\): (\S+): No such file"), "", r"\1: No such file or directory on its node"),
    (re.compile(r"No space left on device"), "", "No space left on device"),
    (re.compile(r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError"), "oom", GPU_MEMORY),
)  # fmt: skip
# Why a job ended; a run that is named after it has a record of its own.
_ERROR = re.compile(r"error: (?![0-9a-f]{10}/seed-)(.+)")
_TRACEBACK = "Traceback (most recent call last):"


def paths(store: ResultsFolder, submission: Submission, task: int) -> list[Path]:
    """The existing logs of a task, stderr last."""
    if not registry.is_known(submission.backend):
        return []
    candidates = registry.get(submission.backend).log_paths(store, submission, task)
    return [path for path in candidates if path.exists()]


def of_run(store: ResultsFolder, run: RunRef, submission: Submission, task: int) -> list[Path]:
    """The same, and the output of the program that the run trains."""
    return [*paths(store, submission, task), *newest_output(store.attempts.folder(run))]


def tail(path: Path, size: int = _TAIL) -> str:
    """The end of a file in whole lines, from its last `size` bytes; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - size))
            data = file.read()
    except OSError:
        return ""
    text = data.decode("utf-8", "replace")
    return text if len(data) == end else text.partition("\n")[2]


def explain(store: ResultsFolder, submission: Submission, task: int, state: TaskState) -> TaskState:
    """`state` of a task without an outcome, with cause and reason from its log and with the log's path."""
    files = paths(store, submission, task)
    if not files:
        return state
    text = "".join(map(tail, files))
    cause, reason = last_sign(text)
    line = last_error(text)
    if line and cause in ("", "oom"):
        cause, reason = cause or "error", line
    words = reason or state.reason
    return replace(
        state, cause=cause or state.cause, reason=f"{words}; see {files[-1]}" if words else f"see {files[-1]}"
    )


def last_sign(text: str) -> tuple[str, str]:
    """(cause, text for the user) from the last line that shows why a task ended; empty strings if there is none."""
    for line in reversed(text.splitlines()):
        for sign, cause, words in reversed(_SIGNS):
            if match := sign.search(line):
                return cause, match.expand(words)
    return "", ""


def last_error(text: str) -> str:
    """The error line of the job behind the last traceback, else at the end of that; "" if there is none."""
    _, marker, rest = text.rpartition(_TRACEBACK)
    if errors := [match[1] for match in map(_ERROR.fullmatch, rest.splitlines()) if match]:
        return errors[-1]
    if not marker:
        return ""
    return next((line.strip() for line in rest.splitlines() if line and not line[0].isspace()), "")


def added(files: Sequence[Path], position: Position) -> Iterator[str]:
    """The text that was added to `files` after `position` (byte offsets), which is then advanced."""
    for path in files:
        with path.open("rb") as file:
            file.seek(position.get(path, 0))
            data = file.read()
            position[path] = file.tell()
        if data:
            yield data.decode("utf-8", "replace")


def last_lines(path: Path, count: int, position: Position) -> str:
    """The last `count` lines of a log, read backwards; `position` is set to its end."""
    with path.open("rb") as file:
        end = start = file.seek(0, 2)
        data = b""
        while start > 0 and data.count(b"\n") <= count:
            size = min(_TAIL, start)
            start -= size
            file.seek(start)
            data = file.read(size) + data
    position[path] = end
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    return "".join(lines[len(lines) - count :] if count < len(lines) else lines)
