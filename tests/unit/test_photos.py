"""What one photo may take: in a process of its own, whatever it does ends there, and is a reject with its reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from engines.core.errors import InputError, StageError
from engines.core.index.catalog import Selection, write_catalog
from engines.core.index.shard_photos import shard_photos
from engines.core.layout import rejects_key
from engines.core.networks.model import Model
from engines.core.rejects import RejectedImageError
from engines.core.sample_photos import encode_photo
from engines.core.stages import photo_process
from engines.core.stages.featurize import ShardTask, featurize_shard, isolated
from engines.core.stages.limits import PhotoLimits, time_limit
from engines.core.stages.photos import DirectPhotos, IsolatedPhotos
from engines.core.stages.shard_files import read_report
from tests.chaos.photos import REASON_OF, SECONDS, armed, do_harm

PHOTO = encode_photo(seed=0, number=0, kind=0, view=0)
LIMITS = PhotoLimits(seconds=SECONDS)


class TestIsolated:
    @pytest.fixture(scope="class")
    @classmethod
    def photos(cls, model: Model) -> Iterator[IsolatedPhotos]:
        with pytest.MonkeyPatch.context() as patch, IsolatedPhotos(model, LIMITS) as photos:
            armed(patch)
            yield photos

    def test_features_are_those_of_this_process(self, photos: IsolatedPhotos, model: Model) -> None:
        with DirectPhotos(model, LIMITS) as direct:
            np.testing.assert_array_equal(photos.features(PHOTO), direct.features(PHOTO))

    def test_a_reject_is_the_same(self, photos: IsolatedPhotos, model: Model) -> None:
        refused = []
        for each in (photos, DirectPhotos(model, LIMITS)):
            with pytest.raises(RejectedImageError) as reject:
                each.features(PHOTO[:1000])
            refused.append(reject.value.args)
        assert refused[0] == refused[1]

    @pytest.mark.parametrize("what", ["crash", "eat"])
    def test_harm_is_a_reject_and_the_next_photo_is_taken(self, photos: IsolatedPhotos, what: str) -> None:
        with pytest.raises(RejectedImageError) as reject:
            photos.features(PHOTO + f"HOSTILE: {what}".encode())
        assert reject.value.reason == REASON_OF[what]
        assert photos.features(PHOTO).shape == (1280,)

    def test_one_that_never_comes_back_is_a_reject(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        armed(monkeypatch)
        with IsolatedPhotos(model, PhotoLimits(seconds=1.5)) as photos, pytest.raises(RejectedImageError) as reject:
            photos.features(PHOTO + b"HOSTILE: hang")
        assert reject.value.args == ("timeout", "it takes longer than 1.5 s")

    def test_what_takes_more_memory_than_foreseen_is_told_from_what_does_not(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        armed(monkeypatch)
        with (
            IsolatedPhotos(model, replace(LIMITS, memory=4_000_000_000)) as photos,
            pytest.raises(RejectedImageError) as reject,
        ):
            photos.features(PHOTO + b"HOSTILE: eat")
        assert reject.value.args == (
            "crashes_worker",
            "the process that decodes it was ended by SIGKILL, each of 3 times",
        )

    def test_a_process_that_does_not_start_is_no_photos_fault(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(photo_process.sys, "executable", "/bin/false")
        with (
            IsolatedPhotos(model, LIMITS) as photos,
            pytest.raises(StageError, match="the process that decodes photos does not start: exit code 1"),
        ):
            photos.features(PHOTO)


class TestShard:
    @pytest.fixture
    def task(self, tmp_path: Path, model: Model) -> ShardTask:
        source, output = tmp_path / "source", tmp_path / "output"
        for view in range(6):
            path = source / "a" / f"{view}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_photo(seed=1, number=view, kind=view % 3, view=view))
        do_harm(source / "a" / "2.jpg", "crash")
        (source / "a" / "4.jpg").write_bytes(b"no image")
        (shard,) = write_catalog(str(source), str(output), Selection(shard_size=100)).shards
        return ShardTask(str(source), str(output), model.fingerprint, shard, limits=LIMITS)

    def test_a_shard_is_what_it_is_when_the_photo_was_rejected_otherwise(
        self, task: ShardTask, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        armed(monkeypatch)
        report = featurize_shard(isolated(task), model)
        assert report.rejected == {"crashes_worker": 1, "not_an_image": 1}
        rejects = pq.read_table(os.path.join(task.output, rejects_key(model.fingerprint, task.shard.id))).to_pylist()
        assert [(Path(row["path"]).name, row["reason"]) for row in rejects] == [
            ("2.jpg", "crashes_worker"),
            ("4.jpg", "not_an_image"),
        ]
        features = pq.read_table(os.path.join(task.output, f"features/{model.fingerprint}-{task.shard.id}.parquet"))
        (Path(task.source) / "a" / "2.jpg").write_bytes(b"")
        plain = replace(task, output=f"{task.output}-plain")
        os.symlink(f"{task.output}/catalog", _made(plain.output, "catalog"))
        featurize_shard(plain, model)
        again = pq.read_table(os.path.join(plain.output, f"features/{model.fingerprint}-{task.shard.id}.parquet"))
        assert features.equals(again)

    def test_its_photos_and_what_became_of_them_can_be_listed(self, task: ShardTask, model: Model) -> None:
        before = shard_photos(task.output, task.shard.id[:8])
        assert before.became == {}
        featurize_shard(task, model)
        found = shard_photos(task.output, task.shard.id)
        assert [Path(photo.path).name for photo in found.photos] == [f"{view}.jpg" for view in range(6)]
        became = [found.became[photo.path] for photo in found.photos]
        assert became == [*["featurized"] * 4, "not_an_image: no known image format", "featurized"]
        for unknown in ("", "zz"):
            with pytest.raises(InputError, match="has no shard"):
                shard_photos(task.output, unknown)

    def test_without_quarantine_it_fails_and_names_the_photo(
        self, task: ShardTask, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        armed(monkeypatch)
        with pytest.raises(StageError) as error:
            featurize_shard(replace(isolated(task), quarantine=False), model)
        assert f"{task.source}/a/2.jpg (crashes_worker: " in error.value.message
        assert "4.jpg" not in error.value.message
        assert "--no-quarantine" in error.value.hint
        assert not (Path(task.output) / "features").exists()

    def test_what_was_rejected_for_a_limit_is_tried_again_where_more_is_allowed(
        self, task: ShardTask, model: Model
    ) -> None:
        narrow = PhotoLimits(memory=100_000)
        assert featurize_shard(replace(task, limits=narrow), model).rejected["too_large"] == 5
        report = read_report(task.output, model.fingerprint, task.shard)
        assert report.limits == narrow
        assert report.outgrown(PhotoLimits())
        assert not report.outgrown(narrow)
        assert not featurize_shard(task, model).outgrown(PhotoLimits(seconds=600)), "nothing was rejected for a limit"


class TestTimeLimit:
    def test_a_process_that_never_comes_back_is_ended(self) -> None:
        code = "from engines.core.stages.limits import time_limit\nwith time_limit(0.5):\n    while True: pass"
        done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
        assert done.returncode == -signal.SIGALRM

    def test_each_thread_has_its_own(self) -> None:
        code = """
import threading, time
from engines.core.stages.limits import time_limit
def long():
    with time_limit(60):
        time.sleep(1)
thread = threading.Thread(target=long)
thread.start()
for _ in range(100):
    with time_limit(0.5):
        time.sleep(0.001)
thread.join()
with time_limit(0.5):
    time.sleep(60)
"""
        done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
        assert done.returncode == -signal.SIGALRM

    def test_a_timer_that_was_there_goes_on(self) -> None:
        former = signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, 500)
        try:
            with time_limit(5):
                time.sleep(0.01)
            assert 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500
        finally:
            signal.setitimer(signal.ITIMER_REAL, *former)


def _made(folder: str, name: str) -> str:
    os.makedirs(folder)
    return os.path.join(folder, name)
