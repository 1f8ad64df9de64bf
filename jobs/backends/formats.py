"""Times, sizes, counts and lists as Slurm writes and reads them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

_NUMBER = r"[0-9]{1,9}"
_TIMES = (
    re.compile(rf"(?P<minutes>{_NUMBER})(?::(?P<seconds>{_NUMBER}))?"),
    re.compile(rf"(?P<hours>{_NUMBER}):(?P<minutes>{_NUMBER}):(?P<seconds>{_NUMBER})"),
    re.compile(rf"(?P<days>{_NUMBER})-(?P<hours>{_NUMBER})(?::(?P<minutes>{_NUMBER})(?::(?P<seconds>{_NUMBER}))?)?"),
)
_UNLIMITED = ("UNLIMITED", "INFINITE", "-1")
_CPU = re.compile(r"(?:(?:(?P<days>\d+)-)?(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?)")
_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[KMGTPE]?)B?", re.I)
_UNITS = {"": 1, **{unit: 1024**power for power, unit in enumerate("KMGTPE", start=1)}}
_COUNT = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[KMG]?)\+?")
_GPUS = re.compile(r"(?:^|,)gpu(?::(?P<type>[A-Za-z][A-Za-z0-9_.-]*))?:(?P<count>[0-9]+)")
_ARRAY = re.compile(r"(?P<job>\d+)(?:_(?:(?P<index>\d+)|\[(?P<spans>[^\]%]+)(?:%\d+)?\]))?")
_SPAN = re.compile(r"(?P<low>\d+)(?:-(?P<high>\d+)(?::(?P<stride>\d+))?)?")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_MOST_NODES = 100_000  # of one list


def minutes(text: str) -> int | None:
    """The minutes of a time limit, rounded up; None for no limit. `60` are minutes, `30:00` minutes and seconds,
    `1-12` days and hours. Raises `ValueError`."""
    if text.upper() in _UNLIMITED:
        return None
    match = next(filter(None, (pattern.fullmatch(text) for pattern in _TIMES)), None)
    if match is None:
        raise ValueError(
            "give minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, "
            "days-hours:minutes:seconds or UNLIMITED"
        )
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    seconds = ((part.get("days", 0) * 24 + part.get("hours", 0)) * 60 + part["minutes"]) * 60 + part["seconds"]
    return -(-seconds // 60)


def cpu_seconds(text: str) -> float:
    """Parse `1-02:03:04`, `02:03:04` or `03:04.500` as sacct prints it; 0 for other text."""
    match = _CPU.fullmatch(text)
    if match is None:
        return 0.0
    part = {name: float(value or 0) for name, value in match.groupdict().items()}
    return ((part["days"] * 24 + part["hours"]) * 60 + part["minutes"]) * 60 + part["seconds"]


def gigabytes(text: str, unit: str = "") -> float:
    """Parse a size such as `512000K`, `1.5G` or `16GB`; 0 for other text. unit: of a number without one."""
    match = _SIZE.fullmatch(text.removesuffix("+"))
    if match is None:
        return 0.0
    return float(match["number"]) * _UNITS[match["unit"].upper() or unit] / 1024**3


def count(text: str) -> int | None:
    """Parse a number, `4+` (where nodes differ) or `1.5K`; None for other text, such as N/A and UNLIMITED."""
    match = _COUNT.fullmatch(text)
    return int(float(match["number"]) * _UNITS[match["unit"]]) if match else None


def gpus(gres: str) -> tuple[int, str]:
    """(number, type) of the GPUs in `gpu:a100:4(S:0-1),mps:400`; of the first type if there are several."""
    match = _GPUS.search(gres)
    return (int(match["count"]), match["type"] or "") if match else (0, "")


# --- lists --------------------------------------------------------------------------------------------------------


def task_ids(job: str) -> list[str]:
    """Expand squeue's job column (`7`, `7_3`, `7_[0-9:3,12%4]`) to `JOBID` or `JOBID_INDEX`; empty for other text."""
    match = _ARRAY.fullmatch(job)
    if match is None:
        return []
    if match["spans"] is None:
        return [job]
    tasks: list[str] = []
    for part in match["spans"].split(","):
        span = _SPAN.fullmatch(part)
        if span is not None:
            low = int(span["low"])
            indices = range(low, int(span["high"] or low) + 1, int(span["stride"] or 1))
            tasks += [f"{match['job']}_{index}" for index in indices]
    return tasks


def task_list(tasks: Iterable[str]) -> list[str]:
    """The reverse of `task_ids`: one `7_[0-3,5]` for the tasks of each array; other jobs are unchanged."""
    arrays: dict[str, list[int]] = {}
    for task in tasks:
        job, _, index = task.partition("_")
        arrays.setdefault(job, []).extend([int(index)] if index else [])
    return [f"{job}_[{_spans(indices)}]" if indices else job for job, indices in arrays.items()]


def _spans(indices: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for index in sorted(indices):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def node_names(text: str) -> list[str]:
    """The nodes of a list such as `n1,gpu-node[001-003,7],r[1-2]c[3-4]`. Raises `ValueError`."""
    names: list[str] = []
    for part in _outside_brackets(text):
        pieces = _BRACKETS.split(part)
        if any(character in piece for piece in pieces[::2] for character in "[] ") or not part:
            raise ValueError(f"{part!r} is not a list of nodes; give one such as n1 or n[01-04,7]")
        choices = [_numbers(piece) if position % 2 else [piece] for position, piece in enumerate(pieces)]
        names += ["".join(choice) for choice in itertools.islice(itertools.product(*choices), _MOST_NODES)]
    return list(dict.fromkeys(names))


def _outside_brackets(text: str) -> list[str]:
    """The parts of `text` between commas that are not in brackets."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text)]


def _numbers(text: str) -> list[str]:
    """`001-003,7` as 001, 002, 003 and 7. Raises `ValueError`."""
    numbers: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part)
        if match is None:
            raise ValueError(f"[{text}] is not a list of numbers; give one such as [01-04,7]")
        low, high = match[1], match[2] or match[1]
        numbers += [
            str(number).zfill(len(low)) for number in itertools.islice(range(int(low), int(high) + 1), _MOST_NODES)
        ]
    return numbers
