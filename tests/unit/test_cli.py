"""`fruits` as a person calls it: a process, an exit code, what it prints, and what it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pytest

from engines.core import tables
from engines.core.catalog import Selection, write_catalog
from engines.core.model import Model
from tests.conftest import TEST_WEIGHTS, write_photos
from tests.e2e.prefect_kit import PrefectKit
from tests.parity.chain import bytes_of
from tests.s3 import Aws

FRUITS = str(Path(sys.executable).with_name("fruits"))
FEW = ("--components", "8", "--shard-size", "16", "--workers", "1")
GOOD, BAD = 60, 3


@dataclass(frozen=True)
class Outcome:
    """How a call of `fruits` ended; runs of blanks and line breaks in its output are one blank."""

    code: int
    printed: str
    errors: str

    def assert_refused(self, message: str, hint: str, code: int = 2) -> None:
        """A clear error: the message, what to do, nothing printed as a result, and no traceback."""
        assert message in self.errors
        assert hint in self.errors
        assert "Traceback" not in self.errors
        assert (self.code, self.printed) == (code, "")


class CommandLine:
    """Calls `fruits` with a Prefect server that is already there."""

    def __init__(self, prefect: PrefectKit) -> None:
        self._prefect = prefect

    def __call__(self, *arguments: str | Path) -> Outcome:
        command = [FRUITS, *map(str, arguments)]
        done = subprocess.run(
            command, env=self._prefect.environment, capture_output=True, text=True, timeout=280, check=False
        )
        return Outcome(done.returncode, " ".join(done.stdout.split()), " ".join(done.stderr.split()))

    def run(self, source: Path | str, output: Path | str, weights: str, *options: str) -> Outcome:
        return self("run", source, output, "--weights", weights, *FEW, *options)


@pytest.fixture(scope="module")
def fruits(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """For calls that end before Prefect is needed: there is no server."""
    return CommandLine(PrefectKit(tmp_path_factory.mktemp("no-prefect"), port=9))


@pytest.fixture(scope="module")
def served_fruits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """For runs: one server for all, as starting one takes longer than all else."""
    kit = PrefectKit(tmp_path_factory.mktemp("prefect"))
    try:
        kit.start_server()
        yield CommandLine(kit)
    finally:
        kit.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photos of 6 classes, 3 files that are none, and 2 that the glob leaves out."""
    source = write_photos(tmp_path_factory.mktemp("cli") / "photos", images=GOOD, classes=6)
    folder = next(source.iterdir())
    whole = next(folder.glob("*.jpg")).read_bytes()
    (folder / "empty.jpg").touch()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("not a photo")
    (folder / "UPPER.JPG").write_bytes(whole)
    (folder / "notes.txt").touch()
    return source


def record_of(output: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((output / "run.json").read_text())
    return record


def results_of(record: dict[str, object], output: str, filesystem: pyarrow.fs.FileSystem | None = None) -> pa.Table:
    """The published results, in the order of the paths."""
    folder = f"{output}/{record['results']}"
    return ds.dataset(folder, format="parquet", filesystem=filesystem).to_table().sort_by("path")


class TestWhatCannotBeDone:
    """Said within a second or two, before a Prefect server or a cluster is started."""

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
            (["--weights", __file__], "is not an HDF5 file", "MobileNetV2 without head"),
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
        fruits("show", tmp_path).assert_refused("run.json is damaged", "fruits run")

    def test_help_names_the_commands(self, fruits: CommandLine) -> None:
        outcome = fruits("--help")
        assert outcome.code == 0
        assert all(command in outcome.printed for command in ("run", "show", "sample"))


class TestWhatTheStagesRefuse:
    """The same exit code and the same words, though a flow and a task lie in between."""

    def test_an_empty_source(self, served_fruits: CommandLine, tmp_path: Path) -> None:
        (tmp_path / "source" / "empty class").mkdir(parents=True)
        outcome = served_fruits.run(tmp_path / "source", tmp_path / "output", "random")
        outcome.assert_refused("has no files", "Name the folder that holds the class folders.")

    def test_a_glob_that_matches_nothing(self, served_fruits: CommandLine, source: Path, tmp_path: Path) -> None:
        outcome = served_fruits.run(source, tmp_path / "output", "random", "--glob", "*.Jpg")
        outcome.assert_refused("matches *.Jpg (64 would in another case)", "Choose another --glob")

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


class TestRuns:
    """One output after another: each test goes on from where the one before left it."""

    @pytest.fixture(scope="class")
    @classmethod
    def output(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("runs") / "output"

    def test_too_many_rejects_fail_after_featurize_and_the_suggested_share_goes_on(
        self, served_fruits: CommandLine, source: Path, output: Path, weights: str, model: Model
    ) -> None:
        outcome = served_fruits.run(source, output, weights)
        outcome.assert_refused("3 of 63 images were rejected, more than the 1.00% allowed", "rejects/", code=1)
        for reason in ("1 empty (the file has no bytes)", "1 not_an_image", "1 truncated"):
            assert reason in outcome.errors
        assert not (output / "run.json").exists()
        kept = bytes_of(output / "features")
        assert kept
        suggested = re.search(r"--max-rejects (\S+)\.", outcome.errors)
        assert suggested

        outcome = served_fruits.run(source, output, weights, "--max-rejects", suggested[1])
        assert (outcome.code, "Traceback" in outcome.errors) == (0, False), outcome.errors
        assert bytes_of(output / "features") == kept
        record = record_of(output)
        counts = record["counts"]
        assert isinstance(counts, dict)
        assert counts == {
            "listed": GOOD + BAD,
            "featurized": GOOD,
            "rejected": BAD,
            "projected": GOOD,
            "reused": GOOD + BAD,
            "labels": 6,
            "left_out": 2,
            "left_out_by_case": 1,
        }
        assert record["rejected_by_reason"] == {"empty": 1, "not_an_image": 1, "truncated": 1}
        table = results_of(record, str(output))
        assert table.schema.equals(tables.RESULTS)
        assert tables.to_matrix(table["pcaFeatures"]).shape == (GOOD, 8)
        assert set(table["path"].to_pylist()) < {str(path) for path in source.rglob("*.jpg")}
        assert {str(part["key"]): part["sha256"] for part in record["parts"]}.items() <= bytes_of(output).items()  # type: ignore[attr-defined]
        assert_summary(outcome.printed, record, output)

    def test_show_prints_the_same_summary(self, fruits: CommandLine, output: Path) -> None:
        outcome = fruits("show", output)
        assert (outcome.code, outcome.errors) == (0, "")
        assert_summary(outcome.printed, record_of(output), output)

    def test_a_second_run_does_nothing_again(
        self, served_fruits: CommandLine, source: Path, output: Path, weights: str
    ) -> None:
        before, former = bytes_of(output), record_of(output)
        outcome = served_fruits.run(source, output, weights, "--max-rejects", "0.05")
        assert outcome.code == 0, outcome.errors
        assert bytes_of(output) == before
        for name in ("results", "parts", "catalog", "pca", "counts", "model"):
            assert record_of(output)[name] == former[name]

    def test_other_weights_are_kept_apart_and_the_former_results_stay_until_the_end(
        self, served_fruits: CommandLine, fruits: CommandLine, source: Path, output: Path, random_model: Model
    ) -> None:
        if not TEST_WEIGHTS.is_file():
            pytest.skip(f"no second weights: FRUITS_TEST_WEIGHTS={TEST_WEIGHTS} is not a file")
        before, published = bytes_of(output), (output / "run.json").read_bytes()
        outcome = served_fruits.run(source, output, "random", "--max-rejects", "0")
        outcome.assert_refused("images were rejected", "--max-rejects", code=1)
        assert (output / "run.json").read_bytes() == published
        assert before.items() <= bytes_of(output).items(), "nothing of the former run was touched"
        other = f"features/{random_model.fingerprint}-"
        assert any(name.startswith(other) for name in bytes_of(output))
        former = record_of(output)

        outcome = served_fruits.run(source, output, "random", "--max-rejects", "0.05")
        assert outcome.code == 0, outcome.errors
        record = record_of(output)
        assert record["results"] != former["results"]
        assert record["model"]["fingerprint"] == random_model.fingerprint != former["model"]["fingerprint"]  # type: ignore[index]
        assert "made up, not trained" in outcome.printed
        assert before.items() <= bytes_of(output).items(), "the former features and results are still there"
        assert results_of(record, str(output)).num_rows == GOOD

    def test_on_s3_the_results_are_those_of_the_folder(
        self, served_fruits: CommandLine, source: Path, output: Path, aws: Aws, bucket: str
    ) -> None:
        aws.put(bucket, {f"photos/{path.relative_to(source)}": path.read_bytes() for path in source.rglob("*.*")})
        place = f"s3://{bucket}/out put"
        outcome = served_fruits.run(f"s3://{bucket}/photos", place, "random", "--max-rejects", "0.05")
        assert outcome.code == 0, outcome.errors
        record = json.loads(aws.client().get_object(Bucket=bucket, Key="out put/run.json")["Body"].read())
        filesystem = pyarrow.fs.S3FileSystem(endpoint_override=aws.endpoint, region="us-east-1")
        table = results_of(record, f"{bucket}/out put", filesystem)
        local = results_of(record_of(output), str(output))
        keys = [path.removeprefix(f"s3://{bucket}/photos") for path in table["path"].to_pylist()]
        assert keys == [path.removeprefix(str(source)) for path in local["path"].to_pylist()]
        assert table["label"].equals(local["label"])
        assert record["model"] == record_of(output)["model"]
        assert table["pcaFeatures"].combine_chunks().equals(local["pcaFeatures"].combine_chunks())
        assert f"{place}/results/" in outcome.printed
        assert not [key for key in aws.keys(bucket) if "unfinished" in key]


def test_without_a_server_a_run_has_one_of_its_own(source: Path, tmp_path: Path, weights: str) -> None:
    kit = PrefectKit(tmp_path / "prefect", port=9)
    environment = {name: value for name, value in kit.environment.items() if name != "PREFECT_API_URL"}
    command = [FRUITS, "run", str(source), str(tmp_path / "output"), "--weights", weights, *FEW]
    done = subprocess.run(
        [*command, "--max-rejects", "0.05", "--per-class", "4"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert record_of(tmp_path / "output")["counts"]["listed"] == 24  # type: ignore[index]


def assert_summary(printed: str, record: dict[str, object], output: Path) -> None:
    words = re.sub(r"[│╭╮╰╯─]", " ", printed)
    words = " ".join(words.split())
    for expected in (
        "listed 63 images of 6 classes; 2 other files left out by the glob, 1 only by upper or lower case",
        "featurized 60",
        "rejected 3",
        "empty 1 the file has no bytes",
        "projected 60",
        f"components 8 explain {record['explained_variance']:.2%} of the variance",
        f"for 95 % {record['components_for_95']} components would be needed",
        "fingerprint",
    ):
        assert expected in words, words
    # A narrow terminal folds paths.
    assert f"{output}/{record['results']}".replace(" ", "") in words.replace(" ", "")
