"""What a run and its job say to each other: every order is carried out once or seen not to be, whoever dies when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest

from engines.base import FitReport, FitRequest, ProjectReport, ProjectRequest
from engines.core.errors import StageError, StorageError, TransientError
from engines.core.index.selection import Selection
from engines.core.layout import FEATURES
from engines.core.storage import open_storage
from engines.emr.control import stop_run
from engines.emr.job_driver import serve
from engines.emr.orders import Entry, Kind, OrderLog
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup
from tests.aws.jobs import CANCEL, both, jobs_started, states
from tests.aws.stand_in import StandIn
from tests.parity.chain import SequentialEngine
from tests.s3 import Aws

FIT = FitRequest("s3://nowhere/output", "catalog", "fingerprint", 8.0)


class Counting(SequentialEngine):
    """An engine that only counts how often it was asked to fit."""

    def __init__(self) -> None:
        super().__init__()
        self.fitted = 0

    def fit_pca(self, request: FitRequest) -> FitReport:
        self.fitted += 1
        return FitReport(f"pca-{self.fitted}", int(request.components), 1.0, 1, reused=False)

    def project(self, request: ProjectRequest) -> ProjectReport:
        return ProjectReport(request.pca, [], 0, 0)


@pytest.fixture
def log(aws: Aws) -> OrderLog:
    return OrderLog(f"s3://{aws.new_bucket()}/output", "jobs/run/0")


def order(author: str = "run") -> Entry:
    return Entry(Kind.STAGE, author, "fit_pca", asdict(FIT))


def no_pause(_: float) -> None:
    pass


def test_of_many_that_write_one_entry_one_does_and_the_others_know(log: OrderLog):
    """That S3 lets one of them through is S3's promise; the server of these tests keeps it for one after the other."""
    entries = [order(f"run-{number}") for number in range(3)]
    assert [log.append(0, entry) for entry in entries] == [True, False, False]
    assert log.read(0) == entries[0]


def test_an_entry_whose_acknowledgement_was_lost_is_there_all_the_same(log: OrderLog):
    """The request is repeated then, and finds the entry that it has made."""
    entry = order()
    assert log.append(0, entry)
    assert log.append(0, entry)
    assert not log.append(0, replace(entry, mark="another"))


def test_orders_are_only_for_object_stores(tmp_path):
    with pytest.raises(TypeError, match="no object store"):
        OrderLog(str(tmp_path), "jobs/run/0")


def test_a_job_that_gets_no_order_ends_by_itself_and_says_so(log: OrderLog):
    assert serve(log, Counting(), 0.05) == 0
    closed = log.read(0)
    assert closed is not None
    assert closed.kind is Kind.CLOSED
    assert closed.reason.startswith("no order came for")
    assert log.ended()


def test_an_order_that_comes_as_the_job_gives_up_is_carried_out(log: OrderLog):
    """Both want the same entry: the order has it, and the job sees that."""
    engine, append = Counting(), log.append

    def too_late(number: int, entry: Entry) -> bool:
        if number == 0:
            assert append(0, order())
        return append(number, entry)

    log.append = too_late  # type: ignore[method-assign]
    assert serve(log, engine, 0.0) == 0
    assert engine.fitted == 1
    assert (log.answer(0) or {})["report"]["pca"] == "pca-1"
    assert (log.read(1) or order()).kind is Kind.CLOSED


def test_an_order_after_the_job_has_given_up_has_no_place(log: OrderLog):
    assert serve(log, Counting(), 0.0) == 0
    assert not log.append(0, order())


def test_a_driver_that_is_started_again_repeats_nothing_that_was_answered(log: OrderLog):
    first, second = Counting(), Counting()
    log.append(0, order())
    assert serve(log, first, 0.0) == 0  # which closes the log at 1
    again = OrderLog(log._storage.url, "jobs/run/1")
    again.append(0, order())
    again.write_answer(0, log.answer(0) or {})
    again.append(1, order())
    again.append(2, Entry(Kind.END, "run"))
    assert serve(again, second, 60.0) == 0
    assert (first.fitted, second.fitted) == (1, 1)


def test_the_end_of_a_run_ends_the_job_after_what_was_ordered_before(log: OrderLog):
    engine = Counting()
    for number, entry in enumerate(
        [order(), Entry(Kind.ATTACHED, "other"), order(), Entry(Kind.END, "other"), order()]
    ):
        log.append(number, entry)
    assert serve(log, engine, 60.0) == 0
    assert engine.fitted == 2
    assert log.answer(4) is None


def test_the_last_stage_ends_the_job(log: OrderLog):
    log.append(0, Entry(Kind.STAGE, "run", "project", asdict(ProjectRequest("s3://a/b", "catalog", "model", "pca"))))
    assert serve(log, Counting(), 60.0) == 0
    assert (log.read(1) or order()).reason == "all stages are done"


def test_a_job_whose_spark_is_gone_answers_and_takes_no_more(log: OrderLog):
    class Lost(Counting):
        def fit_pca(self, request: FitRequest) -> FitReport:
            raise TransientError("Spark's JVM is gone")

    log.append(0, order())
    assert serve(log, Lost(), 60.0, lost=lambda: True) == 1
    assert (log.answer(0) or {})["error"]["kind"] == "TransientError"
    assert (log.read(1) or order()).kind is Kind.CLOSED


@pytest.mark.parametrize("kind", [TransientError, StorageError])
def test_a_job_that_cannot_reach_the_output_ends_too(log: OrderLog, kind: type[Exception]):
    def away(_: int) -> Entry:
        raise kind("out of reach")

    log.read = away  # type: ignore[method-assign]
    assert serve(log, Counting(), 0.05, pause=lambda _: time.sleep(0.01)) == 1


def test_an_output_that_is_away_for_a_moment_costs_nothing(log: OrderLog):
    engine, read, failures = Counting(), log.read, [TransientError("out of reach")] * 3

    def away(number: int) -> Entry | None:
        if failures:
            raise failures.pop()
        return read(number)

    log.append(0, order())
    log.append(1, Entry(Kind.END, "run"))
    log.read = away  # type: ignore[method-assign]
    assert serve(log, engine, 60.0, pause=no_pause) == 0
    assert engine.fitted == 1


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def rest(setup: Setup, engine, catalog: str) -> int:
    fitted = engine.fit_pca(FitRequest(setup.output, catalog, setup.model.fingerprint, 8))
    projected = engine.project(ProjectRequest(setup.output, catalog, setup.model.fingerprint, fitted.pca))
    return int(projected.projected)


def test_a_job_that_ended_between_two_stages_is_followed_by_another(setup: Setup, stand_in: StandIn):
    """As when the computer of the run slept for longer than a job waits."""
    with setup.engine(job_idle_minutes=0.001) as engine:
        indexed = engine.index(setup.index_request())
        engine.featurize(setup.featurize_request(indexed))
        wait_for(lambda: states(stand_in) == ["SUCCESS"])
        assert rest(setup, engine, indexed.catalog) == PHOTOS
        assert engine.describe()["job"] == ", ".join(stand_in.serverless.runs)
    assert jobs_started(stand_in) >= 2
    assert stand_in.count("CancelJobRun") == 0
    assert stand_in.settle() == []


def test_a_driver_that_died_between_two_stages_is_followed_by_another(setup: Setup, stand_in: StandIn):
    with setup.engine() as engine:
        indexed = engine.index(setup.index_request())
        engine.featurize(setup.featurize_request(indexed))
        (run,) = stand_in.serverless.runs.values()
        assert run.work is not None
        run.work.cancel()  # killed, and AWS has not been asked to
        wait_for(lambda: states(stand_in) == ["FAILED"])
        assert rest(setup, engine, indexed.catalog) == PHOTOS
    assert jobs_started(stand_in) == 2
    assert stand_in.settle() == []


@both
def test_a_run_that_is_stopped_between_two_stages_stays_stopped(setup: Setup, stand_in: StandIn, name: str):
    with setup.engine(name) as engine:
        indexed = engine.index(setup.index_request())
        engine.featurize(setup.featurize_request(indexed))
        stop_run(name, engine.settings, engine.run)
        with pytest.raises(StageError, match="was cancelled"):
            rest(setup, engine, indexed.catalog)
    assert jobs_started(stand_in) == 1
    assert stand_in.count(CANCEL[name]) == 1
    assert stand_in.settle() == []


def test_a_run_that_finds_everything_done_starts_no_job(setup: Setup, stand_in: StandIn):
    with setup.engine(run="first") as engine:
        setup.chain(engine)
    with setup.engine(run="second") as engine:
        featurized, parts = setup.chain(engine)
    assert featurized.reused == PHOTOS
    assert sum(part["rows"] for part in parts) == PHOTOS
    assert jobs_started(stand_in) == 1


def test_a_damaged_shard_is_made_again_by_a_job(setup: Setup, stand_in: StandIn):
    with setup.engine(run="first") as engine:
        setup.featurize(engine)
    storage = open_storage(setup.output)
    key = next(item.key for item in storage.list(FEATURES))
    whole = storage.read(key)
    storage.write(key, whole[:-200])
    with setup.engine(run="second") as engine:
        assert setup.featurize(engine).featurized == PHOTOS
    assert storage.read(key) == whole
    assert jobs_started(stand_in) == 2


def test_a_stage_that_may_heal_is_tried_again_by_the_same_job(setup: Setup, stand_in: StandIn):
    failures = [TransientError("throttled")]

    def once(_: spark_jobs.Work) -> None:
        if failures:
            raise failures.pop()

    stand_in.serverless.work = spark_jobs.before("featurize", once)
    with setup.engine() as engine:
        request = setup.featurize_request(setup.indexed())
        with pytest.raises(TransientError, match="throttled"):
            engine.featurize(request)
        assert engine.featurize(request).featurized == PHOTOS
    assert jobs_started(stand_in) == 1
    assert states(stand_in) == ["SUCCESS"]


def test_a_run_that_starts_again_with_other_photos_waits_for_what_was_ordered_before(setup: Setup, stand_in: StandIn):
    """Its order is another one, and is carried out behind the one that its former process left."""
    waiting = threading.Event()
    stand_in.serverless.work = spark_jobs.before("featurize", lambda _: (waiting.wait(), None)[1])
    former = setup.engine()
    request = setup.featurize_request(setup.indexed())
    thread = threading.Thread(target=lambda: former.featurize(request), daemon=True)
    thread.start()
    wait_for(lambda: states(stand_in) == ["RUNNING"] and bool(former.job.ids))
    fewer = spark_jobs.SequentialEngine().index(
        replace(setup.index_request(), selection=Selection(shard_size=6, per_class=2))
    )
    with setup.engine() as engine:
        waiting.set()
        assert engine.featurize(replace(request, catalog=fewer.catalog)).listed == 6
        thread.join(30)
        assert jobs_started(stand_in) == 1
    assert stand_in.settle() == []
