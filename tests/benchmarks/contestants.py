"""Who is measured: the chain on its engines, the limit, and what a user would write instead."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.photos import FRUITS
from tests.benchmarks.process import FailedError, Measured, answer_of, run_process


@dataclass(frozen=True, slots=True)
class Job:
    """The same photos, weights and cores for everybody; `output` is not there yet."""

    photos: Path
    images: int
    weights: str
    output: Path
    cores: int
    keep_features: bool = False


@dataclass(frozen=True, slots=True)
class Contestant:
    """A command that does a job. `module`: a recipe; None: the chain on `engine`. `needs`: a package of its own.

    `limit`: it does less than the job, and nothing can be faster. `start`, `per_second`: seconds before, and photos a
    second, on two quiet cores, for estimates alone.
    """

    name: str
    what: str
    module: str | None = None
    engine: str = ""
    needs: str = ""
    limit: bool = False
    start: float = 10
    per_second: float = 150

    def expected(self, images: int) -> float:
        """Seconds on two quiet cores, for estimates alone."""
        return self.start + images / self.per_second

    @property
    def missing(self) -> str:
        """The package it needs, where it is not installed."""
        return self.needs if self.needs and importlib.util.find_spec(self.needs) is None else ""

    def command(self, job: Job) -> list[str]:
        """What is run."""
        if self.module is None:
            return [
                *(FRUITS, "run", str(job.photos), str(job.output), "--weights", job.weights),
                *("--engine", self.engine, "--workers", str(job.cores), "--no-prefect"),
            ]
        module = f"tests.benchmarks.recipes.{self.module}"
        keep = ["--keep-features"] if job.keep_features else []
        places = [str(job.photos), job.weights, str(job.output)]
        return [sys.executable, "-m", module, *places, "--cores", str(job.cores), *keep]

    def run(self, job: Job, *, longest: float) -> Measured:
        """Do the job. Raises FailedError, also when it was not done to all photos."""
        measured, printed = run_process(self.command(job), longest=longest)
        measured.parts.update(answer_of(printed) if self.module else parts_of(job.output))
        if measured.parts["images"] != job.images:
            raise FailedError(f"it did {measured.parts['images']:.0f} of {job.images} photos")
        return measured


def parts_of(output: Path) -> dict[str, float]:
    """What the record of a run says: seconds of each stage, and how many images were projected."""
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return {"images": float(record["counts"]["projected"]), **record["timings"]}


LIMIT = "network alone"
DASK = "fruits, Dask"
SPARK = "fruits, Spark"
NOTEBOOK = "notebook"
ENGINES = {DASK: "dask", SPARK: "spark"}

CONTESTANTS = (
    Contestant(DASK, "the whole chain as a process: `fruits run`, model converted before", engine="dask"),
    Contestant(SPARK, "the same with `--engine spark`", engine="spark", start=15),
    Contestant(
        LIMIT,
        "the limit: LiteRT on pixels in memory, an interpreter of one thread a core; no start, no files, no PCA",
        module="network_alone",
        limit=True,
        start=6,
        per_second=190,
    ),
    Contestant(
        NOTEBOOK,
        "the notebook's recipe on Spark: binaryFile, pandas UDF with Keras' `predict`, MLlib; features written once",
        module="notebook",
        start=40,
        per_second=13,
    ),
    Contestant(
        "tf.data",
        "`tf.data`, Keras' `predict`, scikit-learn, one process on all cores",
        module="tf_data",
        per_second=75,
    ),
    Contestant("Ray Data", "an actor a core around the same LiteRT network, scikit-learn", "ray_data", needs="ray"),
    Contestant("Daft", "a class UDF around the same LiteRT network, scikit-learn", "daft_frame", needs="daft"),
)
