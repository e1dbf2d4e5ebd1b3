"""Storage: whole objects or none, in order, on folders and over HTTP; every failure with what to do."""

from __future__ import annotations

import errno
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engines.core.errors import FruitsError, GoneError, InputError, StorageError, TransientError
from engines.core.storage import (
    Storage,
    is_folder,
    key_of,
    normalize_location,
    open_storage,
    read_ahead,
)
from engines.core.storage import aws as aws_access
from engines.core.storage.folder import FolderStorage
from engines.core.tables import to_parquet
from tests.s3 import PAGE, Aws


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(str(tmp_path / "a folder"))
    return open_storage(f"s3://{request.getfixturevalue('bucket')}/a prefix")


class TestBothKinds:
    def test_what_is_written_is_read(self, storage: Storage) -> None:
        for content in (b"", b"first", bytes(3_000_000), b"last"):
            storage.write("deep/down/object", content)
            assert storage.read("deep/down/object") == content

    def test_exists(self, storage: Storage) -> None:
        assert not storage.exists("folder/object")
        storage.write("folder/object", b"")
        assert storage.exists("folder/object")
        assert not storage.exists("folder")

    def test_list_is_in_the_order_of_the_keys_bytes(self, storage: Storage) -> None:
        keys = ["a/b/c", "a-b", "a.b", "a/b.c", "A", "é", "🍓", "ﬀ", "a b"]
        for key in keys:
            storage.write(key, key.encode())
        listed = list(storage.list())
        assert [item.key for item in listed] == sorted(keys, key=str.encode)
        assert [item.size for item in listed] == [len(item.key.encode()) for item in listed]

    def test_list_of_a_folder_holds_that_folder_only(self, storage: Storage) -> None:
        for key in ("features/1", "features/deep/2", "features2/3", "other"):
            storage.write(key, b"x")
        assert [item.key for item in storage.list("features")] == ["features/1", "features/deep/2"]
        assert list(storage.list("nothing")) == []

    def test_an_empty_location_lists_as_empty(self, storage: Storage) -> None:
        assert list(storage.list()) == []

    def test_the_version_changes_with_the_content(self, storage: Storage) -> None:
        versions = []
        for content in (b"one", b"two"):
            storage.write("object", content)
            versions += [item.version for item in storage.list()]
        assert len(set(versions)) == 2

    def test_uri_and_key_are_inverse(self, storage: Storage) -> None:
        for key in ("a/b c.jpg", "100%/#1?.jpg"):
            assert storage.uri(key) == f"{storage.url}/{key}"
            assert key_of(storage.url, storage.uri(key)) == key

    def test_open_reads_parts(self, storage: Storage) -> None:
        storage.write("object", bytes(range(200)))
        with storage.open("object") as file:
            file.seek(-3, os.SEEK_END)
            assert file.read() == bytes([197, 198, 199])
            file.seek(10)
            assert file.read(2) == bytes([10, 11])

    def test_open_serves_parquet(self, storage: Storage) -> None:
        storage.write("table", to_parquet(pa.table({"x": [1, 2]}), {"fact": 1}))
        with storage.open("table") as file:
            assert pq.read_schema(file).names == ["x"]

    @pytest.mark.parametrize("action", ["read", "open"])
    def test_what_is_gone_is_a_storage_error(self, storage: Storage, action: str) -> None:
        storage.write("there", b"")
        with pytest.raises(StorageError, match="gone") as error:
            getattr(storage, action)("gone")
        assert "removed since it was listed" in error.value.hint

    def test_it_can_be_written(self, storage: Storage) -> None:
        storage.check_writable()


class TestFolders:
    def test_a_write_that_is_killed_leaves_nothing_under_the_name(self, tmp_path: Path) -> None:
        script = """
import os, signal, sys
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
from engines.core.storage import open_storage
open_storage(sys.argv[1]).write("part.parquet", bytes(100_000))
"""
        (tmp_path / "part.parquet").write_bytes(b"former")
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert (tmp_path / "part.parquet").read_bytes() == b"former"
        (left,) = {path.name for path in tmp_path.iterdir()} - {"part.parquet"}
        assert left.startswith("."), "readers of parquet folders skip what begins with a dot"

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
    def test_a_write_that_fails_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        def fail(file: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=os.strerror(code)):
            open_storage(str(tmp_path)).write("part.parquet", b"content")
        assert list(tmp_path.iterdir()) == []

    def test_readers_meet_the_former_or_the_new_content_while_it_is_replaced(self, tmp_path: Path) -> None:
        storage = open_storage(str(tmp_path))
        contents = [bytes([value]) * 200_000 for value in (1, 2)]
        storage.write("object", contents[0])
        stop = threading.Event()

        def replace() -> None:
            while not stop.is_set():
                for content in contents:
                    storage.write("object", content)

        writers = [threading.Thread(target=replace) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            assert {storage.read("object") for _ in range(200)} <= set(contents)
        finally:
            stop.set()
            for writer in writers:
                writer.join()

    def test_a_failing_read_is_a_storage_error(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(StorageError, match="Is a directory"):
            open_storage(str(tmp_path)).read("folder")

    @pytest.mark.parametrize("output", ["file/below", "file", "/proc/fruits"])
    def test_a_place_that_cannot_be_written_is_an_input_error(self, tmp_path: Path, output: str) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="cannot be written"):
            open_storage(os.path.join(tmp_path, output)).check_writable()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_without_permission_is_an_input_error(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(InputError, match="Permission denied"):
            open_storage(str(tmp_path / "output")).check_writable()

    def test_checking_leaves_nothing(self, tmp_path: Path) -> None:
        open_storage(str(tmp_path / "deep" / "output")).check_writable()
        assert list(tmp_path.iterdir()) == []


class TestS3:
    def test_more_objects_than_a_page_holds(self, aws: Aws, bucket: str) -> None:
        assert PAGE == 50
        keys = [f"class {number % 7}/{number:04d}.jpg" for number in range(120)]
        aws.put(bucket, dict.fromkeys(keys, b"x"))
        assert [item.key for item in open_storage(f"s3://{bucket}").list()] == sorted(keys)

    def test_the_folder_objects_of_consoles_are_no_files(self, aws: Aws, bucket: str) -> None:
        aws.put(bucket, {"photos/": b"", "photos/a/": b"", "photos/a/1.jpg": b"x", "photos/a/empty.jpg": b""})
        keys = [item.key for item in open_storage(f"s3://{bucket}/photos").list()]
        assert keys == ["a/1.jpg", "a/empty.jpg"]

    def test_prefixes_are_folders(self, aws: Aws, bucket: str) -> None:
        aws.put(bucket, {"photos/1.jpg": b"x", "photos2/2.jpg": b"x"})
        assert [item.key for item in open_storage(f"s3://{bucket}/photos").list()] == ["1.jpg"]

    def test_a_missing_bucket_is_a_storage_error(self, aws: Aws) -> None:
        storage = open_storage("s3://no-such-bucket/prefix")
        for action in (lambda: list(storage.list()), lambda: storage.read("x"), lambda: storage.write("x", b"")):
            with pytest.raises(StorageError, match=r"bucket of .* does not exist") as error:
                action()
            assert "name and region" in error.value.hint
        with pytest.raises(InputError, match="cannot be written"):
            storage.check_writable()

    def test_what_is_denied_is_a_storage_error(self, aws: Aws, bucket: str) -> None:
        storage = open_storage(f"s3://{bucket}")
        storage.write("object", b"x")
        aws.deny(bucket, "s3:GetObject", "s3:PutObject")
        for action in (lambda: storage.read("object"), lambda: storage.write("object", b"")):
            with pytest.raises(StorageError, match="denied") as error:
                action()
            assert "policy" in error.value.hint
        with pytest.raises(InputError, match="denied"):
            storage.check_writable()

    @pytest.mark.parametrize("key", ["double//slash.jpg", "a/../up.jpg", "tab\t.jpg"])
    def test_a_name_that_obstore_cannot_request_is_listed_and_read(self, aws: Aws, bucket: str, key: str) -> None:
        aws.put(bucket, {key: b"x", "z.jpg": b"y"})
        storage = open_storage(f"s3://{bucket}")
        (item, _) = storage.list()
        assert item.key == key
        storage.check_key(key)
        assert storage.read_versioned(key) == (b"x", item.version)
        aws.client().delete_object(Bucket=bucket, Key=key)
        with pytest.raises(GoneError, match="does not exist"):
            storage.read(key)
        with pytest.raises(InputError, match="another name"):
            storage.read_range(key, 0, 1)  # of an archive

    def test_no_credentials_is_an_input_error(
        self, aws: Aws, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        with pytest.raises(InputError, match="no AWS credentials") as error:
            open_storage(f"s3://{bucket}/without-credentials")
        assert "AWS_PROFILE" in error.value.hint


ANSWERS = {
    400: b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
    401: b"",
    403: b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
    301: b"<Error><Code>PermanentRedirect</Code><Message>Use the right endpoint.</Message></Error>",
    412: b"",
    429: b"",
    503: b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
}


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the bucket's name ends with."""

    def do_GET(self) -> None:
        status = int(self.path.split("?")[0].split("/")[1].rsplit("-", 1)[-1])
        self.send_response(status)
        self.send_header("Content-Length", str(len(ANSWERS[status])))
        self.end_headers()
        self.wfile.write(ANSWERS[status])

    def log_message(self, *_: object) -> None:
        """Nothing: this is a test."""


@pytest.fixture(scope="module")
def answers(aws: Aws) -> Iterator[None]:
    """An S3 that refuses everything."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        patch.setattr(aws_access, "RETRY_SECONDS", 2)
        yield
    server.shutdown()


@pytest.mark.usefixtures("answers")
class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "kind", "message"),
        [
            (400, StorageError, "ExpiredToken: The provided token has expired."),
            (401, StorageError, "denied"),
            (403, StorageError, "denied"),
            (301, StorageError, "another region"),
            (412, StorageError, "412"),
            (429, TransientError, "429"),
        ],
    )
    def test_what_another_attempt_may_heal_is_transient_and_the_rest_is_not(
        self, status: int, kind: type[FruitsError], message: str
    ) -> None:
        with pytest.raises(FruitsError) as error:
            open_storage(f"s3://answers-{status}").read("img_301.jpg")
        assert type(error.value) is kind
        assert message in error.value.message
        assert error.value.hint
        assert "\n" not in error.value.message

    def test_a_denied_folder_listing_is_a_storage_error(self) -> None:
        with pytest.raises(StorageError, match="denied"):
            list(open_storage("s3://answers-403").list())


@pytest.mark.parametrize(
    ("location", "normal"),
    [
        ("/data/photos/", "/data/photos"),
        ("/data/../photos", "/photos"),
        ("/data/a b#1", "/data/a b#1"),
        ("/data/odd://name", "/data/odd:/name"),
        ("file:///data/photos/", "/data/photos"),
        ("file://localhost/data", "/data"),
        ("file:///data/a%20b", "/data/a b"),
        ("file:///data/photos#1", "/data/photos#1"),
        ("file:///data/what?", "/data/what?"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a b/%41#1/", "s3://bucket/a b/%41#1"),
        ("s3a://bucket/prefix", "s3://bucket/prefix"),
        ("S3://bucket/Prefix", "s3://bucket/Prefix"),
    ],
)
def test_a_location_has_one_spelling(location: str, normal: str) -> None:
    assert normalize_location(location) == normal
    assert normalize_location(normal) == normal
    assert is_folder(normal) == normal.startswith("/")


def test_relative_folders_and_home_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert normalize_location("photos") == f"{tmp_path}/photos"
    assert normalize_location("~/photos") == "/home/somebody/photos"


@pytest.mark.parametrize("location", ["", "s3://", "s3:///prefix", "file://other/data", os.fsdecode(b"/caf\xe9")])
def test_a_location_that_makes_no_sense_is_an_input_error(location: str) -> None:
    with pytest.raises(InputError) as error:
        normalize_location(location)
    assert error.value.hint


SECRETS = [
    "s3://AKIAEXAMPLE:SeCrEt@bucket",
    "s3://AKIAEXAMPLE:SeCrEt@bucket/prefix",
    "s3://AKIAEXAMPLE:with/SeCrEt@bucket/prefix",
    "S3A://AKIAEXAMPLE:SeCrEt@bucket/",
    "https://user:SeCrEt@host/photos",
    "s3://bucket?X-Amz-Signature=SeCrEt",
    "s3://bucket/photos?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=SeCrEt",
    "s3://bucket/photos?AWSAccessKeyId=x&Signature=SeCrEt&Expires=1",
    "az://container/photos?sv=2024&sig=SeCrEt",
]


@pytest.mark.parametrize("location", SECRETS)
def test_a_location_that_carries_credentials_is_refused_without_repeating_them(location: str) -> None:
    for action in (normalize_location, open_storage):
        with pytest.raises(InputError) as error:
            action(location)
        assert "SeCrEt" not in str(error.value)
        assert "AKIA" not in str(error.value)
        assert "AWS_PROFILE" in error.value.hint


@pytest.mark.parametrize(
    "location", ["s3://bucket/what?/a=b", "s3://bucket/a@b:c", "abfs://container@account.dfs.core.windows.net/photos"]
)
def test_a_location_that_only_looks_a_little_like_it_is_not(location: str) -> None:
    assert normalize_location(location) == location


def test_an_unknown_kind_of_url_is_an_input_error() -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        open_storage("ftp://host/folder")


def test_many_threads_that_begin_at_once_open_a_location_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    began = threading.Barrier(8)

    def slowly(location: str) -> Storage:
        opened.append(location)
        time.sleep(0.05)  # what looking for credentials takes
        return FolderStorage("/")

    def read(_: int) -> Storage:
        began.wait()
        return open_storage("s3://opened-once")

    monkeypatch.setattr("engines.core.storage.objects.open_object_storage", slowly)
    found = list(read_ahead(read, list(range(8)), 8))
    assert opened == ["s3://opened-once"]
    assert len(set(map(id, found))) == 1
