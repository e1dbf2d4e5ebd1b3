"""The stages, written once over two primitives: `map` and `broadcast`.

What is small (lists of shards, counts, the merged moments, the eigenvectors) is done here, on the driver; what grows
with the images is a `map` over shards.
"""

from __future__ import annotations

import hashlib
import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any, TypeVar

from engines.base import (
    Engine,
    FeaturizeReport,
    FeaturizeRequest,
    FitReport,
    FitRequest,
    IndexReport,
    IndexRequest,
    NeighboursReport,
    NeighboursRequest,
    Progress,
    ProjectReport,
    ProjectRequest,
)
from engines.core import tables
from engines.core.errors import InputError
from engines.core.index.catalog import Shard, read_catalog, split_named, write_catalog
from engines.core.index.labelling import split_name
from engines.core.networks.base import Network
from engines.core.networks.canary import check_arithmetic
from engines.core.networks.model import Model, publish_canary, read_canary, read_model, read_recipe
from engines.core.networks.table import network_of
from engines.core.output import (
    FEATURES,
    Part,
    features_key,
    pca_folder,
    pca_key,
    result_key,
    results_folder,
    spectrum_key,
)
from engines.core.reduce.moments import Moments, no_moments
from engines.core.reduce.pca import RULES, check_components, dump_pca, fit_pca, load_pca, spectrum_table
from engines.core.rejects import QUARANTINED
from engines.core.stages.featurize import (
    ShardReport,
    ShardTask,
    featurize_shard,
    first_canary,
    isolated,
    quarantined,
    read_report,
)
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.moments import MomentsTask, shard_moments
from engines.core.stages.project import ProjectTask, project_shard, read_part
from engines.core.storage import open_storage
from engines.nearest_rows import MAX_MOMENT_GROUPS, find_neighbours

LOGGER = logging.getLogger("fruits.run")
"""Lines of the run itself, for whoever watches it."""

Item = TypeVar("Item")
Value = TypeVar("Value")
Outcome = TypeVar("Outcome")

TRIES = 3
"""So often an engine tries an item whose worker dies over it, where the cluster is its own."""

_DRIVER_READS = 16
"""Small reads the driver has under way at once."""


class MapEngine(Engine):
    """An engine that can run a function over items on workers."""

    @abstractmethod
    def map(
        self,
        function: Callable[[Item, Value], Outcome],
        items: Sequence[Item],
        value: Any,
        after_death: Callable[[Item], Item] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """Run `function(item, v)` for every item on the workers; yield (position, outcome) as they finish.

        `value` is what `broadcast(v)` returned. An item whose worker died is tried TRIES times in all, by workers that
        are replaced; each time but the first as `after_death(item)`, a function that can be pickled.

        Heavy items should come first. The first failure cancels what is left and is raised: FruitsErrors as they are,
        an item that was tried in vain as StageError, a lost cluster as TransientError, anything else as StageError with
        its cause.
        """

    @abstractmethod
    def broadcast(self, value: Any) -> Any:
        """A handle of the engine's own kind for `map`, that has `value` on every worker, sent once each."""

    @property
    @abstractmethod
    def parallelism(self) -> int:
        """How many items run at once."""

    def index(self, request: IndexRequest) -> IndexReport:
        """See Engine. Listing is one stream of small answers; it runs on the driver."""
        catalog = write_catalog(request.source, request.output, request.selection, request.labelling)
        self.on_progress(Progress("index", catalog.listed, catalog.listed))
        return IndexReport(
            catalog=catalog.version,
            listed=catalog.listed,
            labels=catalog.labels,
            shards=len(catalog.shards),
            total_bytes=catalog.total_bytes,
            left_out=catalog.left_out,
            left_out_by_case=catalog.left_out_by_case,
            splits={name: split.images for name, split in catalog.splits.items()},
            remarks=catalog.remarks,
        )

    def featurize(self, request: FeaturizeRequest) -> FeaturizeReport:
        """See Engine. A shard is there when its features file is."""
        check_arithmetic(request.arithmetic)
        shards = read_catalog(request.output, request.catalog).shards
        present = {item.key for item in open_storage(request.output).list(FEATURES)}
        limits = PhotoLimits(request.photo_seconds, request.photo_memory)
        reports = [
            report
            for report in _on_driver(
                lambda shard: read_report(request.output, request.fingerprint, shard.id),
                [shard for shard in shards if features_key(request.fingerprint, shard.id) in present],
            )
            if not report.outgrown(limits)
        ]
        done = {report.shard for report in reports}
        missing = [shard for shard in shards if shard.id not in done]
        reused = sum(report.listed for report in reports)
        _check_reused(request, reports)
        if missing:
            reports += self._featurize_missing(request, missing, reused)
        canary = read_canary(request.output, request.fingerprint)
        rejected: dict[str, int] = {}
        for report in reports:
            for reason, count in report.rejected.items():
                rejected[reason] = rejected.get(reason, 0) + count
        return FeaturizeReport(
            listed=sum(report.listed for report in reports),
            featurized=sum(report.featurized for report in reports),
            reused=reused,
            rejected=dict(sorted(rejected.items())),
            peak_memory=max((report.peak_memory for report in reports), default=0),
            canary=canary.digest if canary else "",
            deviating=sum(report.featurized for report in reports if report.deviating_canary),
        )

    def _featurize_missing(self, request: FeaturizeRequest, missing: list[Shard], reused: int) -> list[ShardReport]:
        limits = PhotoLimits(request.photo_seconds, request.photo_memory)
        tasks = [
            ShardTask(
                request.source,
                request.output,
                request.fingerprint,
                shard,
                request.arithmetic,
                limits,
                quarantine=request.quarantine,
            )
            # Large shards first, so that no worker starts a long one when the others are done.
            for shard in sorted(missing, key=lambda shard: -shard.count)
        ]
        total = reused + sum(shard.count for shard in missing)
        done = reused
        self.on_progress(Progress("featurize", done, total))
        model = self.broadcast(self._model_with_canary(request))
        reports = []
        for _, report in self.map(featurize_shard, tasks, model, after_death=isolated):
            reports.append(report)
            done += report.listed
            self.on_progress(Progress("featurize", done, total))
            if not QUARANTINED.isdisjoint(report.rejected):
                for path, reason, detail in quarantined(request.output, request.fingerprint, report.shard):
                    LOGGER.warning("%s is rejected as %s: %s", path, reason, detail)
        return reports

    def _model_with_canary(self, request: FeaturizeRequest) -> Model:
        """The model with what its workers are held to, which its first worker decides."""
        model = read_model(request.output, request.fingerprint)
        if model.canary is None:
            for _, canary in self.map(first_canary, [0], self.broadcast(model)):
                model = replace(model, canary=canary)
                publish_canary(model, request.output)
        return model

    def fit_pca(self, request: FitRequest) -> FitReport:
        """See Engine. Moments are exact, so how shards are grouped is free: a group per worker."""
        network = network_of(read_recipe(request.output, request.fingerprint))
        components = check_components(request.components, network.features)
        catalog = read_catalog(request.output, request.catalog)
        storage = open_storage(request.output)
        facts: list[Any] = [RULES, request.fingerprint, components, [shard.id for shard in catalog.shards]]
        if request.split is not None:
            facts.append(split_named(request.split, catalog.splits).digest)
        version = _digest(facts)
        folder = pca_folder(version)
        key = pca_key(folder)
        reused = storage.exists(key)
        if reused:
            pca = load_pca(storage.read(key))
        else:
            pca = fit_pca(self._moments(request, network, catalog.shards), components)
            storage.write(spectrum_key(folder), tables.to_parquet(spectrum_table(pca)))
            storage.write(key, dump_pca(pca))  # last: the commit of this PCA
        return FitReport(
            pca=version,
            components=len(pca.components),
            explained_variance=pca.explained_variance,
            components_for_95=pca.components_for(0.95),
            reused=reused,
            tied=list(pca.tied),
            unsettled=list(pca.unsettled),
        )

    def _moments(self, request: FitRequest, network: Network, shards: list[Shard]) -> Moments:
        split = None if request.split is None else split_name(request.split)
        number = min(len(shards), self.parallelism, MAX_MOMENT_GROUPS)
        groups = [
            MomentsTask(request.output, request.fingerprint, network.name, shards[start::number], split)
            for start in range(number)
        ]
        self.on_progress(Progress("fit_pca", 0, number))
        total = no_moments(network.features, network.grid)
        for done, (_, moments) in enumerate(self.map(shard_moments, groups, self.broadcast(None)), start=1):
            total = total + moments
            self.on_progress(Progress("fit_pca", done, number))
        return total

    def project(self, request: ProjectRequest) -> ProjectReport:
        """See Engine. A part per shard, numbered in the order of the catalog."""
        catalog = read_catalog(request.output, request.catalog)
        shards = catalog.shards
        storage = open_storage(request.output)
        network = network_of(read_recipe(request.output, request.fingerprint))
        folder = results_folder(request.pca, catalog.described)
        keys = [result_key(folder, number, shard.id) for number, shard in enumerate(shards)]
        present = {item.key for item in storage.list(folder)}
        parts: dict[str, Part] = {
            part.key: part
            for part in _on_driver(lambda key: read_part(request.output, key), [key for key in keys if key in present])
        }
        reused = sum(part.rows for part in parts.values())
        tasks = [
            ProjectTask(request.output, request.fingerprint, shard, key, network.architecture, request.pca)
            for shard, key in zip(shards, keys, strict=True)
            if key not in present
        ]
        total = sum(shard.count for shard in shards)
        done = sum(shard.count for shard, key in zip(shards, keys, strict=True) if key in present)
        if tasks:
            self.on_progress(Progress("project", done, total))
            counts = {key: shard.count for shard, key in zip(shards, keys, strict=True)}
            pca = self.broadcast(load_pca(storage.read(pca_key(pca_folder(request.pca)))))
            for _, part in self.map(project_shard, tasks, pca):
                parts[part.key] = part
                done += counts[part.key]
                self.on_progress(Progress("project", done, total))
        return ProjectReport(
            results=folder,
            parts=[asdict(parts[key]) for key in keys],
            projected=sum(part.rows for part in parts.values()),
            reused=reused,
        )

    def neighbours(self, request: NeighboursRequest) -> NeighboursReport:
        """See Engine. A band of rows is there when its file is."""
        return find_neighbours(self, request)


def _on_driver(function: Callable[[Item], Outcome], items: Iterable[Item]) -> list[Outcome]:
    with ThreadPoolExecutor(_DRIVER_READS, thread_name_prefix="driver-read") as pool:
        return list(pool.map(function, items))


def _check_reused(request: FeaturizeRequest, reports: list[ShardReport]) -> None:
    """Raise InputError when features of another arithmetic are there, and were not asked for."""
    deviating = [report for report in reports if report.deviating_canary]
    if deviating and request.arithmetic != "tolerant":
        images = sum(report.featurized for report in deviating)
        raise InputError(
            f"the features of {images:,} images were computed with --arithmetic tolerant on CPUs of other bits",
            f"Go on with --arithmetic tolerant, or remove their files to have them computed again, such as"
            f" {open_storage(request.output).uri(features_key(request.fingerprint, deviating[0].shard))}.",
        )


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
