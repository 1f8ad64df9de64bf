"""Values on a command line: the literal elements of each style, what argparse and click read from them, and refusals.

`benchmarks/override_styles.py` checked the literal elements with the real libraries.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from jobs.programs.override_styles import STYLES, KeyRule, StyleError, config_text, overrides, quote_path
from sweepwise.core.errors import JobsError

TEXTS = (
    "word", "12", "1e-3", "yes", "null", "a=b,c", "it's", '"double"', "$HOME", "${x}", "back\\slash", "ünïcode",
    "-dash", "--dash", "a b", "", "#hash", "~tilde", "[1,2]", "{a: 1}", "@file", "two\nlines", "-",
)  # fmt: skip
FLOATS = (
    1e-4,
    1e-05,
    -1e-3,
    -1e-05,
    -2.5e22,
    -1e300,
    1e22,
    0.1 + 0.2,
    1.0,
    -0.0,
    5e-324,
    -5e-324,
    1.7976931348623157e308,
)
AWKWARD = "/tmp/run (a=1, b) 'y' é"


def argv(style: str, value: Any, rule: KeyRule | None = None, key: str = "k") -> list[str]:
    made = overrides(style, {key: value}, {key: rule} if rule else {})
    assert (made.environment, made.config) == ({}, {})
    return list(made.argv)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types; tuples and lists are the same."""
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and repr(one) == repr(other)


# ---- The literal elements, as the real libraries read them.

LITERAL: dict[str, dict[Any, list[str]]] = {
    "argparse": {
        1e-05: ["--k=1.0e-05"], -0.001: ["--k=-0.001"], -5: ["--k=-5"], "-dash": ["--k=-dash"], "a b": ["--k=a b"],
        (1, 2): ["--k", "1", "2"], (): ["--k"], (0.1, -1e-05): ["--k", "0.1", "-0.00001"], None: [],
    },
    "click": {
        (1, 2): ["--k=1", "--k=2"], (): [], None: [], "": ["--k="], "-dash": ["--k=-dash"], math.inf: ["--k=inf"],
    },
    "tyro": {None: ["--k=None"], (1, 2): ["--k", "1", "2"], (): ["--k"], "a=b,c": ["--k=a=b,c"]},
    "absl": {
        (1, 2): ["--k=1,2"], (): ["--k="], ("a", "b,c"): ['--k=a,"b,c"'], ("",): ['--k=""'], ('"',): ['--k=""""'],
        None: [], ("a\nb",): ['--k="a\nb"'],
    },
    "fire": {
        "word": ["--k=word"], "12": ["--k='12'"], "a#b": ["--k='a#b'"], "None": ["--k='None'"], "it's": ['--k="it\'s"'],
        None: ["--k=None"], (1, "a-b"): ["--k=[1,'a-b']"], "two\nlines": ["--k='two\\nlines'"],
    },
    "pyrallis": {
        "word": ["--k=word"], "12": ['--k="12"'], "yes": ['--k="yes"'], "ü": ['--k="ü"'], '"q"': ['--k="\\"q\\""'],
        None: ["--k=null"], (): ["--k=[]"], ((1, 2), (3,)): ["--k=[[1,2],[3]]"], 1e-05: ["--k=1.0e-05"],
        math.inf: ["--k=.inf"], "\x85": ['--k="\\u0085"'], ("b,c", 0.1): ['--k=["b,c",0.1]'],
    },
    "jsonargparse": {
        "12": ["--k=12"], "'q'": ["--k='q'"], None: ["--k=null"], ("a", "12"): ['--k=[a,"12"]'],
        ("null",): ['--k=["null"]'], -math.inf: ["--k=-.inf"],
    },
    "omegaconf": {
        "word": ["k=word"], "12:30": ['k="12:30"'], "${x}": ['k="\\\\${x}"'], "no": ['k="no"'], None: ["k=null"],
        (1, "a b"): ['k=[1,"a b"]'],
    },
    "hydra": {
        "small": ["k=small"], "7b": ["k='7b'"], "12": ["k='12'"], "null": ["k='null'"], "Inf": ["k='Inf'"],
        "": ["k=''"], "yes": ["k=yes"], "it's": ["k='it\\'s'"], "${x}": ["k='\\${x}'"], "\\${x}": ["k='\\\\\\${x}'"],
        "back\\slash": ["k='back\\slash'"], "end\\": ["k='end\\\\'"], "\\'": ["k='\\\\\\''"], "a=b,c": ["k='a=b,c'"],
        "~t": ["k='~t'"], "/tmp": ["k='/tmp'"], None: ["k=null"], (): ["k=[]"], ((1,), "b,c"): ["k=[[1],'b,c']"],
        math.nan: ["k=nan"], -1e-05: ["k=-0.00001"], 1.0: ["k=1.0"], "end\\\n": ["k='end\\\n'"],
    },
}  # fmt: skip
LITERAL["draccus"] = LITERAL["pyrallis"]
CASES = [(style, value, elements) for style, found in LITERAL.items() for value, elements in found.items()]


@pytest.mark.parametrize(("style", "value", "elements"), CASES, ids=lambda part: str(part)[:30])
def test_elements_of_a_style(style: str, value: Any, elements: list[str]) -> None:
    assert argv(style, value) == elements


@pytest.mark.parametrize(
    ("style", "true", "false"),
    [
        ("argparse", "--a.k", "--no-a.k"),
        ("click", "--a.k", "--no-a.k"),
        ("tyro", "--a.k", "--a.no-k"),
        ("absl", "--a.k=true", "--a.k=false"),
        ("fire", "--a.k=True", "--a.k=False"),
        ("pyrallis", "--a.k=true", "--a.k=false"),
        ("draccus", "--a.k=true", "--a.k=false"),
        ("jsonargparse", "--a.k=true", "--a.k=false"),
        ("omegaconf", "a.k=true", "a.k=false"),
        ("hydra", "a.k=true", "a.k=false"),
    ],
)
def test_switches(style: str, true: str, false: str) -> None:
    assert (argv(style, True, key="a.k"), argv(style, False, key="a.k")) == ([true], [false])


@pytest.mark.parametrize(
    ("style", "switch", "true", "false"),
    [
        ("argparse", "flag", ["--k"], []),
        ("argparse", "value", ["--k=True"], ["--k=False"]),
        ("click", "flag", ["--k"], []),
        ("absl", "pair", ["--k"], ["--nok"]),
        ("absl", "value", ["--k=true"], ["--k=false"]),
        ("fire", "pair", ["--k"], ["--nok"]),
        ("jsonargparse", "pair", ["--k"], ["--no_k"]),
        ("pyrallis", "flag", ["--k"], []),
    ],
)
def test_switches_by_a_rule(style: str, switch: str, true: list[str], false: list[str]) -> None:
    rule = KeyRule(switch=switch)
    assert (argv(style, True, rule), argv(style, False, rule)) == (true, false)


def test_mappings() -> None:
    value = {"x": 1, "b": (1, {"z": "a,"})}
    assert argv("hydra", value) == ["k={x: 1, b: [1,{z: 'a,'}]}"]
    assert argv("omegaconf", value) == ['k={x: 1, b: [1,{z: "a,"}]}']
    assert argv("omegaconf", {"${a": "${a}"}) == ['k={"${a": "\\\\${a}"}']
    assert argv("fire", value) == ["--k={x: 1, b: [1,{z: 'a,'}]}"]
    for style in ("pyrallis", "draccus", "jsonargparse"):
        (word,) = argv(style, value)
        assert same(yaml.safe_load(word.removeprefix("--k=")), value)
    assert argv("tyro", {"x": 1, "y": {"z": False}}) == ["--k.x=1", "--k.y.no-z"]


def test_order_and_names() -> None:
    values = {"b": 1, "a": "x", "none": None, "optimizer.lr": 1e-4}
    rules = {"b": KeyRule(name="other-name"), "none": KeyRule(omit_if_null=True), "not_sent": KeyRule(switch="flag")}
    assert overrides("hydra", values, rules).argv == ("other-name=1", "a=x", "optimizer.lr=0.0001")
    assert overrides("tyro", values, rules).argv == ("--other-name=1", "--a=x", "--optimizer.lr=0.0001")
    keys = {"+new": 1, "++set": 2, "~gone": None, "data@train": "small", "a.0": 1}
    assert overrides("hydra", keys).argv == ("+new=1", "++set=2", "~gone=null", "data@train=small", "a.0=1")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("value", FLOATS)
def test_numbers_are_exact(style: str, value: float) -> None:
    if style == "file":
        text = config_text(overrides("file", {"k": value}).config)
        assert same(json.loads(text), {"k": value})
        return
    (word,) = argv(style, value)
    text = word.partition("=")[2]
    assert same(float(text), value)
    assert isinstance(yaml.safe_load(text), float)
    assert value >= 0 or "e" not in text


# ---- What argparse and click read.


def parsed(value: Any, kind: Any, rule: KeyRule | None = None, **settings: Any) -> Any:
    parser = argparse.ArgumentParser()
    parser.add_argument("--k", **({"type": kind} if kind else {}), **settings)
    return parser.parse_args(argv("argparse", value, rule)).k


@pytest.mark.parametrize("value", [*TEXTS, *FLOATS, math.inf, -math.inf, math.nan, 0, -5, 10**20])
def test_argparse_reads_a_scalar(value: Any) -> None:
    assert same(parsed(value, type(value), default="default"), value)


@pytest.mark.parametrize(
    "value", [(1, 2), (-1, -2), (5,), (0.1, -1e-3), (1e-05, -1e-05, -1e300), ("a", "b,c"), ("", "x y"), ("12", "-1")]
)
def test_argparse_reads_a_list(value: tuple[Any, ...]) -> None:
    kind = type(value[0])
    assert same(parsed(value, kind, nargs="*", default=["default"]), value)
    assert same(parsed(value, kind, KeyRule(split="repeat"), action="append"), value)


def test_argparse_reads_lists_in_other_ways() -> None:
    assert parsed((), int, nargs="*", default=[7]) == []
    assert parsed(("-x", "--y"), str, KeyRule(split="repeat"), action="append") == ["-x", "--y"]
    assert parsed((1, -0.5), str, KeyRule(split="comma")) == "1,-0.5"
    assert parsed((), str, KeyRule(split="comma"), default="default") == ""
    assert argv("argparse", (), KeyRule(split="repeat")) == []
    assert argv("argparse", (True, False), KeyRule(switch="value")) == ["--k", "True", "False"]


@pytest.mark.parametrize("value", [True, False])
def test_argparse_reads_a_switch(value: bool) -> None:
    assert parsed(value, None, action=argparse.BooleanOptionalAction, default=not value) is value
    assert parsed(value, None, KeyRule(switch="flag"), action="store_true") is value
    assert parsed(value, lambda text: {"True": True, "False": False}[text], KeyRule(switch="value")) is value


def test_click_reads_them() -> None:
    click = pytest.importorskip("click")

    def read(value: Any, name: str = "--k", **settings: Any) -> Any:
        command = click.Command("main", params=[click.Option([name], **settings)], callback=lambda k: k)
        return command.main(argv("click", value), standalone_mode=False)

    for value in (*TEXTS, *FLOATS, 0, -5):
        assert same(read(value, type=type(value)), value)
    for values in ((1, 2), (0.1, -1e-3), ("a", "b,c", "-dash", ""), ()):
        assert same(read(values, type=type(values[0]) if values else str, multiple=True), values)
    assert [read(value, "--k/--no-k", default=not value) for value in (True, False)] == [True, False]


# ---- Environment variables, paths, files.


def test_environment_variables() -> None:
    values = {"lr": 1e-05, "on": True, "text": "a b", "list": (1, "x"), "joined": (1, -0.5, "x"), "none": None, "k": 1}
    rules = {key: KeyRule(env=key.upper(), omit_if_null=True) for key in values if key != "k"}
    rules["joined"] = KeyRule(env="JOINED", split="comma")
    made = overrides("argparse", values, rules)
    assert made.argv == ("--k=1",)
    assert made.environment == {"LR": "1.0e-05", "ON": "true", "TEXT": "a b", "LIST": '[1, "x"]', "JOINED": "1,-0.5,x"}
    assert float(made.environment["LR"]) == 1e-05


@pytest.mark.parametrize("style", STYLES)
def test_a_path_is_quoted_where_it_must_be(style: str) -> None:
    for plain in ("/tmp/run", "../run-1/a.b", "work"):
        assert quote_path(style, plain) == plain
    quoted = {
        "hydra": "'/tmp/run (a=1, b) \\'y\\' é'",
        "fire": repr(AWKWARD),
        **dict.fromkeys(("pyrallis", "draccus", "omegaconf"), f'"{AWKWARD}"'),
    }
    assert quote_path(style, AWKWARD) == quoted.get(style, AWKWARD)
    if style in ("hydra", "pyrallis", "draccus", "omegaconf"):
        assert quote_path(style, "null") in ("'null'", '"null"')


CONFIG = {
    "lr": 1e-05, "big": 1e22, "negative": -1e-05, "whole": 1.0, "int": 1, "on": True, "none": None,
    "list": ((1, 2), ("a",)), "a.b.c": 1, "a.b.d": "x", "a.e": {"dots.stay": {}}, "empty": (),
    **{f"text{i}": text for i, text in enumerate(TEXTS)},
    "odd": "\x7f\x85\u2028\ufeff😀\t\0",
}  # fmt: skip


@pytest.mark.parametrize("read", [json.loads, yaml.safe_load])
def test_a_file_is_read_the_same_as_json_and_as_yaml(read: Any) -> None:
    made = overrides("file", CONFIG, {"lr": KeyRule(name="learning.rate"), "int": KeyRule(env="INT")})
    assert (made.argv, dict(made.environment)) == ((), {"INT": "1"})
    wanted = {key: value for key, value in CONFIG.items() if "." not in key and key not in ("lr", "int")}
    wanted |= {"learning": {"rate": 1e-05}, "a": {"b": {"c": 1, "d": "x"}, "e": {"dots.stay": {}}}}
    assert same(read(config_text(made.config)), wanted)


def test_a_file_begins_with_a_line_for_each_key() -> None:
    assert config_text({"a.b": 1e-05, "c": (1, 2)}) == '{\n  "a": {\n    "b": 1.0e-05\n  },\n  "c": [1, 2]\n}\n'
    assert config_text({}) == "{}\n"


# ---- Refusals.


@pytest.mark.parametrize(
    ("style", "value", "rule", "told"),
    [
        ("argparse", {"x": 1}, {}, "use style file"),
        ("argparse", ((1,),), {}, "a list within a list"),
        ("argparse", ("-dash",), {}, "use `split: repeat`"),
        ("argparse", (-math.inf,), {}, "read as a flag"),
        ("argparse", (1, None), {}, "null cannot be written inside a list"),
        ("argparse", (True,), {}, "set `switch: value`"),
        ("argparse", "--", {}, "an empty list"),
        ("argparse", ("--",), {"split": "repeat"}, "an empty list"),
        ("argparse", ("a,b",), {"split": "comma"}, "use `repeat`"),
        ("argparse", ("",), {"split": "comma"}, "use `repeat`"),
        ("argparse", "a\0b", {}, "cannot contain NUL"),
        ("argparse", "\udcff", {}, "an invalid character"),
        ("argparse", b"x", {}, "a bytes is not a legal value"),
        ("click", {"x": 1}, {}, "use style file"),
        ("tyro", "None", {}, "reads this text as null"),
        ("tyro", ((1,),), {}, "a list within a list"),
        ("tyro", {}, {}, "an empty mapping"),
        ("tyro", {"a b": 1}, {}, "cannot be the name of a key"),
        ("absl", (" a",), {}, "strips the elements"),
        ("absl", {"x": 1}, {}, "use style file"),
        ("fire", math.inf, {}, "use a finite number"),
        ("pyrallis", True, {"switch": "pair"}, "remove `switch`"),
        ("draccus", "include x", {}, "opens a file"),
        ("jsonargparse", "null", {}, "reads this text as null"),
        ("jsonargparse", "--", {}, "an empty list"),
        ("hydra", {"a b": 1}, {}, "cannot read the key 'a b'"),
        ("hydra", {1: 1}, {}, "is not a text"),
        ("hydra", True, {"switch": "flag"}, "switch and split are for flags"),
        ("hydra", (1,), {"split": "comma"}, "switch and split are for flags"),
        ("omegaconf", "a\0", {"env": "K"}, "cannot contain NUL"),
        ("file", math.nan, {}, "use a finite number"),
        ("file", (1, math.inf), {}, "use a finite number"),
        ("hydra", None, {"env": "K"}, "set `omit_if_null`"),
    ],
)
def test_what_a_style_cannot_carry_is_refused(style: str, value: Any, rule: dict[str, Any], told: str) -> None:
    with pytest.raises(StyleError) as caught:
        overrides(style, {"key": value}, {"key": KeyRule(**rule)})
    text = str(caught.value)
    assert text.startswith("key=")
    assert told in text
    assert text.endswith(f"(style {style})")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("style", "key"),
    [
        ("argparse", "a b"),
        ("argparse", "a=b"),
        ("argparse", "--k"),
        ("argparse", ""),
        ("argparse", "+k"),
        ("hydra", "a b"),
        ("hydra", "ü"),
        ("hydra", "a=b"),
        ("omegaconf", "+k"),
        ("omegaconf", "a@b"),
        ("file", "~k"),
        ("click", "a\n"),
    ],
)
def test_keys_that_are_no_names(style: str, key: str) -> None:
    with pytest.raises(StyleError, match="cannot be the name of a key"):
        overrides(style, {key: 1})


def test_other_refusals() -> None:
    with pytest.raises(StyleError, match=r"overrides: 'argparser': did you mean argparse"):
        overrides("argparser", {})
    with pytest.raises(StyleError, match="overrides: 'x'"):
        quote_path("x", "a")
    with pytest.raises(StyleError, match="switch: 'flags': did you mean flag"):
        KeyRule(switch="flags")
    with pytest.raises(StyleError, match="split: 'word': did you mean words"):
        KeyRule(split="word")
    with pytest.raises(StyleError, match="env: 'a-b'"):
        KeyRule(env="a-b")
    with pytest.raises(StyleError, match="a is written as b too"):
        overrides("hydra", {"a": 1, "b": 2}, {"a": KeyRule(name="b")})
    with pytest.raises(StyleError, match="resolves"):
        quote_path("hydra", "/tmp/${x}")
    assert issubclass(StyleError, JobsError)


@pytest.mark.parametrize("keys", [("a", "a.b"), ("a.b", "a"), ("a.b", "a.b.c.d")])
def test_a_value_with_parts_is_refused(keys: tuple[str, ...]) -> None:
    config = dict.fromkeys(keys, 1)
    with pytest.raises(StyleError, match="remove one"):
        overrides("file", config)
    with pytest.raises(StyleError, match="remove one"):
        config_text(config)


def test_a_mapping_is_not_changed_by_a_part_of_it() -> None:
    values: dict[str, Any] = {"a": {"x": 1}, "a.b": 2}
    with pytest.raises(StyleError, match="remove one"):
        overrides("file", values)
    assert values == {"a": {"x": 1}, "a.b": 2}
