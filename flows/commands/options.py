"""Arguments and options that several commands have, with the same names, help and metavariables."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[str, typer.Argument(help="Folder or URL (file://, s3://) of the images.", metavar="SOURCE")]
Output = Annotated[str, typer.Argument(help="Folder or URL for the results.", metavar="OUTPUT")]
Published = Annotated[str, typer.Argument(help="Folder or URL of published results.", metavar="OUTPUT")]
Components = Annotated[
    str, typer.Option(help="Number of PCA components, or the share of variance to explain.", metavar="128|0.95")
]
Weights = Annotated[str, typer.Option(help="Weights of MobileNetV2 without head.", metavar="imagenet|random|FILE")]
Glob = Annotated[str, typer.Option(help="Which file names are images; upper and lower case differ.")]
ShardSize = Annotated[int, typer.Option(help="Images per shard, on average: the unit of work and retry.")]
Workers = Annotated[int | None, typer.Option(help="Worker processes of an engine; all cores by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log of Prefect and of the engine.")]
Config = Annotated[str | None, typer.Option(help="File with an [emr] table; fruits.toml here by default.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--emr", help="One setting of the [emr] table; may be repeated.", metavar="NAME=VALUE"),
]
