"""Asks a program for what it takes on its command line. The program's own interpreter runs this text by `python -c`:
standard library and the program's own library only, and nothing that Python 3.7 lacks.

Arguments: the mark that begins the answer and the style, then the script, or `-m` and a module, and its arguments. The
program is started as usual. Where it would read its arguments, they are written down and the process ends.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import importlib
import inspect
import json
import os
import runpy
import sys
import typing
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
_OF_JSONARGPARSE = ("ActionConfigFile", "_ActionPrintConfig", "_ActionHelpClassPath")
_TYPES = {"integer": "int", "float": "float", "boolean": "bool"}  # of click, by the first word of their names
_OWN = "value"  # type of what the library reads as a value of its own type
_LATER = object()  # no default


def main() -> None:
    mark, style, *words = sys.argv[1:]
    seen: list[Any] = []

    def answer(options: Any, is_all: bool = True) -> None:
        _answer(mark, options, is_all, "")

    error = ""
    try:
        if style == "argparse":
            _watch_argparse(seen, answer)
        else:
            _WATCHES[style](answer)
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


def _option(name: str, default: Any = None, **more: Any) -> dict[str, Any]:
    is_needed = default is _LATER
    option = {
        "flags": ["--" + name], "dest": name, "kind": "store", "default": None if is_needed else _plain(default),
        "type": _OWN, "nargs": None, "choices": [], "required": is_needed,
    }  # fmt: skip
    return {**option, **more}


# --- argparse ---------------------------------------------------------------------------------------------


def _watch_argparse(seen: list[Any], answer: Any) -> None:
    parse = argparse.ArgumentParser.parse_known_args

    def ask(parser: Any, args: Any = None, namespace: Any = None) -> Any:
        is_all = sys._getframe(1).f_code.co_name == "parse_args"
        seen.extend(_described(parser, list(sys.argv[1:] if args is None else args)))
        if not is_all and not parser.add_help:  # a second parser reads what this one leaves
            return parse(parser, args, namespace)
        return answer(seen, is_all)

    argparse.ArgumentParser.parse_known_args = ask  # type: ignore


def _watch_jsonargparse(answer: Any) -> None:
    library = importlib.import_module("jsonargparse")

    def ask(parser: Any, args: Any = None, *rest: Any, **named: Any) -> Any:
        options = _described(parser, list(sys.argv[1:] if args is None else args))
        names = [option["dest"] for option in options]
        for option in options:
            option["type"] = _OWN
        # a group, such as a dataclass, is an argument too
        return answer([o for o in options if not any(name.startswith(o["dest"] + ".") for name in names)])

    library.ArgumentParser.parse_args = ask


def _described(parser: Any, given: list[str]) -> list[Any]:
    """The arguments of a parser. Where the command line names a command below it, those of that: what stands behind
    the command is read by it alone."""
    options: list[Any] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = [word for word in given if word in action.choices]
            if chosen:
                return _described(action.choices[chosen[0]], given[given.index(chosen[0]) + 1 :])
        options.append(
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
    return options


def _kind(action: Any) -> str:
    if type(action).__name__ in _OF_JSONARGPARSE:
        return "help"
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


# --- click and Typer --------------------------------------------------------------------------------------


def _watch_click(answer: Any) -> None:
    def ask(command: Any, args: Any = None, *rest: Any, **named: Any) -> Any:
        return answer(_of_command(command, list(sys.argv[1:] if args is None else args)))

    for module, names in (("click.core", ("BaseCommand", "Command")), ("typer.core", ("TyperCommand", "TyperGroup"))):
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        for name in names:
            if name in vars(library):
                getattr(library, name).main = ask


def _of_command(command: Any, given: list[str]) -> list[Any]:
    """The options of a command; of a group, those of the command below it that the command line names."""
    if hasattr(command, "list_commands"):
        context = command.context_class(command)
        names = command.list_commands(context)
        chosen = [word for word in given if word in names]
        if not chosen:
            raise ValueError("the command names none of " + ", ".join(names))
        return _of_command(command.get_command(context, chosen[0]), given[given.index(chosen[0]) + 1 :])
    return [_of_parameter(parameter) for parameter in command.params]


def _of_parameter(parameter: Any) -> dict[str, Any]:
    flags = [*parameter.opts, *parameter.secondary_opts] if parameter.param_type_name == "option" else []
    default = parameter.default
    if callable(default) or "UNSET" in str(default):  # click 8.3 says so where there is none
        default = None
    kind = "append" if getattr(parameter, "multiple", False) else "store"
    if getattr(parameter, "count", False):
        kind = "count"
    elif getattr(parameter, "is_flag", False):
        value = getattr(parameter, "flag_value", None)
        plain_flag = "true" if value in (True, None) or "UNSET" in str(value) else "const"
        kind = "pair" if parameter.secondary_opts else plain_flag
    if not parameter.expose_value:  # as --help and --version
        kind = "help"
    if kind == "append":
        default = list(default or ())
    elif kind in ("pair", "true"):
        default = bool(default)
    declared = getattr(parameter, "type", None)  # of newer versions of Typer: an annotation
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    named = str(getattr(declared, "name", "") or getattr(annotation, "__name__", _OWN)).split()[0]
    choices: Any = getattr(declared, "choices", ())
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        choices = annotation
    return _option(
        parameter.name or "", default, flags=flags, kind=kind, required=bool(parameter.required),
        type=_TYPES.get(named, named), nargs=None if parameter.nargs == 1 else str(parameter.nargs),
        choices=[_plain(choice) for choice in choices],
    )  # fmt: skip


# --- absl -------------------------------------------------------------------------------------------------


def _watch_absl(answer: Any) -> None:
    app, flags = importlib.import_module("absl.app"), importlib.import_module("absl.flags")

    def ask(*arguments: Any, **named: Any) -> Any:
        return answer(_of_flags(flags))

    app.run = ask  # type: ignore
    flags.FlagValues.__call__ = ask


def _of_flags(flags: Any) -> list[Any]:
    """Those that the program defines; libraries define some too."""
    options = []
    folder = str(Path(sys.argv[0]).resolve().parent)
    for module, own in flags.FLAGS.flags_by_module_dict().items():
        file = getattr(sys.modules.get(module), "__file__", None)
        if module in (sys.argv[0], "__main__") or (file and "site-packages" not in file and file.startswith(folder)):
            for flag in own:
                is_multiple = isinstance(flag, flags.MultiFlag)
                kind = "pair" if flag.boolean else "append" if is_multiple else "store"
                default = flag.default if flag.default is not None or not is_multiple else []
                choices = [_plain(choice) for choice in getattr(flag.parser, "enum_values", None) or ()]
                options.append(_option(flag.name, default, kind=kind, choices=choices))
    return options


# --- signatures and dataclasses ---------------------------------------------------------------------------


def _watch_fire(answer: Any) -> None:
    library = importlib.import_module("fire")

    def ask(component: Any = None, command: Any = None, *rest: Any, **named: Any) -> Any:
        given = command.split() if isinstance(command, str) else list(command or sys.argv[1:])
        component = sys._getframe(1).f_globals if component is None else component
        return answer(_of_component(component, given))

    library.Fire = ask  # type: ignore


def _of_component(component: Any, given: list[str]) -> list[Any]:
    """The parameters of what the command line calls: a function, a class and its method, or one of a dictionary."""
    options: list[Any] = []
    if inspect.isroutine(component):
        return _of_signature(component)
    if inspect.isclass(component):
        options = _of_signature(component)
    names = component if isinstance(component, dict) else {name: getattr(component, name) for name in dir(component)}
    chosen = [word for word in given if word in names and not word.startswith("_")]
    if chosen:
        rest = given[given.index(chosen[0]) + 1 :]
        return options + [o for o in _of_component(names[chosen[0]], rest) if o["dest"] != "self"]
    if not inspect.isclass(component):
        raise ValueError("the command names no function")
    return options


def _watch_tyro(answer: Any) -> None:
    library = importlib.import_module("tyro")

    def ask(target: Any, *rest: Any, **named: Any) -> Any:
        options = _of_fields(target, named.get("default"))
        for option in options:
            if isinstance(option["default"], bool):
                option["kind"] = "pair"
        return answer(options)

    library.cli = ask  # type: ignore


def _watch_dataclass_parser(name: str) -> Any:
    """pyrallis and draccus: `parse(config_class)`, which their `wrap` calls."""

    def watch(answer: Any) -> None:
        library = importlib.import_module(name)

        def ask(config_class: Any, *rest: Any, **named: Any) -> Any:
            return answer(_of_fields(config_class, None))

        for module in (library, importlib.import_module(name + ".argparsing")):
            module.parse = ask  # type: ignore

    return watch


def _of_fields(target: Any, given: Any, before: str = "") -> list[Any]:
    """The fields of a dataclass, nested by dots, or the parameters of a function. given: an instance with defaults."""
    if not dataclasses.is_dataclass(target):
        if inspect.isroutine(target):
            return _of_signature(target, before)
        raise ValueError(str(getattr(target, "__name__", target)) + " is neither a dataclass nor a function")
    hints = typing.get_type_hints(target)
    options: list[Any] = []
    for field in dataclasses.fields(target):
        if not field.init:
            continue
        default: Any = field.default
        factory: Any = field.default_factory
        if given is not None:
            default = getattr(given, field.name)
        elif default is dataclasses.MISSING:
            default = factory() if factory is not dataclasses.MISSING else _LATER
        options += _of_field(before + field.name, hints.get(field.name), default)
    return options


def _of_field(name: str, hint: Any, default: Any) -> list[Any]:
    if dataclasses.is_dataclass(default):
        return _of_fields(type(default), default, name + ".")
    if default is _LATER and dataclasses.is_dataclass(hint):
        return _of_fields(hint, None, name + ".")
    return [_option(name, default)]


def _of_signature(target: Any, before: str = "") -> list[Any]:
    options: list[Any] = []
    try:
        hints = typing.get_type_hints(target)
    except Exception:  # noqa: BLE001
        hints = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            continue
        default = _LATER if parameter.default is parameter.empty else parameter.default
        options += _of_field(before + name, hints.get(name), default)
    return options


_WATCHES = {
    "click": _watch_click,
    "absl": _watch_absl,
    "fire": _watch_fire,
    "tyro": _watch_tyro,
    "jsonargparse": _watch_jsonargparse,
    "pyrallis": _watch_dataclass_parser("pyrallis"),
    "draccus": _watch_dataclass_parser("draccus"),
}


# --- the answer -------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A value of JSON."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return value.name
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
