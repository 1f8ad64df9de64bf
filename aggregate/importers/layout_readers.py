"""Files of other tools that are no plain tables, as tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from aggregate.importers.faults import CurveImportError, Faults
from aggregate.importers.tables import (
    InputTable,
    Rows,
    read_csv,
    read_json_lines,
    records_table,
    text_of,
)

_LOWEST, _HIGHEST = "__MIN", "__MAX"
_OF_A_RUN = re.compile(r"(?P<run>.+?) - (?P<metric>.+)")
_NUMBER_AT_END = re.compile(r"(?P<name>.*?)[ _.=-]*(?:seed)?[ _.=-]*(?P<seed>[0-9]+)", re.IGNORECASE)
_CHART_STEPS = ("Step", "global_step", "trainer/global_step", "_step")


def read_whole_lines(path: Path, faults: Faults) -> InputTable:
    """CSV of a tool that ends every line."""
    return read_csv(path, faults, ends_lines=True)


def read_tabs(path: Path, faults: Faults) -> InputTable:
    """Columns between tabs."""
    return read_csv(path, faults, delimiter="\t", ends_lines=True)


def read_results(path: Path, faults: Faults) -> InputTable:
    """JSON lines in a file called .json."""
    return read_json_lines(path, faults)


def read_monitor(path: Path, faults: Faults) -> InputTable:
    """Episodes of stable-baselines3's Monitor: a comment with JSON, then r (return), l (length), t (seconds). The
    lengths make the steps. Columns step, r, time and env_id."""
    first = text_of(path).partition("\n")[0]
    try:
        head = json.loads(first.removeprefix("#")) if first.startswith("#") else None
    except ValueError:
        head = None
    if not isinstance(head, dict):
        raise CurveImportError(f"{path}, line 1: # and a JSON object are expected, as stable-baselines3 writes them")
    table = read_csv(path, faults, skip=1, ends_lines=True)
    if missing := {"r", "l", "t"} - set(table.columns):
        raise CurveImportError(f"{path}, line 2: there is no column {min(missing)!r}; r, l and t are expected")
    records, step = [], 0
    for line, (result, length, seconds) in table.rows(["r", "l", "t"]):
        step += _whole(length, f"{path}, line {line}, column 'l'")
        time = _start(head.get("t_start")) + float(seconds) if _is_number(seconds) else None
        records.append((line, {"step": step, "r": result, "time": time, "env_id": head.get("env_id")}))
    if records and head.get("env_id") is None:
        for _, record in records:
            del record["env_id"]
    return records_table(path, "line", records)


def _start(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _whole(text: object, where: str) -> int:
    """A length of an episode. Raises `CurveImportError`."""
    if not _is_number(text) or not 0 < float(str(text)) < 2**53 or not float(str(text)).is_integer():
        raise CurveImportError(
            f"{where}: {str(text)!r:.60} is no length of an episode: a whole number from 1 is expected"
        )
    return int(float(str(text)))


def unrolled(table: InputTable) -> InputTable:
    """Objects with arrays xs and ys as a row per point: x and y for them, other columns repeated."""
    others = [name for name in table.columns if name not in ("xs", "ys")]
    records: list[tuple[int, dict[str, object]]] = []
    for number, (xs, ys, *cells) in table.rows(["xs", "ys", *others]):
        where = f"{table.path}, {table.unit} {number}"
        if not isinstance(xs, list) or not isinstance(ys, list):
            raise CurveImportError(f"{where}: xs and ys are expected to be arrays")
        if len(xs) != len(ys):
            raise CurveImportError(f"{where}: {len(xs)} values in xs and {len(ys)} in ys; as many are expected")
        own = dict(zip(others, cells, strict=True))
        records += [(number, own | {"x": x, "y": y}) for x, y in zip(xs, ys, strict=True)]
    return records_table(table.path, table.unit, records)


def is_chart(columns: Sequence[str]) -> bool:
    """Whether these are the columns of a W&B chart: one of steps, and "RUN - METRIC" with its __MIN and __MAX."""
    return any(name.endswith(_LOWEST) and f"{name.removesuffix(_LOWEST)}{_HIGHEST}" in columns for name in columns)


def chart(table: InputTable, faults: Faults) -> InputTable:
    """A row per run and step: step, value, run (its name without a number at the end), seed (that number, if all have
    one). Columns of extremes are checked and left out."""
    step = next((name for name in _CHART_STEPS if name in table.columns), None)
    if step is None:
        raise CurveImportError(
            f"{table.path}: a chart over {table.columns[0]!r}; export it with Step on the x axis, which is one of "
            f"{', '.join(_CHART_STEPS)}"
        )
    names = [name for name in table.columns if _OF_A_RUN.fullmatch(name) and not name.endswith((_LOWEST, _HIGHEST))]
    metrics = sorted({_OF_A_RUN.fullmatch(name)["metric"] for name in names})  # type: ignore[index]
    if len(metrics) > 1:
        raise CurveImportError(f"{table.path}: a chart of {len(metrics)} metrics, {', '.join(metrics[:4])}; export one")
    whose = {name: _run_of(name) for name in names}
    numbered = all(seed is not None for _, seed in whose.values())
    columns = [step, *(part for name in names for part in (name, f"{name}{_LOWEST}", f"{name}{_HIGHEST}"))]
    columns = [name for name in columns if name in table.columns]
    records: list[tuple[int, dict[str, object]]] = []
    for line, cells in table.rows(columns):
        row = dict(zip(columns, cells, strict=True))
        for name in names:
            if str(row[name]).strip():
                _check_extremes(row, name, f"{table.path}, line {line}", faults)
                run, seed = whose[name]
                own = {"step": row[step], "value": row[name], "run": run if numbered else name.rpartition(" - ")[0]}
                records.append((line, own | ({"seed": seed} if numbered else {})))
    return records_table(table.path, table.unit, records)


def _run_of(column: str) -> tuple[str, str | None]:
    """(name, seed) of the run of a column; without a number at the end of its name no seed."""
    run = column.rpartition(" - ")[0]
    match = _NUMBER_AT_END.fullmatch(run)
    return (match["name"] or run, match["seed"]) if match else (run, None)


def _check_extremes(row: Mapping[str, object], name: str, where: str, faults: Faults) -> None:
    ends = [str(row[end]).strip() for end in (f"{name}{_LOWEST}", f"{name}{_HIGHEST}") if end in row]
    if len({*filter(None, ends), str(row[name]).strip()}) > 1 and not any("a mean" in note for note in faults.notes):
        run = name.rpartition(" - ")[0]
        what = f"{run!r} is a mean of several points or runs, between {' and '.join(ends)}; export runs, not groups"
        faults.meet("spread", where, what, f"{run!r} is a mean of several points or runs")


def parameters(path: Path, keys: Mapping[str, str]) -> dict[str, str]:
    """name -> value of a JSON file of settings beside a run; empty without one."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: str(values[key]) for name, key in keys.items() if isinstance(values.get(key), str | int)}


def combine_monitors(tables: Sequence[InputTable]) -> InputTable:
    """The episodes of several environments of one run, by time: their lengths add up."""
    names = ["step", "r", "time"]
    extra = ["env_id"] if all("env_id" in table.columns for table in tables) else []
    episodes = []
    for number, table in enumerate(tables):
        before = 0
        for line, (step, result, time, *env) in table.rows([*names, *extra]):
            episodes.append((time if time is not None else 0.0, number, line, step - before, result, env))
            before = step
    episodes.sort(key=lambda episode: episode[:3])
    records, step = [], 0
    for time, _, line, length, result, env in episodes:
        step += length
        records.append((line, {"step": step, "r": result, "time": time} | dict(zip(extra, env, strict=True))))
    return records_table(tables[0].path, "line", records)


__all__ = ["Rows", "chart", "combine_monitors", "is_chart", "parameters", "read_monitor", "read_results", "read_tabs",
           "read_whole_lines", "unrolled"]  # fmt: skip
