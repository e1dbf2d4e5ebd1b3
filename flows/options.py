"""Every parameter of a run, once: its name, type, default, bounds and help.

Prefect's form, the options of `fruits` and the checks are made from these declarations, see `flows.signatures`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from engines import ENGINES
from engines.core.networks.canary import ARITHMETIC
from engines.core.networks.model import RUNTIMES
from engines.core.networks.table import DEFAULT_NETWORK, NETWORKS
from flows.photo_options import (
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
from flows.signatures import Option

MOST_COMPONENTS = max(network.features for network in NETWORKS.values())


Source = Annotated[
    str,
    Option(
        "Folder or URL (file://, s3://) of the images, or archives of them (.tar, .zip, .parquet), such as "
        "'photos-{0000..0099}.tar'; the label of an image is the name of its parent folder.",
        metavar="SOURCE",
        argument=True,
        examples=("/data/fruits", "s3://bucket/photos", "s3://bucket/photos-{0000..0099}.tar"),
    ),
]
Output = Annotated[
    str,
    Option(
        "Folder or URL for the results; belongs to one source.",
        metavar="OUTPUT",
        argument=True,
        examples=("/data/features", "s3://bucket/features"),
    ),
]
Published = Annotated[str, Option("Folder or URL of published results.", metavar="OUTPUT", argument=True)]
EngineName = Annotated[str, Option("Where the stages run.", choices=tuple(ENGINES), metavar="ENGINE")]
Network = Annotated[str, Option("The network that makes the features.", choices=tuple(NETWORKS), metavar="NETWORK")]
Components = Annotated[
    float,
    Option(
        "Number of PCA components, or the share of the variance to explain, such as 0.95.",
        metavar="128|0.95",
        above=0,
        maximum=MOST_COMPONENTS,
    ),
]
Weights = Annotated[
    str,
    Option(
        "imagenet, random, or a file of Keras weights (.h5, .keras) of the network without head.",
        metavar="WEIGHTS",
        examples=("imagenet", "random", "/models/weights.h5"),
    ),
]
Runtime = Annotated[
    str,
    Option("What runs the network; tensorflow is the reference.", choices=tuple(RUNTIMES), metavar="RUNTIME"),
]
Arithmetic = Annotated[
    str,
    Option(
        "What workers on different CPUs must agree in: exact, all bits; tolerant, all but the last digits.",
        choices=ARITHMETIC,
        metavar="ARITHMETIC",
    ),
]
PerClass = Annotated[int | None, Option("At most so many images of each class.", minimum=1)]
Images = Annotated[int | None, Option("At most so many images in all.", minimum=1)]
ShardSize = Annotated[int, Option("Images per shard, on average: the unit of work, retry and commit.", minimum=1)]
Workers = Annotated[int | None, Option("Worker processes of a local engine; all cores by default.", minimum=1)]
Scheduler = Annotated[
    str | None,
    Option(
        "The cluster to use: a Dask scheduler's address, or a Spark master (local[N], spark://HOST:PORT, yarn).",
        flags=("--scheduler", "--master"),
        examples=("tcp://scheduler:8786",),
    ),
]
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
Emr = Annotated[
    str | dict[str, Any] | None,
    Option(
        "For the EMR engines, the name of an EMR settings block, or settings; FRUITS_EMR_* and the config file fill in "
        "the rest.",
        examples=("fruits", {"max_cost": 5}),
        terminal=False,
    ),
]
Credentials = Annotated[
    str | None,
    Option("An AwsCredentials block of Prefect to use for S3; AWS' usual variables by default.", metavar="BLOCK"),
]
FrozenPca = Annotated[
    str | None,
    Option(
        "Take the PCA that another output published, or a version in pca/ of this one, and fit none: vectors stay "
        "comparable. Its components are taken as they are.",
        metavar="OUTPUT|VERSION",
    ),
]
Model = Annotated[str, Option("Folder or URL of the published results whose model is used.", metavar="OUTPUT")]
Photos = Annotated[
    list[str],
    Option(
        "Photos, folders of photos, or URLs (file://, s3://) of either.", metavar="PHOTO|FOLDER|URL...", argument=True
    ),
]
SampleSize = Annotated[int, Option("Size of the sample; chosen by hash, the same each time.", minimum=1)]
Verbose = Annotated[bool, Option("Show the log of Prefect and of the engine.", flags=("--verbose", "-v"), form=False)]
Json = Annotated[bool, Option("Print all figures as JSON.", flags=("--json",), form=False)]
Config = Annotated[str | None, Option("File with an [emr] table; fruits.toml here by default.", metavar="FILE")]
EmrAssignments = Annotated[
    list[str] | None,
    Option("One setting of the [emr] table; may be repeated.", flags=("--emr",), metavar="NAME=VALUE"),
]


EXPORT_FORMATS = ("huggingface", "npy", "lance", "usearch", "embedding-atlas", "csv")
TABLE_FORMATS = ("jsonl", "csv", "parquet")

EmrEngine = Annotated[
    str,
    Option("Where the jobs run.", choices=tuple(name for name, row in ENGINES.items() if row.remote), metavar="ENGINE"),
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
class EmrTable:
    """Where a command takes the settings of the EMR engines from."""

    emr_assignments: EmrAssignments = None
    config: Config = None


@dataclass(frozen=True, slots=True)
class EmrJobs:
    """The jobs a command is about: those of one run, on one of the EMR engines."""

    run: Annotated[
        str, Option("The run's id, as `fruits emr status` and run.json name it.", metavar="RUN", argument=True)
    ] = ""
    engine: EmrEngine = "emr-serverless"


@dataclass(frozen=True, slots=True)
class EmrStatus:
    """The jobs to list."""

    run: Annotated[str | None, Option("The run's id; all runs by default.", metavar="RUN", argument=True)] = None
    engine: EmrEngine = "emr-serverless"


Region = Annotated[
    str | None,
    Option("AWS region; by default that of the settings, of AWS_REGION, or of the profile.", metavar="REGION"),
]
StackName = Annotated[str, Option("Name of the CloudFormation stack.", metavar="NAME")]
Yes = Annotated[bool, Option("Do it without asking.", flags=("--yes",))]


@dataclass(frozen=True, slots=True)
class EmrSetup:
    """What is made on AWS for runs on EMR."""

    region: Region = None
    source: Annotated[
        str | None,
        Option(
            "Where the images are on S3; by default they will lie below photos/ in the stack's own bucket.",
            metavar="s3://BUCKET/PREFIX",
        ),
    ] = None
    stack: StackName = "fruits"
    parameters: Annotated[
        list[str] | None,
        Option(
            "A parameter of the stack, as deployments/emr/template.yaml has it; may be repeated.",
            flags=("--parameter",),
            metavar="NAME=VALUE",
        ),
    ] = None
    archive: Annotated[
        str | None,
        Option(
            "Archive of `make emr-package`; by default the one of this code in dist/emr, else built now.",
            metavar="FILE",
        ),
    ] = None
    config: Annotated[str, Option("File that the [emr] table is written to.", metavar="FILE")] = "fruits.toml"
    trial: Annotated[
        bool, Option("Run 100 made-up photos at the end, for a few cents.", flags=("--trial/--no-trial",))
    ] = True
    yes: Yes = False


@dataclass(frozen=True, slots=True)
class EmrRemoval:
    """What is removed from AWS."""

    region: Region = None
    stack: StackName = "fruits"
    config: Annotated[str, Option("File with the [emr] table.", metavar="FILE")] = "fruits.toml"
    keep_bucket: Annotated[
        bool, Option("Keep the stack's bucket with its photos and results.", flags=("--keep-bucket",))
    ] = False
    yes: Yes = False


@dataclass(frozen=True, slots=True)
class TerminalSettings:
    """What `fruits run` takes besides."""

    max_cost: Annotated[
        float | None, Option("On EMR: stop before the estimate exceeds so many US dollars.", metavar="USD")
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


@dataclass(frozen=True, slots=True)
class RecheckSettings:
    """A sample of published rows to compute again."""

    output: Published = ""
    images: SampleSize = 500
    credentials: Credentials = None


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Published results to check, and where the work runs."""

    output: Published = ""
    engine: EngineName = "dask"
    split_depth: SplitDepth = None
    min_accuracy: Annotated[
        float | None,
        Option("Fail when the neighbours' vote is right for a smaller share of the photos.", minimum=0, maximum=1),
    ] = None
    workers: Workers = None
    scheduler: Scheduler = None
    emr: Emr = None
    credentials: Credentials = None

    @property
    def engine_settings(self) -> dict[str, Any] | None:
        """As those of RunSettings."""
        return self.emr if isinstance(self.emr, dict) else None


@dataclass(frozen=True, slots=True)
class CheckOutput:
    """How `fruits check` shows what it found."""

    as_json: Json = False
    verbose: Verbose = False


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """An output whose report is made anew."""

    output: Published = ""


@dataclass(frozen=True, slots=True)
class ParityCheckSettings:
    """A sample to run on two engines."""

    source: Source = ""
    images: SampleSize = 300
    engines: Annotated[str, Option("The two engines to compare.", metavar="ENGINE,ENGINE")] = "dask,spark"
    network: Network = DEFAULT_NETWORK
    components: Components = 128
    weights: Weights = "imagenet"
    glob: Glob = None
    exclude: Exclude = None
    hidden: Hidden = False
    shard_size: ShardSize = 32
    workers: Workers = None
    output: Annotated[
        str | None, Option("Keep the outputs in DIR/ENGINE; by default they are removed.", metavar="DIR")
    ] = None
    as_json: Json = False
    verbose: Verbose = False


@dataclass(frozen=True, slots=True)
class ParitySettings:
    """Two outputs to compare."""

    a: Annotated[str, Option("Folder or URL of published results.", metavar="OUTPUT_A", argument=True)] = ""
    b: Annotated[str, Option("Folder or URL of published results.", metavar="OUTPUT_B", argument=True)] = ""
    as_json: Json = False


TableFormat = Annotated[
    str | None,
    Option("Of the rows; by default what FILE ends in, or jsonl.", choices=TABLE_FORMATS, metavar="FORMAT"),
]
TransformGlob = Annotated[
    list[str] | None,
    Option("Which files of a folder are photos; by default those the run took. May be repeated.", metavar="GLOB"),
]
Threads = Annotated[int | None, Option("Photos at once; all cores by default.", minimum=1)]


@dataclass(frozen=True, slots=True)
class TransformSettings:
    """New photos, and the model to turn them into numbers with."""

    photos: Photos = field(default_factory=list)
    model: Model = ""
    file: Annotated[
        str | None, Option("Write a file, which appears when it is whole; by default standard output.", metavar="FILE")
    ] = None
    format: TableFormat = None
    glob: TransformGlob = None
    threads: Threads = None
    arithmetic: Arithmetic = "exact"


@dataclass(frozen=True, slots=True)
class TransformRunSettings:
    """New photos, the model, and the table to write, for the flow."""

    photos: Photos = field(default_factory=list)
    model: Model = ""
    file: Annotated[
        str,
        Option(
            "File or URL to write, such as s3://bucket/photos.parquet; its ending is the format (jsonl, csv, parquet).",
            examples=("/data/photos.parquet", "s3://bucket/photos.parquet"),
        ),
    ] = ""
    format: TableFormat = None
    glob: TransformGlob = None
    threads: Threads = None
    arithmetic: Arithmetic = "exact"
    credentials: Credentials = None


@dataclass(frozen=True, slots=True)
class SimilarSettings:
    """A photo, and the output to look for its like in."""

    photo: Annotated[str, Option("A photo, or its URL (file://, s3://).", metavar="PHOTO", argument=True)] = ""
    model: Model = ""
    k: Annotated[int, Option("So many neighbours.", flags=("--neighbours", "-k"), minimum=1)] = 5
    as_json: Json = False
    arithmetic: Arithmetic = "exact"


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """An output, and what to make of it."""

    output: Published = ""
    folder: Annotated[str, Option("A new local folder.", metavar="DIR", argument=True)] = ""
    to: Annotated[str, Option("The format.", choices=EXPORT_FORMATS, metavar="FORMAT")] = ""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """An output to serve, and what clients may do."""

    output: Published = ""
    host: Annotated[
        str,
        Option(
            "The address to listen at; 0.0.0.0 for phones on the same network. There are no accounts: whoever reaches "
            "it may use it.",
            metavar="ADDRESS",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Option("The port; 0 for any that is free.", minimum=0)] = 8000
    workers: Annotated[int, Option("Processes, each with all rows in memory.", minimum=1)] = 1
    threads: Annotated[int | None, Option("Photos at once in a process; all cores by default.", minimum=1)] = None
    max_upload: Annotated[int, Option("Megabytes of a photo.", metavar="MB", minimum=1)] = 20
    rate: Annotated[int, Option("Photos a minute of one client; limited in each process.", minimum=1)] = 120
    arithmetic: Arithmetic = "exact"


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """A shard to list."""

    output: Published = ""
    shard: Annotated[
        str, Option("The shard's id, or how it begins, as errors and files name it.", metavar="ID", argument=True)
    ] = ""


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """An output to prove."""

    output: Published = ""
    deep: Annotated[bool, Option("Compute a sample of photos again, too.", flags=("--deep",))] = False
    images: SampleSize = 500
    credentials: Credentials = None
    as_json: Json = False


@dataclass(frozen=True, slots=True)
class CleanSettings:
    """An output to clean."""

    output: Published = ""
    keep: Annotated[int, Option("Former results to keep, the newest first.", minimum=0)] = 0
    dry_run: Annotated[bool, Option("Show what would be removed, and remove nothing.", flags=("--dry-run",))] = False
    yes: Annotated[bool, Option("Do not ask.", flags=("--yes", "-y"))] = False
    credentials: Credentials = None


@dataclass(frozen=True, slots=True)
class ShowSettings:
    """An output to show."""

    output: Published = ""
