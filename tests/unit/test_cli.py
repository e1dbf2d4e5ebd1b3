"""What `fruits` refuses: a message, what to do, an exit code, and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from engines.core.index.catalog import write_catalog
from engines.core.index.selection import Selection
from tests.command_line import BAD, FRUITS, GOOD, CommandLine
from tests.parity.chain import bytes_of
from tests.s3 import Aws


class TestWhatCannotBeDone:
    """Said before a Prefect server or a cluster is started."""

    @pytest.mark.parametrize(
        ("options", "message", "hint"),
        [
            (["--engine", "ray"], "unknown engine 'ray'", "Choose one of: dask"),
            (["--runtime", "onnx"], "unknown runtime 'onnx'", "Choose one of: litert"),
            (["--components", "0"], "components cannot be 0", "from 1 to 1280"),
            (["--components", "1281"], "components cannot be 1281", "from 1 to 1280"),
            (["--components", "1.5"], "components cannot be 1.5", "a share such as 0.95"),
            (["--components", "abc"], "components cannot be 'abc'", "a share such as 0.95"),
            (["--components", "nan"], "components cannot be nan", "a share such as 0.95"),
            (["--weights", "/nowhere.h5"], "weights file /nowhere.h5 does not exist", "--weights FILE"),
            (["--weights", __file__], "is not an HDF5 file", "without head"),
            (["--shard-size", "0"], "shard-size cannot be 0", "whole number"),
            (["--max-rejects", "2"], "max-rejects cannot be 2", "0.01 for 1 %"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_by_its_options(
        self, fruits: CommandLine, source: Path, tmp_path: Path, options: list[str], message: str, hint: str
    ) -> None:
        fruits("run", source, tmp_path / "output", *options).assert_refused(message, hint)
        assert not (tmp_path / "output").exists()

    def test_a_missing_source(self, fruits: CommandLine, tmp_path: Path) -> None:
        fruits("run", tmp_path / "nowhere", tmp_path / "output").assert_refused("does not exist", "class folders")

    def test_an_output_inside_the_source(self, fruits: CommandLine, source: Path) -> None:
        fruits("run", source, source / "output").assert_refused("is inside the source", "outside of it")

    def test_an_output_that_cannot_be_written(self, fruits: CommandLine, source: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        fruits("run", source, tmp_path / "file" / "output").assert_refused("cannot be written", str(tmp_path))

    def test_a_missing_bucket(self, fruits: CommandLine, aws: Aws, tmp_path: Path) -> None:
        outcome = fruits("run", "s3://no-such-bucket/photos", tmp_path / "output")
        outcome.assert_refused("bucket of s3://no-such-bucket/photos does not exist", "name and region")

    def test_showing_what_is_not_there(self, fruits: CommandLine, tmp_path: Path) -> None:
        fruits("show", tmp_path).assert_refused("has no published results", "fruits run SOURCE OUTPUT")

    def test_showing_what_is_damaged(self, fruits: CommandLine, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text("{")
        fruits("show", tmp_path).assert_refused("run.json is truncated", "fruits run")

    def test_a_prefect_server_that_does_not_answer(self, fruits: CommandLine, source: Path, tmp_path: Path) -> None:
        outcome = fruits.run(source, tmp_path / "output", "random")
        outcome.assert_refused("the Prefect server at http://127.0.0.1:9/api does not answer", "PREFECT_API_URL")

    def test_a_prefect_server_s_address_without_api(self, source: Path, tmp_path: Path) -> None:
        environment = {**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": "http://127.0.0.1:9"}
        command = [FRUITS, "run", str(source), str(tmp_path / "output"), "--weights", "random"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        errors = " ".join(done.stderr.split())
        assert "PREFECT_API_URL lacks the /api at its end" in errors
        assert "Set PREFECT_API_URL=http://127.0.0.1:9/api" in errors
        assert done.returncode == 2

    def test_help_names_the_commands(self, fruits: CommandLine) -> None:
        outcome = fruits("--help")
        assert outcome.code == 0
        assert all(command in outcome.printed for command in ("run", "show", "sample"))


class TestWhatTheStagesRefuse:
    """The same exit code and the same words, though a flow and a task lie in between."""

    def test_an_empty_source(self, served_fruits: CommandLine, tmp_path: Path) -> None:
        (tmp_path / "source" / "empty class").mkdir(parents=True)
        outcome = served_fruits.run(tmp_path / "source", tmp_path / "output", "random")
        outcome.assert_refused("has no files", "Name the folder with the class folders")

    def test_a_glob_that_matches_nothing(self, served_fruits: CommandLine, source: Path, tmp_path: Path) -> None:
        outcome = served_fruits.run(source, tmp_path / "output", "random", "--glob", "*.Jpg")
        outcome.assert_refused("matches *.Jpg (63 would in another case)", "Choose another --glob")

    def test_fewer_images_than_components_and_one(
        self, served_fruits: CommandLine, source: Path, tmp_path: Path
    ) -> None:
        outcome = served_fruits.run(source, tmp_path / "output", "random", "--components", str(GOOD + BAD))
        outcome.assert_refused("63 images are too few for 63 components", "--components 62")

    def test_an_output_of_another_source(self, served_fruits: CommandLine, source: Path, tmp_path: Path) -> None:
        other = shutil.copytree(source, tmp_path / "other")
        write_catalog(str(other), str(tmp_path / "output"), Selection())
        before = bytes_of(tmp_path / "output")
        outcome = served_fruits.run(source, tmp_path / "output", "random")
        outcome.assert_refused(f"holds results of another source: {other}", "Choose another output")
        assert bytes_of(tmp_path / "output") == before
