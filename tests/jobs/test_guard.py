"""The guard by itself: what it keeps of the output, what it says of the end, and that commands reach the program."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import wait_until

from jobs import process
from jobs.worker import guard, guarded_program
from jobs.worker.guard import Output
from jobs.worker.guarded_program import End, GuardedProgram


def run(folder: Path, *argv: str) -> GuardedProgram:
    environment = {**os.environ, "SWEEPS_RUN": str(folder), "PYTHONUNBUFFERED": "1"}
    return GuardedProgram(argv, folder, environment, folder / "out.log")


def end(program: GuardedProgram) -> End:
    ends: list[End] = []

    def has_ended() -> bool:
        one = program.poll()
        ends.extend([one] if one is not None else [])
        return bool(ends)

    wait_until("its end", has_ended, 600, pause=0.01)
    return ends[0]


def test_of_much_output_the_end_is_kept(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "001.log"), cap=1000)
    lines = [f"line {number:05d}\n" for number in range(500)]
    for line in lines:
        output.write(line.encode())
    files = [tmp_path / "001.previous.log", tmp_path / "001.log"]
    kept = "".join(path.read_text() for path in files)
    assert 500 <= len(kept) <= 1000
    assert "".join(lines).endswith(kept)


def test_of_output_that_a_full_disk_does_not_take_the_end_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "001.log"
    output = Output(str(path), cap=10_000)
    output.write(b"a" * 3000)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", no_space)  # of the file that follows
        output.write(b"b" * 5000 + b"first ")
        output.write(b"b" * 3000 + b"last")
    assert output.lost == b"b" * 990 + b"first " + b"b" * 3000 + b"last"
    output.write(b"c" * 3000)
    assert (output.lost, path.read_bytes()) == (b"", b"c" * 3000)


def no_space(*arguments: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("argv", "ended"),
    [
        ((sys.executable, "-c", "print('hi'); raise SystemExit(7)"), End(7)),
        ((sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), End(-signal.SIGSEGV)),
        (("no-such-program",), End(None, "no-such-program: No such file or directory")),
        (("/dev/null",), End(None, "/dev/null: Permission denied")),
        ((sys.executable, "-c", "import os; os.close(1); os.close(2)"), End(0)),
    ],
)
def test_it_says_how_the_program_ended(tmp_path: Path, argv: tuple[str, ...], ended: End) -> None:
    assert end(run(tmp_path, *argv)) == ended


def test_all_that_was_written_is_there_when_it_has_ended(tmp_path: Path) -> None:
    assert end(run(tmp_path, sys.executable, "-c", "print('x' * 300_000); print('last')")) == End(0)
    text = (tmp_path / "out.log").read_text()
    assert len(text) == 300_006
    assert text.endswith("last\n")


def test_a_signal_reaches_the_program_alone_and_terminate_all(tmp_path: Path) -> None:
    """A forked data loader inherits the handler."""
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('saved', flush=True))\n"
        "os.fork()\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.01)\n"
    )
    program = run(tmp_path, sys.executable, "-c", code)
    output = tmp_path / "out.log"
    wait_until("both", lambda: output.exists() and output.read_text().count("ready") == 2, 600, pause=0.01)
    program.signal(signal.SIGUSR1)
    wait_until("the checkpoint", lambda: "saved" in output.read_text(), 600, pause=0.01)
    program.terminate_all()
    assert end(program) == End(-signal.SIGTERM)
    assert output.read_text().count("saved") == 1


def test_what_slurm_sends_to_every_process_does_not_end_it(tmp_path: Path) -> None:
    program = run(tmp_path, sys.executable, "-c", "import os, time; print(os.getppid(), os.getpid()); time.sleep(0.3)")
    output = tmp_path / "out.log"
    wait_until("its start", lambda: output.exists() and output.read_text().endswith("\n"), 600, pause=0.01)
    guard, own = map(int, output.read_text().split())
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        os.kill(guard, number)
    os.kill(own, signal.SIGUSR2)
    assert end(program) == End(0)


NOT_STARTED = """
import os, sys, time
from pathlib import Path
from jobs.worker import guard, guarded_program
guard.__file__ = sys.argv[1]
folder = Path(sys.argv[2])
environment = {**os.environ, "SWEEPS_RUN": str(folder)}
program = guarded_program.GuardedProgram(["sleep", "4242"], folder, environment, folder / "out.log")
while not (folder / "stopped").exists():
    time.sleep(0.01)
print(program._guard.pid, flush=True)
if sys.argv[3] == "close":
    guarded_program._GUARD_S = 0.1
    program.close()
os._exit(0)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux ends a process with its parent")
@pytest.mark.parametrize("how", ["close", "killed"])
def test_a_guard_whose_program_does_not_get_started_ends_with_the_job(tmp_path: Path, how: str) -> None:
    """As on a file system that does not answer: the guard waits for exec."""
    text = Path(guard.__file__).read_text()
    start = "    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)  # where the guard itself is killed\n"
    assert start in text
    stop = f"{start}    Path({str(tmp_path / 'stopped')!r}).touch()\n    os.kill(os.getpid(), signal.SIGSTOP)\n"
    (tmp_path / "guard.py").write_text(text.replace(start, stop))
    command = [sys.executable, "-c", NOT_STARTED, str(tmp_path / "guard.py"), str(tmp_path), how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    guard_pid = int(done.stdout)

    def is_over() -> bool:
        return not process.alive(guard_pid, "") and not guarded_program._marked(str(tmp_path))

    wait_until("the end of the guard", is_over, 600, pause=0.02)
