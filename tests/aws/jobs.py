"""Jobs on the stand-in, of both engines: how they are started and cancelled there, and how they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from engines.core.errors import StageError
from engines.emr.engine import EmrEngine
from tests.aws.conftest import Setup
from tests.aws.stand_in import StandIn

both = pytest.mark.parametrize("name", ["emr-serverless", "emr-cluster"])
START = {"emr-serverless": "StartJobRun", "emr-cluster": "AddJobFlowSteps"}
CANCEL = {"emr-serverless": "CancelJobRun", "emr-cluster": "CancelSteps"}


def jobs_started(stand_in: StandIn) -> int:
    return len(stand_in.serverless.runs) + sum(len(cluster.steps) for cluster in stand_in.clusters.clusters.values())


def states(stand_in: StandIn) -> list[str]:
    stand_in.running()
    steps = [step.state for cluster in stand_in.clusters.clusters.values() for step in cluster.steps]
    return [run.state for run in stand_in.serverless.runs.values()] + steps


@contextlib.contextmanager
def ending_cancelled(engine: EmrEngine, setup: Setup) -> Iterator[None]:
    """The stage featurize runs in the background, and ends as cancelled by someone else before this context is left."""
    with ThreadPoolExecutor(1) as pool:
        stage = pool.submit(setup.featurize, engine)
        yield
        with pytest.raises(StageError, match="was cancelled"):
            stage.result(20)
