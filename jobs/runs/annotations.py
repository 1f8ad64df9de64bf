"""Notes and tags on sweeps and runs, and runs that are excluded from the analysis with a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from jobs import process
from jobs.results.attempts import RunRef
from jobs.results.decision_records import Annotations, Exclusion, Note
from jobs.results.lock import alone
from jobs.results.results_folder import ResultsFolder
from jobs.runs.select import names_run, run_named, runs_named
from jobs.runs.status import SweepStatus, load_statuses, selected
from sweepwise.core.errors import JobsError
from sweepwise.core.value_format import listed

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_LONGEST = 1000  # characters of a note or a reason
_MOST_NAMED = 4  # excluded runs with the same reason that `sweeps status` names

Target = str | RunRef


def targets(store: ResultsFolder, names: Iterable[str]) -> list[Target]:
    """The run of each `ID/seed-N`, the sweeps of each other name. Raises `JobsError` for what is not stored here."""
    chosen: list[Target] = []
    for name in names:
        if names_run(name) or "/" in name:
            ref = run_named(store, name)
            chosen += runs_named(store, [str(ref)])
        else:
            chosen += selected(store, [name])
    return list(dict.fromkeys(chosen))


def annotate(
    store: ResultsFolder, chosen: Iterable[Target], notes: Iterable[str] = (), tags: Sequence[str] = (),
    removed_tags: Sequence[str] = (), *, clear_notes: bool = False,
) -> None:  # fmt: skip
    """Add notes and tags, after what is removed. Raises `JobsError` for an illegal one and a tag that is not there,
    and changes nothing then."""
    texts = [_checked_text("--note", note) for note in notes]
    for tag in (*tags, *removed_tags):
        if not _TAG.fullmatch(tag):
            raise JobsError(f"tag {tag!r:.60}: 1 to 40 letters, digits, '_', '.' and '-' are legal")
    added = [Note(text, process.utc_now(), process.user()) for text in texts]
    with alone(store):
        before = {target: store.read_annotations(target) for target in chosen}
        for target, known in before.items():
            if missing := [tag for tag in removed_tags if tag not in known.tags]:
                raise JobsError(f"{target} has no tag {missing[0]!r}; its tags: {', '.join(known.tags) or 'none'}")
        for target, known in before.items():
            kept = [tag for tag in known.tags if tag not in removed_tags]
            changed = replace(
                known,
                notes=[*([] if clear_notes else known.notes), *added],
                tags=list(dict.fromkeys([*kept, *tags])),
            )
            if changed != known:
                store.write_annotations(target, changed)


def exclude(store: ResultsFolder, runs: Sequence[RunRef], reason: str) -> list[RunRef]:
    """Exclude runs from every analysis; returns those that were not excluded before. Raises `JobsError` without a
    reason."""
    reason = _checked_text("--why", reason)
    with alone(store):
        states = load_statuses(store, {run: store.run_length(run.config_id) for run in runs})
        before = {run: store.read_annotations(run) for run in runs}
        new = {run: known for run, known in before.items() if known.exclusion is None}
        for run, known in new.items():
            made = Exclusion(reason, states[run].state.state, process.utc_now(), process.user())
            store.write_annotations(run, replace(known, exclusions=[*known.exclusions, made]))
    return list(new)


def include(store: ResultsFolder, runs: Sequence[RunRef]) -> list[RunRef]:
    """Undo exclusions; returns the runs that were excluded. The records stay, with the date."""
    with alone(store):
        before = {run: store.read_annotations(run) for run in runs}
        excluded = {run: known for run, known in before.items() if known.exclusion is not None}
        for run, known in excluded.items():
            undone = [one if one.undone else replace(one, undone=process.utc_now()) for one in known.exclusions]
            store.write_annotations(run, replace(known, exclusions=undone))
    return list(excluded)


def _checked_text(option: str, text: str) -> str:
    """`text` on one line. Raises `JobsError` for an empty and for a long one."""
    line = " ".join(text.split())
    if not 0 < len(line) <= _LONGEST:
        raise JobsError(f"{option}: {len(line)} characters; 1 to {_LONGEST} are legal")
    return line


def lines(target: Target, annotations: Annotations) -> Iterator[str]:
    """What was noted on a sweep or a run, for the terminal."""
    if annotations.exclusion is not None:
        yield f"{target} is excluded: {annotations.exclusion.reason} ({_by(annotations.exclusion)})"
    if annotations.tags:
        yield f"{target} tags: {', '.join(annotations.tags)}"
    yield from (f"{target} note: {note.text} ({_by(note)})" for note in annotations.notes)


def _by(record: Note | Exclusion) -> str:
    return f"{record.user}, {record.date[:10]}"


def status_lines(store: ResultsFolder, sweep: SweepStatus, by_run: bool) -> Iterator[str]:
    """What was noted on a sweep, and its excluded runs by reason, for `sweeps status`. by_run: also what was noted on
    its runs."""
    yield from lines(sweep.view.name, store.read_annotations(sweep.view.name))
    excluded: dict[str, list[str]] = {}
    for run in sweep.runs:
        if run.annotations is not None and run.annotations.exclusion is not None:
            excluded.setdefault(run.annotations.exclusion.reason, []).append(str(run.record.ref))
    for reason, runs in excluded.items():
        yield f"{len(runs)} excluded: {reason}: {listed(runs, _MOST_NAMED)}"
    for run in sweep.runs if by_run else ():
        if run.annotations is not None:
            yield from lines(run.record.ref, replace(run.annotations, exclusions=[]))
