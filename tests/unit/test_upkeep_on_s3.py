"""`fruits verify` and `fruits clean` of an output on S3, over HTTP."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from engines.core.errors import InputError
from engines.core.output import read_record
from engines.core.storage import open_storage
from engines.core.storage.lease import exclusive
from flows.cli import app
from tests.conftest import write_photos
from tests.damage import run
from tests.s3 import Aws

IMAGES = 24


@pytest.fixture(scope="module")
def output(aws: Aws, weights: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What two runs left in a bucket, the second one of photos besides."""
    output = f"s3://{aws.new_bucket()}/features"
    source = write_photos(tmp_path_factory.mktemp("upkeep") / "photos", images=IMAGES, classes=3)
    for each in (IMAGES - 8, None):
        run(source, output, weights, images=each)
    return output


def fruits(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def objects(output: str) -> dict[str, str]:
    """The version of every object, but for those that tell of running processes."""
    own = ("lease.json", ".write-check")
    return {item.key: item.version for item in open_storage(output).list() if item.key not in own}


def test_what_is_published_is_read_and_nothing_is_changed(output: str) -> None:
    before = objects(output)
    done = fruits("verify", output)
    assert done.exit_code == 0, done.output
    assert objects(output) == before


def test_a_sample_of_photos_is_computed_again(output: str) -> None:
    done = fruits("verify", output, "--deep")
    assert done.exit_code == 0, done.output
    assert f"{IMAGES} photos computed again" in done.output.replace("\n", " ")


def test_a_damaged_object_is_named(output: str) -> None:
    storage = open_storage(output)
    part = read_record(output).parts[0].key
    content = storage.read(part)
    storage.write(part, content[:40] + bytes([content[40] ^ 1]) + content[41:])
    try:
        done = fruits("verify", output)
    finally:
        storage.write(part, content)
    assert done.exit_code == 1
    assert f"{output}/{part} is corrupt" in done.output.replace("\n", "")


def test_clean_is_refused_while_a_run_writes(output: str) -> None:
    before = objects(output)
    with exclusive(output, "a run"):
        done = fruits("clean", output, "--yes")
    assert isinstance(done.exception, InputError)
    assert "a run" in done.exception.message
    assert objects(output) == before


def test_clean_removes_what_no_record_refers_to_and_readers_are_not_disturbed(output: str) -> None:
    before = objects(output)
    kept = fruits("clean", output, "--keep", "1", "--yes")
    assert kept.exit_code == 0, kept.output
    assert objects(output) == before, "one former result, which is kept"
    done = fruits("clean", output, "--yes")
    assert done.exit_code == 0, done.output
    after = objects(output)
    assert after.items() < before.items()
    assert len({key.split("/")[1] for key in before if key.startswith("results/")}) == 2
    assert {key for key in after if key.startswith("results/")} == {part.key for part in read_record(output).parts}
    assert fruits("verify", output).exit_code == 0
