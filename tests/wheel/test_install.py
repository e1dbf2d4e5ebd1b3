"""`pip install fruit_features-*.whl[...]` in a clean environment gives a `fruits` that works, from any folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.wheel.conftest import PYTHONS, install

pytestmark = pytest.mark.timeout(2400)


@pytest.mark.parametrize("minor", PYTHONS)
def test_the_demo_runs_from_the_wheel_with_all_extras(wheel: Path, minor: str, tmp_path: Path) -> None:
    installed = install(wheel, "all", minor, tmp_path)
    version = installed.call("fruits", "--version")
    assert version.stdout.startswith("fruit-features "), version.stderr
    done = installed.call("fruits", "demo", FRUITS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((installed.folder / "demo" / "output" / "run.json").read_text())
    assert record["counts"]["projected"] == record["counts"]["listed"] == 655

    spark = installed.call("python", "-P", "-c", "import engines; engines.registry.import_engine('spark')")
    assert spark.returncode == 0, spark.stderr


def test_the_bare_wheel_says_what_to_install(wheel: Path, tmp_path: Path) -> None:
    bare = install(wheel, "", "3.11", tmp_path)
    done = bare.call("fruits", "demo")
    assert done.returncode == 2
    assert "needs the package typer, which is not installed" in done.stderr
    assert "fruit-features[all]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_engine_and_a_missing_network_name_their_extra(wheel: Path, tmp_path: Path) -> None:
    installed = install(wheel, "flows", "3.11", tmp_path)
    photos = installed.call("fruits", "sample", "photos", "--images", "20", "--classes", "4")
    assert photos.returncode == 0, photos.stderr
    for engine, extra in (("dask", "dask"), ("spark", "spark"), ("emr-serverless", "aws")):
        done = installed.call("fruits", "run", "photos", "output", "--engine", engine, "--weights", "random")
        assert done.returncode == 2, done.stderr
        assert f"fruit-features[{extra}]" in done.stderr
        assert "Traceback" not in done.stderr
