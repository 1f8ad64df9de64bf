"""One file, or the event files of a folder, as rows of curves: by the user's --map, and by the layout it has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aggregate.importers import layout_readers, layouts
from aggregate.importers.event_files import MARK, Scalar, scalars
from aggregate.importers.faults import CurveImportError
from aggregate.importers.import_options import (
    EVENTS_PATH,
    TABLE_PATH,
    USUAL,
    ImportOptions,
    checked_name,
    parse_number,
    parse_seed,
    parse_step,
)
from aggregate.importers.layouts import Layout
from aggregate.importers.repeated_steps import CurveKey, CurveRow
from aggregate.importers.tables import InputTable, open_table

Known = Collection[CurveKey]  # curves of earlier files


@dataclass
class RunFile:
    """A file and how it is read. path: of the file, or of the folder of event files. metrics: metric -> columns or
    tags. index: what of the key has a column. keys: the curves in it, once it was read."""

    path: Path
    layout: Layout | None
    metrics: dict[str, list[Column]]
    index: dict[str, str]
    names: dict[str, str]
    unit: str  # what a step counts, see `layouts`
    scale: tuple[int, int]  # see `layouts.steps_of`
    read: Callable[[ImportOptions, Known], Iterator[CurveRow]] | None = None
    keys: set[CurveKey] = field(default_factory=set)

    @property
    def counts(self) -> str:
        """What a step of the file counts, in words."""
        factor, divisor = self.scale
        how = f", {factor} steps to one" if factor > 1 else f", {divisor} to a step" if divisor > 1 else ""
        return f"{layouts.FRAMES if divisor > 1 else self.unit}{how}"

    @property
    def runs_follow(self) -> bool:
        return self.layout is not None and self.layout.runs_follow


@dataclass(frozen=True)
class Column:
    """A column or tag with values. seed: the number that the * of its pattern matched, None without *."""

    name: str
    seed: int | None = None


def metric_columns(file: RunFile) -> list[str]:
    """The columns or tags with values."""
    return list(dict.fromkeys(column.name for columns in file.metrics.values() for column in columns))


def rows_of(file: RunFile, options: ImportOptions, known: Known) -> Iterator[CurveRow]:
    """The rows of a file in its order; fills `keys`. Raises `CurveImportError`."""
    assert file.read is not None
    for row in file.read(options, known):
        file.keys.add(row.key)
        yield row


def _scale(layout: Layout | None, options: ImportOptions, path: Path) -> tuple[str, tuple[int, int]]:
    """(unit, scale). A step that the user maps is in the unit that the options say."""
    own = None if "step" in options.index else layout
    scale = layouts.steps_of(own, options.frames_per_step, options.steps_per_iteration, str(path))
    return own.unit if own else layouts.STEPS, scale


def _names(path: Path, layout: Layout | None, usual: str, options: ImportOptions) -> dict[str, str]:
    """What the path says of algorithm, task and seed: by the user's --path, else by the layout."""
    folder = path.parent if layout is not None and layout.in_folder and path.is_file() else path
    if options.path is not None or layout is None:
        return options.named(path, usual)
    by_layout = layout.names(folder)
    given = {"task": options.task, "algorithm": options.algorithm}
    return (
        (by_layout or (options.named(folder, layout.path) if layout.path else {}))
        | {key: value for key, value in given.items() if value is not None}
    )  # fmt: skip


# --- tables ---------------------------------------------------------------------------------------------


def table_file(paths: Sequence[Path], options: ImportOptions) -> RunFile:
    """The file of `paths`, or the monitors of one run together. Raises `CurveImportError` where it is not clear which
    column is what."""
    path = paths[0]
    recognised = layouts.open_known(path, options.faults, mapped=bool(options.metrics))
    layout, table = recognised or (None, open_table(path, options.faults))
    if len(paths) > 1:
        others = [known[1] for other in paths[1:] if (known := layouts.open_known(other, options.faults))]
        table = layout_readers.combine_monitors([table, *others])
    index = _index(table, layout, options) if layout is not None or options.metrics else {}
    metrics, names = _metrics(table, layout, options), _names(path, layout, TABLE_PATH, options)
    file = RunFile(path, layout, metrics, index, names, *_scale(layout, options, path))
    file.read = lambda own, known: _of_table(table, file, own, known)
    return file


def _metrics(table: InputTable, layout: Layout | None, options: ImportOptions) -> dict[str, list[Column]]:
    if options.metrics:
        return {metric: list(_columns(table, pattern)) for metric, pattern in options.metrics.items()}
    if layout is None:
        raise CurveImportError(
            f"{table.path}: not a layout that is recognised; say which column is what, as in --map "
            f"step=COLUMN,{options.short}=COLUMN; {_has(table)}"
        )
    column = next((name for name in layout.metrics if name in table.columns), None)
    if column is None:
        raise CurveImportError(
            f"{table.path}: {layout.name} without {' or '.join(layout.metrics)}; give --map {options.short}=COLUMN; "
            f"{_has(table)}"
        )
    return {options.primary: [Column(column)]}


def _index(table: InputTable, layout: Layout | None, options: ImportOptions) -> dict[str, str]:
    index = {key: name for key, name in USUAL.items() if name in table.columns}
    for key, names in (layout.index if layout else {}).items():
        if present := [name for name in names if name in table.columns]:
            index[key] = present[0]
    index |= options.index
    if "step" not in index:
        raise CurveImportError(f"{table.path}: which column is the step? --map step=COLUMN; {_has(table)}")
    for name in index.values():
        if name not in table.columns:
            raise CurveImportError(f"{table.path}: there is no column {name!r}; {_has(table)}")
    for key, value in (("task", options.task), ("algorithm", options.algorithm)):
        if value is not None and key not in options.index:
            index.pop(key, None)
    return index


def _of_table(table: InputTable, file: RunFile, options: ImportOptions, known: Known) -> Iterator[CurveRow]:
    values = [(metric, column) for metric, columns in file.metrics.items() for column in columns]
    numbered: dict[tuple[str, str], int] = {}  # seeds given to tables that name none
    keys = list(file.index)
    factor, divisor = file.scale
    for line, cells in table.rows([*file.index.values(), *(column.name for _, column in values)]):
        where = f"{table.path}, {table.unit} {line}"
        fields = dict(zip(keys, cells, strict=False))
        present = [(pair, value) for pair, cell in zip(values, cells[len(keys) :], strict=True)
                 if (value := parse_number(cell, f"{where}, column {pair[1].name!r}")) is not None]  # fmt: skip
        if not present:
            continue
        x = parse_step(fields["step"], f"{where}, column {file.index['step']!r}")
        time = parse_number(fields.get("time"), f"{where}, column {file.index.get('time')!r}")
        who = (_name("algorithm", fields, file.names, where), _name("task", fields, file.names, where))
        given = fields.get("seed", file.names.get("seed"))
        if given is not None:
            line_seed = parse_seed(given, where)
        elif all(column.seed is not None for (_, column), _ in present):
            line_seed = 0  # each column has its own
        else:
            line_seed = numbered.setdefault(who, _next_seed(known, who))
        by_seed: dict[int, dict[str, float]] = {}
        for (metric, column), value in present:
            _check_reference(file, column.name, value, where)
            by_seed.setdefault(line_seed if column.seed is None else column.seed, {})[metric] = value
        for seed, own in by_seed.items():
            yield CurveRow(CurveKey(*who, seed), x * factor // divisor, own, time, where)


def _check_reference(file: RunFile, column: str, value: float, where: str) -> None:
    """Raises `CurveImportError` where a share is none."""
    if file.layout is None or column not in file.layout.references:
        return
    low, high = file.layout.references[column]
    if not low <= value <= high:
        raise CurveImportError(
            f"{where}, column {column!r}: {value:g} is no share between {low:g} and {high:g}, as {file.layout.name} "
            "have them; correct the file"
        )


def _columns(table: InputTable, pattern: str) -> Iterator[Column]:
    """The column of a pattern, or those of its star; of several patterns with | between them the only one that fits."""
    patterns = [pattern] if pattern in table.columns else pattern.split("|")
    fitting = [columns for own in patterns if (columns := list(_matching(table, own.strip())))]
    if len(fitting) > 1:
        names = " and ".join(columns[0].name for columns in fitting)
        raise CurveImportError(f"{table.path}: {names} are both columns, --map {pattern!r} leaves open which; give one")
    if not fitting:
        problem = f"no column is like {pattern!r}" if "*" in pattern else f"there is no column {pattern!r}"
        raise CurveImportError(f"{table.path}: {problem}; {_has(table)}")
    yield from fitting[0]


def _matching(table: InputTable, pattern: str) -> Iterator[Column]:
    head, star, tail = pattern.partition("*")
    if pattern in table.columns or not star:
        if pattern in table.columns:
            yield Column(pattern)
        return
    for name in table.columns:
        if len(name) > len(head + tail) and name.startswith(head) and name.endswith(tail):
            middle = name[len(head) : len(name) - len(tail)]
            yield Column(name, parse_seed(middle, f"{table.path}, column {name!r}, the * of {pattern!r}"))


def _has(table: InputTable) -> str:
    shown = ", ".join(name[:40] for name in table.columns[:12])
    return f"it has {shown}{' ...' if len(table.columns) > 12 else ''}"


def _name(key: str, fields: Mapping[str, object], named: Mapping[str, str], where: str) -> str:
    if fields.get(key) is not None:
        return checked_name(str(fields[key]).strip(), f"{where}, column of the {key}")
    if key not in named:
        raise CurveImportError(f"{where}: whose {key}? --{key} NAME says it, or {{{key}}} in --path")
    return checked_name(named[key], f"{where}, the {key} by its path; --{key} NAME gives one")


def _next_seed(known: Known, who: tuple[str, str]) -> int:
    """The seed of a file that names none: files of one algorithm and task are numbered."""
    return 1 + sum(key[:2] == who for key in known)


# --- TensorBoard ----------------------------------------------------------------------------------------


def event_file(folder: Path, options: ImportOptions) -> RunFile:
    """One run: the event files of a folder."""
    if options.index:
        raise CurveImportError(f"{folder}: event files have no columns; leave {', '.join(options.index)} out of --map")
    logged = [
        (path, list(scalars(path))) for path in sorted(p for p in folder.iterdir() if MARK in p.name and p.is_file())
    ]
    tags = dict.fromkeys(scalar.tag for _, own in logged for scalar in own)
    layout = layouts.known_events(tags)
    metrics = {metric: [Column(_tag(folder, pattern, tags))] for metric, pattern in options.metrics.items()}
    if not metrics and layout is None:
        raise CurveImportError(
            f"{folder}: not a layout that is recognised; say which scalar it is, as in --map {options.short}=TAG; "
            f"{_tags(tags)}"
        )
    if not metrics and layout is not None:
        metrics = {options.primary: [Column(next(tag for tag in layout.metrics if tag in tags))]}
    file = RunFile(folder, layout, metrics, {}, _names(folder, layout, EVENTS_PATH, options),
                   *_scale(layout, options, folder))  # fmt: skip
    file.read = lambda own, known: _of_events(logged, file, own, known)
    return file


def _tag(folder: Path, pattern: str, tags: Collection[str]) -> str:
    fitting = [pattern] if pattern in tags else [tag for tag in pattern.split("|") if tag in tags]
    if len(fitting) != 1:
        wrong = f"{' and '.join(fitting)} are both scalars; give one" if fitting else f"no scalar is called {pattern!r}"
        raise CurveImportError(f"{folder}: {wrong}; {_tags(tags)}")
    return fitting[0]


def _tags(tags: Collection[str]) -> str:
    return f"it has {', '.join(list(tags)[:12]) or 'none'}"


def _of_events(
    logged: Sequence[tuple[Path, Sequence[Scalar]]], file: RunFile, options: ImportOptions, known: Known
) -> Iterator[CurveRow]:
    """Where steps go back, earlier values from that step on are dropped, as TensorBoard does: the process that wrote
    them was lost and resumed."""
    metric_of = {columns[0].name: metric for metric, columns in file.metrics.items()}
    kept: dict[str, list[CurveRow]] = {metric: [] for metric in file.metrics}
    counts: dict[str, int] = {}  # of the values at the newest step
    average = file.layout is not None and file.layout.average
    key: CurveKey | None = None
    factor, divisor = file.scale
    for path, own in logged:
        for scalar in own:
            metric = metric_of.get(scalar.tag)
            value = parse_number(scalar.value, str(path))
            if metric is None or value is None:
                continue
            key = key or _key_of(file, known)
            where = f"{path}, tag {scalar.tag!r}"
            step = parse_step(scalar.step, where) * factor // divisor
            rows = kept[metric]
            counts[metric] = counts.get(metric, 0) + 1 if rows and rows[-1].step == step else 1
            if average and counts[metric] > 1:
                before = rows[-1].values[metric]
                value = before + (value - before) / counts[metric]
            while rows and rows[-1].step >= step:
                rows.pop()
            rows.append(CurveRow(key, step, {metric: value}, scalar.time, where))
    for rows in kept.values():
        yield from rows


def _key_of(file: RunFile, known: Known) -> CurveKey:
    where = str(file.path)
    who = (_name("algorithm", {}, file.names, where), _name("task", {}, file.names, where))
    return CurveKey(*who, parse_seed(file.names["seed"], where) if "seed" in file.names else _next_seed(known, who))
