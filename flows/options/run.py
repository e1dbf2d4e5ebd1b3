"""The parameters of a run of the chain, and of the look at a source before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from engines.core.networks.choices import RUNTIMES
from engines.core.networks.table import DEFAULT_NETWORK
from engines.patience import TRIES
from flows.options.photos import (
    Exclude,
    FitSplit,
    Glob,
    Hidden,
    KeepColumns,
    LabelColumn,
    LabelDepth,
    LabelRegex,
    Labels,
    Metadata,
    SplitColumn,
    SplitDepth,
    TakesPhotos,
)
from flows.options.shared import (
    Arithmetic,
    Components,
    Credentials,
    Emr,
    EngineName,
    Json,
    Network,
    Output,
    Scheduler,
    ShardSize,
    Source,
    Tries,
    Verbose,
    Weights,
    Workers,
    WorkerSeconds,
)
from flows.signatures import Option

Runtime = Annotated[
    str,
    Option("What runs the network; tensorflow is the reference.", choices=tuple(RUNTIMES), metavar="RUNTIME"),
]
PerClass = Annotated[int | None, Option("At most so many images of each class.", minimum=1)]
Images = Annotated[int | None, Option("At most so many images in all.", minimum=1)]
VerifyContent = Annotated[
    bool,
    Option(
        "Read every photo again, and compute those anew whose bytes are others though size and time are the old ones.",
        flags=("--verify-content",),
    ),
]
MaxRejects = Annotated[
    float, Option("Share of images that may be rejected before the run fails.", minimum=0, maximum=1)
]
PhotoSeconds = Annotated[float, Option("Seconds one image may take; more is a reject.", above=0)]
PhotoMemory = Annotated[int, Option("Megabytes one image may take to be decoded; more is a reject.", minimum=1)]
SourceMoved = Annotated[
    bool,
    Option(
        "The photos of OUTPUT are at SOURCE now: take over the features of those with the same names, sizes and bytes.",
        flags=("--source-moved",),
    ),
]
Quarantine = Annotated[
    bool,
    Option(
        "An image that crashes its worker or never comes back is a reject; without, the run stops and names it.",
        flags=("--quarantine/--no-quarantine",),
    ),
]
FrozenPca = Annotated[
    str | None,
    Option(
        "Take the PCA that another output published, or a version in pca/ of this one, and fit none: vectors stay "
        "comparable. Its components are taken as they are.",
        metavar="OUTPUT|VERSION",
    ),
]


@dataclass(frozen=True, slots=True)
class RunSettings(TakesPhotos):
    """One run of the chain. `flows.checks` says what cannot work."""

    source: Source = ""
    output: Output = ""
    engine: EngineName = "dask"
    network: Network = DEFAULT_NETWORK
    components: Components = 128
    weights: Weights = "imagenet"
    runtime: Runtime = "litert"
    arithmetic: Arithmetic = "exact"
    glob: Glob = None
    per_class: PerClass = None
    images: Images = None
    shard_size: ShardSize = 512
    workers: Workers = None
    scheduler: Scheduler = None
    tries: Tries = TRIES
    worker_seconds: WorkerSeconds = None
    max_rejects: MaxRejects = 0.01
    verify_content: VerifyContent = False
    photo_seconds: PhotoSeconds = 60.0
    photo_memory: PhotoMemory = 500
    quarantine: Quarantine = True
    source_moved: SourceMoved = False
    emr: Emr = None
    credentials: Credentials = None
    exclude: Exclude = None
    hidden: Hidden = False
    labels: Labels = "folder"
    label_depth: LabelDepth = None
    label_regex: LabelRegex = None
    label_column: LabelColumn = "label"
    metadata: Metadata = None
    keep_columns: KeepColumns = None
    split_depth: SplitDepth = None
    split_column: SplitColumn = None
    fit_split: FitSplit = None
    frozen_pca: FrozenPca = None

    @property
    def engine_settings(self) -> dict[str, Any] | None:
        """Those of the engine, as plain data; None for an engine that takes none, and for a block not read yet."""
        return self.emr if isinstance(self.emr, dict) else None


@dataclass(frozen=True, slots=True)
class LsSettings(TakesPhotos):
    """A source to look at: the options of a run that say what it takes."""

    source: Source = ""
    glob: Glob = None
    exclude: Exclude = None
    hidden: Hidden = False
    per_class: PerClass = None
    images: Images = None
    labels: Labels = "folder"
    label_depth: LabelDepth = None
    label_regex: LabelRegex = None
    label_column: LabelColumn = "label"
    metadata: Metadata = None
    keep_columns: KeepColumns = None
    split_depth: SplitDepth = None
    split_column: SplitColumn = None
    credentials: Credentials = None
    as_json: Json = False


@dataclass(frozen=True, slots=True)
class TerminalSettings:
    """What `fruits run` takes besides."""

    max_cost: Annotated[
        float | None,
        Option(
            "On EMR: what the run may cost, in US dollars. No job is started whose estimate is more, and one that "
            "would take the run above it is cancelled.",
            metavar="USD",
        ),
    ] = None
    prefect: Annotated[
        bool | None,
        Option(
            "Run as a flow of the Prefect server that is configured, or without Prefect; by default as a flow where a "
            "server is configured.",
            flags=("--prefect/--no-prefect",),
        ),
    ] = None
    verbose: Verbose = False
