"""One run at a time writes into an output."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines.core.contracts import check_locations
from engines.core.errors import InputError, StageError, TransientError
from engines.core.storage import lease, normalize_location
from engines.core.storage.objects import ObjectStorage
from engines.core.storage.process_identity import process_identity


def test_a_second_run_is_refused_and_told_who_is_writing(tmp_path: Path) -> None:
    with (
        lease.exclusive(str(tmp_path), "photos · dask"),
        pytest.raises(InputError, match=f"photos · dask .*process {os.getpid()}"),
        lease.exclusive(str(tmp_path), "another"),
    ):
        pytest.fail("two runs hold the lease")


def test_a_run_that_is_done_lets_go_and_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with lease.exclusive(str(tmp_path), "a run") as held:
            held.check()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def _without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(lease.fcntl, "flock", refused)


@pytest.mark.usefixtures("_without_locks")
class TestAFileSystemWithoutLocks:
    def test_a_second_run_is_refused_and_told_who_is_writing(self, tmp_path: Path) -> None:
        with (
            lease.exclusive(str(tmp_path), "photos · dask"),
            pytest.raises(InputError, match=f"photos · dask .*process {os.getpid()}") as error,
            lease.exclusive(str(tmp_path), "another"),
        ):
            pytest.fail("two runs hold the lease")
        assert "remove" not in error.value.hint

    def test_a_run_that_is_done_lets_go_and_leaves_nothing(self, tmp_path: Path) -> None:
        for _ in range(2):
            with lease.exclusive(str(tmp_path), "a run") as held:
                held.check()
        assert list(tmp_path.iterdir()) == []

    def test_a_run_of_this_machine_that_is_gone_is_not_waited_for(self, tmp_path: Path) -> None:
        boot, number, _ = process_identity().split()
        (tmp_path / ".writing").write_text(json.dumps({"process": f"{boot} {number} 1"}))
        with lease.exclusive(str(tmp_path), "a run") as held:
            held.check()
        assert list(tmp_path.iterdir()) == []

    def test_a_run_of_another_machine_is_named_with_what_to_do_if_it_is_gone(self, tmp_path: Path) -> None:
        about = {"holder": "a run", "host": "elsewhere", "pid": 1, "since": "noon", "process": "another/boot 1 1"}
        (tmp_path / ".writing").write_text(json.dumps(about))
        with (
            pytest.raises(InputError, match=r"a run \(elsewhere") as error,
            lease.exclusive(str(tmp_path), "another"),
        ):
            pytest.fail("two runs hold the lease")
        assert f"remove {tmp_path}/.writing" in error.value.hint


def test_a_file_system_that_cannot_replace_files_is_said_before_anything_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(InputError, match="files there cannot be replaced: Operation not supported") as error:
        check_locations(str(tmp_path), str(tmp_path.parent / "output"))
    assert "s3://" in error.value.hint
    assert list(tmp_path.parent.glob(".write-check*")) == []


def test_outputs_do_not_mind_each_other(tmp_path: Path) -> None:
    with lease.exclusive(str(tmp_path / "a"), "a run"), lease.exclusive(str(tmp_path / "b"), "another") as held:
        held.check()


def _hold(output: str, ready: str) -> None:
    with lease.exclusive(output, "a run to be killed"):
        Path(ready).touch()
        time.sleep(60)


def test_a_killed_run_lets_go_at_once(tmp_path: Path) -> None:
    output, ready = tmp_path / "output", tmp_path / "ready"
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(output), str(ready)))
    process.start()
    while not ready.exists():
        assert process.is_alive()
        time.sleep(0.05)
    with pytest.raises(InputError, match="a run to be killed"), lease.exclusive(str(output), "next"):
        pytest.fail("two runs hold the lease")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with lease.exclusive(str(output), "next") as held:
        held.check()


def test_on_s3_a_run_of_this_machine_is_known_to_be_there_or_killed_at_once(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_POLL_SECONDS", -1)  # no sleep is that long
    output, ready = f"s3://{bucket}/out", tmp_path / "ready"
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(output, str(ready)))
    process.start()
    while not ready.exists():
        assert process.is_alive()
        time.sleep(0.05)
    with pytest.raises(InputError, match="a run to be killed"), lease.exclusive(output, "next"):
        pytest.fail("two runs hold the lease")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with lease.exclusive(output, "next") as held:
        held.check()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that are renewed and lost within seconds; a busy machine still renews them in time."""
    monkeypatch.setattr(lease, "LIFE_SECONDS", 4)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.3)
    monkeypatch.setattr(lease, "_POLL_SECONDS", 0.1)
    monkeypatch.setattr(lease, "process_identity", str)  # as runs of different machines


@pytest.mark.usefixtures("quick")
class TestOnS3:
    def test_a_second_run_is_refused_and_told_who_is_writing(self, bucket: str) -> None:
        output = normalize_location(f"s3://{bucket}/out")
        with (
            lease.exclusive(output, "photos · dask") as held,
            pytest.raises(InputError, match=f"photos · dask .*process {os.getpid()}"),
            lease.exclusive(output, "another"),
        ):
            pytest.fail("two runs hold the lease")
        held.check()

    def test_a_run_of_another_machine_that_was_killed_is_waited_for_and_that_is_said(
        self, bucket: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease._ObjectLease, "release", lambda _: None)
        monkeypatch.setattr(lease._ObjectLease, "_renew", lambda _: None)
        for _ in range(2):
            with lease.exclusive(f"s3://{bucket}/out", "a run") as held:
                held.check()
        (said,) = (record.message for record in caplog.records if record.name == "fruits.run")
        assert said.startswith(f"s3://{bucket}/out was being written by a run (")
        assert said.endswith(": waiting up to 4 s to see whether it still is")

    def test_a_run_that_is_done_lets_go_at_once(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease, "_POLL_SECONDS", -1)  # no sleep is that long
        for _ in range(3):
            with lease.exclusive(f"s3://{bucket}/out", "a run") as held:
                held.check()

    def test_a_lease_is_renewed_beyond_its_life(self, bucket: str) -> None:
        with lease.exclusive(f"s3://{bucket}/out", "a long run") as held:
            time.sleep(5)
            held.check()

    def test_a_run_without_sign_of_life_loses_its_lease(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(lease, "RENEW_SECONDS", 60)
            with lease.exclusive(f"s3://{bucket}/out", "a run that hangs") as hanging:
                patched.setattr(lease, "RENEW_SECONDS", 0.3)
                with lease.exclusive(f"s3://{bucket}/out", "next") as held:
                    held.check()
                    with pytest.raises(StageError, match="lost its lease"):
                        hanging.check()
                    # The former holder comes back to life, and does not take the lease away.
                    hanging._renew_once()  # type: ignore[attr-defined]
                    with pytest.raises(StageError, match="lost its lease"):
                        hanging.check()
                    time.sleep(1)
                    held.check()

    def test_a_run_whose_storage_was_out_of_reach_keeps_what_nobody_took(
        self, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outage = "the storage cannot be reached"

        def unreachable(*_: object) -> None:
            raise TransientError(outage)

        with lease.exclusive(f"s3://{bucket}/out", "a run") as held:
            with monkeypatch.context() as patched:
                patched.setattr(ObjectStorage, "write_if", unreachable)
                time.sleep(5)
                with pytest.raises(StageError, match=outage):
                    held.check()
            held.check()

    def test_of_many_that_start_at_once_one_gets_it(self, bucket: str) -> None:
        refused = threading.Semaphore(0)

        def attempt(number: int) -> bool:
            try:
                with lease.exclusive(f"s3://{bucket}/out", f"run {number}"):
                    return all(refused.acquire(timeout=100) for _ in range(7))
            except InputError:
                refused.release()
                return False

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(attempt, range(8))) == 1
