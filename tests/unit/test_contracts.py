"""The promises every run checks, and what it says when one is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engines.core.contracts import check_featurized, check_locations, check_max_rejects, check_projected, check_rejects
from engines.core.errors import ContractError, InputError, RejectsError
from tests.s3 import Aws


def test_every_listed_image_is_featurized_or_rejected() -> None:
    check_featurized(listed=10, featurized=7, rejected=3)
    for featurized, rejected in [(7, 2), (8, 3)]:
        with pytest.raises(ContractError, match="10 images were listed"):
            check_featurized(10, featurized, rejected)


def test_every_featurized_image_is_projected() -> None:
    check_projected(featurized=7, projected=7)
    with pytest.raises(ContractError, match="7 images were featurized, but 6 projected"):
        check_projected(7, 6)


def test_too_many_rejects_fail_with_which_and_how_to_go_on() -> None:
    check_rejects(100, {"empty": 1}, 0.01, "/output")
    with pytest.raises(RejectsError) as error:
        check_rejects(100, {"empty": 1, "truncated": 2}, 0.01, "/output", lambda: {"truncated": ["/a.jpg", "/b.jpg"]})
    assert "3 of 100 images were rejected, more than the 1.00% allowed" in error.value.message
    assert "1 empty (the file has no bytes); 2 truncated" in error.value.message
    assert "such as /a.jpg, /b.jpg" in error.value.message
    assert "/output/rejects/" in error.value.hint
    assert error.value.hint.endswith("--max-rejects 0.03.")


@pytest.mark.parametrize(
    ("rejected", "advice"),
    [
        ({"changed": 1, "missing": 2}, "run again once nothing writes to the source"),
        ({"changed": 3, "empty": 1}, "run again once nothing writes to the source"),
        ({"changed": 1, "empty": 2}, "mend or remove the files"),
    ],
)
def test_of_photos_that_change_it_is_said_to_run_again(rejected: dict[str, int], advice: str) -> None:
    with pytest.raises(RejectsError) as error:
        check_rejects(100, rejected, 0.01, "/output")
    assert advice in error.value.hint


@given(st.integers(1, 10**9), st.floats(0, 1), st.data())
def test_the_suggested_share_is_enough(listed: int, allowed: float, data: st.DataObject) -> None:
    rejected = {"empty": data.draw(st.integers(0, listed))}
    assume(rejected["empty"] / listed > allowed)
    with pytest.raises(RejectsError) as error:
        check_rejects(listed, rejected, allowed, "/output")
    suggested = float(re.findall(r"--max-rejects (\S+)\.$", error.value.hint)[0])
    check_max_rejects(suggested)
    check_rejects(listed, rejected, suggested, "/output")


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_share_of_rejects_is_a_share(share: float) -> None:
    with pytest.raises(InputError, match="max-rejects cannot be"):
        check_max_rejects(share)


class TestLocations:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        (tmp_path / "source" / "class").mkdir(parents=True)
        return tmp_path / "source"

    def test_good_ones_are_normalized_and_nothing_is_left_behind(self, source: Path, tmp_path: Path) -> None:
        given = (f"file://{source}/", f"{tmp_path}/new/output/")
        assert check_locations(*given) == (str(source), f"{tmp_path}/new/output")
        assert not (tmp_path / "new").exists()

    def test_a_missing_source(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"the source .*/nowhere does not exist"):
            check_locations(str(tmp_path / "nowhere"), str(tmp_path / "output"))

    def test_a_source_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="is neither a folder nor a known archive"):
            check_locations(str(tmp_path / "file"), str(tmp_path / "output"))

    @pytest.mark.parametrize("output", ["", "output", "class/output"])
    def test_an_output_inside_the_source(self, source: Path, output: str) -> None:
        with pytest.raises(InputError, match="is inside the source"):
            check_locations(str(source), str(source / output))

    def test_an_output_inside_the_source_by_a_link(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(source)
        with pytest.raises(InputError, match="is inside the source"):
            check_locations(str(source), str(tmp_path / "link" / "output"))

    def test_an_output_beside_the_source_with_a_similar_name(self, source: Path, tmp_path: Path) -> None:
        check_locations(str(source), f"{source}-output")

    def test_an_output_that_cannot_be_written(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="cannot be written"):
            check_locations(str(source), str(tmp_path / "file" / "output"))

    def test_on_s3(self, aws: Aws, bucket: str) -> None:
        source, output = f"s3://{bucket}/photos", f"s3://{bucket}/output"
        assert check_locations(source, output) == (source, output)
        with pytest.raises(InputError, match="is inside the source"):
            check_locations(source, f"{source}/output")
        with pytest.raises(InputError, match=r"the source cannot be listed: the bucket .* does not exist"):
            check_locations("s3://no-such-bucket/photos", output)
        with pytest.raises(InputError, match=r"cannot be written: the bucket .* does not exist"):
            check_locations(source, "s3://no-such-bucket/output")
        aws.deny(bucket, "s3:PutObject")
        with pytest.raises(InputError, match=r"cannot be written: access .* was denied"):
            check_locations(source, output)
