"""The API of `fruits serve`: what it answers, what it refuses, and that no client ever sees more than it should."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from engines.core import tables
from engines.core.output import read_record
from engines.published import load_model
from engines.published.neighbour_map import NeighbourMap
from engines.published.rows import read_rows, similar
from flows.serving import limits as limits_module
from flows.serving.answers import Place
from flows.serving.app import ServeOptions, create_app
from flows.serving.collection import PLACEHOLDER, Published
from flows.serving.map import CheckedMap
from tests.command_line import GOOD, CommandLine
from tests.records import edit_record

LIMIT = 1_000_000
HERE = "http://127.0.0.1"


def client_of(published: Path, **options: Any) -> TestClient:
    served = ServeOptions(str(published), **{"max_upload": LIMIT, "rate": 100_000, "threads": 2, **options})
    app = create_app(served.open(), served)
    return TestClient(app, base_url=HERE, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(published: Path) -> Iterator[TestClient]:
    with client_of(published) as client:
        yield client


@pytest.fixture(scope="module")
def photo(source: Path) -> bytes:
    return next(source.glob("Berry*/004.jpg")).read_bytes()


def send(client: TestClient, content: bytes, to: str = "/api/similar", kind: str = "image/jpeg") -> Any:
    return client.post(to, files={"photo": ("photo.jpg", content, kind)})


def assert_refused(answer: Any, status: int, reason: str, message: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["reason"] == reason
    assert message in answer.json()["error"]["message"]
    assert "Traceback" not in answer.text


def test_the_nearest_photos_are_those_of_fruits_similar(client: TestClient, published: Path, photo: bytes) -> None:
    answer = send(client, photo, "/api/similar?k=4").json()
    model = load_model(published)
    expected = similar(read_rows(str(published), model.record), model.vector(photo), 4)
    assert [each["row"] for each in answer["neighbours"]] == [each.row for each in expected.neighbours]
    assert [each["label"] for each in answer["neighbours"]] == [each.label for each in expected.neighbours]
    assert answer["neighbours"][0]["name"] == "Berry Crimson/004.jpg"
    assert answer["vote"] == {"label": expected.vote.label, "share": expected.vote.share}


def test_the_numbers_have_the_bits_of_the_run(client: TestClient, published: Path, photo: bytes) -> None:
    values = send(client, photo, "/api/transform").json()["pcaFeatures"]
    assert np.array(values, np.float32).tobytes() == load_model(published).vector(photo).tobytes()


def test_a_published_photo_lies_on_the_map_where_its_point_is(client: TestClient, photo: bytes) -> None:
    answer, points = send(client, photo).json(), client.get("/api/map").json()
    here = points["row"].index(answer["neighbours"][0]["row"])
    assert answer["place"] == {"x": points["x"][here], "y": points["y"][here]}
    assert points["labels"][points["label"][here]] == "Berry Crimson"
    assert len(points["x"]) == GOOD


def test_the_server_says_that_it_is_there_and_what_it_has(client: TestClient) -> None:
    facts = client.get("/api/collection").json()
    assert client.get("/healthz").json() == {
        "status": "ok",
        "photos": GOOD,
        "version": facts["version"],
        "outdated": False,
    }
    assert (facts["photos"], facts["labels"], facts["max_upload"]) == (GOOD, 6, LIMIT)


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason"),
    [
        (b"not a photo", "image/jpeg", 422, "not_an_image"),
        (b"", "image/jpeg", 422, "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", 422, "unsupported_format"),
        (b"<script>alert(1)</script>", "text/html", 415, "not_an_image"),
        (b"0" * (LIMIT + 1), "image/jpeg", 413, "too_large"),
        (b"0" * (LIMIT + 100_000), "image/jpeg", 413, "too_large"),
        (b"0" * (LIMIT * 5), "image/jpeg", 413, "too_large"),
    ],
    ids=["text", "empty", "svg", "html", "a-byte-too-large", "too-large", "far-too-large"],
)
def test_what_is_no_photo_is_refused_and_said_why(
    client: TestClient, content: bytes, kind: str, status: int, reason: str
) -> None:
    assert_refused(send(client, content, kind=kind), status, reason)


def test_what_is_published_while_it_serves_is_served(published: Path, photo: bytes, tmp_path: Path) -> None:
    output = shutil.copytree(published, tmp_path / "output")
    with client_of(output, look_seconds=0.05) as client:
        before = send(client, photo).json()
        picture = before["neighbours"][0]["photo"]
        parts = [dataclasses.asdict(part) for part in read_record(str(output)).parts]
        edit_record(output, parts=parts[:-1])
        until(lambda: client.get("/healthz").json()["version"] != before["version"])
        after = send(client, photo).json()
        assert after["version"] == client.get("/api/map").json()["version"] == client.get("/healthz").json()["version"]
        assert client.get("/healthz").json()["photos"] == GOOD - parts[-1]["rows"]
        assert client.get(picture).headers["content-type"] == "image/jpeg"  # of the answer before, still
        assert_refused(client.get("/api/photos/0?version=other"), 404, "not_found", "published since")


def test_what_is_published_and_damaged_is_said_and_the_former_kept(
    published: Path, photo: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = shutil.copytree(published, tmp_path / "output")
    whole = (output / "run.json").read_bytes()
    with client_of(output, look_seconds=0.05) as client:
        before = send(client, photo).json()
        (output / "run.json").write_bytes(whole[: len(whole) // 2])
        until(lambda: client.get("/healthz").json()["outdated"])
        assert send(client, photo).json() == before
        assert [record.message.count("run.json is") for record in caplog.records] == [1]
        (output / "run.json").write_bytes(whole)
        until(lambda: not client.get("/healthz").json()["outdated"])
        assert send(client, photo).json() == before


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def test_half_a_photo_and_a_wrong_form_are_refused(client: TestClient, photo: bytes) -> None:
    assert_refused(send(client, photo[: len(photo) // 2]), 422, "truncated")
    assert_refused(client.post("/api/similar", data={"photo": "text"}), 422, "invalid")
    assert_refused(client.post("/api/similar", content=photo), 422, "invalid")
    assert_refused(
        client.post("/api/similar", content=b"--x", headers={"Content-Type": "multipart/form-data"}), 400, "invalid"
    )
    assert_refused(send(client, photo, "/api/similar?k=0"), 422, "invalid")
    assert_refused(client.get("/api/similar"), 405, "method_not_allowed")


def test_a_body_of_no_declared_length_is_cut_off_at_the_limit(client: TestClient) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        while taken < 50 * LIMIT:
            taken += 100_000
            yield b"0" * 100_000

    answer = client.post("/api/similar", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert_refused(answer, 413, "too_large")


def test_a_photo_that_takes_too_long_is_not_waited_for(published: Path) -> None:
    sent: list[Any] = []

    async def request() -> None:
        async def never() -> Any:
            await asyncio.sleep(60)

        async def keep(message: Any) -> None:
            sent.append(message)

        app = client_of(published, seconds=0.05).app
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/similar",
            "raw_path": b"/api/similar",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=x")],
        }
        await app(scope, never, keep)

    asyncio.run(request())
    assert sent[0]["status"] == 408


def test_a_client_has_a_rate_and_hears_when_to_come_back(published: Path, photo: bytes) -> None:
    with client_of(published, rate=3) as client:
        assert [send(client, photo).status_code for _ in range(3)] == [200, 200, 200]
        refused = send(client, photo)
        assert_refused(refused, 429, "too_many", "more than 3 photos a minute")
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
        assert client.get("/healthz").status_code == 200


def test_a_rate_is_of_one_client_and_comes_back_with_time() -> None:
    now = 0.0
    buckets = limits_module._Buckets(6, lambda: now)
    assert [buckets.take("a") for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    assert buckets.take("b") == 0
    now = 10.0
    assert (buckets.take("a"), buckets.take("a")) == (0, 10)
    for number in range(20_000):
        buckets.take(str(number))
    assert len(buckets._clients) <= 10_000


def test_pages_of_others_are_refused(client: TestClient, photo: bytes) -> None:
    answer = client.post(
        "/api/similar", files={"photo": ("a.jpg", photo, "image/jpeg")}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert_refused(answer, 403, "other_page")


def test_a_name_of_others_for_this_machine_is_refused(published: Path) -> None:
    with client_of(published, hosts=("127.0.0.1", "localhost")) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400


def test_a_published_photo_is_shown_small(client: TestClient) -> None:
    answer = client.get("/api/photos/5")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_photos_come_from_the_rows_alone(client: TestClient) -> None:
    assert_refused(client.get(f"/api/photos/{GOOD}"), 404, "not_found")
    for row in ("-1", "x", "%2e%2e%2fetc%2fpasswd"):
        assert client.get(f"/api/photos/{row}").status_code in (404, 422)
    for path in (
        "/../pyproject.toml",
        "/%2e%2e/app.py",
        "/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "//etc/passwd",
    ):
        answer = client.get(path)
        assert (answer.status_code, "import" in answer.text) == (404, False)


def test_photos_that_are_gone_have_a_placeholder(published: Path, tmp_path: Path, photo: bytes) -> None:
    output = shutil.copytree(published, tmp_path / "output")
    edit_record(output, source="/photos/that/are/gone")
    with client_of(output) as client:
        answer = client.get("/api/photos/5")
        assert (answer.status_code, answer.content) == (200, PLACEHOLDER[0])
        assert send(client, photo).status_code == 200


def test_a_fault_of_ours_is_no_traceback(published: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a secret of the inside")

    with client_of(published) as client:
        monkeypatch.setattr(Published, "similar", broken)
        answer = send(client, photo)
        assert_refused(answer, 500, "fault")
        assert "secret" not in answer.text


def test_the_page_loads_nothing_of_others(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")
    for name in ("page.css", "page.js", "map.js", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200


def wait_for(address: str, process: subprocess.Popen[str]) -> Any:
    for _ in range(300):
        try:
            return httpx2.get(f"{address}/healthz").json()
        except httpx2.HTTPError:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_the_command_serves_with_several_workers_and_ends_when_told(fruits: CommandLine, published: Path) -> None:
    process = fruits.start("serve", published, "--port", "0", "--workers", "2", "--threads", "1")
    try:
        line = process.stderr.readline()
        assert line.startswith(f"{GOOD} photos at http://127.0.0.1:")
        health = wait_for(line.split()[3], process)
        assert (health["status"], health["photos"]) == ("ok", GOOD)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.terminate()  # its workers end with it
        process.communicate(timeout=60)


def test_what_cannot_be_served_is_said(fruits: CommandLine, published: Path, tmp_path: Path) -> None:
    fruits("serve", tmp_path).assert_refused("has no published results", "Run `fruits run")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fruits("serve", published, "--port", port).assert_refused("cannot be listened at", "another --port")


def test_a_missing_extra_is_named(published: Path) -> None:
    script = "import sys; sys.modules['fastapi'] = None; from flows.start import main; main()"
    command = [sys.executable, "-c", script, "serve", str(published)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs the package fastapi" in done.stderr
    assert "fruit-features[serve]" in done.stderr
    assert read_record(str(published)).counts.projected == GOOD


def test_on_the_map_of_a_check_a_photo_lies_where_its_nearest_do(published: Path) -> None:
    rows = read_rows(str(published), read_record(str(published)))
    some = [0, 7, 20, 21, 40]
    columns = [
        ["/gone.jpg", *(rows.paths[row].as_py() for row in some)],
        [""] * 6,
        np.arange(6, dtype=np.float32) / 8,
        np.zeros(6, np.float32),
        np.zeros(6, np.float32),
        np.zeros(6, np.float32),
        [[]] * 6,
    ]
    plane = CheckedMap(rows, NeighbourMap.of(pa.table(columns, schema=tables.LAYOUT), rows))
    assert plane.points("v").row == some  # a photo that is no longer published is left out
    assert plane.place(rows.values[20]) == Place(x=3 / 8, y=0)
    between = plane.place((rows.values[20] + rows.values[21]) / 2)
    assert 1 / 8 < between.x < 5 / 8
