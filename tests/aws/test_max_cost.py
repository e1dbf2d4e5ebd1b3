"""What a run may cost bounds all of it: each job before it starts, and all jobs together while they run."""

from __future__ import annotations

import pytest

from engines.core.errors import InputError, StageError
from engines.core.index.catalog import read_catalog
from engines.emr.cost import estimate_job
from engines.emr.sizing import Work
from tests.aws import spark_jobs
from tests.aws.conftest import PHOTOS, Setup
from tests.aws.jobs import CANCEL, both, jobs_started, states
from tests.aws.stand_in import StandIn

DEAR = {"vcpu_hour": 1e6, "memory_gb_hour": 0.0, "m6i.xlarge": 1e7}
"""Prices at which a second costs some hundred dollars: the clock of these tests is the real one."""


def estimated(setup: Setup, prices: dict[str, float] | None = None) -> float:
    """What a job for the whole chain is estimated to cost."""
    shards = len(read_catalog(setup.output, setup.indexed().catalog).shards)
    work = dict.fromkeys(("featurize", "fit_pca", "project"), Work(PHOTOS, shards))
    settings = setup.settings if prices is None else setup.engine(prices=prices).settings
    return estimate_job(settings, "emr-serverless", work).cost or 0.0


def test_a_job_whose_estimate_is_more_is_not_started(setup: Setup, stand_in: StandIn):
    with setup.engine(max_cost=0.001) as engine, pytest.raises(InputError, match=r"more than the 0\.00 US dollars"):
        setup.featurize(engine)
    assert jobs_started(stand_in) == 0


def test_without_a_price_it_is_refused(setup: Setup, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engines.emr.cost._price_file", lambda: {"date": "2026-01-01", "source": "none"})
    with setup.engine(max_cost=5.0) as engine, pytest.raises(InputError, match="no EMR price is known"):
        setup.featurize(engine)
    assert jobs_started(stand_in) == 0


@pytest.mark.parametrize("billed", [True, False], ids=["billed", "not billed yet"])
def test_what_earlier_jobs_of_the_run_have_used_counts(setup: Setup, stand_in: StandIn, billed: bool):
    """Also for a process that takes up the run of another one, which started them."""
    stand_in.serverless.report_billing = billed
    stand_in.serverless.work = spark_jobs.fail("lost")
    most = 1.2 * estimated(setup)  # a failed job is billed a minute, which is more than a fifth
    with setup.engine(max_cost=most, log_wait_seconds=0.0) as engine, pytest.raises(StageError, match="lost"):
        setup.featurize(engine)
    with setup.engine(max_cost=most) as engine, pytest.raises(InputError, match="spent: more than the"):
        setup.featurize(engine)
    assert jobs_started(stand_in) == 1


@both
@pytest.mark.parametrize("flex", [False, True], ids=["standard", "spare capacity"])
def test_a_run_that_would_go_above_it_is_cancelled(setup: Setup, stand_in: StandIn, flex: bool, name: str):
    """Whatever takes the time: executors that come and go, or a stage that takes longer than was estimated."""
    stand_in.serverless.work = stand_in.clusters.work = spark_jobs.hang
    most = {"emr-serverless": 1.01 * estimated(setup, DEAR), "emr-cluster": 1e7}[name]
    dear = {"prices": DEAR, "images_per_vcpu_second": 40.0, "max_cost": most, "flex": flex}
    engine = setup.engine(name, **dear, max_poll_seconds=3600.0, poll_seconds=0.01)
    with (
        engine,
        pytest.raises(StageError, match=r"by the next look at its job: more than the .* of max_cost") as caught,
    ):
        setup.featurize(engine)
    assert "a higher --max-cost" in caught.value.hint
    assert jobs_started(stand_in) == 1
    assert stand_in.settle() == []
    assert states(stand_in) == ["CANCELLED"]
    assert stand_in.count(CANCEL[name]) == 1


def test_the_stages_of_a_job_count_together(setup: Setup, stand_in: StandIn):
    """The first stage is within the bound; the job goes on, and is cancelled in the second."""
    engine = setup.engine(max_cost=1e9, prices=DEAR)

    def from_now_on(work: spark_jobs.Work) -> None:
        engine.settings = setup.engine(max_cost=1.0, prices=DEAR).settings
        work.cancelled.wait()

    stand_in.serverless.work = spark_jobs.before("fit_pca", from_now_on)
    with engine, pytest.raises(StageError, match=r"more than the 1\.00 of max_cost"):
        setup.chain(engine)
    assert jobs_started(stand_in) == 1
    assert stand_in.settle() == []


@pytest.mark.long
@both
def test_a_run_within_it_is_left_alone(setup: Setup, stand_in: StandIn, name: str):
    with setup.engine(name, max_cost=5.0) as engine:
        assert setup.chain(engine)[0].featurized == PHOTOS
    assert stand_in.count(CANCEL[name]) == 0
