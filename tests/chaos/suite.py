"""What every engine survives. An engine inherits `EngineChaos`, and says in `engine` how `fruits run` is asked for it,
and in `only_worker` how with one worker.

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
from tests.damage import DAMAGE, KINDS, file_of

POINTS = int(os.environ.get("FRUITS_CHAOS_POINTS", "1"))
SEED = int(os.environ.get("FRUITS_CHAOS_SEED", "7"))
KILLS = 5
"""So often a run is killed before it may end. A series of them is one test, which has a time limit."""

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

    @pytest.mark.parametrize("series", range(-(-POINTS // KILLS)))
    def test_the_driver_is_killed_again_and_again(
        self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], series: int
    ) -> None:
        files, whole = undisturbed
        shards = whole.shards_begun()
        steps = sum(step.startswith("driver ") for step in whole.steps)
        points = random.Random(f"{SEED} {series}")
        kills = min(KILLS, POINTS - series * KILLS)
        print(f"seed {SEED}, series {series}: {kills} points among {steps} steps of the driver, {shards} shards")
        output, begun = chaos.folder / f"driver-{series}", 0
        for number in range(kills):
            point = points.randrange(steps)
            ended = chaos.run(output, plan={"role": "driver", "pattern": "", "number": point, "victim": "itself"})
            print(f"point {number}: step {point}, exit code {ended.code}")
            assert killed(ended) or ended.code == 0, ended.errors
            begun += ended.shards_begun()
        begun += chaos.finish(output).shards_begun()
        assert published(output) == files
        assert begun <= shards + (kills + 1) * WORKERS
        assert chaos.left_behind() == []

    @pytest.mark.long
    @pytest.mark.parametrize("stage", STAGES)
    def test_a_worker_is_killed(self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], stage: str) -> None:
        plan = {"role": "worker", "pattern": STAGES[stage], "number": 1, "victim": "itself"}
        survives(chaos, f"worker-{stage}", plan, undisturbed)

    @pytest.mark.long
    @pytest.mark.parametrize("stage", STAGES)
    def test_what_leads_the_workers_is_killed(
        self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], stage: str
    ) -> None:
        """Dask's scheduler, the JVM of Spark's driver: the stage is tried again on another one."""
        plan = {"role": "worker", "pattern": STAGES[stage], "number": 1, "victim": "leader"}
        ended = survives(chaos, f"leader-{stage}", plan, undisturbed)
        assert "the connection to the workers was lost" in ended.errors

    @pytest.mark.long
    def test_the_only_worker_is_killed_and_takes_long_to_start_again(
        self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], only_worker: tuple[str, ...]
    ) -> None:
        pattern = STAGES["featurize"]
        plan = {"role": "worker", "pattern": pattern, "number": 0, "victim": "itself", "start_seconds": 18}
        survives(replace(chaos, engine=only_worker), "only", plan, undisturbed)

    @pytest.mark.long
    def test_damaged_files_of_every_kind_are_made_again(
        self, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], tmp_path: Path
    ) -> None:
        files, _ = undisturbed
        output = Path(shutil.copytree(chaos.folder / "undisturbed", tmp_path / "output"))
        chance = random.Random(SEED)
        for kind in sorted(KINDS.keys() - {"rejects"}):  # no photo was rejected
            damage = chance.choice(["deleted", "emptied", "flipped", "truncated"])
            print(f"seed {SEED}: {kind} {damage}")
            path = file_of(output, kind)
            DAMAGE[damage](path, path, chance)
        chaos.finish(output)
        assert published(output) == files

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
        assert "Traceback" not in ended.errors, ended.errors


def survives(chaos: Chaos, name: str, plan: dict[str, object], undisturbed: tuple[dict[str, str], Ended]) -> Ended:
    """Run it with a plan into the output `name`: it loses nothing, and computes no more again than it must."""
    files, whole = undisturbed
    output = chaos.folder / name
    ended = chaos.run(output, plan=plan)
    assert output.with_name(f"{name}.once").exists(), "nobody was killed"
    assert ended.code == 0, ended.errors
    assert "Traceback" not in ended.errors, ended.errors
    assert published(output) == files
    assert ended.shards_begun() <= whole.shards_begun() + WORKERS
    assert chaos.left_behind() == []
    return ended


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
