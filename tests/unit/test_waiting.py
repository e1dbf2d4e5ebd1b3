"""How long S3 is waited for: what got no answer is soon asked for again, and a slow service is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from obstore.store import MemoryStore

from engines.core.errors import TransientError
from engines.core.storage import aws, repetition, s3_keys, waiting
from engines.core.storage.objects import ObjectStorage, open_object_storage
from engines.core.storage.waiting import PatientStore
from tests.s3_answers import Answer, Request, answering, good

pytestmark = pytest.mark.usefixtures("quick_sessions")


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Set when the test is over: what waits for it has waited for good."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAITS", (timedelta(seconds=0.3), timedelta(seconds=0.9)))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def storage_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStorage:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    return open_object_storage("s3://b")


def test_what_gets_no_answer_is_soon_asked_for_again(monkeypatch: pytest.MonkeyPatch, ended: threading.Event) -> None:
    def silent_twice(request: Request) -> Answer:
        if len(running.requests) <= 2:
            ended.wait()
        return good(request)

    with answering(silent_twice) as running:
        assert storage_at(running.endpoint, monkeypatch).read("photo.jpg") == b"abc"
        assert len(running.requests) == 3


def test_a_service_that_is_always_slow_is_waited_for_and_soon_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(request: Request) -> Answer:
        threading.Event().wait(0.45)
        return good(request)

    monkeypatch.setattr(waiting, "SLOW_ANSWERS", 2)
    with answering(slow) as running:
        storage = storage_at(running.endpoint, monkeypatch)
        asked = []
        for _ in range(4):
            running.requests.clear()
            assert storage.read("photo.jpg") == b"abc"
            asked.append(len(running.requests))
    assert asked == [4, 4, 1, 1]


def test_a_service_that_is_slower_than_all_first_attempts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(request: Request) -> Answer:
        threading.Event().wait(1.5)
        return good(request)

    with answering(slow) as running:
        assert storage_at(running.endpoint, monkeypatch).read("photo.jpg") == b"abc"
        assert len(running.requests) == 7, "three of each kind of attempt, and the last"


def test_a_page_of_a_listing_without_an_answer_is_soon_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, ended: threading.Event
) -> None:
    def silent_once(request: Request) -> Answer:
        if len(running.requests) == 1:
            ended.wait()
        return good(request)

    monkeypatch.setattr(s3_keys, "FIRST_WAIT", 0.3)
    with answering(silent_once) as running:
        (photo,) = storage_at(running.endpoint, monkeypatch).list()
        assert photo.key == "photo.jpg"
        assert [request.is_listing for request in running.requests] == [True, True]


def test_a_service_that_does_not_answer_is_said_once_while_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(repetition, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(aws, "RETRY_SECONDS", 2)
    with pytest.raises(TransientError):
        list(storage_at("http://127.0.0.1:9", monkeypatch).list())
    (line,) = caplog.messages
    assert line.startswith("s3://b: Could not connect")
    assert line.endswith("; trying again for up to 2 s")


def test_a_large_object_has_its_time_to_be_sent_and_a_small_one_is_given_up_after_a_minute() -> None:
    opened: list[tuple[dict[str, Any], Any]] = []

    def open_store(client: dict[str, Any], retry: Any) -> MemoryStore:
        opened.append((client, retry["max_retries"]))
        return MemoryStore()

    store = PatientStore(open_store)
    for megabytes, seconds in ((0, 60), (3, 60), (14, 480), (100, 3840)):
        store.put(f"{megabytes} MB", bytes(megabytes * 1_000_000), "create")
        assert opened[-1] == ({"timeout": timedelta(seconds=seconds)}, 10_000)
    assert len(opened) == 4, "one store for each time, and the one for all else"


def test_the_first_attempt_at_writing_is_a_short_one(monkeypatch: pytest.MonkeyPatch, ended: threading.Event) -> None:
    def silent_once(_: Request) -> Answer:
        if len(running.requests) == 1:
            ended.wait()
        return Answer()

    monkeypatch.setattr(waiting, "FIRST_SENDING", (timedelta(seconds=0.3), 500_000))
    with answering(silent_once) as running:
        storage_at(running.endpoint, monkeypatch).write("part", b"rows")
        assert [request.method for request in running.requests] == ["PUT", "PUT"]


def test_a_write_that_may_happen_once_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_: Request) -> Answer:
        threading.Event().wait(1)
        return Answer()

    monkeypatch.setattr(waiting, "FIRST_SENDING", (timedelta(seconds=0.3), 500_000))
    with answering(slow) as running:
        assert storage_at(running.endpoint, monkeypatch).write_if("lease.json", b"mine", None) == '"abc"'
        assert len(running.requests) == 1
