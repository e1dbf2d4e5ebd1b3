"""Parameters that several commands take, each declared once: its name, type, default, bounds and help."""

from __future__ import annotations

from typing import Annotated, Any

from engines import ENGINES
from engines.core.networks.choices import ARITHMETIC
from engines.core.networks.table import NETWORKS
from engines.patience import LEAST_TRIES
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
Model = Annotated[str, Option("Folder or URL of the published results whose model is used.", metavar="OUTPUT")]
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
Arithmetic = Annotated[
    str,
    Option(
        "What workers on different CPUs must agree in: exact, all bits; tolerant, all but the last digits.",
        choices=ARITHMETIC,
        metavar="ARITHMETIC",
    ),
]
ShardSize = Annotated[int, Option("Images per shard, on average: the unit of work, retry and commit.", minimum=1)]
Workers = Annotated[int | None, Option("Worker processes of a local engine; all cores by default.", minimum=1)]
Tries = Annotated[
    int,
    Option(
        "How often a shard is tried whose worker dies; a Spark session that exists decides itself.", minimum=LEAST_TRIES
    ),
]
WorkerSeconds = Annotated[
    float | None,
    Option(
        "Seconds to wait for a worker when none is left; by default 120 (Dask), 60 (Spark standalone) or 600.", above=0
    ),
]
Scheduler = Annotated[
    str | None,
    Option(
        "The cluster to use: a Dask scheduler's address, or a Spark master (local[N], spark://HOST:PORT, yarn).",
        flags=("--scheduler", "--master"),
        examples=("tcp://scheduler:8786",),
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
Photos = Annotated[
    list[str],
    Option(
        "Photos, folders of photos, or URLs (file://, s3://) of either.", metavar="PHOTO|FOLDER|URL...", argument=True
    ),
]
SampleSize = Annotated[int, Option("Size of the sample; chosen by hash, the same each time.", minimum=1)]
Threads = Annotated[int | None, Option("Photos at once; all cores by default.", minimum=1)]
Verbose = Annotated[bool, Option("Show the log of Prefect and of the engine.", flags=("--verbose", "-v"), form=False)]
Json = Annotated[bool, Option("Print all figures as JSON.", flags=("--json",), form=False)]
