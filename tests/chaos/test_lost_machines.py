"""Machines that are lost for good, with all that would start their workers again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.clusters import dask_options, spark_options
from tests.chaos.runs import Chaos, Ended, published
from tests.chaos.suite import IMAGES, STAGES, survives
from tests.conftest import write_photos

pytestmark = pytest.mark.long

CLUSTERS = {"dask": dask_options, "spark": spark_options}


@pytest.fixture(scope="module")
def chaos(weights: str, tmp_path_factory: pytest.TempPathFactory) -> Chaos:
    folder = tmp_path_factory.mktemp("runs")
    photos = write_photos(tmp_path_factory.mktemp("machines") / "photos", images=IMAGES, classes=6)
    orders = folder / "orders.json"
    orders.write_text("{}")
    return Chaos(photos, weights, ("--workers", "2"), folder, orders)


@pytest.fixture(scope="module")
def undisturbed(chaos: Chaos) -> tuple[dict[str, str], Ended]:
    output = chaos.folder / "undisturbed"
    ended = chaos.finish(output)
    return published(output), ended


@pytest.fixture(params=CLUSTERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def two_machines(kind: str, chaos: Chaos, tmp_path: Path) -> Iterator[Chaos]:
    with CLUSTERS[kind](chaos.orders, tmp_path, 2) as options:
        yield replace(chaos, engine=options)


@pytest.fixture
def one_machine(kind: str, chaos: Chaos, tmp_path: Path) -> Iterator[Chaos]:
    with CLUSTERS[kind](chaos.orders, tmp_path, 1) as options:
        yield replace(chaos, engine=options)


@pytest.mark.parametrize("stage", STAGES)
def test_one_of_two_machines_is_lost_and_the_other_does_the_work(
    two_machines: Chaos, undisturbed: tuple[dict[str, str], Ended], kind: str, stage: str
) -> None:
    plan = {"role": "worker", "pattern": STAGES[stage], "number": 1, "victim": "machine"}
    survives(two_machines, f"{kind}-{stage}", plan, undisturbed)


def test_the_last_machine_is_lost_the_run_ends_and_goes_on_elsewhere(
    one_machine: Chaos, chaos: Chaos, undisturbed: tuple[dict[str, str], Ended], kind: str
) -> None:
    files, whole = undisturbed
    plan = {"role": "worker", "pattern": STAGES["featurize"], "number": 2, "victim": "machine"}
    output = chaos.folder / f"{kind}-last"
    ended = one_machine.run(output, "--worker-seconds", "10", plan=plan)
    assert ended.code == 1, ended.errors
    assert re.search(r"error: no worker .* for 10 s$", ended.errors, re.MULTILINE), ended.errors
    assert "Traceback" not in ended.errors, ended.errors
    again = chaos.finish(output)
    assert published(output) == files
    assert again.shards_begun() == whole.shards_begun() - 2, "what was done before is not done again"
