"""`fruits run` and `fruits show`: what they print, and what they leave behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pytest

from engines.core import tables
from engines.core.networks.model import Model
from tests.command_line import BAD, FEW, GOOD, CommandLine
from tests.conftest import TEST_WEIGHTS
from tests.e2e.prefect_kit import wait_for
from tests.parity.chain import bytes_of
from tests.s3 import Aws

ALLOWED = ("--max-rejects", "0.05")


@pytest.fixture(scope="module")
def published(
    plain_fruits: CommandLine, source: Path, weights: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """An output, and what the run that published it printed. Not to be changed."""
    output = tmp_path_factory.mktemp("runs") / "output"
    outcome = plain_fruits.run(source, output, weights, *ALLOWED)
    assert (outcome.code, "Traceback" in outcome.errors) == (0, False), outcome.errors
    return output, outcome.printed


@pytest.fixture
def output(published: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the published output, to go on with."""
    return shutil.copytree(published[0], tmp_path / "output")


def test_a_run_publishes_counts_results_and_their_digests(published: tuple[Path, str], source: Path) -> None:
    output, printed = published
    record = record_of(output)
    assert record["counts"] == {
        "listed": GOOD + BAD,
        "featurized": GOOD,
        "rejected": BAD,
        "projected": GOOD,
        "reused": 0,
        "labels": 6,
        "left_out": 2,
        "left_out_by_case": 0,
    }
    assert record["rejected_by_reason"] == {"empty": 1, "not_an_image": 1, "truncated": 1}
    table = results_of(record, str(output))
    assert table.schema.equals(tables.RESULTS)
    assert tables.to_matrix(table["pcaFeatures"]).shape == (GOOD, 8)
    assert set(table["path"].to_pylist()) < {str(path) for path in source.rglob("*.jpg")}
    assert {part["key"]: part["sha256"] for part in record["parts"]}.items() <= bytes_of(output).items()
    assert_summary(printed, record, output)


def test_show_prints_the_same_summary(fruits: CommandLine, published: tuple[Path, str]) -> None:
    output, _ = published
    outcome = fruits("show", output)
    assert (outcome.code, outcome.errors) == (0, "")
    assert_summary(outcome.printed, record_of(output), output)


def test_too_many_rejects_fail_after_featurize_and_the_suggested_share_goes_on(
    plain_fruits: CommandLine, source: Path, weights: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    outcome = plain_fruits.run(source, output, weights)
    outcome.assert_refused("3 of 63 images were rejected, more than the 1.00% allowed", "rejects/", code=1)
    for reason, file in (("empty", "empty.jpg"), ("not_an_image", "text.jpg"), ("truncated", "half.jpg")):
        (path,) = source.rglob(file)
        assert re.search(rf"1 {reason} \(.+?\), such as {re.escape(str(path))}", outcome.errors)
    assert not (output / "run.json").exists()
    kept = bytes_of(output / "features")
    assert kept
    suggested = re.search(r"--max-rejects (\S+)\.", outcome.errors)
    assert suggested

    outcome = plain_fruits.run(source, output, weights, "--max-rejects", suggested[1])
    assert outcome.code == 0, outcome.errors
    assert bytes_of(output / "features") == kept
    assert record_of(output)["counts"]["reused"] == GOOD
    assert "Nothing to do" not in outcome.printed


def test_a_second_run_changes_nothing_says_so_and_makes_the_report_that_is_gone(
    plain_fruits: CommandLine, source: Path, published: tuple[Path, str], weights: str
) -> None:
    output, _ = published
    before, record = bytes_of(output), (output / "run.json").read_bytes()
    (output / "report.html").unlink()
    outcome = plain_fruits.run(source, output, weights, *ALLOWED)
    assert outcome.code == 0, outcome.errors
    assert outcome.printed.startswith("Nothing to do, all was done by a former run.")
    assert (output / "run.json").read_bytes() == record
    assert bytes_of(output) == before
    assert "60" in (output / "report.html").read_text()
    assert_summary(outcome.printed, json.loads(record), output)


def test_results_that_are_gone_are_made_and_published_again(
    plain_fruits: CommandLine, source: Path, output: Path, weights: str
) -> None:
    former = record_of(output)
    (output / former["parts"][0]["key"]).unlink()
    outcome = plain_fruits.run(source, output, weights, *ALLOWED)
    assert outcome.code == 0, outcome.errors
    assert "Nothing to do" not in outcome.printed
    record = record_of(output)
    assert record["parts"] == former["parts"]
    assert record["counts"]["reused"] == GOOD
    assert {part["key"]: part["sha256"] for part in record["parts"]}.items() <= bytes_of(output).items()


def test_ctrl_c_says_that_what_was_done_is_kept(
    plain_fruits: CommandLine, photos: Path, weights: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with plain_fruits.start("run", photos, output, "--weights", weights, *FEW) as run:
        wait_for((output / "features").is_dir, 120, "the run does not featurize")
        run.send_signal(signal.SIGINT)
        printed, errors = run.communicate(timeout=120)
    assert (run.returncode, printed) == (130, ""), errors
    assert "stopped; what was done is kept, the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert not (output / "run.json").exists()


def test_other_weights_are_kept_apart_and_the_former_results_stay_until_the_end(
    plain_fruits: CommandLine, source: Path, output: Path, random_model: Model
) -> None:
    if not TEST_WEIGHTS.is_file():
        pytest.skip(f"no second weights: FRUITS_TEST_WEIGHTS={TEST_WEIGHTS} is not a file")
    before, published = bytes_of(output), (output / "run.json").read_bytes()
    former = record_of(output)
    outcome = plain_fruits.run(source, output, "random", "--max-rejects", "0")
    outcome.assert_refused("images were rejected", "--max-rejects", code=1)
    assert (output / "run.json").read_bytes() == published
    assert before.items() <= bytes_of(output).items(), "nothing of the former run was touched"
    other = f"features/{random_model.fingerprint}-"
    assert any(name.startswith(other) for name in bytes_of(output))

    outcome = plain_fruits.run(source, output, "random", *ALLOWED)
    assert outcome.code == 0, outcome.errors
    record = record_of(output)
    assert record["results"] != former["results"]
    assert record["model"]["fingerprint"] == random_model.fingerprint != former["model"]["fingerprint"]
    assert "made up, not trained" in outcome.printed
    assert before.items() <= bytes_of(output).items(), "the former features and results are still there"
    assert results_of(record, str(output)).num_rows == GOOD


def test_on_s3_the_results_are_those_of_the_folder(
    plain_fruits: CommandLine, source: Path, published: tuple[Path, str], weights: str, aws: Aws, bucket: str
) -> None:
    aws.put(bucket, {f"photos/{path.relative_to(source)}": path.read_bytes() for path in source.rglob("*.*")})
    place = f"s3://{bucket}/out put"
    outcome = plain_fruits.run(f"s3://{bucket}/photos", place, weights, *ALLOWED)
    assert outcome.code == 0, outcome.errors
    record = json.loads(aws.client().get_object(Bucket=bucket, Key="out put/run.json")["Body"].read())
    filesystem = pyarrow.fs.S3FileSystem(endpoint_override=aws.endpoint, region="us-east-1")
    table = results_of(record, f"{bucket}/out put", filesystem)
    folder = record_of(published[0])
    local = results_of(folder, str(published[0]))
    keys = [path.removeprefix(f"s3://{bucket}/photos") for path in table["path"].to_pylist()]
    assert keys == [path.removeprefix(str(source)) for path in local["path"].to_pylist()]
    assert table["label"].equals(local["label"])
    assert record["model"] == folder["model"]
    assert table["pcaFeatures"].combine_chunks().equals(local["pcaFeatures"].combine_chunks())
    assert f"{place}/results/" in outcome.printed
    assert not [key for key in aws.keys(bucket) if "unfinished" in key]


def test_as_a_flow_run_the_same_bytes_are_published(
    served_fruits: CommandLine, source: Path, published: tuple[Path, str], weights: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    outcome = served_fruits.run(source, output, weights, *ALLOWED)
    assert outcome.code == 0, outcome.errors
    assert bytes_of(output) == bytes_of(published[0])
    assert_summary(outcome.printed, record_of(output), output)
    outcome = served_fruits.run(source, output, weights, *ALLOWED)
    assert outcome.printed.startswith("Nothing to do, all was done by a former run."), outcome.errors


def test_a_person_decides_whether_prefect_runs_it(
    plain_fruits: CommandLine, served_fruits: CommandLine, published: tuple[Path, str], source: Path, weights: str
) -> None:
    refused = plain_fruits.run(source, published[0], weights, *ALLOWED, "--prefect")
    refused.assert_refused("no Prefect server is configured", "--no-prefect")
    done = served_fruits.run(source, published[0], weights, *ALLOWED, "--no-prefect")
    assert done.printed.startswith("Nothing to do"), done.errors


def record_of(output: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((output / "run.json").read_text())
    return record


def results_of(record: dict[str, Any], output: str, filesystem: pyarrow.fs.FileSystem | None = None) -> pa.Table:
    """The published results, in the order of the paths."""
    folder = f"{output}/{record['results']}"
    return ds.dataset(folder, format="parquet", filesystem=filesystem).to_table().sort_by("path")


def assert_summary(printed: str, record: dict[str, Any], output: Path) -> None:
    words = re.sub(r"[│╭╮╰╯─]", " ", printed)
    words = " ".join(words.split())
    for expected in (
        "listed 63 images of 6 classes",
        "left out 2",
        "hidden 1 hidden files, or what systems leave beside photos; --hidden takes them: 1 ._*",
        "no_photo 1 no photos by their names: 1 .txt",
        "featurized 60",
        "rejected 3",
        "empty 1 the file has no bytes",
        "projected 60",
        f"components 8 explain {record['explained_variance']:.2%} of the variance",
        f"for 95 % {record['components_for_95']} components would be needed",
        f"together {sum(record['timings'].values()):,.1f} s",
        "fingerprint",
    ):
        assert expected in words, words
    # A narrow terminal folds paths.
    assert f"{output}/{record['results']}".replace(" ", "") in words.replace(" ", "")
