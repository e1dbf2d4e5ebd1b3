"""What a run is asked to do is checked before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engines.core.errors import InputError
from flows.checks import cache_folder, check_settings
from flows.options.run import RunSettings


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    (tmp_path / "source").mkdir()
    return RunSettings(source=str(tmp_path / "source"), output=str(tmp_path / "output"))


def test_the_defaults_are_fine(settings: RunSettings) -> None:
    assert check_settings(settings) == settings


def test_places_are_made_absolute(settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    checked = check_settings(replace(settings, source="source/", output="./output", weights="weights.h5"))
    assert checked == replace(settings, weights=str(tmp_path / "weights.h5"))
    assert check_settings(checked) == checked


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        ({"engine": "ray"}, "unknown engine 'ray'", "dask"),
        ({"runtime": "onnx"}, "unknown runtime 'onnx'", "litert"),
        (
            {"engine": "emr-serverless", "runtime": "tensorflow"},
            "tensorflow does not run on emr",
            "--runtime",
        ),
        ({"components": 0}, "components cannot be 0", "1280"),
        ({"components": 1281}, "components cannot be 1281", "1280"),
        ({"components": 1.5}, "components cannot be 1.5", "share"),
        ({"components": True}, "components cannot be True", "share"),
        ({"components": "abc"}, "components cannot be 'abc'", "share"),
        ({"max_rejects": 1.5}, "max-rejects cannot be 1.5", "share"),
        ({"per_class": 0}, "per-class cannot be 0", "whole number"),
        ({"shard_size": 0}, "shard-size cannot be 0", "whole number"),
        ({"workers": 0}, "workers cannot be 0", "whole number"),
        ({"source": "/nowhere"}, "the source /nowhere does not exist", "class folders"),
        ({"output": "/proc/fruits"}, "the output /proc/fruits cannot be written", "/proc"),
        ({"weights": "/nowhere.h5"}, "the weights file /nowhere.h5 does not exist", "--weights FILE"),
    ],
)
def test_what_cannot_work_is_a_clear_error(
    settings: RunSettings, wrong: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(InputError) as error:
        check_settings(replace(settings, **wrong))  # type: ignore[arg-type]
    assert message in error.value.message
    assert hint in error.value.hint


def test_share_and_number_of_components_keep_their_kind(settings: RunSettings) -> None:
    assert isinstance(check_settings(replace(settings, components=64.0)).components, int)
    assert check_settings(replace(settings, components=0.95)).components == 0.95


def test_the_cache_may_be_put_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("FRUITS_CACHE")
    assert cache_folder().name == "fruit-features"
