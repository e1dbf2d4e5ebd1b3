"""Which files are photos: every format that is decoded, nothing that is hidden, and what is asked for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engines.core.errors import InputError
from engines.core.index.catalog import read_shard_entries, write_catalog
from engines.core.index.selection import LeftOut, Selection, selected
from engines.core.networks.image_formats import DECODED, DECODED_ENDINGS
from engines.core.sources import open_source
from tests.s3 import Aws
from tests.unit.test_catalog import make


def taken(source: Path | str, **selection: object) -> tuple[list[str], LeftOut]:
    """The keys of a source's photos, and what is left out."""
    photos, left_out = open_source(str(source)), LeftOut()
    entries = selected(photos, Selection(**selection), left_out)  # type: ignore[arg-type]
    return [photos.key(entry.path) for entry in entries], left_out


class TestFormats:
    def test_every_format_that_is_decoded_is_taken_in_any_case(self, tmp_path: Path) -> None:
        kinds = [kind for ending in DECODED_ENDINGS for kind in (ending, ending.upper(), ending.title())]
        source = make(tmp_path / "source", *(f"a/{number}.{kind}" for number, kind in enumerate(kinds)))
        keys, left_out = taken(source)
        assert len(keys) == len(kinds) >= 3 * 15
        assert left_out.files == 0
        assert {name.upper() for name in DECODED_ENDINGS.values()} == set(DECODED)

    def test_photos_of_other_formats_are_named(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "a/1.jpg", "a/2.HEIC", "a/3.cr2", "a/4.heic", "a/5.txt", "a/6")
        keys, left_out = taken(source)
        assert keys == ["a/1.jpg"]
        assert left_out.in_order() == {"not_decoded": {"heic": 2, "cr2": 1}, "no_photo": {"": 1, "txt": 1}}
        assert left_out.remarks() == ["Photos of formats that are not decoded are left out: 2 .heic, 1 .cr2."]

    def test_the_glob_of_the_notebook_takes_what_it_took(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "a/1.jpg", "a/2.JPG", "a/3.jpeg", "a/4.png")
        keys, left_out = taken(source, glob="*.jpg")
        assert (keys, left_out.by_case) == (["a/1.jpg"], 1)

    def test_one_of_several_globs_is_enough(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "train/1.jpg", "train/2.png", "test/3.jpg", "test/4.png")
        assert taken(source, glob=("train/*", "*.png"))[0] == ["test/4.png", "train/1.jpg", "train/2.png"]

    def test_photos_of_before_keep_their_shards(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", *(f"a/{view}.jpg" for view in range(60)), "notes.txt")
        before = write_catalog(str(source), str(tmp_path / "output"), Selection(glob="*.jpg", shard_size=8))
        after = write_catalog(str(source), str(tmp_path / "output"), Selection(shard_size=8))
        assert after.shards == before.shards
        assert after.version != before.version


HIDDEN = {
    "a/.ipynb_checkpoints/1-checkpoint.jpg": ".ipynb_checkpoints",
    ".Trash-1000/files/1.jpg": ".Trash-1000",
    ".Trashes/501/1.jpg": ".Trashes",
    ".git/objects/1.jpg": ".git",
    "a/@eaDir/1.jpg": "@eaDir",
    "__MACOSX/a/1.jpg": "__MACOSX",
    "__MACOSX/a/._2.jpg": "__MACOSX",
    "a/._1.jpg": "._*",
    "a/.hidden.jpg": ".hidden.jpg",
    "#recycle/1.jpg": "#recycle",
    "$RECYCLE.BIN/1.jpg": "$RECYCLE.BIN",
    "System Volume Information/1.jpg": "System Volume Information",
    "lost+found/1.jpg": "lost+found",
    "Thumbs.db": "Thumbs.db",
    "a/.DS_Store": ".DS_Store",
}


class TestHidden:
    def test_what_is_no_photo_of_a_person_s_is_left_out_counted_and_named(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "a/1.jpg", "_b/_DSC0001.jpg", *HIDDEN)
        keys, left_out = taken(source)
        assert keys == ["_b/_DSC0001.jpg", "a/1.jpg"]
        assert left_out.reasons == {"hidden": {name: list(HIDDEN.values()).count(name) for name in HIDDEN.values()}}

    def test_it_is_left_out_alike_on_s3(self, tmp_path: Path, aws: Aws, bucket: str) -> None:
        aws.put(bucket, {f"photos/{key}": b"x" for key in ["a/1.jpg", *HIDDEN]})
        keys, left_out = taken(f"s3://{bucket}/photos")
        assert (keys, left_out.files) == (["a/1.jpg"], len(HIDDEN))

    def test_hidden_brings_it_in(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "a/1.jpg", *HIDDEN)
        keys, left_out = taken(source, hidden=True)
        assert set(keys) == {"a/1.jpg", *HIDDEN} - {"Thumbs.db", "a/.DS_Store"}
        assert left_out.reasons == {"no_photo": {"db": 1, "": 1}}

    def test_a_source_in_a_hidden_folder_is_a_source(self, tmp_path: Path) -> None:
        assert taken(make(tmp_path / ".cache" / "photos", "a/1.jpg"))[0] == ["a/1.jpg"]

    def test_only_hidden_photos_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", ".a/1.jpg", ".a/2.jpg", "b/notes.txt")
        with pytest.raises(InputError, match=r"none of the 3 files .* 2 are left out: hidden .*--hidden takes them"):
            write_catalog(str(source), str(tmp_path / "output"), Selection())


class TestExclude:
    def test_names_of_files_and_of_folders(self, tmp_path: Path) -> None:
        source = make(
            tmp_path / "source", "a/1.jpg", "a/1_mask.jpg", "a/bad/2.jpg", "bad/3.jpg", "b/bad.jpg", "b/4.jpg"
        )
        keys, left_out = taken(source, exclude=("bad", "*_mask.*"))
        assert keys == ["a/1.jpg", "b/4.jpg", "b/bad.jpg"]
        assert left_out.reasons == {"excluded": {"bad": 2, "*_mask.*": 1}}

    def test_paths_below_the_source(self, tmp_path: Path) -> None:
        source = make(tmp_path / "source", "a/bad/1.jpg", "bad/2.jpg", "a/badly/3.jpg")
        assert taken(source, exclude="a/bad")[0] == ["a/badly/3.jpg", "bad/2.jpg"]
        assert taken(source, exclude="a/*")[0] == ["bad/2.jpg"]

    def test_many_names_are_counted_together(self, tmp_path: Path) -> None:
        left_out = LeftOut()
        for number in range(1000):
            left_out.add("hidden", f".{number}")
        assert left_out.files == 1000
        assert len(left_out.reasons["hidden"]) == 101


class TestWithoutPermission:
    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A source of which `closed/` cannot be listed. Root may list anything, so the system's answer is made up."""
        source = make(tmp_path / "source", "a/1.jpg", "closed/2.jpg", "z/3.jpg")
        scandir = os.scandir

        def refusing(path: str):
            if os.path.basename(path) in {"closed", "lost+found", ".Trashes"}:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        return source

    def test_the_message_names_the_folder_and_the_way_out(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError) as error:
            write_catalog(str(source), str(tmp_path / "output"), Selection())
        assert error.value.message == f"{source}/closed/ cannot be listed: Permission denied"
        assert "--exclude closed." in error.value.hint

    def test_the_way_out_works(self, source: Path) -> None:
        keys, left_out = taken(source, exclude="closed")
        assert (keys, left_out.reasons) == (["a/1.jpg", "z/3.jpg"], {"excluded": {"closed": 1}})

    def test_what_no_glob_takes_needs_no_permission(self, source: Path) -> None:
        assert taken(source, glob="a/*.jpg")[0] == ["a/1.jpg"]
        with pytest.raises(InputError):
            taken(source, glob="c*/2.jpg")

    @pytest.mark.parametrize("name", ["lost+found", ".Trashes"])
    def test_what_is_left_out_anyway_needs_no_permission(self, source: Path, name: str) -> None:
        make(source, f"{name}/4.jpg")
        keys, left_out = taken(source, exclude="closed")
        assert (keys, left_out.reasons["hidden"]) == (["a/1.jpg", "z/3.jpg"], {name: 1})


def test_links_and_copies_are_rows_of_their_own(tmp_path: Path) -> None:
    source = make(tmp_path / "source", "a/1.jpg")
    (source / "a" / "2.jpg").write_bytes((source / "a" / "1.jpg").read_bytes())
    (source / "a" / "3.jpg").hardlink_to(source / "a" / "1.jpg")
    (source / "a" / "4.jpg").symlink_to("1.jpg")
    catalog = write_catalog(str(source), str(tmp_path / "output"), Selection())
    entries = [entry for shard in catalog.shards for entry in read_shard_entries(str(tmp_path / "output"), shard)]
    photos = open_source(str(source))
    assert [photos.key(entry.path) for entry in entries] == [f"a/{number}.jpg" for number in range(1, 5)]
    assert len({photos.read(entry) for entry in entries}) == 1
