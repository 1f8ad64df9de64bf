"""What Slurm says of tasks, word by word, on stand-in programs: listed, purged, without accounting, silent."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from fake_slurm import FakeSlurm

from jobs import process
from jobs.backends.slurm import queue_state
from jobs.results.attempts import RunRef
from jobs.results.records import Chunk, CircuitBreaker, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.runs import logs
from jobs.runs.status import load_statuses
from sweepwise.core import shard_name
from tdmpc.description import SCHEMA

NOW = 1_000_000.0
BOOT = "2026-01-01T00:00:00"  # of the stand-in's controller


def submission(name: str, *chunks: Chunk, **changes: Any) -> Submission:
    runs = [TaskRuns("0" * 10, [1])] * sum(chunk.count for chunk in chunks)
    user = process.user()
    made = Submission(f"20260101-000000-000-{name}", name, "slurm", "h", user, 1.0, runs, 0, 1, name, {}, list(chunks))
    return dataclasses.replace(made, **{"handed_over": True, "controller": BOOT, **changes})


@pytest.fixture
def array(slurm: FakeSlurm) -> Submission:
    """Four tasks that wait."""
    return submission("a", Chunk("a", 0, 4, job_id=slurm.add("a", 4)))


def words(store: ResultsFolder, *made: Submission, now: float = NOW, max_age_s: float = 0.0) -> list[str]:
    found = queue_state.task_states(store, made, now, max_age_s)
    return [found[s.id, task].word for s in made for task in range(len(s.tasks)) if (s.id, task) in found]


SAID = {
    "PENDING": ("pending", ""), "CONFIGURING": ("pending", ""), "REQUEUED": ("pending", ""),
    "RUNNING": ("running", ""), "COMPLETING": ("running", ""), "SUSPENDED": ("running", ""), "STOPPED": ("running", ""),
    "RESIZING": ("running", ""), "SIGNALING": ("running", ""), "STAGE_OUT": ("running", ""),
    "REQUEUE_HOLD": ("stuck", ""), "SPECIAL_EXIT": ("stuck", ""), "COMPLETED": ("ended", ""),
    "FAILED": ("ended", "error"), "TIMEOUT": ("ended", "timeout"), "DEADLINE": ("ended", "timeout"),
    "OUT_OF_MEMORY": ("ended", "oom"), "NODE_FAIL": ("ended", "node-fail"), "BOOT_FAIL": ("ended", "node-fail"),
    "PREEMPTED": ("ended", "preempted"), "CANCELLED": ("ended", "cancelled"), "WHATEVER": ("unknown", ""),
    "REVOKED": ("ended", "cancelled"), "EXPEDITING": ("pending", ""), "POWER_UP_NODE": ("pending", ""),
    "LAUNCH_FAILED": ("pending", ""), "RECONFIG_FAIL": ("pending", ""), "RESV_DEL_HOLD": ("stuck", ""),
}  # fmt: skip


@pytest.mark.parametrize("state", SAID)
def test_every_state_of_slurm_has_a_word(store: ResultsFolder, slurm: FakeSlurm, array: Submission, state: str) -> None:
    slurm.answer("squeue", f"100_0|{state}|n1|{process.user()}|a|None\n")
    said = queue_state.task_states(store, [array], NOW)[array.id, 0]
    assert (said.word, said.cause) == SAID[state]
    assert (said.node, said.job) == ("n1", "100_0")


def test_why_a_task_waits_is_told_in_words_and_what_never_starts_is_stuck(
    store: ResultsFolder, slurm: FakeSlurm, array: Submission
) -> None:
    reasons = ("Priority", "JobHeldAdmin", "DependencyNeverSatisfied", "QOSMaxJobsPerUserLimit")
    for index, reason in enumerate(reasons):
        slurm.set(f"100_{index}", reason=reason)
    found = queue_state.task_states(store, [array], NOW)
    assert [(found[array.id, i].word, found[array.id, i].reason) for i in range(4)] == [
        ("pending", "jobs with higher priority go first"),
        ("stuck", "held by an administrator; `sweeps release a` lets it run if you are allowed to"),
        ("stuck", "the job that it waits for failed; `sweeps cancel a`, then submit"),
        ("pending", "a limit of its QOS is reached (QOSMaxJobsPerUserLimit); it starts when other jobs have ended"),
    ]  # fmt: skip


def test_all_submissions_are_asked_about_in_one_question(
    store: ResultsFolder, slurm: FakeSlurm, array: Submission
) -> None:
    chunks = [Chunk("b.1", 0, 2, job_id=slurm.add("b.1", 2)), Chunk("b.2", 2, 1, job_id=slurm.add("b.2"))]
    slurm.set("101_1", state="RUNNING")
    slurm.set("102", state="RUNNING")
    unrecorded, exported = submission("c", Chunk("c", 0, 1)), submission("d", Chunk("d", 0, 1), exported=True)
    found = words(store, array, submission("b", *chunks), unrecorded, exported)
    assert found == ["pending"] * 5 + ["running"] * 2 + ["pending"]  # nothing is known of what was exported
    assert len(slurm.calls("squeue")) == 1
    assert slurm.calls("sacct") == []
    assert queue_state.task_states(store, [], NOW) == {}
    assert len(slurm.calls("squeue")) == 1


def test_what_squeue_forgot_sacct_tells_once(store: ResultsFolder, slurm: FakeSlurm, array: Submission) -> None:
    slurm.forget("100")
    slurm.set("100_0", state="COMPLETED")
    slurm.set("100_1", state="CANCELLED by 1000")
    slurm.set("100_2", state="TIMEOUT", node="n2")
    found = queue_state.task_states(store, [array], NOW)
    assert [found[array.id, i].cause for i in range(3)] == ["", "cancelled", "timeout"]
    assert found[array.id, 1].reason == "cancelled by user 1000"
    assert found[array.id, 2].node == "n2"
    assert found[array.id, 3].word == "gone"  # sacct believes that it waits, squeue knows better
    slurm.set("100_3", state="FAILED")
    assert words(store, array) == ["ended"] * 4
    words(store, array)
    assert len(slurm.calls("sacct")) == 2  # none after the last had ended


def test_what_sacct_tells_of_one_task_counts_more_than_what_it_tells_of_several(
    store: ResultsFolder, slurm: FakeSlurm, array: Submission
) -> None:
    """Slurm 22.05 and 24.11 leave tasks that began in the row of those that wait, here 0."""
    slurm.forget("100")
    rows = ("100_0|TIMEOUT|n1", "100_1|RUNNING|n1", "100_[0-3%1]|CANCELLED by 0|None assigned")
    slurm.answer("sacct", "".join(f"{row}|2026|{process.user()}|a\n" for row in rows))
    found = queue_state.task_states(store, [array], NOW)
    assert [found[array.id, i].cause for i in range(4)] == ["timeout", "", "cancelled", "cancelled"]
    assert [found[array.id, i].node for i in range(4)] == ["n1", "", "", ""]
    assert found[array.id, 1].word == "gone"


def test_without_accounting_purged_tasks_are_gone_and_sacct_is_left_alone(
    store: ResultsFolder, slurm: FakeSlurm, array: Submission
) -> None:
    slurm.accounting(False)
    slurm.set("100_0", state="FAILED")
    assert words(store, array) == ["ended", "pending", "pending", "pending"]
    slurm.forget("100")
    assert words(store, array) == ["ended", "gone", "gone", "gone"]  # what was seen to end is remembered
    words(store, array, now=NOW + 1)
    assert len(slurm.calls("sacct")) == 1
    words(store, array, now=NOW + queue_state.NO_ACCOUNTING_S)
    assert len(slurm.calls("sacct")) == 2


def test_a_silent_controller_leaves_the_last_word_and_is_asked_less_and_less(
    store: ResultsFolder, slurm: FakeSlurm, array: Submission
) -> None:
    slurm.set("100_0", state="RUNNING")
    words(store, array)
    slurm.fault("squeue", "before", times=2)
    said = queue_state.task_states(store, [array], NOW + 10)[array.id, 0]
    assert (said.word, said.as_of) == ("running", NOW)
    new = submission("b", Chunk("b", 0, 1, job_id="101"))
    assert words(store, array, new, now=NOW + 11) == ["running", "pending", "pending", "pending", "unknown"]
    assert len(slurm.calls("squeue")) == 2  # not asked again within five seconds
    words(store, array, now=NOW + 15)
    words(store, array, now=NOW + 24)  # nor within ten after the second failure
    assert len(slurm.calls("squeue")) == 3
    said = queue_state.task_states(store, [array], NOW + 25)[array.id, 0]
    assert (said.word, said.as_of) == ("running", None)


def test_a_recent_answer_is_shared_by_those_who_watch(
    store: ResultsFolder, slurm: FakeSlurm, array: Submission
) -> None:
    words(store, array)
    words(store, array, now=NOW + 5, max_age_s=5)
    assert len(slurm.calls("squeue")) == 1
    words(store, array, submission("b", Chunk("b", 0, 1, job_id="9")), now=NOW + 5, max_age_s=5)
    words(store, array, now=NOW + 6)
    assert len(slurm.calls("squeue")) == 3  # a new submission is asked about, and so does who wants to know


def test_a_row_with_the_bare_id_is_of_the_tasks_that_were_cancelled_while_they_waited(
    store: ResultsFolder, slurm: FakeSlurm, array: Submission
) -> None:
    """As 22.05 lists an array of which one task runs, after `scancel` of the others."""
    me = process.user()
    slurm.accounting(False)
    slurm.answer("squeue", f"100|CANCELLED||{me}|a|JobArrayTaskLimit\n100_0|RUNNING|n1|{me}|a|None\n")
    found = queue_state.task_states(store, [array], NOW)
    assert [(found[array.id, i].word, found[array.id, i].cause) for i in range(4)] == [
        ("running", ""), *[("ended", "cancelled")] * 3
    ]  # fmt: skip


@pytest.mark.parametrize("other", [{"name": "theirs"}, {"user": "somebody"}])
def test_a_new_job_with_the_id_of_a_lost_one_is_not_taken_for_it(
    store: ResultsFolder, slurm: FakeSlurm, other: dict[str, str]
) -> None:
    """Ids recycle when a controller lost its last seconds; squeue, then sacct, list the new job alone."""
    lost = submission("a", Chunk("a", 0, 1, job_id=slurm.add("a")))
    new = submission("theirs", Chunk("theirs", 0, 1, job_id="100"))
    slurm.set("100", state="RUNNING", **{"name": "a", **other})
    assert words(store, lost, new) == ["gone", "running" if "name" in other else "gone"]
    slurm.set("100", state="COMPLETED", purged=True)
    assert words(store, lost, new) == ["gone", "ended" if "name" in other else "gone"]


# --- holds ----------------------------------------------------------------------------------------------------


def reasons(store: ResultsFolder, made: Submission) -> list[tuple[str, str]]:
    (read,) = store.submissions.all()
    found = queue_state.task_states(store, [read], NOW)
    return [(found[made.id, task].word, found[made.id, task].reason) for task in range(len(made.tasks))]


@pytest.fixture
def recorded(store: ResultsFolder, array: Submission) -> Submission:
    store.submissions.folder(array.id).mkdir(parents=True)
    store.submissions.write(array)
    return array


def hold(slurm: FakeSlurm, job: str, reason: str = "JobHeldUser", **values: Any) -> None:
    slurm.set(job, held=True, reason=reason, **values)


def test_what_a_restarted_controller_holds_is_released_by_looking(
    store: ResultsFolder, slurm: FakeSlurm, recorded: Submission
) -> None:
    hold(slurm, "100")
    slurm.configure(BOOT_TIME="2026-01-01T00:00:09")
    assert reasons(store, recorded) == [("pending", "Slurm had lost its release; released again")] * 4
    assert not any(task["held"] for task in slurm.tasks())
    assert reasons(store, recorded) == [("pending", "")] * 4
    hold(slurm, "100_1")  # after that, by the user
    assert reasons(store, recorded)[1][0] == "stuck"
    assert [task["held"] for task in slurm.tasks()] == [False, True, False, False]


def test_a_users_own_hold_is_shown_with_the_command_and_outlives_a_restart(
    store: ResultsFolder, slurm: FakeSlurm, recorded: Submission
) -> None:
    hold(slurm, "100_2")
    for boot in (BOOT, "2026-01-01T00:00:09"):
        slurm.configure(BOOT_TIME=boot)
        assert reasons(store, recorded)[2] == (
            "stuck", "held by `scontrol hold`, not by this program; `sweeps release a` lets it run"
        )  # fmt: skip
    assert [task["held"] for task in slurm.tasks()] == [False, False, True, False]


@pytest.mark.parametrize(("restarts", "word"), [(1, "pending"), (4, "stuck")])
def test_a_job_whose_start_failed_is_released_a_few_times(
    store: ResultsFolder, slurm: FakeSlurm, recorded: Submission, restarts: int, word: str
) -> None:
    hold(slurm, "100_3", "launch failed requeued held", restarts=restarts)
    state, reason = reasons(store, recorded)[3]
    assert state == word
    assert "`sweeps release a`" in reason or word == "pending"
    assert slurm.tasks("100_3")[0]["held"] is (word == "stuck")


@pytest.fixture
def trained(store: ResultsFolder, recorded: Submission) -> tuple[Submission, RunRef]:
    """Task 3 of the submission, and its run, which is done."""
    config = SCHEMA.resolve({})
    run = RunRef(config.config_id, 1)
    store.write_config(config)
    done = store.attempts.folder(run) / shard_name.FOLDER / str(shard_name.ShardName("a001", 0, config.steps))
    done.parent.mkdir(parents=True)
    done.touch()
    tasks = [*recorded.tasks[:3], TaskRuns(run.config_id, [run.seed])]
    made = dataclasses.replace(recorded, tasks=tasks)
    store.submissions.write(made)
    return made, run


@pytest.mark.parametrize(
    ("reason", "restarts"),
    [("launch failed requeued held", 1), ("launch failed requeued held", 9), ("JobHeldUser", 0)],
)
def test_a_held_job_whose_run_is_done_is_cancelled(
    store: ResultsFolder, slurm: FakeSlurm, trained: tuple[Submission, RunRef], reason: str, restarts: int
) -> None:
    """As a controller that was restored to an older state leaves it. The other tasks are released."""
    _, run = trained
    hold(slurm, "100", reason, restarts=restarts)
    slurm.configure(BOOT_TIME="2026-01-01T00:00:09")
    (status,) = load_statuses(store, {run: 1}, NOW).values()
    assert status.state.state == "done"
    assert [task["state"] for task in slurm.tasks()] == [*["PENDING"] * 3, "CANCELLED"]
    (call,) = slurm.calls("scancel")
    assert call == ["--name=a", f"--user={process.user()}", "100_[3]"]
    load_statuses(store, {run: 1}, NOW)
    assert len(slurm.calls("scancel")) == 1


def test_slurm_is_asked_about_done_runs_until_their_tasks_have_ended(
    store: ResultsFolder, slurm: FakeSlurm, trained: tuple[Submission, RunRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, run = trained

    def calls(now: float = NOW) -> int:
        load_statuses(store, {run: 1}, now)
        return len(slurm.calls("squeue"))

    slurm.set("100", state="RUNNING", node="n1")
    assert [calls(), calls()] == [1, 2]  # its task runs
    slurm.set("100", state="COMPLETED")
    assert [calls(), calls(), calls(NOW + 1e6)] == [3, 3, 3]
    store.submissions.write(dataclasses.replace(made, time=NOW - 300))
    assert calls() == 4  # so soon after a submit, an ended task may be started again
    store.submissions.write(dataclasses.replace(made, time=NOW - 300, user="somebody"))
    assert calls() == 4
    store.submissions.write(dataclasses.replace(made, time=NOW - 300))
    monkeypatch.setenv("PATH", "/nowhere")
    assert calls() == 4


@pytest.mark.parametrize("why", ["canary", "breaker", "user", "exported", "unfinished"])
def test_what_waits_for_a_release_stays_held_after_a_restart(
    store: ResultsFolder, slurm: FakeSlurm, recorded: Submission, why: str
) -> None:
    hold(slurm, "100")
    slurm.configure(BOOT_TIME="2026-01-01T00:00:09")
    changes: dict[str, Any] = {
        "canary": {"chunks": [dataclasses.replace(recorded.chunks[0], held=True)]}, "user": {"user": "somebody"},
        "exported": {"exported": True}, "unfinished": {"handed_over": False},
    }.get(why, {})  # fmt: skip
    store.submissions.write(dataclasses.replace(recorded, **changes))
    if why == "breaker":
        store.submissions.claim_breaker(recorded.id, CircuitBreaker(3, "all alike", 4, NOW))
    reasons(store, recorded)
    assert all(task["held"] for task in slurm.tasks())
    if why == "canary":
        store.submissions.mark_released(recorded.id, "0" * 10)
        reasons(store, recorded)
        assert not any(task["held"] for task in slurm.tasks())


LOG = """\
step 1
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    raise ValueError("bad")
ValueError: bad
srun: error: n1: task 0: Exited with exit code 1
"""


@pytest.mark.parametrize(
    ("text", "cause", "reason"),
    [
        (LOG, "error", "ValueError: bad"),
        (LOG.replace("ValueError: bad", "torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB"), "oom",
         "torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB"),
        (LOG + "error: No space left on device in /results: make room\nsrun: error: n1: task 0: Exited\n", "error",
         "No space left on device in /results: make room"),
        (LOG + "error: 0123456789/seed-1: exit code 1\n", "error", "ValueError: bad"),  # of a run beside it
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-01-01 DUE TO TIME LIMIT ***\n", "timeout",
         "its time limit was reached"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=5.0.\n", "oom", "out of memory"),
        ("*** JOB 5 CANCELLED AT x DUE TO PREEMPTION ***\nstep 2\n*** JOB 5 ON n1 CANCELLED AT x DUE TO NODE FAILURE\n",
         "node-fail", "its node failed"),
        ("srun: error: Node failure on n2\n", "node-fail", "its node failed"),  # all that 24.11 says at times
        ("[2026-11-30T03:10:50.021] error: *** JOB 1 ON n1 CANCELLED AT 2026-11-30T03:10:50 DUE TO TIME LIMIT ***\n",
         "timeout", "its time limit was reached"),  # 26.05 has no "slurmstepd:" before it
        ("[2026-11-30T03:09:29.261] error: *** STEP 2.0 ON n1 CANCELLED AT x DUE to SIGNAL Terminated ***\n", "",
         "its job failed"),
        ("step 1\n", "", "its job failed"),
    ],
)  # fmt: skip
def test_the_log_tells_why(store: ResultsFolder, text: str, cause: str, reason: str) -> None:
    made = submission("a", Chunk("a", 0, 1, job_id="5"))
    store.submissions.log_folder(made.id).mkdir(parents=True)
    path = store.submissions.log_folder(made.id) / "5_0_log.err"
    path.write_text(text)
    said = logs.explain(store, made, 0, queue_state.TaskState(made.id, "ended", "its job failed"))
    assert (said.cause, said.reason) == (cause, f"{reason}; see {path}")


def test_only_the_end_of_a_long_log_is_read_in_whole_lines(tmp_path: Any) -> None:
    path = tmp_path / "log"
    path.write_text("first line\n" + "x" * 50 + "\nlast\n")
    assert logs.tail(path, 20) == "last\n"
    assert logs.tail(path).startswith("first line")
    assert logs.tail(tmp_path / "none") == ""
