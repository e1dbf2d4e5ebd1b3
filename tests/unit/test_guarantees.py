"""Every test that a guarantee names is there: what is promised is held by something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
GUARANTEES = (TESTS.parent / "GUARANTEES.md").read_text()
NAMED = re.findall(r"`([^`\n]+)`", GUARANTEES)
FILES = sorted(
    {name for name in NAMED if re.fullmatch(r"(?:unit|chaos|parity|aws|cpus|accuracy|e2e)/[\w/]*(?:\.py)?", name)}
)
FUNCTIONS = sorted({name for name in NAMED if name.startswith("test_")})


@pytest.fixture(scope="module")
def functions() -> set[str]:
    return {name for path in TESTS.rglob("*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text())}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_named_is_there(name: str) -> None:
    assert (TESTS / name).exists()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_test_that_is_named_is_there(name: str, functions: set[str]) -> None:
    assert name in functions


def test_every_row_of_what_dies_names_its_test() -> None:
    _, _, table = GUARANTEES.partition("| what happens |")
    rows = [line for line in table.partition("\n\n")[0].splitlines() if line.startswith("| ")]
    assert len(rows) > 8
    assert [row for row in rows if ".py`" not in row] == []
