"""The catalog lists every image of a source once, whatever it is called, and belongs to that source for good."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from engines.core.errors import DamagedError, InputError
from engines.core.index.catalog import read_catalog, read_shard_entries, write_catalog
from engines.core.index.selection import Selection
from engines.core.rejects import RejectedImageError
from engines.core.sources import Entry, open_source
from engines.core.storage import DANGLING_LINK, key_of, open_storage
from tests.s3 import Aws

ODD_NAMES = [
    "with spaces  two.jpg",
    "comma,semicolon;.jpg",
    "100%.jpg",
    "%41 is not A.jpg",
    "#hash.jpg",
    "trailing.jpg#1",
    "question?.jpg",
    "plus+and&.jpg",
    "quote'\".jpg",
    "back\\slash.jpg",
    "[brackets]{braces}*.jpg",
    "~tilde.jpg",
    unicodedata.normalize("NFC", "pêche mûre.jpg"),
    unicodedata.normalize("NFD", "pêche mûre.jpg"),
    "🍓🥭.jpg",
    "苹果.jpg",
    "تفاحة.jpg",
    "-starts-like-an-option.jpg",
    ".hidden.jpg",
]
ONLY_LOCAL = ["new\nline.jpg", "tab\t.jpg"]


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def listed(source: Path | str, output: Path | str, **selection: object) -> list[Entry]:
    """Every entry of a new catalog, in order, read back from its parts."""
    catalog = write_catalog(str(source), str(output), Selection(**selection))  # type: ignore[arg-type]
    assert read_catalog(str(output), catalog.version) == catalog
    entries = [entry for shard in catalog.shards for entry in read_shard_entries(str(output), shard)]
    assert len(entries) == catalog.listed
    assert sum(entry.size for entry in entries) == catalog.total_bytes
    return entries


def keys(source: Path, entries: list[Entry]) -> list[str]:
    return [key_of(str(source), entry.path) for entry in entries]


def test_labels_are_the_folders_of_the_images(tmp_path: Path) -> None:
    source = make(tmp_path / "source", "direct.jpg", "Apple/1.jpg", "train/Apple/2.jpg", "a/b/c/3.jpg", "Fig 2/4.jpg")
    entries = listed(source, tmp_path / "output")
    assert {entry.path.rsplit("/", 1)[-1]: entry.label for entry in entries} == {
        "direct.jpg": "",
        "1.jpg": "Apple",
        "2.jpg": "Apple",
        "3.jpg": "c",
        "4.jpg": "Fig 2",
    }
    assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)


def test_the_order_is_that_of_s3(tmp_path: Path) -> None:
    names = ["a.jpg", "a/b.jpg", "a-b.jpg", "a/b/c.jpg", "B.jpg", "é.jpg", "🍓.jpg", "ﬀ.jpg", "a b.jpg"]
    source = make(tmp_path / "source", *names)
    assert keys(source, listed(source, tmp_path / "output")) == sorted(names, key=str.encode)


def test_odd_names_are_listed_and_can_be_read(tmp_path: Path) -> None:
    names = ODD_NAMES + ONLY_LOCAL
    source = make(tmp_path / "source", *(f"cla ss,%#é/{name}" for name in names))
    entries = listed(source, tmp_path / "output", glob="*", hidden=True)
    assert keys(source, entries) == sorted((f"cla ss,%#é/{name}" for name in names), key=str.encode)
    assert {entry.label for entry in entries} == {"cla ss,%#é"}
    storage = open_storage(str(source))
    assert [storage.read(key).decode() for key in keys(source, entries)] == keys(source, entries)


def test_odd_names_are_listed_alike_on_s3(tmp_path: Path, aws: Aws, bucket: str) -> None:
    objects = {f"cla ss,%#é/{name}": name.encode() for name in ODD_NAMES}
    aws.put(bucket, {f"photos/{key}": content for key, content in objects.items()})
    source = f"s3://{bucket}/photos"
    entries = listed(source, tmp_path / "output", glob="*", hidden=True)
    assert [entry.path for entry in entries] == [f"{source}/{key}" for key in sorted(objects, key=str.encode)]
    storage = open_storage(source)
    assert [storage.read(key_of(storage.url, entry.path)) for entry in entries] == [
        objects[key_of(storage.url, entry.path)] for entry in entries
    ]


@pytest.mark.parametrize("name", [b"\xff.jpg", b"caf\xe9/1.jpg"])
def test_a_name_that_is_not_unicode_is_a_clear_error(tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path / "source"), name)
    os.makedirs(os.path.dirname(path))
    with open(path, "wb"):
        pass
    with pytest.raises(InputError, match="is not Unicode") as error:
        listed(tmp_path / "source", tmp_path / "output")
    assert "Rename" in error.value.hint
    error.value.message.encode()  # it can be printed


def test_what_the_glob_leaves_out_is_counted(tmp_path: Path) -> None:
    source = make(tmp_path / "source", "a/1.jpg", "a/2.JPG", "a/3.Jpg", "a/4.png", "notes.txt")
    catalog = write_catalog(str(source), str(tmp_path / "output"), Selection("*.jpg"))
    assert (catalog.listed, catalog.left_out_by_case) == (1, 2)
    assert catalog.left_out == {"not_matched": {"jpg": 2, "png": 1, "txt": 1}}


def test_a_glob_with_a_slash_is_matched_against_the_whole_key(tmp_path: Path) -> None:
    source = make(tmp_path / "source", "train/a/1.jpg", "test/a/1.jpg", "train.jpg")
    assert keys(source, listed(source, tmp_path / "output", glob="train/*.jpg")) == ["train/a/1.jpg"]


def test_per_class_takes_the_same_images_each_time_and_from_a_copy(tmp_path: Path) -> None:
    names = [f"{label}/{view}.jpg" for label in ("a", "b") for view in range(50)] + ["c/only.jpg"]
    source, copy = make(tmp_path / "source", *names), make(tmp_path / "copy", *reversed(names))
    chosen = keys(source, listed(source, tmp_path / "output", per_class=5))
    assert keys(copy, listed(copy, tmp_path / "other", per_class=5)) == chosen
    assert chosen == sorted(chosen)
    assert [sum(key.startswith(label) for key in chosen) for label in "abc"] == [5, 5, 1]
    assert not {f"a/{view}.jpg" for view in range(5)} <= set(chosen), "spread over the class, not its first ones"
    fewer = keys(source, listed(source, tmp_path / "output", per_class=3))
    assert set(fewer) < set(chosen)


def test_images_takes_the_same_sample_each_time_and_from_a_copy(tmp_path: Path) -> None:
    names = [f"{label}/{view}.jpg" for label in ("a", "b") for view in range(50)]
    source, copy = make(tmp_path / "source", *names), make(tmp_path / "copy", *reversed(names))
    chosen = keys(source, listed(source, tmp_path / "output", images=20))
    assert keys(copy, listed(copy, tmp_path / "other", images=20)) == chosen == sorted(chosen)
    assert len(chosen) == 20
    assert {key[0] for key in chosen} == {"a", "b"}
    both = keys(source, listed(source, tmp_path / "output", images=7, per_class=4))
    assert len(both) == 7
    assert keys(source, listed(source, tmp_path / "output", images=1000)) == sorted(names)


def test_listing_again_gives_the_same_files(tmp_path: Path) -> None:
    source = make(tmp_path / "source", *(f"a/{view}.jpg" for view in range(60)))
    for _ in range(2):
        listed(source, tmp_path / "output", shard_size=8)
    first = {path: path.read_bytes() for path in (tmp_path / "output").rglob("*") if path.is_file()}
    listed(source, tmp_path / "output", shard_size=8)
    assert {path: path.read_bytes() for path in (tmp_path / "output").rglob("*") if path.is_file()} == first


def test_a_changed_image_makes_another_shard(tmp_path: Path) -> None:
    source = make(tmp_path / "source", *(f"a/{view}.jpg" for view in range(60)))
    selection = Selection(shard_size=8)
    former = write_catalog(str(source), str(tmp_path / "output"), selection)
    os.utime(source / "a" / "30.jpg", ns=(1, 1))
    later = write_catalog(str(source), str(tmp_path / "output"), selection)
    assert later.version != former.version
    assert len({shard.id for shard in later.shards} - {shard.id for shard in former.shards}) == 1


def test_many_shards_are_spread_over_parts(tmp_path: Path) -> None:
    source = make(tmp_path / "source", *(f"a/{view:03d}.jpg" for view in range(100)))
    catalog = write_catalog(str(source), str(tmp_path / "output"), Selection(shard_size=2))
    assert len({shard.part for shard in catalog.shards}) > 1
    assert len(listed(source, tmp_path / "output", shard_size=2)) == 100


def test_an_output_belongs_to_one_source(tmp_path: Path) -> None:
    listed(make(tmp_path / "one", "a/1.jpg"), tmp_path / "output")
    with pytest.raises(InputError, match="another source") as error:
        listed(make(tmp_path / "two", "a/1.jpg"), tmp_path / "output")
    assert str(tmp_path / "one") in error.value.message
    assert "another output" in error.value.hint


def test_a_source_without_files_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "source" / "empty class").mkdir(parents=True)
    with pytest.raises(InputError, match="has no files"):
        listed(tmp_path / "source", tmp_path / "output")


def test_a_prefix_without_objects_is_a_clear_error(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(InputError, match="nothing is stored below"):
        listed(f"s3://{bucket}/nothing", tmp_path / "output")


def test_a_glob_that_matches_nothing_is_a_clear_error(tmp_path: Path) -> None:
    source = make(tmp_path / "source", "a/1.JPG", "a/2.png")
    with pytest.raises(
        InputError, match=r"none of the 2 files .* matches \*\.jpg \(1 would in another case\)"
    ) as error:
        listed(source, tmp_path / "output", glob="*.jpg")
    assert "--glob" in error.value.hint
    assert not list((tmp_path / "output").rglob("*.json")), "no catalog was published"


def test_a_catalog_that_was_tampered_with_is_noticed(tmp_path: Path) -> None:
    source = make(tmp_path / "source", *(f"a/{view}.jpg" for view in range(20)))
    catalog = write_catalog(str(source), str(tmp_path / "output"), Selection(shard_size=4))
    shards = [catalog.shards[0], *catalog.shards[2:]]
    swapped = type(shards[0])(shards[1].id, shards[0].part, shards[0].offset, shards[0].count)
    with pytest.raises(DamagedError, match="foreign: it does not hold the shard"):
        read_shard_entries(str(tmp_path / "output"), swapped)


class TestSymbolicLinks:
    def test_linked_folders_and_files_are_followed(self, tmp_path: Path) -> None:
        elsewhere = make(tmp_path / "elsewhere", "folder/1.jpg", "2.jpg")
        source = make(tmp_path / "source", "a/0.jpg")
        (source / "linked").symlink_to(elsewhere / "folder")
        (source / "a" / "linked.jpg").symlink_to(elsewhere / "2.jpg")
        entries = listed(source, tmp_path / "output")
        assert [(key, entry.label) for key, entry in zip(keys(source, entries), entries, strict=True)] == [
            ("a/0.jpg", "a"),
            ("a/linked.jpg", "a"),
            ("linked/1.jpg", "linked"),
        ]

    def test_the_source_itself_may_be_a_link(self, tmp_path: Path) -> None:
        make(tmp_path / "real", "a/1.jpg")
        (tmp_path / "source").symlink_to("real")
        (entry,) = listed(tmp_path / "source", tmp_path / "output")
        assert entry.path == f"{tmp_path}/source/a/1.jpg"

    def test_cycles_end(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "a/1.jpg", "b/2.jpg")
        (source / "a" / "up").symlink_to("..")
        (source / "a" / "here").symlink_to(".")
        (source / "a" / "b").symlink_to("../b")
        (source / "b" / "a").symlink_to("../a")
        assert set(keys(source, listed(source, tmp_path / "output"))) == {
            "a/1.jpg",
            "a/b/2.jpg",
            "b/2.jpg",
            "b/a/1.jpg",
        }

    @pytest.mark.parametrize("target", ["nowhere.jpg", "lost.jpg", "../gone/far.jpg"], ids=["gone", "itself", "deep"])
    def test_a_link_to_nowhere_is_listed_as_such(self, tmp_path: Path, target: str) -> None:
        source = make(tmp_path / "source", "a/1.jpg")
        (source / "a" / "lost.jpg").symlink_to(target)
        _, lost = listed(source, tmp_path / "output")
        assert (lost.path, lost.size, lost.version) == (f"{source}/a/lost.jpg", 0, DANGLING_LINK)

    def test_links_that_point_at_one_another_are_links_to_nowhere(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "a/1.jpg")
        (source / "a" / "x.jpg").symlink_to("y.jpg")
        (source / "a" / "y.jpg").symlink_to("x.jpg")
        versions = [entry.version == DANGLING_LINK for entry in listed(source, tmp_path / "output")]
        assert versions == [False, True, True]


@pytest.mark.timeout(10)
def test_a_pipe_is_counted_and_never_opened(tmp_path: Path) -> None:
    source = make(tmp_path / "source", "a/1.jpg")
    os.mkfifo(source / "a" / "pipe.jpg")
    entries = listed(source, tmp_path / "output")
    assert keys(source, entries) == ["a/1.jpg", "a/pipe.jpg"]
    with pytest.raises(RejectedImageError, match="a pipe"):
        open_source(str(source)).read(entries[1])
