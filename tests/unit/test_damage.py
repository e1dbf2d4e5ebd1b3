"""Whatever happens to a file of an output, the next run says it, makes it again, and publishes what it should.

Each kind of file is flipped, truncated, emptied, deleted and replaced; which bit and where is chosen by a seed that a
failing test prints.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from tests.conftest import write_photos
from tests.damage import DAMAGE, KINDS, copied, file_of, parts_agree, run
from tests.parity.chain import bytes_of

SEED = random.randrange(10**6)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 photos, and one file in each class that is none."""
    source = write_photos(tmp_path_factory.mktemp("damage") / "photos", images=40, classes=4)
    for folder in source.iterdir():
        (folder / "text.jpg").write_text("no photo")
    return source


@pytest.fixture(scope="module")
def published(source: Path, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output as a run left it. Not to be changed."""
    output = tmp_path_factory.mktemp("damage") / "output"
    run(source, output, weights)
    return output


@pytest.fixture(scope="module")
def other(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another output: its files are whole, and are not those of `published`."""
    output = tmp_path_factory.mktemp("damage") / "other"
    run(source, output, "random", images=30)
    return output


@pytest.fixture
def output(published: Path, tmp_path: Path) -> Path:
    return copied(published, tmp_path / "output")


def assert_mended(
    output: Path, published: Path, source: Path, weights: str, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Run again, and return what was said: afterwards everything is as an undisturbed run left it."""
    with caplog.at_level(logging.WARNING, "fruits"):
        run(source, output, weights)
    assert bytes_of(output) == bytes_of(published)
    parts_agree(output)
    assert (output / "report.html").stat().st_size > 1000
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_mends_one_file_of_each_kind_at_once(
    output: Path,
    published: Path,
    other: Path,
    source: Path,
    weights: str,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    for kind in KINDS:
        DAMAGE[damage](file_of(output, kind), file_of(other, kind), chance)
    assert_mended(output, published, source, weights, caplog)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("report", "record")])
def test_a_run_says_what_was_damaged_and_makes_it_again(
    output: Path, published: Path, other: Path, source: Path, weights: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(f"{SEED} {kind}")
    path = file_of(output, kind)
    damage = chance.choice(sorted(DAMAGE.keys() - {"deleted"}))
    DAMAGE[damage](path, file_of(other, kind), chance)
    said = assert_mended(output, published, source, weights, caplog)
    assert any(str(path) in line for line in said), (damage, said)


def test_nothing_is_said_or_written_where_nothing_is_damaged(
    published: Path, source: Path, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in published.rglob("*")}
    with caplog.at_level(logging.WARNING, "fruits"):
        assert run(source, published, weights).unchanged
    assert {path: path.stat().st_mtime_ns for path in published.rglob("*") if path != published} == {
        path: time for path, time in before.items() if path != published
    }
    assert not caplog.records
