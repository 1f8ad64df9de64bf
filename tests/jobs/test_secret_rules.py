"""Secrets in the formats of 24 providers are found, and what code holds otherwise is not taken for one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from jobs.results import secret_rules


@pytest.fixture(scope="module")
def samples(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/secret_samples.py")


def test_made_up_secrets_of_every_provider_are_found(samples: ModuleType) -> None:
    draw = random.Random(7)
    missed = {
        provider
        for provider, sample in samples.SAMPLES.items()
        for place in samples.PLACES
        if not secret_rules.looks_secret(place.format(sample(draw)))
    }
    assert (missed, len(samples.SAMPLES)) == (set(), 24)


@pytest.mark.parametrize(
    "text",
    ["d41d8cd98f00b204e9800998ecf8427e", "a" * 64, "commit 0123456789abcdef0123456789abcdef01234567",
     "test_a_name_of_a_function_that_is_long_enough_for_the_rule_of_chance", "https://host:8080/path@x",
     "-----BEGIN CERTIFICATE-----", "x = sk + hf_ + r8_", "123e4567-e89b-12d3-a456-426614174000"],
)  # fmt: skip
def test_digests_names_and_addresses_are_no_secrets(text: str) -> None:
    assert not secret_rules.looks_secret(text)


def test_the_formats_alone_take_no_line_of_this_project_for_a_secret(samples: ModuleType, repository: Path) -> None:
    lines = samples.others(repository)
    assert len(lines) > 10_000
    assert [line for line in lines if secret_rules.provider(line)] == []
