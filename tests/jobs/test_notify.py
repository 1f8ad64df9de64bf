"""The user's command is told that a sweep has ended, tasks are held or a configuration collapses: once, and safely."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from aggregate.analysis.summary import summarise
from jobs import process
from jobs.backends.base import ExecutionOptions
from jobs.cli import cli
from jobs.reports import last_job, live, notifications, report
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.results.submissions import Submissions
from jobs.runs import notify

SLACK = "slack.com"  # apart from the rest, so that this line is not taken for a secret itself
WRITES = 'echo "$SWEEPS_EVENT|$SWEEPS_SWEEP|$SWEEPS_MESSAGE" >> "$TOLD"'

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def results(tmp_path: Path, synthetic: ModuleType) -> ResultsFolder:
    store: ResultsFolder = synthetic.submitted(tmp_path / "results", (600.0, 300.0), 3)
    return store


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The lines that `WRITES` has written."""
    path = tmp_path / "told"
    monkeypatch.setenv("TOLD", str(path))
    return lambda: path.read_text().splitlines() if path.exists() else []


def submitted(store: ResultsFolder, command: str, **fields) -> Submission:  # type: ignore[no-untyped-def]
    """A submission of all runs of `ensemble` with this command."""
    sweep = store.read_sweep("ensemble")
    assert sweep is not None
    tasks = [TaskRuns(config.config_id, config.seeds) for config in sweep.configs]
    name = store.submissions.create("ensemble")
    made = Submission(
        id=name, sweep="ensemble", backend="local", host="here", user="me", time=0.0, tasks=tasks, gpus=0, threads=1,
        job_name="j", options={"notify": command}, handed_over=True, **fields,
    )  # fmt: skip
    store.submissions.write(made)
    return made


def test_the_end_of_a_sweep_is_told_once(results: ResultsFolder, told: Callable[[], list[str]]) -> None:
    made = submitted(results, WRITES)
    for _ in range(2):
        last_job.main([str(results.root), made.id])
    assert told() == ["ended|ensemble|ensemble has ended: 6 done; sweeps aggregate ensemble"]
    last_job.main([str(results.root), submitted(results, WRITES).id])  # of a rerun
    assert len(told()) == 2


def test_with_a_report_the_message_has_its_verdict(results: ResultsFolder, told: Callable[[], list[str]]) -> None:
    assert last_job.main([str(results.root), submitted(results, WRITES, report=True).id]) == 0
    assert results.report_path("ensemble").exists()
    assert told()[0].startswith("ended|ensemble|ensemble has ended: 6 done. num_q=1 is best, with a final return of ")


def test_nothing_is_told_while_another_submission_trains_runs(
    results: ResultsFolder, told: Callable[[], list[str]]
) -> None:
    first = submitted(results, WRITES)
    run = RunRef(first.tasks[0].config_id, 4)
    sweep = results.read_sweep("ensemble")
    assert sweep is not None
    longer = replace(sweep.configs[0], seeds=[1, 2, 3, 4])
    results.write_sweep(replace(sweep, configs=[longer, *sweep.configs[1:]]))
    pid = os.getpid()
    results.attempts.claim(run, Attempt(0, process.host(), pid, process.start_time(pid), time.time(), "cpu"))
    last_job.main([str(results.root), first.id])
    assert told() == []


def test_a_command_that_fails_is_shown_and_not_repeated(
    results: ResultsFolder, told: Callable[[], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    made = submitted(results, f"{WRITES}; echo no route to host >&2; exit 7")
    for _ in range(2):
        notifications.send_sweep_ended(results, made)
    assert capfd.readouterr().out == "notification ended: exit code 7: no route to host\n"
    assert len(told()) == 1
    shown = CliRunner().invoke(cli, ["--results", str(results.root), "status"]).output
    assert "notification ended failed: exit code 7: no route to host" in shown


def test_a_command_that_hangs_is_ended(results: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_TIMEOUT_S", 0.2)
    sent = notify.send(results, submitted(results, "sleep 600"), notify.Event("ended", "ensemble", "x", "m"))
    assert sent is not None
    assert "timed out after 0.2 seconds" in sent.problem


def test_no_text_of_a_plan_is_read_by_the_shell(
    results: ResultsFolder, told: Callable[[], list[str]], tmp_path: Path
) -> None:
    hostile = f"$(touch {tmp_path}/made) `touch {tmp_path}/made` \"; touch {tmp_path}/made; '"
    notify.send(results, submitted(results, WRITES), notify.Event("ended", "ensemble", "x", hostile))
    assert told() == [f"ended|ensemble|{hostile}"]
    assert not (tmp_path / "made").exists()


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """The address of an HTTP server, and what was posted to it."""
    posted: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collapse_is_posted_once_for_each_configuration(
    results: ResultsFolder, listener: tuple[str, list[str]], synthetic: ModuleType, tmp_path: Path
) -> None:
    address, posted = listener
    program = (
        "import os, urllib.request as r; "
        f"r.urlopen(r.Request({address!r}, os.environ['SWEEPS_MESSAGE'].encode())).read()"
    )
    submitted(results, f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}")
    source = synthetic.make_sweep(
        tmp_path / "made", (600.0, 600.0), 4, special={1: {"collapse": True}}, labels=("tau=0.01", "tau=0.02"),
        lean=True,
    )  # fmt: skip
    judged = summarise([source]).sweeps
    for _ in range(2):
        notifications.send_collapses(results, judged)
    assert posted == ["ensemble: tau=0.02 collapses (4 of 4 seeds); sweeps view ensemble"]


@pytest.mark.parametrize("command", ["aggregate", "view"])
def test_commands_that_follow_runs_tell_of_collapses(
    results: ResultsFolder, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []
    for module in (live, report):
        monkeypatch.setattr(module, "send_collapses", lambda store, judged: seen.append(len(judged)))
    if command == "view":
        assert live.report_update(live.ReportRequest(results.root)).page is not None
    else:
        words = ["--results", str(results.root), "aggregate", "--watch", "--out", str(tmp_path / "r.html")]
        assert CliRunner().invoke(cli, words).exit_code == 0
    assert seen == [1]


def test_results_of_somebody_else_tell_nobody(results: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Submissions, "claim_notification", refused)
    event = notify.Event("ended", "ensemble", "x", "m")
    assert notify.send(results, submitted(results, WRITES), event) is None


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (" ", "--notify ' ': give one line for the shell"),
        ("a\nb", "--notify 'a\\nb': give one line for the shell"),
        (f"curl https://hooks.{SLACK}/services/T0/B0/abcdefghijklmnop", "seems to contain a secret (Slack)"),
    ],
)
def test_bad_commands_are_refused_in_one_line(tmp_path: Path, command: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text("plan: mine\nbase: {steps: 5000}\nsweeps:\n  q: {grid: {num_q: [1, 2]}}\n")
    words = ["--results", str(tmp_path / "r"), "submit", "q", "--plan", str(tmp_path / "mine.yaml")]
    done = CliRunner().invoke(cli, [*words, "--cluster", "local", "--notify", command])
    assert done.exit_code == 1
    assert message in done.output
    assert done.output.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_rerun_has_the_command_of_the_submit(results: ResultsFolder) -> None:
    assert ExecutionOptions.of(submitted(results, WRITES)).notify == WRITES
    (record,) = (results.root / "submissions").glob("*/submission.json")
    assert json.loads(record.read_text())["options"]["notify"] == WRITES
