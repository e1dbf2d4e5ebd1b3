"""The command line, photos for it, and sessions of boto3."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest

from engines.core.networks.model import Model
from tests.command_line import GOOD, CommandLine
from tests.conftest import write_photos
from tests.e2e.prefect_kit import PrefectKit
from tests.published import publish_run


@pytest.fixture(scope="session")
def fruits(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """For calls that end before Prefect is needed: there is no server."""
    return CommandLine(PrefectKit(tmp_path_factory.mktemp("no-prefect"), port=9))


@pytest.fixture(scope="session")
def plain_fruits(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """For runs without Prefect: no server is configured."""
    return CommandLine(PrefectKit(tmp_path_factory.mktemp("no-prefect"), port=9), served=False)


@pytest.fixture(scope="session")
def served_fruits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """For runs as flow runs: one server for all, as starting one takes longer than all else."""
    kit = PrefectKit(tmp_path_factory.mktemp("prefect"))
    try:
        kit.start_server()
        yield CommandLine(kit)
    finally:
        kit.close()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photos of 6 classes, 3 files that are none, and 2 that no run takes."""
    source = write_photos(tmp_path_factory.mktemp("cli") / "photos", images=GOOD, classes=6)
    folder = next(source.iterdir())
    whole = next(folder.glob("*.jpg")).read_bytes()
    (folder / "empty.jpg").touch()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("not a photo")
    (folder / "._000.jpg").write_bytes(whole)
    (folder / "notes.txt").touch()
    return source


@pytest.fixture(scope="session")
def published(source: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run over `source` publishes; tests leave it as it is."""
    output = tmp_path_factory.mktemp("published") / "output"
    publish_run(source, output, model)
    return output


@pytest.fixture(scope="module")
def quick_sessions() -> Iterator[None]:
    """Each session of boto3 reads AWS's models anew, which would take most of the time of tests that need many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        yield
