"""The parameters of the commands that look after published results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from engines.core.networks.table import DEFAULT_NETWORK
from engines.patience import TRIES
from flows.options.photos import Exclude, Glob, Hidden, SplitDepth
from flows.options.shared import (
    Components,
    Credentials,
    Emr,
    EngineName,
    Json,
    Network,
    Published,
    SampleSize,
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
    tries: Tries = TRIES
    worker_seconds: WorkerSeconds = None
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
