"""A shard ends whole: every image is a feature row or a reject, and a second attempt writes the same bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from engines.core import tables
from engines.core.errors import StorageError, TransientError
from engines.core.index.catalog import write_catalog
from engines.core.index.selection import Selection
from engines.core.layout import features_key, rejects_key
from engines.core.networks.images import decode
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import Model
from engines.core.networks.runtimes import open_runtime
from engines.core.rejects import REASONS
from engines.core.sample_photos import encode_photo
from engines.core.stages.featurize import ShardTask, featurize_shard
from engines.core.stages.shard_files import read_features, read_report
from engines.core.storage import folder as folder_storage
from engines.core.storage import open_storage
from engines.core.storage.folder import FolderStorage

PHOTO = encode_photo(seed=0, number=0, kind=0, view=0)
BAD = {
    "a/empty.jpg": (b"", "empty"),
    "a/text.jpg": (b"no image", "not_an_image"),
    "b/half.jpg": (PHOTO[: len(PHOTO) // 2], "truncated"),
}


def only_shard(source: Path, output: Path) -> ShardTask:
    """The task of a source that fits in one shard."""
    catalog = write_catalog(str(source), str(output), Selection(shard_size=100))
    (shard,) = catalog.shards
    return ShardTask(str(source), str(output), "", shard)


@pytest.fixture
def task_of(tmp_path: Path, model: Model) -> Callable[[dict[str, bytes]], ShardTask]:
    def make(files: dict[str, bytes]) -> ShardTask:
        source, output = tmp_path / "source", tmp_path / "output"
        for name, content in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
        task = only_shard(source, output)
        return ShardTask(task.source, task.output, model.fingerprint, task.shard)

    return make


def files_of(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def good(number: int) -> dict[str, bytes]:
    return {f"b/{view}.jpg": encode_photo(seed=1, number=view, kind=view % 3, view=view) for view in range(number)}


def test_features_and_rejects_add_up(task_of: Callable[..., ShardTask], model: Model) -> None:
    task = task_of(good(5) | {name: content for name, (content, _) in BAD.items()})
    source = Path(task.source)
    (source / "b" / "lost.jpg").symlink_to("gone.jpg")
    task = ShardTask(task.source, task.output, model.fingerprint, only_shard(source, Path(task.output)).shard)
    report = featurize_shard(task, model)
    assert (report.listed, report.featurized, sum(report.rejected.values())) == (9, 5, 4)
    assert report.rejected == {"dangling_link": 1, "empty": 1, "not_an_image": 1, "truncated": 1}
    assert report.peak_memory > 50 * 2**20
    rejects = pq.read_table(os.path.join(task.output, rejects_key(model.fingerprint, task.shard.id)))
    assert rejects.schema.equals(tables.REJECTS)
    expected = {name: reason for name, (_, reason) in BAD.items()} | {"b/lost.jpg": "dangling_link"}
    assert {row["path"]: row["reason"] for row in rejects.to_pylist()} == {
        str(source / name): reason for name, reason in expected.items()
    }
    assert {row["label"] for row in rejects.to_pylist()} == {"a", "b"}
    assert set(expected.values()) <= set(REASONS)
    features = read_features(task.output, model.fingerprint, task.shard.id)
    assert features["path"].to_pylist() == [str(source / f"b/{view}.jpg") for view in range(5)]


def test_a_row_is_the_networks_answer_on_the_grid(task_of: Callable[..., ShardTask], model: Model) -> None:
    photos = good(3)
    task = task_of(photos)
    featurize_shard(task, model)
    rows = tables.to_matrix(read_features(task.output, model.fingerprint, task.shard.id)["features"])
    runtime = open_runtime(model)
    expected = [runtime.features(decode(content, MOBILENET_V2.side)) for _, content in sorted(photos.items())]
    np.testing.assert_array_equal(rows, MOBILENET_V2.grid.snap(np.stack(expected)))


def test_a_second_attempt_writes_the_same_bytes(task_of: Callable[..., ShardTask], model: Model) -> None:
    task = task_of(good(4) | {name: content for name, (content, _) in BAD.items()})
    first_report = featurize_shard(task, model)
    first = files_of(task.output)
    second_report = featurize_shard(task, model)
    assert files_of(task.output) == first
    assert second_report.rejected == first_report.rejected


def test_the_report_can_be_read_from_the_file(task_of: Callable[..., ShardTask], model: Model) -> None:
    task = task_of(good(2) | {name: content for name, (content, _) in BAD.items()})
    report = featurize_shard(task, model)
    again = read_report(task.output, model.fingerprint, task.shard)
    assert (again.listed, again.featurized, again.rejected) == (report.listed, report.featurized, report.rejected)


def test_a_shard_of_rejects_only_is_done_too(task_of: Callable[..., ShardTask], model: Model) -> None:
    task = task_of({name: content for name, (content, _) in BAD.items()})
    report = featurize_shard(task, model)
    assert (report.featurized, sum(report.rejected.values())) == (0, 3)
    assert tables.to_matrix(read_features(task.output, model.fingerprint, task.shard.id)["features"]).shape == (0, 1280)


def test_a_shard_without_rejects_writes_no_rejects(task_of: Callable[..., ShardTask], model: Model) -> None:
    task = task_of(good(2))
    featurize_shard(task, model)
    assert not (Path(task.output) / "rejects").exists()


@pytest.mark.parametrize(
    "error",
    [StorageError("denied", "Ask."), TransientError("timed out", "Again.")],
    ids=["for good", "for now"],
)
def test_what_cannot_be_read_is_never_a_reject(
    task_of: Callable[..., ShardTask], model: Model, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    task = task_of(good(3))
    content = FolderStorage.read_versioned

    def read(self: FolderStorage, key: str) -> tuple[bytes, str]:
        if key == "b/1.jpg":
            raise error
        return content(self, key)

    monkeypatch.setattr(FolderStorage, "read_versioned", read)
    with pytest.raises(type(error)) as raised:
        featurize_shard(task, model)
    assert raised.value is error
    assert_nothing_was_written(task)


def test_an_image_that_is_gone_since_it_was_listed_is_a_reject_for_now(
    task_of: Callable[..., ShardTask], model: Model
) -> None:
    task = task_of(good(3))
    (Path(task.source) / "b/1.jpg").unlink()
    report = featurize_shard(task, model)
    assert (report.listed, report.featurized, report.rejected) == (3, 2, {"missing": 1})
    assert report.passing  # the next run looks again


def test_a_disk_error_fails_the_shard(
    task_of: Callable[..., ShardTask], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(good(3))

    def failing_open(path: str, mode: str, **options: Any) -> IO[bytes]:
        if path.endswith("b/1.jpg"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open(path, mode, **options)

    monkeypatch.setattr(folder_storage, "open", failing_open, raising=False)
    with pytest.raises(StorageError, match=r"b/1\.jpg: Input/output error"):
        featurize_shard(task, model)
    assert_nothing_was_written(task)


def test_rejects_are_written_before_the_features_that_commit_them(
    task_of: Callable[..., ShardTask], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(good(2) | {"a/empty.jpg": b""})
    written: list[str] = []
    write = FolderStorage.write

    def recorded(self: FolderStorage, key: str, content: bytes) -> None:
        written.append(key)
        write(self, key, content)

    monkeypatch.setattr(FolderStorage, "write", recorded)
    featurize_shard(task, model)
    assert written == [rejects_key(model.fingerprint, task.shard.id), features_key(model.fingerprint, task.shard.id)]


def test_names_depend_on_the_images_and_on_the_model(task_of: Callable[..., ShardTask], model: Model) -> None:
    task = task_of(good(2))
    former = task.shard
    os.utime(Path(task.source) / "b/1.jpg", ns=(5, 5))
    changed = only_shard(Path(task.source), Path(task.output)).shard
    assert changed.id != former.id
    assert features_key("one", former.id) != features_key("other", former.id)


def assert_nothing_was_written(task: ShardTask) -> None:
    assert list(open_storage(task.output).list("features")) == []
    assert list(open_storage(task.output).list("rejects")) == []
