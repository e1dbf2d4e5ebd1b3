"""Index, fit and project of the chain over features that are there already: `SOURCE OUTPUT ENGINE --cores N`."""

from __future__ import annotations

import argparse
import itertools
import shutil
import time
from pathlib import Path

from engines import create_engine
from engines.base import FitRequest, IndexRequest, ProjectRequest
from engines.map_engine import MapEngine
from tests.benchmarks.recipes.arguments import COMPONENTS, answer


def _nothing(item: int, _: None) -> int:
    return item


def main() -> None:
    """Run it. Workers are started before the clock, as featurize has started them in a run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("engine")
    parser.add_argument("--cores", type=int, required=True)
    chosen = parser.parse_args()
    for folder in ("pca", "results"):
        shutil.rmtree(Path(chosen.output, folder), ignore_errors=True)
    (fingerprint,) = (path.name for path in Path(chosen.output, "models").iterdir())
    with create_engine(chosen.engine, workers=chosen.cores) as engine:
        assert isinstance(engine, MapEngine)
        list(engine.map(_nothing, range(chosen.cores), engine.broadcast(None)))
        laps = [time.perf_counter()]
        indexed = engine.index(IndexRequest(chosen.source, chosen.output))
        laps.append(time.perf_counter())
        fitted = engine.fit_pca(FitRequest(chosen.output, indexed.catalog, fingerprint, COMPONENTS))
        laps.append(time.perf_counter())
        projected = engine.project(ProjectRequest(chosen.output, indexed.catalog, fingerprint, fitted.pca))
        laps.append(time.perf_counter())
    index, fit, project = (end - start for start, end in itertools.pairwise(laps))
    answer(projected.projected, index=index, fit=fit, project=project)


if __name__ == "__main__":
    main()
