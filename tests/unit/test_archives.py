"""Photos in archives are those of a folder: listed whole, read by ranges, and what is damaged or hostile is said."""

from __future__ import annotations

import contextlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engines.core.errors import InputError, StorageError
from engines.core.index.catalog import Selection, read_shard_entries, write_catalog
from engines.core.index.lookup import find_entries
from engines.core.rejects import RejectedImageError
from engines.core.sources import Entry, open_source
from engines.core.sources.ranges import BLOCK
from engines.core.storage.folder import FolderStorage
from engines.core.storage.objects import ObjectStorage
from tests.archives import KINDS, Photos, link, write_hugging_face, write_tar, write_webdataset, write_zip
from tests.s3 import Aws

PHOTOS: Photos = {f"{kind}/{number}.jpg": f"{kind} {number}".encode() * 9 for kind in "abc" for number in range(8)}


def entries_of(location: object) -> list[Entry]:
    return list(open_source(str(location)).list())


def contents(location: object) -> dict[str, bytes]:
    """The bytes of all photos by key."""
    source = open_source(str(location))
    return {source.key(entry.path): source.read(entry) for entry in source.list()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_photos_and_the_labels_of_the_folder(tmp_path: Path, kind: str) -> None:
    location = str(KINDS[kind](tmp_path, PHOTOS))
    source = open_source(location)
    source.check()
    entries = entries_of(location)
    keys = [source.key(entry.path) for entry in entries]
    assert keys == sorted(keys)
    assert all(entry.path.startswith(f"{tmp_path}/") for entry in entries)
    read = {(entry.label, source.read(entry)) for entry in entries}
    assert read == {(key[0], content) for key, content in PHOTOS.items()}


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_one_archive_has_the_keys_of_the_folder(tmp_path: Path, kind: str) -> None:
    location = KINDS[kind](tmp_path, PHOTOS)
    assert contents(location) == PHOTOS
    assert entries_of(location)[0].path == f"{location}/a/0.jpg"


@pytest.mark.parametrize("kind", KINDS)
def test_on_s3_many_photos_are_few_requests(
    tmp_path: Path, aws: Aws, bucket: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = str(KINDS[kind](tmp_path, PHOTOS))
    aws.put(bucket, {f"in/{path.name}": path.read_bytes() for path in tmp_path.iterdir()})
    remote = location.replace(str(tmp_path), f"s3://{bucket}/in")
    requests: list[str] = []
    ranges = ObjectStorage.read_range

    def counted(self: ObjectStorage, key: str, *arguments: object) -> bytes:
        requests.append(key)
        return ranges(self, key, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectStorage, "read_range", counted)
    source = open_source(remote)
    source.check()
    assert {(entry.label, source.read(entry)) for entry in source.list()} == {
        (key[0], content) for key, content in PHOTOS.items()
    }
    archives = len(set(requests))
    assert len(requests) <= 12 * archives


def test_a_photo_across_blocks_is_whole_and_a_large_one_is_one_request(
    tmp_path: Path, aws: Aws, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = {f"a/{number}.jpg": bytes([number]) * (BLOCK // 5) for number in range(12)}
    photos["b/large.jpg"] = b"x" * (BLOCK // 2)
    aws.put(bucket, {"photos.tar": write_tar(tmp_path / "photos.tar", photos).read_bytes()})
    source = open_source(f"s3://{bucket}/photos.tar")
    entries = list(source.list())
    requests: list[int] = []
    ranges = ObjectStorage.read_range

    def counted(self: ObjectStorage, key: str, start: int, length: int, version: str = "") -> bytes:
        requests.append(length)
        return ranges(self, key, start, length, version)

    monkeypatch.setattr(ObjectStorage, "read_range", counted)
    assert {source.key(entry.path): source.read(entry) for entry in entries} == photos
    assert sorted(requests) == [BLOCK // 2, BLOCK, BLOCK, BLOCK]


def test_numbers_name_archives_that_must_all_be_there(tmp_path: Path) -> None:
    location = write_webdataset(tmp_path, PHOTOS)
    open_source(location).check()
    with pytest.raises(InputError, match=r"photos-0003.tar does not exist, and 6 more of 10"):
        open_source(f"{tmp_path}/photos-{{0000..0009}}.tar").check()
    with pytest.raises(InputError, match="counts backwards"):
        open_source(f"{tmp_path}/photos-{{0002..0000}}.tar").check()
    assert contents(f"{tmp_path}/photos-*.tar") == contents(location)
    with pytest.raises(InputError, match=r"no archive in .* matches pictures-\*.tar"):
        open_source(f"{tmp_path}/pictures-*.tar").check()


def test_a_name_that_is_there_is_no_pattern_and_a_folder_is_no_archive(tmp_path: Path) -> None:
    odd = write_tar(tmp_path / "a[1]{0..1}*.tar", PHOTOS)
    assert contents(odd) == PHOTOS
    folder = tmp_path / "folder.tar"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.jpg").write_bytes(b"1")
    assert contents(folder) == {"a/1.jpg": b"1"}


@pytest.mark.parametrize(
    ("sidecars", "label"),
    [
        ({"cls": b"7\n", "txt": b"a caption", "json": b'{"label": "apple"}'}, "7"),
        ({"txt": b"a caption\n", "json": b'{"label": "apple"}'}, "apple"),
        ({"json": b'{"class": 3}', "txt": b"a caption"}, "3"),
        ({"json": b'{"url": "x"}', "txt": b" a caption "}, "a caption"),
        ({"json": b'{"url": "x"}'}, "folder"),
        ({}, "folder"),
    ],
)
def test_webdatasets_sidecars_are_labels_and_columns(tmp_path: Path, sidecars: dict[str, bytes], label: str) -> None:
    members = {"folder/v1.0/1.jpg": b"", "folder/1.input.jpg": b"photo", "notes.txt": b"of nothing"}
    members |= {f"folder/1.{name}": content for name, content in sidecars.items()}
    path = write_tar(tmp_path / "photos.tar", members)
    found = {entry.path.removeprefix(f"{path}/"): entry for entry in entries_of(path)}
    assert set(found) == {"folder/v1.0/1.jpg", "folder/1.input.jpg", "notes.txt"}
    assert found["folder/1.input.jpg"].label == label
    assert found["folder/v1.0/1.jpg"].label == "v1.0"
    assert found["folder/1.input.jpg"].columns == {name: content.decode() for name, content in sidecars.items()}


def test_a_sidecar_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "photos.tar", {"a/1.jpg": b"1", "a/1.json": b"{"})
    with pytest.raises(InputError, match=r"photos.tar/a/1.json is no JSON"):
        entries_of(path)


def test_names_are_as_tar_writes_them(tmp_path: Path) -> None:
    latin = "caf\udce9/1.jpg"  # bytes that are not UTF-8
    path = write_tar(tmp_path / "photos.tar", {"./a//1.jpg": b"1", "b/" + "x" * 200 + ".jpg": b"2", latin: b"3"})
    assert contents(path) == {"a/1.jpg": b"1", "b/" + "x" * 200 + ".jpg": b"2", "café/1.jpg": b"3"}


def test_links_are_the_photos_they_lead_to(tmp_path: Path) -> None:
    members = {
        "a/1.jpg": b"1",
        "hard": link("b/hard.jpg", "a/1.jpg", tarfile.LNKTYPE),
        "symbolic": link("b/symbolic.jpg", "../a/1.jpg"),
        "chain": link("c/chain.jpg", "../b/symbolic.jpg"),
        "dangling": link("b/dangling.jpg", "/etc/passwd"),
        "loop": link("b/loop.jpg", "loop.jpg"),
    }
    path = write_tar(tmp_path / "photos.tar", members)
    source = open_source(str(path))
    found = {source.key(entry.path): entry for entry in source.list()}
    for name in ("b/hard.jpg", "b/symbolic.jpg", "c/chain.jpg"):
        assert source.read(found[name]) == b"1"
        assert found[name].label == name[0]
    for name in ("b/dangling.jpg", "b/loop.jpg"):
        with pytest.raises(RejectedImageError, match="dangling_link"):
            source.read(found[name])


def test_a_symbolic_link_in_a_zip_is_the_photo_it_leads_to(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a/1.jpg": b"1"})
    with zipfile.ZipFile(path, "a") as archive:
        for name, target in (("b/2.jpg", "../a/1.jpg"), ("b/3.jpg", "../../etc/passwd")):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
    source = open_source(str(path))
    found = {source.key(entry.path): entry for entry in source.list()}
    assert source.read(found["b/2.jpg"]) == b"1"
    with pytest.raises(RejectedImageError, match="dangling_link"):
        source.read(found["b/3.jpg"])


@pytest.mark.parametrize("write", [write_tar, write_zip])
@pytest.mark.parametrize("name", ["../../etc/1.jpg", "/etc/1.jpg", "a/../../1.jpg"])
def test_a_name_that_leads_out_of_the_archive_is_a_reject(
    tmp_path: Path, write: Callable[[Path, Photos], Path], name: str
) -> None:
    path = write(tmp_path / f"photos.{write.__name__[6:]}", {name: b"1", "a/2.jpg": b"2"})
    source = open_source(str(path))
    entries = {entry.path: entry for entry in source.list()}
    assert len(entries) == 2
    outside = next(entry for path, entry in entries.items() if not path.endswith("/a/2.jpg"))
    assert ".." not in outside.path.split("/")
    assert "/%2" in outside.path
    with pytest.raises(RejectedImageError, match="unsafe_name"):
        source.read(outside)


def test_a_bomb_is_a_reject(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a/bomb.jpg": b"\0" * 2**25, "a/1.jpg": b"1"}, zipfile.ZIP_DEFLATED)
    source = open_source(str(path))
    bomb = next(entry for entry in source.list() if entry.path.endswith("bomb.jpg"))
    with pytest.raises(RejectedImageError, match="archive_bomb"):
        source.read(bomb)


def test_a_wrong_crc_is_a_reject(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", PHOTOS)
    content = bytearray(path.read_bytes())
    content[content.index(PHOTOS["a/0.jpg"])] ^= 1
    path.write_bytes(content)
    source = open_source(str(path))
    with pytest.raises(RejectedImageError, match="Bad CRC-32"):
        source.read(next(iter(source.list())))


def test_an_encrypted_member_is_a_reject(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a/1.jpg": b"1"})
    content = path.read_bytes().replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
    path.write_bytes(content)
    source = open_source(str(path))
    with pytest.raises(RejectedImageError, match="encrypted"):
        source.read(next(iter(source.list())))


@pytest.mark.parametrize("kind", ["tar", "zip", "hugging-face"])
def test_an_archive_that_ends_early_stops_the_run_and_is_named(tmp_path: Path, kind: str) -> None:
    path = Path(str(KINDS[kind](tmp_path, PHOTOS)))
    whole = path.read_bytes()
    open_source(str(path)).check()
    for length in (0, 1, 511, 512, 513, 1024, len(whole) // 2, len(whole) // 1024 * 512):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is damaged or ends early") as error:
            entries_of(path)
        assert str(path) in error.value.message


def test_a_damaged_header_within_a_tar_does_not_end_it_without_a_word(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "photos.tar", PHOTOS)
    content = bytearray(path.read_bytes())
    content[1024 * 5 : 1024 * 5 + 100] = b"?" * 100
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged or ends early"):
        entries_of(path)


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_tar(tmp_path / "photos.tar", {"a/1.jpg": b"old", "./a/1.jpg": b"new"})
    assert contents(path) == {"a/1.jpg": b"new"}
    assert "1 members are replaced by later ones" in caplog.text


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_made_again_changes_the_photos_that_changed(tmp_path: Path, kind: str) -> None:
    write = {"tar": write_tar, "zip": write_zip}[kind]
    path = write(tmp_path / f"photos.{kind}", PHOTOS)
    before = {entry.path: entry.version for entry in entries_of(path)}
    write(path, {"a/00.jpg": b"new", **PHOTOS, "c/7.jpg": b"other"})
    after = {entry.path: entry.version for entry in entries_of(path)}
    changed = {name.removeprefix(f"{path}/") for name in after if after[name] != before.get(name)}
    assert changed == {"a/00.jpg", "c/7.jpg"}


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_photos_added_to_an_archive_cost_the_shards_they_fall_in(tmp_path: Path, kind: str) -> None:
    write = {"tar": write_tar, "zip": write_zip}[kind]
    photos = {f"{folder}/{number:03d}.jpg": f"{folder}{number}".encode() for folder in "ab" for number in range(200)}
    output, path = str(tmp_path / "output"), write(tmp_path / f"photos.{kind}", photos)
    before = {shard.id for shard in write_catalog(str(path), output, Selection(shard_size=8)).shards}
    write(path, photos | {"a/100b.jpg": b"new"})
    after = {shard.id for shard in write_catalog(str(path), output, Selection(shard_size=8)).shards}
    assert len(before) > 30
    assert 1 <= len(after - before) <= 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_was_listed(tmp_path: Path, kind: str) -> None:
    location = str(KINDS[kind](tmp_path, PHOTOS))
    source = open_source(location)
    entries = list(source.list())
    source.read(entries[0])
    KINDS[kind](tmp_path, {key: content[::-1] for key, content in PHOTOS.items()})
    old = 0
    for entry in entries:
        with contextlib.suppress(StorageError):
            assert source.read(entry) in PHOTOS.values()  # a neighbour of what was read before
            old += 1
    assert old < len(entries) or kind in {"hugging-face", "bytes-table"}
    assert {source.read(entry) for entry in source.list()} == {content[::-1] for content in PHOTOS.values()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_alone_is_enough_to_read(tmp_path: Path, kind: str) -> None:
    source = open_source(str(KINDS[kind](tmp_path, PHOTOS)))
    for entry in source.list():
        assert source.read(Entry(entry.path, "")) == source.read(entry)


@pytest.mark.parametrize("kind", KINDS)
def test_the_catalog_has_what_it_takes_to_read(tmp_path: Path, kind: str) -> None:
    location = str(KINDS[kind](tmp_path, PHOTOS))
    output = str(tmp_path / "output")
    catalog = write_catalog(location, output, Selection(shard_size=5))
    assert catalog.listed == len(PHOTOS)
    assert catalog.labels == 3
    entries = [entry for shard in catalog.shards for entry in read_shard_entries(output, shard)]
    assert {open_source(location).read(entry) for entry in entries} == set(PHOTOS.values())
    wanted = {entry.path: entry for entry in (entries[3], entries[17])}
    assert find_entries(output, catalog, wanted) == wanted


def test_a_table_without_an_image_column_says_what_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["x"], "first": [b"1"], "second": [b"2"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="of several: first, second"):
        entries_of(tmp_path / "a.parquet")
    pq.write_table(pa.table({"name": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="of none: name") as error:
        entries_of(tmp_path / "b.parquet")
    assert "`image`" in error.value.hint


def test_a_row_without_an_image_is_a_reject(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": b"1", "path": "a/1.jpg"}, {"bytes": None, "path": "b/2.jpg"}, None]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"))
    first, second, third = source.list()
    assert (first.label, second.label, third.label) == ("a", "b", "")
    assert source.read(first) == b"1"
    for entry in (second, third):
        with pytest.raises(RejectedImageError, match="the row has no image"):
            source.read(entry)


def test_columns_of_a_table_travel_with_its_photos(tmp_path: Path) -> None:
    path = write_hugging_face(tmp_path / "a.parquet", PHOTOS)
    source = open_source(str(path))
    assert source.columns() == {"label": pa.string()}
    assert next(iter(source.list())).columns == {"label": "a"}


def test_listing_a_table_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = {f"a/{number}.jpg": bytes([number]) * 2**18 for number in range(60)}
    path = write_hugging_face(tmp_path / "a.parquet", photos)
    read = 0
    ranges = FolderStorage.read_range

    def counted(self: FolderStorage, key: str, start: int, length: int, version: str = "") -> bytes:
        nonlocal read
        read += length
        return ranges(self, key, start, length, version)

    monkeypatch.setattr(FolderStorage, "read_range", counted)
    assert len(entries_of(path)) == 60
    assert read < path.stat().st_size // 10


def test_a_compressed_tar_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a/1.jpg"), io.BytesIO())
    with pytest.raises(InputError, match="neither a folder nor a known archive") as error:
        open_source(str(path)).check()
    assert ".tar (not compressed)" in error.value.hint
