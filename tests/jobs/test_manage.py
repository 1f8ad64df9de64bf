"""status, logs, cancel and rerun on a pretended Slurm and on this machine: what is shown, ended and run again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import FakeSlurm

from jobs import process
from jobs.backends import formats, local, local_scheduler, registry
from jobs.backends.local_scheduler import Scheduler
from jobs.results.attempts import RunRef
from jobs.results.records import Attempt, AttemptOutcome, Status, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder

pytestmark = pytest.mark.usefixtures("outside_slurm")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, slurm: FakeSlurm, six_runs: Any) -> Any:
    """`sweeps ...` in this process, with the pretended Slurm; tasks 100_0 to 100_5 are q=1, q=2, q=1, ..."""
    monkeypatch.setenv("COLUMNS", "250")
    return six_runs


def begin(store: ResultsFolder, task: int, step: int = 100) -> RunRef:
    """The task's first run has begun and written a heartbeat."""
    (submission,) = store.submissions.all()
    runs = submission.tasks[task]
    run = RunRef(runs.config_id, runs.seeds[0])
    attempt = Attempt(0, "elsewhere", 1, "", time.time(), "cpu", submission.id, task, submission.job_of(task))
    number = store.attempts.claim(run, attempt).number
    store.attempts.write_status(run, Status(number, step, 5000, 10.0, 250.0, time.time()))
    return run


def end(store: ResultsFolder, run: RunRef, state: str, message: str = "") -> None:
    step = 5000 if state == "finished" else 100
    store.attempts.write_outcome(run, 1, AttemptOutcome(state, step, message, time.time()))


def log(store: ResultsFolder, task: int, text: str) -> Path:
    (submission,) = store.submissions.all()
    path = registry.get(submission.backend).log_paths(store, submission, task)[-1]
    path.write_text(text)
    return path


def shown(run: Any) -> list[dict[str, Any]]:
    found = json.loads(run("status", "--json").stdout)
    return [r for s in found["sweeps"] for c in s["configurations"] for r in c["runs"]]


def states(run: Any) -> dict[str, str]:
    return {r["job"]: r["state"] for r in shown(run)}


def tasks_of_new_jobs(slurm: FakeSlurm) -> dict[str, int]:
    found: dict[str, int] = {}
    for task in slurm.tasks():
        if task["job"] != "100":
            found[task["job"]] = found.get(task["job"], 0) + 1
    return found


def scripts(slurm: FakeSlurm) -> list[str]:
    return list({t["job"]: t["script"] for t in slurm.tasks() if t["job"] != "100"}.values())


# --- status and logs ------------------------------------------------------------------------------------------


def test_every_run_has_its_own_word(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    run("submit", "q")
    slurm.set("100_0", state="RUNNING", node="n7")
    begin(store, 0, step=2000)
    slurm.set("100_1", state="FAILED")
    log(store, 1, "Traceback (most recent call last):\n  x\nImportError: no torch\n")
    slurm.set("100_2", state="NODE_FAIL")
    slurm.set("100_3", state="PENDING", reason="JobHeldAdmin")
    slurm.set("100_4", state="COMPLETED")
    end(store, begin(store, 4), "finished")
    slurm.set("100_5", state="CANCELLED")
    assert states(run) == {
        "100_0": "running", "100_1": "failed", "100_2": "lost", "100_3": "stuck", "100_4": "done",
        "100_5": "interrupted",
    }  # fmt: skip
    row = next(r for r in shown(run) if r["job"] == "100_0")
    assert (row["node"], row["step"], row["seconds_left"]) == ("n7", 2000, 300.0)
    text = run("status", "--runs").stdout
    assert " 1  " in text
    assert "2,000/5,000     10.0  5 min" in text
    failed = next(r for r in shown(run) if r["job"] == "100_1")
    assert failed["reason"].startswith("ImportError: no torch; see ")
    assert "ImportError" in text
    assert "1 failed: ImportError: no torch; `sweeps logs " in text


def test_while_slurm_is_silent_its_last_word_stands_and_is_marked(
    run: Any, store: ResultsFolder, slurm: FakeSlurm
) -> None:
    run("submit", "q")
    slurm.set("100_0", state="RUNNING")
    before = states(run)
    slurm.fault("squeue", "before", times=9)
    assert states(run) == before
    assert "Slurm does not answer; its last answer is" in run("status").stdout


def test_the_log_is_shown_from_its_end(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    run("submit", "q")
    ref = begin(store, 0)
    assert "has no log yet" in run("logs", str(ref), code=1).stderr
    path = log(store, 0, "".join(f"line {n}\n" for n in range(9000)))
    result = run("logs", str(ref), "-n", "2")
    assert result.stdout == "line 8998\nline 8999\n"
    assert str(path) in result.stderr
    assert run("logs", str(ref), "-n", "9000").stdout.startswith("line 0\n")


def test_a_followed_log_ends_with_its_run(
    run: Any, store: ResultsFolder, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("submit", "q")
    slurm.set("100_0", state="RUNNING")
    ref = begin(store, 0)
    path = log(store, 0, "first\n")
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        with path.open("a") as file:
            file.write("second\n")
        end(store, ref, "finished")

    monkeypatch.setattr("jobs.submit.watch.time.sleep", pause)
    assert run("logs", str(ref), "-f").stdout == "first\nsecond\n"
    assert len(pauses) == 1


# --- cancel ---------------------------------------------------------------------------------------------------


def test_cancel_takes_what_is_asked_for_and_nothing_else(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    run("submit", "q")
    assert "3 runs would be cancelled" in run("cancel", "q", "--where", "num_q=2", "--dry-run").stdout
    assert slurm.calls("scancel") == []
    assert "3 runs cancelled" in run("cancel", "q", "--where", "num_q=2").stdout
    assert [call[2:] for call in slurm.calls("scancel")] == [["100_[1,3,5]"]]
    assert "1 runs cancelled" in run("cancel", "q", "--where", "num_q=1", "--where", "seed=3").stdout
    assert "1 runs cancelled" in run("cancel", "q", "--indices", "1,4-6").stdout  # of which three are cancelled already
    assert sorted(states(run).values()) == ["interrupted"] * 5 + ["pending"]
    run("cancel", "q")
    assert [t["state"] for t in slurm.tasks()] == ["CANCELLED"] * 6


def test_cancel_of_what_diverged_takes_the_other_seeds_of_its_configuration(
    run: Any, store: ResultsFolder, slurm: FakeSlurm
) -> None:
    run("submit", "q")
    slurm.set("100_1", state="FAILED")
    end(store, begin(store, 1), "diverged")
    assert "2 runs cancelled" in run("cancel", "q", "--diverged").stdout
    assert [call[2:] for call in slurm.calls("scancel")] == [["100_[3,5]"]]


def test_a_recycled_id_is_not_cancelled(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    """Neither another user's job, nor one of another name, nor one of another cluster."""
    run("submit", "q")
    slurm.set("100_0", user="other")
    slurm.set("100_1", name="other")
    run("cancel", "q")
    ((name, user, jobs),) = slurm.calls("scancel")
    (submission,) = store.submissions.all()
    assert (name, user, jobs) == (f"--name={submission.job_name}", f"--user={process.user()}", "100_[2-5]")
    slurm.configure(ClusterName="elsewhere")
    slurm.set("100", state="PENDING")
    assert "it is on cluster fake, and this is elsewhere" in run("cancel", "q").stdout
    assert len(slurm.calls("scancel")) == 1


def test_a_task_goes_on_while_it_trains_a_run_that_is_not_cancelled(
    run: Any, store: ResultsFolder, slurm: FakeSlurm
) -> None:
    run("submit", "q", "--seeds-per-job", "3")
    result = run("cancel", "q", "--where", "seed=1").stdout
    assert "0 runs cancelled" in result
    assert result.count("it trains in one process with") == 2
    assert "3 runs cancelled" in run("cancel", "q", "--where", "num_q=1").stdout
    assert [call[2:] for call in slurm.calls("scancel")] == [["100_[0]"]]


def test_on_this_machine_the_scheduler_drops_what_is_cancelled(
    store: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        local_scheduler, "command", lambda *_: [process.sys.executable, "-c", "import time; time.sleep(600)"]
    )
    name = store.submissions.create("s")
    runs = [TaskRuns("0" * 10, [seed]) for seed in range(3)]
    made = Submission(name, "s", "local", process.host(), "u", 1.0, runs, 0, 1, "n", {"slots": 1})
    scheduler = Scheduler(store, made, local.Slots(1, 1))
    scheduler.waiting.extend(range(3))
    scheduler.start_ready()
    store.submissions.mark_cancelled(name, 0)
    store.submissions.mark_cancelled(name, 2)
    scheduler.drop_cancelled()
    assert list(scheduler.waiting) == [1]
    scheduler.running[0][0].wait()
    scheduler.reap()
    found = local.LocalBackend().task_states(store, [made], 0.0, 0.0)
    assert [found[name, task].cause for task in range(3)] == ["cancelled", "", "cancelled"]


# --- rerun ----------------------------------------------------------------------------------------------------


def test_each_cause_goes_again_with_what_it_lacked(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    run("submit", "q")
    ends = ("OUT_OF_MEMORY", "TIMEOUT", "TIMEOUT", "NODE_FAIL", "FAILED", "CANCELLED")
    for task, state in enumerate(ends):
        slurm.set(f"100_{task}", state=state, node="n3")
        ref = begin(store, task)
        if task == 2:
            end(store, ref, "interrupted", "asked to stop; state saved")
    for cause in ("oom", "timeout", "node-fail"):
        run("rerun", "q", f"--{cause}")
    assert set(tasks_of_new_jobs(slurm).values()) == {1}
    mended = ("mem=6144M", "time=2880", "exclude=n3")
    assert sorted([m for m in mended if m in text] for text in scripts(slurm)) == [
        [],
        ["exclude=n3"],
        ["mem=6144M"],
        ["time=2880"],
    ]
    assert sorted(states(run).values()) == ["failed", "interrupted", *["pending"] * 4]


def test_a_gpu_without_memory_gets_fewer_seeds_and_the_command_line_wins(
    run: Any, store: ResultsFolder, slurm: FakeSlurm
) -> None:
    run("submit", "q", "--seeds", "4", "--seeds-per-job", "4")
    slurm.set("100_0", state="FAILED")
    slurm.set("100_1", state="OUT_OF_MEMORY")
    end(store, begin(store, 0), "failed", "torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB")
    assert (
        "2 seeds per job" in run("rerun", "q", "--oom", "--where", "num_q=1", "--where", "seed=1", "--dry-run").stdout
    )
    begin(store, 1)
    result = run("rerun", "q", "--oom", "--where", "num_q=2", "--option", "mem_gb=50")
    assert "#SBATCH --mem=51200M" in scripts(slurm)[0]
    assert "4 runs are submitted again with mem_gb=6 instead of 4" in result.stdout


def test_a_rerun_has_all_that_its_submit_was_given(
    run: Any, slurm: FakeSlurm, store: ResultsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "p.yaml").write_text("cpus: 3\nmem_gb: 7\n")
    monkeypatch.chdir(tmp_path / "mine")
    given = "--profile p.yaml --option time=5 --max-parallel 2 --seeds-per-job 2 --snapshots 0 --deterministic"
    run("submit", "q", *given.split())
    slurm.set("100", state="FAILED")
    monkeypatch.chdir(tmp_path)  # a relative path means what it meant
    run("rerun", "q", "--failed", "--indices", "1-2")
    run("rerun", "q", "--failed", "--indices", "4", "--no-deterministic", "--option", "time=6")
    first, again, changed = store.submissions.all()
    assert first.options == again.options
    assert (again.tasks[0].seeds, again.threads) == ([1, 2], 3)
    assert [s.options["deterministic"] for s in (first, again, changed)] == [True, True, False]
    assert changed.options["option"] == ["time=5", "time=6"]
    (script,) = (text for text in scripts(slurm) if "time=6" in text)
    assert "--mem=7168M" in script


def test_rerun_by_number_and_value_takes_any_that_ended(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    run("submit", "q")
    slurm.set("100", state="FAILED")
    run("rerun", "q", "--indices", "1,5-6")  # of q=1 seed 1, of q=2 seeds 2 and 3
    assert tasks_of_new_jobs(slurm) == {"101": 3}
    run("rerun", "q", "--where", "num_q=2")
    assert tasks_of_new_jobs(slurm) == {"101": 3, "102": 1}
    assert "0 to submit" in run("rerun", "q", "--where", "num_q=2").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "select what to run again: --failed"),
        (("--indices", "0"), "give numbers from 1"),
        (("--indices", "4-2"), "give numbers from 1"),
        (("--indices", "7"), "there is no run 7 in q"),
        (("--where", "num_q"), "give key=value"),
        (("--where", "num_z=1"), "num_q"),
        (("--where", "num_q=5"), "no run of q matches"),
        (("--where", "seed=x"), "a seed is a whole number"),
    ],
)
def test_what_cannot_be_picked_is_an_error(run: Any, words: tuple[str, ...], message: str) -> None:
    run("submit", "q")
    assert message in run("rerun", "q", *words, code=1).stderr


def test_lost_tasks_are_missing_work(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    """The controller lost the array before it began: the next submit trains it."""
    run("submit", "q")
    slurm.forget("100")
    slurm.accounting(False)
    assert set(states(run).values()) == {"lost"}
    assert "6 to submit" in run("submit", "q").stdout


# --- usage ----------------------------------------------------------------------------------------------------


def used(run: Any) -> list[str]:
    (row,) = [line.split() for line in run("usage").stdout.splitlines() if line.startswith("20")]
    return [str(word) for word in row[1:]]


def test_what_was_used_comes_from_slurms_books(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    """Half an hour with a core busy for 24 minutes, and with all of it."""
    run("submit", "q", "--option", "cpus=4", "--option", "mem_gb=16", "--option", "time=12:00:00")
    for task, cpu, most in ((0, "00:24:00", "1048576K"), (1, "00:30:00", "2.5G")):
        slurm.set(f"100_{task}", state="COMPLETED", elapsed_raw=1800, total_cpu=cpu, max_rss=most)
    assert used(run) == [
        "2", "4", "0.9", "16", "2.5", "12", "h", "00", "30", "min",
        "--option", "cpus=1", "--option", "mem_gb=4", "--option", "time=45",
    ]  # fmt: skip


def test_without_accounting_what_was_used_comes_from_the_runs(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    slurm.accounting(False)
    run("submit", "q", "--seeds-per-job", "3")
    ref = begin(store, 0)
    now = time.time()
    store.attempts.write_outcome(
        ref, 1, AttemptOutcome("finished", 5000, "", now + 3600, usage={"cpu_s": 1800.0, "memory_gb": 2.0})
    )
    assert used(run)[:6] == ["1", "1", "0.5", "4", "2.0", "24"]
    assert used(run)[-4:] == ["--option", "mem_gb=3", "--option", "time=91"]


def test_a_gpus_memory_stands_beside_slurms_books(run: Any, store: ResultsFolder, slurm: FakeSlurm) -> None:
    """Slurm does not know it; the run does."""
    run("submit", "q", "--profile", "gpu")
    ref = begin(store, 0)
    used_up = {"cpu_s": 60.0, "memory_gb": 1.0, "gpu_gb": 3.25}
    store.attempts.write_outcome(ref, 1, AttemptOutcome("finished", 5000, "", time.time() + 60, usage=used_up))
    slurm.set("100_0", state="COMPLETED", elapsed_raw=1800, total_cpu="00:24:00", max_rss="1048576K")
    assert used(run)[:7] == ["1", "4", "0.8", "16", "1.0", "1", "3.2"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("03:04.500", 184.5), ("02:03:04", 7384), ("1-00:00:01", 86401), ("", 0), ("INVALID", 0)]
)
def test_sacct_writes_times_in_three_ways(text: str, seconds: float) -> None:
    assert formats.cpu_seconds(text) == seconds
