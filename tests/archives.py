"""The photos of a folder in each kind of archive."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Photos = Mapping[str, bytes]
"""The bytes of photos by their key, `CLASS/NAME`."""


def photos_of(folder: Path) -> Photos:
    """The files of a folder, in the order of their keys."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def write_tar(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """A tar of files by name; a TarInfo is a member as it is, without content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """A link in a tar: symbolic, or tarfile.LNKTYPE."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def write_zip(path: Path, members: Photos, compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip of files by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_webdataset(folder: Path, photos: Photos, shards: int = 3) -> str:
    """Shards of WebDataset with a `.cls` beside each photo; the location of them all."""
    items = list(photos.items())
    for shard in range(shards):
        members: dict[str, bytes] = {}
        for number, (key, content) in enumerate(items[shard::shards]):
            label, _, name = key.partition("/")
            members[f"{number:06d}.{name.rpartition('.')[2]}"] = content
            members[f"{number:06d}.cls"] = label.encode()
        write_tar(folder / f"photos-{shard:04d}.tar", members)
    return f"{folder}/photos-{{0000..{shards - 1:04d}}}.tar"


def write_hugging_face(path: Path, photos: Photos, rows_per_group: int = 10) -> Path:
    """A parquet as Hugging Face's datasets write it: structs of bytes and path, labels as numbers with names."""
    names = sorted({key.partition("/")[0] for key in photos})
    table = pa.table(
        {
            "image": [{"bytes": content, "path": key.rpartition("/")[2]} for key, content in photos.items()],
            "label": [names.index(key.partition("/")[0]) for key in photos],
        }
    )
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_per_group)
    return path


def write_bytes_table(path: Path, photos: Photos) -> Path:
    """A parquet with a column of bytes and one of labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"jpg": list(photos.values()), "category": [key.partition("/")[0] for key in photos]})
    pq.write_table(table, path)
    return path


KINDS: Mapping[str, Callable[[Path, Photos], object]] = {
    "tar": lambda folder, photos: write_tar(folder / "photos.tar", photos),
    "zip": lambda folder, photos: write_zip(folder / "photos.zip", photos),
    "webdataset": write_webdataset,
    "hugging-face": lambda folder, photos: write_hugging_face(folder / "photos.parquet", photos),
    "bytes-table": lambda folder, photos: write_bytes_table(folder / "table.parquet", photos),
}
"""Writes the photos into a folder, and returns the location to run on."""
