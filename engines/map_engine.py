"""The stages, written once over two primitives: `map` and `broadcast`.

What is small (lists of shards, counts, the merged moments, the eigenvectors) is done here, on the driver; what grows
with the images is a `map` over shards.
"""

from __future__ import annotations

import logging
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
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
from engines.core.errors import DamagedError
from engines.core.index.catalog import Shard, read_catalog, split_named, write_catalog
from engines.core.index.labelling import split_name
from engines.core.layout import pca_folder, result_key, results_folder
from engines.core.networks.base import Network
from engines.core.networks.choices import check_arithmetic
from engines.core.networks.model import (
    Model,
    publish_canary,
    read_canary,
    read_model,
    read_recipe,
    remove_damaged_canary,
)
from engines.core.networks.table import network_of
from engines.core.output import Part
from engines.core.reduce.kept import find_pca, read_pca, write_pca
from engines.core.reduce.moments import Moments, no_moments
from engines.core.reduce.pca import RULES, check_components, fit_pca
from engines.core.rejects import QUARANTINED
from engines.core.scratch import PROCESSES, remove_left_behind
from engines.core.stages.featurize import (
    ContentTask,
    ShardTask,
    featurize_shard,
    first_canary,
    isolated,
    same_content,
)
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.moments import MomentsTask, shard_moments
from engines.core.stages.project import ProjectTask, project_shard
from engines.core.stages.shard_files import ShardReport, quarantined
from engines.frozen_pca import measure_frozen
from engines.last_shards import completed, cut_last
from engines.moved import take_over_moved
from engines.nearest_rows import MAX_MOMENT_GROUPS, find_neighbours
from engines.reuse import (
    Shards,
    check_arithmetic_of,
    featurize_report,
    prove_features,
    raise_damage,
    reusable_parts,
    reusable_shards,
    short_digest,
)

LOGGER = logging.getLogger("fruits.run")
"""Lines of the run itself, for whoever watches it."""

Item = TypeVar("Item")
Value = TypeVar("Value")
Outcome = TypeVar("Outcome")


class MapEngine(Engine):
    """An engine that can run a function over items on workers."""

    def __init__(self) -> None:
        super().__init__()
        # Not only when this one starts processes too: there may be nothing left to do.
        remove_left_behind(PROCESSES, tempfile.gettempdir())

    @abstractmethod
    def map(
        self,
        function: Callable[[Item, Value], Outcome],
        items: Sequence[Item],
        value: Any,
        after_death: Callable[[Item], Item] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """Run `function(item, v)` for every item on the workers; yield (position, outcome) as they finish.

        `value` is what `broadcast(v)` returned. An item whose worker died is tried as often as the engine's Patience
        says, by workers that are replaced; each time but the first as `after_death(item)`, a function that can be
        pickled.

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
        catalog = write_catalog(
            request.source, request.output, request.selection, request.labelling, moved=request.source_moved
        )
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
        """See Engine. A shard is there when its features file is, and proves to be its."""
        check_arithmetic(request.arithmetic)
        shards = read_catalog(request.output, request.catalog).shards
        there = reusable_shards(request, shards)
        check_arithmetic_of(request, there.reports)
        if damage := remove_damaged_canary(request.output, request.fingerprint):
            there.damage += damage
            self._model_with_canary(request)
        if request.verify_content:
            self._drop_changed(request, shards, there)
        if request.source_moved and there.missing:
            take_over_moved(self, request, there)
        computed = self._featurize_missing(request, there) if there.missing else []
        canary = read_canary(request.output, request.fingerprint)
        return featurize_report(shards, there, computed, canary.digest if canary else "")

    def _drop_changed(self, request: FeaturizeRequest, shards: list[Shard], there: Shards) -> None:
        """Move the shards whose photos have other bytes than those that were featurized to what is missing."""
        of = {shard.id: shard for shard in shards}
        known = [report for report in there.reports if report.photos]
        # What cannot be compared, because its digest was not kept, is computed again.
        changed = [report for report in there.reports if not report.photos]
        tasks = [ContentTask(request.source, request.output, of[report.shard], report.photos) for report in known]
        total, done = sum(report.listed for report in known), 0
        for position, same in self.map(same_content, tasks, self.broadcast(None)) if tasks else ():
            done += known[position].listed
            self.on_progress(Progress("verify content", done, total))
            if not same:
                changed.append(known[position])
        for report in changed:
            there.reports.remove(report)
            there.redo(of[report.shard])

    def _featurize_missing(self, request: FeaturizeRequest, there: Shards) -> list[ShardReport]:
        limits = PhotoLimits(request.photo_seconds, request.photo_memory)
        where, how = (request.source, request.output, request.fingerprint), (request.arithmetic, limits)
        tasks = [
            ShardTask(*where, shard, *how, quarantine=request.quarantine, again=shard.id in there.again)
            for shard in there.missing
        ]
        tasks = cut_last(tasks, self.parallelism)
        done = sum(report.listed for report in there.reports)
        total = done + sum(shard.count for shard in there.missing)
        self.on_progress(Progress("featurize", done, total))
        model = self.broadcast(self._model_with_canary(request))
        reports = []
        for task, report in completed(tasks, self.map(featurize_shard, tasks, model, after_death=isolated)):
            done += task.photos
            self.on_progress(Progress("featurize", done, total))
            if report is None:
                continue
            reports.append(report)
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
        catalog = read_catalog(request.output, request.catalog)
        if request.frozen:
            return measure_frozen(request, catalog.shards, lambda: self._moments(request, network, catalog.shards))
        components = check_components(request.components, network.features)
        facts: list[Any] = [RULES, request.fingerprint, components, [shard.id for shard in catalog.shards]]
        if request.split is not None:
            facts.append(split_named(request.split, catalog.splits).digest)
        version = short_digest([*facts, *filter(None, [request.content])])
        folder = pca_folder(version)
        pca, damage = find_pca(request.output, folder)
        reused = pca is not None
        if pca is None:
            pca = fit_pca(self._moments(request, network, catalog.shards), components)
            write_pca(request.output, folder, pca)
        else:
            prove_features(request.output, request.fingerprint, catalog.shards)
        return FitReport(
            pca=version,
            components=len(pca.components),
            explained_variance=pca.explained_variance,
            components_for_95=pca.components_for(0.95),
            reused=reused,
            tied=list(pca.tied),
            unsettled=list(pca.unsettled),
            damage=damage,
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
        damage: list[DamagedError] = []
        for done, (_, moments) in enumerate(self.map(shard_moments, groups, self.broadcast(None)), start=1):
            if isinstance(moments, list):
                damage += moments
            else:
                total = total + moments
            self.on_progress(Progress("fit_pca", done, number))
        raise_damage(damage)
        return total

    def project(self, request: ProjectRequest) -> ProjectReport:
        """See Engine. A part per shard, numbered in the order of the catalog."""
        catalog = read_catalog(request.output, request.catalog)
        shards = catalog.shards
        network = network_of(read_recipe(request.output, request.fingerprint))
        folder = results_folder(request.pca, catalog.described)
        counts = {result_key(folder, number, shard.id): shard.count for number, shard in enumerate(shards)}
        parts, damage = reusable_parts(request.output, folder, list(counts))
        reused = sum(part.rows for part in parts.values())
        tasks = [
            ProjectTask(request.output, request.fingerprint, shard, key, network.architecture, request.pca)
            for shard, key in zip(shards, counts, strict=True)
            if key not in parts
        ]
        if tasks:
            self._project_missing(request, tasks, parts, counts)
        return ProjectReport(
            results=folder,
            parts=[asdict(parts[key]) for key in counts],
            projected=sum(part.rows for part in parts.values()),
            reused=reused,
            damage=damage,
        )

    def _project_missing(
        self, request: ProjectRequest, tasks: list[ProjectTask], parts: dict[str, Part], counts: dict[str, int]
    ) -> None:
        """Add the parts that are not there to `parts`; `counts`: images by the key of their part."""
        total, done = sum(counts.values()), sum(counts[key] for key in parts)
        self.on_progress(Progress("project", done, total))
        pca = self.broadcast(read_pca(request.output, pca_folder(request.pca)))
        damage: list[DamagedError] = []
        for position, part in self.map(project_shard, tasks, pca):
            if isinstance(part, DamagedError):
                damage.append(part)
            else:
                parts[part.key] = part
            done += counts[tasks[position].key]
            self.on_progress(Progress("project", done, total))
        raise_damage(damage)

    def neighbours(self, request: NeighboursRequest) -> NeighboursReport:
        """See Engine. A band of rows is there when its file is."""
        return find_neighbours(self, request)
