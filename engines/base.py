"""The engine interface: the four stages of a run, and one about its results; plain data in, plain data out.

Every request and report is a frozen dataclass of JSON-able fields, so that a stage can run in this process, on a
cluster, or as a job somewhere else. What is large stays in the output; reports refer to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Self

from engines.core.index.labelling import Labelling
from engines.core.index.selection import Selection


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is.

    `done` and `total` count images; groups of shards in fit_pca, questions in neighbours, steps of the conversion in
    model, which has no progress where the model is converted already.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """List the images of `source` that its `selection` takes, labelled as `labelling` says, into shards.

    `source_moved`: the output may hold results of the same photos in another place.
    """

    source: str
    output: str
    selection: Selection = field(default_factory=Selection)
    labelling: Labelling = field(default_factory=Labelling)
    source_moved: bool = False

    def __post_init__(self) -> None:
        # As JSON has them, in a job.
        if isinstance(self.selection, Mapping):
            object.__setattr__(self, "selection", Selection(**self.selection))
        if isinstance(self.labelling, Mapping):
            object.__setattr__(self, "labelling", Labelling(**self.labelling))


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The catalog's version and what it holds, see `engines.core.index.catalog.Catalog`. `splits`: images by split."""

    catalog: str
    listed: int
    labels: int
    shards: int
    total_bytes: int
    left_out: dict[str, dict[str, int]]
    left_out_by_case: int
    splits: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FeaturizeRequest:
    """Featurize all shards of the catalog with the model `models/FINGERPRINT/` of the output.

    `arithmetic`: `exact` stops where a worker's CPU computes other bits than the first one's, `tolerant` goes on.
    `photo_seconds`, `photo_memory` (bytes): what one photo may take to be decoded; above it is a reject. `quarantine`:
    so is one that crashes its worker or never returns; without it the stage fails and names them.
    `verify_content`: read the photos of shards that are there, and compute those again whose bytes are others. `redo`:
    shards to compute again though they are there. `source_moved`: take over what was computed of the same photos in
    another place, where their keys, sizes and bytes are the same.
    """

    source: str
    output: str
    catalog: str
    fingerprint: str
    arithmetic: str = "exact"
    photo_seconds: float = 60.0
    photo_memory: int = 500_000_000
    quarantine: bool = True
    verify_content: bool = False
    redo: list[str] = field(default_factory=list)
    source_moved: bool = False


@dataclass(frozen=True, slots=True)
class FeaturizeReport:
    """Counts over all shards of the catalog. `reused`: featurized images of shards that were there from a former run;
    `computed`: images of the others, whatever became of them.

    `rejected` counts by reason. `peak_memory`: bytes, of the largest worker; 0 when nothing had to be done. `canary`:
    the digest that workers were held to (see `engines.core.networks.canary`), empty for features of before there was
    one. `deviating`: images that were featurized with another one, which `tolerant` allows. `content`: a digest of the
    bytes of all photos, empty where no shard knows its own. `damage`: what was found damaged, in words, and made again.
    `unsealed`: shards that were there whose files can prove nothing, being of before there were seals.
    """

    listed: int
    featurized: int
    reused: int
    computed: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    peak_memory: int = 0
    canary: str = ""
    deviating: int = 0
    content: str = ""
    damage: list[str] = field(default_factory=list)
    unsealed: int = 0


@dataclass(frozen=True, slots=True)
class FitRequest:
    """Fit standardization and PCA to all features of the catalog, or to those of one `split`.

    `components`: a number, or a share in (0, 1). `content`: that of the FeaturizeReport. It is part of the PCA's
    version: photos with other bytes under the same names have another PCA. `frozen`: the version of a PCA in `pca/` of
    the output that is taken as it is; nothing is fitted then, and `components` and `split` say nothing.
    """

    output: str
    catalog: str
    fingerprint: str
    components: float
    split: str | None = None
    content: str = ""
    frozen: str = ""


@dataclass(frozen=True, slots=True)
class FitReport:
    """The PCA's version (`pca/VERSION/` in the output) and its figures. `explained_variance` is a share in (0, 1].

    `tied`, `unsettled`: numbers of components, from 1, see `engines.core.reduce.eigen.Eigenpairs`. `damage`: what was
    found damaged, in words, and made again. Of a frozen PCA, `explained_variance` is of the photos it was applied to,
    `frozen_variance` of those it was fitted to, and so is `components_for_95`.
    """

    pca: str
    components: int
    explained_variance: float
    components_for_95: int
    reused: bool
    tied: list[int] = field(default_factory=list)
    unsettled: list[int] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    frozen_variance: float | None = None


@dataclass(frozen=True, slots=True)
class ProjectRequest:
    """Project all features of the catalog with the PCA `pca`."""

    output: str
    catalog: str
    fingerprint: str
    pca: str


@dataclass(frozen=True, slots=True)
class ProjectReport:
    """The folder of the results, its parts (key, rows, sha256), and the images projected; `reused` of them before.

    `damage`: what was found damaged, in words, and made again.
    """

    results: str
    parts: list[dict[str, str | int]]
    projected: int
    reused: int
    damage: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NeighboursRequest:
    """Find the nearest rows of what `output` publishes, see `engines.core.quality.plan`. Not part of a run.

    `check`: the version of the plan, so that results published meanwhile are not taken for those. `split_depth`: the
    folder below the source that names a photo's part (train, test, ...); None for the column `split`, if there is one.
    """

    output: str
    check: str
    split_depth: int | None = None


@dataclass(frozen=True, slots=True)
class NeighboursReport:
    """The check's version (`checks/VERSION/` in the output), and the questions asked; `reused` of them before."""

    check: str
    questions: int
    reused: int


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage takes and returns."""

    request: type
    report: type


STAGES: Mapping[str, Stage] = {
    "index": Stage(IndexRequest, IndexReport),
    "featurize": Stage(FeaturizeRequest, FeaturizeReport),
    "fit_pca": Stage(FitRequest, FitReport),
    "project": Stage(ProjectRequest, ProjectReport),
    "neighbours": Stage(NeighboursRequest, NeighboursReport),
}
"""The stages; each is a method of that name of an engine."""

CHAIN = ("index", "featurize", "fit_pca", "project")
"""The stages of a run, in their order. The others are about what a run has published."""


class Engine(ABC):
    """Runs the stages. Use it as a context manager: leaving it stops whatever it started.

    Every stage is idempotent: it does what is missing and reports on all. Stages raise FruitsError only.
    """

    name: ClassVar[str]
    loggers: ClassVar[tuple[str, ...]] = ()
    """Loggers of the libraries underneath; their warnings matter to whoever watches a run, the rest does not."""

    def __init__(self) -> None:
        self.on_progress: Callable[[Progress], None] = lambda _: None
        """Called as work finishes, from the thread that runs the stage."""

    def expect_work(self) -> None:  # noqa: B027 - most engines have nothing to begin with
        """Work is to come: what takes its time to start may start now. Returns at once."""

    @abstractmethod
    def index(self, request: IndexRequest) -> IndexReport:
        """List the source into a catalog of shards."""

    @abstractmethod
    def featurize(self, request: FeaturizeRequest) -> FeaturizeReport:
        """Compute the features of every shard that has none yet."""

    @abstractmethod
    def fit_pca(self, request: FitRequest) -> FitReport:
        """Fit standardization and PCA to all features."""

    @abstractmethod
    def project(self, request: ProjectRequest) -> ProjectReport:
        """Write the projected features of every shard."""

    @abstractmethod
    def neighbours(self, request: NeighboursRequest) -> NeighboursReport:
        """Find the nearest rows of published results, and the moments of their parts (train, test, ...)."""

    def describe(self) -> Mapping[str, str | float]:
        """Facts about where the work runs, for the run record."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Stop workers and connections. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
