"""What Slurm says of tasks, word by word, on stand-in programs: listed, purged, without accounting, silent."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from fake_slurm import FakeSlurm

from jobs.backends.slurm import queue_state
from jobs.results.records import Chunk, Submission, TaskRuns
from jobs.results.results_folder import ResultsFolder
from jobs.runs import logs

NOW = 1_000_000.0


def submission(name: str, *chunks: Chunk, **changes: Any) -> Submission:
    runs = [TaskRuns("0" * 10, [1])] * sum(chunk.count for chunk in chunks)
    made = Submission(f"20260101-000000-000-{name}", name, "slurm", "h", "u", 1.0, runs, 0, 1, name, {}, list(chunks))
    return dataclasses.replace(made, **changes)


@pytest.fixture
def array(slurm: FakeSlurm) -> Submission:
    """Four tasks that wait."""
    return submission("a", Chunk("a", 0, 4, job_id=slurm.add("a", 4)))


def words(store: ResultsFolder, *made: Submission, now: float = NOW, max_age_s: float = 0.0) -> list[str]:
    found = queue_state.task_states(store, made, now, max_age_s)
    return [found[s.id, task].word for s in made for task in range(len(s.tasks)) if (s.id, task) in found]


@pytest.mark.parametrize(
    ("job", "indices"),
    [
        ("7", ["7"]), ("7_3", ["7_3"]), ("7_[4-6%2]", ["7_4", "7_5", "7_6"]), ("7_[5]", ["7_5"]), ("x", []),
        ("7_[0-9:3,12]", ["7_0", "7_3", "7_6", "7_9", "7_12"]), ("7_[1,8-9%4]", ["7_1", "7_8", "7_9"]),
        ("7_[0-60:30]", ["7_0", "7_30", "7_60"]),
    ],
)  # fmt: skip
def test_tasks_of_squeues_job_column(job: str, indices: list[str]) -> None:
    assert queue_state.expand(job) == indices


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
    slurm.answer("squeue", f"100_0|{state}|n1|u|a|None\n")
    said = queue_state.task_states(store, [array], NOW)[array.id, 0]
    assert (said.word, said.cause) == SAID[state]
    assert (said.node, said.job) == ("n1", "100_0")


def test_why_a_task_waits_is_told_in_words_and_what_never_starts_is_stuck(
    store: ResultsFolder, slurm: FakeSlurm, array: Submission
) -> None:
    reasons = ("Priority", "JobHeldUser", "launch failed requeued held", "QOSMaxJobsPerUserLimit")
    for index, reason in enumerate(reasons):
        slurm.set(f"100_{index}", reason=reason)
    found = queue_state.task_states(store, [array], NOW)
    assert [(found[array.id, i].word, found[array.id, i].reason) for i in range(4)] == [
        ("pending", "others go first"), ("pending", "held"),
        ("stuck", "its start failed and Slurm holds it; `scontrol release` lets it go"),
        ("pending", "QOSMaxJobsPerUserLimit"),
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
    slurm.answer("sacct", "100_0|TIMEOUT|n1\n100_1|RUNNING|n1\n100_[0-3%1]|CANCELLED by 0|None assigned\n")
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
