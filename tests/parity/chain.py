"""The four stages without Prefect, and the engine that needs no cluster: what every other engine is compared with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from engines.base import (
    Engine,
    FeaturizeReport,
    FeaturizeRequest,
    FitReport,
    FitRequest,
    IndexReport,
    IndexRequest,
    NeighboursRequest,
    ProjectReport,
    ProjectRequest,
)
from engines.core import tables
from engines.core.index.catalog import Catalog, Shard, Split
from engines.core.index.labelling import Labelling
from engines.core.index.selection import Selection
from engines.core.layout import catalog_part_key, features_key, recipe_key
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import Model, publish_model
from engines.core.output import publish
from engines.core.quality.plan import make_plan
from engines.core.storage import open_storage
from engines.map_engine import MapEngine
from tests.records import record_with


class SequentialEngine(MapEngine):
    """One item after the other, in this process."""

    name = "sequential"

    def map(self, function, items, value, after_death=None):
        return ((position, function(item, value)) for position, item in enumerate(items))

    def broadcast(self, value):
        return value

    @property
    def parallelism(self) -> int:
        return 1

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Run:
    """An output and the reports of the stages that made it."""

    output: Path
    fitted: FitReport
    projected: ProjectReport
    fingerprint: str
    indexed: IndexReport | None = None
    featurized: FeaturizeReport | None = None

    def results(self) -> pa.Table:
        return ds.dataset(self.output / self.projected.results, format="parquet").to_table().sort_by("path")

    def features(self) -> pa.Table:
        return ds.dataset(self.output / "features", format="parquet").to_table().sort_by("path")

    def pca(self, name: str) -> bytes:
        return (self.output / "pca" / self.fitted.pca / name).read_bytes()


def run_chain(
    engine: Engine,
    source: Path,
    output: Path,
    model: Model,
    *,
    components: float,
    shard_size: int,
    per_class: int | None = None,
    labelling: Labelling | None = None,
    split: str | None = None,
) -> Run:
    """All four stages."""
    selection = Selection(per_class=per_class, shard_size=shard_size)
    indexed = engine.index(IndexRequest(str(source), str(output), selection, labelling or Labelling()))
    publish_model(model, str(output))
    featurized = engine.featurize(FeaturizeRequest(str(source), str(output), indexed.catalog, model.fingerprint))
    fitted = engine.fit_pca(FitRequest(str(output), indexed.catalog, model.fingerprint, components, split))
    projected = engine.project(ProjectRequest(str(output), indexed.catalog, model.fingerprint, fitted.pca))
    return Run(output, fitted, projected, model.fingerprint, indexed, featurized)


def run_featurize(engine: Engine, source: str, output: Path, model: Model, *, shard_size: int) -> FeaturizeReport:
    """The first two stages."""
    indexed = engine.index(IndexRequest(source, str(output), Selection(shard_size=shard_size)))
    publish_model(model, str(output))
    return engine.featurize(FeaturizeRequest(source, str(output), indexed.catalog, model.fingerprint))


def labelled_features(output: Path) -> list[tuple[str, bytes]]:
    """The labels of an output with the bits of their features, in an order that no name has a part in."""
    table = ds.dataset(output / "features", format="parquet").to_table()
    matrix = tables.to_matrix(table["features"])
    return sorted((label, row.tobytes()) for label, row in zip(table["label"].to_pylist(), matrix, strict=True))


def run_neighbours(engine: Engine, run: Run) -> dict[str, str]:
    """What the engine finds for a check of the published run, each shard a part: the sha256 of every file."""
    output = str(run.output)
    record = record_with(
        {
            "source": "/nowhere",
            "results": run.projected.results,
            "parts": run.projected.parts,
            "components": run.fitted.components,
            "catalog": "catalog/made-up.json",
            "pca": f"pca/{run.fitted.pca}",
            "model": {"fingerprint": run.fingerprint, "architecture": "", "weights": "", "runtime": ""},
        }
    )
    publish(output, record)
    plan = make_plan(output, split_depth=1)
    report = engine.neighbours(NeighboursRequest(output, plan.version, 1))
    assert report.reused == 0 < report.questions
    return bytes_of(run.output / "checks")


MADE_UP = "0123456789abcdef"


def write_features(output: Path, shards: list[np.ndarray], *, splits: bool = False) -> str:
    """Features that no network made: a catalog of `shards` and their files. Returns the catalog's version.

    With `splits`, every second image is of the split train, the others of test.
    """
    storage = open_storage(str(output))
    catalog = Catalog("made-up", "/nowhere", Selection(), Labelling(split_depth=1 if splits else None))
    listed: list[dict[str, object]] = []
    storage.write(recipe_key(MADE_UP), json.dumps({"architecture": MOBILENET_V2.architecture}).encode())
    for number, rows in enumerate(shards):
        shard = f"shard{number:04d}"
        paths = [f"/nowhere/{number:04d}/{row:05d}.jpg" for row in range(len(rows))]
        columns = [
            paths,
            ["label"] * len(rows),
            tables.to_lists(rows, tables.feature_rows(MOBILENET_V2.features).field(2).type),
        ]
        counts = {"listed": len(rows), "featurized": len(rows), "rejected": {}}
        content = tables.to_parquet(pa.table(columns, schema=tables.feature_rows(MOBILENET_V2.features)), counts)
        storage.write(features_key(MADE_UP, shard), content)
        catalog.listed += len(rows)
        for path in paths:
            split = "test" if len(listed) % 2 else "train"
            listed.append({"path": path, "label": "label", "size": 0, "version": "", "shard": shard, "split": split})
    schema = tables.catalog_rows(own_labels=False, splits=splits, columns=[])
    content = tables.to_parquet(pa.Table.from_pylist(listed, schema))
    part = catalog_part_key(hashlib.sha256(content).hexdigest())
    storage.write(part, content)
    offsets = np.cumsum([0, *map(len, shards)]).tolist()
    for number, rows in enumerate(shards):
        catalog.shards.append(Shard(f"shard{number:04d}", part, offsets[number], len(rows)))
    for name in ("train", "test") if splits else ():
        catalog.splits[name] = Split(sum(row["split"] == name for row in listed), f"made up: {name}")
    storage.write(catalog.key, catalog.dump())
    return catalog.version


def run_fit(engine: Engine, shards: list[np.ndarray], output: Path, components: float, split: str | None = None) -> Run:
    """The two stages behind the network, on the features of `shards`."""
    catalog = write_features(output, shards, splits=split is not None)
    fitted = engine.fit_pca(FitRequest(str(output), catalog, MADE_UP, components, split))
    projected = engine.project(ProjectRequest(str(output), catalog, MADE_UP, fitted.pca))
    return Run(output, fitted, projected, MADE_UP)


def made_up_features(rows: int, seed: int = 0) -> np.ndarray:
    """float32[rows, 1280] on the grid with a falling spectrum, as features of photos have."""
    random = np.random.default_rng(seed)
    factors = random.normal(size=(rows, 40)) * np.linspace(3, 0.3, 40)
    loadings = random.normal(size=(40, MOBILENET_V2.features)) / 8
    return MOBILENET_V2.grid.snap(
        np.clip(1 + factors @ loadings + random.normal(0, 0.05, (rows, MOBILENET_V2.features)), 0, 6)
    )


def bytes_of(output: Path) -> dict[str, str]:
    """The sha256 of every file of an output, but for those that say when and where it was made."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "report.html")
    }


def tables_of(output: Path) -> Iterator[Path]:
    """Every parquet file of an output."""
    return (path for path in sorted(output.rglob("*.parquet")))
