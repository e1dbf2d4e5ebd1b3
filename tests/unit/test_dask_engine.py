"""The Dask engine: the same bytes whatever the order and the workers, through failures too, and one clear error.

That its bytes are those of every other engine is checked in tests/parity.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed.comm import connect
from distributed.security import Security

from engines.base import FeaturizeRequest, IndexRequest, Progress
from engines.core.errors import InputError, StageError, StorageError, TransientError
from engines.core.index.selection import Selection
from engines.core.networks.model import Model, publish_model
from engines.dask.engine import DaskEngine
from engines.patience import Patience
from tests.parity.chain import Run, SequentialEngine, bytes_of, run_chain
from tests.parity.processes import dask_cluster
from tests.ports import listening_addresses

COMPONENTS = 16
SHARD_SIZE = 8


@pytest.fixture(scope="module")
def engine() -> Iterator[DaskEngine]:
    """Two workers."""
    with DaskEngine(workers=2) as engine:
        yield engine


@pytest.fixture(scope="module")
def lone_engine() -> Iterator[DaskEngine]:
    """One worker."""
    with DaskEngine(workers=1, patience=Patience(tries=2)) as engine:
        yield engine


@pytest.fixture
def run(photos: Path, tmp_path: Path, model: Model) -> Callable[..., Run]:
    """All four stages on 150 photos in about 20 shards, into a new output."""

    def run(engine: Any) -> Run:
        return run_chain(engine, photos, tmp_path / "output", model, components=COMPONENTS, shard_size=SHARD_SIZE)

    return run


@pytest.fixture(scope="module")
def expected(photos: Path, tmp_path_factory: pytest.TempPathFactory, model: Model) -> dict[str, str]:
    """The files of one image after the other, in one process."""
    output = tmp_path_factory.mktemp("expected") / "output"
    run_chain(SequentialEngine(), photos, output, model, components=COMPONENTS, shard_size=SHARD_SIZE)
    files = bytes_of(output)
    assert sum(name.startswith("features/") for name in files) > 10
    assert sum(name.startswith("results/") for name in files) > 10
    assert sum(name.startswith("pca/") for name in files) == 2
    return files


class ShuffledEngine(DaskEngine):
    """Hands the shards to the workers in another order each time."""

    def map(self, function: Any, items: Any, value: Any, after_death: Any = None) -> Iterator[tuple[int, Any]]:
        order = list(range(len(items)))
        random.shuffle(order)
        for position, outcome in super().map(function, [items[index] for index in order], value, after_death):
            yield order[position], outcome


class TestSameBytes:
    def test_one_worker(self, lone_engine: DaskEngine, run: Callable[..., Run], expected: dict[str, str]) -> None:
        assert bytes_of(run(lone_engine).output) == expected

    def test_two_workers(self, engine: DaskEngine, run: Callable[..., Run], expected: dict[str, str]) -> None:
        assert bytes_of(run(engine).output) == expected

    def test_two_workers_of_a_scheduler_in_any_order(
        self, run: Callable[..., Run], expected: dict[str, str], tmp_path: Path
    ) -> None:
        with dask_cluster(tmp_path) as address:
            with ShuffledEngine(scheduler=address) as shuffled:
                assert shuffled.parallelism == 2
                assert bytes_of(run(shuffled).output) == expected
            with DaskEngine(scheduler=address) as again:
                assert list(again.map(_echo, [1], again.broadcast(2))) == [(0, (1, 2))], "the scheduler goes on"

    def test_a_worker_killed_while_it_featurizes(
        self, engine: DaskEngine, run: Callable[..., Run], expected: dict[str, str]
    ) -> None:
        victim = min(engine._connected().client.run(os.getpid).values())
        killed = []

        def kill_once(progress: Progress) -> None:
            if progress.stage == "featurize" and 0 < progress.done < progress.total and not killed:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

        engine.on_progress = kill_once
        try:
            outcome = run(engine)
        finally:
            engine.on_progress = lambda _: None
        assert killed == [victim]
        assert bytes_of(outcome.output) == expected

    def test_a_run_that_was_cut_short_goes_on_from_there(
        self,
        engine: DaskEngine,
        photos: Path,
        tmp_path: Path,
        model: Model,
        run: Callable[..., Run],
        expected: dict[str, str],
    ) -> None:
        class CutShort(Exception):
            pass

        def stop(progress: Progress) -> None:
            if progress.stage == "featurize" and progress.done > progress.total / 3:
                raise CutShort

        engine.on_progress = stop
        try:
            with pytest.raises(CutShort):
                run(engine)
        finally:
            engine.on_progress = lambda _: None
        again = run(engine)
        assert again.featurized is not None
        assert 0 < again.featurized.reused < again.featurized.listed
        assert bytes_of(again.output) == expected


class TestFailures:
    def test_what_the_storage_refuses_is_raised_as_it_is(
        self, engine: DaskEngine, photos: Path, tmp_path: Path, model: Model
    ) -> None:
        source, output = tmp_path / "source", tmp_path / "output"
        (source / "class").mkdir(parents=True)
        for number, photo in enumerate(sorted(photos.rglob("*.jpg"))[:12]):
            (source / "class" / f"{number}.jpg").write_bytes(b"" if number == 5 else photo.read_bytes())
        indexed = engine.index(IndexRequest(str(source), str(output), Selection(shard_size=4)))
        publish_model(model, str(output))
        (output / "rejects").write_text("a file where the folder of rejects has to be")
        with pytest.raises(StorageError) as error:
            engine.featurize(FeaturizeRequest(str(source), str(output), indexed.catalog, model.fingerprint))
        assert str(error.value).startswith(f"{output}/rejects")
        assert "The shard" not in str(error.value)

    def test_a_defect_is_one_line_that_names_its_cause(self, engine: DaskEngine) -> None:
        with pytest.raises(StageError) as error:
            list(engine.map(_divide, [1, 0, 2], engine.broadcast(1)))
        assert str(error.value) == "a group of shards: ZeroDivisionError: division by zero"

    def test_after_a_failure_the_engine_goes_on(self, engine: DaskEngine) -> None:
        with pytest.raises(StageError):
            list(engine.map(_divide, [0] * 50, engine.broadcast(1)))
        outcomes = dict(engine.map(_divide, [1, 2, 4], engine.broadcast(8)))
        assert outcomes == {0: 8, 1: 4, 2: 2}

    def test_work_that_kills_its_workers_is_given_up_after_so_many_tries(self, lone_engine: DaskEngine) -> None:
        with pytest.raises(StageError, match=r"2 workers died while they worked on it \(SIGKILL\)") as error:
            list(lone_engine.map(_die, [0], lone_engine.broadcast(None)))
        assert "memory" in error.value.hint
        assert list(lone_engine.map(_echo, [1], lone_engine.broadcast(2))) == [(0, (1, 2))], "the worker is replaced"

    def test_a_cluster_that_is_gone_is_said_and_another_attempt_starts_anew(self) -> None:
        with DaskEngine(workers=1) as engine:
            outcomes = engine.map(_echo_slowly, range(20), engine.broadcast(1))
            assert next(outcomes)[1] in {(item, 1) for item in range(20)}
            assert engine._cluster is not None
            engine._cluster._process.kill()
            with pytest.raises(TransientError, match="the connection to the workers was lost"):
                list(outcomes)
            assert dict(engine.map(_echo, [0], engine.broadcast(1))) == {0: (0, 1)}

    def test_no_worker_is_waited_for_so_long_and_then_said(
        self, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        with (
            dask_cluster(tmp_path, workers=0) as address,
            DaskEngine(scheduler=address, patience=Patience(worker_seconds=3.0)) as engine,
            pytest.raises(StageError, match="no worker was there for 3 s") as error,
        ):
            list(engine.map(_echo, [0], engine.broadcast(None)))
        assert address in error.value.hint
        assert "no worker is there: waiting up to 3 s" in caplog.text

    def test_other_users_of_the_machine_cannot_hand_it_work(self, engine: DaskEngine) -> None:
        list(engine.map(_echo, [0], engine.broadcast(None)))
        assert engine._cluster is not None
        address = engine._cluster.address
        of_another = Security.temporary().get_connection_args("client")
        for attempt in (
            connect(address.replace("tls://", "tcp://"), timeout=3),
            connect(address, timeout=3, **of_another),
        ):
            with pytest.raises(OSError, match=r"TLS|in <|time"):
                asyncio.run(attempt)
        of_the_engine = engine._cluster.security.get_connection_args("client")
        asyncio.run(connect(address, timeout=3, **of_the_engine)).abort()

    def test_every_port_is_on_loopback(self, engine: DaskEngine) -> None:
        list(engine.map(_echo, [0], engine.broadcast(None)))
        assert listening_addresses() == {"127.0.0.1"}

    def test_failures_write_nothing_to_the_terminal(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.splitlines() == ["StageError('a group of shards: ZeroDivisionError: division by zero', '')"]
        assert done.stderr == ""
        assert done.returncode == 0


class TestAddresses:
    @pytest.mark.parametrize("address", ["", "somewhere", "http://127.0.0.1:8786", "tcp://127.0.0.1"])
    def test_what_is_no_address_is_a_clear_error(self, address: str) -> None:
        with pytest.raises(InputError, match="no Dask scheduler answers") as error:
            DaskEngine(scheduler=address)
        assert "--scheduler" in error.value.hint

    def test_a_place_where_no_scheduler_is_is_a_clear_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("engines.dask.connection._CONNECT_SECONDS", 1)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(InputError, match="no Dask scheduler answers"):
                DaskEngine(scheduler=f"tcp://127.0.0.1:{unused.getsockname()[1]}")

    def test_workers_or_a_scheduler(self) -> None:
        with pytest.raises(InputError, match="0 workers"):
            DaskEngine(workers=0)
        with pytest.raises(InputError, match="has its own workers"):
            DaskEngine(workers=2, scheduler="tcp://127.0.0.1:8786")


def _echo(item: int, value: Any) -> tuple[int, Any]:
    return item, value


def _echo_slowly(item: int, value: Any) -> tuple[int, Any]:
    time.sleep(1)
    return item, value


def _divide(item: int, value: int) -> float:
    return value / item


def _die(item: int, value: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


if __name__ == "__main__":
    with DaskEngine(workers=1) as one:
        try:
            list(one.map(_divide, [0], one.broadcast(1)))
        except StageError as defect:
            print(repr(defect))


def test_a_cluster_that_does_not_get_started_ends_with_the_engine_and_leaves_no_files(tmp_path: Path) -> None:
    stuck = """
import time, engines.dask.cluster as cluster
cluster._cluster = lambda *_: (print("stuck", flush=True), time.sleep(3600))
cluster.main(1)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", stuck], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"stuck\n"
        assert [path.name[:15] for path in tmp_path.iterdir()] == ["fruits-scratch-"]
        process.stdin.close()
        assert process.wait(60) == 1
    assert list(tmp_path.iterdir()) == []
