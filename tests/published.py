"""A published output made in this process, for tests of what is done with one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engines.base import FeaturizeRequest, FitRequest, IndexRequest, NeighboursRequest, ProjectRequest
from engines.core.networks.model import Model, publish_model
from engines.core.output import RunRecord, publish
from engines.core.quality.assess import assess
from engines.core.quality.figures import Quality
from engines.core.quality.plan import make_plan
from flows.options.run import RunSettings
from flows.outcome import record_of
from flows.quality import lay_out, publish_check
from flows.views.report import write_report
from tests.parity.chain import SequentialEngine


def publish_run(
    source: Path | str,
    output: Path | str,
    model: Model,
    *,
    components: float = 8,
    shard_size: int = 16,
    **options: object,
) -> RunRecord:
    """What `fruits run` with these options publishes, by the sequential engine; without the report."""
    source, output = str(source), str(output)
    engine = SequentialEngine()
    settings = RunSettings(source=source, output=output, components=components, shard_size=shard_size, **options)  # type: ignore[arg-type]
    selection = replace(settings.selection, shard_size=shard_size)
    indexed = engine.index(IndexRequest(source, output, selection, settings.labelling))
    publish_model(model, output)
    featurized = engine.featurize(FeaturizeRequest(source, output, indexed.catalog, model.fingerprint))
    fitted = engine.fit_pca(FitRequest(output, indexed.catalog, model.fingerprint, components))
    projected = engine.project(ProjectRequest(output, indexed.catalog, model.fingerprint, fitted.pca))
    record = record_of(engine, settings, model, {"featurize": 1.0}, indexed, featurized, fitted, projected)
    publish(output, record)
    return record


def check_run(output: Path | str, split_depth: int | None = None) -> Quality:
    """What `fruits check` writes, by the sequential engine, the report among it."""
    plan = make_plan(str(output), split_depth)
    SequentialEngine().neighbours(NeighboursRequest(str(output), plan.version, split_depth))
    quality = publish_check(plan, assess(plan), lay_out(plan), {"finished": "2026-01-01T00:00:00+00:00"})
    write_report(str(output), plan.record, quality)
    return quality
