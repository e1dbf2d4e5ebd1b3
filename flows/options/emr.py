"""The parameters of the EMR engines' commands: their settings, jobs, and what is made on AWS for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engines import ENGINES
from flows.signatures import Option

Config = Annotated[str | None, Option("File with an [emr] table; fruits.toml here by default.", metavar="FILE")]
EmrAssignments = Annotated[
    list[str] | None,
    Option("One setting of the [emr] table; may be repeated.", flags=("--emr",), metavar="NAME=VALUE"),
]
EmrEngine = Annotated[
    str,
    Option("Where the jobs run.", choices=tuple(name for name, row in ENGINES.items() if row.remote), metavar="ENGINE"),
]


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
