"""Reading several objects at once: in order, or as they come; no more at once or in memory than asked for."""

from __future__ import annotations

import threading
import time

import pytest

from engines.core.errors import TransientError
from engines.core.storage import read_ahead, read_as_completed


class TestReadAhead:
    def test_in_order_whatever_finishes_first(self) -> None:
        def read(item: int) -> bytes:
            time.sleep(0.01 * (item % 3))
            return str(item).encode()

        assert list(read_ahead(read, list(range(20)), 5)) == [str(item).encode() for item in range(20)]

    def test_no_more_than_the_window_at_once(self) -> None:
        lock, running, most, started = threading.Lock(), 0, 0, 0

        def read(item: int) -> bytes:
            nonlocal running, most, started
            with lock:
                running, started = running + 1, started + 1
                most = max(most, running)
            time.sleep(0.005)
            with lock:
                running -= 1
            return b""

        reads = read_ahead(read, list(range(50)), 4)
        next(reads)
        time.sleep(0.1)
        assert started <= 5, "what is read is kept in memory: no more than the window ahead of the reader"
        assert len(list(reads)) == 49
        assert most == 4

    def test_an_error_stands_in_its_place(self) -> None:
        def read(item: int) -> bytes:
            if item == 3:
                raise TransientError("the third")
            return str(item).encode()

        outcomes = list(read_ahead(read, list(range(6)), 2))
        assert outcomes[:3] + outcomes[4:] == [b"0", b"1", b"2", b"4", b"5"]
        assert isinstance(outcomes[3], TransientError)

    def test_a_defect_is_raised(self) -> None:
        def read(item: int) -> bytes:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            list(read_ahead(read, [1], 2))

    def test_whoever_stops_early_stops_the_reading(self) -> None:
        done = []
        reads = read_ahead(lambda item: done.append(item) or b"", list(range(100)), 3)  # type: ignore[func-returns-value]
        next(reads)
        reads.close()  # type: ignore[attr-defined]
        assert len(done) <= 4

    def test_nothing_to_read(self) -> None:
        assert list(read_ahead(lambda item: b"", [], 8)) == []


class TestReadAsCompleted:
    def test_a_slow_read_holds_up_no_other_as_far_as_memory_allows(self) -> None:
        others = threading.Semaphore(0)

        def read(item: int) -> int:
            if item == 0:
                assert all(others.acquire(timeout=30) for _ in range(9)), "the nine behind it were read meanwhile"
            return item

        seen = []
        for position, item in read_as_completed(read, list(range(20)), 2, held=10):
            assert position == item
            seen.append(item)
            others.release()
        assert seen[:9] == list(range(1, 10))
        assert sorted(seen) == list(range(20))

    def test_no_more_is_in_memory_than_may_be(self) -> None:
        started = 0

        def read(_: int) -> None:
            nonlocal started
            started += 1

        reads = read_as_completed(read, list(range(50)), 4, held=10)
        next(reads)
        time.sleep(0.1)
        assert started == 10
        next(reads)
        time.sleep(0.1)
        assert started == 11
        assert len(list(reads)) == 48

    def test_an_error_is_that_of_its_item_and_a_defect_is_raised(self) -> None:
        def read(item: int) -> int:
            if item == 3:
                raise TransientError("the third")
            return 1 // (5 - item)

        reads = read_as_completed(read, list(range(6)), 1, held=1)
        outcomes = dict(next(reads) for _ in range(5))
        assert isinstance(outcomes.pop(3), TransientError)
        assert outcomes == {0: 0, 1: 0, 2: 0, 4: 1}
        with pytest.raises(ZeroDivisionError):
            next(reads)
