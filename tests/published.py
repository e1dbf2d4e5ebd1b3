"""A published output made in this process, for tests of what is done with one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engines.base import FeaturizeRequest, FitRequest, IndexRequest, ProjectRequest
from engines.core.networks.model import Model, publish_model
from engines.core.output import RunRecord, publish
from flows.options import RunSettings
from flows.outcome import record_of
from tests.parity.chain import SequentialEngine


def publish_run(
    source: Path | str, output: Path | str, model: Model, *, components: float = 8, shard_size: int = 16
) -> RunRecord:
    """What `fruits run` publishes, by the sequential engine; without the report."""
    source, output = str(source), str(output)
    engine = SequentialEngine()
    settings = RunSettings(source=source, output=output, components=components, shard_size=shard_size)
    indexed = engine.index(IndexRequest(source, output, replace(settings.selection, shard_size=shard_size)))
    publish_model(model, output)
    featurized = engine.featurize(FeaturizeRequest(source, output, indexed.catalog, model.fingerprint))
    fitted = engine.fit_pca(FitRequest(output, indexed.catalog, model.fingerprint, components))
    projected = engine.project(ProjectRequest(output, indexed.catalog, model.fingerprint, fitted.pca))
    record = record_of(engine, settings, model, {"featurize": 1.0}, indexed, featurized, fitted, projected)
    publish(output, record)
    return record
