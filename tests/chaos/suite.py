"""What every engine survives. An engine inherits `EngineChaos`, and says in `engine` how `fruits run` is asked for it.

Points of death are steps of the storage, counted: which ones is drawn from a seed that is printed, never left to a
clock. FRUITS_CHAOS_POINTS (20 by `make test-chaos`) is how often the driver is killed, FRUITS_CHAOS_SEED the seed.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from engines.core import tables
from tests.chaos.photos import REASON_OF, do_harm
from tests.chaos.runs import Chaos, Ended, killed, published
from tests.conftest import write_photos

POINTS = int(os.environ.get("FRUITS_CHAOS_POINTS", "1"))
SEED = int(os.environ.get("FRUITS_CHAOS_SEED", "7"))
IMAGES, WORKERS, TRIES = 60, 2, 3

PHOTO_SECONDS = ("--photo-seconds", "5")
"""A good photo takes some 10 ms."""

STAGES = {"featurize": "write features/", "fit": "read features/", "project": "write results/"}
"""A step that only the workers of a stage take."""


class EngineChaos:
    """Byte for byte what an undisturbed run makes, or one clear error, in bounded time."""

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_photos(tmp_path_factory.mktemp("chaos") / "photos", images=IMAGES, classes=6)

    @pytest.fixture(scope="class")
    @classmethod
    def orders(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        orders = tmp_path_factory.mktemp("orders") / "orders.json"
        orders.write_text("{}")
        return orders

    @pytest.fixture(scope="class")
    @classmethod
    def chaos(
        cls, source: Path, weights: str, engine: tuple[str, ...], orders: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Chaos:
        return Chaos(source, weights, engine, tmp_path_factory.mktemp("runs"), orders)

    @pytest.fixture(scope="class")
    @classmethod
    def undisturbed(cls, chaos: Chaos) -> tuple[dict[str, str], Ended]:
        """The files of a run that nothing happened to, and what it did."""
        output = chaos.folder / "undisturbed"
        ended = chaos.finish(output)
        return published(output), ended

    def test_the_driver_is_killed_again_and_again(
        self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended]
    ) -> None:
        files, whole = undisturbed
        shards = whole.shards_begun()
        steps = sum(step.startswith("driver ") for step in whole.steps)
        points = random.Random(SEED)
        print(f"seed {SEED}: {POINTS} points among {steps} steps of the driver, {shards} shards")
        begun = runs = 0
        for number in range(POINTS):
            output = chaos.folder / f"driver-{number // 5}"  # a run is killed up to 5 times before it may end
            point = points.randrange(steps)
            ended = chaos.run(output, plan={"role": "driver", "pattern": "", "number": point, "victim": "itself"})
            print(f"point {number}: step {point}, exit code {ended.code}")
            assert killed(ended) or ended.code == 0, ended.errors
            begun, runs = begun + ended.shards_begun(), runs + 1
            if number % 5 == 4 or number == POINTS - 1:
                begun, runs = begun + chaos.finish(output).shards_begun(), runs + 1
                assert published(output) == files
                assert begun <= shards + runs * WORKERS
                begun = runs = 0

    @pytest.mark.long
    @pytest.mark.parametrize("stage", STAGES)
    def test_a_worker_is_killed(self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], stage: str) -> None:
        files, whole = undisturbed
        output = chaos.folder / f"worker-{stage}"
        plan = {"role": "worker", "pattern": STAGES[stage], "number": 1, "victim": "itself"}
        ended = chaos.run(output, plan=plan)
        assert output.with_name(f"{output.name}.once").exists(), "nobody was killed"
        assert ended.code == 0, ended.errors
        assert published(output) == files
        assert ended.shards_begun() <= whole.shards_begun() + WORKERS

    def test_photos_that_crash_hang_and_eat_memory_are_rejected_named_and_not_tried_by_another_run(
        self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], tmp_path: Path
    ) -> None:
        _, whole = undisturbed
        hurt, harmful = _with_harmful_photos(chaos, tmp_path)
        output = tmp_path / "output"
        ended = hurt.run(output, *PHOTO_SECONDS, "--max-rejects", "0.05")
        assert ended.code == 0, ended.errors
        for what in ("crash", "hang"):
            assert f"{harmful[what]} is rejected as {REASON_OF[what]}" in ended.errors
        assert _rejects(output) == {path: REASON_OF[what] for what, path in harmful.items()}
        features = _features(output, hurt.source)
        gone = {os.path.relpath(path, hurt.source) for path in harmful.values()}
        assert features == {
            name: row for name, row in _features(chaos.folder / "undisturbed", chaos.source).items() if name not in gone
        }
        assert ended.shards_begun() <= whole.shards_begun() + TRIES * WORKERS
        # With more time than now, the one that hangs would be tried again.
        assert hurt.finish(output, *PHOTO_SECONDS, "--max-rejects", "0.05").shards_begun() == 0

    @pytest.mark.long
    def test_without_quarantine_the_run_stops_and_names_the_photo(self, chaos: Chaos, tmp_path: Path) -> None:
        hurt, harmful = _with_harmful_photos(chaos, tmp_path)
        ended = hurt.run(tmp_path / "output", *PHOTO_SECONDS, "--no-quarantine")
        assert ended.code == 1
        assert any(harmful[what] in ended.errors for what in ("crash", "hang")), ended.errors
        assert "--no-quarantine" in ended.errors
        assert "Traceback" not in ended.errors


def _with_harmful_photos(chaos: Chaos, folder: Path) -> tuple[Chaos, dict[str, str]]:
    """Runs of a copy of the photos, of which three in different shards do harm: their paths, by what they do."""
    source = Path(shutil.copytree(chaos.source, folder / "photos"))
    photos = sorted(source.rglob("*.jpg"))[5::20]
    harmful = {what: do_harm(path, what) for what, path in zip(REASON_OF, photos, strict=True)}
    return replace(chaos, source=source, folder=folder), harmful


def _rejects(output: Path) -> dict[str, str]:
    rows = ds.dataset(output / "rejects", format="parquet").to_table().to_pylist()
    return {row["path"]: row["reason"] for row in rows}


def _features(output: Path, source: Path) -> dict[str, bytes]:
    """The bits of every photo's features, by its path in the source."""
    table = ds.dataset(output / "features", format="parquet").to_table()
    names = (os.path.relpath(path, source) for path in table["path"].to_pylist())
    return {name: row.tobytes() for name, row in zip(names, tables.to_matrix(table["features"]), strict=True)}
