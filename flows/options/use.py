"""The parameters of the commands that use published results: for new photos, in other formats, as a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from flows.options.shared import Arithmetic, Credentials, Json, Model, Photos, Published, Threads
from flows.signatures import Option

EXPORT_FORMATS = ("huggingface", "npy", "lance", "usearch", "embedding-atlas", "csv")
TABLE_FORMATS = ("jsonl", "csv", "parquet")
TableFormat = Annotated[
    str | None,
    Option("Of the rows; by default what FILE ends in, or jsonl.", choices=TABLE_FORMATS, metavar="FORMAT"),
]
TransformGlob = Annotated[
    list[str] | None,
    Option("Which files of a folder are photos; by default those the run took. May be repeated.", metavar="GLOB"),
]


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
