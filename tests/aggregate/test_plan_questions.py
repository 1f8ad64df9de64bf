"""What a plan may ask: terms over keys, and questions as they are stored."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from aggregate.analysis.run_scores import EVALUATION, SCORES
from aggregate.flags import BY_NAME
from aggregate.inputs.plan_questions import ENDPOINTS, Question, Term, question, term_of

KEYS: dict[str, Any] = {"rate": 0.3, "every": 2, "start": 1e-4, "end": 1e-4, "off": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rate", 0.3),
        ("rate / every", 0.15),
        ("rate*every", 0.6),
        ("start == end", "equal"),
        ("start == rate", "different"),
        ("off", None),
        ("rate / off", None),
    ],
)
def test_terms_by_hand(text: str, value: Any) -> None:
    assert Term(text).value(KEYS.get) == value


def test_products_that_differ_by_rounding_are_equal() -> None:
    assert 0.1 * 3 != 0.3
    assert Term("a * b").value({"a": 0.1, "b": 3}.get) == Term("a").value({"a": 0.3}.get)


@pytest.mark.parametrize("text", ["", "a +  b", "a / b / c", "/ a", "a == ", "__import__('os')"])
def test_nothing_else_is_a_term(text: str) -> None:
    with pytest.raises(ValueError, match="give a key, or two"):
        Term(text)


def test_a_question_survives_its_file() -> None:
    asked = Question("Which?", ("g",), None, ("fall", "final"), ((0.9, 0.95), (0.9, 0.97)), "No", "Yes", ("other",))
    assert question(json.loads(json.dumps(dataclasses.asdict(asked)))) == asked
    assert question("Which?") == Question("Which?")  # as views of earlier versions have them


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"by": ["a"]}, "is no question"),
        ({"text": "?", "new": 1}, "is no question"),
        (["?"], "is no question"),
        ({"text": "?", "on": ["speed"]}, "unknown endpoint 'speed'; legal: final, "),
        ({"text": "?", "by": ["a + b"]}, "give a key, or two"),
    ],
)
def test_what_is_no_question_is_refused(stored: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        question(stored)


def test_every_endpoint_is_measured() -> None:
    for endpoint in ENDPOINTS.values():
        assert endpoint.column in (BY_NAME if endpoint.rate else (*SCORES, EVALUATION))


@pytest.mark.parametrize("key", ["lr", "algo.lr", "algo/lr", "a*b", "x == y"])
def test_the_term_of_a_key_is_that_key(key: str) -> None:
    """Keys of Hydra programs hold slashes, which divide between terms."""
    assert Term(term_of(key)).keys == (key,)
