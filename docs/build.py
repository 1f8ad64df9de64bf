"""Writes docs/reference from what the code declares: commands, configuration, metrics and flags.

    python docs/build.py

`tests/test_docs.py` fails while a page is stale. The rates of the flags are read from docs/flags.md, which
`python benchmarks/flags.py` writes.
"""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from aggregate.flags import detectors_of
from jobs.cli.group import cli
from sweepwise.core.atomic import write_bytes
from sweepwise.core.metrics import ROLES
from sweepwise.core.value_format import format_value
from tdmpc.config import PAPERS, TrainConfig, limits_text, type_text
from tdmpc.description import DESCRIPTION
from tdmpc.metrics import EVENTS, METRICS
from tdmpc.tasks import TASKS

DOCS = Path(__file__).resolve().parent
WIDTH = 120
NOTICE = "<!-- written by docs/build.py: change what it reads, not this page -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar in a cell does not end the cell."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def wrapped(text: str, indent: str = "") -> str:
    text = " ".join(text.split())
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", NOTICE, *parts]) + "\n"


# --- commands -------------------------------------------------------------------------------------------


def commands_of(group: click.Group, above: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Every command below `group`, by name, with the context that its help is made in."""
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=above)
        if isinstance(command, click.Group):
            yield from commands_of(command, context)
        else:
            yield command, context


def options(command: click.Command, context: click.Context) -> str:
    """One item an option, in the words of `--help`; arguments stand in the usage."""
    asked = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    records = filter(None, (option.get_help_record(context) for option in asked))
    return "\n".join(wrapped(f"- `{name}`: {text}", "  ") for name, text in records)


def command_section(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    help = "\n\n".join(wrapped(part) for part in (command.help or "").split("\n\n"))
    return "\n\n".join([f"## {context.command_path}", f"```\n{usage}\n```", help, options(command, context)])


def commands() -> str:
    top = click.Context(cli, info_name="sweeps", **cli.context_settings)
    return page(
        "Commands",
        "Every command has `--help`, which says the same.",
        "Before the command, as in `sweeps --results FOLDER status`:",
        options(cli, top),
        *(command_section(*found) for found in commands_of(cli, top)),
    )


# --- configuration --------------------------------------------------------------------------------------


def legal(field: dataclasses.Field[object]) -> str:
    """The legal values of a key, in words."""
    if field.name == "task":
        return "a task of the list below"
    if field.metadata["choices"]:
        return ", ".join(f"`{choice}`" for choice in field.metadata["choices"])
    kind = type_text(field.name)
    if kind == "switch":
        return "`true`, `false`"
    return ("each " if kind.startswith("list") else "") + limits_text(field.metadata)


def configuration() -> str:
    rows = [
        [
            f"`{f.name}`",
            type_text(f.name),
            f"`{format_value(f.default)}`",
            legal(f),
            f.metadata["help"],
            f.metadata["source"],
        ]
        for f in dataclasses.fields(TrainConfig)
    ]
    told = (
        "Every key of `base`, `grid`, `zip` and `fixed` in a plan, of `--set` and of a preset. Symbols are those of "
        "[algorithm.md](../algorithm.md), which says how the keys act together. Where a value does not fit another "
        "key's, the error names both. *From* says where the key comes from; the defaults are the packaged plan's base."
    )
    papers = "\n".join(wrapped(f"- **{name}**: {cited}", "  ") for name, cited in PAPERS.items())
    head = ("key", "type", "default", "legal values", "meaning", "from")
    tasks = wrapped(", ".join(f"`{task}`" for task in sorted(TASKS)))
    return page("Configuration", wrapped(told), papers, table(head, rows), "## Tasks", tasks)


# --- metrics --------------------------------------------------------------------------------------------


def metrics() -> str:
    parts = []
    for group in dict.fromkeys(m.group for m in METRICS.values()):
        rows = [
            [f"`{m.name}`", m.kind, m.unit + (", a list" if m.is_list else ""), m.better, m.help, formula(m.formula)]
            for m in METRICS.values()
            if m.group == group
        ]
        parts += [f"## {group.capitalize()}", table(("metric", "row", "unit", "better", "meaning", "formula"), rows)]
    told = (
        "What a run may log, by the part of the agent that it watches: the columns of its shards. *Row* is the kind of "
        "row that holds it. *Better* is the direction that is good, where there is one. Formulas use the symbols of "
        "[algorithm.md](../algorithm.md), CE is cross-entropy, sg carries no gradient; those of values are for "
        "`ac_source: imagine`."
    )
    events = "\n".join(f"- `{name}`: {meaning}" for name, meaning in EVENTS.items())
    return page("Metrics", wrapped(told), *parts, "## Roles", *roles(), "## Events", events)


def roles() -> list[str]:
    told = (
        "A role says what a metric stands for, whatever its name. Ranking, questions, flags and figures ask for "
        'roles, so that they work for [any agent](../howto.md#agent). A flag without its metric is "not assessed".'
    )
    held = {metric.role: f"`{metric.name}`" for metric in METRICS.values() if metric.role}
    rows = [[f"`{role}`", meaning, held.get(role, "")] for role, meaning in ROLES.items()]
    return [wrapped(told), table(("role", "meaning", "metric of the packaged agent"), rows)]


def formula(text: str) -> str:
    return f"`{text}`" if text else ""


# --- flags ----------------------------------------------------------------------------------------------


def measured() -> dict[str, list[str]]:
    """Title of a flag -> false alarms and the effects found from at 40, 200 and 1,000 rows, as in docs/flags.md."""
    text = (DOCS / "flags.md").read_text(encoding="utf-8")
    lines = text.partition("### What is found")[2].partition("###")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[3:7] for row in rows[1:]}


def flags() -> str:
    rates, parts = measured(), []
    head = ("flag", "metric", "measured", "raised above", "needs", "false alarms", "found from: 40, 200, 1,000 rows")
    detectors = detectors_of(DESCRIPTION)
    for group in dict.fromkeys(d.group for d in detectors):
        own = [d for d in detectors if d.group == group]
        rows = []
        for d in own:
            alarms, *found = rates.get(d.title, ["not measured"])
            above = f"{d.threshold:g} {d.unit}"
            cells = [f"**{d.title}**", f"`{d.metric}`", formula(d.formula), above, str(d.min_points), alarms]
            rows.append([*cells, ", ".join(found)])
        meanings = "\n".join(wrapped(f"- **{d.title}** (`{d.name}`): {d.help}", "  ") for d in own)
        parts += [f"## {group.capitalize()}", meanings, table(head, rows)]
    told = (
        "What `sweeps aggregate` looks for in every run. A flag is raised where what is *measured* exceeds the "
        "threshold and what the noise of that very curve produces; with fewer values than it *needs* a run is not "
        "assessable. Quarters are those of the run's values. The value scale is the level of the TD target in the "
        "last quarter plus its range, p95 - p5. False alarms and the effect from which 90 % of the runs are found (in "
        "brackets with missing rows, where that is larger) are measured: [flags.md](../flags.md) says how, and what "
        "the numbers do not show."
    )
    return page("Flags", wrapped(told), *parts)


def pages() -> dict[str, str]:
    """Path below docs/ -> text."""
    made = {"commands": commands, "configuration": configuration, "metrics": metrics, "flags": flags}
    return {f"reference/{name}.md": make() for name, make in made.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name, text in pages().items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        write_bytes(DOCS / name, text.encode())
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
