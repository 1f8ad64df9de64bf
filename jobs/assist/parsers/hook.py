"""Asks a program for its argparse parser. The program's own interpreter runs this text by `python -c`: standard library
only, and nothing that Python 3.7 lacks.

Arguments: the mark that begins the answer, then the script, or `-m` and a module, and its arguments. The program is
started as usual. Where it would parse its arguments, the parser is written down and the process ends.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

# Classes of argparse -> what a flag does, the more special first.
_KINDS = (
    ("BooleanOptionalAction", "pair"),
    ("_StoreTrueAction", "true"),
    ("_StoreFalseAction", "false"),
    ("_ExtendAction", "extend"),
    ("_AppendConstAction", "const"),
    ("_AppendAction", "append"),
    ("_StoreConstAction", "const"),
    ("_CountAction", "count"),
    ("_HelpAction", "help"),
    ("_VersionAction", "help"),
)


def main() -> None:
    mark, *words = sys.argv[1:]
    seen: list[Any] = []
    parse = argparse.ArgumentParser.parse_known_args

    def ask(parser: Any, args: Any = None, namespace: Any = None) -> Any:
        is_all = sys._getframe(1).f_code.co_name == "parse_args"
        seen.extend(_described(parser, list(sys.argv[1:] if args is None else args)))
        if not is_all and not parser.add_help:  # a second parser reads what this one leaves
            return parse(parser, args, namespace)
        return _answer(mark, seen, is_all, "")

    argparse.ArgumentParser.parse_known_args = ask  # type: ignore
    error = ""
    try:
        _run(words)
    except BaseException as caught:  # noqa: BLE001
        text = (str(caught).strip() or "it ended").splitlines()[-1]
        error = type(caught).__name__ + ": " + text
    _answer(mark, seen, False, error)


def _run(words: list[str]) -> None:
    is_module = words[0] == "-m"
    sys.argv = words[1:] if is_module else words
    first = str(Path.cwd() if is_module else Path(words[0]).resolve().parent)
    if sys.path and sys.path[0] == "":
        sys.path[0] = first
    elif not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, first)
    if is_module:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


def _described(parser: Any, given: list[str]) -> list[Any]:
    """The arguments of a parser, and those of the command below it that the command line names."""
    found: list[Any] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = [word for word in given if word in action.choices]
            if chosen:
                found += _described(action.choices[chosen[0]], given)
                continue
        found.append(
            {
                "flags": list(action.option_strings),
                "dest": action.dest,
                "kind": _kind(action),
                "default": _default(parser, action),
                "type": getattr(action.type, "__name__", ""),
                "nargs": action.nargs if action.nargs is None else str(action.nargs),
                "choices": [_plain(choice) for choice in action.choices or ()],
                "required": bool(action.required),
            }
        )
    return found


def _kind(action: Any) -> str:
    for name, kind in _KINDS:
        known = getattr(argparse, name, None)
        if known is not None and isinstance(action, known):
            return kind
    return "const" if action.nargs == 0 else "store"


def _default(parser: Any, action: Any) -> Any:
    default = action.default
    if default == argparse.SUPPRESS:
        return None
    if isinstance(default, str) and action.type is not None:
        try:
            default = parser._get_value(action, default)
        except Exception:  # noqa: BLE001
            return None
    return _plain(default)


def _plain(value: Any) -> Any:
    """A value of JSON."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and callable(value.item):
        return _plain(value.item())
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _answer(mark: str, options: list[Any], is_all: bool, error: str) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    data = ("\n" + mark + json.dumps({"options": options, "is_all": is_all, "error": error}) + "\n").encode()
    while data:
        data = data[os.write(1, data) :]
    os._exit(0)


if __name__ == "__main__":
    main()
