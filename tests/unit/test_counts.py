"""What a run costs, counted and not timed: a thing that is done twice shows here, on any machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from engines.core.networks import runtimes
from engines.core.networks.model import Model
from engines.dask.engine import DaskEngine
from tests.conftest import write_photos
from tests.parity.chain import SequentialEngine, run_chain
from tests.s3 import Aws

IMAGES, CLASSES, SHARD_SIZE = 40, 4, 8


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("few"), images=IMAGES, classes=CLASSES)


_OPENED = """
import json, sys
from collections import Counter
from pathlib import Path

opened = Counter()
# By its mode: a file that is opened through an opener of its own is announced once more, without one.
sys.addaudithook(lambda event, facts: event == "open" and facts[1] and opened.update([str(facts[0])]))

from engines.core.networks.prepare import prepare_model
from flows.checks import cache_folder
from tests.parity.chain import SequentialEngine, run_chain

source, output = Path(sys.argv[1]), Path(sys.argv[2])
model = prepare_model("random", "litert", cache_folder())
run_chain(SequentialEngine(), source, output, model, components=4, shard_size=8)
print(json.dumps(opened))
"""


def opened_by_a_run(source: Path, output: Path) -> Counter[str]:
    """How often a run of all stages in a new process opens each file."""
    done = subprocess.run([sys.executable, "-c", _OPENED, source, output], capture_output=True, text=True, check=True)
    return Counter(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.usefixtures("random_model")
def test_a_photo_is_opened_once_and_a_file_of_features_read_by_two_stages(few: Path, tmp_path: Path) -> None:
    opened = opened_by_a_run(few, tmp_path)
    assert {opened[str(photo)] for photo in few.glob("*/*.jpg")} == {1}
    features = list(tmp_path.glob("features/*.parquet"))
    assert len(features) > 2
    assert {opened[str(file)] for file in features} == {2}, "fit_pca and project"
    parts = list(tmp_path.glob("results/*/*.parquet"))
    assert {opened[str(file)] for file in parts} == {0}, "what was just written"
    again = opened_by_a_run(few, tmp_path)
    assert {again[str(photo)] for photo in few.glob("*/*.jpg")} == {0}
    assert {again[str(file)] for file in (*features, *parts)} <= {1, 2}


def test_a_worker_loads_a_model_once_for_all_its_shards(
    few: Path, tmp_path: Path, random_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    class Counted(runtimes.LiteRtRuntime):
        def __init__(self, *arguments: object) -> None:
            loaded.append(arguments)
            super().__init__(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(runtimes, "LiteRtRuntime", Counted)
    monkeypatch.setattr(runtimes._loaded, "fingerprint", None, raising=False)
    run = run_chain(SequentialEngine(), few, tmp_path, random_model, components=4, shard_size=SHARD_SIZE)
    assert run.indexed is not None
    assert run.indexed.shards > 2
    assert len(loaded) == 1


def _count_loads(_: int, __: None) -> None:
    class Counted(runtimes.LiteRtRuntime):
        loaded = 0

        def __init__(self, *arguments: object) -> None:
            Counted.loaded += 1
            super().__init__(*arguments)  # type: ignore[arg-type]

    runtimes.LiteRtRuntime = Counted  # type: ignore[misc]


def _loads(_: int, __: None) -> int:
    return runtimes.LiteRtRuntime.loaded  # type: ignore[attr-defined, no-any-return]


def test_a_process_of_dask_loads_a_model_once_for_all_stages(few: Path, tmp_path: Path, random_model: Model) -> None:
    with DaskEngine(workers=1) as engine:
        assert list(engine.map(_count_loads, [0], engine.broadcast(None))) == [(0, None)]
        run_chain(engine, few, tmp_path, random_model, components=4, shard_size=SHARD_SIZE)
        assert list(engine.map(_loads, [0], engine.broadcast(None))) == [(0, 1)]


def test_a_photo_on_s3_is_one_request(few: Path, tmp_path: Path, aws: Aws, bucket: str, random_model: Model) -> None:
    photos = {f"photos/{path.relative_to(few)}": path.read_bytes() for path in sorted(few.glob("*/*.jpg"))}
    aws.put(bucket, photos)
    before = len(aws.requests(bucket))
    source = f"s3://{bucket}/photos"
    run_chain(SequentialEngine(), source, tmp_path, random_model, components=4, shard_size=SHARD_SIZE)  # type: ignore[arg-type]
    requests = Counter(aws.requests(bucket)[before:])
    assert requests == {("GET", key): 1 for key in photos} | {("GET", ""): 1}, "and one of a page of the listing"
